//! What a step of training showed.

use burn::tensor::{ExecutionError, Tensor};
use burn::train::ItemLazy;
use burn::train::metric::Adaptor;

/// What one batch showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Measures {
    /// Contrastive loss in nats, mean over the batch.
    pub loss: f64,
    /// Of ConVIRT, the share of images whose most similar text in the batch is theirs (or equal to
    /// it), and that of texts whose most similar image in the batch is theirs (or of an equal
    /// text). Of SimCLR, the share of views whose most similar other view is of their image.
    pub accuracies: Vec<f64>,
    /// Pairs in the batch: of an image and a text, or of two views.
    pub pairs: usize,
}

/// [`Measures`] that are still on the device; the metric thread reads them with one transfer.
#[derive(Clone, Debug)]
pub struct PendingMeasures {
    values: Tensor<1>,
    pairs: usize,
    read: Option<Measures>,
}

impl PendingMeasures {
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
                 or raise `loss.temperature`; at the first step, look at the weights started from"
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
    fn adapt(&self) -> Measures {
        self.read
            .clone()
            .expect("burn-train synchronizes an item before its metrics see it")
    }
}
