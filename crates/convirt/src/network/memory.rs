//! What a network takes of memory, told before it is built.
//!
//! A size with a digit too many would otherwise end the process when the system refuses memory, or
//! stops it by force, without a word about the cause.

use std::path::Path;

use burn::tensor::Device;
use convirt_data::read_regular_text;
use convirt_model::{ConVirtConfig, ParameterCount, ResNetConfig};
use convirt_ops::{Precision, is_flex};

use super::NetworkConfig;
use crate::compute::ComputeError;
use crate::config::Config;

/// Bytes of a number in float32.
const FLOAT: u64 = 4;

/// Bytes of a number in bfloat16.
const HALF: u64 = 2;

/// Feature maps that a training keeps of each convolution: as it gives it, and normalized.
const MAPS_PER_CONVOLUTION: u64 = 2;

/// Numbers for each trained parameter: itself, its gradient and Adam's two moments.
const TRAINED: u64 = 4;

/// Numbers for each parameter that a checkpoint is written from: copies of itself and its moments.
const CHECKPOINT: u64 = 3;

/// Channels of the image encoder's first feature map, at half the image's size.
const STEM: u64 = 64;

/// What is needed at the least, from the shapes of what is kept. The program itself and the buffers
/// of single operations come on top of it: the phantom's training took 1.2 to 1.8 times as much,
/// with ResNet-18 and 50, images of 32 to 160 pixels and batches of 4 to 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryNeed {
    parameters: ParameterCount,
    /// Bytes of the network and what trains it, on its device.
    network: u64,
    /// Bytes of a batch's images and of what the layers make of it, as far as it is there at one
    /// time, on the same device.
    batch: u64,
    /// Bytes of the batches that the loader makes ahead, in main memory.
    loader: u64,
}

impl MemoryNeed {
    /// Of a network that is used as it is.
    pub fn for_inference(network: &NetworkConfig) -> Self {
        let parameters = ParameterCount {
            trainable: 0,
            ..network.parameter_count()
        };
        Self {
            parameters,
            network: (parameters.total as u64).saturating_mul(FLOAT),
            batch: 0,
            loader: 0,
        }
    }

    /// Of a network that is trained on so many pairs as the configuration says, their texts of so
    /// many tokens in the mean.
    pub fn for_training(
        network: &NetworkConfig,
        config: &Config,
        pairs: usize,
        tokens: usize,
    ) -> Self {
        // More than there are is an error of its own.
        let batch = config.batch_size.min(pairs) as u64;
        let (views, texts) = match network {
            NetworkConfig::ConVirt(network) => (1, kept_of_text(network, tokens)),
            NetworkConfig::SimClr(_) => (2, 0),
        };
        let (side, image) = (config.image_size(), network.image_side().image);
        let images = Batch::new(batch * views, side, config.precision);
        let window = config.evaluation_window(pairs / config.batch_size.max(1));
        let ahead = config.dataset.prefetch.min(window) as u64;
        let texts = batch.saturating_mul(texts);
        let texts = texts.saturating_mul(bytes_of_number(config.precision));
        Self {
            batch: images.kept(&image).saturating_add(texts),
            loader: images.pixels().saturating_mul(ahead),
            ..Self::for_parameters(network.parameter_count(), TRAINED + CHECKPOINT)
        }
    }

    /// Of an image encoder that is fine-tuned on so many images at once, `side` pixels wide and
    /// high.
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
            batch: Batch::new(images as u64, side, precision).kept(image),
            ..Self::for_parameters(parameters, TRAINED)
        }
    }

    /// Of parameters, so many numbers for each that is trained.
    fn for_parameters(parameters: ParameterCount, numbers_each: u64) -> Self {
        let ParameterCount { total, trainable } = parameters;
        let numbers = (total - trainable) as u64 + (trainable as u64).saturating_mul(numbers_each);
        Self {
            parameters,
            network: numbers.saturating_mul(FLOAT),
            batch: 0,
            loader: 0,
        }
    }

    /// Of the images that a network that is used sees at once, `side` pixels wide and high.
    pub fn for_images(images: usize, side: usize, precision: Precision) -> Self {
        let images = Batch::new(images as u64, side, precision);
        Self {
            parameters: ParameterCount::default(),
            network: 0,
            batch: images.pixels().saturating_add(images.first_map()),
            loader: 0,
        }
    }

    /// Compares with what this machine has, where that is known. What lies on a device of its own
    /// is left to that device.
    ///
    /// # Errors
    ///
    /// [`ComputeError::TooLargeForMemory`] with the numbers.
    pub fn check(&self, device: &Device) -> Result<(), ComputeError> {
        let main_memory = match is_flex(device) {
            true => *self,
            false => Self {
                network: 0,
                batch: 0,
                ..*self
            },
        };
        main_memory.check_within(machine_memory())
    }

    fn check_within(&self, available: Option<u64>) -> Result<(), ComputeError> {
        let needed = self.network.saturating_add(self.batch);
        let needed = needed.saturating_add(self.loader);
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

/// Images that an encoder sees at once.
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

    /// Bytes of the images.
    fn pixels(&self) -> u64 {
        let side = self.side as u64;
        let numbers = self.images.saturating_mul(side.saturating_mul(side));
        numbers.saturating_mul(3 * FLOAT)
    }

    /// Bytes of the first convolution's feature map.
    fn first_map(&self) -> u64 {
        let side = self.side.div_ceil(2) as u64;
        let numbers = STEM.saturating_mul(side.saturating_mul(side));
        self.maps(numbers)
    }

    /// Bytes of the images and of what a training keeps of all layers.
    fn kept(&self, image: &ResNetConfig) -> u64 {
        let numbers = MAPS_PER_CONVOLUTION.saturating_mul(image.feature_map_elements(self.side));
        self.pixels().saturating_add(self.maps(numbers))
    }

    /// Bytes of so many numbers of each image's feature maps.
    fn maps(&self, numbers: u64) -> u64 {
        let bytes = numbers.saturating_mul(bytes_of_number(self.precision));
        self.images.saturating_mul(bytes)
    }
}

