//! How long does a forward pass or a training step take: of each tower, and of both?
//!
//!     seq 7 | cargo bench --bench steps -- resnet50 step 8
//!     seq 7 | cargo bench --bench steps -- bert forward 32 64
//!     seq 7 | cargo bench --bench steps -- convirt step 32 32
//!
//! Networks: resnet18, resnet50, bert (base, the embeddings and layers 0 to 5 frozen in a step),
//! convirt (resnet50 and bert as the paper trains them, with Adam; `known` instead of `step` where
//! the texts have been seen before), loss (alone, of embeddings of 512 numbers). Numbers: batch,
//! tokens, for convirt the pairs of a micro-batch; with `--bf16`, `--fp16` or `--high` in that
//! precision, by the kernel that `CONVIRT_KERNEL` names, if it does. For each line of input it runs
//! once and prints the seconds; at the end, with `--profile`, where the last run's time went, and the
//! largest resident memory in MiB. A line that names a case is the next case, and `ready` is printed
//! for it. `steps.py` runs PyTorch in turns with it, `gpu.py` on a GPU.

use std::io::BufRead;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Bool, Device, Distribution, Int, Tensor};
use burn::train::TrainStep;
use convirt::compute::{Precision, Profile, autocast, parse_precision};
use convirt::data::{ImageTextBatch, TextBatch};
use convirt::model::{
    BertConfig, ConVirtConfig, ContrastiveLossConfig, FrozenStates, ResNetConfig, ResNetDepth,
    TextInput,
};
use convirt::training::{Adam, ContrastiveTask};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let device = convirt::device(None).expect("the device can be opened");
    let mut current = Case::read(&words, &device);
    let mut last = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        if line.starts_with(char::is_alphabetic) {
            drop(current.take());
            device.memory_cleanup();
            let words: Vec<String> = line.split_whitespace().map(String::from).collect();
            current = Case::read(&words, &device);
            println!("ready");
            continue;
        }
        let case = current
            .as_mut()
            .expect("a case; see the top of benches/steps.rs");
        let start = Instant::now();
        let (_, profile) = Profile::measure(|| {
            autocast(case.precision, &mut case.run);
            device.sync().expect("the device works");
        });
        println!("{:.4}", start.elapsed().as_secs_f64());
        last = Some(profile);
    }
    if let Some(profile) = last.filter(|_| words.iter().any(|word| word == "--profile")) {
        println!("{profile}");
    }
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.split("VmHWM:").nth(1).expect("a peak");
        let kibibytes: f64 = peak.split_whitespace().next().unwrap().parse().unwrap();
        println!("{:.0}", kibibytes / 1024.0);
    }
}

struct Case {
    precision: Precision,
    run: Box<dyn FnMut()>,
}

impl Case {
    /// `None` if the words name none, as when cargo tests the benches.
    fn read(words: &[String], device: &Device) -> Option<Self> {
        let (flags, words): (Vec<_>, Vec<_>) =
            words.iter().partition(|word| word.starts_with("--"));
        let precision = flags
            .iter()
            .find_map(|flag| parse_precision(&flag[2..]).ok());
        let precision = precision.unwrap_or_default().on(device);
        let [network, pass, numbers @ ..] = &words[..] else {
            return None;
        };
        let numbers = numbers
            .iter()
            .map(|number| number.parse().expect("a number"));
        let numbers: Vec<usize> = numbers.collect();
        let run = case(network, pass, &numbers, precision, device);
        Some(Self { precision, run })
    }
}

