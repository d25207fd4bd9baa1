//! Loss and accuracies of one batch.

use burn::tensor::{Device, ExecutionError, Tensor, TensorData};
use burn::train::ItemLazy;
use burn::train::metric::Adaptor;
use serde::{Deserialize, Serialize};

/// The loss and the accuracies of one batch.
///
/// A [`PretrainingTask`](crate::training::PretrainingTask) returns them as [`PendingMeasures`]; its
/// example reads them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Contrastive loss in nats, mean over the batch.
    pub loss: f64,
    /// Accuracies within the batch, 0 to 1.
    ///
    /// - ConVIRT has two: the fraction of images whose most similar text is their own or equal to
    ///   it, and the fraction of texts whose most similar image is their own or has an equal text.
    /// - SimCLR has one: the fraction of views whose most similar other view shows the same image.
    pub accuracies: Vec<f64>,
    /// Number of pairs in the batch, each of an image and a text or of two views.
    pub pairs: usize,
}

/// The mean of [`Measures`] over all pairs of several batches.
#[derive(Clone, Debug, Default)]
pub(crate) struct MeanMeasures {
    loss: f64,
    accuracies: Vec<f64>,
    pairs: usize,
}

impl MeanMeasures {
    /// Adds a batch.
    pub(crate) fn add(&mut self, batch: &Measures) {
        let weight = batch.pairs as f64;
        self.accuracies.resize(batch.accuracies.len(), 0.0);
        self.loss += weight * batch.loss;
        for (sum, accuracy) in self.accuracies.iter_mut().zip(&batch.accuracies) {
            *sum += weight * accuracy;
        }
        self.pairs += batch.pairs;
    }

    /// Returns the number of pairs so far.
    pub(crate) fn pairs(&self) -> usize {
        self.pairs
    }

    /// Returns the means, and the number of all pairs.
    pub(crate) fn measures(&self) -> Measures {
        let pairs = self.pairs.max(1) as f64;
        Measures {
            loss: self.loss / pairs,
            accuracies: self.accuracies.iter().map(|sum| sum / pairs).collect(),
            pairs: self.pairs,
        }
    }
}

/// [`Measures`] on the device. [`sync`](ItemLazy::sync) reads them with one transfer, then
/// [`adapt`](Adaptor::adapt) returns them.
#[derive(Clone, Debug)]
pub struct PendingMeasures {
    values: Tensor<1>,
    pairs: usize,
    embeddings: Option<[Tensor<2>; 2]>,
    read: Option<Measures>,
}

impl PendingMeasures {
    /// Concatenates a loss and accuracies, each of shape `[1]`.
    pub(crate) fn new(loss: Tensor<1>, accuracies: Vec<Tensor<1>>, pairs: usize) -> Self {
        let mut values = vec![loss.without_autodiff()];
        values.extend(accuracies);
        Self {
            values: Tensor::cat(values, 0),
            pairs,
            embeddings: None,
            read: None,
        }
    }

    /// Makes measures of values that have been read.
    pub(crate) fn given(measures: Measures, device: &Device) -> Self {
        Self {
            values: Tensor::zeros([1], device),
            pairs: measures.pairs,
            embeddings: None,
            read: Some(measures),
        }
    }

    /// Adds the embeddings of images and texts of an evaluation.
    pub(crate) fn with_embeddings(mut self, embeddings: Option<[Tensor<2>; 2]>) -> Self {
        self.embeddings = embeddings;
        self
    }

    /// Removes and returns the embeddings of an evaluation, of images and of texts, each
    /// `[batch, d_embedding]`.
    pub(crate) fn take_embeddings(&mut self) -> Option<[Tensor<2>; 2]> {
        self.embeddings.take()
    }

    /// Reads the values from the device, whether they are finite or not.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub(crate) fn read(mut self) -> Result<Self, ExecutionError> {
        if self.read.is_none() {
            let values = numbers(self.values.clone().try_into_data()?)?;
            self.read = Some(self.with_values(&values));
        }
        Ok(self)
    }

    /// Gives the device all that is left to compute for the values and a number, `[1]`, without
    /// waiting for them.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub(crate) fn queue_with(self, number: Tensor<1>) -> Result<QueuedMeasures, ExecutionError> {
        // On a GPU the numbers are copied when they are looked at.
        let numbers = Tensor::cat(vec![self.values.clone(), number], 0).try_into_data()?;
        Ok(QueuedMeasures {
            measures: self,
            numbers,
        })
    }

    /// The measures of a loss and accuracies that have been read.
    fn with_values(&self, values: &[f32]) -> Measures {
        Measures {
            loss: f64::from(values[0]),
            accuracies: values[1..].iter().copied().map(f64::from).collect(),
            pairs: self.pairs,
        }
    }

    /// Returns the values, if they have been read.
    pub(crate) fn measures(&self) -> Option<&Measures> {
        self.read.as_ref()
    }
}

/// [`PendingMeasures`] and a number that the device is computing.
pub(crate) struct QueuedMeasures {
    measures: PendingMeasures,
    numbers: TensorData,
}

impl QueuedMeasures {
    /// Waits for the values and the number, and reads them with one transfer, whether they are finite
    /// or not.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub(crate) fn read(self) -> Result<(PendingMeasures, Measures, f64), ExecutionError> {
        let (mut pending, mut values) = (self.measures, numbers(self.numbers)?);
        let number = values.pop().expect("the number is the last one");
        let measures = pending
            .read
            .take()
            .unwrap_or_else(|| pending.with_values(&values));
        pending.read = Some(measures.clone());
        Ok((pending, measures, f64::from(number)))
    }
}

/// Reads numbers from their device.
fn numbers(data: TensorData) -> Result<Vec<f32>, ExecutionError> {
    let numbers = data.try_into_vec_as::<f32>();
    numbers.map_err(|error| ExecutionError::with_context(error.to_string()))
}

/// A loss or a gradient that is NaN or infinite.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the {name} became {value}: lower `learning_rate`, set `gradient_clip_norm: 1.0`, or raise \
     `loss.temperature`; at the first step, check the initial weights"
)]
pub struct NotFinite {
    /// `loss`, or `norm of the gradient`.
    pub name: &'static str,
    /// The number.
    pub value: f64,
}

impl NotFinite {
    /// Checks a loss.
    pub(crate) fn check_loss(value: f64) -> Result<(), Self> {
        Self::check("loss", value)
    }

    /// Checks the L2 norm of a gradient.
    pub(crate) fn check_gradient_norm(value: f64) -> Result<(), Self> {
        Self::check("norm of the gradient", value)
    }

    fn check(name: &'static str, value: f64) -> Result<(), Self> {
        let is_finite = value.is_finite();
        is_finite.then_some(()).ok_or(Self { name, value })
    }
}

impl ItemLazy for PendingMeasures {
    /// Reads the values from the device.
    ///
    /// # Errors
    ///
    /// If the device fails, or the loss is not finite.
    fn sync(self) -> Result<Self, ExecutionError> {
        let read = self.read()?;
        let loss = read.measures().map_or(0.0, |measures| measures.loss);
        match NotFinite::check_loss(loss) {
            Ok(()) => Ok(read),
            Err(error) => Err(ExecutionError::with_context(error.to_string())),
        }
    }
}

impl Adaptor<Measures> for PendingMeasures {
    /// Returns the values.
    ///
    /// # Panics
    ///
    /// If [`sync`](ItemLazy::sync) has not read them.
    fn adapt(&self) -> Measures {
        self.read
            .clone()
            .expect("burn-train synchronizes an item before its metrics see it")
    }
}
