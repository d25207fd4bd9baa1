//! The section of the report on a run's data.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write;

use convirt_data::{Choice, Skips, Study, TextView, TokenizerError, word_count};
use rayon::prelude::*;

use super::chart::histogram;
use super::held_out::evenly_spaced;
use super::html::{Escaped, folded};
use crate::config::DatasetConfig;
use crate::inference::Model;
use crate::readable::thousands;

/// Maximum number of repeated texts shown.
const MAX_REPEATED: usize = 5;

/// Maximum number of texts of a split whose tokens are counted.
const MAX_COUNTED: usize = 20_000;

/// The rows of a run's manifest.
pub(crate) struct Data<'a> {
    pub train: &'a [Study],
    pub valid: &'a [Study],
    /// The rows left out. Images that were found to be unreadable only during training are listed
    /// here, but their studies are still among the studies above.
    pub skips: &'a Skips,
}

impl Data<'_> {
    /// Draws the training and held-out data, the rows left out, and the lengths of the texts. With
    /// a model, also how many texts exceed its maximum number of tokens.
    pub(super) fn draw(&self, config: &DatasetConfig, model: Option<&Model>) -> String {
        let skipped: HashSet<usize> = self.skips.list().iter().map(|skip| skip.row).collect();
        let sides = [self.train, self.valid].map(|studies| {
            let used = studies.iter().filter(|study| !skipped.contains(&study.row));
            used.collect::<Vec<&Study>>()
        });
        let mut body = table(&sides, config, model);
        let all = sides.concat();
        let _ = write!(
            body,
            "<p>{}</p><p>Image files: {}.</p>",
            Escaped(&self.rows(all.len())),
            Escaped(&kinds(&all))
        );
        let texts: Vec<&str> = texts(&all).collect();
        if !texts.is_empty() {
            let words: Vec<usize> = texts.iter().map(|text| word_count(text)).collect();
            body.push_str(&histogram("Texts by their number of words", &words));
            body.push_str(&repeated(&texts));
        }
        body
    }

    /// Returns a sentence on how many rows of the manifest are used and left out.
    fn rows(&self, used: usize) -> String {
        let manifest = self.skips.manifest().file_name().unwrap_or_default();
        let (rows, counts) = (self.skips.rows(), self.skips.counts());
        let left_out: usize = counts.values().sum();
        let mut line = format!("{}: {} rows", manifest.display(), thousands(rows));
        let reasons = counts.iter().map(|(why, count)| format!("{count} {why}"));
        if left_out == 0 {
            line.push_str(", none left out");
        } else {
            let reasons: Vec<String> = reasons.collect();
            let left_out = thousands(left_out);
            let _ = write!(line, ", {left_out} left out: {}", reasons.join(", "));
        }
        let test = rows.saturating_sub(used + left_out);
        if test > 0 {
            let _ = write!(line, "; {} of the test split, not used", thousands(test));
        }
        line + "."
    }
}

