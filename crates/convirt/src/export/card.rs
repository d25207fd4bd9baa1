//! The model card: what a model is, what it was trained on, how well it does, and what it is not for.

use std::fmt;

use convirt_data::printable;
use convirt_model::ConVirtConfig;
use serde_json::Value;
use serde_json::value::Serializer;

use crate::config::{Objective, PrecisionName};
use crate::inference::Description;
use crate::network::NetworkConfig;
use crate::readable::{duration, thousands};
use crate::retrieval::Retrieval;
use crate::run::Summary;

/// What a model card says that the model and its run do not know.
///
/// # Examples
///
/// ```
/// use convirt::export::ModelCard;
///
/// let card = ModelCard {
///     name: Some("owner/chest-x-rays".to_string()),
///     license: Some("cc-by-4.0".to_string()),
/// };
/// assert_ne!(card, ModelCard::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelCard {
    /// Name of the model, which is the title.
    pub name: Option<String>,
    /// Licence of the weights, by the hub's identifier: `cc-by-4.0`, `apache-2.0`, `other`.
    pub license: Option<String>,
}

impl ModelCard {
    /// Returns the card of a model in Markdown, with the metadata that the hub reads at its head.
    ///
    /// `trained_by` is another objective than that of the description where the image side of a pair
    /// is exported alone.
    pub(super) fn text(
        &self,
        description: &Description,
        trained_by: Objective,
        summary: Option<&Summary>,
    ) -> String {
        let content = Content {
            card: self,
            description,
            trained_by,
            summary,
        };
        content.to_string()
    }
}

struct Content<'a> {
    card: &'a ModelCard,
    description: &'a Description,
    trained_by: Objective,
    summary: Option<&'a Summary>,
}

impl fmt::Display for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.metadata(f)?;
        self.introduction(f)?;
        self.usage(f)?;
        self.data(f)?;
        self.scores(f)?;
        self.training(f)?;
        self.limits(f)?;
        self.license(f)
    }
}

