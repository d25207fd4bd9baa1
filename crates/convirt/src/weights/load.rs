//! From a file into a network: find the encoders in it, match names and shapes, then read.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};
use convirt_model::{Bert, ConVirt as Network, ResNet};
use rayon::prelude::*;

use crate::weights::names::{Layout, Naming, matches};
use crate::weights::{
    ElementType, Fate, LoadReport, StoredTensor, TensorReport, WeightsError, WeightsFile,
    WeightsFormat,
};

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

/// What of a file is loaded, and under which names.
pub(super) struct Scope {
    what: &'static str,
    layout: Layout,
}

/// An encoder in a file: what its names begin with, and what they are behind that.
type Found<'a> = (&'a str, Naming);

impl Scope {
    /// The image encoder of a file.
    pub fn image_encoder(file: &WeightsFile) -> Result<Self, WeightsError> {
        let (prefix, naming) = image_encoder(file)?;
        Ok(Self {
            what: IMAGE_ENCODER,
            layout: Layout::encoder(prefix, naming),
        })
    }

    /// The text encoder of a file.
    pub fn text_encoder(file: &WeightsFile) -> Result<Self, WeightsError> {
        let (prefix, naming) = text_encoder(file)?;
        Ok(Self {
            what: TEXT_ENCODER,
            layout: Layout::encoder(prefix, naming),
        })
    }

    /// A whole model: ours, or ConVIRT-Colab's.
    pub fn network(file: &WeightsFile) -> Result<Self, WeightsError> {
        let (image, image_naming) = image_encoder(file)?;
        let (text, text_naming) = text_encoder(file)?;
        for ([image_end, text_end], mut layout) in [
            (
                ["image_encoder.", "text_encoder."],
                Layout::convirt(image_naming, text_naming),
            ),
            (
                ["res_features.", "bert_model."],
                Layout::colab(image_naming, text_naming),
            ),
        ] {
            let prefixes = [image.strip_suffix(image_end), text.strip_suffix(text_end)];
            if let [Some(prefix), Some(same)] = prefixes
                && prefix == same
            {
                layout.prefix = prefix.to_string();
                return Ok(Self {
                    what: "model",
                    layout,
                });
            }
        }
        Err(WeightsError::NoSuchPart {
            path: file.path().to_path_buf(),
            part: "whole model",
            expected: format!(
                "its encoders are under `{image}` and `{text}`, not `image_encoder.` and \
                 `text_encoder.`, or `res_features.` and `bert_model.`"
            ),
        })
    }

    /// The file's name for the parameter at `path`.
    pub fn name_of(&self, path: &str) -> String {
        self.layout.name_of(path)
    }
}

const IMAGE_ENCODER: &str = "image encoder";
const TEXT_ENCODER: &str = "text encoder";

/// An image encoder is known by its stem's 7×7 convolution.
fn image_encoder(file: &WeightsFile) -> Result<Found<'_>, WeightsError> {
    const STEM: [usize; 4] = [64, 3, 7, 7];
    let stems = file
        .tensors()
        .iter()
        .filter(|(_, tensor)| tensor.shape == STEM);
    let found = stems.filter_map(|(name, _)| {
        let prefix = |end| name.strip_suffix(end).filter(|prefix| is_whole(prefix));
        prefix("conv1.weight")
            .map(|prefix| (prefix, Naming::TORCHVISION))
            .or(prefix("0.weight").map(|prefix| (prefix, Naming::SEQUENTIAL)))
    });
    let expected = format!("no `conv1.weight` of shape {STEM:?}");
    only(IMAGE_ENCODER, expected, found.collect(), file)
}

/// A text encoder is known by its word embeddings.
fn text_encoder(file: &WeightsFile) -> Result<Found<'_>, WeightsError> {
    const WORDS: &str = "embeddings.word_embeddings.weight";
    let found = file.tensors().keys().filter_map(|name| {
        let prefix = name.strip_suffix(WORDS).filter(|prefix| is_whole(prefix))?;
        Some((prefix, text_naming(file, prefix)))
    });
    only(TEXT_ENCODER, format!("no `{WORDS}`"), found.collect(), file)
}

/// DistilBERT calls its layers otherwise than the other families do.
fn text_naming(file: &WeightsFile, prefix: &str) -> Naming {
    let layers = format!("{prefix}transformer.layer.");
    let next = file.tensors().range(layers.clone()..).next();
    match next.is_some_and(|(name, _)| name.starts_with(&layers)) {
        true => Naming::DISTILBERT,
        false => Naming::BERT,
    }
}

