//! From the text of a report to token ids.

mod heading_names;
mod sections;
mod sentences;
mod word_pieces;
mod tokenizer;

pub use sections::{Section, SectionName, Sections};
pub(crate) use sections::{headings, joined};
pub use sentences::{sentences, word_count};
pub use tokenizer::{ReportTokenizer, Tokens};
