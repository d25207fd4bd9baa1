//! One's own pairs through the loader into one's own Burn loop, without the library's training.
//!
//! `cargo run --release --example own_loop -- PAIRS.csv` reads a table of images and text files,
//! learns a vocabulary from the texts, and trains two small encoders for a few steps.

use std::sync::Arc;

use anyhow::{Context, Result};
use burn::data::dataloader::DataLoader;
use burn::optim::{AdamConfig, GradientsParams};
use convirt::data;
use convirt::model::{BertConfig, ConVirtConfig, ResNetConfig, ResNetDepth, TextInput};

fn main() -> Result<()> {
    let pairs = std::env::args().nth(1);
    let mut manifest = data::ManifestConfig::new(pairs.context("usage: own_loop PAIRS.csv")?);
    manifest.text_from_files = true;
    let manifest = data::Manifest::read(&manifest)?;
    let texts = manifest.studies.iter().map(|study| &*study.report.text);
    let tokenizer = data::ReportTokenizer::train(texts, 1_000, true)?;
    let mut text = BertConfig::base(tokenizer.vocab_size());
    (text.num_hidden_layers, text.hidden_size) = (1, 96);

    let samples = data::SampleConfig {
        image: data::ImageView::Augmented(data::AugmentationConfig::default().init(32)?),
        views: 1,
        texts: Some(data::Texts {
            tokenizer: Arc::new(tokenizer),
            view: data::TextView::RandomSentence,
            max_tokens: 64,
        }),
        seed: 0,
    };
    let images = data::ImageStore::new(data::ImageStoreConfig::for_input_size(32))?;
    let skips = Arc::new(manifest.skips);
    let dataset = data::ImageTextDataset::new(manifest.studies, images, samples, skips);

    let batches = data::LoaderConfig {
        batch_size: 4,
        ..data::LoaderConfig::default()
    };
    let steps = data::TrainingSteps {
        window: 4,
        total: 4,
    };
    let device = convirt::device(None)?.autodiff();
    let loader = data::TrainingLoader::new(Arc::new(dataset), &batches, steps, &device)?;
    let image = ResNetConfig::new(ResNetDepth::ResNet18);
    let mut model = ConVirtConfig::new(image, text).init(&device)?;
    let mut optimizer = AdamConfig::new().init();
    for (step, batch) in (1..).zip(loader.iter()) {
        let batch = batch?;
        let texts = batch.texts.context("the pairs have texts")?;
        let text_ids = texts.text_ids();
        let input = TextInput {
            input_ids: texts.input_ids,
            attention_mask: texts.attention_mask,
            token_type_ids: Some(texts.token_type_ids),
        };
        let output = model.forward(batch.images, input, Some(text_ids));
        println!(
            "step {step}: {:.3} nats",
            output.loss.clone().into_scalar::<f64>()
        );
        let gradients = GradientsParams::from_grads(output.loss.backward(), &model);
        model = optimizer.step(1e-4, model, gradients);
    }
    Ok(())
}