/// The one encoder of a kind that a file has; Burn's files have our names.
fn only<'a>(
    part: &'static str,
    expected: String,
    found: Vec<Found<'a>>,
    file: &WeightsFile,
) -> Result<Found<'a>, WeightsError> {
    let path = file.path().to_path_buf();
    match found[..] {
        [] => Err(WeightsError::NoSuchPart {
            path,
            part,
            expected,
        }),
        [(prefix, _)] if file.format() == WeightsFormat::Burnpack => Ok((prefix, Naming::OURS)),
        [found] => Ok(found),
        _ => Err(WeightsError::Ambiguous {
            path,
            part,
            prefixes: found.iter().map(|(prefix, _)| prefix.to_string()).collect(),
        }),
    }
}

/// Whether a prefix ends where a name's part ends.
fn is_whole(prefix: &str) -> bool {
    prefix.is_empty() || prefix.ends_with('.')
}

fn is_allowed(name: &str, allow: &[String]) -> bool {
    allow.iter().any(|pattern| matches(pattern, name))
}

/// A parameter of a module.
pub(super) struct Parameter {
    /// Its path, with PyTorch's name for the last part.
    pub path: String,
    pub shape: Vec<usize>,
    pub layer: Layer,
}

/// What decides on how a layer's parameters are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// Burn's weights are `[in, out]`, PyTorch's `[out, in]`.
    Linear,
    /// Burn's are `gamma` and `beta`, as once in TensorFlow; PyTorch's `weight` and `bias`.
    Norm,
    Other,
}

/// A place in a module that is being visited.
#[derive(Default)]
pub(super) struct Position {
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
pub(super) fn renamed_end(name: &str, renames: &[(&str, &str)]) -> Option<String> {
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
fn parameters(module: &impl Module) -> Vec<Parameter> {
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

/// The tensor of the file for each parameter of a module, and what becomes of every tensor.
pub(super) fn plan<'a>(
    module: &impl Module,
    scope: &Scope,
    file: &'a WeightsFile,
    allow: &[String],
) -> (BTreeMap<String, &'a StoredTensor>, LoadReport) {
    let mut sources = BTreeMap::new();
    let mut fates = Vec::new();
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
        let fate = match file.tensors().get(&name) {
            None => Fate::Missing { shape, allowed },
            Some(tensor)
                if tensor.shape != shape
                    || matches!(tensor.element_type, ElementType::Other(_)) =>
            {
                Fate::Mismatched {
                    expected: shape,
                    found: tensor.shape.clone(),
                    element_type: tensor.element_type.clone(),
                    allowed,
                }
            }
            Some(tensor) => {
                sources.insert(parameter.path.clone(), tensor);
                Fate::Loaded {
                    parameter: parameter.path,
                    shape,
                    element_type: tensor.element_type.clone(),
                }
            }
        };
        taken.insert(name.clone());
        fates.push(TensorReport { name, fate });
    }
    let rest = file.tensors().keys().filter(|name| !taken.contains(*name));
    fates.extend(rest.map(|name| TensorReport {
        name: name.clone(),
        fate: match scope.layout.passes_over(name) {
            true => Fate::Ignored,
            false => Fate::Unexpected {
                allowed: is_allowed(name, allow),
            },
        },
    }));
    fates.sort_by(|a, b| a.name.cmp(&b.name));
    let report = LoadReport {
        path: file.path().to_path_buf(),
        part: scope.what,
        tensors: fates,
    };
    (sources, report)
}

fn load<M: Module>(
    module: M,
    scope: &Scope,
    file: &WeightsFile,
    allow: &[String],
) -> Result<(M, LoadReport), WeightsError> {
    let (sources, report) = plan(&module, scope, file, allow);
    if !report.fits() {
        return Err(WeightsError::Mismatch(Box::new(report)));
    }
    let mut reader = Reader {
        position: Position::default(),
        sources,
        format: file.format(),
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
    sources: BTreeMap<String, &'a StoredTensor>,
    format: WeightsFormat,
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
        let Some(source) = source.filter(|_| self.error.is_none()) else {
            return param;
        };
        match source.read() {
            Ok(mut numbers) => {
                if parameter.is_transposed_in(self.format) {
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
