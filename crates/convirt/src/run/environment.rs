//! Where and by what a run was computed.

use std::env;

use convirt_data::read_regular_text;
use serde::{Deserialize, Serialize};

/// The version of this crate and the machine that ran it.
///
/// # Examples
///
/// ```
/// use convirt::run::Environment;
///
/// let environment = Environment::current();
/// assert_eq!(environment.version, env!("CARGO_PKG_VERSION"));
/// assert!(environment.cores >= 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of this crate.
    pub version: String,
    /// The program that used it, with its version and the commit that it was built from, as
    /// [`Training::with_program`](crate::Training::with_program) tells.
    pub program: Option<String>,
    /// The command line, program first.
    pub command: Vec<String>,
    /// Operating system and architecture, such as `linux x86_64`.
    pub system: String,
    /// Name of the processor, if the system tells.
    pub processor: Option<String>,
    /// Number of cores that this process may use.
    pub cores: usize,
}

impl Environment {
    /// Returns the environment of this process.
    pub fn current() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_string(),
            program: None,
            command: env::args_os()
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect(),
            system: format!("{} {}", env::consts::OS, env::consts::ARCH),
            processor: processor(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Returns the name of the processor as Linux tells it.
fn processor() -> Option<String> {
    let info = read_regular_text("/proc/cpuinfo".as_ref(), 1 << 22).ok()?;
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))?;
    Some(name.trim_start_matches([' ', '\t', ':']).to_string())
}
