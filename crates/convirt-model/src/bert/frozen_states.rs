//! A cache of the hidden states of frozen layers, which training does not change.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use twox_hash::XxHash3_128;

use super::keys::MIN_TOKENS;
use super::{Bert, BertKeys, TextInput};

/// A cache of the hidden states that the frozen lowest part of a text encoder computes.
///
/// Frozen embeddings and layers compute the same hidden state for a text every time: they run in
/// evaluation mode, and training does not change their weights. An encoder that
/// [has](Bert::with_frozen_states) a cache computes the states of each text once. A cache belongs
/// to one encoder and its current frozen weights; clones share their content.
///
/// On the CPU the state of a text is the same in any batch of three tokens or more, bit by bit.
/// Other devices may choose other kernels for other batches, so that states differ by rounding.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use convirt_model::{BertConfig, FrozenStates, TextInput};
///
/// # fn main() -> Result<(), convirt_model::ModelError> {
/// let device = Device::flex().autodiff();
/// let config = BertConfig {
///     hidden_size: 16,
///     num_hidden_layers: 2,
///     num_attention_heads: 2,
///     intermediate_size: 32,
///     ..BertConfig::base(100)
/// };
/// let encoder = config.init(&device)?.freeze_embeddings().freeze_layers(&[0])?;
/// let states = FrozenStates::new(1 << 20);
/// let encoder = encoder.with_frozen_states(&states);
///
/// let input_ids = Tensor::<2, Int>::from_data([[2, 5, 7, 3], [2, 9, 6, 3]], &device);
/// let input = TextInput {
///     attention_mask: input_ids.clone().not_equal_elem(0),
///     input_ids,
///     token_type_ids: None,
/// };
/// encoder.forward_to(input, 2);
/// assert_eq!(states.texts(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FrozenStates {
    cache: Arc<Mutex<Cache>>,
}

/// Token, mask and segment of each position of a text up to the last real token.
pub type TextKey = [[i32; 3]];

/// A place where the states of one encoder outlast the process, such as a file.
///
/// It handles its own errors: a state that cannot be read is computed again.
pub trait StateStorage: Send {
    /// Returns the state of a text, `[tokens, d_model]` in a row, if it is stored.
    fn get(&mut self, text: &TextKey) -> Option<Vec<f32>>;

    /// Stores the state of a text, if there is room.
    fn put(&mut self, text: &TextKey, state: &[f32]);
}

/// Opens the storage for the encoder with a fingerprint.
type OpenStorage = Box<dyn FnOnce(u128) -> Option<Box<dyn StateStorage>> + Send>;

#[derive(Default)]
struct Cache {
    /// Hidden states, `[tokens, d_model]`.
    states: HashMap<Box<TextKey>, Arc<[f32]>>,
    bytes: usize,
    /// Limit of the bytes in memory.
    capacity: usize,
    /// Opens the storage at the first use, in the precision of that use.
    open_storage: Option<OpenStorage>,
    storage: Option<Box<dyn StateStorage>>,
}

impl FrozenStates {
    /// Creates a cache with up to `capacity` bytes of states in memory. When it is full, the states
    /// of further texts are computed every time, unless there is a [storage](Self::with_storage).
    pub fn new(capacity: usize) -> Self {
        let cache = Cache {
            capacity,
            ..Cache::default()
        };
        Self {
            cache: Arc::new(Mutex::new(cache)),
        }
    }

    /// Keeps all states in a storage, too. At the first use, `open` gets a fingerprint of the
    /// encoder: it is the same in later runs if they have the same frozen weights and compute in
    /// the same precision by the same instructions.
    pub fn with_storage(
        self,
        open: impl FnOnce(u128) -> Option<Box<dyn StateStorage>> + Send + 'static,
    ) -> Self {
        self.cache().open_storage = Some(Box::new(open));
        self
    }

    /// Returns the number of texts whose states are in memory.
    pub fn texts(&self) -> usize {
        self.cache().states.len()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FrozenStates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} texts", self.texts())
    }
}

/// The frozen lowest part of a text encoder, with a cache of its states.
#[derive(Clone, Debug)]
pub(super) struct FrozenPrefix {
    /// Number of frozen layers above the embeddings.
    depth: usize,
    states: FrozenStates,
}

