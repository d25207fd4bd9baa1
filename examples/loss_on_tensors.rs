//! The contrastive loss on tensors of one's own.
//!
//! `cargo run --release --example loss_on_tensors` scores random embeddings, and the same with each
//! text moved towards its image.

use burn::tensor::{Distribution, Tensor};
use convirt::Error;
use convirt::model::ContrastiveLossConfig;

const BATCH: usize = 32;
const WIDTH: usize = 128;

fn main() -> Result<(), Error> {
    let device = convirt::device(None)?;
    let loss = ContrastiveLossConfig::default().init(&device)?;
    let embeddings = || Tensor::<2>::random([BATCH, WIDTH], Distribution::Default, &device) - 0.5;
    let (images, texts) = (embeddings(), embeddings());

    // Pair i is the positive of row i; all other rows of the batch are its negatives.
    let random = loss.forward(images.clone(), texts.clone(), None);
    let matched = loss.forward(images.clone(), texts + images, None);
    println!("chance   {:.3} nats", (BATCH as f64).ln());
    println!("random   {:.3} nats", random.loss.into_scalar::<f64>());
    println!("matched  {:.3} nats", matched.loss.into_scalar::<f64>());
    Ok(())
}
