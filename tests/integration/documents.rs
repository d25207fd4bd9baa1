//! What the documents say can be done, can be done.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::fixtures::{convirt, text_of};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents by name, each with its text.
fn documents() -> BTreeMap<PathBuf, String> {
    let names = ["README.md", "CONTRIBUTING.md", "config.yaml"].map(PathBuf::from);
    let folder = fs::read_dir(root().join("docs")).unwrap();
    let in_folder = folder.map(|entry| Path::new("docs").join(entry.unwrap().file_name()));
    let pages = in_folder.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let names = names.into_iter().chain(pages);
    names
        .map(|name| (name.clone(), fs::read_to_string(root().join(name)).unwrap()))
        .collect()
}

/// Every command of the program in a document: lines of code blocks and code in sentences that
/// begin with `convirt`, up to a comment, a pipe or a redirection.
fn commands(document: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut in_block = false;
    let document = document.replace("\\\n", " ");
    for line in document.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
            continue;
        }
        let parts: Vec<&str> = if in_block {
            vec![line]
        } else {
            line.split('`').skip(1).step_by(2).collect()
        };
        for part in parts {
            let part = part.trim_start_matches("# ").trim();
            let words = part.split(['#', '|', '>', ';', '&']).next().unwrap();
            let words: Vec<String> = words.split_whitespace().map(String::from).collect();
            // In a manifest a `=` follows.
            if words.len() > 1 && words[0] == "convirt" && words[1] != "=" {
                commands.push(words[1..].to_vec());
            }
        }
    }
    commands
}

/// Returns the help of a command, and how many of the words name it; `None` for an unknown command
/// or subcommand.
fn help(words: &[String]) -> Option<(String, usize)> {
    let mut help = None;
    for length in 1..=words.len().min(2) {
        let command = &words[..length];
        if command.iter().any(|word| word.starts_with('-')) {
            break;
        }
        let output = convirt(command).arg("--help").output().unwrap();
        let text = text_of(&output);
        let is_of_it = text.contains(&format!("Usage: convirt {}", command.join(" ")));
        if output.status.success() && is_of_it {
            help = Some((text, length));
        }
    }
    help.filter(|(text, length)| {
        let next = words.get(*length).filter(|word| !word.starts_with('-'));
        next.is_none() || !text.contains("\nCommands:\n")
    })
}

#[test]
fn an_unknown_subcommand_has_no_help() {
    let help = |command: &str| {
        let words: Vec<String> = command.split(' ').map(String::from).collect();
        help(&words).map(|(_, length)| length)
    };
    assert_eq!(help("retrieve chexpert --run RUN"), Some(2));
    assert_eq!(help("retrieve chexpert-8x200 --run RUN"), None);
    assert_eq!(help("zero-shot RUN"), Some(1));
    assert_eq!(help("retreive"), None);
}

#[test]
fn every_command_in_the_documents_has_the_options_that_it_is_given() {
    let mut checked = 0;
    for (name, document) in documents() {
        for words in commands(&document) {
            let shown = format!("{}: convirt {}", name.display(), words.join(" "));
            if words[0].starts_with("--") || words[0] == "help" {
                continue;
            }
            let (help, length) = help(&words).unwrap_or_else(|| panic!("{shown}: no such command"));
            for word in &words[length..] {
                let option = word.split('=').next().unwrap();
                let is_option = option.starts_with("--") && option.len() > 2;
                assert!(
                    !is_option || help.contains(option),
                    "{shown}: no `{option}`"
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked} commands found");
}

#[test]
fn every_file_that_a_document_links_to_is_there() {
    let mut checked = 0;
    for (name, document) in documents() {
        let folder = root().join(&name).parent().unwrap().to_path_buf();
        for target in document.split("](").skip(1) {
            let target = target.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let is_there = folder.join(target).exists();
            assert!(is_there, "{}: no file {target}", name.display());
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} links found");
}

#[test]
fn the_readme_is_read_to_its_end() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 150);
}
