//! The key `objective`.

use serde::{Deserialize, Serialize};

use super::Config;

/// What a training learns from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Which text belongs to which image ([Zhang et al. 2022](https://arxiv.org/abs/2010.00747)).
    #[default]
    ConVirt,
    /// Which two views are of one image ([Chen et al. 2020](https://arxiv.org/abs/2002.05709)):
    /// the baseline, of images alone.
    SimClr,
}

impl Objective {
    /// Whether training reads the texts.
    pub fn reads_texts(self) -> bool {
        match self {
            Self::ConVirt => true,
            Self::SimClr => false,
        }
    }

    /// Number of views of each image in a batch.
    pub(crate) fn views(self) -> u32 {
        match self {
            Self::ConVirt => 1,
            Self::SimClr => 2,
        }
    }

    /// What a row of the data is called.
    pub(crate) fn rows_name(self) -> &'static str {
        match self {
            Self::ConVirt => "pairs",
            Self::SimClr => "images",
        }
    }

    /// Number of candidates among which a model finds the right one, in a batch of `batch` rows.
    pub(crate) fn candidates(self, batch: usize) -> usize {
        match self {
            Self::ConVirt => batch,
            Self::SimClr => (2 * batch).saturating_sub(1),
        }
    }

    /// Loss of a model that knows nothing, as a formula of [`candidates`](Self::candidates).
    pub(crate) fn chance_formula(self) -> &'static str {
        match self {
            Self::ConVirt => "ln(batch)",
            Self::SimClr => "ln(2·batch − 1)",
        }
    }
}

impl Config {
    /// Names the keys that are set to no avail: the objective has no use for them, and they are
    /// not what they are by default.
    pub fn without_effect(&self) -> Vec<&'static str> {
        if self.objective.reads_texts() {
            return Vec::new();
        }
        let default = Self::default();
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
            loss.learnable_temperature,
            loss.use_cosine_similarity,
            loss.multi_positive,
        ];
        keys.push((
            "loss.alpha_weight",
            self.loss.image_to_text_weight != default.loss.image_to_text_weight,
        ));
        if self.text_column().is_none() {
            keys.extend(keys![
                dataset.text_from_files,
                dataset.text_root_dir,
                dataset.min_words,
            ]);
        }
        let set = keys.into_iter().filter(|(_, is_set)| *is_set);
        set.map(|(key, _)| key).collect()
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
    fn only_what_simclr_ignores_is_named_and_only_if_it_was_set() {
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
