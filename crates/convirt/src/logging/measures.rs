//! Loss and accuracies of one batch.

use burn::tensor::{ExecutionError, Tensor};
use burn::train::ItemLazy;
use burn::train::metric::Adaptor;

/// The loss and the accuracies of one batch.
///
/// A [`PretrainingTask`](crate::training::PretrainingTask) returns them as [`PendingMeasures`]; its
/// example reads them.
#[derive(Clone, Debug, PartialEq)]
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

/// [`Measures`] on the device. [`sync`](ItemLazy::sync) reads them with one transfer, then
/// [`adapt`](Adaptor::adapt) returns them.
#[derive(Clone, Debug)]
pub struct PendingMeasures {
    values: Tensor<1>,
    pairs: usize,
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
            read: None,
        }
    }
}

impl ItemLazy for PendingMeasures {
    /// Reads the values from the device.
    ///
    /// # Errors
    ///
    /// If the device fails, or the loss is not finite.
    fn sync(mut self) -> Result<Self, ExecutionError> {
        let values = self
            .values
            .clone()
            .try_into_vec_as::<f32>()
            .map_err(|error| ExecutionError::with_context(error.to_string()))?;
        let loss = f64::from(values[0]);
        if !loss.is_finite() {
            return Err(ExecutionError::with_context(format!(
                "the loss became {loss}: lower `learning_rate`, set `gradient_clip_norm: 1.0`, \
                 or raise `loss.temperature`; at the first step, check the initial weights"
            )));
        }
        self.read = Some(Measures {
            loss,
            accuracies: values[1..].iter().copied().map(f64::from).collect(),
            pairs: self.pairs,
        });
        Ok(self)
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
