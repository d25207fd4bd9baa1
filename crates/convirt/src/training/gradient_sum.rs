//! The sum of the gradients of a batch's parts, in an order that does not depend on which peer
//! computes which part.
//!
//! ```text
//!     ((0 + 1) + (2 + 3)) + (4 + 5)
//! ```
//!
//! The order is that of a binary tree over the numbers of the parts. A peer adds the subtrees whose
//! parts are all its own; the peers then exchange slices of these sums, each peer adds its slice of
//! all of them, and they exchange the totals. So each number travels twice at most, however many
//! peers there are.

use std::mem;
use std::ops::Range;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::peers::{PeerError, Peers};

/// Numbers of a gradient that are exchanged at a time, 64 MiB.
const BUCKET: usize = 16 << 20;

/// A place in the tree: the `index`-th group of 2^`level` parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Node {
    level: u32,
    index: usize,
}

/// A sum in the order of the tree, of summands that come in their order.
struct TreeSum<T> {
    /// Sums of whole subtrees, from left to right.
    sums: Vec<(Node, T)>,
}

impl<T> TreeSum<T> {
    fn new() -> Self {
        Self { sums: Vec::new() }
    }

    /// Adds a subtree that lies to the right of all before.
    fn add(&mut self, mut node: Node, mut sum: T, plus: impl Fn(T, T) -> T) {
        let is_sibling = |left: &Node, right: Node| {
            right.index % 2 == 1 && left.level == right.level && left.index + 1 == right.index
        };
        while let Some((_, left)) = self.sums.pop_if(|(left, _)| is_sibling(left, node)) {
            sum = plus(left, sum);
            node = Node {
                level: node.level + 1,
                index: node.index / 2,
            };
        }
        self.sums.push((node, sum));
    }

    /// Adds the subtrees from right to left; `None` if there are none.
    fn total(self, plus: impl Fn(T, T) -> T) -> Option<T> {
        let sums = self.sums.into_iter().rev().map(|(_, sum)| sum);
        sums.reduce(|right, left| plus(left, right))
    }
}

/// The sum of the gradients of the parts of one peer.
pub(super) struct GradientSum<'a, M> {
    module: &'a M,
    sums: TreeSum<GradientsParams>,
}

impl<'a, M: Module> GradientSum<'a, M> {
    /// Starts a sum of gradients of `module`.
    pub fn new(module: &'a M) -> Self {
        let sums = TreeSum::new();
        Self { module, sums }
    }

    /// Adds the gradient of the part with a number; the numbers ascend.
    pub fn add(&mut self, part: usize, gradients: GradientsParams) {
        let leaf = Node {
            level: 0,
            index: part,
        };
        let module = self.module;
        self.sums
            .add(leaf, gradients, |left, right| added(left, right, module));
    }

    /// Returns the sum over all parts of all peers, on `device`.
    ///
    /// # Errors
    ///
    /// [`PeerError`] if a peer cannot be reached.
    pub fn total(self, peers: &Peers, device: &Device) -> Result<GradientsParams, PeerError> {
        if peers.size() == 1 {
            let total = self
                .sums
                .total(|left, right| added(left, right, self.module));
            return Ok(total.unwrap_or_default());
        }
        let (nodes, sums): (Vec<Node>, Vec<Flat>) = self
            .sums
            .sums
            .into_iter()
            .map(|(node, gradients)| (node, Flat::new(gradients, self.module)))
            .unzip();
        let of_first = sums.first().map(|flat| flat.present.clone());
        let all = peers.gather_values(&(nodes, of_first))?;
        let (nodes, present): (Vec<Vec<Node>>, Vec<_>) = all.into_iter().unzip();
        let Some(present) = present.into_iter().flatten().next() else {
            return Ok(GradientsParams::default());
        };
        let numbers = Flat::numbers(&present, self.module);
        let mut total = Vec::with_capacity(numbers);
        for start in (0..numbers).step_by(BUCKET) {
            let bucket = start..numbers.min(start + BUCKET);
            total.extend(bucket_total(&nodes, &sums, bucket, peers)?);
        }
        let numbers = total;
        Ok(Flat { present, numbers }.into_gradients(self.module, device))
    }
}

/// Adds a range of the numbers of all sums of all peers.
fn bucket_total(
    nodes: &[Vec<Node>],
    sums: &[Flat],
    bucket: Range<usize>,
    peers: &Peers,
) -> Result<Vec<f32>, PeerError> {
    let slice_of = |peer: usize| {
        let bound = |peer: usize| bucket.start + peer * bucket.len() / peers.size();
        bound(peer)..bound(peer + 1)
    };
    let to = |peer: usize| {
        let slices = sums.iter().map(|sum| &sum.numbers[slice_of(peer)]);
        let slices: Vec<&[u8]> = slices.map(bytemuck::cast_slice).collect();
        slices.concat()
    };
    let received = peers.exchange((0..peers.size()).map(to).collect())?;
    let width = slice_of(peers.rank()).len();
    let mut total = TreeSum::new();
    for (nodes, message) in nodes.iter().zip(&received) {
        let slices = message.chunks_exact((width * size_of::<f32>()).max(1));
        for (&node, slice) in nodes.iter().zip(slices) {
            total.add(node, floats(slice), add_slices);
        }
    }
    let total = total.total(add_slices).unwrap_or_default();
    let totals = peers.gather(bytemuck::cast_slice(&total).to_vec())?;
    Ok(totals.iter().flat_map(|slice| floats(slice)).collect())
}

