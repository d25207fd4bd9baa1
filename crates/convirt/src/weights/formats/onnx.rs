//! Reader of the weights in ONNX files, which are the initializers of the graph.
//!
//! `onnx-ir` 0.22, the parser of `burn-onnx`, was tried and is not suitable. Its graph loses the
//! names, because initializers become unnamed constants with a number. It infers the types of every
//! node first, and therefore rejects a BERT of `torch.onnx`'s current exporter because of a
//! `GatherND` that is irrelevant for the weights. It also exports the plain `ModelProto`, which
//! keeps the names, but this decodes the whole file: 50 MB of empty nodes need 6.3 GB of memory. It
//! adds six crates and 86,000 lines, and uses `unsafe` to map files into memory.
//!
//! This reader walks through the fields in the file. It decodes only one tensor at a time, without
//! its numbers, and small nodes. Nodes are needed for two reasons. First, exporters store equal
//! tensors once, and an `Identity` node gives the tensor its other names. Second, the right operand
//! of `MatMul` is stored transposed, although its name can be that of PyTorch's weight.

mod external;
mod fields;
pub(crate) mod proto;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use half::{bf16, f16};
use prost::Message;

use self::external::Folder;
use self::fields::{Field, Fields};
use self::proto::{EXTERNAL, Node, TensorProto, data_type, tag};
use crate::weights::WeightsError;
use crate::weights::tensor::{Data, ElementType, StoredTensor};

/// Maximum size of a node that is decoded, in bytes. Larger nodes contain constants.
const MAX_NODE_BYTES: u64 = 4096;

/// Maximum number of elements per byte; the smallest element types have one bit.
const MAX_ELEMENTS_PER_BYTE: u64 = 8;

/// The suffix for the name of a transposed weight, so that it does not match PyTorch's weight.
const TRANSPOSED_SUFFIX: &str = " (transposed)";

/// Reads the names and shapes of a file of `size` bytes.
pub(in crate::weights) fn open(
    path: &Path,
    file: File,
    size: u64,
) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let numbers_file = file.try_clone().map_err(WeightsError::read(path))?;
    let mut graph = Graph {
        path: Arc::from(path),
        file: Arc::new(Mutex::new(numbers_file)),
        folder: Folder::from_file_path(path),
        tensors: BTreeMap::new(),
        identities: Vec::new(),
        right_operands: BTreeSet::new(),
    };
    let mut model = Fields::new(path, file);
    let (mut has_graph, mut has_operations) = (false, false);
    model.for_each(0..size, |model, field| {
        has_operations |= field.tag == tag::MODEL_OPSET;
        if field.tag != tag::MODEL_GRAPH {
            return Ok(());
        }
        has_graph = true;
        model.for_each(field.content(path)?, |model, field| match field.tag {
            tag::GRAPH_NODE => graph.add_node(model, &field),
            tag::GRAPH_INITIALIZER => graph.add_tensor(model, &field),
            _ => Ok(()),
        })
    })?;
    // Every model has both. Exporters write the operator sets last, so that a truncated file lacks
    // them.
    if !(has_graph && has_operations) {
        return Err(WeightsError::damaged(path, "not a complete ONNX model"));
    }
    Ok(graph.finish())
}

/// The parts of a graph that have been read so far.
struct Graph {
    path: Arc<Path>,
    /// The file that the tensors read their numbers from later.
    file: Arc<Mutex<File>>,
    folder: Folder,
    tensors: BTreeMap<String, StoredTensor>,
    /// Input and output of each `Identity`, in the order of execution.
    identities: Vec<(String, String)>,
    /// Names of the right operands of matrix products.
    right_operands: BTreeSet<String>,
}

impl Graph {
    /// Remembers the tensors that an `Identity` or a matrix product uses.
    fn add_node(&mut self, model: &mut Fields, field: &Field) -> Result<(), WeightsError> {
        let bytes = field.content(&self.path)?;
        if bytes.end - bytes.start > MAX_NODE_BYTES {
            return Ok(());
        }
        let mut message = Vec::new();
        model.append(&bytes, &mut message)?;
        let node = Node::decode(&message[..]).map_err(|error| self.damaged(&bytes, error))?;
        let transposes_weight = || {
            let mut attributes = node.attribute.iter();
            attributes.any(|attribute| attribute.name == "transB" && attribute.i == Some(1))
        };
        match (&node.op_type[..], &node.input[..], &node.output[..]) {
            ("Identity", [input], [output]) => {
                self.identities.push((input.clone(), output.clone()));
            }
            ("MatMul", [_, weight], _) => {
                self.right_operands.insert(weight.clone());
            }
            ("Gemm", [_, weight, ..], _) if !transposes_weight() => {
                self.right_operands.insert(weight.clone());
            }
            _ => (),
        }
        Ok(())
    }

