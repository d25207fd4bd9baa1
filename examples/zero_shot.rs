//! Classes of an image by what is said of them: no labels, no classifier.
//!
//! `cargo run --release --example zero_shot -- RUN IMAGE`

use convirt::zero_shot::{ZeroShot, ZeroShotPrompts};
use convirt::{Error, Model};

/// Each finding has sentences that speak for it and against it.
const PROMPTS: &str = "
Pleural effusion:
  positive: [There is a pleural effusion., Small left pleural effusion.]
  negative: [No pleural effusion.]
Cardiomegaly:
  positive: [The heart is enlarged.]
  negative: [The heart is normal in size., No cardiomegaly.]
";

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [run, image] = &arguments[..] else {
        panic!("usage: zero_shot RUN IMAGE");
    };
    let model = Model::load(run)?;
    let prompts = ZeroShotPrompts::from_yaml("prompts", PROMPTS)?;
    let zero_shot = ZeroShot::new(&model, &prompts)?;
    let probabilities = zero_shot.probabilities(&model.embed_image(image)?);
    for (class, probability) in zero_shot.classes().iter().zip(probabilities) {
        println!("{:5.1} %  {class}", 100.0 * probability);
    }
    Ok(())
}
