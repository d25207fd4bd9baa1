//! The memory that a network needs, computed before the network is built.
//!
//! A configuration with too large a size is an error with an explanation. Without this check, the
//! operating system would end the process without one.

use std::path::Path;

use burn::tensor::Device;
use convirt_data::read_regular_text;
use convirt_model::{ConVirtConfig, ParameterCount, ResNetConfig};
use convirt_ops::{Precision, is_flex};

use super::NetworkConfig;
use crate::compute::ComputeError;
use crate::config::{Config, MicroBatchSize};

/// Bytes of a number in float32.
pub(crate) const FLOAT32_BYTES: u64 = 4;

/// Bytes of a number in bfloat16 and float16.
const HALF_BYTES: u64 = 2;

/// Bytes of a GiB.
const GIBIBYTE: f64 = (1u64 << 30) as f64;

/// Memory that a training takes, as a multiple of [`MemoryNeed`]'s lower bound.
const MARGIN: f64 = 1.5;

/// Feature maps of each convolution that training keeps for the backward pass: the convolution's
/// output, and the normalized output.
const MAPS_PER_CONVOLUTION: u64 = 2;

/// Numbers in memory for each trained parameter: itself, its gradient and Adam's two moments.
const NUMBERS_PER_PARAMETER: u64 = 4;

/// More numbers for each trained parameter while a checkpoint is written: copies of the parameter
/// and of its moments.
const NUMBERS_PER_CHECKPOINT: u64 = 3;

/// Channels of the image encoder's first feature map, which has half the image's size.
const STEM_CHANNELS: u64 = 64;

/// A lower bound of the memory that a computation needs, from the shapes of its tensors.
///
/// The program itself and the buffers of single operations need more: trainings on the phantom took
/// 1.2 to 1.8 times as much, with ResNet-18 and 50, images of 32 to 160 pixels and batches of 4 to
/// 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryNeed {
    parameters: ParameterCount,
    /// Bytes of parameters, gradients and optimizer state, on the network's device.
    network: u64,
    /// Bytes of a batch's images and of the activations that exist at the same time, on the same
    /// device.
    batch: u64,
    /// Bytes of the batches that the loader prepares ahead, in main memory.
    loader: u64,
}

impl MemoryNeed {
    /// Computes the memory of a network for inference, without its inputs.
    pub fn for_inference(network: &NetworkConfig) -> Self {
        let parameters = ParameterCount {
            trainable: 0,
            ..network.parameter_count()
        };
        Self {
            parameters,
            network: (parameters.total as u64).saturating_mul(FLOAT32_BYTES),
            batch: 0,
            loader: 0,
        }
    }

    /// Computes the memory of fine-tuning an image encoder on batches of `images` images of `side`
    /// × `side` pixels.
    pub fn for_fine_tuning(
        image: &ResNetConfig,
        images: usize,
        side: usize,
        precision: Precision,
    ) -> Self {
        let total = image.parameters() as usize;
        let parameters = ParameterCount {
            total,
            trainable: total,
        };
        Self {
            batch: Batch::new(images as u64, side, precision).with_activations(image),
            ..Self::for_parameters(parameters, NUMBERS_PER_PARAMETER)
        }
    }

    /// Computes the memory of parameters, with `numbers_per_trained` numbers for each trained one
    /// and one number for each frozen one.
    fn for_parameters(parameters: ParameterCount, numbers_per_trained: u64) -> Self {
        let ParameterCount { total, trainable } = parameters;
        let trained = (trainable as u64).saturating_mul(numbers_per_trained);
        let numbers = (total - trainable) as u64 + trained;
        Self {
            parameters,
            network: numbers.saturating_mul(FLOAT32_BYTES),
            batch: 0,
            loader: 0,
        }
    }

