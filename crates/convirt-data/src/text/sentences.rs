//! Splitting of reports into sentences.
//!
//! Reports are not prose: lines wrap at 79 columns, lists are numbered within a line, headings
//! share a line with text, and numbers and abbreviations contain full stops. First, the layout is
//! split into blocks: paragraphs, list items and headed sections. Then each block is split at full
//! stops.

mod heading;
mod full_stop;
mod numbering;
mod layout;

use unicode_segmentation::UnicodeSegmentation;

use full_stop::{ends_sentence, separate_glued};
use heading::{heading_start, is_bare_label, is_heading, is_heading_word, without_headings};
use layout::is_bullet;
pub(crate) use layout::{blocks, is_rule};
use numbering::Numbering;

/// Splits a report into its sentences, in order.
///
/// Whitespace is collapsed to single spaces, and the closing punctuation is kept. List numbers,
/// bullets and section headings ("FINDINGS:") are removed, and so are pieces without a letter or
/// digit. Labels of what is described ("LUNGS:", "CT:") are kept. Semicolons do not end a sentence.
/// The sentences of all sections are returned.
///
/// # Examples
///
/// ```
/// let report = "\
/// FINDINGS: The heart is 1.2 times
/// its normal size. No effusion.
/// 1. Dr. Roe was called.
/// ";
/// assert_eq!(
///     convirt_data::sentences(report),
///     ["The heart is 1.2 times its normal size.", "No effusion.", "Dr. Roe was called."]
/// );
/// ```
pub fn sentences(text: &str) -> Vec<String> {
    let mut numbering = Numbering::default();
    let lines = text.lines().map(str::trim);
    let width = lines.clone().map(|line| line.chars().count()).max();
    blocks(lines, width.unwrap_or(0))
        .iter()
        .flat_map(|block| split_block(block, &mut numbering))
        .collect()
}

/// Counts the words of a text: whitespace-separated pieces that contain a letter or a digit.
///
/// Scripts without spaces between words, such as Chinese, Japanese or Thai, are segmented by
/// Unicode's rules (UAX 29), which count each ideograph as a word, for instance.
///
/// ```
/// assert_eq!(convirt_data::word_count("No effusion - 2 views."), 4);
/// ```
pub fn word_count(text: &str) -> usize {
    text.split_whitespace()
        .filter(|piece| piece.contains(char::is_alphanumeric))
        .map(|piece| {
            if has_no_spaces(piece) {
                piece.unicode_words().count()
            } else {
                1
            }
        })
        .sum()
}

/// Whether a piece contains adjacent words without a separator.
fn has_no_spaces(piece: &str) -> bool {
    let has_letter = |part: &str| part.contains(char::is_alphabetic);
    let parts = piece.split_word_bounds();
    let mut pairs = parts.clone().zip(parts.skip(1));
    !piece.is_ascii() && pairs.any(|(one, other)| has_letter(one) && has_letter(other))
}

/// Splits one block at its full stops, bullets, list numbers and headings.
fn split_block(block: &str, numbering: &mut Numbering) -> Vec<String> {
    let words: Vec<&str> = block.split_whitespace().flat_map(separate_glued).collect();
    let mut sentences = Vec::new();
    let mut sentence = Vec::new();
    for (i, &word) in words.iter().enumerate() {
        let previous = sentence.last().copied();
        let next = words.get(i + 1).copied();
        if is_bullet(word, previous) || numbering.starts_item(word, previous, next) {
            finish(&mut sentence, &mut sentences);
        } else if is_heading_word(word) {
            sentence.truncate(heading_start(&sentence));
            finish(&mut sentence, &mut sentences);
        } else {
            sentence.push(word);
            if next.is_some_and(|next| ends_sentence(previous, word, next)) || is_heading(&sentence)
            {
                finish(&mut sentence, &mut sentences);
            }
        }
    }
    finish(&mut sentence, &mut sentences);
    sentences
}

