//! Vocabularies of text encoders.
//!
//! The first byte chooses the files; a zero byte separates two files.

#![no_main]

use std::fs;

use convirt_data::ReportTokenizer;
use convirt_fuzz::{count_own_panics, folder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    count_own_panics();
    let Some((&mode, files)) = data.split_first() else {
        return;
    };
    let folder = folder().join("tokenizer");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the files");
    let names: [&str; 2] = match mode & 7 {
        0 => ["vocab.txt", "tokenizer_config.json"],
        1 => ["vocab.json", "merges.txt"],
        2 => ["vocab.txt", "added_tokens.json"],
        3 => ["vocab.txt", "special_tokens_map.json"],
        _ => ["tokenizer.json", "tokenizer_config.json"],
    };
    let mut parts = files.splitn(2, |&byte| byte == 0);
    for (name, part) in names.into_iter().zip(&mut parts) {
        fs::write(folder.join(name), part).expect("a file for the input");
    }
    let lower_case = [None, Some(true), Some(false)][usize::from(mode >> 3) % 3];
    let Ok(tokenizer) = ReportTokenizer::from_folder(&folder, lower_case) else {
        return;
    };
    for text in ["The lungs are clear.", "", "[MASK] <mask> É 肺 \u{301}\n##s"] {
        let _ = tokenizer.count(text);
        if let Ok(tokens) = tokenizer.encode(text, 8) {
            assert!(tokens.ids.len() <= 8);
            assert_eq!(tokens.ids.len(), tokens.type_ids.len());
            assert!(tokens.ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        }
    }
});
