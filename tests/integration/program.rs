//! `train_mimic` as its users run it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::fixtures::Workspace;

/// The example, which cargo builds beside the tests.
fn train_mimic() -> Command {
    let executable = std::env::current_exe().unwrap();
    let profile = executable.ancestors().nth(2).unwrap();
    Command::new(profile.join("examples/train_mimic"))
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}\n{err}")
}

fn config_file(workspace: &Workspace) -> PathBuf {
    let path = workspace.path().join("config.yaml");
    fs::write(&path, workspace.yaml()).unwrap();
    path
}

#[test]
fn it_tells_what_it_trains_and_what_came_of_it() {
    let workspace = Workspace::new();
    let output = train_mimic()
        .arg("--config")
        .arg(config_file(&workspace))
        .args(["--device", "flex", "--set", "max_steps=2"])
        .args(["--set", "eval_every_n_steps=2"])
        .output()
        .unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for part in [
        "device",
        "float32",
        "seed",
        "trained",
        "held out",
        "step ",
        "image→text",
        "pairs/s",
        "left",
        "recall@10",
        "median rank",
        "chance",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
}

#[test]
fn help_lists_every_option() {
    let output = train_mimic().arg("--help").output().unwrap();
    let text = text(&output);
    for option in ["--config", "--device", "--resume", "--set"] {
        assert!(text.contains(option), "{text}");
    }
}

#[test]
fn a_misspelt_key_is_named_with_its_line_and_the_key_meant() {
    let workspace = Workspace::new();
    let path = workspace.path().join("config.yaml");
    fs::write(&path, workspace.yaml().replace("batch_size", "batchsize")).unwrap();
    let output = train_mimic().arg("--config").arg(&path).output().unwrap();
    let text = text(&output);
    assert!(!output.status.success());
    for part in ["config.yaml:1", "batchsize", "batch_size"] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
}

#[test]
fn an_unknown_device_lists_those_of_the_build() {
    let workspace = Workspace::new();
    let output = train_mimic()
        .arg("--config")
        .arg(config_file(&workspace))
        .args(["--device", "abacus"])
        .output()
        .unwrap();
    let text = text(&output);
    assert!(!output.status.success());
    assert!(text.contains("abacus") && text.contains("flex"), "{text}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_step_saves_and_says_how_to_resume() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;

    let workspace = Workspace::new();
    let mut child = train_mimic()
        .arg("--config")
        .arg(config_file(&workspace))
        .args([
            "--set",
            "max_steps=100000",
            "--set",
            "eval_every_n_steps=50000",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("step ") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended by itself");
    }
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    let resume = rest
        .lines()
        .find_map(|line| line.strip_prefix("resume with: --resume "))
        .unwrap_or_else(|| panic!("{rest}"));

    let output = train_mimic()
        .args(["--resume", resume, "--set", "max_steps=1"])
        .output()
        .unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("resumed at"), "{text}");
    assert!(text.contains("completed"), "{text}");
}
