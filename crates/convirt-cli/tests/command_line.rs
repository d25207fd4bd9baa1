//! Tests of the command line that need no trained model: help, exit codes, completions.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Every command, in the order of a user's work.
const COMMANDS: [&str; 19] = [
    "config",
    "init",
    "prepare mimic",
    "prepare openi",
    "doctor",
    "train",
    "resume",
    "runs",
    "report",
    "embed",
    "index build",
    "index search",
    "retrieve pairs",
    "retrieve chexpert",
    "zero-shot",
    "transfer",
    "inspect",
    "export",
    "completions",
];

fn convirt(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convirt"));
    command.args(arguments.split_whitespace());
    for variable in ["RUST_BACKTRACE", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command
}

fn run(arguments: &str) -> Output {
    convirt(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Returns the help text of a command.
fn help(command: &str) -> String {
    let output = run(&format!("{command} --help"));
    assert!(output.status.success(), "{command}: {}", stderr(&output));
    stdout(&output)
}

/// Iterates over the lines of a help text that list options.
fn options(help: &str) -> impl Iterator<Item = &str> {
    let lines = help.lines().skip_while(|line| *line != "Options:").skip(1);
    // There are blank lines between options when the values of an option are explained.
    let is_below = |line: &&str| line.is_empty() || line.starts_with(' ');
    lines.take_while(is_below).filter(|line| !line.is_empty())
}

/// Returns the subcommands that a help text lists, with their descriptions.
fn subcommands(help: &str) -> Vec<(String, String)> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let entries = lines.filter_map(|line| line.strip_prefix("  "));
    entries
        .filter(|entry| !entry.starts_with(' ') && !entry.starts_with("help "))
        .map(|entry| {
            let (name, purpose) = entry.split_once(' ').unwrap_or((entry, ""));
            (name.to_string(), purpose.trim().to_string())
        })
        .collect()
}

#[test]
fn every_command_is_listed_in_the_order_of_work_and_explains_itself() {
    let mut commands = Vec::new();
    for (name, purpose) in subcommands(&help("")) {
        assert!(!purpose.is_empty(), "{name} has no purpose");
        let below = subcommands(&help(&name));
        // `config` is a command even without a subcommand.
        if below.is_empty() || name == "config" {
            commands.push(name.clone());
        } else {
            commands.extend(below.iter().map(|(task, _)| format!("{name} {task}")));
        }
    }
    assert_eq!(commands, COMMANDS);
    for command in COMMANDS.into_iter().chain(["config check"]) {
        let help = help(command);
        let usage = format!("Usage: convirt {command}");
        assert!(help.contains(&usage), "no `{usage}` in:\n{help}");
        let example = format!("\n  convirt {command}");
        let examples = help.split_once("Examples:\n");
        assert!(
            examples.is_some_and(|(_, examples)| format!("\n{examples}").contains(&example)),
            "no example of {command} in:\n{help}"
        );
        // The description of an option is on its line or on the next.
        let lines: Vec<&str> = options(&help).collect();
        for (index, line) in lines.iter().enumerate() {
            let is_on_next_line = lines
                .get(index + 1)
                .is_some_and(|next| next.starts_with("          "));
            let option = line.trim_start();
            let is_explained = option.contains("  ") || is_on_next_line;
            assert!(
                !option.starts_with('-') || is_explained,
                "{command}: {option}"
            );
        }
    }
}

#[test]
fn exit_codes_are_those_of_the_help() {
    let help = help("");
    for line in ["  0 ", "  1 ", "  2 ", "  130 "] {
        assert!(help.contains(&format!("\n{line}")), "no `{line}` in {help}");
    }
    for (arguments, code) in [
        ("config", 0),
        ("", 2),
        ("dance", 2),
        ("train --set batchsize=4", 2),
        ("train --config nowhere.yaml", 2),
        ("train --device abacus", 2),
        ("train --quiet --verbose", 2),
        ("resume nowhere", 1),
        ("inspect nowhere.safetensors", 1),
        ("inspect a.safetensors --device flex", 2),
        ("export nowhere", 1),
        ("config check nowhere.yaml", 2),
    ] {
        let output = run(arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {text}");
        assert!(!text.contains("panicked"), "{arguments}: {text}");
    }
}

#[test]
fn a_table_is_named_by_csv_or_by_manifest_everywhere() {
    for command in [
        "train",
        "doctor",
        "embed --run RUN --out out.npy",
        "index build --run RUN --out out.index",
        "retrieve pairs --run RUN",
        "zero-shot RUN --prompts prompts.yaml --label-col label",
        "transfer --encoder pixels --label-col label",
        "transfer --run pixels --label-col label",
    ] {
        for option in ["--csv", "--manifest"] {
            let output = run(&format!("{command} {option} nowhere.csv"));
            let message = stderr(&output);
            assert!(
                message.contains("Error: ") && message.contains("nowhere.csv"),
                "{command} {option}: {message}"
            );
        }
    }
}

#[test]
fn the_runs_of_a_folder_that_does_not_exist_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let runs = |arguments: &str| {
        let mut command = convirt(arguments);
        command.current_dir(folder.path()).output().unwrap()
    };
    assert_eq!(stdout(&runs("runs")), "no runs\n");
    let output = runs("runs --runs-dir nope");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("nope: "), "{}", stderr(&output));
}

#[test]
fn a_run_that_does_not_exist_is_the_same_error_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("runs/2026-01-16_there");
    fs::create_dir_all(&there).unwrap();
    fs::write(there.join("config.yaml"), "").unwrap();
    fs::write(folder.path().join("a.txt"), "A sentence.").unwrap();
    fs::write(folder.path().join("a.png"), "").unwrap();
    fs::write(
        folder.path().join("p.yaml"),
        "a: {positive: [b]}\nc: {positive: [d]}\n",
    )
    .unwrap();
    fs::write(
        folder.path().join("l.csv"),
        "image,label\na.png,a\na.png,c\n",
    )
    .unwrap();
    for command in [
        "resume latst",
        "report latst",
        "export latst",
        "embed --run latst --sentences a.txt --out a.npy",
        "index build --run latst --images . --out a.index",
        "zero-shot latst --prompts p.yaml a.png",
        "transfer --encoder latst --csv l.csv --label-col label",
    ] {
        let output = convirt(command)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let message = stderr(&output);
        let expected =
            "no run `latst`, neither as a path nor in runs; found [\"2026-01-16_there\"]";
        assert!(message.contains(expected), "{command}: {message}");
    }
}

