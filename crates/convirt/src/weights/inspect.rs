//! Recognizes the networks in a weights file, and shows which tensors would be loaded.

use std::fmt;
use std::path::Path;

use burn::tensor::Device;
use convirt_model::{
    Bert, BertConfig, BertFamily, ConVirt, ConVirtConfig, LossKind, Pooling, ResNet, ResNetConfig,
    ResNetDepth, SimClr, SimClrConfig,
};

use super::error::KEEP_NAMES;
use super::load::plan;
use super::matching::Scope;
use super::{
    LoadReport, LoadStatus, StoredTensor, WeightsError, WeightsFile, WeightsFormat,
    load_image_encoder, load_network, load_simclr, load_text_encoder,
};
use crate::error::Error;

/// A weights file and the networks that were recognized in it.
///
/// `Display` prints a table of all tensors.
///
/// # Example
///
/// ```no_run
/// use burn::tensor::Device;
/// use convirt::weights::Inspection;
///
/// let inspection = Inspection::read("resnet50.pth")?;
/// println!("{inspection}");
/// if let Some(config) = inspection.image_encoder() {
///     println!("The file contains a {}.", config.depth);
/// }
/// let networks = inspection.load(&Device::default())?;
/// assert!(networks.image_encoder.is_some());
/// # Ok::<_, convirt::Error>(())
/// ```
#[derive(Debug)]
pub struct Inspection {
    file: WeightsFile,
    image: Option<ResNetConfig>,
    text: Option<BertConfig>,
    image_side: Option<SimClrConfig>,
    network: Option<ConVirtConfig>,
    reports: Vec<LoadReport>,
}

/// The networks of a file: a whole model, or its image and text side separately.
#[derive(Debug, Default)]
pub struct LoadedNetworks {
    /// A whole model: both encoders with their projection heads.
    pub network: Option<ConVirt>,
    /// An image encoder with its projection head, for example a SimCLR model.
    pub image_side: Option<SimClr>,
    /// An image encoder without a projection head.
    pub image_encoder: Option<ResNet>,
    /// A text encoder without a projection head.
    pub text_encoder: Option<Bert>,
}

impl Inspection {
    /// Reads the names and shapes of a file or folder, and recognizes the networks in it.
    ///
    /// # Errors
    ///
    /// [`Error`] if the file is missing or damaged.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let file = WeightsFile::open(path)?;
        let device = Device::default();
        let shape = |name: &str| file.tensors().get(name).map(|tensor| &tensor.shape[..]);
        let mut reports = Vec::new();

