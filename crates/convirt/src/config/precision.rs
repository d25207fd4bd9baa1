//! The key `precision`.

use convirt_ops::Precision;
use serde::{Deserialize, Serialize};

/// The names of precisions.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Precision", rename_all = "lowercase")]
pub(super) enum Name {
    Float32,
    High,
    #[serde(rename = "bf16")]
    BFloat16,
}
