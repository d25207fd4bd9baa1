//! The parameters of a module, and how files store them.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::names::is_whole;
use crate::weights::WeightsFormat;

/// A parameter of a module.
pub(in crate::weights) struct Parameter {
    /// Its path, with PyTorch's name for the last part.
    pub path: String,
    pub shape: Vec<usize>,
    pub layer: Layer,
}

/// What decides on how a layer's parameters are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::weights) enum Layer {
    /// Burn's weights are `[in, out]`, PyTorch's `[out, in]`.
    Linear,
    /// Burn's are `gamma` and `beta`, as once in TensorFlow; PyTorch's `weight` and `bias`.
    Norm,
    Other,
}

/// A place in a module that is being visited.
#[derive(Default)]
pub(in crate::weights) struct Position {
    names: Vec<String>,
    containers: Vec<String>,
}

impl Position {
    pub fn enter(&mut self, name: &str, container: &str) {
        self.names.push(name.to_string());
        self.containers.push(container.to_string());
    }

    pub fn exit(&mut self) {
        self.names.pop();
        self.containers.pop();
    }

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

/// `name` with another last part, if it is one of those to rename.
pub(in crate::weights) fn renamed_end(name: &str, renames: &[(&str, &str)]) -> Option<String> {
    renames.iter().find_map(|(from, to)| {
        let start = name.strip_suffix(from).filter(|start| is_whole(start))?;
        Some(format!("{start}{to}"))
    })
}

impl Parameter {
    /// Whether the file has it with rows and columns exchanged.
    pub fn is_transposed_in(&self, format: WeightsFormat) -> bool {
        self.layer == Layer::Linear && self.shape.len() == 2 && format != WeightsFormat::Burnpack
    }

    pub fn shape_in(&self, format: WeightsFormat) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if self.is_transposed_in(format) {
            shape.reverse();
        }
        shape
    }
}

/// Lists the parameters of a module without initializing any.
pub(in crate::weights) fn parameters(module: &impl Module) -> Vec<Parameter> {
    #[derive(Default)]
    struct Lister {
        position: Position,
        found: Vec<Parameter>,
    }
    impl ModuleVisitor for Lister {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.position.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.position.exit();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.push(self.position.parameter(param));
        }
    }
    let mut lister = Lister::default();
    module.visit(&mut lister);
    lister.found
}
