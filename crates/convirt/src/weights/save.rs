//! From a network into a file, in any library's names.

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

/// Lists the parameters of a network under the names of a layout, in PyTorch's shapes.
pub(crate) fn tensors(network: &impl Module, layout: &Layout) -> Vec<SavedTensor> {
    let mut lister = Lister {
        position: Position::default(),
        layout,
        found: Vec::new(),
    };
    network.visit(&mut lister);
    lister.found
}

/// Adds the batch counters that PyTorch's batch norms have besides their statistics. They only
/// matter to averages without momentum, are not kept here, and 0.
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

/// Writes tensors whole or not at all; an earlier file is replaced. The extensions `.pth`, `.pt`
/// and `.bin` get what `torch.load` reads, all others safetensors.
pub(crate) fn save(tensors: Vec<SavedTensor>, path: &Path) -> Result<(), WeightsError> {
    let extension = path.extension().and_then(OsStr::to_str);
    if let Some("pth" | "pt" | "bin") = extension {
        return Ok(torch_save::save(tensors, path).map_err(FileError::write(path))?);
    }
    Ok(save_safetensors(tensors, path).map_err(FileError::write(path))?)
}

/// Writes safetensors. The crate's own writer makes files that only their owner may read.
fn save_safetensors(mut tensors: Vec<SavedTensor>, path: &Path) -> io::Result<()> {
    // Wide numbers first, so that each begins at a multiple of its width.
    tensors.sort_by(|a, b| {
        let by_width = b.element_size().cmp(&a.element_size());
        by_width.then_with(|| a.name.cmp(&b.name))
    });
    // `transformers` wants to know whose layout the tensors have.
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

struct Lister<'a> {
    position: Position,
    layout: &'a Layout,
    found: Vec<SavedTensor>,
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
            match is_transposed {
                true => transposed(&numbers, shape[1]),
                false => numbers,
            }
        };
        self.found.push(SavedTensor {
            name: self.layout.name_of(&parameter.path),
            shape: parameter.shape_in(WeightsFormat::Safetensors),
            values: Values::Floats(Box::new(numbers)),
        });
    }
}