impl FrozenPrefix {
    /// The embeddings and the layers above them up to the first that trains; `None` if the
    /// embeddings train.
    pub(super) fn new(encoder: &Bert, states: FrozenStates) -> Option<Self> {
        let depth = encoder.frozen_depth()?;
        Some(Self { depth, states })
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Opens the storage at the first use.
    fn open_storage(&self, encoder: &Bert) {
        let open = self.states.cache().open_storage.take();
        if let Some(open) = open {
            let storage = open(self.fingerprint(encoder));
            self.states.cache().storage = storage;
        }
    }

    /// A hash of the frozen weights and of the states of a fixed text, which depend on the kernels.
    fn fingerprint(&self, encoder: &Bert) -> u128 {
        let mut weights = WeightHash(XxHash3_128::new());
        encoder.embeddings.visit(&mut weights);
        let layers = &encoder.layers[..self.depth];
        layers.iter().for_each(|layer| layer.visit(&mut weights));
        let table = encoder.embeddings.word_embeddings.weight.val();
        let ([words, _], device) = (table.dims(), table.device().without_autodiff());
        let tokens = encoder.max_tokens().min(40);
        let ids = (0..tokens).map(|token| (token * 7919 % words) as i64);
        let ids = TensorData::new(ids.collect::<Vec<i64>>(), [1, tokens]);
        let text = TextInput {
            input_ids: Tensor::from_data(ids, &device),
            attention_mask: Tensor::<2, Bool>::full([1, tokens], true, &device),
            token_type_ids: None,
        };
        let states = self.compute(encoder, text);
        weights.0.write(states.into_data().as_bytes());
        weights.0.finish_128()
    }

    /// Hidden states outside autodiff.
    fn compute(&self, encoder: &Bert, input: TextInput) -> Tensor<3> {
        let keys = BertKeys::new(input.attention_mask.clone(), encoder.dtype());
        let states = encoder.run_frozen(input, &keys, self.depth, |_| ());
        keys.unpack(states)
    }

    /// Hidden states of a batch outside autodiff, `[batch, tokens, d_model]`, with zeros for
    /// padding on the right.
    pub(super) fn states(&self, encoder: &Bert, input: TextInput) -> Tensor<3> {
        self.open_storage(encoder);
        let [batch, tokens] = input.input_ids.dims();
        let (device, d_model) = (input.input_ids.device(), encoder.d_model());
        let keys = keys(&input);
        let mut states: Vec<Option<Arc<[f32]>>> = {
            let mut cache = self.states.cache();
            keys.iter().map(|key| cache.get(key, d_model)).collect()
        };
        let missing: Vec<usize> = (0..batch).filter(|row| states[*row].is_none()).collect();
        if let Some(longest) = missing.iter().map(|row| keys[*row].len()).max() {
            let longest = longest.max(MIN_TOKENS).min(tokens);
            let rows: Vec<i64> = missing.iter().map(|row| *row as i64).collect();
            let rows = Tensor::<1, Int>::from_data(rows.as_slice(), &device);
            let texts = select_texts(&input, rows, longest);
            let computed: Vec<f32> = self.compute(encoder, texts).into_data().iter().collect();
            for (row, state) in missing.iter().zip(computed.chunks(longest * d_model)) {
                let state: Arc<[f32]> = state[..keys[*row].len() * d_model].into();
                self.states.cache().insert(&keys[*row], &state);
                states[*row] = Some(state);
            }
        }
        let mut values = vec![0.0f32; batch * tokens * d_model];
        for (values, state) in values.chunks_mut(tokens * d_model).zip(states) {
            let state = state.expect("computed above");
            values[..state.len()].copy_from_slice(&state);
        }
        let data = TensorData::new(values, [batch, tokens, d_model]);
        Tensor::<3>::from_data(data, &device).cast(encoder.dtype())
    }
}

impl Cache {
    /// The state of a text, from memory or from the storage.
    fn get(&mut self, key: &TextKey, d_model: usize) -> Option<Arc<[f32]>> {
        if let Some(state) = self.states.get(key) {
            return Some(Arc::clone(state));
        }
        let state = self.storage.as_mut()?.get(key)?;
        let state: Arc<[f32]> = (state.len() == key.len() * d_model).then(|| state.into())?;
        self.insert_in_memory(key, &state);
        Some(state)
    }

