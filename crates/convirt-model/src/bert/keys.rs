//! The keys that the tokens of a batch attend to, and the layout of their states in memory.

use burn::tensor::{Bool, DType, Int, Tensor, TensorData};
use convirt_ops::{from_storage, is_flex, to_storage};

/// Added to the scores of padded keys. Their attention probabilities are then exactly zero in 16
/// and in 32 bits, and a text of padding only still has finite states.
const MASKED_SCORE: f64 = -1e4;

/// Tokens of a text at least. Shorter matrix products add up in another order, so that the states
/// of a text would depend on the batch.
pub(super) const MIN_TOKENS: usize = 3;

/// The keys of a batch of texts.
///
/// On the CPU, where texts of equal length are no faster, layers get the tokens of all texts in a
/// single row, without the padding at the ends.
#[derive(Clone, Debug)]
pub struct BertKeys {
    /// Added to attention scores: `[batch, tokens]`, or `[1, Σ lengths]` for texts in a single row.
    bias: Tensor<2>,
    row: Option<Row>,
}

/// The tokens of a batch in a single row, without the padding at the texts' ends.
#[derive(Clone, Debug)]
struct Row {
    lengths: Vec<usize>,
    /// For each token of the row, its index in the batch.
    batch_indices: Tensor<1, Int>,
    /// For each token of the batch, its index in the row; the row's length for padding.
    row_indices: Tensor<1, Int>,
    /// Batch and tokens.
    shape: [usize; 2],
}

impl BertKeys {
    /// Creates the keys of a batch from its mask, `[batch, tokens]`, true for real tokens; `dtype`
    /// is the type of the states.
    pub fn new(attention_mask: Tensor<2, Bool>, dtype: DType) -> Self {
        let row = if is_flex(&attention_mask.device()) {
            Row::new(&attention_mask)
        } else {
            None
        };
        let padding = attention_mask.bool_not().float().cast(dtype);
        let bias = padding.mul_scalar(MASKED_SCORE);
        Self {
            bias: match &row {
                Some(row) => row.take(bias.unsqueeze_dim(2)).squeeze_dim(2),
                None => bias,
            },
            row,
        }
    }

    pub(super) fn bias(&self) -> Tensor<2> {
        self.bias.clone()
    }

    /// Numbers of tokens of the texts, if they are in a single row.
    pub(super) fn lengths(&self) -> Option<&[usize]> {
        self.row.as_ref().map(|row| &row.lengths[..])
    }

    /// Brings states `[batch, tokens, d_model]` into the layout and type that layers expect.
    pub fn pack(&self, states: Tensor<3>) -> Tensor<3> {
        to_storage(self.rows(states))
    }

    /// Brings states `[batch, tokens, d_model]` into the layout that layers expect.
    pub(super) fn rows(&self, states: Tensor<3>) -> Tensor<3> {
        match &self.row {
            Some(row) => row.take(states),
            None => states,
        }
    }

    /// Brings states back to `[batch, tokens, d_model]`, with zeros for the tokens that were left
    /// out.
    pub fn unpack(&self, states: Tensor<3>) -> Tensor<3> {
        let states = from_storage(states);
        match &self.row {
            Some(row) => row.put_back(states),
            None => states,
        }
    }
}

/// The number of token states that layers compute for each text of a batch.
pub(super) fn state_counts(attention_mask: &Tensor<2, Bool>) -> Vec<usize> {
    let [batch, tokens] = attention_mask.dims();
    if !is_flex(&attention_mask.device()) {
        return vec![tokens; batch];
    }
    let mask: Vec<bool> = attention_mask.clone().into_data().iter().collect();
    let texts = mask.chunks(tokens.max(1));
    let lengths = texts.map(|text| {
        let last = text.iter().rposition(|is_real| *is_real);
        last.map_or(0, |last| last + 1).max(MIN_TOKENS).min(tokens)
    });
    lengths.collect()
}

