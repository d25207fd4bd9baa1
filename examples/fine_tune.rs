//! Fine-tunes the image encoder of a run on labelled images, and predicts with what comes of it.
//!
//! `cargo run --release --example fine_tune -- RUN LABELS.csv IMAGE OUT`; the table has the columns
//! image, label and patient.

use convirt::data::{Column, LabelColumns, LabelledConfig};
use convirt::transfer::{EncoderSource, Transfer, TransferConfig, TransferMode};
use convirt::{Classifier, Error};

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [run, labels, image, out] = &arguments[..] else {
        panic!("usage: fine_tune RUN LABELS.csv IMAGE OUT");
    };
    let column = |name: &str| Column::Name(name.to_string());
    let classes = LabelColumns::Class {
        column: column("label"),
        positive: None,
    };
    let data = LabelledConfig {
        image: column("image"),
        group: Some(column("patient")),
        ..LabelledConfig::new(labels, classes)
    };
    let mut config = TransferConfig {
        mode: TransferMode::FineTune,
        fractions: vec![1.0],
        runs: 1,
        batch_size: 16,
        ..TransferConfig::new(vec![EncoderSource::Weights(run.clone())], data)
    };
    // A try; without these two lines the paper's protocol.
    config.fine_tune.warmup_steps = 10;
    config.fine_tune.max_epochs = 2;
    let report = Transfer::prepare(config)?.run()?;
    println!("{report}");
    report.save(out)?;

    let (_, kept) = report.best().expect("one encoder was trained");
    let folder = std::path::Path::new(out)
        .join("classifiers")
        .join(&kept.folder);
    let classifier = Classifier::load(folder)?;
    let probabilities = classifier.predict(image)?;
    for (label, probability) in classifier.labels().names().iter().zip(probabilities) {
        println!("{:5.1} %  {label}", 100.0 * probability);
    }
    Ok(())
}
