//! A run as one page to look at: curves, held-out pairs, heat maps.

mod chart;
mod gallery;
mod heat_map;
mod held_out;
mod matrix;

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::Device;
use convirt_data::{EvaluationLoader, ReportTokenizer, word_count};
use convirt_model::ConVirt as Network;

use crate::config::Config;
use crate::datasets::{Datasets, Studies, loader_config};
use crate::error::{Error, read_error, write_error};
use crate::evaluation::embed;
use crate::html::{Escaped, page};
use crate::pretrained::Description;
use crate::run_dir::RunDir;
use crate::summary::Summary;
use crate::tensorboard::{Scalars, read_scalars};
use chart::{Chart, Curve};
use held_out::HeldOut;

/// Held-out pairs that are looked at.
const MAX_PAIRS: usize = 400;

impl RunDir {
    /// Writes the run as a page, `report.html`, that needs nothing but a browser: what it reached,
    /// its curves, the similarities of a held-out batch, held-out images with the texts the model
    /// thinks of, heat maps of where it sees a sentence, the data and the configuration.
    ///
    /// Where the pairs are no longer there, the page says so in place of them.
    ///
    /// # Errors
    ///
    /// When the run's own files cannot be read, or the page cannot be written.
    pub fn write_report(&self, device: &Device) -> Result<PathBuf, Error> {
        let config = Config::from_file(self.config(), &[])?;
        let held_out = match load_held_out(self, &config, device) {
            Ok((network, loader)) => HeldOutPage::new(&network, &loader),
            Err(error) => Err(error),
        };
        self.write_report_of(&config, held_out)
    }

    /// Writes the page of a run whose model and held-out pairs are at hand.
    pub(crate) fn write_report_with(
        &self,
        config: &Config,
        network: &Network,
        loader: &EvaluationLoader,
    ) -> Result<PathBuf, Error> {
        self.write_report_of(config, HeldOutPage::new(network, loader))
    }

    fn write_report_of(
        &self,
        config: &Config,
        held_out: Result<HeldOutPage, Error>,
    ) -> Result<PathBuf, Error> {
        let scalars = read_scalars(self.path())?;
        let summary = match fs::read(self.summary()) {
            Ok(json) => serde_json::from_slice(&json).ok(),
            Err(_) => None,
        };
        let mut body = facts(summary.as_ref());
        body.push_str(&curves(&scalars, summary.as_ref()));
        match held_out {
            Ok(page) => body.push_str(&page.0),
            Err(error) => {
                let _ = write!(
                    body,
                    "<h2>Held-out pairs</h2><p class=\"missing\">not shown: {}</p>",
                    Escaped(&error.to_string())
                );
            }
        }
        let _ = write!(
            body,
            "<h2>Configuration</h2><details><summary>config.yaml</summary><pre>{}</pre></details>",
            Escaped(&config.to_yaml())
        );
        let title = self.name();
        let body = format!("<style>{STYLE}</style><h1>{}</h1>{body}", Escaped(&title));
        let path = self.report();
        fs::write(&path, page(&title, &body)).map_err(write_error(&path))?;
        Ok(path)
    }
}

/// The best model of a run, and its held-out pairs as it evaluated them.
fn load_held_out(
    run: &RunDir,
    config: &Config,
    device: &Device,
) -> Result<(Network, EvaluationLoader), Error> {
    let folder = run.model();
    let description = Description::load(&folder)?;
    let network = description.network.init(device)?;
    let network = description.load_weights(network, &folder)?.valid();
    let tokenizer = ReportTokenizer::from_folder(&folder, None)?;
    let studies = Studies::read(config)?;
    let datasets = Datasets::new(config, studies, tokenizer, description.max_tokens)?;
    let loader = EvaluationLoader::new(datasets.valid, &loader_config(config), device)?;
    Ok((network, loader))
}

/// The parts of the page that show held-out pairs.
struct HeldOutPage(String);

impl HeldOutPage {
    fn new(network: &Network, loader: &EvaluationLoader) -> Result<Self, Error> {
        let embedded = embed(network, loader, MAX_PAIRS)?;
        let studies = loader.dataset().studies();
        let texts: Vec<&str> = embedded
            .indices
            .iter()
            .map(|&index| &*studies[index].report.text)
            .collect();
        let pairs = HeldOut::new(&embedded, &texts);
        let mut page = String::from("<h2>Similarity of held-out pairs</h2>");
        page.push_str(&matrix::draw(&pairs, &texts));
        page.push_str(&gallery::draw(network, loader, &pairs, &texts)?);
        page.push_str(&lengths(&texts));
        Ok(Self(page))
    }
}

/// What the run reached.
fn facts(summary: Option<&Summary>) -> String {
    match summary {
        Some(summary) => format!("<pre class=\"summary\">{}</pre>", Escaped(summary.to_string().trim())),
        None => "<p class=\"missing\">The run has not ended, or was killed: there is no \
                 summary.json.</p>"
            .into(),
    }
}

fn curves(scalars: &Scalars, summary: Option<&Summary>) -> String {
    let curve = |tag: &str, name| {
        let values = scalars.get(tag).into_iter().flatten();
        let points = values.map(|(&step, &value)| (step as f64, f64::from(value)));
        Curve {
            name,
            points: points.collect(),
        }
    };
    let charts = [
        Chart {
            title: "Loss (nats) by step",
            curves: vec![
                curve("train_loss", "training"),
                curve("validation_loss", "held out"),
            ],
            level: summary.map(|summary| ("chance", summary.chance_loss)),
        },
        Chart {
            title: "Share of a batch whose partner is found first, by step",
            curves: vec![
                curve("validation_image_to_text_accuracy", "image → text, held out"),
                curve("validation_text_to_image_accuracy", "text → image, held out"),
                curve("train_image_to_text_accuracy", "image → text, training"),
                curve("train_text_to_image_accuracy", "text → image, training"),
            ],
            level: None,
        },
        Chart {
            title: "Learning rate by step",
            curves: vec![curve("learning_rate", "learning rate")],
            level: None,
        },
        Chart {
            title: "Pairs a second by step",
            curves: vec![curve("pairs_per_second", "training")],
            level: None,
        },
    ];
    let drawn: String = charts.iter().map(Chart::draw).collect();
    match drawn.is_empty() {
        true => "<h2>Curves</h2><p class=\"missing\">no step has been recorded</p>".into(),
        false => format!("<h2>Curves</h2><div class=\"charts\">{drawn}</div>"),
    }
}

/// The lengths of the texts that were looked at.
fn lengths(texts: &[&str]) -> String {
    let mut words: Vec<usize> = texts.iter().map(|text| word_count(text)).collect();
    words.sort_unstable();
    let at = |share: f64| words[((words.len() - 1) as f64 * share).round() as usize];
    match words.is_empty() {
        true => String::new(),
        false => format!(
            "<p>{} held-out pairs were looked at. Their texts have {} to {} words, {} in the \
             median.</p>",
            words.len(),
            at(0.0),
            at(1.0),
            at(0.5)
        ),
    }
}

const STYLE: &str = include_str!("report/report.css");