    /// Computes the memory of a batch of `images` images of `side` × `side` pixels in inference,
    /// without the network.
    pub fn for_images(images: usize, side: usize, precision: Precision) -> Self {
        let images = Batch::new(images as u64, side, precision);
        Self {
            parameters: ParameterCount::default(),
            network: 0,
            batch: images.pixels().saturating_add(images.first_map()),
            loader: 0,
        }
    }

    /// Returns the bytes on the network's device.
    fn on_device(&self) -> u64 {
        self.network.saturating_add(self.batch)
    }

    /// Checks that this machine has enough main memory, if the system reports its size. The memory
    /// of other devices is not checked.
    ///
    /// # Errors
    ///
    /// [`ComputeError::TooLargeForMemory`] if the memory is too small.
    pub fn check(&self, device: &Device) -> Result<(), ComputeError> {
        let main_memory = if is_flex(device) {
            *self
        } else {
            Self {
                network: 0,
                batch: 0,
                ..*self
            }
        };
        main_memory.check_within(machine_memory())
    }

    fn check_within(&self, available: Option<u64>) -> Result<(), ComputeError> {
        let needed = self.on_device().saturating_add(self.loader);
        match available {
            Some(available) if needed > available => Err(ComputeError::TooLargeForMemory {
                needed,
                available,
                parameters: self.parameters.total,
                trainable: self.parameters.trainable,
                network: self.network,
                batches: self.batch.saturating_add(self.loader),
            }),
            _ => Ok(()),
        }
    }
}

/// What decides how much memory a training takes, beside its configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrainingMemory<'a> {
    pub network: &'a NetworkConfig,
    /// Number of training pairs.
    pub pairs: usize,
    /// Mean number of tokens of a text.
    pub tokens: usize,
    /// Devices that train together. Several on the CPU share its memory.
    pub devices: usize,
}

impl TrainingMemory<'_> {
    /// Computes the memory of a training on such a device.
    pub fn need(&self, config: &Config, device: &Device) -> MemoryNeed {
        // A batch with more pairs than there are is another error.
        let batch = config.batch_size.min(self.pairs);
        let of_device = batch.div_ceil(self.devices);
        let part = config.micro_batch().unwrap_or(of_device);
        self.in_parts(config, part, device)
    }

    /// Sets `micro_batch_size` to the largest number of pairs that fits into the memory budget, of
    /// a device's share of the batch, its half, its quarter and so on; to the one that needs the
    /// least if none fits.
    ///
    /// # Errors
    ///
    /// [`ComputeError::NoMemoryBudget`] if the size of the memory is not known.
    pub fn choose_micro_batch(
        &self,
        config: &mut Config,
        device: &Device,
    ) -> Result<(), ComputeError> {
        let given = config.memory_budget_gib.take();
        let given = given.map(|gibibytes| (gibibytes * GIBIBYTE) as u64);
        let machine = || machine_memory().filter(|_| is_flex(device));
        let budget = given.or_else(|| machine().map(|bytes| bytes / 5 * 4));
        let budget = budget.ok_or(ComputeError::NoMemoryBudget)?;
        let needed = |pairs: &usize| {
            let need = self.in_parts(config, *pairs, device);
            let loader = if is_flex(device) { need.loader } else { 0 };
            (need.on_device().saturating_add(loader)) as f64 * MARGIN
        };
        let share = config.batch_size.div_ceil(self.devices);
        let sizes =
            std::iter::successors(Some(share), |pairs| (*pairs > 1).then(|| pairs.div_ceil(2)));
        let sizes: Vec<usize> = sizes.collect();
        let fits = |pairs: &&usize| needed(pairs) <= budget as f64;
        let least = sizes.iter().min_by(|a, b| needed(a).total_cmp(&needed(b)));
        let chosen = sizes.iter().find(fits).or(least);
        config.micro_batch_size = chosen.map(|pairs| MicroBatchSize::Pairs(*pairs));
        Ok(())
    }

    /// Computes the memory of a training on batches that are computed in parts of some pairs.
    fn in_parts(&self, config: &Config, part: usize, device: &Device) -> MemoryNeed {
        let network = self.network;
        let batch = config.batch_size.min(self.pairs);
        let (views, texts) = match network {
            NetworkConfig::ConVirt(network) => (1, text_activations(network, self.tokens)),
            NetworkConfig::SimClr(_) => (2, 0),
        };
        let (side, image) = (config.image_size(), network.image_side().image);
        let precision = config.precision_on(device);
        let images = |pairs: usize| Batch::new(pairs as u64 * views, side, precision);
        let window = config.evaluation_window(self.pairs / config.batch_size.max(1));
        let ahead = config.dataset.prefetch.min(window) as u64;
        let texts = (part as u64).saturating_mul(texts);
        let texts = texts.saturating_mul(bytes_of_number(precision));
        // The sums of gradients that wait for their counterparts.
        let sums = match batch.div_ceil(part.max(1)) {
            ..=1 => 0,
            parts => u64::from(parts.ilog2()) + 1,
        };
        let activations = images(part).with_activations(&image).saturating_add(texts);
        let pixels = images(batch).pixels();
        let of_network = MemoryNeed::for_parameters(
            network.parameter_count(),
            NUMBERS_PER_PARAMETER
                + NUMBERS_PER_CHECKPOINT
                + sums
                + u64::from(config.ema_decay.is_some()),
        );
        let copies = match is_flex(device) {
            true => self.devices as u64,
            false => 1,
        };
        let of_batch = activations.saturating_mul(copies);
        MemoryNeed {
            network: of_network.network.saturating_mul(copies),
            batch: of_batch.saturating_add(pixels - images(part.min(batch)).pixels()),
            loader: pixels.saturating_mul(ahead),
            ..of_network
        }
    }
}

