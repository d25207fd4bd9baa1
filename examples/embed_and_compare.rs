//! How well sentences describe an image, by a trained model.
//!
//! `cargo run --release --example embed_and_compare -- RUN IMAGE SENTENCE...`

use convirt::{Error, Model, similarity};

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [run, image, sentences @ ..] = &arguments[..] else {
        panic!("usage: embed_and_compare RUN IMAGE SENTENCE...");
    };
    let model = Model::load(run)?;
    // Embeddings are vectors of length 1, so that their product is the cosine.
    let image = model.embed_image(image)?;
    let mut scores = Vec::new();
    for sentence in sentences {
        let text = model.embed_text(sentence)?;
        scores.push((similarity(&image, &text), sentence));
    }
    scores.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (score, sentence) in scores {
        println!("{score:+.4}  {sentence}");
    }
    Ok(())
}
