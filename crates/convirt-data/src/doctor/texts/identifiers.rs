//! Detection of text that may identify a patient.

/// Names of the months; abbreviations of at least three letters match too.
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Labels of identifying numbers and dates.
const LABELS: [(&[&str], &str); 12] = [
    (&["mrn"], "a record number"),
    (&["ssn"], "a social security number"),
    (&["dob"], "a date of birth"),
    (&["date", "of", "birth"], "a date of birth"),
    (&["medical", "record"], "a record number"),
    (&["record", "number"], "a record number"),
    (&["record", "no"], "a record number"),
    (&["hospital", "number"], "a record number"),
    (&["accession"], "an accession number"),
    (&["patient", "id"], "a patient's number"),
    (&["patient", "number"], "a patient's number"),
    (&["patient", "no"], "a patient's number"),
];

/// Words after a label that are searched for its number.
const REACH: usize = 3;

/// Fewest digits of a number after a label.
const MIN_DIGITS: usize = 4;

/// Fewest digits of an international telephone number.
const MIN_TELEPHONE_DIGITS: usize = 9;

/// Names the kinds of identifying information in a text, each once, without its content.
pub(super) fn identifiers(text: &str) -> Vec<&'static str> {
    let words: Vec<_> = text
        .split(|c: char| c.is_whitespace() || ":#=;".contains(c))
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric() && !"+(@".contains(c)))
        .filter(|word| !word.is_empty())
        .collect();
    let lower: Vec<_> = words
        .iter()
        .map(|word| word.trim_start_matches(['(', '+', '@']).to_lowercase())
        .collect();
    let mut kinds = Vec::new();
    let mut add = |kind| {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    };
    for i in 0..words.len() {
        let word = words[i];
        if let Some(kind) = labelled(&lower[i..]) {
            add(kind);
        }
        if word.len() > 4 && word.contains('@') && is_address(word) {
            add("an e-mail address");
        }
        if is_telephone(&words[i..]) {
            add("a telephone number");
        }
        if is_date(word) || is_written_date(&lower[i..]) {
            add("a date");
        }
    }
    kinds
}

fn labelled(words: &[String]) -> Option<&'static str> {
    let (label, what) = LABELS.iter().find(|(label, _)| {
        words.len() > label.len() && words.iter().zip(*label).all(|(a, b)| a == b)
    })?;
    let values = &words[label.len()..];
    let digits = |word: &String| word.chars().filter(char::is_ascii_digit).count();
    let has_value = values
        .iter()
        .take(REACH)
        .any(|word| digits(word) >= MIN_DIGITS);
    has_value.then_some(what)
}

fn is_address(word: &str) -> bool {
    let Some((name, domain)) = word.split_once('@') else {
        return false;
    };
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || "-_+".contains(c))
    };
    name.split('.').all(is_part) && domain.contains('.') && domain.split('.').all(is_part)
}

/// Whether words begin with a telephone number: ten digits in North American groups, or
/// international with a plus.
fn is_telephone(words: &[&str]) -> bool {
    let first = words[0];
    let is_international = first.starts_with('+');
    let groups: Vec<usize> = if first.starts_with(['+', '(']) {
        words
            .iter()
            .map_while(|word| digit_groups(word))
            .flatten()
            .collect()
    } else {
        digit_groups(first).unwrap_or_default()
    };
    if is_international {
        groups.iter().sum::<usize>() >= MIN_TELEPHONE_DIGITS
    } else {
        groups.starts_with(&[3, 3, 4])
    }
}

/// Returns the lengths of the digit groups of a word; `None` if it has other characters.
fn digit_groups(word: &str) -> Option<Vec<usize>> {
    let parts = word.split(['-', '.', '(', ')', '+', '/']);
    let parts = parts.filter(|part| !part.is_empty());
    parts
        .map(|part| {
            part.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then_some(part.len())
        })
        .collect()
}

/// Whether a word is a day, a month and a year: "3/25/20", "25.3.2020", "2020-03-25".
fn is_date(word: &str) -> bool {
    let Some(separator) = word.chars().find(|c| !c.is_ascii_digit()) else {
        return false;
    };
    if !"/-.".contains(separator) {
        return false;
    }
    let parts: Vec<_> = word.split(separator).collect();
    let [first, second, third] = parts[..] else {
        return false;
    };
    let day = |text: &str| number(text).filter(|&it| text.len() <= 2 && (1..=31).contains(&it));
    let year = |text: &str| text.len() == 4 && is_year(text);
    let is_short_year = |text: &str| separator == '/' && text.len() == 2 && number(text).is_some();
    let has_month = |a: &str, b: &str| match (day(a), day(b)) {
        (Some(a), Some(b)) => a.min(b) <= 12,
        _ => false,
    };
    has_month(first, second) && (year(third) || is_short_year(third))
        || year(first) && has_month(second, third)
}

/// Whether words are a day, the name of a month and a year; the day may precede or follow the
/// month.
fn is_written_date(words: &[String]) -> bool {
    let [first, second, third, ..] = words else {
        return false;
    };
    let is_day = |word: &str| {
        let digits = word.trim_end_matches(|c: char| c.is_ascii_lowercase());
        number(digits).is_some_and(|day| (1..=31).contains(&day))
    };
    let pair = is_month(first) && is_day(second) || is_day(first) && is_month(second);
    pair && is_year(third)
}

fn is_month(word: &str) -> bool {
    word.len() >= 3
        && MONTHS
            .iter()
            .any(|month| *month == word || word.len() <= 4 && month.starts_with(word))
}

fn is_year(word: &str) -> bool {
    number(word).is_some_and(|year| (1900..2100).contains(&year))
}

fn number(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifying_information_is_named_without_its_content() {
        for (text, what) in [
            ("MRN: 1234567", "a record number"),
            ("(MRN#00412) Normal heart.", "a record number"),
            ("Medical record no. 88-12345 was read.", "a record number"),
            ("DOB 01/02/1960", "a date of birth"),
            ("Accession number: AB123456", "an accession number"),
            ("Patient ID=99412", "a patient's number"),
            ("Compared with 3/25/20.", "a date"),
            ("Compared with 25.3.2020, unchanged.", "a date"),
            ("Seen on 2019-12-03.", "a date"),
            ("On January 19, 2020, a man", "a date"),
            ("on 5 Mar. 2020", "a date"),
            ("the 3rd of May, then 3rd May 2020", "a date"),
            ("Dr. ___ was called at 617-555-0123.", "a telephone number"),
            ("call (617) 555-0123 now", "a telephone number"),
            ("call +49 30 1234567", "a telephone number"),
            ("write to jane.doe@hospital.org", "an e-mail address"),
        ] {
            let kinds = identifiers(text);
            assert!(kinds.contains(&what), "{text}: {kinds:?}");
        }
        assert_eq!(identifiers("3/25/20 and 4/26/21"), ["a date"]);
    }

    #[test]
    fn measurements_and_removed_names_are_not_identifiers() {
        for text in [
            "A 1.2 x 0.8 cm nodule at T2/3, ratio 1/2/3, 4-5-6.",
            "MRN: ___, DOB: ___, accession ___",
            "As compared to ___ at 10:15, May 6 cm be normal.",
            "CRP: 35.1-26.3-16.4-14.9 mg/dL, 322.0 ng/mL",
            "PMID:24131592, in 2019 and March 2020",
            "L4-L5-S1, 120-140-160 kV, 5 to 10 days @ rest",
            "The patient number one of three",
        ] {
            assert_eq!(identifiers(text), [""; 0], "{text}");
        }
    }
}
