//! Files as a run writes and reads them: whole or not there, and no larger than is sensible.

mod new_file;
mod json_file;

pub(crate) use json_file::{MAX_JSON, read_json};
pub(crate) use new_file::NewFile;
