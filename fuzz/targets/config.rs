//! Configurations in YAML, with an override of the command line after a zero byte.
//!
//! What is read is written and read again, and must be the same.

#![no_main]

use convirt::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (text, overrides) = match text.split_once('\0') {
        None => (text, Vec::new()),
        Some((text, setting)) => (text, vec![setting.to_string()]),
    };
    let Ok(config) = Config::from_yaml("input", text, &overrides) else {
        return;
    };
    let _ = config.validate();
    let _ = config.columns();
    let written = config.to_yaml();
    match Config::from_yaml("written", &written, &[]) {
        Ok(again) => assert_eq!(again, config),
        Err(error) => panic!("{error}\n{written}"),
    }
});
