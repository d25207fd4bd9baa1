//! The sections of a report.

/// The kind of a report section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SectionName {
    /// Text before the first heading.
    Preamble,
    /// What the image shows.
    Findings,
    /// The conclusion.
    Impression,
    /// Why the image was taken, and the patient's history.
    Indication,
    /// Earlier images for comparison.
    Comparison,
    /// How the image was taken.
    Technique,
    /// Which image was taken.
    Examination,
    /// Recommended next steps.
    Recommendations,
    /// Who was notified.
    Notification,
    /// A preliminary reading before the final report.
    WetRead,
    /// An addition to the finished report.
    Addendum,
    /// Signatures and other text after the end of the report.
    SignOff,
    /// Any other heading.
    Other,
}
