//! What can be wrong with a weights file.

use std::io;
use std::path::{Path, PathBuf};

use convirt_data::{FileError, truncated_list};

#[cfg(feature = "hub")]
use super::HubError;
use super::LoadReport;

/// What to do about an ONNX file without the names of its weights.
pub(super) const KEEP_NAMES: &str = "exporting to ONNX merges batch norms into convolutions, and \
    transposes and renames weights, unless told to keep them: `torch.onnx.export(..., \
    dynamo=True, optimize=False)`, or `torch.onnx.export(..., dynamo=False, \
    do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE)`";

/// Error of reading, fitting or writing weights; each names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A folder has no file that weights come in.
    #[error("{folder}: no weights here; looked for {looked_for:?}", folder = folder.display())]
    NoFile {
        /// The folder.
        folder: PathBuf,
        /// Names of files, in order of preference.
        looked_for: &'static [&'static str],
    },
    /// A file is in no format that weights come in.
    #[error(
        "{path}: {found}, not weights; read are safetensors, what `torch.save` writes, and \
         Burn's checkpoints (.bpk)", path = path.display()
    )]
    NotWeights {
        /// The file.
        path: PathBuf,
        /// What it looks like instead.
        found: &'static str,
    },
    /// An ONNX file, and the feature that reads them was left out.
    #[cfg(not(feature = "onnx"))]
    #[error(
        "{path}: ONNX, which is read with the feature `onnx` of the crate convirt; this program \
         was built without", path = path.display()
    )]
    WithoutOnnx {
        /// The file.
        path: PathBuf,
    },
    /// A file contradicts itself or ends too early.
    #[error("{path}: damaged or cut off: {detail}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        detail: String,
    },
    /// A tensor holds no real numbers, such as quantized or complex ones.
    #[error("{path}: tensor `{name}` is of type {dtype}, which is not a real number", path = path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// A file is not what was recorded when it was written.
    #[error(
        "{path}: changed since it was written, as {record} tells (it has {bytes} bytes of CRC-32C \
         {found}); copy it anew, take a checkpoint of the run, or, if the change was meant, delete \
         the record", path = path.display(), record = record.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Where it was recorded.
        record: PathBuf,
        /// Its CRC-32C, in hexadecimal digits.
        found: String,
        /// Its length.
        bytes: u64,
    },
    /// A tensor holds numbers that no network can compute with.
    #[error(
        "{path}: tensor `{name}` has {found} at position {place}; its weights are damaged: take \
         another copy of the file, or a checkpoint from before", path = path.display()
    )]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Position in the tensor, row-major.
        place: usize,
        /// NaN, an infinity (in 32 bits), or a variance below 0.
        found: f32,
    },
    /// A file has nothing of what was to be loaded.
    #[error("{path}: no {part} in it: {expected}", path = path.display())]
    NoSuchPart {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        part: &'static str,
        /// By which tensor it would be known.
        expected: String,
    },
    /// A file has what was to be loaded several times.
    #[error(
        "{path}: more than one {part} in it, under {prefixes}; choose one by `weights_prefix`",
        path = path.display(), prefixes = truncated_list(prefixes)
    )]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        part: &'static str,
        /// What the names of each begin with.
        prefixes: Vec<String>,
    },
    /// No tensor of a file is where it was to be looked for.
    #[error("{path}: no tensor has a name that begins with `{prefix}`", path = path.display())]
    NoPrefix {
        /// The file.
        path: PathBuf,
        /// What names were to begin with.
        prefix: String,
    },
    /// Weights, or a description beside them, tell of an architecture that is not computed.
    #[error(
        "{path}: `{key}` says `{found}`, but the image encoders that can be computed are \
         {supported}; other weights of the same shape would give other numbers without a word",
        path = path.display()
    )]
    Architecture {
        /// The file that tells.
        path: PathBuf,
        /// The key that does.
        key: &'static str,
        /// What it says.
        found: String,
        /// What would be computed.
        supported: &'static str,
    },
    /// Names or shapes do not fit.
    #[error("{0}")]
    Mismatch(Box<LoadReport>),
    /// Of an ONNX file, weights are missing under their names: the graph was simplified.
    #[error("{0}; {KEEP_NAMES}")]
    SimplifiedOnnx(Box<LoadReport>),
    /// A model of the Hugging Face hub is not to be had.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A name is neither a path that exists nor one that the hub could have.
    #[error("`{key}`: no file or folder `{name}`, and that is no name on the Hugging Face hub")]
    NoSuchWeights {
        /// The key of the configuration.
        key: &'static str,
        /// What it says.
        name: String,
    },
    /// A model of the Hugging Face hub was named, in a build without the feature `hub`.
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
    /// A prefix was to choose among encoders where there is nothing to choose from.
    #[error(
        "`weights_prefix` is `{prefix}`, but no file of weights that is loaded has several encoders \
         to choose from"
    )]
    UnusedPrefix {
        /// The prefix.
        prefix: String,
    },
}

impl WeightsError {
    /// For `map_err` on what reads `path`; a file that ends too early is damaged.
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |cause| match cause.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                Self::damaged(&path, cause)
            }
            _ => FileError::Read { path, cause }.into(),
        }
    }

    /// A file is damaged; what it says of itself is made printable.
    pub(crate) fn damaged(path: &Path, detail: impl ToString) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            detail: printable(&detail.to_string()),
        }
    }
}

/// Text from a file, cut short and without what would control a terminal.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 300;
    let shown = text.chars().take(LONGEST);
    let shown = shown.map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let rest = text.chars().nth(LONGEST).map(|_| '…');
    shown.chain(rest).collect()
}
