//! Detection and repair of encoding errors in texts.

/// The characters of bytes 0x80 to 0x9F in Windows-1252, with the control characters of Latin-1
/// where Windows-1252 has none.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Times that a text may have been decoded wrongly.
const MAX_ROUNDS: usize = 3;

/// Characters shown of a word in a finding.
const EXCERPT_LENGTH: usize = 20;

/// Words with this many digits are not shown in a finding, since they may identify a patient.
const MANY_DIGITS: usize = 4;

/// A character in UTF-8 that was decoded as Windows-1252 or Latin-1.
struct Mojibake {
    /// The original character.
    original: char,
    /// Length of the wrong characters, in bytes.
    length: usize,
}

/// Describes the first mojibake in a text, such as "Ã©" for "é", and counts all.
pub(super) fn find_mojibake(text: &str) -> Option<(String, usize)> {
    let starts = text.char_indices().map(|(start, _)| text.split_at(start));
    let mut all =
        starts.filter_map(|(before, rest)| Some((rest, mojibake_at_start(before, rest)?)));
    let (rest, mojibake) = all.next()?;
    let (read, original) = (&rest[..mojibake.length], mojibake.original);
    let detail = format!("`{}` for `{original}`", read.escape_debug());
    Some((detail, 1 + all.count()))
}

/// Describes lost characters: replacement characters, and question marks within words and numbers,
/// which a conversion to ASCII writes for other characters; and counts them.
pub(super) fn find_lost(text: &str) -> Option<(String, usize)> {
    let replaced = text.matches('\u{fffd}').count();
    if replaced > 0 {
        let detail = format!("{replaced} times U+FFFD in place of another character");
        return Some((detail, replaced));
    }
    let words = text
        .split_whitespace()
        .filter(|word| !word.contains("://") && !word.starts_with("www."));
    let questioned: Vec<_> = words.filter(|word| has_question_inside(word)).collect();
    let count = questioned.len();
    let words = format!("question marks inside {count} words or numbers");
    // A long number may identify a patient.
    let digits = |word: &str| word.chars().filter(char::is_ascii_digit).count();
    match questioned.iter().find(|word| digits(word) < MANY_DIGITS) {
        Some(word) => {
            let word: String = word.chars().take(EXCERPT_LENGTH).collect();
            Some((format!("{words}, as in `{word}`"), count))
        }
        None => (count > 0).then_some((words, count)),
    }
}

/// Describes control characters, byte order marks and private-use characters, and counts them.
pub(super) fn find_stray(text: &str) -> Option<(String, usize)> {
    let mut strays = text.chars().filter(|&c| is_stray(c));
    let first = strays.next()?;
    let what = match first {
        '\u{feff}' => "byte-order mark",
        '\u{e000}'..='\u{f8ff}' => "private use",
        _ => "control character",
    };
    let count = 1 + strays.count();
    let detail = format!("U+{:04X} ({what}), {count} in all", u32::from(first));
    Some((detail, count))
}

/// Repairs a text where that is unambiguous; `None` if nothing changes.
///
/// Mojibake is decoded and stray characters are removed, except private-use ones, whose meaning is
/// unknown.
pub(in crate::doctor) fn repaired(text: &str) -> Option<String> {
    let mut repaired = text.to_owned();
    for _ in 0..MAX_ROUNDS {
        let Some(decoded) = decoded(&repaired) else {
            break;
        };
        repaired = decoded;
    }
    // U+0085 is an ellipsis in Windows-1252 that was decoded as Latin-1, and else a line end.
    let is_windows = repaired.contains(|c| matches!(c, '\u{80}'..='\u{84}' | '\u{86}'..='\u{9f}'));
    let is_dropped = |c| is_stray(c) && !matches!(c, '\u{e000}'..='\u{f8ff}');
    let repaired: String = repaired
        .chars()
        .map(|c| match c {
            '\u{85}' if is_windows => '…',
            _ if ends_line(c) => '\n',
            '\u{80}'..='\u{9f}' => WINDOWS_1252[c as usize - 0x80],
            _ => c,
        })
        .filter(|&c| !is_dropped(c))
        .collect();
    (repaired != text).then_some(repaired)
}

fn decoded(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let before = &text[..text.len() - rest.len()];
        let (c, length) = match mojibake_at_start(before, rest) {
            Some(Mojibake { original, length }) => (original, length),
            None => (c, c.len_utf8()),
        };
        decoded.push(c);
        rest = &rest[length..];
    }
    (decoded != text).then_some(decoded)
}

/// Returns the mojibake that a text begins with, if any; `before` precedes the text.
fn mojibake_at_start(before: &str, text: &str) -> Option<Mojibake> {
    let lead = byte(text.chars().next()?)?;
    // Lead bytes of Latin, Greek, and punctuation such as quotes and dashes, which occur in
    // reports. Other lead bytes are letters that occur before such characters in French and
    // Portuguese.
    let count = match lead {
        0xC2..=0xC5 | 0xCE | 0xCF => 2,
        0xE2 | 0xEF => 3,
        _ => return None,
    };
    let mut bytes = Vec::with_capacity(count);
    let mut length = 0;
    for c in text.chars().take(count) {
        bytes.push(byte(c)?);
        length += c.len_utf8();
    }
    let original = str::from_utf8(&bytes).ok()?.chars().next()?;
    let last = bytes[count - 1];
    // A word in capitals may end in an accented letter before a quote: "CAFÉ»", "MANHÃ”".
    let is_quotation = matches!(last, 0xAB | 0xBB) && lead != 0xC2 && lead != 0xEF;
    let ends_word = count == 2
        && lead != 0xC2
        && matches!(last, 0x85 | 0x91..=0x94 | 0x96 | 0x97 | 0x9B | 0xA0)
        && before.ends_with(char::is_uppercase)
        && !text[length..].starts_with(char::is_alphabetic);
    (!original.is_control() && !is_quotation && !ends_word).then_some(Mojibake { original, length })
}

