//! Collation of samples into batches.

use std::collections::HashMap;
use std::ops::Range;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use twox_hash::XxHash3_64;

use super::dataset::{Sample, SampleText};
use crate::image::CHANNELS;

/// A batch of images, with or without texts; row `i` of every tensor belongs to pair `i`.
#[derive(Clone, Debug)]
pub struct ImageTextBatch {
    /// Normalized views, `[views * batch, 3, height, width]`: the first view of every image, then
    /// the second view of every image, and so on.
    pub images: Tensor<4>,
    /// The texts; `None` in a batch without texts.
    pub texts: Option<TextBatch>,
    /// Positions of the studies in the data set.
    pub indices: Vec<usize>,
}

/// The texts of an [`ImageTextBatch`].
#[derive(Clone, Debug)]
pub struct TextBatch {
    /// Token ids, padded at the end: `[batch, tokens]`.
    pub input_ids: Tensor<2, Int>,
    /// Whether a token is not padding: `[batch, tokens]`.
    pub attention_mask: Tensor<2, Bool>,
    /// Segment of each token; all 0 for single texts: `[batch, tokens]`.
    pub token_type_ids: Tensor<2, Int>,
    /// Hash of each text. Texts that differ only in case and whitespace have the same.
    pub hashes: Vec<u64>,
}

impl ImageTextBatch {
    /// Returns the number of pairs, or of images if there are no texts.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Returns some of the pairs. Texts stay padded to the batch's length.
    ///
    /// # Panics
    ///
    /// When the batch has fewer pairs.
    pub fn part(&self, pairs: Range<usize>) -> Self {
        let batch = self.len().max(1);
        let views = self.images.dims()[0] / batch;
        let views = (0..views).map(|view| {
            let rows = view * batch + pairs.start..view * batch + pairs.end;
            self.images.clone().slice(rows)
        });
        Self {
            images: Tensor::cat(views.collect(), 0),
            texts: self.texts.as_ref().map(|texts| TextBatch {
                input_ids: texts.input_ids.clone().slice(pairs.clone()),
                attention_mask: texts.attention_mask.clone().slice(pairs.clone()),
                token_type_ids: texts.token_type_ids.clone().slice(pairs.clone()),
                hashes: texts.hashes[pairs.clone()].to_vec(),
            }),
            indices: self.indices[pairs].to_vec(),
        }
    }
}

impl TextBatch {
    /// Returns the first `tokens` tokens of the texts, which have to contain all that are not
    /// padding.
    ///
    /// # Panics
    ///
    /// When the batch has fewer tokens.
    pub fn first_tokens(self, tokens: usize) -> Self {
        Self {
            input_ids: self.input_ids.narrow(1, 0, tokens),
            attention_mask: self.attention_mask.narrow(1, 0, tokens),
            token_type_ids: self.token_type_ids.narrow(1, 0, tokens),
            hashes: self.hashes,
        }
    }

    /// Returns a number for each text, from 0 in order of appearance: `[batch]`. Equal texts have
    /// the same number.
    pub fn text_ids(&self) -> Tensor<1, Int> {
        text_ids(&self.hashes, &self.input_ids.device())
    }
}

/// Numbers texts by their hashes, as [`TextBatch::text_ids`].
pub fn text_ids(hashes: &[u64], device: &Device) -> Tensor<1, Int> {
    let mut numbers = HashMap::new();
    let ids = hashes.iter().map(|hash| {
        let next = numbers.len() as i32;
        *numbers.entry(hash).or_insert(next)
    });
    Tensor::from_data(TensorData::new(ids.collect(), [hashes.len()]), device)
}

/// How the texts of a batch are padded to equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// Id of the padding token.
    pub id: u32,
    /// The length is rounded up to a multiple of this many tokens, to limit the number of different
    /// tensor shapes; at least 1.
    pub multiple: usize,
    /// Longest length, in tokens, after rounding up.
    pub max_tokens: usize,
}

/// Collates samples into a batch on `device`, with one upload for each tensor.
///
/// # Panics
///
/// When there are no samples, or their views differ in size or number.
pub fn collate(samples: Vec<Sample>, padding: &Padding, device: &Device) -> ImageTextBatch {
    assert!(!samples.is_empty(), "a batch has at least one sample");
    let (size, numbers) = (samples[0].size, samples[0].pixels.len());
    let mut pixels = Vec::with_capacity(samples.len() * numbers);
    let view = CHANNELS * size * size;
    for start in (0..numbers).step_by(view) {
        for sample in &samples {
            let same = sample.size == size && sample.pixels.len() == numbers;
            assert!(same, "views of a batch have one size and number");
            pixels.extend_from_slice(&sample.pixels[start..start + view]);
        }
    }
    let shape = [pixels.len() / view, CHANNELS, size, size];
    let texts = samples.iter().map(|sample| sample.text.as_ref());
    let texts: Option<Vec<_>> = texts.collect();
    ImageTextBatch {
        images: Tensor::from_data(TensorData::new(pixels, shape), device),
        texts: texts.map(|texts| collate_texts(&texts, padding, device)),
        indices: samples.iter().map(|sample| sample.index).collect(),
    }
}

