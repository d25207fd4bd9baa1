//! Hidden states that training does not change, computed once for each text.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Int, Tensor, TensorData};

use super::keys::SHORTEST;
use super::{Bert, Keys, TextInput};

/// The frozen lowest part of a text encoder, which remembers what it made of each text.
///
/// Frozen embeddings and layers give a text the same hidden state every time: they run in
/// evaluation mode, and training leaves their weights alone. A prefix belongs to the encoder it was
/// [made of](Self::of), with its weights of that time; clones share what they remember.
///
/// On the CPU a state is that of the same text in any batch of three tokens or more, bit by bit. Other devices may choose
/// other kernels for other batches, so that states differ by rounding.
#[derive(Clone)]
pub struct FrozenPrefix {
    depth: usize,
    capacity: usize,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// Hidden states `[tokens, d_model]` by token, mask and segment of each position up to the
    /// last real one.
    states: HashMap<Box<[[i32; 3]]>, Arc<[f32]>>,
    bytes: usize,
}

impl FrozenPrefix {
    /// The frozen part of an encoder that is to be trained: the embeddings and the layers above
    /// them up to the first that trains. `None` where the embeddings themselves train.
    ///
    /// It keeps states of `capacity` bytes, those of the first texts, and computes the others
    /// every time.
    pub fn of(encoder: &Bert, capacity: usize) -> Option<Self> {
        encoder.frozen_depth().map(|depth| Self {
            depth,
            capacity,
            kept: Arc::default(),
        })
    }

    /// Returns the number of frozen layers above the embeddings.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Returns the number of texts whose state is kept.
    pub fn texts(&self) -> usize {
        self.kept().states.len()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hidden states of a batch outside autodiff, `[batch, tokens, d_model]`; zeros at padding on
    /// the right.
    pub(super) fn states(&self, encoder: &Bert, input: TextInput) -> Tensor<3> {
        let [batch, tokens] = input.input_ids.dims();
        let (device, d_model) = (input.input_ids.device(), encoder.d_model());
        let keys = keys(&input);
        let mut found: Vec<Option<Arc<[f32]>>> = {
            let kept = self.kept();
            keys.iter()
                .map(|key| kept.states.get(key).cloned())
                .collect()
        };
        let missing: Vec<usize> = (0..batch).filter(|row| found[*row].is_none()).collect();
        if let Some(longest) = missing.iter().map(|row| keys[*row].len()).max() {
            let longest = longest.max(SHORTEST).min(tokens);
            let rows: Vec<i64> = missing.iter().map(|row| *row as i64).collect();
            let rows = Tensor::<1, Int>::from_data(rows.as_slice(), &device);
            let part = rows_of(&input, rows, longest);
            let dtype = encoder.embeddings.word_embeddings.weight.val().dtype();
            let layout = Keys::new(part.attention_mask.clone(), dtype);
            let states = encoder.run_frozen(part, &layout, self.depth, |_| ());
            let states = layout.unpack(states);
            let states: Vec<f32> = states.into_data().iter().collect();
            for (row, states) in missing.iter().zip(states.chunks(longest * d_model)) {
                let states: Arc<[f32]> = states[..keys[*row].len() * d_model].into();
                self.keep(&keys[*row], &states);
                found[*row] = Some(states);
            }
        }
        let mut values = vec![0.0f32; batch * tokens * d_model];
        for (to, states) in values.chunks_mut(tokens * d_model).zip(found) {
            let states = states.expect("computed above");
            to[..states.len()].copy_from_slice(&states);
        }
        let weight = encoder.embeddings.word_embeddings.weight.val();
        let data = TensorData::new(values, [batch, tokens, d_model]);
        Tensor::<3>::from_data(data, &device).cast(weight.dtype())
    }

    fn keep(&self, key: &[[i32; 3]], states: &Arc<[f32]>) {
        let mut kept = self.kept();
        let bytes = size_of_val::<[f32]>(states) + size_of_val(key);
        if kept.bytes + bytes <= self.capacity {
            kept.bytes += bytes;
            kept.states.insert(key.into(), Arc::clone(states));
        }
    }
}

impl fmt::Debug for FrozenPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} layers, {} texts", self.depth, self.texts())
    }
}

