//! Safe access to files and file names from unknown sources.
//!
//! Files are read within size limits, decoded to text, listed and written; names are shown without
//! control characters.

mod text_encoding;
mod path_text;
mod roots;
mod plain_name;
mod printable;
mod beginning;
mod truncated_list;
mod regular_file;
mod error;
mod new_file;
mod archive;
mod passed_over;
mod folder_walk;

#[cfg(test)]
pub(crate) use archive::tests;
pub(crate) use archive::{ArchiveIndex, DataFile, GZIP, Member, is_archive, member_path};
pub use beginning::beginning;
pub use error::FileError;
pub(crate) use folder_walk::{FolderWalk, is_companion};
pub use new_file::{NewFile, folder_of};
pub use passed_over::{PassedOver, PassedOverKind};
pub use path_text::{path_from_text, path_text};
pub use plain_name::is_plain_name;
pub(crate) use printable::shown;
pub use printable::{printable, printable_lines};
pub use regular_file::{open_regular, read_regular, read_regular_text};
pub(crate) use regular_file::{read_data, read_limited, read_rest, read_start};
pub(crate) use roots::Roots;
pub(crate) use text_encoding::is_utf_16;
pub use text_encoding::{NotUtf8, decode_text};
pub use truncated_list::truncated_list;
