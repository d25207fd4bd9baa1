//! A run as one page to look at: curves, held-out pairs, heat maps.

mod chart;
mod gallery;
mod heat_map;
mod held_out;
mod matrix;

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use burn::tensor::Device;
use convirt_data::{Study, word_count};

use crate::config::{Config, Objective};
use crate::datasets::{Studies, loader_config};
use crate::error::{Error, write_error};
use crate::html::{Escaped, page};
use crate::pretrained::ConVirt;
use crate::run_dir::RunDir;
use crate::summary::Summary;
use crate::tensorboard::{Scalars, read_scalars};
use chart::{Chart, Curve};
use held_out::HeldOut;

/// Held-out pairs that are looked at.
const MAX_PAIRS: usize = 400;

/// Curves of the second chart: the tags of either objective, and what they are.
const ACCURACIES: [(&str, &str); 6] = [
    (
        "validation_image_to_text_accuracy",
        "image → text, held out",
    ),
    (
        "validation_text_to_image_accuracy",
        "text → image, held out",
    ),
    ("train_image_to_text_accuracy", "image → text, training"),
    ("train_text_to_image_accuracy", "text → image, training"),
    ("validation_contrastive_accuracy", "view → view, held out"),
    ("train_contrastive_accuracy", "view → view, training"),
];

const STYLE: &str = include_str!("report/report.css");

impl RunDir {
    /// Writes the run as a page, `report.html`, that needs nothing but a browser: what it reached,
    /// its curves, the similarities of held-out pairs, images with the texts the model thinks of,
    /// heat maps of where it sees a sentence, and the configuration. Of a run of SimCLR, which
    /// knows no texts, the curves.
    ///
    /// Where model or pairs are not there, the page says so in their place.
    ///
    /// # Errors
    ///
    /// When the run's configuration or events cannot be read, or the page cannot be written.
    pub fn write_report(&self, device: &Device) -> Result<PathBuf, Error> {
        let config = Config::from_file(self.config(), &[])?;
        let held_out = match config.objective {
            Objective::SimClr => Ok(Vec::new()),
            Objective::ConVirt => Studies::read(&config).map(|studies| studies.split.valid),
        };
        self.write_report_of(&config, held_out, device)
    }

    /// Writes the page of a run whose held-out pairs have been read, or could not be.
    pub(crate) fn write_report_of(
        &self,
        config: &Config,
        held_out: Result<Vec<Study>, Error>,
        device: &Device,
    ) -> Result<PathBuf, Error> {
        let scalars = read_scalars(self.path())?;
        let json = fs::read(self.summary()).ok();
        let summary: Option<Summary> = json.and_then(|json| serde_json::from_slice(&json).ok());
        let title = self.name();
        let mut body = format!("<style>{STYLE}</style><h1>{}</h1>", Escaped(&title));
        body.push_str(&facts(summary.as_ref()));
        body.push_str(&curves(&scalars, summary.as_ref()));
        if config.objective == Objective::ConVirt {
            let pairs = held_out.and_then(|studies| self.pairs(config, &studies, device));
            body.push_str(&pairs.unwrap_or_else(|error| {
                let error = error.to_string();
                let reason = Escaped(&error);
                format!("<h2>Held-out pairs</h2><p class=\"missing\">not shown: {reason}</p>")
            }));
        }
        let yaml = config.to_yaml();
        let _ = write!(
            body,
            "<h2>Configuration</h2><details><summary>config.yaml</summary><pre>{}</pre></details>",
            Escaped(&yaml)
        );
        let path = self.report();
        fs::write(&path, page(&title, &body)).map_err(write_error(&path))?;
        Ok(path)
    }

    /// The parts of the page that show held-out pairs.
    fn pairs(&self, config: &Config, studies: &[Study], device: &Device) -> Result<String, Error> {
        let model = ConVirt::load_on(self.path(), device)?;
        let apart = studies.len().div_ceil(MAX_PAIRS).max(1);
        let looked_at: Vec<&Study> = studies.iter().step_by(apart).collect();
        let pairs = HeldOut::embed(&model, &looked_at, &loader_config(config))?;
        Ok(format!(
            "<h2>Held-out pairs</h2>{}{}{}",
            lengths(&pairs),
            matrix::draw(&pairs),
            gallery::draw(&model, &pairs)?
        ))
    }
}

/// What the run reached.
fn facts(summary: Option<&Summary>) -> String {
    match summary {
        Some(summary) => {
            let text = summary.to_string();
            format!("<pre class=\"summary\">{}</pre>", Escaped(text.trim()))
        }
        None => "<p class=\"missing\">The run has not ended: there is no summary yet.</p>".into(),
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
            title: "Share of a batch whose partner comes first, by step",
            curves: ACCURACIES.map(|(tag, name)| curve(tag, name)).into(),
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
        true => "<h2>Curves</h2><p class=\"missing\">No step has been recorded.</p>".into(),
        false => format!("<h2>Curves</h2><div class=\"charts\">{drawn}</div>"),
    }
}

/// What the pairs looked at are.
fn lengths(pairs: &HeldOut<'_>) -> String {
    let mut words: Vec<usize> = pairs.texts().map(word_count).collect();
    words.sort_unstable();
    let [shortest, median, longest] =
        [0, words.len() / 2, words.len() - 1].map(|place| words[place]);
    format!(
        "<p>{} images with {} different texts of {shortest} to {longest} words, {median} in the \
         median.</p>",
        pairs.images(),
        words.len(),
    )
}
