//! Hidden states that training does not change, computed once for each text.

mod state_file;

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write, stderr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use twox_hash::XxHash3_128;

use super::keys::MIN_TOKENS;
use super::{Bert, BertKeys, TextInput};
use state_file::StateFile;

/// The frozen lowest part of a text encoder, which remembers what it made of each text.
///
/// Frozen embeddings and layers give a text the same hidden state every time: they run in
/// evaluation mode, and training leaves their weights alone. A prefix belongs to the encoder it was
/// [made of](Self::of), with its weights of that time; clones share what they remember.
///
/// On the CPU a state is that of the same text in any batch of three tokens or more, bit by bit.
/// Other devices may choose other kernels for other batches, so that states differ by rounding.
#[derive(Clone)]
pub struct FrozenPrefix {
    depth: usize,
    kept: Arc<Mutex<Kept>>,
}

/// Token, mask and segment of each position of a text up to the last real one.
type Key = [[i32; 3]];

#[derive(Default)]
struct Kept {
    /// Hidden states `[tokens, d_model]`.
    states: HashMap<Box<Key>, Arc<[f32]>>,
    bytes: usize,
    /// Bytes in memory at most.
    capacity: usize,
    /// Where to open a file, and its capacity.
    folder: Option<(PathBuf, u64)>,
    file: Option<StateFile>,
}

impl FrozenPrefix {
    /// The frozen part of an encoder that is to be trained: the embeddings and the layers above
    /// them up to the first that trains. `None` where the embeddings themselves train.
    ///
    /// It keeps states of `capacity` bytes in memory, those of the first texts, and computes the
    /// others every time, unless it has a [folder](Self::with_folder).
    pub fn of(encoder: &Bert, capacity: usize) -> Option<Self> {
        let kept = Kept {
            capacity,
            ..Kept::default()
        };
        encoder.frozen_depth().map(|depth| Self {
            depth,
            kept: Arc::new(Mutex::new(kept)),
        })
    }

    /// Keeps all states in a file of a folder too, of up to `capacity` bytes, where later runs find
    /// them: those with the same frozen weights, computed in the same precision by the same
    /// instructions. Each of these has its file.
    ///
    /// A file that cannot be used, or that another run uses, gives a warning.
    pub fn with_folder(self, folder: &Path, capacity: u64) -> Self {
        self.kept().folder = Some((folder.to_path_buf(), capacity));
        self
    }

    /// Opens the file, once there is an encoder whose weights it is for.
    fn open_file(&self, encoder: &Bert) {
        let Some((folder, capacity)) = self.kept().folder.take() else {
            return;
        };
        let name = format!("{:032x}.states", self.fingerprint(encoder));
        let path = folder.join(name);
        match StateFile::open(&path, capacity) {
            Ok(file) => self.kept().file = Some(file),
            Err(error) => warn(&path, &error),
        }
    }

    /// Tells apart what gives other states: the frozen weights, and how states are computed, by
    /// those of some text.
    fn fingerprint(&self, encoder: &Bert) -> u128 {
        let mut weights = Weights(XxHash3_128::new());
        encoder.embeddings.visit(&mut weights);
        let layers = &encoder.layers[..self.depth];
        layers.iter().for_each(|layer| layer.visit(&mut weights));
        let table = encoder.embeddings.word_embeddings.weight.val();
        let ([words, _], device) = (table.dims(), table.device().without_autodiff());
        let tokens = encoder.max_tokens().min(40);
        let ids = (0..tokens).map(|token| (token * 7919 % words) as i64);
        let ids = TensorData::new(ids.collect::<Vec<i64>>(), [1, tokens]);
        let some = TextInput {
            input_ids: Tensor::from_data(ids, &device),
            attention_mask: Tensor::<2, Bool>::full([1, tokens], true, &device),
            token_type_ids: None,
        };
        let states = self.compute(encoder, some);
        weights.0.write(states.into_data().as_bytes());
        weights.0.finish_128()
    }

    /// Hidden states outside autodiff.
    fn compute(&self, encoder: &Bert, input: TextInput) -> Tensor<3> {
        let keys = BertKeys::new(input.attention_mask.clone(), encoder.dtype());
        let states = encoder.run_frozen(input, &keys, self.depth, |_| ());
        keys.unpack(states)
    }

    /// Returns the number of frozen layers above the embeddings.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Returns the number of texts whose state is in memory.
    pub fn texts(&self) -> usize {
        self.kept().states.len()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hidden states of a batch outside autodiff, `[batch, tokens, d_model]`; zeros at padding on
    /// the right.
    pub(super) fn states(&self, encoder: &Bert, input: TextInput) -> Tensor<3> {
        self.open_file(encoder);
        let [batch, tokens] = input.input_ids.dims();
        let (device, d_model) = (input.input_ids.device(), encoder.d_model());
        let keys = keys(&input);
        let mut found: Vec<Option<Arc<[f32]>>> = {
            let mut kept = self.kept();
            keys.iter().map(|key| kept.get(key, d_model)).collect()
        };
        let missing: Vec<usize> = (0..batch).filter(|row| found[*row].is_none()).collect();
        if let Some(longest) = missing.iter().map(|row| keys[*row].len()).max() {
            let longest = longest.max(MIN_TOKENS).min(tokens);
            let rows: Vec<i64> = missing.iter().map(|row| *row as i64).collect();
            let rows = Tensor::<1, Int>::from_data(rows.as_slice(), &device);
            let part = rows_of(&input, rows, longest);
            let states: Vec<f32> = self.compute(encoder, part).into_data().iter().collect();
            for (row, states) in missing.iter().zip(states.chunks(longest * d_model)) {
                let states: Arc<[f32]> = states[..keys[*row].len() * d_model].into();
                self.kept().keep(&keys[*row], &states);
                found[*row] = Some(states);
            }
        }
        let mut values = vec![0.0f32; batch * tokens * d_model];
        for (to, states) in values.chunks_mut(tokens * d_model).zip(found) {
            let states = states.expect("computed above");
            to[..states.len()].copy_from_slice(&states);
        }
        let data = TensorData::new(values, [batch, tokens, d_model]);
        Tensor::<3>::from_data(data, &device).cast(encoder.dtype())
    }
}

impl Kept {
    /// The state of a text, from memory or from the file.
    fn get(&mut self, key: &Key, d_model: usize) -> Option<Arc<[f32]>> {
        if let Some(state) = self.states.get(key) {
            return Some(Arc::clone(state));
        }
        let found = self.file.as_mut()?.get(key);
        let state = self.unless_failed(found)??;
        let state: Arc<[f32]> = (state.len() == key.len() * d_model).then(|| state.into())?;
        self.remember(key, &state);
        Some(state)
    }