/// Collates tokenized texts on `device`.
///
/// # Examples
///
/// ```
/// use burn::tensor::Device;
/// use convirt_data::{Padding, SampleText, Tokens, collate_texts};
///
/// let text = |text: &str, ids: &[u32]| SampleText {
///     tokens: Tokens { ids: ids.into(), type_ids: vec![0; ids.len()] },
///     text: text.into(),
/// };
/// let texts = [text("No effusion.", &[2, 7, 9, 3]), text("Clear.", &[2, 8, 3])];
/// let padding = Padding { id: 0, multiple: 8, max_tokens: 64 };
/// let batch = collate_texts(&texts.each_ref(), &padding, &Device::default());
/// assert_eq!(batch.input_ids.dims(), [2, 8]);
/// ```
pub fn collate_texts(texts: &[&SampleText], padding: &Padding, device: &Device) -> TextBatch {
    let batch = texts.len();
    let longest = texts.iter().map(|text| text.tokens.ids.len()).max();
    let longest = longest.unwrap_or(0).max(1);
    let tokens = longest
        .next_multiple_of(padding.multiple.max(1))
        .min(padding.max_tokens.max(longest));

    let mut ids = Vec::with_capacity(batch * tokens);
    let mut types = Vec::with_capacity(batch * tokens);
    let mut mask = Vec::with_capacity(batch * tokens);
    for text in texts {
        let real = text.tokens.ids.len();
        ids.extend(text.tokens.ids.iter().map(|&id| id as i32));
        types.extend(text.tokens.type_ids.iter().map(|&kind| kind as i32));
        mask.extend((0..tokens).map(|token| token < real));
        ids.resize(mask.len(), padding.id as i32);
        types.resize(mask.len(), 0);
    }
    let token_shape = [batch, tokens];
    TextBatch {
        input_ids: Tensor::from_data(TensorData::new(ids, token_shape), device),
        attention_mask: Tensor::from_data(TensorData::new(mask, token_shape), device),
        token_type_ids: Tensor::from_data(TensorData::new(types, token_shape), device),
        hashes: texts.iter().map(|text| hash(&text.text)).collect(),
    }
}

fn hash(text: &str) -> u64 {
    let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
    XxHash3_64::oneshot(words.join(" ").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Tokens;

    fn sample(index: usize, ids: &[u32], text: &str) -> Sample {
        Sample {
            index,
            size: 8,
            pixels: vec![index as f32; 3 * 64],
            text: Some(SampleText {
                tokens: Tokens {
                    ids: ids.into(),
                    type_ids: vec![0; ids.len()],
                },
                text: text.into(),
            }),
        }
    }

    const PADDING: Padding = Padding {
        id: 9,
        multiple: 4,
        max_tokens: 10,
    };

    fn ints<const D: usize>(tensor: Tensor<D, Int>) -> Vec<i64> {
        tensor.into_data().iter::<i64>().collect()
    }

    #[test]
    fn rows_match_and_are_padded_to_the_multiple() {
        let samples = vec![sample(5, &[1, 2, 3, 4, 5], "a"), sample(2, &[6, 7], "b")];
        let batch = collate(samples, &PADDING, &Device::flex());
        assert_eq!(batch.images.dims(), [2, 3, 8, 8]);
        assert_eq!(batch.indices, [5, 2]);
        let pixels: Vec<f32> = batch.images.into_data().iter().collect();
        assert_eq!((pixels[0], pixels[3 * 64]), (5.0, 2.0));
        let texts = batch.texts.unwrap();
        assert_eq!(
            ints(texts.input_ids),
            [1, 2, 3, 4, 5, 9, 9, 9, 6, 7, 9, 9, 9, 9, 9, 9]
        );
        let mask: Vec<bool> = texts.attention_mask.into_data().iter().collect();
        let real = |count| (0..8).map(move |token| token < count);
        assert_eq!(mask, real(5).chain(real(2)).collect::<Vec<_>>());
        assert_eq!(texts.token_type_ids.dims(), [2, 8]);
    }

    #[test]
    fn padding_does_not_exceed_the_maximum() {
        let batch = collate(vec![sample(0, &[1; 9], "a")], &PADDING, &Device::flex());
        assert_eq!(batch.texts.unwrap().input_ids.dims(), [1, 10]);
    }

    #[test]
    fn texts_that_differ_only_in_case_and_whitespace_have_one_number() {
        let samples = [
            "No effusion.",
            "Heart normal.",
            "no  Effusion. ",
            "No effusion",
            "heart\nnormal.",
        ]
        .iter()
        .map(|text| sample(0, &[1], text))
        .collect();
        let batch = collate(samples, &PADDING, &Device::flex());
        assert_eq!(ints(batch.texts.unwrap().text_ids()), [0, 1, 0, 2, 1]);
    }

    #[test]
    fn first_views_precede_second_views_and_a_batch_may_have_no_texts() {
        let samples = [3.0, 4.0].map(|pixel| Sample {
            pixels: [vec![pixel; 3 * 64], vec![-pixel; 3 * 64]].concat(),
            text: None,
            ..sample(pixel as usize, &[], "")
        });
        let batch = collate(samples.into(), &PADDING, &Device::flex());
        assert_eq!((batch.len(), batch.images.dims()), (2, [4, 3, 8, 8]));
        assert!(batch.texts.is_none());
        let pixels: Vec<f32> = batch.images.into_data().iter().collect();
        let views: Vec<f32> = pixels.chunks(3 * 64).map(|view| view[0]).collect();
        assert_eq!(views, [3.0, 4.0, -3.0, -4.0]);
    }

    #[test]
    fn a_batch_can_be_sent_to_another_thread() {
        fn holds<T: Send + Clone + 'static>() {}
        holds::<ImageTextBatch>();
    }
}
