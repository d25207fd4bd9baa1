//! Reference values under `tests/data`, computed by PyTorch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use convirt_ops::test_devices::{self, device};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// A safetensors file; the JSON file of the same name states PyTorch's own 32-bit errors.
pub(crate) struct Reference {
    bytes: Vec<u8>,
}

impl Reference {
    /// Reads `tests/data/<name>.safetensors`.
    pub(crate) fn read(name: &str) -> Self {
        Self::open(&folder().join(format!("{name}.safetensors")))
    }

    /// Reads a safetensors file.
    pub(crate) fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { bytes }
    }

    /// The tensor of that name, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<TensorData> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(name).ok()?;
        let shape = view.shape().to_vec();
        Some(match view.dtype() {
            Dtype::F32 => TensorData::new(
                view.data()
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|b| f32::from_le_bytes(*b))
                    .collect::<Vec<_>>(),
                shape,
            ),
            Dtype::I64 => TensorData::new(
                view.data()
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .map(|b| i64::from_le_bytes(*b))
                    .collect::<Vec<_>>(),
                shape,
            ),
            other => panic!("{name}: {other:?}"),
        })
    }

    pub(crate) fn data(&self, name: &str) -> TensorData {
        self.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    pub(crate) fn float<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        Tensor::from_data(self.data(name), device)
    }

    pub(crate) fn int<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D, Int> {
        Tensor::from_data(self.data(name), device)
    }
}

/// Reads `tests/data/<name>.json`.
pub(crate) fn json(name: &str) -> Value {
    let path = folder().join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// Asserts that no element is off by more than [`test_devices::tolerance`] makes of `tolerance`, and
/// reports the largest error.
pub(crate) fn assert_close(name: &str, actual: TensorData, expected: &TensorData, tolerance: f64) {
    assert_eq!(actual.shape(), expected.shape(), "{name}");
    let tolerance = test_devices::tolerance(tolerance);
    let error = actual
        .convert::<f64>()
        .iter::<f64>()
        .zip(expected.iter::<f64>())
        .map(|(actual, expected)| (actual - expected).abs())
        // A NaN counts as the largest error.
        .fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a });
    println!("{name}: error {error:.2e}, tolerance {tolerance:.2e}");
    let device = device();
    assert!(
        error <= tolerance,
        "{name} on {device:?}: {error:e} > {tolerance:e}"
    );
}

/// The number at a JSON pointer.
pub(crate) fn number(json: &Value, pointer: &str) -> f64 {
    json.pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("no number at {pointer}"))
}

/// Fills a module with values looked up by parameter path.
///
/// The lookup returns values in PyTorch's layout, in which `Linear` weights are transposed.
pub(crate) fn fill<M: Module>(module: M, lookup: impl FnMut(&str) -> TensorData) -> M {
    module.map(&mut Fill {
        path: Vec::new(),
        structs: Vec::new(),
        lookup,
    })
}

struct Fill<F> {
    path: Vec<String>,
    structs: Vec<String>,
    lookup: F,
}

impl<F: FnMut(&str) -> TensorData> ModuleMapper for Fill<F> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.push(name.to_string());
        self.structs.push(container_type.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
        self.structs.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let device = param.lazy_device().inner();
        let tensor = Tensor::<D>::from_data((self.lookup)(&path), &device);
        let is_linear = self.structs.last().is_some_and(|s| s == "Struct:Linear");
        let tensor = if D == 2 && is_linear {
            tensor.transpose()
        } else {
            tensor
        };
        assert_eq!(tensor.shape(), param.lazy_shape(), "{path}");
        let tensor = if param.lazy_device().is_autodiff() {
            tensor.autodiff()
        } else {
            tensor
        };
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}

/// Values of the index's formula: `u(name, i) = mix(fnv1a64(name) + i)`, scaled and offset.
pub(crate) fn formula(name: &str, shape: &[usize], scale: f64, offset: f64) -> TensorData {
    let start = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let values = (0..shape.iter().product::<usize>() as u64).map(|i| {
        let mixed = splitmix64(start.wrapping_add(i));
        let unit = (mixed >> 40) as f64 / (1u64 << 23) as f64 - 1.0;
        (offset + scale * unit) as f32
    });
    TensorData::new(values.collect::<Vec<_>>(), shape.to_vec())
}

fn splitmix64(state: u64) -> u64 {
    let z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Every parameter of a module by path, in PyTorch's layout, running statistics included.
pub(crate) fn parameters(module: &impl Module) -> BTreeMap<String, TensorData> {
    named(module, None)
}

/// Every gradient of a module by path, in PyTorch's layout.
pub(crate) fn gradients(
    module: &impl Module,
    gradients: &GradientsParams,
) -> BTreeMap<String, TensorData> {
    named(module, Some(gradients))
}

fn named(
    module: &impl Module,
    gradients: Option<&GradientsParams>,
) -> BTreeMap<String, TensorData> {
    let mut collect = Collect {
        path: Vec::new(),
        structs: Vec::new(),
        gradients,
        values: BTreeMap::new(),
    };
    module.visit(&mut collect);
    collect.values
}

struct Collect<'a> {
    path: Vec<String>,
    structs: Vec<String>,
    gradients: Option<&'a GradientsParams>,
    values: BTreeMap<String, TensorData>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.push(name.to_string());
        self.structs.push(container_type.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
        self.structs.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = match self.gradients {
            Some(gradients) => gradients.get::<D>(param.id),
            None => Some(param.val()),
        };
        if let Some(value) = value {
            let is_linear = self.structs.last().is_some_and(|s| s == "Struct:Linear");
            let value = if D == 2 && is_linear {
                value.transpose()
            } else {
                value
            };
            self.values.insert(self.path.join("."), value.into_data());
        }
    }
}
