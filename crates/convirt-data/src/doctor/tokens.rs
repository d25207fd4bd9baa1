//! Detection of texts with more tokens than the text encoder reads.

use rayon::prelude::*;

use super::finding::{FindingKind, Problem};
use super::{CHUNK_SIZE, Examination};
use crate::manifest::{Report, Split};
use crate::progress::{Progress, Stage, Steps};
use crate::skips::SkipReason;
use crate::text::{ReportTokenizer, TokenizerError};

/// Whether and how the tokens of texts are counted.
#[derive(Debug, Clone)]
pub enum TokenCheck {
    /// Tokens are not counted.
    Off {
        /// The reason, shown in the diagnosis.
        reason: String,
    },
    /// Tokens are counted with an existing tokenizer.
    Given {
        /// The tokenizer.
        tokenizer: Box<ReportTokenizer>,
        /// Longest text that the encoder reads, in tokens including special ones.
        max_tokens: usize,
    },
    /// Tokens are counted with a vocabulary learned from the training texts, as in a run from
    /// scratch.
    Learned {
        /// Largest vocabulary, in tokens.
        vocab_size: usize,
        /// Whether texts are lower-cased.
        do_lower_case: bool,
        /// Longest text that the encoder reads, in tokens including special ones.
        max_tokens: usize,
    },
}

impl Examination<'_> {
    /// Counts the tokens of each text that a run can use.
    pub(super) fn count_tokens(&mut self, progress: &(impl Fn(Progress) + Sync)) {
        match self.vocabulary() {
            Ok((tokenizer, max_tokens)) => self.find_truncated(&tokenizer, max_tokens, progress),
            Err(reason) => self.unchecked.push(format!("tokens: {reason}")),
        }
    }

    fn vocabulary(&self) -> Result<(ReportTokenizer, usize), String> {
        match &self.config.tokens {
            TokenCheck::Off { reason } => Err(reason.clone()),
            TokenCheck::Given {
                tokenizer,
                max_tokens,
            } => Ok(((**tokenizer).clone(), *max_tokens)),
            &TokenCheck::Learned {
                vocab_size,
                do_lower_case,
                max_tokens,
            } => {
                let rows = (0..self.rows.len()).filter(|&row| {
                    let row = &self.rows[row];
                    row.is_read && row.side == Some(Split::Train)
                });
                let texts = rows.filter_map(|row| self.text(row).ok());
                ReportTokenizer::train(texts, vocab_size, do_lower_case)
                    .map(|tokenizer| (tokenizer, max_tokens))
                    .map_err(|error| error.to_string())
            }
        }
    }

    fn find_truncated(
        &mut self,
        tokenizer: &ReportTokenizer,
        max_tokens: usize,
        progress: &(impl Fn(Progress) + Sync),
    ) {
        let usable = (0..self.rows.len()).filter(|&row| self.rows[row].is_usable);
        let usable: Vec<_> = usable.collect();
        let steps = Steps::new(Stage::Texts, usable.len(), progress);
        let (mut longest, mut cut) = (0, 0);
        for rows in usable.chunks(CHUNK_SIZE) {
            let counts: Vec<_> = rows
                .par_iter()
                .map(|&row| {
                    let tokens = self.tokens(row, tokenizer);
                    steps.one_more();
                    tokens
                })
                .collect();
            for (&row, tokens) in rows.iter().zip(counts) {
                let problem = match tokens {
                    Ok(tokens) => {
                        longest = longest.max(tokens);
                        if tokens <= max_tokens {
                            continue;
                        }
                        cut += 1;
                        let detail = format!("{tokens} tokens, the maximum is {max_tokens}");
                        Problem::new(FindingKind::CutText, detail).with_extent(tokens as f64)
                    }
                    Err(error) => {
                        let kind = FindingKind::Unusable(SkipReason::UnreadableText);
                        Problem::new(kind, error.to_string())
                    }
                };
                let file = self.cells(row).map(|cells| self.reader.text_file(&cells));
                self.add(&[row], problem, || file.into_iter().collect());
            }
        }
        if cut > 0 {
            let (rows, share) = (usable.len(), 100.0 * f64::from(cut) / usable.len() as f64);
            let remark = format!(
                "{cut} of {rows} ({share:.1} %) are cut at {max_tokens}; the longest has {longest}"
            );
            self.ledger.remark(FindingKind::CutText, remark);
        }
    }

    /// Counts the tokens of a row: of the whole text, or of its longest sentence.
    fn tokens(&self, row: usize, tokenizer: &ReportTokenizer) -> Result<usize, TokenizerError> {
        let Ok(text) = self.text(row) else {
            return Ok(0);
        };
        if self.config.whole_reports {
            return tokenizer.count(&text);
        }
        let report = Report::new(text, self.config.manifest.min_words);
        let mut sentences = report.sentences.iter();
        sentences.try_fold(0, |longest, it| Ok(tokenizer.count(it)?.max(longest)))
    }
}
