//! Report texts: sections and sentences.

#![no_main]

use convirt_data::{Sections, sentences, word_count};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let sections = Sections::parse(text);
    // Sections hold letters of the report only, and at most all of them.
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
    let found = sections.iter().map(|section| letters(&section.text));
    assert!(found.sum::<usize>() <= letters(text));
    let _ = sections.last_paragraph();
    let chosen = sections.findings_and_impression();
    for text in [Some(text), chosen.as_deref()].into_iter().flatten() {
        for sentence in sentences(text) {
            assert!(!sentence.trim().is_empty());
            let _ = word_count(&sentence);
        }
    }
});
