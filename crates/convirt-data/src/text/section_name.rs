//! What sections of a report are about.

/// What a section of a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SectionName {
    /// What stands before the first heading.
    Preamble,
    /// What is seen.
    Findings,
    /// What is concluded from it.
    Impression,
    /// Why the image was taken; the history of the patient.
    Indication,
    /// Earlier images.
    Comparison,
    /// How the image was taken.
    Technique,
    /// Which image was taken.
    Examination,
    /// What to do next.
    Recommendations,
    /// Who was told.
    Notification,
    /// A first reading, before the report.
    WetRead,
    /// What was added to the finished report.
    Addendum,
    /// Who signed, and what else follows the end of the report.
    SignOff,
    /// A heading of no other name.
    Other,
}