/// Returns the byte that Windows-1252 or Latin-1 decodes as a non-ASCII character.
fn byte(c: char) -> Option<u8> {
    match c {
        '\u{80}'..='\u{ff}' => Some(c as u8),
        _ => {
            let place = WINDOWS_1252.iter().position(|&it| it == c)?;
            Some(0x80 + place as u8)
        }
    }
}

fn has_question_inside(word: &str) -> bool {
    word.match_indices('?').any(|(start, _)| {
        let (before, after) = (&word[..start], &word[start + 1..]);
        before.ends_with(char::is_alphanumeric) && after.starts_with(char::is_alphanumeric)
    })
}

/// Whether a character is stray. Invisible characters that scripts need are not: U+200B in Khmer,
/// U+200C in Persian, U+200D in Indic scripts.
fn is_stray(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => false,
        '\u{feff}' | '\u{e000}'..='\u{f8ff}' => true,
        _ => c.is_control(),
    }
}

/// Whether a control character marks a line end: vertical tab, form feed, next line.
fn ends_line(c: char) -> bool {
    matches!(c, '\u{b}' | '\u{c}' | '\u{85}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_8_decoded_as_windows_1252_or_latin_1_is_found_and_repaired() {
        for (read, written) in [
            ("cafÃ©", "café"),
            ("the patientâ€™s heart", "the patient’s heart"),
            ("a â€œground-glassâ€\u{9d} look", "a “ground-glass” look"),
            ("3â\u{80}\u{93}4 cm", "3–4 cm"),
            ("37.5 Â°C, 5 Âµg", "37.5 °C, 5 µg"),
            ("Î±-blocker", "α-blocker"),
            ("Å\u{81}Ã³dÅº", "Łódź"),
            ("cafÃƒÂ©", "café"),
            ("HÃ”PITAL Ã\u{a0} gauche", "HÔPITAL à gauche"),
            ("\u{ef}\u{bb}\u{bf}Normal heart", "Normal heart"),
        ] {
            assert!(find_mojibake(read).is_some(), "{read}");
            assert_eq!(repaired(read).as_deref(), Some(written), "{read}");
        }
        let twice = find_mojibake("so cafÃ©, cafÃ©");
        assert_eq!(twice, Some(("`Ã©` for `é`".to_string(), 2)));
    }

    #[test]
    fn correct_text_is_unchanged() {
        for text in [
            "Normal heart.",
            "café, naïve, Łódź, São Paulo, Île, Ängström",
            "«CAFÉ» and «MANHÃ», “quoted” — 37.5 °C ± 0.2, 5 µg",
            "“MANHÃ”, AMANHÃ\u{a0}– IRMÃ…",
            "5\u{a0}cm, na\u{308}ive",
            "نمایه\u{200c}ها نمی\u{200c}شود",
            "ශ්\u{200d}රී क्\u{200d}ष 👩\u{200d}⚕\u{fe0f} 葛\u{e0100}",
            "ភាសា\u{200b}ខ្មែរ",
            "the patient’s heart…\n• 3–4 cm\tα",
            "胸部X線",
        ] {
            assert_eq!(find_mojibake(text), None, "{text}");
            assert_eq!(find_lost(text), None, "{text}");
            assert_eq!(find_stray(text), None, "{text}");
            assert_eq!(repaired(text), None, "{text}");
        }
    }

    #[test]
    fn question_marks_in_place_of_characters_are_distinguished_from_questions() {
        assert_eq!(
            find_lost("38?6?C, 1?1 mmol"),
            Some((
                "question marks inside 2 words or numbers, as in `38?6?C,`".to_string(),
                2
            ))
        );
        assert_eq!(
            find_lost("the patient\u{fffd}s"),
            Some((
                "1 times U+FFFD in place of another character".to_string(),
                1
            ))
        );
        for text in [
            "Pneumonia? No. ?effusion",
            "CHF (?new)? Yes",
            "see https://a.org/x?y=1",
        ] {
            assert_eq!(find_lost(text), None, "{text}");
        }
    }

    #[test]
    fn long_numbers_are_not_shown() {
        let (detail, _) = find_lost("MRN?1234567 is known").unwrap();
        assert_eq!(detail, "question marks inside 1 words or numbers");
    }

    #[test]
    fn stray_characters_are_named_and_removed_except_private_ones() {
        assert_eq!(
            find_stray("a\u{feff}b\0"),
            Some(("U+FEFF (byte-order mark), 2 in all".to_string(), 2))
        );
        assert_eq!(repaired("a\u{feff}b\0\u{c}c").as_deref(), Some("ab\nc"));
        assert_eq!(
            repaired("3\u{96}4 cm\u{85} s").as_deref(),
            Some("3–4 cm… s")
        );
        assert_eq!(repaired("one\u{85}two").as_deref(), Some("one\ntwo"));
        assert_eq!(
            repaired("patient\u{92}s\u{81}").as_deref(),
            Some("patient’s")
        );
        assert!(
            find_stray("arrow \u{f0e0}")
                .unwrap()
                .0
                .contains("private use")
        );
        assert_eq!(repaired("arrow \u{f0e0}"), None);
    }
}
