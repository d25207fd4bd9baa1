//! Splitting of reports into sections.
//!
//! Reports are free text: headings may be misspelt, share a line with text, lack their colon or
//! occur twice, and an addendum with headings of its own may precede or follow the report.

mod heading;
mod sign_off;
mod run_on;
mod markup;
mod parser;

use super::section_name::SectionName;
use markup::without_markup;
use parser::Parser;

/// One section of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Kind of the section.
    pub name: SectionName,
    /// The heading as written, without the colon; empty for a preamble.
    pub heading: String,
    /// The text, with each paragraph or list item on one line and blank lines between them; may be
    /// empty.
    pub text: String,
    /// Whether the section belongs to an addendum.
    pub in_addendum: bool,
}

/// The sections of a report.
///
/// # Examples
///
/// ```
/// use convirt_data::{SectionName, Sections};
///
/// let report = "\
/// INDICATION: Cough.
///
/// FINDINGS: The lungs are clear.
/// No effusion.
///
/// IMPRESION: Normal chest.
/// ";
/// let sections = Sections::parse(report);
/// assert_eq!(sections.get(SectionName::Indication), Some("Cough."));
/// // The misspelt heading is recognized.
/// assert_eq!(sections.get(SectionName::Impression), Some("Normal chest."));
/// assert_eq!(
///     sections.findings_and_impression().as_deref(),
///     Some("The lungs are clear. No effusion.\n\nNormal chest.")
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sections {
    sections: Vec<Section>,
    last_paragraph: Option<String>,
}

impl Sections {
    /// Splits a report into sections; any text is accepted.
    ///
    /// A heading is at the start of a line and ends in a colon. It is in capitals or one of the
    /// usual names. Usual names are also recognized without a colon on a line of their own, with
    /// one typing error, and, in capitals, within a line, even without a space before the text.
    /// Within a line, "Findings:" and "Impression:" after a full stop need no capitals, and in
    /// capitals before mixed-case text they need no colon. Labels that are not sections ("LUNGS:")
    /// remain in the text. A view ("CHEST, TWO VIEWS:") starts the findings if there are none before
    /// it, but not in the impression.
    ///
    /// "END OF IMPRESSION", lines such as "DICTATED BY:", and final paragraphs with signatures or
    /// notifications form the sign-off. Markdown and HTML markup is removed.
    pub fn parse(report: &str) -> Self {
        Parser::new(&without_markup(report)).parse()
    }

    /// Returns all sections in order, including empty ones.
    pub fn iter(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter()
    }

    /// Returns the text of the last section of this name that is not empty.
    ///
    /// Sections of an addendum are used only if the report itself has none.
    pub fn get(&self, name: SectionName) -> Option<&str> {
        let last = |in_addendum| {
            let mut sections = self.sections.iter().rev();
            sections.find(|section| {
                section.name == name
                    && section.in_addendum == in_addendum
                    && !section.text.is_empty()
            })
        };
        let section = last(false).or_else(|| last(true))?;
        Some(&section.text)
    }

    /// Returns findings and impression (Zhang et al. 2022, section 4.1), or the one that exists.
    pub fn findings_and_impression(&self) -> Option<String> {
        joined([SectionName::Findings, SectionName::Impression].map(|name| self.get(name)))
    }

    /// Returns the last paragraph, a substitute for missing findings and impression.
    ///
    /// The first paragraph after another heading is excluded, except from its first sentence that
    /// begins like findings. Addenda, notifications and sign-offs are excluded as well. If nothing
    /// else remains, recommendations are used, then the preliminary reading.
    pub fn last_paragraph(&self) -> Option<&str> {
        self.last_paragraph.as_deref()
    }
}

/// Returns the usual headings in a text, as written, without labels and views ("LUNGS:",
/// "CHEST:").
pub(crate) fn headings(text: &str) -> Vec<(SectionName, String)> {
    let sections = Sections::parse(text).sections.into_iter();
    sections
        .filter(|section| heading::is_usual(&section.heading))
        .map(|section| (section.name, section.heading))
        .collect()
}