/// Draws a table with the numbers of the training and the held-out data.
fn table(sides: &[Vec<&Study>; 2], config: &DatasetConfig, model: Option<&Model>) -> String {
    let count_distinct = |value: fn(&Study) -> &str| {
        sides.each_ref().map(|side| {
            let values: BTreeSet<&str> = side.iter().map(|study| value(study)).collect();
            thousands(values.len())
        })
    };
    let images = |side: &Vec<&Study>| {
        let files: BTreeSet<_> = side.iter().map(|study| &study.image).collect();
        thousands(files.len())
    };
    let has_texts = sides.iter().any(|side| texts(side).next().is_some());
    let rows = if has_texts { "pairs" } else { "rows" };
    let mut table = vec![(
        rows.to_string(),
        sides.each_ref().map(|side| thousands(side.len())),
    )];
    if let Choice::Given(Some(group)) = &config.group_col {
        let name = format!("groups by `{group}`");
        table.push((name, count_distinct(|study| &study.group)));
    }
    table.push(("images".into(), sides.each_ref().map(images)));
    let name = "pixels: median, range".to_string();
    table.push((name, sides.each_ref().map(|side| size_range(side))));
    if has_texts {
        let name = "different texts".to_string();
        table.push((name, count_distinct(|study| &study.report.text)));
        let words = "words: median, range".to_string();
        table.push((words, sides.each_ref().map(|side| word_range(side))));
    }
    if let Some(model) = model {
        let train = cut_off(model, &sides[0], config.train_text);
        let valid = cut_off(model, &sides[1], config.eval_text);
        if let [Ok(train), Ok(valid)] = [train, valid] {
            let name = format!("cut off at {} tokens", model.max_tokens());
            table.push((name, [train, valid]));
        }
    }
    let mut html = "<table class=\"data\"><tr><th></th><th class=\"number\">training</th>\
                    <th class=\"number\">held out</th></tr>"
        .to_string();
    for (name, [train, valid]) in table {
        let _ = write!(
            html,
            "<tr><td>{}</td><td class=\"number\">{train}</td><td class=\"number\">{valid}</td></tr>",
            Escaped(&name)
        );
    }
    html + "</table>"
}

/// Iterates over the texts that are not empty.
fn texts<'a>(studies: &[&'a Study]) -> impl Iterator<Item = &'a str> {
    let texts = studies.iter().map(|study| &*study.report.text);
    texts.filter(|text| !text.is_empty())
}

fn word_range(studies: &[&Study]) -> String {
    let mut words: Vec<usize> = texts(studies).map(word_count).collect();
    words.sort_unstable();
    median_and_range(&words, "–", |count| thousands(*count))
}

/// Returns the median and the range of the image sizes, ordered by the number of pixels.
fn size_range(studies: &[&Study]) -> String {
    let mut sizes: Vec<_> = studies.iter().map(|study| study.image_size).collect();
    sizes.sort_unstable_by_key(|&[width, height]| (width * height, width));
    median_and_range(&sizes, " – ", |&[width, height]| {
        format!("{}\u{a0}×\u{a0}{}", thousands(width), thousands(height))
    })
}

/// Formats the median and the range of sorted values.
fn median_and_range<T: PartialEq>(
    sorted: &[T],
    separator: &str,
    show: impl Fn(&T) -> String,
) -> String {
    let [min, .., max] = sorted else {
        return sorted.first().map_or("none".into(), show);
    };
    let median = show(&sorted[sorted.len() / 2]);
    if min == max {
        median
    } else {
        format!("{median}, {}{separator}{}", show(min), show(max))
    }
}

/// Returns the share of the texts read from studies that have more tokens than the model accepts.
fn cut_off(model: &Model, studies: &[&Study], view: TextView) -> Result<String, TokenizerError> {
    let (read, what) = match view {
        TextView::RandomSentence => {
            let sentences = studies.iter().flat_map(|study| &study.report.sentences);
            (sentences.map(String::as_str).collect(), "sentences")
        }
        TextView::WholeReport => (texts(studies).collect::<Vec<&str>>(), "texts"),
    };
    let counted: Vec<usize> = evenly_spaced(read.len(), MAX_COUNTED).collect();
    let is_long = |&index: &usize| {
        let tokens = model.tokenizer().count(read[index])?;
        Ok(tokens > model.max_tokens())
    };
    let long: Vec<bool> = counted
        .par_iter()
        .map(is_long)
        .collect::<Result<_, TokenizerError>>()?;
    let share = long.iter().filter(|is_long| **is_long).count() as f64 / long.len().max(1) as f64;
    Ok(format!(
        "{:.1} % of {} {what}",
        100.0 * share,
        thousands(long.len())
    ))
}

/// Returns the number of image files with each ending.
fn kinds(studies: &[&Study]) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    for study in studies {
        let ending = study.image.extension().unwrap_or_default();
        let ending = match ending.to_string_lossy().to_lowercase() {
            ending if ending.is_empty() => "without an ending".into(),
            ending => ending,
        };
        *counts.entry(ending).or_default() += 1;
    }
    let counts = counts.into_iter();
    let counts: Vec<_> = counts
        .map(|(kind, count)| format!("{} {kind}", thousands(count)))
        .collect();
    counts.join(", ")
}