        let image_scope = Scope::image_encoder(&file).ok();
        let image = image_scope.as_ref().map(|scope| resnet(&file, scope));
        let text_scope = Scope::text_encoder(&file).ok();
        let text = text_scope.as_ref().and_then(|scope| bert(&file, scope));
        // Biases give the widths, because Burn's files store linear weights transposed.
        let width = |scope: &Scope, bias: &str| shape(&scope.name_of(bias))?.first().copied();
        let image_side = Scope::image_side(&file).ok().and_then(|scope| {
            let d_embedding = width(&scope, "image_projection.linear2.bias")?;
            let config = SimClrConfig {
                d_embedding,
                ..SimClrConfig::new(image?)
            };
            Some((scope, config))
        });
        let network = Scope::network(&file).ok().and_then(|scope| {
            let mut config = ConVirtConfig::new(image?, text.clone()?);
            config.d_embedding = width(&scope, "image_projection.linear2.bias")?;
            let hidden = width(&scope, "text_projection.linear1.bias")?;
            if hidden != config.text.hidden_size {
                config.pooling = Pooling::MeanMax;
            }
            let temperature = shape(&scope.name_of("loss.log_scale"));
            config.loss.learnable_temperature = temperature.is_some();
            if shape(&scope.name_of("loss.bias")).is_some() {
                config.loss.kind = LossKind::Sigmoid;
            }
            Some((scope, config))
        });
        if let Some((scope, config)) = &network {
            reports.push(plan(&config.init(&device)?, scope, &file, &[]).1);
        } else {
            if let Some((scope, config)) = &image_side {
                reports.push(plan(&config.init(&device)?, scope, &file, &[]).1);
            } else if let (Some(scope), Some(config)) = (image_scope, image) {
                reports.push(plan(&config.init(&device), &scope, &file, &[]).1);
            }
            if let (Some(scope), Some(config)) = (text_scope, &text) {
                reports.push(plan(&config.init(&device)?, &scope, &file, &[]).1);
            }
        }
        Ok(Self {
            file,
            image,
            text,
            image_side: image_side.map(|(_, config)| config),
            network: network.map(|(_, config)| config),
            reports,
        })
    }

    /// Returns the configuration of the image encoder, if there is one.
    pub fn image_encoder(&self) -> Option<ResNetConfig> {
        self.image
    }

    /// Returns the configuration of the text encoder, if there is one.
    ///
    /// Weights do not determine every setting, for example the number of heads. Such settings have
    /// the values of the published encoders of this width.
    pub fn text_encoder(&self) -> Option<&BertConfig> {
        self.text.as_ref()
    }

    /// Loads the recognized networks.
    ///
    /// The text encoder is only as certain as [`text_encoder`](Self::text_encoder) describes. A
    /// run's model is better loaded with [`crate::Model`], and a Hugging Face folder with its
    /// `config.json`.
    ///
    /// # Errors
    ///
    /// [`Error`] if the file is damaged, or does not fit the recognized networks.
    pub fn load(&self, device: &Device) -> Result<LoadedNetworks, Error> {
        let mut loaded = LoadedNetworks::default();
        if let Some(network) = &self.network {
            let (network, _) = load_network(network.init(device)?, &self.file, &[])?;
            loaded.network = Some(network);
            return Ok(loaded);
        }
        if let Some(side) = &self.image_side {
            let (side, _) = load_simclr(side.init(device)?, &self.file, &[])?;
            loaded.image_side = Some(side);
        } else if let Some(image) = &self.image {
            let (encoder, _) = load_image_encoder(image.init(device), &self.file, &[])?;
            loaded.image_encoder = Some(encoder);
        }
        if let Some(text) = &self.text {
            let (encoder, _) = load_text_encoder(text.init(device)?, &self.file, &[])?;
            loaded.text_encoder = Some(encoder);
        }
        Ok(loaded)
    }

    /// Returns a report of each load: of the whole model, or of each side separately.
    pub fn reports(&self) -> &[LoadReport] {
        &self.reports
    }

    /// Returns the file.
    pub fn file(&self) -> &WeightsFile {
        &self.file
    }

    /// Returns the status of a tensor, or `None` if it is in no report.
    ///
    /// If the loads of both sides list the tensor, a load that uses it takes precedence.
    pub fn status(&self, name: &str) -> Option<&LoadStatus> {
        let statuses = self.reports.iter().filter_map(|report| {
            let index = report
                .tensors
                .binary_search_by(|tensor| tensor.name.as_str().cmp(name));
            Some(&report.tensors[index.ok()?].status)
        });
        statuses.min_by_key(|status| match status {
            LoadStatus::Loaded { .. } => 0,
            LoadStatus::Mismatched { .. } | LoadStatus::Missing { .. } => 1,
            LoadStatus::Unexpected { .. } => 2,
            LoadStatus::Ignored => 3,
        })
    }
}

/// Returns the configuration of the image encoder in a file.
pub(crate) fn image_encoder_config(file: &WeightsFile) -> Result<ResNetConfig, WeightsError> {
    Ok(resnet(file, &Scope::image_encoder(file)?))
}

