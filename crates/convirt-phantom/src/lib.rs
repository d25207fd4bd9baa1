//! A procedural chest phantom: synthetic frontal "radiographs" with reports, in the file formats of
//! a hospital's export.
//!
//! It serves to try the program, to test it and to measure its speed. Nothing in it comes from a
//! patient, and nothing learned from it applies to one.
//!
//! ```
//! use convirt_phantom::PhantomConfig;
//!
//! # let place = tempfile::tempdir()?;
//! # let folder = place.path().join("phantom");
//! let config = PhantomConfig { patients: 4, longer_side: 64, seed: 0 };
//! let summary = config.write(&folder, |done, patients| eprintln!("{done} of {patients}"))?;
//! assert_eq!(summary.patients, 4);
//! assert!(folder.join("pairs.csv").is_file());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod error;
mod chest;
mod drawing;
mod report;
mod patient;
mod folder;
mod phantom;

pub use config::{PhantomConfig, PhantomSummary};
pub use error::PhantomError;
