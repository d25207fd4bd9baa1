//! One's own pairs through the loader into one's own Burn loop, without the library's training.
//!
//! `cargo run --release --example own_loop -- PAIRS.csv` reads a table of images and text files,
//! learns a vocabulary from the texts, and trains two small encoders for a few steps.

use std::sync::Arc;

use anyhow::{Context, Result};
use burn::data::dataloader::DataLoader;
use burn::optim::{AdamConfig, GradientsParams};
use convirt::data::{
    AugmentationConfig, ImageStore, ImageStoreConfig, ImageTextDataset, ImageView, LoaderConfig,
    Manifest, ManifestConfig, ReportTokenizer, SampleConfig, TextView, TrainingLoader,
    TrainingSteps,
};
use convirt::model::{BertConfig, ConVirtConfig, ResNetConfig, ResNetDepth, TextInput};

fn main() -> Result<()> {
    let pairs = std::env::args()
        .nth(1)
        .context("usage: own_loop PAIRS.csv")?;
    let device = convirt::device(None)?.autodiff();
    let manifest = Manifest::read(&ManifestConfig {
        text_from_files: true,
        ..ManifestConfig::new(pairs)
    })?;
    let texts = manifest.studies.iter().map(|study| &*study.report.text);
    let tokenizer = ReportTokenizer::train(texts, 1_000, true)?;
    let text = BertConfig {
        hidden_size: 64,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 128,
        ..BertConfig::base(tokenizer.vocab_size())
    };
    let samples = SampleConfig {
        image: ImageView::Augmented(AugmentationConfig::default().init(32)?),
        views: 1,
        text: TextView::RandomSentence,
        max_tokens: 64,
        seed: 0,
    };
    let dataset = ImageTextDataset::new(
        manifest.studies,
        ImageStore::new(ImageStoreConfig::for_input_size(32))?,
        Arc::new(tokenizer),
        samples,
        Arc::new(manifest.skips),
    );
    let batches_of = LoaderConfig {
        batch_size: 4,
        ..LoaderConfig::default()
    };
    let steps = TrainingSteps {
        window: 4,
        total: 4,
    };
    let loader = TrainingLoader::new(Arc::new(dataset), &batches_of, steps, &device)?;

    let image = ResNetConfig::new(ResNetDepth::ResNet18);
    let mut model = ConVirtConfig::new(image, text).init(&device)?;
    let mut optimizer = AdamConfig::new().init();
    for (step, batch) in (1..).zip(loader.iter()) {
        let batch = batch?;
        let texts = batch.texts.context("the pairs have texts")?;
        let input = TextInput {
            input_ids: texts.input_ids,
            attention_mask: texts.attention_mask,
            token_type_ids: Some(texts.token_type_ids),
        };
        let loss = model
            .forward(batch.images, input, Some(texts.text_ids))
            .loss;
        println!("step {step}: {:.3} nats", loss.clone().into_scalar::<f64>());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(1e-4, model, gradients);
    }
    Ok(())
}
