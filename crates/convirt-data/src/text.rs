//! Report texts: sections, sentences and tokens.

mod error;
mod section_name;
mod heading_names;
mod sentences;
mod sections;
mod word_pieces;
mod tokenizer;

pub use error::TokenizerError;
pub use section_name::SectionName;
pub use sections::{Section, Sections};
pub(crate) use sections::{headings, joined};
pub use sentences::{sentences, word_count};
pub use tokenizer::{ReportTokenizer, Tokens};
