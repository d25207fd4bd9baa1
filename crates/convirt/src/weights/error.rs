//! The errors of reading, matching and writing weights.

use std::io;
use std::path::{Path, PathBuf};

use convirt_data::{FileError, truncated_list};

#[cfg(feature = "hub")]
use super::HubError;
use super::LoadReport;

/// The hint for an ONNX file whose weights have lost their names.
pub(super) const KEEP_NAMES: &str = "exporting to ONNX merges batch norms into convolutions, and \
    transposes and renames weights, unless told to keep them: `torch.onnx.export(..., \
    dynamo=True, optimize=False)`, or `torch.onnx.export(..., dynamo=False, \
    do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE)`";

/// An error while reading, matching or writing weights. Every error about a file names it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A folder contains no weights file.
    #[error("{folder}: no weights here; looked for {looked_for:?}", folder = folder.display())]
    NoFile {
        /// The folder.
        folder: PathBuf,
        /// The file names that were searched for, in order of preference.
        looked_for: &'static [&'static str],
    },
    /// A file is in no readable weights format.
    #[error(
        "{path}: {found}, not weights; the readable formats are safetensors, what `torch.save` \
         writes (.pth), ONNX (.onnx) and Burn's checkpoints (.bpk)", path = path.display()
    )]
    NotWeights {
        /// The file.
        path: PathBuf,
        /// What the file looks like instead.
        found: &'static str,
    },
    /// The file is ONNX, and the program was built without the feature `onnx`.
    #[cfg(not(feature = "onnx"))]
    #[error(
        "{path}: ONNX, which is read with the feature `onnx` of the crate convirt; this program \
         was built without", path = path.display()
    )]
    WithoutOnnx {
        /// The file.
        path: PathBuf,
    },
    /// A file is inconsistent or truncated.
    #[error("{path}: damaged or cut off: {detail}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        detail: String,
    },
    /// A tensor's elements are not real numbers, for example quantized or complex ones.
    #[error("{path}: tensor `{name}` is of type {dtype}, which is not a real number", path = path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The element type.
        dtype: String,
    },
    /// A file differs from the checksum that was recorded when it was written.
    #[error(
        "{path}: changed since it was written: it has {bytes} bytes and the CRC-32C {found}, which \
         {record} does not list; copy the file again, use a checkpoint of the run, or, if the \
         change is intended, delete that record", path = path.display(), record = record.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// The file with the recorded checksum.
        record: PathBuf,
        /// The file's actual CRC-32C, in hexadecimal digits.
        found: String,
        /// The file's actual length in bytes.
        bytes: u64,
    },
    /// A tensor contains a number that no network can compute with.
    #[error(
        "{path}: tensor `{name}` has {found} at position {place}; its weights are damaged: use \
         another copy of the file or an earlier checkpoint", path = path.display()
    )]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The row-major position in the tensor.
        place: usize,
        /// The number: NaN, an infinity (as 32-bit number), or a variance below 0.
        found: f32,
    },
    /// A file does not contain the requested network.
    #[error("{path}: no {part} in it: {expected}", path = path.display())]
    NoSuchPart {
        /// The file.
        path: PathBuf,
        /// The requested network, for example `image encoder`.
        part: &'static str,
        /// The tensor that identifies such a network, and that is missing.
        expected: String,
    },
    /// A file contains several encoders of the requested kind.
    #[error(
        "{path}: more than one {part} in it, under {prefixes}; choose one by `weights_prefix`",
        path = path.display(), prefixes = truncated_list(prefixes)
    )]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// The requested encoder.
        part: &'static str,
        /// The name prefix of each encoder.
        prefixes: Vec<String>,
    },
    /// No tensor of a file has the requested name prefix.
    #[error("{path}: no tensor has a name that begins with `{prefix}`", path = path.display())]
    NoPrefix {
        /// The file.
        path: PathBuf,
        /// The requested prefix.
        prefix: String,
    },
    /// A file or the `config.json` beside it names an architecture that is not supported.
    #[error(
        "{path}: `{key}` is `{found}`, but the supported image encoders are {supported}; weights \
         of another architecture can have the same shapes, but would give wrong numbers",
        path = path.display()
    )]
    Architecture {
        /// The file that names the architecture.
        path: PathBuf,
        /// The key with the name.
        key: &'static str,
        /// The name of the architecture.
        found: String,
        /// The supported architectures.
        supported: &'static str,
    },
    /// Names or shapes do not match the network.
    #[error("{0}")]
    Mismatch(Box<LoadReport>),
    /// An ONNX file lacks weights under their original names, because its graph was simplified.
    #[error("{0}; {KEEP_NAMES}")]
    SimplifiedOnnx(Box<LoadReport>),
    /// A model of the Hugging Face hub is not in the cache and could not be downloaded.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A name is neither an existing path nor a valid name on the Hugging Face hub.
    #[error(
        "`{key}`: there is no file or folder `{name}`, and this is not a valid name on the Hugging \
         Face hub"
    )]
    NoSuchWeights {
        /// The key of the configuration.
        key: &'static str,
        /// The value of this key.
        name: String,
    },
    /// A setting names a model of the Hugging Face hub, and the build lacks the feature `hub`.
    #[cfg(not(feature = "hub"))]
    #[error(
        "`{key}`: `{name}` is a model of the Hugging Face hub, which this build cannot reach: give a \
         folder, or build with the feature `hub`"
    )]
    NoHub {
        /// The key of the configuration.
        key: &'static str,
        /// The model's name.
        name: String,
    },
    /// A prefix was set, but no loaded file contains several encoders.
    #[error(
        "`weights_prefix` is `{prefix}`, but no loaded weights file has several encoders to choose \
         from"
    )]
    UnusedPrefix {
        /// The prefix.
        prefix: String,
    },
}

impl WeightsError {
    /// Returns a function for `map_err` on an I/O error of `path`.
    ///
    /// An unexpected end of the file or invalid data becomes [`Self::Damaged`].
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |cause| match cause.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                Self::damaged(&path, cause)
            }
            _ => FileError::Read { path, cause }.into(),
        }
    }

    /// Creates the error of a damaged file; `detail` is made printable.
    pub(crate) fn damaged(path: &Path, detail: impl ToString) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            detail: printable(&detail.to_string()),
        }
    }
}

/// Returns at most 300 characters of a text from a file, with control characters replaced.
pub(super) fn printable(text: &str) -> String {
    const MAX_CHARACTERS: usize = 300;
    let shown = text.chars().take(MAX_CHARACTERS);
    let shown = shown.map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let ellipsis = text.chars().nth(MAX_CHARACTERS).map(|_| '…');
    shown.chain(ellipsis).collect()
}