/// Adds the words as a finished sentence, without headings; drops empty sentences and bare labels.
fn finish(words: &mut Vec<&str>, sentences: &mut Vec<String>) {
    let joined = words.join(" ");
    words.clear();
    let sentence = without_headings(&joined);
    if word_count(sentence) > 0 && !is_bare_label(sentence) {
        sentences.push(sentence.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn cuts(text: &str, expected: &[&str]) {
        assert_eq!(sentences(text), expected, "{text}");
    }

    #[test]
    fn full_stops_inside_numbers_are_kept() {
        cuts(
            "The tube tip is 4.5 cm above the carina. A 1.2 x 0.8 cm nodule is stable.",
            &[
                "The tube tip is 4.5 cm above the carina.",
                "A 1.2 x 0.8 cm nodule is stable.",
            ],
        );
        cuts(
            "It measures 4. Heart is normal.",
            &["It measures 4.", "Heart is normal."],
        );
    }

    #[test]
    fn abbreviations_do_not_end_a_sentence() {
        for whole in [
            "Findings were discussed with Dr. Smith at 9 a.m. by phone.",
            "Atelectasis vs. pneumonia at the left base.",
            "Hardware, e.g. Screws and plates, is intact.",
            "An effusion of approx. 3 cm is seen.",
            "See image No. 2 of series 4.",
            "Read by J. R. Smith, M.D. on 3/4.",
            "As described by Lee et al. 2019 in detail.",
            "Compared with Jan. 6 there is less edema.",
            "Discussed with Dr. ___ at 10:15 p.m. Dr. ___ agreed.",
            "The mass (3 cm.) in the left lobe grew.",
            "Infection with S. aureus is likely.",
            "It is 2.3 cm. in diameter.",
        ] {
            cuts(whole, &[whole]);
        }
        cuts(
            "Notified at 9 a.m. The patient has hepatitis B. Heart size is normal.",
            &[
                "Notified at 9 a.m.",
                "The patient has hepatitis B.",
                "Heart size is normal.",
            ],
        );
        cuts(
            "Old clips, wires etc. There is no edema.",
            &["Old clips, wires etc.", "There is no edema."],
        );
        cuts(
            "Is there an effusion? No. Heart is normal.",
            &["Is there an effusion?", "No.", "Heart is normal."],
        );
    }

    #[test]
    fn numbered_lists_are_split_at_their_numbers() {
        let items = ["No effusion.", "Heart normal.", "Clear lungs."];
        for list in [
            "1. No effusion. 2. Heart normal. 3. Clear lungs.",
            "1. No effusion.\n2. Heart normal.\n\n3. Clear lungs.",
            "1) No effusion. 2) Heart normal. 3) Clear lungs.",
            "(1) No effusion. (2) Heart normal. (3) Clear lungs.",
            "1.No effusion. 2.Heart normal. 3.Clear lungs.",
            "IMPRESSION: 1. No effusion. 2. Heart normal. 3. Clear lungs.",
        ] {
            cuts(list, &items);
        }
        cuts(
            "1. No effusion 2. Heart normal 3. Clear lungs",
            &["No effusion", "Heart normal", "Clear lungs"],
        );
        cuts(
            "1. no effusion.  2. heart normal.",
            &["no effusion.", "heart normal."],
        );
    }

    #[test]
    fn other_numbers_stay() {
        cuts(
            "1. Nodule in segment 2. Heart is normal.",
            &["Nodule in segment 2.", "Heart is normal."],
        );
        cuts(
            "There is a nodule in segment\n4. Heart is normal.",
            &["There is a nodule in segment 4.", "Heart is normal."],
        );
        cuts(
            "Two lesions: 1) in the left and 2) in the right lobe.",
            &["Two lesions: 1) in the left and 2) in the right lobe."],
        );
        cuts("Two ribs (2) are broken.", &["Two ribs (2) are broken."]);
    }

    #[test]
    fn sentences_continue_over_line_ends_and_end_at_blank_lines() {
        let wrapped = " The cardiac, mediastinal and hilar contours are normal.  Lungs are clear.  No\n \
                       pleural effusion or pneumothorax is seen.  Comparison is made to the CT of the\n \
                       Chest from ___.\n \n No fracture\n";
        cuts(
            wrapped,
            &[
                "The cardiac, mediastinal and hilar contours are normal.",
                "Lungs are clear.",
                "No pleural effusion or pneumothorax is seen.",
                "Comparison is made to the CT of the Chest from ___.",
                "No fracture",
            ],
        );
        cuts("Seen by Dr.\r\nSmith today.", &["Seen by Dr. Smith today."]);
    }

    #[test]
    fn short_lines_are_separate_items() {
        cuts(
            "Heart size normal\nLungs clear\nNo effusion or pneumothorax on either side",
            &[
                "Heart size normal",
                "Lungs clear",
                "No effusion or pneumothorax on either side",
            ],
        );
        cuts(
            "• Obstructing mass\n• Collapse of the left upper lobe\n- small effusion • clear right lung",
            &[
                "Obstructing mass",
                "Collapse of the left upper lobe",
                "small effusion",
                "clear right lung",
            ],
        );
    }

    #[test]
    fn headings_are_removed_and_the_rest_of_their_line_is_kept() {
        cuts(
            "FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\nFINDINGS: The heart is normal.\nIMPERSSION:\n\nNo effusion.",
            &["CHEST (PA AND LAT)", "The heart is normal.", "No effusion."],
        );
        cuts(
            "Findings: Clear lungs. Impression: Normal chest.",
            &["Clear lungs.", "Normal chest."],
        );
        cuts(
            "Lungs are clear FINAL IMPRESSION: Normal chest",
            &["Lungs are clear", "Normal chest"],
        );
        cuts(
            "TECHNIQUE: Portable AP view.FINDINGS:The heart is normal.",
            &["Portable AP view.", "The heart is normal."],
        );
        cuts("CHEST, TWO VIEWS: Lungs are clear.", &["Lungs are clear."]);
        cuts("IMPRESSION:", &[]);
        cuts(
            "LUNGS: Clear on both sides.\nCT: Large mass.\nBONES:",
            &["LUNGS: Clear on both sides.", "CT: Large mass."],
        );
        cuts(
            "Our impression: none of the findings is new.",
            &["Our impression: none of the findings is new."],
        );
    }

    #[test]
    fn anonymization_marks_and_rules_are_handled() {
        cuts(
            "XXXX XXXX. No change since ___. ___ was called.",
            &["XXXX XXXX.", "No change since ___.", "___ was called."],
        );
        cuts(
            "No change.\n______________\nClear lungs.\n----\n=====",
            &["No change.", "Clear lungs."],
        );
        cuts("___.", &[]);
    }

    #[test]
    fn semicolons_ellipses_and_question_marks_do_not_split_sentences() {
        cuts(
            "No effusion; no edema; heart normal.",
            &["No effusion; no edema; heart normal."],
        );
        cuts(
            "There is... no edema... Heart is normal…",
            &["There is... no edema...", "Heart is normal…"],
        );
        cuts(
            "? Pneumonia at the left (?) base! Follow up?",
            &["? Pneumonia at the left (?) base!", "Follow up?"],
        );
    }

    #[test]
    fn full_stops_without_a_space_still_end_a_sentence() {
        cuts(
            "Heart is normal.No effusion.Dr.Smith knows.",
            &["Heart is normal.", "No effusion.", "Dr.Smith knows."],
        );
        cuts(
            "See www.example.org/a.b for more.",
            &["See www.example.org/a.b for more."],
        );
    }

    #[test]
    fn lower_case_and_upper_case_reports_are_split_too() {
        cuts(
            "heart is normal. lungs are clear. no edema",
            &["heart is normal.", "lungs are clear.", "no edema"],
        );
        cuts(
            "HEART IS NORMAL. LUNGS ARE CLEAR. IMPRESSION: NORMAL CHEST.",
            &["HEART IS NORMAL.", "LUNGS ARE CLEAR.", "NORMAL CHEST."],
        );
    }

    #[test]
    fn other_scripts_are_split_too() {
        cuts(
            "Œdème à gauche. Élargissement du médiastin.",
            &["Œdème à gauche.", "Élargissement du médiastin."],
        );
        for (text, sentences) in [
            ("心影正常。无胸腔积液。", ["心影正常。", "无胸腔积液。"]),
            (
                "“心影正常。”无胸腔积液！！",
                ["“心影正常。”", "无胸腔积液！！"],
            ),
            ("右下肺炎？。）正常", ["右下肺炎？。）", "正常"]),
            (
                "1、心影正常。2、无胸腔积液。",
                ["心影正常。", "无胸腔积液。"],
            ),
            (
                "1.心影正常。2.结节1.5厘米。",
                ["心影正常。", "结节1.5厘米。"],
            ),
            ("（1）心影正常。（2）无积液", ["心影正常。", "无积液"]),
            (
                "肺野は清明です．心拡大１．２倍なし",
                ["肺野は清明です．", "心拡大１．２倍なし"],
            ),
            (
                "هل هناك انصباب؟ القلب طبيعي.",
                ["هل هناك انصباب؟", "القلب طبيعي."],
            ),
            (
                "دل نارمل ہے۔پھیپھڑے صاف ہیں۔",
                ["دل نارمل ہے۔", "پھیپھڑے صاف ہیں۔"],
            ),
            ("हृदय सामान्य है। फेफड़े साफ हैं।", ["हृदय सामान्य है।", "फेफड़े साफ हैं।"]),
        ] {
            cuts(text, &sentences);
        }
        cuts(
            "Broken \u{fffd} character. “Clear.” lungs are (clear.) Heart normal.",
            &[
                "Broken \u{fffd} character.",
                "“Clear.” lungs are (clear.)",
                "Heart normal.",
            ],
        );
    }

    #[test]
    fn an_empty_text_has_no_sentences() {
        for nothing in ["", " \n\t\r\n", "...", "- \n •", "1. 2)"] {
            cuts(nothing, &[]);
        }
    }

    #[test]
    fn only_pieces_with_letters_or_digits_are_words() {
        assert_eq!(word_count("No -- effusion ___ / 3 cm."), 4);
        assert_eq!(word_count("A pre-existing 5×3 cm² mass (3/4), naïve’s"), 7);
    }

    /// The counts are those of Python's `regex`, which follows UAX 29: the pieces of
    /// `regex.split(r"(?wV1)\b", text)` with a letter or a digit.
    #[test]
    fn scripts_without_spaces_have_words_too() {
        for (text, words) in [
            ("心影正常，无胸腔积液。", 9),
            ("右肺CT检查：结节3.5cm", 8),
            ("カテーテル先端は適切です", 8),
            ("ไม่พบน้ำ", 6),
            ("No 胸腔积液 seen", 6),
        ] {
            assert_eq!(word_count(text), words, "{text}");
        }
    }
}