fn add_slices(mut left: Vec<f32>, right: Vec<f32>) -> Vec<f32> {
    for (left, right) in left.iter_mut().zip(right) {
        *left += right;
    }
    left
}

/// Reads 32-bit numbers of this machine's byte order.
pub(super) fn floats(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks();
    numbers.iter().map(|it| f32::from_ne_bytes(*it)).collect()
}

/// Adds the gradients of a module's parameters.
pub(super) fn added<M: Module>(
    left: GradientsParams,
    right: GradientsParams,
    module: &M,
) -> GradientsParams {
    let mut sum = Sum { left, right };
    module.visit(&mut sum);
    sum.left
}

struct Sum {
    left: GradientsParams,
    right: GradientsParams,
}

impl ModuleVisitor for Sum {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(right) = self.right.remove::<D>(param.id) else {
            return;
        };
        let sum = match self.left.remove::<D>(param.id) {
            Some(left) => left + right,
            None => right,
        };
        self.left.register(param.id, sum);
    }
}

/// The gradients of a module's parameters, one after the other, in main memory.
struct Flat {
    /// Whether each parameter has a gradient, in the order of a visit.
    present: Vec<bool>,
    numbers: Vec<f32>,
}

impl Flat {
    fn new<M: Module>(gradients: GradientsParams, module: &M) -> Self {
        let mut flatten = Flatten {
            gradients,
            flat: Self {
                present: Vec::new(),
                numbers: Vec::new(),
            },
        };
        module.visit(&mut flatten);
        flatten.flat
    }

    /// Returns the number of numbers of the gradients that are `present`.
    fn numbers<M: Module>(present: &[bool], module: &M) -> usize {
        let mut count = Count {
            present: present.iter(),
            numbers: 0,
        };
        module.visit(&mut count);
        count.numbers
    }

    fn into_gradients<M: Module>(self, module: &M, device: &Device) -> GradientsParams {
        let mut unflatten = Unflatten {
            present: self.present.iter(),
            numbers: &self.numbers,
            device,
            gradients: GradientsParams::new(),
        };
        module.visit(&mut unflatten);
        unflatten.gradients
    }
}

struct Flatten {
    gradients: GradientsParams,
    flat: Flat,
}

impl ModuleVisitor for Flatten {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.remove::<D>(param.id);
        self.flat.present.push(gradient.is_some());
        if let Some(gradient) = gradient {
            let numbers = gradient.into_data().try_into_vec::<f32>();
            let numbers = numbers.expect("gradients are 32-bit numbers");
            self.flat.numbers.extend(numbers);
        }
    }
}

struct Count<'a> {
    present: std::slice::Iter<'a, bool>,
    numbers: usize,
}

impl ModuleVisitor for Count<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.present.next() == Some(&true) {
            self.numbers += param.shape().num_elements();
        }
    }
}

struct Unflatten<'a> {
    present: std::slice::Iter<'a, bool>,
    numbers: &'a [f32],
    device: &'a Device,
    gradients: GradientsParams,
}

impl ModuleVisitor for Unflatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.present.next() == Some(&true) {
            let shape = param.shape();
            let count = shape.num_elements();
            let (numbers, rest) = mem::take(&mut self.numbers).split_at(count);
            self.numbers = rest;
            let data = TensorData::new(numbers.to_vec(), shape);
            let gradient = Tensor::<D>::from_data(data, self.device);
            self.gradients.register(param.id, gradient);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};

    use super::*;
    use crate::peers::tests::with_threads;

    const NUMBERS: [f32; 6] = [1e8, 1.0, -1e8, 1.0, 0.5, 3.0];

    fn layer() -> Linear {
        let config = LinearConfig::new(3, 1).with_bias(false);
        config.init(&Device::flex().autodiff())
    }

    /// The sum of the numbers of some parts on each of several peers, as each of them sees it.
    fn totals(parts: &[Range<usize>]) -> Vec<Vec<f32>> {
        let layer = layer();
        with_threads(parts.len(), |peers| {
            let mut sum = GradientSum::new(&layer);
            for part in parts[peers.rank()].clone() {
                let mut gradients = GradientsParams::new();
                let gradient = Tensor::<2>::full([3, 1], NUMBERS[part], &Device::flex());
                gradients.register(layer.weight.id, gradient);
                sum.add(part, gradients);
            }
            let total = sum.total(&peers, &Device::flex()).unwrap();
            let total = total.get::<2>(layer.weight.id).unwrap();
            total.into_data().try_to_vec().unwrap()
        })
    }

    /// Six summands are two trees; in any other order the numbers would be rounded otherwise.
    #[test]
    fn gradients_are_added_in_the_order_of_a_tree_on_any_number_of_peers() {
        let [a, b, c, d, e, f] = NUMBERS;
        let expected = [((a + b) + (c + d)) + (e + f); 3];
        assert_ne!(expected[0], NUMBERS.iter().sum::<f32>());
        for parts in [
            std::iter::once(0..6).collect(),
            vec![0..3, 3..6],
            vec![0..1, 1..6],
            vec![0..2, 2..2, 2..6],
            vec![0..1, 1..2, 2..4, 4..6],
        ] {
            for total in totals(&parts) {
                assert_eq!(total, expected, "{parts:?}");
            }
        }
    }
}
