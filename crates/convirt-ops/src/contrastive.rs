//! Contrastive losses, strip by strip: of a softmax over all candidates, and of a sigmoid of each pair.
//!
//! The logits of a batch are a square matrix, of which no more than a strip of rows is ever in
//! memory. One pass over the strips computes the loss, a second one computes the strips again and
//! their gradient:
//!
//! ```text
//!                 columns: texts v_0 … v_N
//!                ┌────────────────────────┐
//!   rows:        │ strip 0                │ → log-sum-exp of its rows, best column of each row
//!   images       ├────────────────────────┤
//!   u_0 … u_N    │ strip 1                │
//!                ├────────────────────────┤
//!                │ …                      │
//!                └────────────────────────┘
//!                  ↓ log-sum-exp so far of each column, its best row so far
//! ```

mod softmax;
mod sigmoid;

use std::ops::Range;

use burn::tensor::{Bool, Int, Tensor};

pub use sigmoid::sigmoid_loss;
pub use softmax::{ContrastiveOptions, contrastive_loss};

/// Logits of a strip: 16 MiB of float32, which fit into the last cache of a processor.
const STRIP: usize = 1 << 22;

/// Rows of a strip at least, since fewer would make slow matrix products, and at most, since more
/// would not make faster ones.
const STRIP_ROWS: [usize; 2] = [64, 512];

/// Divides the rows of a square matrix into strips. The division, and with it the order of sums,
/// depends on nothing but the size.
pub(crate) fn strips(size: usize) -> impl Iterator<Item = Range<usize>> {
    let [least, most] = STRIP_ROWS;
    let rows = (STRIP / size.max(1)).clamp(least, most);
    (0..size)
        .step_by(rows)
        .map(move |start| start..size.min(start + rows))
}

/// Output of [`contrastive_loss`] and [`sigmoid_loss`].
#[derive(Clone, Debug)]
pub struct Contrast {
    /// The loss, `[1]`, in nats.
    pub loss: Tensor<1>,
    /// For each row the column with the largest logit, `[batch]`, outside the autodiff graph.
    pub best_columns: Tensor<1, Int>,
    /// For each column the row with the largest logit, `[batch]`, outside the autodiff graph.
    pub best_rows: Tensor<1, Int>,
}

/// Rows, columns and scale of the logits, outside the autodiff graph, for losses composed of Burn's
/// own operations.
///
/// Such a loss computes its gradient at once, if there is one, because Burn's own would keep the
/// logits.
struct Pairs {
    rows: Tensor<2>,
    columns: Tensor<2>,
    /// `[1, 1]`.
    scale: Tensor<2>,
    classes: Tensor<1, Int>,
}

impl Pairs {
    fn new(
        rows: &Tensor<2>,
        columns: &Tensor<2>,
        scale: &Tensor<1>,
        classes: Tensor<1, Int>,
    ) -> Self {
        Self {
            rows: rows.clone().without_autodiff(),
            columns: columns.clone().without_autodiff(),
            scale: scale.clone().without_autodiff().unsqueeze(),
            classes: classes.without_autodiff(),
        }
    }

    fn size(&self) -> usize {
        self.rows.dims()[0]
    }

    /// The logits of a strip of rows.
    fn logits(&self, strip: &Range<usize>) -> Tensor<2> {
        let rows = self.rows.clone().slice(strip.clone());
        rows.matmul(self.columns.clone().transpose()) * self.scale.clone()
    }

    /// Whether the row and the column are of one class.
    fn is_positive(&self, strip: &Range<usize>) -> Tensor<2, Bool> {
        equal(
            self.classes.clone().slice(strip.clone()),
            self.classes.clone(),
        )
    }

    /// Computes the gradients of rows and columns from those of the logits of each strip.
    fn gradients(
        &self,
        mut logits_gradient: impl FnMut(&Range<usize>) -> Tensor<2>,
    ) -> [Tensor<2>; 2] {
        let mut row_gradient = Vec::new();
        let mut column_gradient = self.columns.zeros_like();
        for strip in strips(self.size()) {
            let gradient = logits_gradient(&strip) * self.scale.clone();
            row_gradient.push(gradient.clone().matmul(self.columns.clone()));
            let rows = self.rows.clone().slice(strip);
            column_gradient = column_gradient + gradient.transpose().matmul(rows);
        }
        [Tensor::cat(row_gradient, 0), column_gradient]
    }

    /// The gradient of the scale, `[1]`, from that of the rows.
    fn scale_gradient(&self, row_gradient: &Tensor<2>) -> Tensor<1> {
        let products = row_gradient.clone() * self.rows.clone();
        products.sum() / self.scale.clone().reshape([1])
    }
}

/// Whether the numbers of a row and a column are equal.
fn equal(rows: Tensor<1, Int>, columns: Tensor<1, Int>) -> Tensor<2, Bool> {
    let shape = [rows.dims()[0], columns.dims()[0]];
    let rows = rows.unsqueeze_dim::<2>(1).expand(shape);
    rows.equal(columns.unsqueeze_dim::<2>(0).expand(shape))
}

/// A zero, `[1]`, whose gradient with respect to a tensor is given.
fn zero<const D: usize>(tensor: Tensor<D>, gradient: Tensor<D>) -> Tensor<1> {
    let linear = (tensor * gradient).sum();
    linear.clone() - linear.detach()
}

/// The best candidates of the rows and columns of some strips.
struct Best {
    columns: Vec<Tensor<1, Int>>,
    /// The largest logit of each column, `[1, batch]`.
    max: Tensor<2>,
    rows: Tensor<1, Int>,
}

impl Best {
    fn new(pairs: &Pairs) -> Self {
        let (size, device) = (pairs.size(), pairs.rows.device());
        let lowest = Tensor::<2>::full([1, size], f32::MIN, &device);
        Self {
            columns: Vec::new(),
            max: lowest.cast(pairs.rows.dtype()),
            rows: Tensor::zeros([size], &device),
        }
    }

    fn add(&mut self, logits: &Tensor<2>, strip: &Range<usize>) {
        let best = logits.clone().argmax(1).squeeze_dim::<1>(1);
        self.columns.push(best);
        let (max, best) = logits.clone().max_dim_with_indices(0);
        let is_better = max.clone().greater(self.max.clone()).squeeze_dim::<1>(0);
        let best = best.squeeze_dim::<1>(0).add_scalar(strip.start as i64);
        self.rows = self.rows.clone().mask_where(is_better, best);
        self.max = max.max_pair(self.max.clone());
    }

    fn contrast(self, loss: Tensor<1>) -> Contrast {
        Contrast {
            loss,
            best_columns: Tensor::cat(self.columns, 0),
            best_rows: self.rows,
        }
    }
}

/// Asserts that the inputs of a loss fit together.
fn assert_fits(
    rows: &Tensor<2>,
    columns: &Tensor<2>,
    numbers: &[&Tensor<1>],
    classes: &Tensor<1, Int>,
) {
    let [batch, _] = rows.dims();
    assert_eq!(rows.dims(), columns.dims(), "a column for each row");
    assert_eq!(classes.dims(), [batch], "a class for each row");
    for number in numbers {
        assert_eq!(number.dims(), [1], "one number");
    }
}

/// Whether the operations of the CPU compute the loss of these tensors.
#[cfg(feature = "flex")]
fn runs_on_flex(rows: &Tensor<2>, columns: &Tensor<2>, numbers: &[&Tensor<1>]) -> bool {
    let vectors_do = [rows, columns].into_iter().all(crate::flex::float32_here);
    vectors_do
        && numbers
            .iter()
            .all(|number| crate::flex::float32_here(number))
}
