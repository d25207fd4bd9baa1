//! Numbers of parameters.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Number of parameters of one part of a model, without running statistics.
///
/// # Examples
///
/// ```
/// use burn::tensor::Device;
/// use convirt_model::{ParameterCount, ProjectionHeadConfig};
///
/// let head = ProjectionHeadConfig::new(4, 2).init(&Device::flex());
/// assert_eq!(ParameterCount::from_module(&head).total, (4 + 1) * 4 + (4 + 1) * 2);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterCount {
    /// All parameters.
    pub total: usize,
    /// Those that training changes.
    pub trainable: usize,
}

impl ParameterCount {
    /// Counts the parameters of a module, in training or in evaluation mode.
    pub fn from_module<M: Module>(module: &M) -> Self {
        let mut counter = Counter::default();
        module.clone().train().visit(&mut counter);
        counter.count
    }
}

impl std::ops::Add for ParameterCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            trainable: self.trainable + other.trainable,
        }
    }
}

/// Numbers of parameters of a model, by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterCounts {
    /// Image encoder.
    pub image_encoder: ParameterCount,
    /// Text encoder.
    pub text_encoder: ParameterCount,
    /// Both projection heads, and the temperature where it is learned.
    pub heads: ParameterCount,
}

impl ParameterCounts {
    /// Returns the sum of the parts.
    pub fn sum(&self) -> ParameterCount {
        self.image_encoder + self.text_encoder + self.heads
    }
}

#[derive(Default)]
struct Counter {
    count: ParameterCount,
    path: Vec<String>,
}

impl ModuleVisitor for Counter {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // Burn visits running statistics as if they were parameters.
        if let Some("running_mean" | "running_var") = self.path.last().map(String::as_str) {
            return;
        }
        let size = param.lazy_shape().num_elements();
        self.count.total += size;
        self.count.trainable += if param.is_require_grad() { size } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bert::tests::small;
    use crate::{BertFamily, ConVirtConfig, ContrastiveLossConfig, ResNetConfig, ResNetDepth};
    use burn::tensor::Device;

    /// By hand for d_model 8: embeddings (20 + 12 + 2)·8 + 2·8 = 288, a layer
    /// 4·(64 + 8) + (8·16 + 16) + (16·8 + 8) + 4·8 = 600, heads 512·513 + 6·513 and 72 + 54.
    #[test]
    fn parts_are_counted_without_running_statistics() {
        let config = ConVirtConfig {
            d_embedding: 6,
            freeze_embeddings: true,
            freeze_layers: vec![0],
            loss: ContrastiveLossConfig {
                learnable_temperature: true,
                ..Default::default()
            },
            ..ConVirtConfig::new(
                ResNetConfig::new(ResNetDepth::ResNet18),
                small(BertFamily::Bert),
            )
        };
        let heads = 512 * 513 + 6 * 513 + 72 + 54 + 1;
        let expected = ParameterCounts {
            image_encoder: ParameterCount {
                total: 11_176_512,
                trainable: 11_176_512,
            },
            text_encoder: ParameterCount {
                total: 288 + 3 * 600,
                trainable: 2 * 600,
            },
            heads: ParameterCount {
                total: heads,
                trainable: heads,
            },
        };
        let model = config.init(&Device::flex().autodiff()).unwrap();
        assert_eq!(model.parameter_counts(), expected);
        assert_eq!(model.valid().parameter_counts(), expected);
        assert_eq!(expected.sum().total, 11_176_512 + 2_088 + heads);
        let untracked = config.init(&Device::flex()).unwrap();
        assert_eq!(untracked.parameter_counts(), expected);
    }
}