/// Joins findings and impression, or returns the one that exists.
pub(crate) fn joined(texts: [Option<&str>; 2]) -> Option<String> {
    let texts: Vec<_> = texts.into_iter().flatten().collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use rand::seq::IndexedRandom;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::text::sentences::sentences;

    fn text(report: &str, name: SectionName) -> Option<String> {
        Sections::parse(report).get(name).map(Into::into)
    }

    #[track_caller]
    fn reads(report: &str, expected: &str) {
        let read = Sections::parse(report).findings_and_impression();
        assert_eq!(read.as_deref(), Some(expected), "{report}");
    }

    #[test]
    fn a_report_in_the_style_of_mimic_is_split_into_its_sections() {
        let report = "                                 FINAL REPORT\n \
            EXAMINATION:  CHEST (PA AND LAT)\n \n \
            INDICATION:  ___F with new onset ascites  // eval for infection\n \n \
            TECHNIQUE:  Chest PA and lateral\n \n \
            COMPARISON:  None.\n \n \
            FINDINGS: \n \n \
            There is no focal consolidation, pleural effusion or pneumothorax.  Bilateral\n \
            nodular opacities that most likely represent nipple shadows. The ___ and\n \
            ___ are unremarkable.\n \n \
            IMPRESSION: \n \n No acute cardiopulmonary process.\n";
        let sections = Sections::parse(report);
        assert_eq!(
            sections.findings_and_impression().unwrap(),
            "There is no focal consolidation, pleural effusion or pneumothorax. Bilateral nodular \
             opacities that most likely represent nipple shadows. The ___ and ___ are \
             unremarkable.\n\nNo acute cardiopulmonary process."
        );
        assert_eq!(
            sections.get(SectionName::Indication),
            Some("___F with new onset ascites // eval for infection")
        );
        assert_eq!(sections.get(SectionName::Comparison), Some("None."));
        let headings: Vec<_> = sections.iter().map(|s| s.heading.as_str()).collect();
        assert_eq!(
            headings,
            [
                "FINAL REPORT",
                "EXAMINATION",
                "INDICATION",
                "TECHNIQUE",
                "COMPARISON",
                "FINDINGS",
                "IMPRESSION"
            ]
        );
    }

    #[test]
    fn text_on_the_line_of_the_heading_is_kept() {
        reads("IMPRESSION: No acute process.", "No acute process.");
        reads("IMPRESSION:No acute process.", "No acute process.");
        reads(
            "Findings:\tLungs clear.\nImpression : Normal.",
            "Lungs clear.\n\nNormal.",
        );
    }

    #[test]
    fn headings_are_recognized_with_variants_and_typos() {
        use SectionName::{Comparison, Examination, Findings, Impression, Indication};
        for (heading, name) in [
            ("IMPERSSION", Impression),
            ("IMPRESSON", Impression),
            ("IMOPRESSION", Impression),
            ("MPRESSION", Impression),
            ("CONCLUSION", Impression),
            ("Conclusions", Impression),
            ("FINDINGS/ IMPRESSION", Impression),
            ("FINDINGS AND IMPRESSION", Impression),
            ("IMPRESSION AND RECOMMENDATION", Impression),
            ("FINDNINGS", Findings),
            ("FINDING", Findings),
            ("FINIDNGS", Findings),
            ("CHEST, TWO VIEWS", Findings),
            ("PA AND LATERAL CHEST RADIOGRAPHS", Findings),
            ("PORTABLE AP CHEST FILM ___ AT 10:15", Findings),
            ("NDICATION", Indication),
            ("REASON FOR EXAM", Indication),
            ("Clinical History", Indication),
            ("COMPARRISON", Comparison),
            ("COMPARISON FILM", Comparison),
            ("STUDY", Examination),
        ] {
            let report = format!("{heading}: Some words.");
            assert_eq!(
                text(&report, name).as_deref(),
                Some("Some words."),
                "{heading}"
            );
        }
    }

    #[test]
    fn a_heading_alone_on_its_line_needs_no_colon() {
        reads(
            "FINDINGS\nLungs clear.\n\nIMPRESSION\n\nNormal.",
            "Lungs clear.\n\nNormal.",
        );
        reads("\nImpression\nNormal.", "Normal.");
    }

    #[test]
    fn headings_are_found_in_the_middle_of_a_line() {
        reads(
            "FINAL REPORT INDICATION: Cough. FINDINGS: Lungs clear. IMPRESSION: Normal.",
            "Lungs clear.\n\nNormal.",
        );
    }

    #[test]
    fn headings_without_a_space_around_them_are_found() {
        for report in [
            "TECHNIQUE: Portable AP view. FINDINGS:Lungs clear. IMPRESSION:Normal.",
            "TECHNIQUE:Portable AP view.FINDINGS:Lungs clear.IMPRESSION:Normal.",
            "TECHNIQUE: Portable AP view. FINDINGS : Lungs clear. IMPRESSION :Normal.",
            "TECHNIQUE: Portable AP view. FINDNINGS:Lungs clear. IMPERSSION:Normal.",
            "TECHNIQUE: Portable AP view. FINDINGS Lungs clear. IMPRESSION - Normal.",
            "Technique: Portable AP view. Findings: Lungs clear. Impression:Normal.",
            "HISTORY: Cough.COMPARISON:None.FINDINGS:Lungs clear. CONCLUSION:Normal.",
        ] {
            reads(report, "Lungs clear.\n\nNormal.");
        }
        let unheaded = Sections::parse("Lungs clear. Impression: Normal.");
        assert_eq!(unheaded.findings_and_impression(), None);
        reads(
            "FINDINGS:1. Clear. IMPRESSION:1. Normal.",
            "1. Clear.\n\n1. Normal.",
        );
        reads(
            "FINDINGS: At 10:15 the findings: none. Other Findings: none. EXAM AT 10:15: none.",
            "At 10:15 the findings: none. Other Findings: none. EXAM AT 10:15: none.",
        );
    }

    #[test]
    fn the_end_mark_of_a_report_is_not_a_heading() {
        let report = "FINDINGS: Clear lungs.\n\nIMPRESSION: Normal.";
        for end in [
            "\n\nEND OF IMPRESSION:\n\nElectronically signed by Jane Roe, MD\n",
            "\nEND OF REPORT: \nJR\n",
            "\n\n*****\nEnd of impression.\n*****\n\nJR\n",
            " END OF IMPRESSION: Jane Roe, MD",
            "\n\nElectronically signed by Jane Roe, MD\n\n3/4/2019",
            "\n\nDICTATED BY: JANE ROE\nAPPROVED: 3/4/2019",
        ] {
            reads(&format!("{report}{end}"), "Clear lungs.\n\nNormal.");
            let report = format!("CHEST.\n\nClear lungs.{end}");
            let last = Sections::parse(&report).last_paragraph().map(String::from);
            assert_eq!(last.as_deref(), Some("Clear lungs."), "{report}");
        }
        reads(
            "IMPRESSION: Signed by Jane Roe, MD",
            "Signed by Jane Roe, MD",
        );
    }

    #[test]
    fn headings_after_text_without_a_full_stop_are_found() {
        for report in [
            "COMPARISON: None Findings: Clear lungs. Impression: Normal.",
            "COMPARISON: None FINDINGS - Clear lungs. IMPRESSION - Normal.",
            "COMPARISON: ___ FINDINGS; Clear lungs. IMPRESSION; Normal.",
            "COMPARISON: None FINDINGS Clear lungs. IMPRESSION Normal.",
            "REASON FOR EXAM: cough, Findings: Clear lungs. Impression: Normal.",
            "TECHNIQUE: AP. FINDINGS.Clear lungs. IMPRESSION.Normal.",
            "FINDINGS: Clear lungs. FINAL IMPRESSION: Normal.",
            "FINDINGS: Clear lungs.\nOverall impression: Normal.",
            "FINDINGS: Clear lungs. RADIOLOGIST'S IMPRESSION: Normal.",
            "TECHNIQUE: AP. INTERPRETATION: Clear lungs. IMPRESSION: Normal.",
            "**FINDINGS:** Clear lungs.\n**IMPRESSION:** Normal.",
            "<b>FINDINGS:</b> Clear lungs.<br><b>IMPRESSION:</b> Normal.",
            "FINDINGS：Clear lungs. IMPRESSION：Normal.",
        ] {
            reads(report, "Clear lungs.\n\nNormal.");
        }
        reads(
            "Findings: The lungs are clear Impression: Normal.",
            "The lungs are clear\n\nNormal.",
        );
        reads(
            "FINDINGS: See the Impression: none. Clinical Impression: none.",
            "See the Impression: none. Clinical Impression: none.",
        );
    }

    #[test]
    fn the_last_section_with_text_is_returned() {
        reads("IMPRESSION: Old.\nIMPRESSION: New.\nIMPRESSION:\n", "New.");
    }

    #[test]
    fn labels_of_no_section_stay_in_findings_and_impression() {
        reads(
            "FINDINGS:\nLUNGS: Clear.\nHEART: Normal.\nCT: not done.\n\
             NOTIFICATION: Dr. ___ by phone.",
            "LUNGS: Clear.\n\nHEART: Normal.\n\nCT: not done.",
        );
        reads(
            "FINDINGS: See note: none. At 10:15 it was seen.",
            "See note: none. At 10:15 it was seen.",
        );
    }

    #[test]
    fn a_view_is_a_label_in_the_impression_and_where_there_are_findings() {
        for label in ["CHEST", "CHEST TUBES", "LATERAL VIEW"] {
            reads(
                &format!(
                    "FINDINGS: There is a large right pneumothorax.\n IMPRESSION:\n {label}: Large \
                     right pneumothorax.\n ABDOMEN: Normal."
                ),
                &format!(
                    "There is a large right pneumothorax.\n\n{label}: Large right \
                     pneumothorax.\n\nABDOMEN: Normal."
                ),
            );
            reads(
                &format!("IMPRESSION: No effusion.\n{label}: Normal."),
                &format!("No effusion.\n\n{label}: Normal."),
            );
            for section in [
                "COMPARISON: None.",
                "NOTIFICATION: Dr. ___.",
                "ADDENDUM: Seen.",
            ] {
                reads(
                    &format!("FINDINGS: Clear lungs.\n{section}\n{label}: Two images."),
                    "Clear lungs.",
                );
                reads(
                    &format!("FINDINGS:\n\n{section}\n{label}: Clear lungs."),
                    "Clear lungs.",
                );
            }
            let earlier = "FINDINGS: Edema.\nFINAL REPORT\n";
            reads(&format!("{earlier}{label}: Clear lungs."), "Clear lungs.");
            let addendum = "ADDENDUM\nFINDINGS: Seen again.\nFINAL REPORT\n";
            reads(&format!("{addendum}{label}: Clear lungs."), "Clear lungs.");
        }
        reads(
            "FINDINGS: Clear lungs.\nLATERAL VIEW: No effusion.",
            "Clear lungs.\n\nLATERAL VIEW: No effusion.",
        );
    }

    #[test]
    fn an_addendum_above_or_below_does_not_replace_the_report() {
        let rule = "_".repeat(78);
        let above = format!(
            " FINAL ADDENDUM\n ADDENDUM: Seen again.\n IMPRESSION: Amended.\n\n{rule}\n \
             FINAL REPORT\n FINDINGS: Clear.\n IMPRESSION: Normal.\n"
        );
        let below =
            "FINDINGS: Clear.\nIMPRESSION: Normal.\n\nADDENDUM: Seen again.\nIMPRESSION: Amended.";
        for report in [above.as_str(), below] {
            reads(report, "Clear.\n\nNormal.");
            assert_eq!(
                text(report, SectionName::Addendum).as_deref(),
                Some("Seen again.")
            );
        }
        reads("ADDENDUM\nFINDINGS: Clear lungs.", "Clear lungs.");
    }

    #[test]
    fn a_preliminary_reading_is_not_the_report() {
        for first in ["WET READ", "PROVISIONAL FINDINGS IMPRESSION (PFI)"] {
            let report = format!(
                "{first}: ___ 8:04 AM\n Edema.\n{}\nFINAL REPORT\nFINDINGS: None.",
                "_".repeat(78)
            );
            reads(&report, "None.");
        }
    }

    #[test]
    fn the_last_paragraph_replaces_missing_findings_and_impression() {
        for (report, expected) in [
            ("The lungs are\nclear.", Some("The lungs are clear.")),
            (
                "First.\n\nThe lungs are clear.\n \n",
                Some("The lungs are clear."),
            ),
            (
                "INDICATION: Cough.\n\nThe lungs are clear.",
                Some("The lungs are clear."),
            ),
            (
                "INDICATION: Cough.\nLUNGS: Clear.\nHEART: Normal.",
                Some("LUNGS: Clear.\n\nHEART: Normal."),
            ),
            (
                "COMPARISON: None.\n\nThe lungs are clear.\n\nNOTIFICATION: Dr. ___ was told.",
                Some("The lungs are clear."),
            ),
            ("INDICATION: Cough.", None),
            (
                "The lungs are clear.\n\nDr. ___ was told by phone at 10:15.",
                Some("The lungs are clear."),
            ),
            (
                "COMPARISON: None.\n\nClear lungs.\nDr. ___ was paged.\n\n\
                 I have personally reviewed the images.\n\nJane Doe, M.D.\n\n3/4/2020 10:15 AM",
                Some("Clear lungs."),
            ),
            (
                "INDICATION: Cough. The lungs are clear. Reviewed by Dr. ___.",
                Some("The lungs are clear."),
            ),
            (
                "INDICATION: Cough.\n\nRECOMMENDATIONS: Chest CT.\n\nElectronically signed by ___.",
                Some("Chest CT."),
            ),
            ("INDICATION: Cough.\n\nDr. ___ was told by phone.", None),
            ("Dictated by ___.\n\nD: 3/4/2020 T: 3/5/2020", None),
            ("", None),
            ("FINAL REPORT\n____________\n", None),
        ] {
            let sections = Sections::parse(report);
            assert_eq!(sections.findings_and_impression(), None, "{report}");
            assert_eq!(sections.last_paragraph(), expected, "{report}");
        }
    }

    /// Kinds of report that MIT-LCP/mimic-cxr handles by hand, by study number.
    #[test]
    fn unusual_reports_are_read_too() {
        let rule = "_".repeat(78);
        let first_reading = format!("WET READ: ___ 8:04 AM\n Edema.\n{rule}\nFINAL REPORT\n");
        for (report, expected) in [
            // The findings are under another heading.
            (
                "EXAMINATION: Chest. TECHNIQUE: Single view. In comparison with the study of ___,\n\
                 there is no change. The heart is large.".to_owned(),
                "In comparison with the study of ___, there is no change. The heart is large.",
            ),
            (
                "INDICATION: Cough, no fever. No acute cardiopulmonary process.".into(),
                "No acute cardiopulmonary process.",
            ),
            (
                "PA AND LATERAL CHEST, ___\n\nHISTORY: ___-year-old with cough. The lungs are clear.\n\
                 Heart size is normal.".into(),
                "The lungs are clear. Heart size is normal.",
            ),
            (
                "COMPARISON: There is no prior study. Lungs are clear.\n\nNOTIFICATION: Dr. ___.".into(),
                "There is no prior study. Lungs are clear.",
            ),
            (
                "INDICATION: Cough.\n\nRECOMMENDATION(S): No pneumonia. Repeat in a year.".into(),
                "No pneumonia. Repeat in a year.",
            ),
            (
                "INDICATION: Cough.\nNOTE: The lungs are clear.".into(),
                "NOTE: The lungs are clear.",
            ),
            // There is only a preliminary reading, or nothing else useful.
            ("WET READ: ___ 8:04 AM\n Edema is new.".into(), "___ 8:04 AM\n\nEdema is new."),
            (first_reading.clone() + "INDICATION: Cough.", "___ 8:04 AM\n\nEdema."),
            (first_reading + "\nThe lungs are clear.", "The lungs are clear."),
        ] {
            let sections = Sections::parse(&report);
            assert_eq!(sections.findings_and_impression(), None, "{report}");
            assert_eq!(sections.last_paragraph(), Some(expected), "{report}");
        }
        for (report, expected) in [
            // One heading for both, or the impression first.
            (
                "IMPRESSION: Normal.\nFINDINGS: Clear lungs.",
                "Clear lungs.\n\nNormal.",
            ),
            ("FINDINGS/IMPRESSION: Clear lungs.", "Clear lungs."),
            ("IMPRESSION/FINDINGS: Clear lungs.", "Clear lungs."),
            ("FINDINGS & IMPRESSION: Clear lungs.", "Clear lungs."),
            ("FINDINGS AND IMPRESSION Clear lungs.", "Clear lungs."),
            // The colon is missing or another sign.
            (
                "FINDINGS Clear lungs.\n\nIMPRESSION. Normal.",
                "Clear lungs.\n\nNormal.",
            ),
            (
                "FINDINGS - Clear lungs.\nIMPRESSION; 1. Normal.",
                "Clear lungs.\n\n1. Normal.",
            ),
            (
                "WET READ VERSION #2 ___ 9:12 PM\nEdema.\n\nIMPRESSION: Normal.",
                "Normal.",
            ),
            (
                "IMPRESSION: Normal.\n\nADDENDUM The ___ was seen.",
                "Normal.",
            ),
            // Words in capitals that are not headings.
            (
                "IMPRESSION: THE LUNGS ARE CLEAR OF\nFINDINGS OF EDEMA.\nFINDINGS. ARE OLD.",
                "THE LUNGS ARE CLEAR OF FINDINGS OF EDEMA. FINDINGS. ARE OLD.",
            ),
        ] {
            reads(report, expected);
        }
    }

    #[test]
    fn an_indication_is_not_a_report() {
        for report in [
            "INDICATION: Cough. Rule out pneumonia.",
            "HISTORY: The patient has no fever. Evaluate for effusion.",
            "COMPARISON: Chest radiograph ___. CT of the chest ___.",
            "TECHNIQUE: Chest, PA and lateral. Two images.",
        ] {
            assert_eq!(Sections::parse(report).last_paragraph(), None, "{report}");
        }
    }

    #[test]
    fn list_items_and_lines_that_end_early_stay_separate() {
        reads(
            "IMPRESSION:\n1. No pneumonia, the heart is not\nenlarged.\n2) Stable nodule.\n\
             - Old fractures\nNo effusion\nCompared with the film of the\nMarch visit, no change.",
            "1. No pneumonia, the heart is not enlarged.\n\n2) Stable nodule.\n\n- Old fractures\n\n\
             No effusion\n\nCompared with the film of the March visit, no change.",
        );
        reads(
            "FINDINGS: CT of the chest shows:\n1) a mass in the left\nlobe\n2) no effusion",
            "CT of the chest shows:\n\n1) a mass in the left lobe\n\n2) no effusion",
        );
    }

    #[test]
    fn the_text_reads_the_same_as_in_the_report() {
        for body in [
            "The heart is 4.5 cm wide. No effusion\nor pneumothorax is seen.",
            "1. Normal heart size.\n2. No effusion\n   is seen at either base.",
            "LUNGS: Clear on both sides.\n\nHEART: Normal in size.",
            "Seen by Dr.\nSmith at 9 a.m. on the ward.",
        ] {
            let joined = Sections::parse(&format!("FINDINGS:\n{body}"));
            let joined = joined.findings_and_impression().unwrap();
            assert_eq!(sentences(&joined), sentences(body), "{body}");
        }
    }

    /// Fragments of reports and of other text, in any order.
    #[test]
    fn any_text_is_split_without_losing_or_inventing_words() {
        let bits = [
            "FINDINGS:",
            "IMPRESSION",
            "Impression :",
            "ADDENDUM:",
            "______",
            "___",
            "\n",
            "\n\n",
            "\r\n",
            "\r",
            " ",
            "\t",
            ":",
            "::",
            "1.",
            "- ",
            "é",
            "İ:",
            "ß",
            "\u{feff}",
            "\u{200b}",
            "\u{301}",
            "日本:",
            "🫁",
            "(",
            "LUNGS:",
            "10:15",
            "clear lungs",
            "A",
            "\0",
            ".",
            "FINAL REPORT",
        ];
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..3000 {
            let length = random.random_range(0..24);
            let report: String = (0..length)
                .map(|_| *bits.choose(&mut random).unwrap())
                .collect();
            let sections = Sections::parse(&report);
            let letters = |text: &str| {
                text.chars()
                    .filter(|c| c.is_alphanumeric())
                    .collect::<String>()
            };
            let text: String = sections
                .iter()
                .map(|s| letters(&s.heading) + &letters(&s.text))
                .collect();
            assert_eq!(text, letters(&report), "{report:?}");
        }
    }

    #[test]
    fn a_line_of_headings_alone_does_not_exhaust_the_stack() {
        let report = "FINDINGS: ".repeat(50_000);
        assert_eq!(Sections::parse(&report).iter().count(), 50_000);
    }
}