impl Row {
    /// `None` if no text ends in padding.
    fn new(attention_mask: &Tensor<2, Bool>) -> Option<Self> {
        let shape = attention_mask.dims();
        let [batch, tokens] = shape;
        let device = attention_mask.device();
        let lengths = state_counts(attention_mask);
        let total: usize = lengths.iter().sum();
        if total == batch * tokens {
            return None;
        }
        let texts = lengths.iter().enumerate();
        let batch_indices = texts.flat_map(|(text, length)| text * tokens..text * tokens + length);
        let batch_indices: Vec<i64> = batch_indices.map(|index| index as i64).collect();
        let mut row_indices = vec![total as i64; batch * tokens];
        for (row_index, &batch_index) in batch_indices.iter().enumerate() {
            row_indices[batch_index as usize] = row_index as i64;
        }
        let tensor = |indices: Vec<i64>| {
            let count = indices.len();
            Tensor::from_data(TensorData::new(indices, [count]), &device)
        };
        Some(Self {
            lengths,
            batch_indices: tensor(batch_indices),
            row_indices: tensor(row_indices),
            shape,
        })
    }

    fn take(&self, states: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, d_model] = states.dims();
        let states = states.reshape([batch * tokens, d_model]);
        states.select(0, self.batch_indices.clone()).unsqueeze()
    }

    fn put_back(&self, states: Tensor<3>) -> Tensor<3> {
        let [_, total, d_model] = states.dims();
        let [batch, tokens] = self.shape;
        let states = states.reshape([total, d_model]);
        let zero = Tensor::zeros([1, d_model], (&states.device(), states.dtype()));
        let states = Tensor::cat(vec![states, zero], 0).select(0, self.row_indices.clone());
        states.reshape([batch, tokens, d_model])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn mask(rows: &[[u8; 5]], device: &Device) -> Tensor<2, Bool> {
        let bits: Vec<i64> = rows.iter().flatten().map(|bit| i64::from(*bit)).collect();
        let mask = Tensor::<1, Int>::from_data(bits.as_slice(), device);
        mask.reshape([rows.len(), 5]).bool()
    }

    #[test]
    fn padding_at_the_end_is_left_out_and_returns_as_zeros() {
        let device = Device::flex().autodiff();
        let plain = device.clone().without_autodiff();
        // The second text has padding before its last token, the third fewer tokens than the
        // minimum.
        let mask = mask(&[[1, 1, 1, 1, 0], [1, 0, 0, 0, 1], [1, 0, 0, 0, 0]], &plain);
        let keys = BertKeys::new(mask, DType::F32);
        assert_eq!(keys.lengths(), Some(&[4, 5, 3][..]));
        let bias: Vec<f32> = keys.bias().into_data().iter().collect();
        let masked = MASKED_SCORE as f32;
        let second = [0.0, masked, masked, masked, 0.0];
        assert_eq!(bias[..4], [0.0; 4]);
        assert_eq!(bias[4..9], second);
        assert_eq!(bias[9..], [0.0, masked, masked]);

        let states = Tensor::<1, Int>::arange(1..31, &device).float();
        let states = states.reshape([3, 5, 2]).require_grad();
        let packed = keys.pack(states.clone());
        assert_eq!(packed.dims(), [1, 12, 2]);
        let unpacked = keys.unpack(packed.clone());
        let values: Vec<f32> = unpacked.clone().into_data().iter().collect();
        let expected: Vec<f32> = (0..30)
            .map(|index| match index {
                8 | 9 | 26..30 => 0.0,
                _ => index as f32 + 1.0,
            })
            .collect();
        assert_eq!(values, expected);
        // The states that were not left out get their own gradients.
        let gradients = (unpacked.clone() * unpacked).sum().backward();
        let gradient: Vec<f32> = states
            .grad(&gradients)
            .unwrap()
            .into_data()
            .iter()
            .collect();
        assert!(
            gradient
                .iter()
                .zip(expected)
                .all(|(actual, value)| *actual == 2.0 * value)
        );
    }

    #[test]
    fn without_padding_states_keep_their_shape() {
        let device = Device::flex();
        let keys = BertKeys::new(mask(&[[1; 5]; 2], &device), DType::F32);
        assert_eq!(keys.lengths(), None);
        let states = Tensor::<3>::ones([2, 5, 1], &device);
        assert_eq!(keys.pack(states).dims(), [2, 5, 1]);
    }
}
