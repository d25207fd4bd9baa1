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
use crate::readable::{duration, thousands};
use crate::retrieval::EmbeddedPairs;
use crate::run::{RunDir, Summary};
use chart::{Chart, Curve};
pub(crate) use data::Data;
use held_out::HeldOut;
pub(crate) use held_out::evenly_spaced;
pub(crate) use html::{Escaped, folded, image, page, tiles};

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
    /// It shows the results beside chance, the curves, the similarities of held-out pairs, images
    /// with their nearest texts, heat maps of sentences, the data, the configuration and the
    /// environment. The page of a SimCLR
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
        let mut config = Config::from_written(&self.config(), &[])?;
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
        body.push_str(&results(summary.as_ref()));
        body.push_str(&curves(&scalars, summary.as_ref()));
        if let Some(pairs) = pairs {
            body.push_str(&section("Held-out pairs", pairs));
        }
        body.push_str(&section("Data", data));
        let yaml = config.to_yaml();
        let _ = write!(
            body,
            "<h2>Configuration</h2><details><summary>config.yaml</summary><pre>{}</pre></details>",
            Escaped(&yaml)
        );
        if let Some(summary) = &summary {
            let _ = write!(body, "<h2>Environment</h2>{}", environment(summary));
        }
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

/// Returns the results as tiles, each beside chance, and the whole summary.
fn results(summary: Option<&Summary>) -> String {
    let Some(summary) = summary else {
        return "<p class=\"missing\">The run has not ended: there is no summary yet.</p>".into();
    };
    let mut figures = Vec::new();
    let mut tile = |value: String, name: String| figures.push((value, name));
    if let Some(loss) = summary.validation_loss {
        let (step, chance) = (thousands(summary.best_step), summary.chance_loss);
        tile(
            format!("{loss:.3}"),
            format!("validation loss at step {step} (chance {chance:.3})"),
        );
    }
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    if let Some(retrieval) = &summary.retrieval {
        for (name, direction) in [
            ("image → text", &retrieval.image_to_text),
            ("text → image", &retrieval.text_to_image),
        ] {
            let (recall, chance) = (direction.scores.recall_at_10, direction.chance.recall_at_10);
            let name = format!("recall@10, {name} (chance {})", percent(chance));
            tile(percent(recall), name);
        }
    }
    if let Some(accuracy) = summary.contrastive_accuracy {
        let chance = percent(summary.chance_accuracy());
        tile(
            percent(accuracy),
            format!("contrastive accuracy (chance {chance})"),
        );
    }
    let pairs = thousands(summary.train_pairs);
    tile(thousands(summary.steps), format!("steps on {pairs} pairs"));
    tile(duration(summary.seconds), "of training".into());
    let kernel = summary.kernel.as_deref().unwrap_or("the device");
    tile(
        summary.device.clone(),
        format!("matrix products by {kernel}"),
    );
    let text = summary.to_string();
    format!(
        "{}<details><summary>All figures</summary><pre class=\"summary\">{}</pre></details>",
        tiles(&figures),
        Escaped(text.trim())
    )
}

/// Returns the version, the command and the machine of a run.
fn environment(summary: &Summary) -> String {
    let environment = &summary.environment;
    let weights = summary.initial_weights.iter().map(|it| {
        let file = it.file.display();
        (
            format!("weights of the {}", it.part),
            format!("{file} (crc32c {})", it.crc32c),
        )
    });
    let rows = [
        ("version", environment.version.clone()),
        ("program", environment.program.clone().unwrap_or_default()),
        ("command", environment.command.join(" ")),
        ("system", environment.system.clone()),
        (
            "processor",
            environment.processor.clone().unwrap_or_default(),
        ),
        ("cores", environment.cores.to_string()),
        ("seed", summary.seed.to_string()),
    ];
    let rows = rows
        .into_iter()
        .map(|(name, value)| (name.to_string(), value));
    let rows: String = rows
        .chain(weights)
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| {
            let (name, value) = (Escaped(&name), Escaped(&value));
            format!("<tr><td class=\"short\">{name}</td><td class=\"value\">{value}</td></tr>")
        })
        .collect();
    format!("<table class=\"data\">{rows}</table>")
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
    let best_step = summary
        .filter(|summary| summary.validation_loss.is_some())
        .map(|summary| summary.best_step as f64);
    let retrieval = summary.and_then(|summary| summary.retrieval.as_ref());
    let charts = [
        Chart {
            title: "Loss (nats) by step",
            curves: vec![
                curve("loss/train", "training"),
                curve("loss/valid", "held out"),
            ],
            level: summary.map(|summary| ("chance", summary.chance_loss)),
            best_step,
            is_noisy: true,
        },
        Chart {
            title: "Recall@10 among the held-out pairs, by step",
            curves: vec![
                curve("recall@10/image_to_text", "image → text"),
                curve("recall@10/text_to_image", "text → image"),
            ],
            level: retrieval.map(|it| ("chance", it.image_to_text.chance.recall_at_10)),
            best_step,
            is_noisy: true,
        },
        Chart {
            title: "Accuracy within the batch, by step",
            curves: ACCURACIES.map(|(tag, name)| curve(tag, name)).into(),
            level: None,
            best_step,
            is_noisy: true,
        },
        Chart {
            title: "Learning rate by step",
            curves: vec![curve("optimizer/learning_rate", "learning rate")],
            level: None,
            best_step,
            is_noisy: false,
        },
        Chart {
            title: "L2 norm of the gradient by step",
            curves: vec![curve("optimizer/gradient_norm", "gradient norm")],
            level: None,
            best_step,
            is_noisy: true,
        },
        Chart {
            title: "Pairs per second by step",
            curves: vec![curve("speed/pairs_per_second", "training")],
            level: None,
            best_step,
            is_noisy: true,
        },
    ];
    let drawn: String = charts.iter().map(Chart::draw).collect();
    if drawn.is_empty() {
        "<h2>Curves</h2><p class=\"missing\">No step has been recorded.</p>".into()
    } else {
        format!("<h2>Curves</h2><div class=\"charts\">{drawn}</div>")
    }
}