    /// Adds an initializer.
    fn add_tensor(&mut self, model: &mut Fields, field: &Field) -> Result<(), WeightsError> {
        let bytes = field.content(&self.path)?;
        let mut message = Vec::new();
        let mut raw = None;
        let path = Arc::clone(&self.path);
        model.for_each(bytes.clone(), |model, field| match field.tag {
            tag::TENSOR_RAW_DATA => {
                raw = Some(field.content(&path)?);
                Ok(())
            }
            _ => model.append(&field.range, &mut message),
        })?;
        let tensor =
            TensorProto::decode(&message[..]).map_err(|error| self.damaged(&bytes, error))?;
        let stored = self
            .stored_tensor(&tensor, raw, bytes.end - bytes.start)
            .map_err(|detail| {
                let detail = format!("tensor `{}`: {detail}", tensor.name);
                WeightsError::damaged(&self.path, detail)
            })?;
        if self.tensors.insert(tensor.name.clone(), stored).is_some() {
            let detail = format!("tensor `{}` is in it twice", tensor.name);
            return Err(WeightsError::damaged(&self.path, detail));
        }
        Ok(())
    }

    /// Returns the tensor and the place of its numbers, or a description of what is wrong with it.
    ///
    /// `raw` is the range of its field `raw_data` in the file, and `message_bytes` the length of
    /// the whole message.
    fn stored_tensor(
        &self,
        tensor: &TensorProto,
        raw: Option<Range<u64>>,
        message_bytes: u64,
    ) -> Result<StoredTensor, String> {
        let dims = tensor.dims.iter().map(|&dim| usize::try_from(dim));
        let shape: Vec<usize> = dims
            .collect::<Result<_, _>>()
            .map_err(|_| format!("a dimension below 0 in {:?}", tensor.dims))?;
        let count = shape
            .iter()
            .try_fold(1, |count: usize, &dim| count.checked_mul(dim))
            .map(|count| count as u64)
            .ok_or_else(|| format!("shape {shape:?} is too large for any file"))?;
        let element_type = element_type(tensor.data_type);

        // The number of available bytes, and their place.
        let (available, data) = if tensor.data_location == EXTERNAL {
            let place = self.folder.locate(&tensor.external_data)?;
            let data = Data::ExternalFile {
                path: place.path,
                offset: place.bytes.start,
            };
            (place.bytes.end - place.bytes.start, data)
        } else if let Some(raw) = raw {
            let data = Data::File {
                file: Arc::clone(&self.file),
                path: Arc::clone(&self.path),
                offset: raw.start,
            };
            (raw.end - raw.start, data)
        } else {
            let numbers = numbers(tensor, &element_type);
            let available = match element_type.size() {
                Some(size) => (numbers.len() * size) as u64,
                None => message_bytes,
            };
            let data = Data::Memory {
                numbers: numbers.into(),
                path: Arc::clone(&self.path),
            };
            (available, data)
        };
        let needed = element_type
            .size()
            .map(|size| count.saturating_mul(size as u64));
        match needed {
            Some(needed) if needed != available => Err(format!(
                "shape {shape:?} of {element_type} takes {needed} bytes, {available} are there"
            )),
            // The size of other element types is unknown. They are not read, only bounded here.
            None if count > available.saturating_mul(MAX_ELEMENTS_PER_BYTE) => Err(format!(
                "shape {shape:?} of {element_type} in {available} bytes"
            )),
            _ => Ok(StoredTensor {
                element_type,
                shape,
                data,
            }),
        }
    }

    /// Returns the tensors, with each tensor under all of its names.
    fn finish(mut self) -> BTreeMap<String, StoredTensor> {
        for (input, output) in self.identities {
            if let Some(tensor) = self.tensors.get(&input).cloned() {
                self.tensors.entry(output).or_insert(tensor);
            }
        }
        for name in self.right_operands {
            if let Some(tensor) = self.tensors.remove(&name) {
                self.tensors.insert(name + TRANSPOSED_SUFFIX, tensor);
            }
        }
        self.tensors
    }

    fn damaged(&self, bytes: &Range<u64>, error: prost::DecodeError) -> WeightsError {
        let detail = format!("at byte {}: {error}", bytes.start);
        WeightsError::damaged(&self.path, detail)
    }
}

/// Returns the numbers of a tensor that stores them in a field of their own type.
fn numbers(tensor: &TensorProto, element_type: &ElementType) -> Vec<f32> {
    let bits = tensor.int32_data.iter().map(|&bits| bits as u16);
    match element_type {
        ElementType::F32 => tensor.float_data.clone(),
        ElementType::F64 => tensor.double_data.iter().map(|&x| x as f32).collect(),
        ElementType::F16 => bits.map(|bits| f16::from_bits(bits).to_f32()).collect(),
        ElementType::BF16 => bits.map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        ElementType::Other(_) => Vec::new(),
    }
}

fn element_type(number: i32) -> ElementType {
    let other = |name: &str| ElementType::Other(name.to_string());
    match number {
        data_type::FLOAT => ElementType::F32,
        data_type::DOUBLE => ElementType::F64,
        data_type::FLOAT16 => ElementType::F16,
        data_type::BFLOAT16 => ElementType::BF16,
        2 => other("u8"),
        3 => other("i8"),
        4 => other("u16"),
        5 => other("i16"),
        6 => other("i32"),
        data_type::INT64 => other("i64"),
        8 => other("string"),
        9 => other("bool"),
        12 => other("u32"),
        13 => other("u64"),
        _ => ElementType::Other(format!("ONNX type {number}")),
    }
}