    /// Inserts a computed state.
    fn insert(&mut self, key: &TextKey, state: &Arc<[f32]>) {
        self.insert_in_memory(key, state);
        if let Some(storage) = &mut self.storage {
            storage.put(key, state);
        }
    }

    /// Inserts a state in memory, unless the capacity is reached.
    fn insert_in_memory(&mut self, key: &TextKey, state: &Arc<[f32]>) {
        let bytes = size_of_val::<[f32]>(state) + size_of_val(key);
        if self.bytes + bytes <= self.capacity {
            self.bytes += bytes;
            self.states.insert(key.into(), Arc::clone(state));
        }
    }
}

/// Hashes the weights of a part of a network.
struct WeightHash(XxHash3_128);

impl ModuleVisitor for WeightHash {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.write(param.val().into_data().as_bytes());
    }
}

/// Token, mask and segment of each text's positions, up to its last real token.
fn keys(input: &TextInput) -> Vec<Box<TextKey>> {
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

/// Selects some texts of a batch, cut to `tokens` tokens.
fn select_texts(input: &TextInput, rows: Tensor<1, Int>, tokens: usize) -> TextInput {
    let select = |tensor: Tensor<2, Int>| tensor.select(0, rows.clone()).narrow(1, 0, tokens);
    TextInput {
        input_ids: select(input.input_ids.clone()),
        attention_mask: select(input.attention_mask.clone().int()).bool(),
        token_type_ids: input.token_type_ids.clone().map(select),
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

    /// States of real tokens, and the gradient of a weight above the frozen layers.
    fn outcome(encoder: &Bert, input: &TextInput) -> [TensorData; 2] {
        let state = encoder.forward_to(input.clone(), 4);
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
    fn cached_states_are_the_computed_ones_bit_by_bit() {
        let device = Device::flex().autodiff();
        for family in [
            BertFamily::Bert,
            BertFamily::Roberta,
            BertFamily::DistilBert,
        ] {
            let encoder = encoder(family, &device);
            assert_eq!(encoder.frozen_depth(), Some(2));
            let states = FrozenStates::new(1 << 20);
            let cached = encoder.clone().with_frozen_states(&states);
            // A single text, then with others and more padding, then all from the cache.
            let first = texts(&[&[2, 7, 9, 3]], 4, &device);
            let second = texts(
                &[&[2, 5, 3], &[2, 7, 9, 3], &[2, 5, 8, 6, 4, 3]],
                9,
                &device,
            );
            for (input, texts) in [(&first, 1), (&second, 3), (&second, 3)] {
                let actual = outcome(&cached, input);
                assert_eq!(actual, outcome(&encoder, input), "{family:?}");
                assert_eq!(states.texts(), texts);
            }
        }
    }

    /// At BERT-base's widths, matrix products are divided among threads by rows or by columns, and
    /// their sums of 768 and 3,072 products into parts.
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
        let prefix = |capacity| FrozenPrefix::new(&encoder, FrozenStates::new(capacity)).unwrap();
        let together = prefix(1 << 30).states(&encoder, texts(&rows, 48, &device));
        for (index, row) in rows.iter().enumerate() {
            let input = texts(&[row], row.len().max(MIN_TOKENS), &device);
            let single = prefix(0).states(&encoder, input);
            let [single, in_batch] = [(single, 0), (together.clone(), index)]
                .map(|(states, row_index)| states.slice([row_index..row_index + 1, 0..row.len()]));
            assert_eq!(single.into_data(), in_batch.into_data(), "{index}");
        }
    }

    #[test]
    fn texts_differ_by_tokens_masks_and_segments() {
        let device = Device::flex();
        let encoder = encoder(BertFamily::Bert, &device.clone().autodiff());
        let cache = FrozenStates::new(1 << 20);
        let prefix = FrozenPrefix::new(&encoder, cache.clone()).unwrap();
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
        assert_eq!(cache.texts(), 3);
    }

    #[test]
    fn beyond_its_capacity_a_cache_keeps_nothing() {
        let device = Device::flex().autodiff();
        let encoder = encoder(BertFamily::Bert, &device);
        // Three tokens of 24 floats, and their key.
        let states = FrozenStates::new(3 * 24 * 4 + 3 * 12);
        let cached = encoder.clone().with_frozen_states(&states);
        let input = texts(&[&[2, 5, 3], &[2, 7, 3]], 3, &device);
        for _ in 0..2 {
            assert_eq!(outcome(&cached, &input), outcome(&encoder, &input));
            assert_eq!(states.texts(), 1);
        }
    }

    /// States by text.
    type States = HashMap<Vec<[i32; 3]>, Vec<f32>>;

    /// A storage in memory: the states by encoder.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<HashMap<u128, States>>>);

    struct OfEncoder(Shared, u128);

    impl StateStorage for OfEncoder {
        fn get(&mut self, text: &TextKey) -> Option<Vec<f32>> {
            let encoders = self.0.0.lock().unwrap();
            encoders.get(&self.1)?.get(text).cloned()
        }

        fn put(&mut self, text: &TextKey, state: &[f32]) {
            let mut encoders = self.0.0.lock().unwrap();
            let states = encoders.entry(self.1).or_default();
            states.insert(text.to_vec(), state.to_vec());
        }
    }

    /// With no room in memory, all states come from the storage or are computed.
    #[test]
    fn stored_states_are_the_computed_ones_for_the_same_encoder_only() {
        let device = Device::flex().autodiff();
        let storage = Shared::default();
        let input = texts(&[&[2, 5, 3], &[2, 7, 9, 3]], 5, &device);
        let first = encoder(BertFamily::Bert, &device);
        let cached = |encoder: &Bert| {
            let storage = storage.clone();
            let open = |encoder| Some(Box::new(OfEncoder(storage, encoder)) as Box<_>);
            encoder
                .clone()
                .with_frozen_states(&FrozenStates::new(0).with_storage(open))
        };
        let counts = || {
            let encoders = storage.0.lock().unwrap();
            let mut counts: Vec<usize> = encoders.values().map(HashMap::len).collect();
            counts.sort_unstable();
            counts
        };
        let expected = outcome(&first, &input);
        for _run in 0..2 {
            assert_eq!(outcome(&cached(&first), &input), expected);
            assert_eq!(counts(), [2]);
        }
        // What is stored is used.
        for state in storage
            .0
            .lock()
            .unwrap()
            .values_mut()
            .flat_map(HashMap::values_mut)
        {
            state.fill(0.25);
        }
        assert_ne!(outcome(&cached(&first), &input), expected);

        let weight = first.layers[1].output.weight.clone();
        let mut other = first.clone();
        other.layers[1].output.weight = weight.map(|weight| weight * 1.001);
        let actual = outcome(&cached(&other), &input);
        assert_eq!(actual, outcome(&other, &input));
        assert_ne!(actual, expected);
        assert_eq!(counts(), [2, 2]);
        // Another precision is another encoder, too.
        autocast(Precision::BFloat16, || outcome(&cached(&first), &input));
        assert_eq!(counts(), [2, 2, 2]);
        // Weights that train do not change the fingerprint.
        let weight = first.layers[2].output.weight.clone();
        let mut trained = first.clone();
        trained.layers[2].output.weight = weight.map(|weight| weight * 1.001);
        outcome(&cached(&trained), &input);
        assert_eq!(counts(), [2, 2, 2]);
    }

    #[test]
    fn text_of_padding_only_has_finite_states() {
        let device = Device::flex().autodiff();
        let encoder = encoder(BertFamily::Roberta, &device);
        let encoder = encoder.with_frozen_states(&FrozenStates::new(1 << 20));
        let [state, _] = outcome(&encoder, &texts(&[&[2, 3], &[]], 2, &device));
        assert!(state.iter::<f32>().all(f32::is_finite));
    }

    #[test]
    fn encoder_whose_embeddings_train_caches_nothing() {
        let device = Device::flex().autodiff();
        let encoder = small(BertFamily::Bert).init(&device).unwrap();
        let encoder = encoder.freeze_layers(&[0]).unwrap();
        let states = FrozenStates::new(1 << 20);
        let encoder = encoder.with_frozen_states(&states);
        encoder.forward_to(texts(&[&[2, 3]], 2, &device), 3);
        assert_eq!(states.texts(), 0);
    }
}