impl Content<'_> {
    /// Returns the configuration of both networks, if there is a text encoder.
    fn pair(&self) -> Option<&ConVirtConfig> {
        match &self.description.network {
            NetworkConfig::ConVirt(config) => Some(config),
            NetworkConfig::SimClr(_) => None,
        }
    }

    fn metadata(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A JSON string is one of YAML, too.
        let license = Value::from(self.card.license.as_deref().unwrap_or("unknown"));
        let task = match self.pair() {
            Some(_) => "zero-shot-image-classification",
            None => "image-feature-extraction",
        };
        writeln!(
            f,
            "---\n\
             license: {license}\n\
             library_name: convirt\n\
             pipeline_tag: {task}\n\
             tags: [convirt, medical, radiology, contrastive-learning]\n\
             ---\n"
        )
    }

    fn introduction(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = printable(self.card.name.as_deref().unwrap_or("A ConVIRT model"));
        let side = self.description.network.image_side();
        let (depth, width, size) = (
            side.image.depth,
            side.d_embedding,
            self.description.image_size,
        );
        writeln!(f, "# {name}\n")?;
        match self.pair() {
            Some(network) => {
                let text = &network.text;
                writeln!(
                    f,
                    "An image encoder ({depth}, {size} × {size} pixels) and a text encoder ({} of {} \
                     layers, {} wide), pretrained together on medical images and their reports by \
                     [ConVIRT](https://arxiv.org/abs/2010.00747). Embeddings of images and texts, {width} \
                     numbers each, are similar where they belong together.\n",
                    text.family.name(),
                    text.num_hidden_layers,
                    text.hidden_size
                )
            }
            None if self.trained_by.reads_texts() => writeln!(
                f,
                "The image side ({depth}, {size} × {size} pixels) of a model that was pretrained on medical \
                 images and their reports by [ConVIRT](https://arxiv.org/abs/2010.00747), without its text \
                 encoder. Embeddings, {width} numbers each, are similar where images are.\n"
            ),
            None => writeln!(
                f,
                "An image encoder ({depth}, {size} × {size} pixels), pretrained on medical images without \
                 texts by [SimCLR](https://arxiv.org/abs/2002.05709). Embeddings, {width} numbers each, are \
                 similar where images are.\n"
            ),
        }
    }

    fn usage(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.pair().is_some();
        writeln!(
            f,
            "## Use\n\n\
             In Python, with torch, torchvision, transformers and Pillow (and pydicom for DICOM files), in \
             this folder:\n\n\
             ```python\n\
             from convirt_model import Model\n\n\
             model = Model.from_pretrained(\".\")\n\
             images = model.embed_images([\"chest.jpg\"])"
        )?;
        if texts {
            writeln!(
                f,
                "texts = model.embed_texts([\"Small left pleural effusion.\", \"Clear lungs.\"])\n\
                 print(model.similarity(images, texts))"
            )?;
        }
        writeln!(
            f,
            "```\n\nWith the program `convirt`, where `.` is this folder or the model's name on the hub:\n\n```sh"
        )?;
        if texts {
            writeln!(f, "convirt zero-shot . --prompts prompts.yaml chest.jpg")?;
        }
        writeln!(
            f,
            "convirt embed --run . --images images/ --out images.npy\n```\n\n\
             The weights in `model.safetensors` have the names of torchvision{}.\n",
            if texts { " and `transformers`" } else { "" }
        )
    }

    fn data(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## Data\n")?;
        if let Some(summary) = self.summary {
            let rows = summary.objective.rows_name();
            writeln!(
                f,
                "Trained on {} {rows}; {} {rows} were held out.",
                thousands(summary.train_pairs),
                thousands(summary.valid_pairs)
            )?;
            if !summary.skipped.is_empty() {
                let reasons = summary.skipped.iter();
                let reasons =
                    reasons.map(|(reason, count)| format!("{} {reason}", thousands(*count)));
                writeln!(f, "Left out: {}.", reasons.collect::<Vec<_>>().join(", "))?;
            }
        }
        writeln!(
            f,
            "Where the data come from (hospitals, years, devices, language, ages and sexes) is not recorded; \
             whoever publishes this model should say it here.\n"
        )
    }

    fn scores(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## Scores\n")?;
        let Some(summary) = self.summary else {
            return writeln!(
                f,
                "Not known: the model was exported without the summary of its run.\n"
            );
        };
        writeln!(
            f,
            "On the held-out data:\n\n| | model | chance |\n|---|---|---|"
        )?;
        if let Some(loss) = summary.validation_loss {
            let chance = summary.chance_loss;
            writeln!(f, "| contrastive loss, nats | {loss:.3} | {chance:.3} |")?;
        }
        if let Some(accuracy) = summary.contrastive_accuracy {
            let chance = 100.0 * summary.chance_accuracy();
            let accuracy = 100.0 * accuracy;
            writeln!(
                f,
                "| contrastive accuracy | {accuracy:.1} % | {chance:.1} % |"
            )?;
        }
        match &summary.retrieval {
            Some(retrieval) => retrieval_rows(f, retrieval),
            None => writeln!(f),
        }
    }

    fn training(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(summary) = self.summary else {
            return Ok(());
        };
        let precision = PrecisionName::serialize(&summary.precision, Serializer);
        let precision = precision.expect("a name is plain data");
        let precision = precision.as_str().unwrap_or_default();
        let kernel = (summary.kernel.as_ref()).map_or(String::new(), |it| format!(", kernel {it}"));
        writeln!(
            f,
            "## Training\n\n\
             {} steps in {} on {} ({precision}{kernel}), seed {}; the weights are those of step {}. Program: \
             {}.\n",
            thousands(summary.steps),
            duration(summary.seconds),
            summary.device,
            summary.seed,
            thousands(summary.saved_step()),
            (summary.environment.program.clone())
                .unwrap_or_else(|| format!("convirt {}", summary.environment.version)),
        )?;
        for weights in &summary.initial_weights {
            let file = weights.file.file_name().unwrap_or_default().display();
            let crc32c = &weights.crc32c;
            writeln!(
                f,
                "The {} started from `{file}` (CRC-32C {crc32c}).\n",
                weights.part
            )?;
        }
        Ok(())
    }

    fn limits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "## Intended use and limits\n\n\
             For research: embeddings, retrieval, zero-shot classification, and as the start of classifiers. It \
             is not a medical device and must not be used for diagnosis or treatment.\n\n\
             - The scores are of data like those of the training. On other hospitals, devices, views, ages or \
             diseases they can be far lower; evaluate on data of your own first.\n\
             - Groups of patients were not compared. Biases of the images and reports are in the embeddings.\n\
             - Networks can memorize what they were trained on; publish weights only where the data's terms \
             allow it."
        )?;
        if let Some(network) = self.pair() {
            let tokens = self.description.longest_text_of(&network.text);
            writeln!(
                f,
                "- Texts are cut off after {tokens} tokens, and should be in the language and style of the \
                 reports that the model was trained on."
            )?;
        }
        writeln!(f)
    }

    fn license(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.card.license {
            Some(license) => writeln!(f, "## Licence\n\n`{}`", printable(license)),
            None => writeln!(
                f,
                "## Licence\n\nNone was chosen. Ask the author before you use or share the weights; the author \
                 sets it by `license` at the head of this file."
            ),
        }
    }
}

/// Writes the rows of a table of scores.
fn retrieval_rows(f: &mut fmt::Formatter<'_>, retrieval: &Retrieval) -> fmt::Result {
    for (name, direction) in [
        ("image → text", &retrieval.image_to_text),
        ("text → image", &retrieval.text_to_image),
    ] {
        let (scores, chance) = (&direction.scores, &direction.chance);
        for (depth, score, chance) in [
            (1, scores.recall_at_1, chance.recall_at_1),
            (5, scores.recall_at_5, chance.recall_at_5),
            (10, scores.recall_at_10, chance.recall_at_10),
        ] {
            let (score, chance) = (100.0 * score, 100.0 * chance);
            writeln!(
                f,
                "| {name}, recall@{depth} | {score:.1} % | {chance:.1} % |"
            )?;
        }
        let (score, chance) = (scores.median_rank, chance.median_rank);
        writeln!(f, "| {name}, median rank | {score:.1} | {chance:.1} |")?;
    }
    writeln!(
        f,
        "\nRetrieval among {} images and {} texts.\n",
        thousands(retrieval.images),
        thousands(retrieval.texts)
    )
}