/// A batch of square images.
struct Batch {
    images: u64,
    side: usize,
    precision: Precision,
}

impl Batch {
    fn new(images: u64, side: usize, precision: Precision) -> Self {
        Self {
            images,
            side,
            precision,
        }
    }

    /// Returns the bytes of the images.
    fn pixels(&self) -> u64 {
        let side = self.side as u64;
        let numbers = self.images.saturating_mul(side.saturating_mul(side));
        numbers.saturating_mul(3 * FLOAT32_BYTES)
    }

    /// Returns the bytes of the first convolution's feature map.
    fn first_map(&self) -> u64 {
        let side = self.side.div_ceil(2) as u64;
        let numbers = STEM_CHANNELS.saturating_mul(side.saturating_mul(side));
        self.feature_maps(numbers)
    }

    /// Returns the bytes of the images and of all activations that training keeps.
    fn with_activations(&self, image: &ResNetConfig) -> u64 {
        let numbers = MAPS_PER_CONVOLUTION.saturating_mul(image.feature_map_elements(self.side));
        self.pixels().saturating_add(self.feature_maps(numbers))
    }

    /// Returns the bytes of feature maps with `numbers` numbers for each image.
    fn feature_maps(&self, numbers: u64) -> u64 {
        let bytes = numbers.saturating_mul(bytes_of_number(self.precision));
        self.images.saturating_mul(bytes)
    }
}

/// Counts the activations of a text of `tokens` tokens that training keeps: those of all layers
/// except the frozen ones below the first trained one.
fn text_activations(network: &ConVirtConfig, tokens: usize) -> u64 {
    let layers = network.text.num_hidden_layers;
    let is_frozen = |layer: &usize| network.freeze_layers.contains(layer);
    let frozen = if network.freeze_embeddings {
        (0..layers).take_while(is_frozen).count()
    } else {
        0
    };
    let trained = network
        .pooling_layer
        .unwrap_or(layers)
        .saturating_sub(frozen);
    let per_layer = network.text.layer_activations(tokens);
    per_layer.saturating_mul(trained as u64)
}