fn case(
    network: &str,
    pass: &str,
    numbers: &[usize],
    precision: Precision,
    device: &Device,
) -> Box<dyn FnMut()> {
    let graph = device.clone().autodiff();
    match (network, pass, numbers) {
        ("resnet18" | "resnet50", _, &[batch]) => {
            let depth: ResNetDepth = network.parse().expect("a ResNet");
            let encoder = ResNetConfig::new(depth).init(&graph);
            if pass == "forward" {
                let (encoder, images) = (encoder.valid(), images(batch, device));
                return Box::new(move || drop(encoder.forward(images.clone()).into_data()));
            }
            let images = images(batch, &graph);
            Box::new(move || {
                let output = encoder.forward(images.clone());
                drop(output.square().mean().backward());
            })
        }
        ("bert", _, &[batch, tokens]) => {
            let encoder = BertConfig::base(30_522).init(&graph).expect("BERT-base");
            let input = |device: &Device| TextInput {
                input_ids: ids(batch, tokens, device),
                attention_mask: Tensor::<2, Bool>::full([batch, tokens], true, device),
                token_type_ids: None,
            };
            let depth = encoder.layers.len();
            if pass == "forward" {
                let (encoder, input) = (encoder.valid(), input(device));
                return Box::new(move || {
                    drop(encoder.forward_to(input.clone(), depth).into_data());
                });
            }
            let encoder = encoder
                .freeze_embeddings()
                .freeze_layers(&[0, 1, 2, 3, 4, 5]);
            let (encoder, input) = (encoder.expect("twelve layers"), input(&graph));
            Box::new(move || {
                let state = encoder.forward_to(input.clone(), depth);
                drop(state.square().mean().backward());
            })
        }
        ("convirt", "step" | "known", &[batch, tokens, ref micro_batch @ ..]) => {
            let (micro_batch, pass) = (micro_batch.first(), pass.to_string());
            let has_parts = micro_batch.is_some();
            let config = ConVirtConfig {
                freeze_embeddings: true,
                freeze_layers: (0..6).collect(),
                ..ConVirtConfig::new(
                    ResNetConfig::new(ResNetDepth::ResNet50),
                    BertConfig::base(30_522),
                )
            };
            let mut network = config.init(&graph).expect("the configuration is valid");
            let states = || FrozenStates::new(1 << 30);
            if pass == "known" {
                network.text_encoder = network.text_encoder.with_frozen_states(&states());
            }
            let mut task = Some(ContrastiveTask {
                network,
                gradient_clip_norm: None,
                precision,
                loss_scale: match precision {
                    Precision::Float16 => 1024.0,
                    _ => 1.0,
                },
                micro_batch_size: micro_batch.copied(),
            });
            let adam = Adam {
                epsilon: 1e-8,
                weight_decay: 0.0,
            };
            let mut optimizer = adam.init();
            let pairs = pairs(batch, tokens, &graph);
            Box::new(move || {
                let mut current = task.take().expect("put back below");
                if pass == "step" && has_parts {
                    // As in a run, which remembers from the first pass what frozen layers make of
                    // a text.
                    let encoder = current.network.text_encoder;
                    current.network.text_encoder = encoder.with_frozen_states(&states());
                }
                let output = TrainStep::step(&current, pairs.clone());
                task = Some(current.optimize(&mut optimizer, 1e-4.into(), output.grads));
            })
        }
        ("loss", "step", &[batch]) => {
            let config = ContrastiveLossConfig {
                multi_positive: false,
                ..ContrastiveLossConfig::default()
            };
            let loss = config.init(&graph).expect("the configuration is valid");
            let normal = Distribution::Normal(0.0, 1.0);
            let embeddings =
                [(); 2].map(|()| Tensor::<2>::random([batch, 512], normal, &graph).require_grad());
            Box::new(move || {
                let [images, texts] = embeddings.clone();
                drop(loss.forward(images, texts, None).loss.backward());
            })
        }
        _ => panic!("no such case; see the top of benches/steps.rs"),
    }
}

fn images(batch: usize, device: &Device) -> Tensor<4> {
    Tensor::random([batch, 3, 224, 224], Distribution::Normal(0.0, 1.0), device)
}

fn ids(batch: usize, tokens: usize, device: &Device) -> Tensor<2, Int> {
    let numbers = Tensor::<1, Int>::arange(0..(batch * tokens) as i64, device);
    (numbers.remainder_scalar(29_000) + 1_000).reshape([batch, tokens])
}

fn pairs(batch: usize, tokens: usize, device: &Device) -> ImageTextBatch {
    ImageTextBatch {
        images: images(batch, device),
        texts: Some(TextBatch {
            input_ids: ids(batch, tokens, device),
            attention_mask: Tensor::<2, Bool>::full([batch, tokens], true, device),
            token_type_ids: Tensor::<2, Int>::zeros([batch, tokens], device),
            hashes: (0..batch as u64).collect(),
        }),
        indices: (0..batch).collect(),
    }
}
