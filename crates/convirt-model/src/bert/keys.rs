//! What the tokens of a batch attend to, and how their states lie in memory.

use burn::tensor::{Bool, DType, Int, Tensor, TensorData};
use convirt_ops::{from_storage, is_flex, to_storage};

/// Added to the scores of padded keys: their share of the softmax is exactly zero in 16 and in 32
/// bits, and a text of nothing but padding still has finite states.
const MASKED_SCORE: f64 = -1e4;

/// Tokens from which on sums over tokens are made in one way.
pub(super) const SHORTEST: usize = 3;

/// The keys of a batch of texts.
///
/// On the CPU, where nothing is gained by texts of one length, layers see the tokens of all texts
/// in a single row, without the padding at their ends.
#[derive(Clone, Debug)]
pub struct BertKeys {
    /// Added to attention scores, `[batch, tokens]` or, of texts in a row, `[1, Σ lengths]`.
    bias: Tensor<2>,
    row: Option<Row>,
}

/// Where tokens of a batch are in a row of all texts.
#[derive(Clone, Debug)]
struct Row {
    lengths: Vec<usize>,
    /// Of each token of the row, its place among those of the batch.
    from: Tensor<1, Int>,
    /// Of each token of the batch, its place in the row, or the one after the row's end.
    to: Tensor<1, Int>,
    /// Batch and tokens.
    shape: [usize; 2],
}

impl BertKeys {
    /// The keys of a batch with this mask, true at real tokens, `[batch, tokens]`; for states of a
    /// type.
    pub fn new(attention_mask: Tensor<2, Bool>, dtype: DType) -> Self {
        let row = match is_flex(&attention_mask.device()) {
            true => Row::new(&attention_mask),
            false => None,
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

    /// Numbers of tokens of texts in a row.
    pub(super) fn lengths(&self) -> Option<&[usize]> {
        self.row.as_ref().map(|row| &row.lengths[..])
    }

    /// Brings states `[batch, tokens, d_model]` to where layers expect them, and to the type in
    /// which they lie between layers.
    pub fn pack(&self, states: Tensor<3>) -> Tensor<3> {
        to_storage(match &self.row {
            Some(row) => row.take(states),
            None => states,
        })
    }

    /// Brings states back to `[batch, tokens, d_model]`; zeros at what was left out.
    pub fn unpack(&self, states: Tensor<3>) -> Tensor<3> {
        let states = from_storage(states);
        match &self.row {
            Some(row) => row.put_back(states),
            None => states,
        }
    }
}

impl Row {
    /// `None` where there is no padding at the ends.
    fn new(attention_mask: &Tensor<2, Bool>) -> Option<Self> {
        let shape = attention_mask.dims();
        let [batch, tokens] = shape;
        let device = attention_mask.device();
        let mask: Vec<bool> = attention_mask.clone().into_data().iter().collect();
        let texts = mask.chunks(tokens.max(1));
        let lengths = texts.map(|text| {
            let last = text.iter().rposition(|is_real| *is_real);
            last.map_or(0, |last| last + 1).max(SHORTEST).min(tokens)
        });
        let lengths: Vec<usize> = lengths.collect();
        let total: usize = lengths.iter().sum();
        if total == batch * tokens {
            return None;
        }
        let places = lengths.iter().enumerate();
        let from = places.flat_map(|(text, length)| text * tokens..text * tokens + length);
        let from: Vec<i64> = from.map(|place| place as i64).collect();
        let mut to = vec![total as i64; batch * tokens];
        for (place, &token) in from.iter().enumerate() {
            to[token as usize] = place as i64;
        }
        let tensor = |places: Vec<i64>| {
            let count = places.len();
            Tensor::from_data(TensorData::new(places, [count]), &device)
        };
        Some(Self {
            lengths,
            from: tensor(from),
            to: tensor(to),
            shape,
        })
    }

    fn take(&self, states: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, d_model] = states.dims();
        let states = states.reshape([batch * tokens, d_model]);
        states.select(0, self.from.clone()).unsqueeze()
    }

    fn put_back(&self, states: Tensor<3>) -> Tensor<3> {
        let [_, total, d_model] = states.dims();
        let [batch, tokens] = self.shape;
        let states = states.reshape([total, d_model]);
        let zero = Tensor::zeros([1, d_model], (&states.device(), states.dtype()));
        let states = Tensor::cat(vec![states, zero], 0).select(0, self.to.clone());
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
    fn padding_at_the_end_is_left_out_and_comes_back_as_zeros() {
        let device = Device::flex().autodiff();
        let plain = device.clone().without_autodiff();
        // The second has padding before its last token, the third is shorter than the shortest.
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
        let back = keys.unpack(packed.clone());
        let kept: Vec<f32> = back.clone().into_data().iter().collect();
        let expected: Vec<f32> = (0..30)
            .map(|index| match index {
                8 | 9 | 26..30 => 0.0,
                _ => index as f32 + 1.0,
            })
            .collect();
        assert_eq!(kept, expected);
        // Each state that is kept gets its own gradient.
        let gradients = (back.clone() * back).sum().backward();
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
                .all(|(found, kept)| *found == 2.0 * kept)
        );
    }

    #[test]
    fn without_padding_states_stay_where_they_are() {
        let device = Device::flex();
        let keys = BertKeys::new(mask(&[[1; 5]; 2], &device), DType::F32);
        assert_eq!(keys.lengths(), None);
        let states = Tensor::<3>::ones([2, 5, 1], &device);
        assert_eq!(keys.pack(states).dims(), [2, 5, 1]);
    }
}