/// Returns the bytes of a number in feature maps and token states.
fn bytes_of_number(precision: Precision) -> u64 {
    match precision {
        Precision::BFloat16 | Precision::Float16 => HALF_BYTES,
        Precision::Float32 | Precision::High => FLOAT32_BYTES,
    }
}

/// Maximum size of the kernel's files about memory, in bytes.
const MAX_BYTES: u64 = 1 << 16;

/// Returns the bytes of main memory that this process may use; `None` if the system does not report
/// them.
fn machine_memory() -> Option<u64> {
    let read = |path: &Path| read_regular_text(path, MAX_BYTES).ok();
    let machine = memory_line(&read(Path::new("/proc/meminfo"))?, "MemTotal:")?;
    let group = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = limit_files(&group).filter_map(|file| read(Path::new(&file))?.trim().parse().ok());
    Some(limits.fold(machine, u64::min))
}

/// Returns the resident memory of this process, in bytes; `None` if the system does not report it.
pub(crate) fn resident_memory() -> Option<u64> {
    let status = read_regular_text(Path::new("/proc/self/status"), MAX_BYTES).ok()?;
    memory_line(&status, "VmRSS:")
}

/// Parses the line that begins with `name` in `/proc/meminfo` or `/proc/self/status`, in bytes.
fn memory_line(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Lists the files that may limit the memory of a process, given its `/proc/self/cgroup`: the files
/// of its control group and of that group's parents, in version 1 or 2 of control groups.
fn limit_files(text: &str) -> impl Iterator<Item = String> {
    let files = text.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next().unwrap_or(""), parts.next().unwrap_or("/"));
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            names if names.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        let groups = Path::new(group).ancestors();
        groups
            .map(|group| {
                format!(
                    "{root}{}/{file}",
                    group.display().to_string().trim_end_matches('/')
                )
            })
            .collect()
    });
    files.collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use convirt_model::{BertConfig, ResNetDepth, SimClrConfig};

    use super::*;

    fn config() -> Config {
        let text =
            "batch_size: 8\ndataset: {csv_file: a.csv, prefetch: 2, input_shape: [32, 32, 3]}";
        Config::from_yaml("config.yaml", text, &[]).unwrap()
    }

    fn convirt() -> ConVirtConfig {
        let text = BertConfig {
            num_hidden_layers: 2,
            hidden_size: 8,
            num_attention_heads: 2,
            intermediate_size: 12,
            max_position_embeddings: 9,
            ..BertConfig::base(100)
        };
        ConVirtConfig::new(ResNetConfig::new(ResNetDepth::ResNet18), text)
    }

    fn memory(network: &NetworkConfig, pairs: usize, tokens: usize) -> TrainingMemory<'_> {
        TrainingMemory {
            network,
            pairs,
            tokens,
            devices: 1,
        }
    }

    /// Eight pairs in parts of two: the activations of two, the images of all, and three more
    /// gradients, since up to three sums wait.
    #[test]
    fn parts_of_a_batch_keep_the_activations_of_one_part() {
        let network = NetworkConfig::ConVirt(convirt());
        let memory = memory(&network, 100, 5);
        let mut config = config();
        let whole = memory.need(&config, &Device::flex());
        config.micro_batch_size = Some(MicroBatchSize::Pairs(2));
        let parts = memory.need(&config, &Device::flex());
        let images = 8 * 32 * 32 * 3 * 4;
        assert_eq!(parts.batch - images, (whole.batch - images) / 4);
        let trainable = network.parameter_count().trainable as u64;
        assert_eq!(parts.network - whole.network, 3 * 4 * trainable);
        config.micro_batch_size = Some(MicroBatchSize::Pairs(8));
        assert_eq!(memory.need(&config, &Device::flex()), whole);
    }

    #[test]
    fn the_largest_part_within_the_budget_is_chosen() {
        let network = NetworkConfig::ConVirt(convirt());
        let memory = memory(&network, 10_000, 5);
        let config = || Config {
            batch_size: 4_096,
            ..config()
        };
        let chosen = |budget: Option<f64>, device: &Device| {
            let mut config = config();
            config.micro_batch_size = Some(MicroBatchSize::Auto(crate::config::Auto::Auto));
            config.memory_budget_gib = budget;
            memory.choose_micro_batch(&mut config, device).unwrap();
            assert_eq!(config.memory_budget_gib, None);
            config
        };
        let flex = Device::flex();
        assert_eq!(chosen(Some(100.0), &flex).micro_batch(), None);
        let mut config = config();
        config.micro_batch_size = Some(MicroBatchSize::Pairs(2_048));
        let need = memory.need(&config, &Device::flex());
        let bytes = (need.on_device() + need.loader) as f64 * MARGIN;
        assert_eq!(
            chosen(Some((bytes + 1.0) / GIBIBYTE), &flex).micro_batch(),
            Some(2_048)
        );
        assert_eq!(
            chosen(Some((bytes - 9.0) / GIBIBYTE), &flex).micro_batch(),
            Some(1_024)
        );
        // If nothing fits, what needs the least: the sums of gradients of single pairs need more
        // than the activations of a few.
        let least = chosen(Some(1e-6), &flex).micro_batch().unwrap();
        assert!((2..2_048).contains(&least), "{least}");
    }

    #[test]
    fn parameter_counts_match_those_of_built_networks() {
        for freeze in [false, true] {
            let network = ConVirtConfig {
                freeze_embeddings: freeze,
                freeze_layers: if freeze { vec![0] } else { Vec::new() },
                ..convirt()
            };
            let built = network.init(&Device::flex()).unwrap().parameter_counts();
            let counted = NetworkConfig::ConVirt(network).parameter_count();
            assert_eq!(counted, built.sum());
        }
        let network = SimClrConfig::new(ResNetConfig::new(ResNetDepth::ResNet18));
        let built = network.init(&Device::flex()).unwrap().parameter_counts();
        assert_eq!(
            NetworkConfig::SimClr(network).parameter_count(),
            built.sum()
        );
    }

    /// 8 images of 32 × 32 × 3 numbers, two copies of all their feature maps, and 2 batches ahead.
    #[test]
    fn a_training_needs_weights_gradients_moments_and_batches() {
        let network = NetworkConfig::ConVirt(ConVirtConfig {
            freeze_layers: vec![0, 1],
            ..convirt()
        });
        let ParameterCount { total, trainable } = network.parameter_count();
        let images = 8 * 32 * 32 * 3 * 4;
        let resnet18 = ResNetConfig::new(ResNetDepth::ResNet18);
        let maps = 2 * 8 * resnet18.feature_map_elements(32) * 4;
        let expected = MemoryNeed {
            parameters: network.parameter_count(),
            network: (28 * trainable + 4 * (total - trainable)) as u64,
            batch: images + maps,
            loader: 2 * images,
        };
        let mut config = config();
        let memory = memory(&network, 100, 0);
        assert_eq!(memory.need(&config, &Device::flex()), expected);
        let four_pairs = TrainingMemory { pairs: 4, ..memory }.need(&config, &Device::flex());
        assert_eq!(four_pairs.batch, expected.batch / 2);
        config.precision = Precision::BFloat16;
        assert_eq!(
            memory.need(&config, &Device::flex()).batch,
            images + maps / 2
        );
        let inference = MemoryNeed::for_images(8, 32, Precision::BFloat16);
        assert_eq!(inference.batch, images + 8 * 16 * 16 * 64 * 2);
    }

    /// 5 tokens in a layer of 8 × 8 + 2 × 12 + 2 × 5 numbers each.
    #[test]
    fn only_layers_above_the_frozen_ones_keep_activations() {
        let per_layer = 8 * 5 * (64 + 24 + 10) * 4;
        let batch = |freeze_embeddings, freeze_layers: &[usize]| {
            let network = NetworkConfig::ConVirt(ConVirtConfig {
                freeze_embeddings,
                freeze_layers: freeze_layers.to_vec(),
                ..convirt()
            });
            let need = |tokens| {
                memory(&network, 100, tokens)
                    .need(&config(), &Device::flex())
                    .batch
            };
            need(5) - need(0)
        };
        assert_eq!(batch(false, &[0]), 2 * per_layer);
        assert_eq!(batch(true, &[1]), 2 * per_layer);
        assert_eq!(batch(true, &[0]), per_layer);
        assert_eq!(batch(true, &[0, 1]), 0);
    }

    #[test]
    fn fine_tuning_keeps_the_activations_of_the_image_encoder() {
        let resnet50 = ResNetConfig::new(ResNetDepth::ResNet50);
        let need = MemoryNeed::for_fine_tuning(&resnet50, 3, 224, Precision::Float32);
        assert_eq!(need.network, 16 * resnet50.parameters());
        // The outputs of timm's convolutions have 11,113,984 numbers per image.
        let expected = 3 * (224 * 224 * 3 + 2 * 11_113_984) * 4;
        assert_eq!((need.batch, need.loader), (expected, 0));
    }

    #[test]
    fn too_little_memory_is_an_error_with_the_numbers() {
        let need = MemoryNeed {
            parameters: ParameterCount {
                total: 5_000_000_000,
                trainable: 2_000_000_000,
            },
            network: 44 << 30,
            batch: 1 << 30,
            loader: 3 << 30,
        };
        assert!(need.check_within(Some(48 << 30)).is_ok());
        assert!(need.check_within(None).is_ok());
        let error = need.check_within(Some(24 << 30)).unwrap_err().to_string();
        for part in [
            "48.0 GiB",
            "24.0 GiB",
            "5,000,000,000",
            "44.0 GiB",
            "4.0 GiB",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    /// The largest sizes that a configuration admits.
    #[test]
    fn the_largest_sizes_do_not_overflow() {
        let text = BertConfig {
            num_hidden_layers: 1_024,
            hidden_size: 65_536,
            num_attention_heads: 4_096,
            intermediate_size: 1 << 20,
            max_position_embeddings: 1 << 20,
            type_vocab_size: 65_536,
            ..BertConfig::base(10_000_000)
        };
        let network = ConVirtConfig {
            text,
            d_embedding: 65_536,
            ..convirt()
        };
        network.validate().unwrap();
        let mut config = config();
        config.batch_size = 65_536;
        config.dataset.input_shape = [4_096, 4_096, 3];
        config.dataset.prefetch = 1_024;
        let network = NetworkConfig::ConVirt(network);
        let need = memory(&network, usize::MAX, 1 << 20).need(&config, &Device::flex());
        // 1,024 layers of 4·65,536² + 2·65,536·2²⁰ parameters, each of 28 bytes.
        assert!(need.network > 4_400_000_000_000_000);
        assert!(need.check_within(Some(1 << 40)).is_err());
    }

    #[test]
    fn the_machine_and_control_groups_limit_memory() {
        let text = "MemTotal:       24580900 kB\nMemFree:          203364 kB\n";
        assert_eq!(memory_line(text, "MemTotal:"), Some(24_580_900 * 1024));
        assert_eq!(memory_line("nothing", "MemTotal:"), None);
        let files: Vec<_> = limit_files("0::/a.slice/b\n").collect();
        let expected = ["/a.slice/b", "/a.slice", ""];
        assert_eq!(
            files,
            expected.map(|group| format!("/sys/fs/cgroup{group}/memory.max"))
        );
        let files: Vec<_> = limit_files("5:cpu:/x\n4:memory:/\n").collect();
        assert_eq!(files, ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_reports_its_memory() {
        assert!(machine_memory().unwrap() > 1 << 20);
    }
}
