//! Writes a network into a file, with the parameter names of any library.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use convirt_data::{FileError, NewFile};
use serde_json::{Map, Value, json};

use super::WeightsError;
use super::formats::safetensors::header_bytes;
use super::formats::{WeightsFormat, torch_save};
use super::load::transposed;
use super::matching::{Layout, Position, renamed_end};
use super::saved_tensor::{SavedTensor, Values};

/// Lists the parameters of a network with the names of a layout and PyTorch's shapes.
pub(crate) fn tensors(network: &impl Module, layout: &Layout) -> Vec<SavedTensor> {
    let mut lister = Lister {
        position: Position::default(),
        layout,
        tensors: Vec::new(),
    };
    network.visit(&mut lister);
    lister.tensors
}

/// Adds `num_batches_tracked` to every batch norm, as PyTorch's batch norms have it.
///
/// The value is 0, because this crate does not count batches. PyTorch only uses the counter if the
/// momentum is `None`.
pub(crate) fn with_batch_counters(mut tensors: Vec<SavedTensor>) -> Vec<SavedTensor> {
    let counters: Vec<_> = tensors
        .iter()
        .filter_map(|tensor| {
            Some(SavedTensor {
                name: renamed_end(&tensor.name, &[("running_var", "num_batches_tracked")])?,
                shape: Vec::new(),
                values: Values::Integer(0),
            })
        })
        .collect();
    tensors.extend(counters);
    tensors
}

/// Writes tensors to a file, or replaces it. An interrupted write leaves no partial file.
///
/// The extensions `.pth`, `.pt` and `.bin` select PyTorch's format for `torch.load`; all others
/// select safetensors.
pub(crate) fn save(tensors: Vec<SavedTensor>, path: &Path) -> Result<(), WeightsError> {
    let extension = path.extension().and_then(OsStr::to_str);
    if let Some("pth" | "pt" | "bin") = extension {
        return Ok(torch_save::save(tensors, path).map_err(FileError::write(path))?);
    }
    Ok(save_safetensors(tensors, path).map_err(FileError::write(path))?)
}

/// Writes a safetensors file.
///
/// The writer of the crate `safetensors` is not used, because only the owner could read its files.
fn save_safetensors(mut tensors: Vec<SavedTensor>, path: &Path) -> io::Result<()> {
    // Wider element types come first, so that each tensor starts at a multiple of its element size.
    tensors.sort_by(|a, b| {
        let by_width = b.element_size().cmp(&a.element_size());
        by_width.then_with(|| a.name.cmp(&b.name))
    });
    // `transformers` requires this entry; `pt` stands for PyTorch's layout.
    let mut header = Map::from_iter([("__metadata__".to_string(), json!({"format": "pt"}))]);
    let mut end = 0;
    for tensor in &tensors {
        let start = end;
        end += tensor.shape.iter().product::<usize>() * tensor.element_size();
        let dtype = match tensor.values {
            Values::Floats(_) => "F32",
            Values::Integer(_) => "I64",
        };
        let entry = json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": [start, end]});
        header.insert(tensor.name.clone(), entry);
    }
    let header = header_bytes(&Value::Object(header), 0);
    let mut file = NewFile::create(path, header.len())?;
    for tensor in &tensors {
        file.write(&tensor.bytes())?;
    }
    file.finish(&header)
}

/// Collects the parameters of a module.
struct Lister<'a> {
    position: Position,
    layout: &'a Layout,
    tensors: Vec<SavedTensor>,
}

impl ModuleVisitor for Lister<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.position.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.position.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let parameter = self.position.parameter(param);
        let value = param.val();
        let is_transposed = parameter.is_transposed_in(WeightsFormat::Safetensors);
        let numbers = move || {
            let shape = value.dims();
            let numbers: Vec<f32> = value.to_data().iter().collect();
            if is_transposed {
                transposed(&numbers, shape[1])
            } else {
                numbers
            }
        };
        self.tensors.push(SavedTensor {
            name: self.layout.name_of(&parameter.path),
            shape: parameter.shape_in(WeightsFormat::Safetensors),
            values: Values::Floats(Box::new(numbers)),
        });
    }
}