/// Numbers that a training keeps of a text of so many tokens: of all layers but the frozen ones
/// below which nothing is trained.
fn kept_of_text(network: &ConVirtConfig, tokens: usize) -> u64 {
    let layers = network.text.num_hidden_layers;
    let is_frozen = |layer: &usize| network.freeze_layers.contains(layer);
    let frozen = match network.freeze_embeddings {
        true => (0..layers).take_while(is_frozen).count(),
        false => 0,
    };
    let trained = network
        .pooling_layer
        .unwrap_or(layers)
        .saturating_sub(frozen);
    let of_layer = network.text.layer_activations(tokens);
    of_layer.saturating_mul(trained as u64)
}

/// Bytes of a number of feature maps and token states.
fn bytes_of_number(precision: Precision) -> u64 {
    match precision {
        Precision::BFloat16 => HALF,
        Precision::Float32 | Precision::High => FLOAT,
    }
}

/// Bytes of main memory that this process may use; `None` where the system does not say.
fn machine_memory() -> Option<u64> {
    /// Longer ones are no files of the kernel's.
    const MAX_BYTES: u64 = 1 << 16;
    let read = |path: &Path| read_regular_text(path, MAX_BYTES).ok();
    let machine = total_memory(&read(Path::new("/proc/meminfo"))?)?;
    let group = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits =
        group_folders(&group).filter_map(|file| read(Path::new(&file))?.trim().parse().ok());
    Some(limits.fold(machine, u64::min))
}

/// Reads `MemTotal` of `/proc/meminfo`, in bytes.
fn total_memory(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Lists the files that may limit the memory of a process, by its `/proc/self/cgroup`: of its group
/// and of those around it, of either version of control groups.
fn group_folders(text: &str) -> impl Iterator<Item = String> {
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

    #[test]
    fn a_network_is_counted_as_it_is_built() {
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

    /// 8 images of 32 × 32 × 3 numbers, of each two of all feature maps, and 2 batches ahead.
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
        assert_eq!(
            MemoryNeed::for_training(&network, &config, 100, 0),
            expected
        );
        let few = MemoryNeed::for_training(&network, &config, 4, 0);
        assert_eq!(few.batch, expected.batch / 2);
        config.precision = Precision::BFloat16;
        let half = MemoryNeed::for_training(&network, &config, 100, 0);
        assert_eq!(half.batch, images + maps / 2);
        let used = MemoryNeed::for_images(8, 32, Precision::BFloat16);
        assert_eq!(used.batch, images + 8 * 16 * 16 * 64 * 2);
    }

    /// 5 tokens in a layer of 8 × 8 + 2 × 12 + 2 × 5 numbers each.
    #[test]
    fn texts_are_kept_by_the_layers_above_what_is_frozen() {
        let of_layer = 8 * 5 * (64 + 24 + 10) * 4;
        let batch = |freeze_embeddings, freeze_layers: &[usize]| {
            let network = NetworkConfig::ConVirt(ConVirtConfig {
                freeze_embeddings,
                freeze_layers: freeze_layers.to_vec(),
                ..convirt()
            });
            let need = |tokens| MemoryNeed::for_training(&network, &config(), 100, tokens).batch;
            need(5) - need(0)
        };
        assert_eq!(batch(false, &[0]), 2 * of_layer);
        assert_eq!(batch(true, &[1]), 2 * of_layer);
        assert_eq!(batch(true, &[0]), of_layer);
        assert_eq!(batch(true, &[0, 1]), 0);
    }

    #[test]
    fn a_fine_tuning_keeps_what_a_training_does() {
        let resnet50 = ResNetConfig::new(ResNetDepth::ResNet50);
        let need = MemoryNeed::for_fine_tuning(&resnet50, 3, 224, Precision::Float32);
        assert_eq!(need.network, 16 * resnet50.parameters());
        // timm's convolutions give 11,113,984 numbers an image.
        let expected = 3 * (224 * 224 * 3 + 2 * 11_113_984) * 4;
        assert_eq!((need.batch, need.loader), (expected, 0));
    }

    #[test]
    fn what_does_not_fit_is_an_error_with_the_numbers() {
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
        let need = MemoryNeed::for_training(
            &NetworkConfig::ConVirt(network),
            &config,
            usize::MAX,
            1 << 20,
        );
        // 1,024 layers of 4·65,536² + 2·65,536·2²⁰ parameters, of 28 bytes.
        assert!(need.network > 4_400_000_000_000_000);
        assert!(need.check_within(Some(1 << 40)).is_err());
    }

    #[test]
    fn the_machine_and_the_groups_around_a_process_limit_it() {
        let text = "MemTotal:       24580900 kB\nMemFree:          203364 kB\n";
        assert_eq!(total_memory(text), Some(24_580_900 * 1024));
        assert_eq!(total_memory("nothing"), None);
        let files: Vec<_> = group_folders("0::/a.slice/b\n").collect();
        let expected = ["/a.slice/b", "/a.slice", ""];
        assert_eq!(
            files,
            expected.map(|group| format!("/sys/fs/cgroup{group}/memory.max"))
        );
        let files: Vec<_> = group_folders("5:cpu:/x\n4:memory:/\n").collect();
        assert_eq!(files, ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_its_memory() {
        assert!(machine_memory().unwrap() > 1 << 20);
    }
}
