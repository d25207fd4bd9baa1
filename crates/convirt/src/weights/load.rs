//! Loads a weights file into a network: first matches names and shapes, then reads the numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::Linear;
use burn::tensor::{DType, Tensor, TensorData};
use convirt_model::{Bert, ConVirt as Network, ResNet, SimClr};
use rayon::prelude::*;

use super::error::printable;
use super::matching::{Layer, Position, Scope, matches_pattern, parameters, renamed_end};
use super::{
    ElementType, LoadReport, LoadStatus, StoredTensor, TensorReport, WeightsError, WeightsFile,
    WeightsFormat,
};

/// The last part of the path of a batch norm's running variance.
const RUNNING_VARIANCE: &str = ".running_var";

/// Loads an image encoder from a file of torchvision, timm, ConVIRT-Colab, a run or a checkpoint.
///
/// `allow` lists tensors that may be missing, have another shape, or have no place in the encoder.
/// They are patterns of names in the file, in which `*` matches any text. Numbers of 16 or 64 bits
/// are converted to 32 bits.
///
/// # Errors
///
/// [`WeightsError`]. If names or shapes do not match, no numbers have been read.
pub fn load_image_encoder(
    encoder: ResNet,
    file: &WeightsFile,
    allow: &[String],
) -> Result<(ResNet, LoadReport), WeightsError> {
    load(encoder, &Scope::image_encoder(file)?, file, allow)
}

/// Loads a text encoder from a file of Hugging Face, ConVIRT-Colab, a run or a checkpoint.
///
/// `allow` has the same meaning as in [`load_image_encoder`].
///
/// # Errors
///
/// [`WeightsError`]. If names or shapes do not match, no numbers have been read.
pub fn load_text_encoder(
    encoder: Bert,
    file: &WeightsFile,
    allow: &[String],
) -> Result<(Bert, LoadReport), WeightsError> {
    load(encoder, &Scope::text_encoder(file)?, file, allow)
}

/// Loads a whole model from a run's model, a checkpoint, or ConVIRT-Colab's `model.pth`.
///
/// A whole model has both encoders, both projection heads, and the temperature if it is learned.
/// `allow` has the same meaning as in [`load_image_encoder`].
///
/// # Errors
///
/// [`WeightsError`]. If names or shapes do not match, no numbers have been read.
pub fn load_network(
    network: Network,
    file: &WeightsFile,
    allow: &[String],
) -> Result<(Network, LoadReport), WeightsError> {
    load(network, &Scope::network(file)?, file, allow)
}

/// Loads an image encoder and its projection head from a SimCLR or ConVIRT model.
///
/// The file is a run's model, a checkpoint, or ConVIRT-Colab's `model.pth`. Tensors of the text
/// side are ignored. `allow` has the same meaning as in [`load_image_encoder`].
///
/// # Errors
///
/// [`WeightsError`]. If names or shapes do not match, no numbers have been read.
pub fn load_simclr(
    network: SimClr,
    file: &WeightsFile,
    allow: &[String],
) -> Result<(SimClr, LoadReport), WeightsError> {
    load(network, &Scope::image_side(file)?, file, allow)
}

/// Loads a classifier's head, `fc.weight` and `fc.bias`. Tensors of its encoder are ignored.
pub(crate) fn load_classifier_head(
    head: Linear,
    file: &WeightsFile,
) -> Result<(Linear, LoadReport), WeightsError> {
    load(head, &Scope::classifier_head(), file, &[])
}

/// The name and tensor in the file for each parameter of a module, by the parameter's path.
type Sources<'a> = BTreeMap<String, (String, &'a StoredTensor)>;

/// Assigns the tensors of a file to the parameters of a module, and reports every tensor's status.
pub(super) fn plan<'a>(
    module: &impl Module,
    scope: &Scope,
    file: &'a WeightsFile,
    allow: &[String],
) -> (Sources<'a>, LoadReport) {
    let mut sources = BTreeMap::new();
    let mut statuses = Vec::new();
    let mut matched = BTreeSet::new();
    for parameter in parameters(module) {
        let mut name = scope.name_of(&parameter.path);
        if parameter.layer == Layer::Norm && !file.tensors().contains_key(&name) {
            let legacy_name = renamed_end(&name, &[("weight", "gamma"), ("bias", "beta")]);
            name = legacy_name
                .filter(|legacy_name| file.tensors().contains_key(legacy_name))
                .unwrap_or(name);
        }
        let allowed = is_allowed(&name, allow);
        let shape = parameter.shape_in(file.format());
        let status = match file.tensors().get(&name) {
            None => LoadStatus::Missing { shape, allowed },
            Some(tensor)
                if tensor.shape != shape
                    || matches!(tensor.element_type, ElementType::Other(_)) =>
            {
                LoadStatus::Mismatched {
                    expected: shape,
                    found: tensor.shape.clone(),
                    element_type: tensor.element_type.clone(),
                    allowed,
                }
            }
            Some(tensor) => {
                sources.insert(parameter.path.clone(), (name.clone(), tensor));
                LoadStatus::Loaded {
                    parameter: parameter.path,
                    shape,
                    element_type: tensor.element_type.clone(),
                }
            }
        };
        matched.insert(name.clone());
        statuses.push(TensorReport { name, status });
    }
    let unmatched = file
        .tensors()
        .keys()
        .filter(|name| !matched.contains(*name));
    statuses.extend(unmatched.map(|name| TensorReport {
        name: name.clone(),
        status: if scope.layout.ignores(name) || file.is_graph_constant(name) {
            LoadStatus::Ignored
        } else {
            LoadStatus::Unexpected {
                allowed: is_allowed(name, allow),
            }
        },
    }));
    statuses.sort_by(|a, b| a.name.cmp(&b.name));
    let report = LoadReport {
        path: file.path().to_path_buf(),
        part: scope.part,
        tensors: statuses,
    };
    (sources, report)
}