    /// Keeps a state that was computed.
    fn keep(&mut self, key: &Key, state: &Arc<[f32]>) {
        self.remember(key, state);
        if let Some(file) = &mut self.file {
            let written = file.put(key, state);
            self.unless_failed(written);
        }
    }

    fn remember(&mut self, key: &Key, state: &Arc<[f32]>) {
        let bytes = size_of_val::<[f32]>(state) + size_of_val(key);
        if self.bytes + bytes <= self.capacity {
            self.bytes += bytes;
            self.states.insert(key.into(), Arc::clone(state));
        }
    }

    /// Goes on without the file where it fails.
    fn unless_failed<T>(&mut self, outcome: io::Result<T>) -> Option<T> {
        let error = match outcome {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        if let Some(file) = self.file.take() {
            warn(file.path(), &error);
        }
        None
    }
}

fn warn(path: &Path, error: &io::Error) {
    let path = path.display();
    let problem = match error.kind() {
        io::ErrorKind::WouldBlock => "another run uses it".to_string(),
        _ => error.to_string(),
    };
    // Whether anybody reads it or not.
    let _ = writeln!(
        stderr(),
        "warning: {path}: {problem}; states of frozen layers are not kept on disk"
    );
}

/// Hashes what a part of a network is made of.
struct Weights(XxHash3_128);

impl ModuleVisitor for Weights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.write(param.val().into_data().as_bytes());
    }
}

impl fmt::Debug for FrozenPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} layers, {} texts", self.depth, self.texts())
    }
}

/// Token, mask and segment of each text's positions, up to its last real token.
fn keys(input: &TextInput) -> Vec<Box<Key>> {
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
    use convirt_ops::{Precision, autocast};
    use std::fs;

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
            let alone = prefix.states(&encoder, texts(&[row], row.len().max(MIN_TOKENS), &device));
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

    /// With no room in memory all comes from the file, or is computed.
    #[test]
    fn states_in_a_file_are_the_computed_ones_in_later_runs_and_of_no_other_encoder() {
        let device = Device::flex().autodiff();
        let folder = std::env::temp_dir().join(format!("convirt-prefix-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let input = texts(&[&[2, 5, 3], &[2, 7, 9, 3]], 5, &device);
        let first = encoder(BertFamily::Bert, &device);
        let open = |encoder: &Bert, precision| {
            let prefix = FrozenPrefix::of(encoder, 0).unwrap();
            let prefix = prefix.with_folder(&folder, 1 << 20);
            autocast(precision, || prefix.open_file(encoder));
            prefix
        };
        let lengths = || {
            let files = fs::read_dir(&folder).unwrap();
            let lengths = files.map(|file| file.unwrap().metadata().unwrap().len());
            let mut lengths: Vec<u64> = lengths.collect();
            lengths.sort_unstable();
            lengths
        };
        let expected = outcome(&first, &input, None);
        for _run in 0..2 {
            let prefix = open(&first, Precision::Float32);
            assert_eq!(outcome(&first, &input, Some(&prefix)), expected);
            assert_eq!(lengths(), [8 + 2 * 16 + 7 * (12 + 24 * 4)]);
        }
        // A state that only the file knows.
        let prefix = open(&first, Precision::Float32);
        let key: Box<Key> = [[2, 1, 0], [4, 1, 0], [3, 1, 0]].into();
        prefix.kept().keep(&key, &vec![0.25; 3 * 24].into());
        let known = texts(&[&[2, 4, 3]], 3, &device.clone().without_autodiff());
        let state = prefix.states(&first, known);
        assert!(state.into_data().iter::<f32>().all(|number| number == 0.25));
        drop(prefix);

        let weight = first.layers[1].output.weight.clone();
        let mut other = first.clone();
        other.layers[1].output.weight = weight.map(|weight| weight * 1.001);
        let prefix = open(&other, Precision::Float32);
        let found = outcome(&other, &input, Some(&prefix));
        assert_eq!(found, outcome(&other, &input, None));
        assert_ne!(found, expected);
        drop(prefix);
        drop(open(&first, Precision::BFloat16));
        assert_eq!(lengths().len(), 3);
        // What trains is no part of it.
        let weight = first.layers[2].output.weight.clone();
        let mut trained = first.clone();
        trained.layers[2].output.weight = weight.map(|weight| weight * 1.001);
        drop(open(&trained, Precision::Float32));
        assert_eq!(lengths().len(), 3);
        fs::remove_dir_all(folder).unwrap();
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
