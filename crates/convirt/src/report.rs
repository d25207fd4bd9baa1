//! The HTML report of a run: its data, curves, held-out pairs and heat maps.

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
use crate::logging::{Scalars, read_scalars};
use crate::retrieval::EmbeddedPairs;
use crate::run::{RunDir, Summary};
use chart::{Chart, Curve};
pub(crate) use data::Data;
use held_out::{HeldOut, evenly_spaced};
pub(crate) use html::{Escaped, image, page};

/// Maximum number of held-out pairs in the report.
const MAX_PAIRS: usize = 400;

/// Curves of the second chart, for both objectives: tags and names.
const ACCURACIES: [(&str, &str); 6] = [
    ("accuracy/image_to_text/valid", "image → text, held out"),
    ("accuracy/text_to_image/valid", "text → image, held out"),
    ("accuracy/image_to_text/train", "image → text, training"),
    ("accuracy/text_to_image/train", "text → image, training"),
    ("accuracy/view_to_view/valid", "view → view, held out"),
    ("accuracy/view_to_view/train", "view → view, training"),
];

const STYLE: &str = include_str!("report/report.css");

impl RunDir {
    /// Writes a self-contained HTML page about the run, `report.html`, and returns its path.
    ///
    /// It shows the summary, the data, the curves, the similarities of held-out pairs, images with
    /// their nearest texts, heat maps of sentences, and the configuration. The page of a SimCLR
    /// run, which has no texts, has no pairs and heat maps. If the model or the data is missing,
    /// the page says so.
    ///
    /// # Errors
    ///
    /// When the run's configuration or events cannot be read, or the page cannot be written.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn main() -> Result<(), convirt::Error> {
    /// use convirt::RunDir;
    ///
    /// let run = RunDir::open("runs".as_ref(), "2026-01-16_02-27-36_phantom".as_ref())?;
    /// let page = run.write_report(&convirt::device(None)?)?;
    /// println!("{}", page.display());
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_report(&self, device: &Device) -> Result<PathBuf, Error> {
        let mut config = Config::from_file(self.config(), &[])?;
        let reason = |error: Error| error.to_string();
        let studies = Studies::read(&mut config).map_err(reason);
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
            let chosen: Vec<_> = evenly_spaced(valid.len(), MAX_PAIRS)
                .map(|index| &valid[index])
                .collect();
            let loader = loader_config(&config);
            let pairs = EmbeddedPairs::embed(model, &chosen, &loader, 1.0, |_, _, _| ());
            let drawn = pairs.and_then(|(pairs, _)| draw_pairs(model, &pairs));
            drawn.map_err(reason)
        });
        self.write_page(&config, data, pairs)
    }

    /// Writes the page of a run that has just ended. A model with a text encoder is given with its
    /// held-out pairs.
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

    /// Writes the page; an `Err` is the reason why a part is missing.
    fn write_page(
        &self,
        config: &Config,
        data: Result<String, String>,
        pairs: Option<Result<String, String>>,
    ) -> Result<PathBuf, Error> {
        let scalars = read_scalars(self.path())?;
        let summary = Summary::load(&self.summary());
        let title = self.name();
        let mut body = format!("<style>{STYLE}</style><h1>{}</h1>", Escaped(&title));
        body.push_str(&summary_block(summary.as_ref()));
        body.push_str(&section("Data", data));
        body.push_str(&curves(&scalars, summary.as_ref()));
        if let Some(pairs) = pairs {
            body.push_str(&section("Held-out pairs", pairs));
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

/// Returns a section with a title, or the reason why it is missing.
fn section(title: &str, body: Result<String, String>) -> String {
    let body = body.unwrap_or_else(|reason| {
        format!("<p class=\"missing\">not shown: {}</p>", Escaped(&reason))
    });
    format!("<h2>{title}</h2>{body}")
}

/// Draws the similarities and heat maps of held-out pairs.
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

/// Returns the summary of the run.
fn summary_block(summary: Option<&Summary>) -> String {
    match summary {
        Some(summary) => {
            let text = summary.to_string();
            format!("<pre class=\"summary\">{}</pre>", Escaped(text.trim()))
        }
        None => "<p class=\"missing\">The run has not ended: there is no summary yet.</p>".into(),
    }
}

/// Draws the curves of the recorded scalars.
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
                curve("loss/train", "training"),
                curve("loss/valid", "held out"),
            ],
            level: summary.map(|summary| ("chance", summary.chance_loss)),
        },
        Chart {
            title: "Accuracy within the batch, by step",
            curves: ACCURACIES.map(|(tag, name)| curve(tag, name)).into(),
            level: None,
        },
        Chart {
            title: "Learning rate by step",
            curves: vec![curve("optimizer/learning_rate", "learning rate")],
            level: None,
        },
        Chart {
            title: "Pairs per second by step",
            curves: vec![curve("speed/pairs_per_second", "training")],
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
