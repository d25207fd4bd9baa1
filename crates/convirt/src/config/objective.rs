//! The key `objective`: what a training learns from.

use convirt_data::Choice;
use convirt_model::LossKind;
use serde::{Deserialize, Serialize};

use super::Config;

/// What a training learns from.
///
/// # Examples
///
/// ```
/// use convirt::Config;
/// use convirt::config::Objective;
///
/// let text = "objective: simclr\ndataset: {csv_file: pairs.csv, eval_text: random_sentence}";
/// let config = Config::from_yaml("config.yaml", text, &[]).unwrap();
/// assert_eq!(config.objective, Objective::SimClr);
/// assert!(!config.objective.reads_texts());
/// assert_eq!(config.without_effect(), ["dataset.eval_text"]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Which text belongs to which image ([Zhang et al. 2022](https://arxiv.org/abs/2010.00747)).
    #[default]
    ConVirt,
    /// Which two views show the same image ([Chen et al. 2020](https://arxiv.org/abs/2002.05709)),
    /// the baseline without texts.
    SimClr,
}

impl Objective {
    /// Returns whether training reads texts.
    pub fn reads_texts(self) -> bool {
        self == Self::ConVirt
    }

    /// Returns the number of views of each image in a batch.
    pub(crate) fn views(self) -> u32 {
        match self {
            Self::ConVirt => 1,
            Self::SimClr => 2,
        }
    }

    /// Returns the word for rows of the data in messages.
    pub(crate) fn rows_name(self) -> &'static str {
        match self {
            Self::ConVirt => "pairs",
            Self::SimClr => "images",
        }
    }

    /// Returns the number of candidates in a batch of `batch` rows that do not belong to a text, an
    /// image or a view, if no two texts are equal.
    pub(crate) fn negatives(self, batch: usize) -> usize {
        match self {
            Self::ConVirt => batch.saturating_sub(1),
            Self::SimClr => (2 * batch).saturating_sub(2),
        }
    }

    /// Returns the loss of a model that finds all candidates equally similar, in a batch of `batch`
    /// rows, in nats.
    pub(crate) fn chance(self, loss: LossKind, batch: usize) -> f64 {
        match self {
            Self::ConVirt => loss.chance(batch),
            Self::SimClr => LossKind::Softmax.chance((2 * batch).saturating_sub(1)),
        }
    }

    /// Returns the formula of [`chance`](Self::chance).
    pub(crate) fn chance_formula(self, loss: LossKind) -> &'static str {
        match (self, loss) {
            (Self::SimClr, _) => "ln(2·batch − 1)",
            (Self::ConVirt, LossKind::Softmax) => "ln(batch)",
            (Self::ConVirt, LossKind::Sigmoid) => "batch · entropy(1/batch)",
        }
    }
}

impl Config {
    /// Returns the keys that have no effect although they differ from their defaults: the
    /// objective or the loss does not use them.
    pub fn without_effect(&self) -> Vec<&'static str> {
        let default = Self::default();
        if self.objective.reads_texts() {
            let unused = match self.loss.kind {
                LossKind::Softmax => ("loss.bias", self.loss.bias != default.loss.bias),
                LossKind::Sigmoid => (
                    "loss.alpha_weight",
                    self.loss.image_to_text_weight != default.loss.image_to_text_weight,
                ),
            };
            let (key, is_changed) = unused;
            return is_changed.then_some(key).into_iter().collect();
        }
        macro_rules! keys {
            ($($section:ident.$key:ident),+ $(,)?) => {
                vec![$((
                    concat!(stringify!($section), ".", stringify!($key)),
                    self.$section.$key != default.$section.$key,
                )),+]
            };
        }
        let mut keys = keys![
            model.bert_base_model,
            model.text_from_scratch,
            model.do_lower_case,
            model.max_tokens,
            model.pooling,
            model.pooling_layer,
            model.freeze_embeddings,
            model.freeze_layers,
            model.frozen_states_dir,
            model.frozen_states_gib,
            model.dropout,
            dataset.shuffle_pairs,
            dataset.train_text,
            dataset.eval_text,
            dataset.pad_multiple,
            loss.kind,
            loss.bias,
            loss.learnable_temperature,
            loss.use_cosine_similarity,
            loss.multi_positive,
        ];
        keys.push((
            "loss.alpha_weight",
            self.loss.image_to_text_weight != default.loss.image_to_text_weight,
        ));
        if self.columns().text == Choice::Given(None) {
            keys.extend(keys![
                dataset.text_from_files,
                dataset.text_root_dir,
                dataset.min_words,
            ]);
        }
        let changed = keys.into_iter().filter(|(_, is_changed)| *is_changed);
        changed.map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_effect(text: &str) -> Vec<&'static str> {
        let text = format!("dataset: {{csv_file: a.csv, min_words: 2}}\n{text}");
        Config::from_yaml("test.yaml", &text, &[])
            .unwrap()
            .without_effect()
    }

    #[test]
    fn only_changed_keys_that_simclr_ignores_are_named() {
        let loss = "loss: {alpha_weight: 0.5, temperature: 0.5}\n";
        assert!(without_effect(loss).is_empty());
        let simclr = format!("objective: simclr\nmodel: {{bert_base_model: scratch}}\n{loss}");
        assert_eq!(
            without_effect(&simclr),
            [
                "model.bert_base_model",
                "loss.alpha_weight",
                "dataset.min_words"
            ]
        );
    }
}
