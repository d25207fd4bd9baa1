//! A run as one page to look at: data, curves, held-out pairs, heat maps.

mod html;
mod chart;
mod held_out;
mod matrix;
mod data;
mod heat_map;
mod gallery;

use std::fmt::Write;
use std::path::PathBuf;

use burn::tensor::Device;
use convirt_data::{FileError, NewFile};

use crate::config::Config;
use crate::datasets::{Studies, loader_config};
use crate::error::Error;
use crate::inference::Model;
use crate::json_file::read_json;
use crate::logging::{Scalars, read_scalars};
use crate::retrieval::EmbeddedPairs;
use crate::run::{RunDir, Summary};
use chart::{Chart, Curve};
pub(crate) use data::Data;
use held_out::{HeldOut, evenly};
pub(crate) use html::{Escaped, image, page};

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
    /// its data, its curves, the similarities of held-out pairs, images with the texts the model
    /// thinks of, heat maps of where it sees a sentence, and the configuration. Of a run of SimCLR,
    /// which knows no texts, data and curves.
    ///
    /// Where model or pairs are not there, the page says so in their place.
    ///
    /// # Errors
    ///
    /// When the run's configuration or events cannot be read, or the page cannot be written.
    pub fn write_report(&self, device: &Device) -> Result<PathBuf, Error> {
        let config = Config::from_file(self.config(), &[])?;
        let reason = |error: Error| error.to_string();
        let studies = Studies::read(&config).map_err(reason);
        let model = (config.objective.reads_texts())
            .then(|| Model::load_on(self.path(), device).map_err(reason));
        let data = studies.as_ref().map_err(String::clone).map(|studies| {
            let data = Data {
                train: &studies.split.train,
                valid: &studies.split.valid,
                skips: &studies.skips,
            };
            let model = model.as_ref().and_then(|model| model.as_ref().ok());
            data.draw(&config.dataset, model)
        });
        let pairs = model.as_ref().map(|model| -> Result<String, String> {
            let (model, studies) = (model.as_ref()?, studies.as_ref()?);
            let valid = &studies.split.valid;
            let looked_at: Vec<_> = evenly(valid.len(), MAX_PAIRS)
                .map(|place| &valid[place])
                .collect();
            let loader = loader_config(&config);
            let pairs = EmbeddedPairs::embed(model, &looked_at, &loader, 1.0, |_, _, _| ());
            let drawn = pairs.and_then(|(pairs, _)| draw_pairs(model, &pairs));
            drawn.map_err(reason)
        });
        self.write_page(&config, data, pairs)
    }

    /// Writes the page of a run at its end; the model and its held-out pairs where it knows texts.
    pub(crate) fn write_report_of(
        &self,
        config: &Config,
        data: &Data<'_>,
        model_and_pairs: Option<&(Model, EmbeddedPairs<'_>)>,
    ) -> Result<PathBuf, Error> {
        let model = model_and_pairs.map(|(model, _)| model);
        let data = data.draw(&config.dataset, model);
        let pairs = model_and_pairs.map(|(model, pairs)| draw_pairs(model, pairs));
        let pairs = pairs.map(|pairs| pairs.map_err(|error| error.to_string()));
        self.write_page(config, Ok(data), pairs)
    }

    /// Writes the page with its parts, or why they are not there.
    fn write_page(
        &self,
        config: &Config,
        data: Result<String, String>,
        pairs: Option<Result<String, String>>,
    ) -> Result<PathBuf, Error> {
        let scalars = read_scalars(self.path())?;
        let json = read_json(&self.summary()).ok();
        let summary: Option<Summary> = json.and_then(|json| serde_json::from_slice(&json).ok());
        let title = self.name();
        let mut body = format!("<style>{STYLE}</style><h1>{}</h1>", Escaped(&title));
        body.push_str(&facts(summary.as_ref()));
        body.push_str(&part("Data", data));
        body.push_str(&curves(&scalars, summary.as_ref()));
        if let Some(pairs) = pairs {
            body.push_str(&part("Held-out pairs", pairs));
        }
        let yaml = config.to_yaml();
        let _ = write!(
            body,
            "<h2>Configuration</h2><details><summary>config.yaml</summary><pre>{}</pre></details>",
            Escaped(&yaml)
        );
        let path = self.report();
        NewFile::write_whole(&path, page(&title, &body).as_bytes())
            .map_err(FileError::write(&path))?;
        Ok(path)
    }
}

/// A part under its title, or why it is not there.
fn part(title: &str, body: Result<String, String>) -> String {
    let body = body.unwrap_or_else(|reason| {
        format!("<p class=\"missing\">not shown: {}</p>", Escaped(&reason))
    });
    format!("<h2>{title}</h2>{body}")
}

/// What the model makes of held-out pairs.
fn draw_pairs(model: &Model, pairs: &EmbeddedPairs<'_>) -> Result<String, Error> {
    let pairs = HeldOut::new(pairs, MAX_PAIRS);
    Ok(format!(
        "<p>{} images with {} different texts.</p>{}{}",
        pairs.images(),
        pairs.texts(),
        matrix::draw(&pairs),
        gallery::draw(model, &pairs)?
    ))
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
    if drawn.is_empty() {
        "<h2>Curves</h2><p class=\"missing\">No step has been recorded.</p>".into()
    } else {
        format!("<h2>Curves</h2><div class=\"charts\">{drawn}</div>")
    }
}