/// Token, mask and segment of each text's positions, up to its last real token.
fn keys(input: &TextInput) -> Vec<Box<[[i32; 3]]>> {
    let [_, tokens] = input.input_ids.dims();
    let values = |tensor: Tensor<2, Int>| tensor.into_data().iter().collect::<Vec<i32>>();
    let ids = values(input.input_ids.clone());
    let mask = values(input.attention_mask.clone().int());
    let types = match &input.token_type_ids {
        Some(types) => values(types.clone()),
        None => vec![0; ids.len()],
    };
    let positions = ids.into_iter().zip(mask).zip(types);
    let positions: Vec<[i32; 3]> = positions
        .map(|((id, mask), segment)| [id, mask, segment])
        .collect();
    let texts = positions.chunks(tokens.max(1)).map(|text| {
        let length = text.iter().rposition(|[_, mask, _]| *mask != 0);
        text[..length.map_or(0, |last| last + 1)].into()
    });
    texts.collect()
}

/// Some texts of a batch, cut to so many tokens.
fn rows_of(input: &TextInput, rows: Tensor<1, Int>, tokens: usize) -> TextInput {
    let of = |tensor: Tensor<2, Int>| tensor.select(0, rows.clone()).narrow(1, 0, tokens);
    TextInput {
        input_ids: of(input.input_ids.clone()),
        attention_mask: of(input.attention_mask.clone().int()).bool(),
        token_type_ids: input.token_type_ids.clone().map(of),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{small, texts};
    use super::*;
    use crate::{BertConfig, BertFamily};
    use burn::optim::GradientsParams;
    use burn::tensor::Device;

    fn encoder(family: BertFamily, device: &Device) -> Bert {
        device.seed(4);
        let config = BertConfig {
            hidden_size: 24,
            num_hidden_layers: 4,
            ..small(family)
        };
        let encoder = config.init(device).unwrap();
        encoder
            .freeze_embeddings()
            .freeze_layers(&[0, 1, 3])
            .unwrap()
    }

    /// States at real tokens, and the gradient of a weight above the prefix.
    fn outcome(
        encoder: &Bert,
        input: &TextInput,
        prefix: Option<&FrozenPrefix>,
    ) -> [TensorData; 2] {
        let state = match prefix {
            Some(prefix) => encoder.forward_from(prefix, input.clone(), 4),
            None => encoder.forward_to(input.clone(), 4),
        };
        let [_, _, d_model] = state.dims();
        let padding = input
            .attention_mask
            .clone()
            .bool_not()
            .unsqueeze_dim::<3>(2);
        let state = state.mask_fill(padding.expand([-1, -1, d_model as i64]), 0.0);
        let loss = (state.clone() * state.clone()).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), encoder);
        let weight = &encoder.layers[2].attention.query.weight;
        let gradient = gradients.get::<2>(weight.id).unwrap();
        [state.into_data(), gradient.into_data()]
    }

    #[test]
    fn remembered_states_are_the_computed_ones_bit_by_bit() {
        let device = Device::flex().autodiff();
        for family in [
            BertFamily::Bert,
            BertFamily::Roberta,
            BertFamily::DistilBert,
        ] {
            let encoder = encoder(family, &device);
            let prefix = FrozenPrefix::of(&encoder, 1 << 20).unwrap();
            assert_eq!(prefix.depth(), 2);
            // Alone, then beside others and with more padding, then all known.
            let first = texts(&[&[2, 7, 9, 3]], 4, &device);
            let second = texts(
                &[&[2, 5, 3], &[2, 7, 9, 3], &[2, 5, 8, 6, 4, 3]],
                9,
                &device,
            );
            for (input, known) in [(&first, 1), (&second, 3), (&second, 3)] {
                let remembered = outcome(&encoder, input, Some(&prefix));
                assert_eq!(remembered, outcome(&encoder, input, None), "{family:?}");
                assert_eq!(prefix.texts(), known);
            }
        }
    }

    /// At BERT-base's widths products are divided among threads, by rows or by columns, and sums
    /// of 768 and 3,072 products into parts.
    #[test]
    fn wide_states_do_not_depend_on_the_batch() {
        let device = Device::flex().autodiff();
        let config = BertConfig {
            num_hidden_layers: 1,
            initializer_range: 0.02,
            max_position_embeddings: 64,
            ..BertConfig::base(60)
        };
        let encoder = config.init(&device).unwrap();
        let encoder = encoder.freeze_embeddings().freeze_layers(&[0]).unwrap();
        let rows: Vec<Vec<i64>> = (0..40)
            .map(|row| {
                (2..4 + row)
                    .map(|token| (token * (row + 3)) % 57 + 2)
                    .collect()
            })
            .collect();
        let rows: Vec<&[i64]> = rows.iter().map(|row| &row[..]).collect();
        let prefix = FrozenPrefix::of(&encoder, 1 << 30).unwrap();
        let together = prefix.states(&encoder, texts(&rows, 48, &device));
        for (index, row) in rows.iter().enumerate() {
            let prefix = FrozenPrefix::of(&encoder, 0).unwrap();
            let alone = prefix.states(&encoder, texts(&[row], row.len().max(SHORTEST), &device));
            let [alone, beside] = [(alone, 0), (together.clone(), index)]
                .map(|(states, row_index)| states.slice([row_index..row_index + 1, 0..row.len()]));
            assert_eq!(alone.into_data(), beside.into_data(), "{index}");
        }
    }

    #[test]
    fn tokens_masks_and_segments_tell_texts_apart() {
        let device = Device::flex();
        let encoder = encoder(BertFamily::Bert, &device.clone().autodiff());
        let prefix = FrozenPrefix::of(&encoder, 1 << 20).unwrap();
        let input = texts(&[&[2, 7, 9, 3]], 4, &device);
        let other_segment = TextInput {
            token_type_ids: Some(input.input_ids.ones_like()),
            ..input.clone()
        };
        let masked = Tensor::<2, Int>::from_data([[1, 0, 1, 1]], &device).bool();
        let other_mask = TextInput {
            attention_mask: masked,
            ..input.clone()
        };
        let states = [input, other_segment, other_mask].map(|input| prefix.states(&encoder, input));
        let [a, b, c] = states.map(Tensor::into_data);
        assert!(a != b && a != c && b != c);
        assert_eq!(prefix.texts(), 3);
    }

    #[test]
    fn beyond_its_capacity_a_prefix_computes_and_keeps_nothing() {
        let device = Device::flex().autodiff();
        let encoder = encoder(BertFamily::Bert, &device);
        // Three tokens of 24 floats, and their key.
        let prefix = FrozenPrefix::of(&encoder, 3 * 24 * 4 + 3 * 12).unwrap();
        let input = texts(&[&[2, 5, 3], &[2, 7, 3]], 3, &device);
        for _ in 0..2 {
            assert_eq!(
                outcome(&encoder, &input, Some(&prefix)),
                outcome(&encoder, &input, None)
            );
            assert_eq!(prefix.texts(), 1);
        }
    }

    #[test]
    fn text_of_padding_only_stays_finite() {
        let device = Device::flex().autodiff();
        let encoder = encoder(BertFamily::Roberta, &device);
        let prefix = FrozenPrefix::of(&encoder, 1 << 20).unwrap();
        let [state, _] = outcome(&encoder, &texts(&[&[2, 3], &[]], 2, &device), Some(&prefix));
        assert!(state.iter::<f32>().all(f32::is_finite));
    }

    #[test]
    fn encoder_whose_embeddings_train_has_no_prefix() {
        let device = Device::flex().autodiff();
        let encoder = small(BertFamily::Bert).init(&device).unwrap();
        let encoder = encoder.freeze_layers(&[0]).unwrap();
        assert!(FrozenPrefix::of(&encoder, 1 << 20).is_none());
    }
}
