//! The weights of an ONNX graph: its initializers, by the names that exporters keep.
//!
//! `onnx-ir` 0.22, the parser below `burn-onnx`, was tried and does not serve. Its graph loses the
//! names: initializers become unnamed constants with a number. It infers the types of every node
//! first, and a BERT of `torch.onnx`'s present exporter is refused for a `GatherND` that we need
//! not understand. The bare `ModelProto` that it exports as well keeps the names, but takes the
//! whole file into messages: 6.3 GB of memory for 50 MB of empty nodes. It brings six crates and
//! 86,000 lines, and maps files into memory by `unsafe`.
//!
//! Here fields are walked in the file, and messages are made of single tensors without their
//! numbers and of small nodes. Nodes matter twice. Exporters keep one of several equal tensors and
//! give its numbers the other names by `Identity`; and what `MatMul` multiplies by has the sides
//! exchanged, whatever its name says.

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

/// Bytes of the largest node that is looked at. Larger ones hold constants.
const MAX_NODE: u64 = 4096;

/// Numbers that a byte can hold; those of the narrowest types have a bit.
const NUMBERS_IN_A_BYTE: u64 = 8;

/// Behind the name of a weight that stands in the file with rows and columns exchanged, so that it
/// is not taken for PyTorch's.
const TRANSPOSED: &str = " (transposed)";

/// Reads names and shapes of a file of `size` bytes.
pub(in crate::weights) fn open(
    path: &Path,
    file: File,
    size: u64,
) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let again = file.try_clone().map_err(WeightsError::read(path))?;
    let mut graph = Graph {
        path: Arc::from(path),
        file: Arc::new(Mutex::new(again)),
        folder: Folder::of(path),
        tensors: BTreeMap::new(),
        identities: Vec::new(),
        multiplied: BTreeSet::new(),
    };
    let mut model = Fields::new(path, file);
    let (mut has_graph, mut has_operations) = (false, false);
    model.each(0..size, |model, field| {
        has_operations |= field.tag == tag::MODEL_OPSET;
        if field.tag != tag::MODEL_GRAPH {
            return Ok(());
        }
        has_graph = true;
        model.each(field.message(path)?, |model, field| match field.tag {
            tag::GRAPH_NODE => graph.add_node(model, &field),
            tag::GRAPH_INITIALIZER => graph.add_tensor(model, &field),
            _ => Ok(()),
        })
    })?;
    match has_graph && has_operations {
        true => Ok(graph.finish()),
        // Each model has both, and exporters write the operations last.
        false => Err(WeightsError::damaged(path, "no whole model of ONNX in it")),
    }
}

/// What of a graph has been read.
struct Graph {
    path: Arc<Path>,
    /// For the numbers, later.
    file: Arc<Mutex<File>>,
    folder: Folder,
    tensors: BTreeMap<String, StoredTensor>,
    /// Input and output of each `Identity`, in the order in which they compute.
    identities: Vec<(String, String)>,
    /// What something is multiplied by from the right.
    multiplied: BTreeSet<String>,
}

impl Graph {
    fn add_node(&mut self, model: &mut Fields, field: &Field) -> Result<(), WeightsError> {
        let bytes = field.message(&self.path)?;
        if bytes.end - bytes.start > MAX_NODE {
            return Ok(());
        }
        let mut message = Vec::new();
        model.append(&bytes, &mut message)?;
        let node = Node::decode(&message[..]).map_err(|error| self.damaged(&bytes, error))?;
        let is_transposed = || {
            let mut settings = node.attribute.iter();
            settings.any(|setting| setting.name == "transB" && setting.i == Some(1))
        };
        match (&node.op_type[..], &node.input[..], &node.output[..]) {
            ("Identity", [input], [output]) => {
                self.identities.push((input.clone(), output.clone()));
            }
            ("MatMul", [_, weight], _) => {
                self.multiplied.insert(weight.clone());
            }
            ("Gemm", [_, weight, ..], _) if !is_transposed() => {
                self.multiplied.insert(weight.clone());
            }
            _ => (),
        }
        Ok(())
    }