/// Recognizes the depth of a ResNet by its number of blocks.
fn resnet(file: &WeightsFile, scope: &Scope) -> ResNetConfig {
    let has = |path: &str| file.tensors().contains_key(&scope.name_of(path));
    let blocks = |stage: usize| {
        (0..)
            .take_while(|block| has(&format!("layer{stage}.{block}.conv1.weight")))
            .count()
    };
    let depth = match (has("layer1.0.conv3.weight"), blocks(2), blocks(3)) {
        (false, _, 2) => ResNetDepth::ResNet18,
        (false, _, _) => ResNetDepth::ResNet34,
        (true, 8, _) => ResNetDepth::ResNet152,
        (true, _, 23) => ResNetDepth::ResNet101,
        (true, _, _) => ResNetDepth::ResNet50,
    };
    ResNetConfig::new(depth)
}

/// Recognizes the configuration of a text encoder by the shapes of its tensors.
fn bert(file: &WeightsFile, scope: &Scope) -> Option<BertConfig> {
    let shape = |path: &str| Some(&file.tensors().get(&scope.name_of(path))?.shape);
    let rows = |path: &str| shape(path)?.first().copied();
    let [vocab_size, hidden_size] = shape("embeddings.word_embeddings.weight")?[..] else {
        return None;
    };
    let layers = (0..).take_while(|layer| rows(&format!("layers.{layer}.output.bias")).is_some());
    let heads = (hidden_size / 64).max(1);
    let types = rows("embeddings.token_type_embeddings.weight").unwrap_or(0);
    let config = BertConfig {
        family: if types > 0 {
            BertFamily::Bert
        } else {
            BertFamily::DistilBert
        },
        hidden_size,
        num_hidden_layers: layers.count(),
        num_attention_heads: if hidden_size.is_multiple_of(heads) {
            heads
        } else {
            1
        },
        intermediate_size: rows("layers.0.intermediate.bias")?,
        max_position_embeddings: rows("embeddings.position_embeddings.weight")?,
        type_vocab_size: types,
        ..BertConfig::base(vocab_size)
    };
    config.validate().map(|()| config).ok()
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensors = self.file.tensors();
        let count = |tensor: &StoredTensor| tensor.shape.iter().product::<usize>();
        writeln!(
            f,
            "{}: {}, {} tensors, {} numbers",
            self.file.path().display(),
            self.file.format(),
            tensors.len(),
            tensors.values().map(count).sum::<usize>()
        )?;
        if let Some(image) = &self.image {
            writeln!(f, "image encoder: {}", image.depth)?;
        }
        if let Some(text) = &self.text {
            writeln!(
                f,
                "text encoder: {} layers, {} wide, {} words, {} positions",
                text.num_hidden_layers,
                text.hidden_size,
                text.vocab_size,
                text.max_position_embeddings
            )?;
        }
        if self.reports.is_empty() {
            writeln!(f, "no network of this crate")?;
        }
        let name_width = tensors.keys().map(String::len).max().unwrap_or(0);
        for (name, tensor) in tensors {
            let shape = format!("{:?}", tensor.shape);
            write!(
                f,
                "{name:<name_width$}  {:<5} {shape:<18} ",
                tensor.element_type.to_string()
            )?;
            match self.status(name) {
                Some(LoadStatus::Loaded { parameter, .. }) => writeln!(f, "loaded as {parameter}")?,
                Some(LoadStatus::Mismatched { expected, .. }) => {
                    writeln!(f, "mismatched: {expected:?} is needed")?;
                }
                Some(LoadStatus::Unexpected { .. }) => writeln!(f, "unexpected: no place for it")?,
                _ => writeln!(f, "ignored")?,
            }
        }
        for report in &self.reports {
            let missing = report
                .tensors
                .iter()
                .filter_map(|tensor| match &tensor.status {
                    LoadStatus::Missing { shape, .. } => Some((&tensor.name, shape)),
                    _ => None,
                });
            for (name, shape) in missing {
                writeln!(f, "{name:<name_width$}  {:<5} {shape:<18?} missing", "")?;
            }
        }
        for report in &self.reports {
            writeln!(f, "{report}")?;
        }
        let fits = self.reports.iter().all(LoadReport::fits) && !self.reports.is_empty();
        if self.file.format() == WeightsFormat::Onnx && !fits {
            writeln!(f, "{KEEP_NAMES}")?;
        }
        Ok(())
    }
}