/// Draws the most frequent repeated texts.
fn repeated(texts: &[&str]) -> String {
    let mut counts = HashMap::<&str, usize>::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 1).collect();
    if counts.is_empty() {
        return "<p>No two pairs have the same text.</p>".into();
    }
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let shared: usize = counts.iter().map(|(_, count)| count).sum();
    let mut html = format!(
        "<p>{:.1} % of the pairs share their text with another pair. The most frequent texts:</p>\
         <table class=\"data\">",
        100.0 * shared as f64 / texts.len() as f64
    );
    for (text, count) in counts.into_iter().take(MAX_REPEATED) {
        let _ = write!(
            html,
            "<tr><td class=\"number\">{} ×</td><td>{}</td></tr>",
            thousands(count),
            folded(text)
        );
    }
    html + "</table>"
}

#[cfg(test)]
mod tests {
    use convirt_data::{Report, Skip, SkipReason};

    use super::*;

    fn study(row: usize, text: &str) -> Study {
        Study {
            row,
            image: format!("{row}.png").into(),
            image_size: [100 * row, 1000],
            image_content: 0,
            report: Report::new(text, 3),
            group: format!("p{}", row / 2),
            split: None,
        }
    }

    fn drawn(train: &[Study], valid: &[Study], skipped: &[usize]) -> String {
        let skips = Skips::new("data/pairs.csv", 10, 1.0);
        for &row in skipped {
            let skip = Skip {
                file: "none.png".into(),
                row,
                reason: SkipReason::MissingImage,
                detail: String::new(),
            };
            skips.record(skip).unwrap();
        }
        let config = DatasetConfig {
            group_col: Choice::Given(Some("patient".into())),
            ..DatasetConfig::default()
        };
        let skips = &skips;
        Data {
            train,
            valid,
            skips,
        }
        .draw(&config, None)
    }

    #[test]
    fn the_rows_of_both_splits_are_counted() {
        let train = [
            study(2, "The heart is <big>."),
            study(3, "The heart is <big>."),
            study(4, "No effusion is seen in either lung."),
            study(5, "Its image is unreadable."),
        ];
        let valid = [study(6, "Clear lungs today.")];
        let page = drawn(&train, &valid, &[1, 5]);
        let row = |name: &str, train: &str, valid: &str| {
            format!(
                "<tr><td>{name}</td><td class=\"number\">{train}</td><td class=\"number\">{valid}</td></tr>"
            )
        };
        for part in [
            row("pairs", "3", "1"),
            row("groups by `patient`", "2", "1"),
            row("images", "3", "1"),
            row(
                "pixels: median, range",
                "300 × 1,000, 200 × 1,000 – 400 × 1,000",
                "600 × 1,000",
            ),
            row("different texts", "2", "1"),
            row("words: median, range", "4, 4–7", "3"),
            "pairs.csv: 10 rows, 2 left out: 2 missing image; 4 of the test split, not used."
                .into(),
            "Image files: 4 png.".into(),
            "50.0 % of the pairs".into(),
            "2 ×</td><td><span class=\"text\">The heart is &lt;big&gt;.".into(),
            "4 words: 2".into(),
        ] {
            let part = part.replace(" × ", "\u{a0}×\u{a0}");
            assert!(page.contains(&part), "no `{part}` in {page}");
        }
    }

    #[test]
    fn data_without_texts_has_no_text_statistics() {
        let page = drawn(&[study(1, ""), study(2, "")], &[study(3, "")], &[]);
        assert!(page.contains("<td>rows</td>") && page.contains("none left out"));
        for absent in ["texts", "words", "<svg"] {
            assert!(!page.contains(absent), "{absent} in {page}");
        }
    }
}
