//! Word lists for the recognition of sign-offs.

/// Phrases that only occur in sign-offs.
pub(super) const SIGN_OFF_PHRASES: &[&str] = &[
    "at the time of discovery",
    "attending physician",
    "attending radiologist",
    "approved by",
    "authenticated by",
    "authorized by",
    "agree with above",
    "any questions",
    "best regards",
    "board certified",
    "by e-mail",
    "by email",
    "by fax",
    "by page",
    "by pager",
    "by phone",
    "by telephone",
    "communications system",
    "critical result message",
    "critical results dashboard",
    "department of radiology",
    "digitally signed",
    "e-signed",
    "ed dashboard",
    "electronic signature",
    "electronically approved",
    "electronically authenticated",
    "electronically signed",
    "electronically verified",
    "end of impression",
    "end of report",
    "epic chat",
    "finalized by",
    "for questions",
    "have questions",
    "interpreted by",
    "kind regards",
    "on the phone",
    "on the telephone",
    "over the phone",
    "over the telephone",
    "message sent",
    "personally interpreted",
    "personally reviewed",
    "personally viewed",
    "prepared by",
    "radiology dashboard",
    "read back",
    "read by",
    "referring physician",
    "released by",
    "reviewed by",
    "signed by",
    "signed electronically",
    "secure chat",
    "signed on",
    "speech recognition",
    "submitted by",
    "teaching physician",
    "thank you",
    "telephone notification",
    "typed by",
    "verified by",
    "veriphy",
    "via e-mail",
    "via email",
    "via pager",
    "via phone",
    "via telephone",
    "voice recognition",
    "notification of physician",
];

/// Words that only occur in sign-offs.
pub(super) const SIGN_OFF_WORDS: [&str; 6] = [
    "attest",
    "attestation",
    "dictation",
    "sincerely",
    "telephoned",
    "transcriptionist",
];

/// Words for the transcription of reports; "the transcribed effusion" is a finding nevertheless.
pub(super) const TRANSCRIPTION_WORDS: [&str; 3] = ["dictated", "transcribed", "transcription"];

/// Whole sentences that state the status of a report.
pub(super) const STATUSES: [&str; 14] = [
    "confidential",
    "cont",
    "continued",
    "critical result no",
    "critical result yes",
    "final",
    "over",
    "preliminary",
    "preliminary report",
    "report finalized",
    "report released",
    "report status final",
    "report status preliminary",
    "signed",
];

/// Words for the positions and units of radiologists.
pub(super) const OFFICES: [&str; 8] = [
    "attending",
    "department",
    "division",
    "fellow",
    "hospital",
    "professor",
    "resident",
    "section",
];

/// Labels before the colon of a signature, whatever follows.
pub(super) const SIGNATURE_LABELS: [&str; 14] = [
    "accession",
    "attending",
    "cc",
    "dd",
    "dictating",
    "dt",
    "interpreting",
    "job",
    "radiologist",
    "rpid",
    "signed",
    "td",
    "typed",
    "workstation",
];

/// Labels before a colon and a name or date; findings may follow some of them too.
pub(super) const NAME_OR_DATE_LABELS: [&str; 14] = [
    "approved",
    "completed",
    "d",
    "date",
    "interpreted",
    "read",
    "reading",
    "released",
    "resident",
    "reviewed",
    "staff",
    "t",
    "time",
    "verified",
];

/// Persons who are notified.
pub(super) const PERSONS: [&str; 19] = [
    "attending",
    "clinician",
    "clinicians",
    "doctor",
    "dr",
    "drs",
    "m.d",
    "md",
    "np",
    "nurse",
    "pa-c",
    "physician",
    "physicians",
    "provider",
    "radiologist",
    "resident",
    "rn",
    "surgeon",
    "team",
];

/// Verbs of notification.
pub(super) const NOTIFICATION_VERBS: [&str; 23] = [
    "acknowledged",
    "alerted",
    "aware",
    "called",
    "communicated",
    "contacted",
    "conveyed",
    "discussed",
    "e-mailed",
    "emailed",
    "faxed",
    "informed",
    "notification",
    "notified",
    "paged",
    "phoned",
    "relayed",
    "reported",
    "reviewed",
    "spoke",
    "spoken",
    "told",
    "transmitted",
];

/// Verbs of notification that apply to findings and not to a disease.
pub(super) const CONVEYING_VERBS: [&str; 9] = [
    "communicated",
    "conveyed",
    "discussed",
    "e-mailed",
    "emailed",
    "faxed",
    "paged",
    "phoned",
    "relayed",
];

/// Nouns and pronouns for what is conveyed.
pub(super) const MESSAGES: [&str; 17] = [
    "above",
    "case",
    "exam",
    "examination",
    "finding",
    "findings",
    "images",
    "impression",
    "it",
    "recommendation",
    "recommendations",
    "report",
    "result",
    "results",
    "study",
    "these",
    "this",
];

/// Words that may precede the message or person at the start of a sentence.
pub(super) const SUBJECT_MODIFIERS: [&str; 24] = [
    "a",
    "all",
    "also",
    "an",
    "and",
    "clinical",
    "comment",
    "covering",
    "critical",
    "final",
    "important",
    "note",
    "of",
    "on-call",
    "ordering",
    "patient's",
    "preliminary",
    "primary",
    "referring",
    "requesting",
    "the",
    "updated",
    "urgent",
    "was",
];

/// Words that make a sentence a finding, even if a notification follows.
pub(super) const FINDING_WORDS: [&str; 14] = [
    "compatible",
    "concerning",
    "consistent",
    "indicate",
    "represent",
    "represents",
    "show",
    "shows",
    "stable",
    "suggest",
    "suggestive",
    "suggests",
    "suspicious",
    "unchanged",
];

/// Verbs of an attestation after "I" or "I have".
pub(super) const ATTESTATION_VERBS: [&str; 16] = [
    "agree",
    "attest",
    "called",
    "certify",
    "concur",
    "discussed",
    "edited",
    "examined",
    "informed",
    "interpreted",
    "notified",
    "personally",
    "reviewed",
    "supervised",
    "viewed",
    "was",
];

/// Titles before the name of a doctor.
pub(super) const TITLES: [&str; 6] = ["dr", "drs", "med", "pd", "priv.-doz", "prof"];

/// "Signed" in other languages, before a name.
pub(super) const SIGNED_IN_OTHER_LANGUAGES: [&str; 5] =
    ["firmado", "gez", "gezeichnet", "signé", "vidiert"];

/// Words for places in a hospital.
pub(super) const PLACES: [&str; 11] = [
    "clinic",
    "department",
    "ed",
    "emergency",
    "er",
    "floor",
    "hospital",
    "icu",
    "outpatient",
    "room",
    "ward",
];

/// Degrees after the name of a doctor.
pub(super) const DEGREES: [&str; 8] = ["d.o", "do", "frcr", "m.d", "mbbs", "md", "ph.d", "phd"];

/// Longest label, in words.
pub(super) const MAX_LABEL_WORDS: usize = 3;

/// Longest name with a degree, in words.
pub(super) const MAX_NAME_WORDS: usize = 7;

/// Words in dates and times.
pub(super) const TIME_WORDS: [&str; 33] = [
    "a.m",
    "am",
    "p.m",
    "pm",
    "hrs",
    "hours",
    "at",
    "on",
    "est",
    "edt",
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "sept",
    "oct",
    "nov",
    "dec",
    "january",
    "february",
    "march",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "december",
];

/// Placeholders of removed names and dates in MIMIC-CXR and OpenI.
pub(super) const ANONYMIZED: [&str; 2] = ["___", "xxxx"];
