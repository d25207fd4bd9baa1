//! Lists the parameters of a module, and how files store them.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::names::has_whole_parts;
use crate::weights::WeightsFormat;

/// A parameter of a module.
pub(in crate::weights) struct Parameter {
    /// The path in the module, with PyTorch's name for the last part.
    pub path: String,
    pub shape: Vec<usize>,
    pub layer: Layer,
}

/// The kind of a layer, which determines how files store its parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::weights) enum Layer {
    /// A linear layer: Burn's weights have the shape `[in, out]`, PyTorch's `[out, in]`.
    Linear,
    /// A normalization: Burn's parameters are `gamma` and `beta`, PyTorch's `weight` and `bias`.
    Norm,
    Other,
}

/// The current position while a module is visited.
#[derive(Default)]
pub(in crate::weights) struct Position {
    names: Vec<String>,
    containers: Vec<String>,
}

impl Position {
    /// Enters a submodule.
    pub fn enter(&mut self, name: &str, container: &str) {
        self.names.push(name.to_string());
        self.containers.push(container.to_string());
    }

    /// Leaves a submodule.
    pub fn exit(&mut self) {
        self.names.pop();
        self.containers.pop();
    }

    /// Returns the parameter at the current position.
    pub fn parameter<const D: usize>(&self, param: &Param<Tensor<D>>) -> Parameter {
        let layer = match self.containers.last().map(String::as_str) {
            Some("Struct:Linear") => Layer::Linear,
            Some("Struct:BatchNorm" | "Struct:LayerNorm") => Layer::Norm,
            _ => Layer::Other,
        };
        let mut path = self.names.join(".");
        if layer == Layer::Norm {
            path = renamed_end(&path, &[("gamma", "weight"), ("beta", "bias")]).unwrap_or(path);
        }
        Parameter {
            path,
            shape: param.lazy_shape().to_vec(),
            layer,
        }
    }
}

/// Returns `name` with its last part renamed, or `None` if no rename applies.
pub(in crate::weights) fn renamed_end(name: &str, renames: &[(&str, &str)]) -> Option<String> {
    renames.iter().find_map(|(old, new)| {
        let start = name
            .strip_suffix(old)
            .filter(|start| has_whole_parts(start))?;
        Some(format!("{start}{new}"))
    })
}

impl Parameter {
    /// Returns whether a file of this format stores the parameter transposed.
    pub fn is_transposed_in(&self, format: WeightsFormat) -> bool {
        self.layer == Layer::Linear && self.shape.len() == 2 && format != WeightsFormat::Burnpack
    }

    /// Returns the shape of the parameter in a file of this format.
    pub fn shape_in(&self, format: WeightsFormat) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if self.is_transposed_in(format) {
            shape.reverse();
        }
        shape
    }
}

/// Lists the parameters of a module without initializing them.
pub(in crate::weights) fn parameters(module: &impl Module) -> Vec<Parameter> {
    #[derive(Default)]
    struct Lister {
        position: Position,
        parameters: Vec<Parameter>,
    }
    impl ModuleVisitor for Lister {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.position.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.position.exit();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.parameters.push(self.position.parameter(param));
        }
    }
    let mut lister = Lister::default();
    module.visit(&mut lister);
    lister.parameters
}