#[test]
fn a_command_has_only_the_shared_options_that_have_an_effect() {
    for command in COMMANDS {
        let help = help(command);
        let has = |option: &str| {
            options(&help).any(|line| line.split_whitespace().any(|word| word == option))
        };
        let without_device = [
            "config",
            "init",
            "prepare mimic",
            "prepare openi",
            "doctor",
            "runs",
            "export",
            "completions",
        ];
        assert_eq!(
            has("--device"),
            !without_device.contains(&command),
            "{command}"
        );
        let with_precision = [
            "embed",
            "index build",
            "index search",
            "retrieve pairs",
            "retrieve chexpert",
            "zero-shot",
            "transfer",
        ];
        assert_eq!(
            has("--precision"),
            with_precision.contains(&command),
            "{command}"
        );
        assert_eq!(
            has("--set"),
            ["doctor", "train", "resume"].contains(&command),
            "{command}"
        );
        assert_eq!(
            has("--json"),
            !["config", "completions"].contains(&command),
            "{command}"
        );
        assert!(has("--quiet") && has("--verbose"), "{command}");
    }
}

#[test]
fn the_version_names_the_backends_and_the_commit_of_a_checkout() {
    let version = stdout(&run("--version"));
    let number = env!("CARGO_PKG_VERSION");
    assert!(
        version.starts_with(&format!("convirt {number} (")),
        "{version}"
    );
    #[cfg(feature = "flex")]
    assert!(
        version.contains("backends: ") && version.contains("flex"),
        "{version}"
    );
    let is_checkout = Command::new("git")
        .args(["ls-files", "--error-unmatch", "build.rs"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .is_ok_and(|output| output.status.success());
    let commit = version.split_once("commit ").map(|(_, rest)| rest);
    let is_hash = |rest: &str| {
        rest.split(',')
            .next()
            .unwrap()
            .chars()
            .all(|c| c.is_ascii_hexdigit())
    };
    assert_eq!(commit.is_some_and(is_hash), is_checkout, "{version}");
}

#[test]
fn shells_complete_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&format!("completions {shell}"));
        let script = stdout(&output);
        assert!(output.status.success());
        for command in COMMANDS {
            for word in command.split(' ') {
                assert!(script.contains(word), "{shell}: no `{word}`");
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("convirt.bash");
    fs::write(&script, run("completions bash").stdout).unwrap();
    let complete = "source \"$0\"; COMP_WORDS=(convirt zer); COMP_CWORD=1; \
                    _convirt convirt zer convirt; echo \"${COMPREPLY[@]}\"";
    let Ok(output) = Command::new("bash")
        .arg("-c")
        .arg(complete)
        .arg(&script)
        .output()
    else {
        eprintln!("skipped: no bash");
        return;
    };
    assert_eq!(stdout(&output).trim(), "zero-shot", "{}", stderr(&output));
}

// `CLICOLOR_FORCE` stands in for a terminal.
#[test]
fn colours_are_only_on_a_terminal_and_never_with_no_color() {
    let has_colours = |variables: &[(&str, &str)]| {
        let mut command = convirt("train --frobnicate");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        output.stderr.contains(&0x1b)
    };
    assert!(!has_colours(&[]));
    assert!(has_colours(&[("CLICOLOR_FORCE", "1")]));
    assert!(!has_colours(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}

#[test]
fn the_printed_configuration_is_that_of_the_repository_and_valid() {
    let printed = stdout(&run("config"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config.yaml");
    assert_eq!(printed, fs::read_to_string(file).unwrap());

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("my.yaml"), &printed).unwrap();
    let check = |arguments: &str| {
        let mut command = convirt(&format!("config check my.yaml {arguments}"));
        command.current_dir(folder.path()).output().unwrap()
    };
    let values = stdout(&check("--set batch_size=64"));
    assert!(values.contains("batch_size: 64\n"), "{values}");
    assert!(values.contains("adam_epsilon: "), "{values}");
    let values: Value = serde_json::from_slice(&check("--json").stdout).unwrap();
    assert_eq!(values["batch_size"], 32);
    let wrong = check("--set dataset.csv_file=nowhere.csv --set dataset.phantom=null");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("nowhere.csv"), "{}", stderr(&wrong));
}

// The phantom is drawn into the folder; nothing else is needed.
#[test]
fn training_works_in_an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |arguments: &str| {
        let mut command = convirt(arguments);
        command.current_dir(folder.path()).output().unwrap()
    };
    let train = "train --json --device flex --set max_steps=2 --set eval_every_n_steps=1 \
                 --set batch_size=4 --set dataset.phantom.patients=12 \
                 --set dataset.phantom.longer_side=64 --set dataset.input_shape=(32,32,3)";
    let output = in_folder(train);
    let messages = stderr(&output);
    assert!(output.status.success(), "{messages}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&summary["steps"], &summary["ending"]),
        (&2.into(), &"completed".into())
    );
    for part in [
        "drew a chest phantom into data/phantom",
        "step ",
        "held out",
    ] {
        assert!(messages.contains(part), "no `{part}` in:\n{messages}");
    }
    assert!(folder.path().join("data/phantom/pairs.csv").is_file());
    let run = summary["run"].as_str().unwrap();
    assert!(
        run.starts_with("runs/") && folder.path().join(run).is_dir(),
        "{run}"
    );

    // The run is given by its name in `runs`. With --quiet, only results and errors are printed.
    let name = run.trim_start_matches("runs/");
    let output = in_folder(&format!("resume {name} --quiet --set max_steps=3"));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let printed = stdout(&output);
    assert!(printed.contains("completed after 3 steps"), "{printed}");
    assert!(!printed.contains("step     3/3"), "{printed}");

    fs::write(folder.path().join("config.yaml"), "batch_size: 8\n").unwrap();
    let output = in_folder("train --set batch_size=1");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let messages = stderr(&output);
    assert!(
        messages.contains("config.yaml is not read without --config"),
        "{messages}"
    );
}
