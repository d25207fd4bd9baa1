//! From a file into a network: match names and shapes, then read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::Linear;
use burn::tensor::{DType, Tensor, TensorData};
use convirt_model::{Bert, ConVirt as Network, ResNet, SimClr};
use rayon::prelude::*;

use super::error::printable;
use super::matching::{Layer, Position, Scope, matches, parameters, renamed_end};
use super::{
    ElementType, LoadReport, LoadStatus, StoredTensor, TensorReport, WeightsError, WeightsFile,
    WeightsFormat,
};

/// End of the path of a batch norm's variances.
const RUNNING_VARIANCE: &str = ".running_var";

/// Loads an image encoder from any file that has one: torchvision's, timm's, ConVIRT-Colab's, a
/// run's or a checkpoint's.
///
/// `allow` names tensors that may be missing, of another shape or without a place, by their names
/// in the file; `*` stands for anything. Numbers of 16 or 64 bits become 32-bit ones.
///
/// # Errors
///
/// [`WeightsError`]; on a mismatch nothing has been read.
pub fn load_image_encoder(
    encoder: ResNet,
    file: &WeightsFile,
    allow: &[String],
) -> Result<(ResNet, LoadReport), WeightsError> {
    load(encoder, &Scope::image_encoder(file)?, file, allow)
}

/// Loads a text encoder from any file that has one: Hugging Face's, ConVIRT-Colab's, a run's or a
/// checkpoint's.
///
/// `allow` and errors are as those of [`load_image_encoder`].
///
/// # Errors
///
/// [`WeightsError`]; on a mismatch nothing has been read.
pub fn load_text_encoder(
    encoder: Bert,
    file: &WeightsFile,
    allow: &[String],
) -> Result<(Bert, LoadReport), WeightsError> {
    load(encoder, &Scope::text_encoder(file)?, file, allow)
}

/// Loads both encoders, both heads and the temperature where it is learned, from a run's model, a
/// checkpoint, or ConVIRT-Colab's `model.pth`.
///
/// `allow` and errors are as those of [`load_image_encoder`].
///
/// # Errors
///
/// [`WeightsError`]; on a mismatch nothing has been read.
pub fn load_network(
    network: Network,
    file: &WeightsFile,
    allow: &[String],
) -> Result<(Network, LoadReport), WeightsError> {
    load(network, &Scope::network(file)?, file, allow)
}

/// Loads an image encoder and its projection head from a run's model or checkpoint, SimCLR's or
/// ConVIRT's, or from ConVIRT-Colab's `model.pth`; what else is there belongs to texts.
///
/// `allow` and errors are as those of [`load_image_encoder`].
///
/// # Errors
///
/// [`WeightsError`]; on a mismatch nothing has been read.
pub fn load_simclr(
    network: SimClr,
    file: &WeightsFile,
    allow: &[String],
) -> Result<(SimClr, LoadReport), WeightsError> {
    load(network, &Scope::image_side(file)?, file, allow)
}

/// Loads a classifier's head, `fc.weight` and `fc.bias`; what else is there belongs to its encoder.
pub(crate) fn load_classifier_head(
    head: Linear,
    file: &WeightsFile,
) -> Result<(Linear, LoadReport), WeightsError> {
    load(head, &Scope::classifier_head(), file, &[])
}

/// The tensor of the file for each parameter of a module, by the parameter's path.
type Sources<'a> = BTreeMap<String, (String, &'a StoredTensor)>;

/// The named tensor of the file for each parameter of a module, and what becomes of every tensor.
pub(super) fn plan<'a>(
    module: &impl Module,
    scope: &Scope,
    file: &'a WeightsFile,
    allow: &[String],
) -> (Sources<'a>, LoadReport) {
    let mut sources = BTreeMap::new();
    let mut statuses = Vec::new();
    let mut taken = BTreeSet::new();
    for parameter in parameters(module) {
        let mut name = scope.name_of(&parameter.path);
        if parameter.layer == Layer::Norm && !file.tensors().contains_key(&name) {
            let older = renamed_end(&name, &[("weight", "gamma"), ("bias", "beta")]);
            name = older
                .filter(|older| file.tensors().contains_key(older))
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
        taken.insert(name.clone());
        statuses.push(TensorReport { name, status });
    }
    let rest = file.tensors().keys().filter(|name| !taken.contains(*name));
    statuses.extend(rest.map(|name| TensorReport {
        name: name.clone(),
        status: if scope.layout.passes_over(name) || file.is_constant(name) {
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
        part: scope.what,
        tensors: statuses,
    };
    (sources, report)
}

fn is_allowed(name: &str, allow: &[String]) -> bool {
    allow.iter().any(|pattern| matches(pattern, name))
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
        return Err(match is_simplified {
            true => WeightsError::SimplifiedOnnx(Box::new(report)),
            false => WeightsError::Mismatch(Box::new(report)),
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

/// Puts tensors of a file in place of parameters, one after the other.
struct Reader<'a> {
    position: Position,
    sources: Sources<'a>,
    file: &'a WeightsFile,
    /// The first that went wrong; nothing is read after it.
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

/// Checks that a network that was loaded from `path` by other means can be computed with.
///
/// # Errors
///
/// [`WeightsError::NotANumber`].
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
/// [`WeightsError::NotANumber`] for the first that is NaN, infinite, or a variance below 0.
fn check(numbers: &[f32], is_variance: bool, name: &str, path: &Path) -> Result<(), WeightsError> {
    let is_sound = |number: &f32| number.is_finite() && !(is_variance && *number < 0.0);
    // Parts on all threads; a sound tensor is read once.
    let place = numbers
        .par_iter()
        .position_first(|number| !is_sound(number));
    match place {
        None => Ok(()),
        Some(place) => Err(WeightsError::NotANumber {
            path: path.to_path_buf(),
            name: printable(name),
            place,
            found: numbers[place],
        }),
    }
}

/// Rows of `columns` numbers, as columns.
pub(super) fn transposed(numbers: &[f32], columns: usize) -> Vec<f32> {
    /// Columns and rows exchanged at a time, so that both stay in the cache.
    const TILE: usize = 32;
    let rows = numbers.len() / columns.max(1);
    let mut exchanged = vec![0.0; numbers.len()];
    exchanged
        .par_chunks_mut((rows * TILE).max(1))
        .enumerate()
        .for_each(|(tile, exchanged)| {
            for row in (0..rows).step_by(TILE) {
                for (offset, exchanged) in exchanged.chunks_mut(rows).enumerate() {
                    let column = tile * TILE + offset;
                    for row in row..rows.min(row + TILE) {
                        exchanged[row] = numbers[row * columns + column];
                    }
                }
            }
        });
    exchanged
}