fn is_allowed(name: &str, allow: &[String]) -> bool {
    allow.iter().any(|pattern| matches_pattern(pattern, name))
}

fn load<M: Module>(
    module: M,
    scope: &Scope,
    file: &WeightsFile,
    allow: &[String],
) -> Result<(M, LoadReport), WeightsError> {
    let (sources, report) = plan(&module, scope, file, allow);
    if !report.fits() {
        let is_simplified = file.format() == WeightsFormat::Onnx && report.counts().missing > 0;
        return Err(if is_simplified {
            WeightsError::SimplifiedOnnx(Box::new(report))
        } else {
            WeightsError::Mismatch(Box::new(report))
        });
    }
    let mut reader = Reader {
        position: Position::default(),
        sources,
        file,
        error: None,
    };
    let module = module.map(&mut reader);
    match reader.error {
        None => Ok((module, report)),
        Some(error) => Err(error),
    }
}

/// Replaces the parameters of a module by tensors of a file, one after the other.
struct Reader<'a> {
    position: Position,
    sources: Sources<'a>,
    file: &'a WeightsFile,
    /// The first error. Nothing is read after it.
    error: Option<WeightsError>,
}

impl ModuleMapper for Reader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.position.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.position.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let parameter = self.position.parameter(&param);
        let source = self.sources.get(&parameter.path);
        let Some((name, tensor)) = source.filter(|_| self.error.is_none()) else {
            return param;
        };
        let numbers = tensor.read().and_then(|numbers| {
            let is_variance = parameter.path.ends_with(RUNNING_VARIANCE);
            check(&numbers, is_variance, name, self.file.path())?;
            Ok(numbers)
        });
        match numbers {
            Ok(mut numbers) => {
                if parameter.is_transposed_in(self.file.format()) {
                    numbers = transposed(&numbers, parameter.shape[0]);
                }
                let data = TensorData::new(numbers, parameter.shape);
                let tensor = Tensor::from_data(data, (&param.lazy_device(), DType::F32));
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

/// Checks the parameters of a network that was loaded from `path` by other means.
///
/// # Errors
///
/// [`WeightsError::NotANumber`] for the first parameter that a network cannot compute with.
pub(crate) fn check_loaded(module: &impl Module, path: &Path) -> Result<(), WeightsError> {
    struct Checker<'a> {
        position: Position,
        path: &'a Path,
        checked: Result<(), WeightsError>,
    }
    impl ModuleVisitor for Checker<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.position.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.position.exit();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.checked.is_ok() {
                let name = self.position.parameter(param).path;
                let numbers: Vec<f32> = param.val().into_data().iter().collect();
                let is_variance = name.ends_with(RUNNING_VARIANCE);
                self.checked = check(&numbers, is_variance, &name, self.path);
            }
        }
    }
    let mut checker = Checker {
        position: Position::default(),
        path,
        checked: Ok(()),
    };
    module.visit(&mut checker);
    checker.checked
}

/// Checks that a network can compute with the numbers of a tensor.
///
/// # Errors
///
/// [`WeightsError::NotANumber`] for the first number that is NaN, infinite, or a variance below 0.
fn check(numbers: &[f32], is_variance: bool, name: &str, path: &Path) -> Result<(), WeightsError> {
    let is_valid = |number: &f32| number.is_finite() && !(is_variance && *number < 0.0);
    let position = numbers
        .par_iter()
        .position_first(|number| !is_valid(number));
    match position {
        None => Ok(()),
        Some(position) => Err(WeightsError::NotANumber {
            path: path.to_path_buf(),
            name: printable(name),
            place: position,
            found: numbers[position],
        }),
    }
}

/// Transposes a row-major matrix with `columns` columns.
pub(super) fn transposed(numbers: &[f32], columns: usize) -> Vec<f32> {
    /// Side of the square tiles that are transposed at a time, so that both tiles stay in the
    /// cache.
    const TILE: usize = 32;
    let rows = numbers.len() / columns.max(1);
    let mut transposed = vec![0.0; numbers.len()];
    transposed
        .par_chunks_mut((rows * TILE).max(1))
        .enumerate()
        .for_each(|(tile, tile_columns)| {
            for first_row in (0..rows).step_by(TILE) {
                for (offset, output) in tile_columns.chunks_mut(rows).enumerate() {
                    let column = tile * TILE + offset;
                    for row in first_row..rows.min(first_row + TILE) {
                        output[row] = numbers[row * columns + column];
                    }
                }
            }
        });
    transposed
}
