//! Scores printed as a table.

use std::fmt;

use convirt_data::printable;

use super::{ClassificationScores, Estimate, Scores};

/// Width of the first column.
pub(crate) const NAME_WIDTH: usize = 34;

impl Scores {
    /// Names of the columns that `Display` fills.
    pub(crate) const HEADING: &'static str =
        "  AUROC sd      95 %            AUPRC  accuracy calibration error";
}

/// Writes the columns AUROC, its standard deviation over runs, its interval, AUPRC, accuracy and
/// calibration error; an undefined score is a dash.
impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |estimate: Option<Estimate>, factor: f64, digits: usize| match estimate {
            Some(estimate) => format!("{:.digits$}", factor * estimate.value),
            None => "–".to_string(),
        };
        let deviation = self.auroc.and_then(|auroc| auroc.deviation);
        let deviation = deviation.map_or_else(String::new, |sd| format!("±{sd:.3}"));
        let interval = self.auroc.and_then(|auroc| auroc.interval);
        let interval =
            interval.map_or_else(String::new, |[low, high]| format!("{low:.3}–{high:.3}"));
        let accuracy = match self.accuracy {
            Some(_) => format!("{} %", value(self.accuracy, 100.0, 1)),
            None => "–".to_string(),
        };
        let line = format!(
            "{:>7} {deviation:<7} {interval:<13} {:>7} {accuracy:>9} {:>17}",
            value(self.auroc, 1.0, 3),
            value(self.auprc, 1.0, 3),
            value(self.calibration_error, 1.0, 3),
        );
        f.write_str(line.trim_end())
    }
}

/// Writes a table with the mean and each label, and the labels whose AUROC is undefined.
impl fmt::Display for ClassificationScores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<NAME_WIDTH$}{}", "", Scores::HEADING)?;
        if self.labels.len() > 1 {
            writeln!(f, "{:<NAME_WIDTH$}{}", "mean", self.overall)?;
        }
        for label in &self.labels {
            let name = format!(
                "{} ({} of {})",
                printable(&label.label),
                label.positives,
                label.images
            );
            writeln!(f, "{name:<NAME_WIDTH$}{}", label.scores)?;
        }
        let undefined: Vec<_> = self.undefined().collect();
        if !undefined.is_empty() {
            let names = undefined.join(", ");
            writeln!(
                f,
                "no AUROC, and not in the mean: {} (all or no images are positive)",
                printable(names)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::LabelScores;

    #[test]
    fn rows_line_up_with_the_heading_and_undefined_scores_are_dashes() {
        let auroc = Estimate {
            value: 0.9123,
            deviation: Some(0.02),
            interval: Some([0.88, 0.94]),
        };
        let scores = Scores {
            auroc: Some(auroc),
            accuracy: Some(auroc),
            ..Scores::default()
        };
        let line = scores.to_string();
        assert_eq!(
            line,
            "  0.912 ±0.020  0.880–0.940         –    91.2 %                 –"
        );
        let place = |text: &str, part| text.split(part).next().unwrap().chars().count();
        assert_eq!(place(&line, "0.912"), place(Scores::HEADING, "AUROC"));
        assert_eq!(place(&line, "±"), place(Scores::HEADING, "sd"));
        assert_eq!(place(&line, "0.880"), place(Scores::HEADING, "95 %"));
        assert_eq!(line.chars().count(), Scores::HEADING.chars().count());
    }

    #[test]
    fn labels_without_an_auroc_are_named() {
        let scores = ClassificationScores {
            overall: Scores::default(),
            labels: vec![LabelScores {
                label: "Mass".into(),
                images: 7,
                positives: 0,
                scores: Scores::default(),
            }],
        };
        let table = scores.to_string();
        assert!(table.contains("Mass (0 of 7)"), "{table}");
        assert!(table.contains("not in the mean: Mass"), "{table}");
        assert!(
            !table.contains("\nmean"),
            "one label needs no mean: {table}"
        );
    }
}