    fn add_tensor(&mut self, model: &mut Fields, field: &Field) -> Result<(), WeightsError> {
        let bytes = field.message(&self.path)?;
        let mut message = Vec::new();
        let mut raw = None;
        let path = Arc::clone(&self.path);
        model.each(bytes.clone(), |model, field| match field.tag {
            tag::TENSOR_RAW_DATA => {
                raw = Some(field.message(&path)?);
                Ok(())
            }
            _ => model.append(&field.whole, &mut message),
        })?;
        let tensor =
            TensorProto::decode(&message[..]).map_err(|error| self.damaged(&bytes, error))?;
        let stored = self
            .stored(&tensor, raw, bytes.end - bytes.start)
            .map_err(|detail| {
                let detail = format!("tensor `{}`: {detail}", tensor.name);
                WeightsError::damaged(&self.path, detail)
            })?;
        match self.tensors.insert(tensor.name.clone(), stored) {
            None => Ok(()),
            Some(_) => {
                let detail = format!("tensor `{}` is in it twice", tensor.name);
                Err(WeightsError::damaged(&self.path, detail))
            }
        }
    }

    /// Where the numbers of a tensor are that takes so many bytes of the file, `raw` among them; or
    /// what is wrong with it.
    fn stored(
        &self,
        tensor: &TensorProto,
        raw: Option<Range<u64>>,
        bytes: u64,
    ) -> Result<StoredTensor, String> {
        let sides = tensor.dims.iter().map(|&side| usize::try_from(side));
        let shape: Vec<usize> = sides
            .collect::<Result<_, _>>()
            .map_err(|_| format!("a side below 0 among {:?}", tensor.dims))?;
        let count = shape
            .iter()
            .try_fold(1, |count: usize, &side| count.checked_mul(side))
            .map(|count| count as u64)
            .ok_or_else(|| format!("shape {shape:?} is too large for any file"))?;
        let element_type = element_type(tensor.data_type);

        // The bytes that are there, and where.
        let (available, data) = if tensor.data_location == EXTERNAL {
            let place = self.folder.place(&tensor.external_data)?;
            let data = Data::Beside {
                path: place.path,
                offset: place.bytes.start,
            };
            (place.bytes.end - place.bytes.start, data)
        } else if let Some(raw) = raw {
            let data = Data::At {
                file: Arc::clone(&self.file),
                path: Arc::clone(&self.path),
                offset: raw.start,
            };
            (raw.end - raw.start, data)
        } else {
            let numbers = numbers(tensor, &element_type);
            let available = match element_type.size() {
                Some(size) => (numbers.len() * size) as u64,
                None => bytes,
            };
            let data = Data::Here {
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
            // How many bytes the numbers of other types take is not known; they are not read.
            None if count > available.saturating_mul(NUMBERS_IN_A_BYTE) => Err(format!(
                "shape {shape:?} of {element_type} in {available} bytes"
            )),
            _ => Ok(StoredTensor {
                element_type,
                shape,
                data,
            }),
        }
    }

    /// The tensors by all of their names.
    fn finish(mut self) -> BTreeMap<String, StoredTensor> {
        for (input, output) in self.identities {
            if let Some(tensor) = self.tensors.get(&input).cloned() {
                self.tensors.entry(output).or_insert(tensor);
            }
        }
        for name in self.multiplied {
            if let Some(tensor) = self.tensors.remove(&name) {
                self.tensors.insert(name + TRANSPOSED, tensor);
            }
        }
        self.tensors
    }

    fn damaged(&self, bytes: &Range<u64>, error: prost::DecodeError) -> WeightsError {
        let detail = format!("at byte {}: {error}", bytes.start);
        WeightsError::damaged(&self.path, detail)
    }
}

/// Numbers that stand in fields of their own type.
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
        _ => ElementType::Other(format!("number {number} of ONNX")),
    }
}
