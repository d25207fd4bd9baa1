//! A training that is killed at any moment, inside saves too, goes on as if nothing had happened.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fixtures::{Workspace, contents, convirt, text_of};

/// Kills of one run.
const KILLS: usize = 6;

/// Longest pause between the first progress of a process and its end, in milliseconds: some steps
/// and saves.
const LONGEST_PAUSE: u64 = 700;

/// A checkpoint at each step, so that most moments are inside a save.
const SETTINGS: &str = "max_steps=40 eval_every_n_steps=8 log_every_n_steps=1 \
                        checkpoint_every_n_steps=1 learning_rate=1e-4";

fn settings() -> Vec<&'static str> {
    let settings = SETTINGS.split(' ').flat_map(|it| ["--set", it]);
    settings.collect()
}

fn train(workspace: &Workspace) -> Child {
    let config = workspace.config_file();
    let mut train = convirt(["train", "--config"]);
    train.arg(config).args(settings());
    train
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The runs of a workspace; one whose process was killed at its beginning has no configuration.
fn run(workspace: &Workspace) -> Option<PathBuf> {
    let runs = fs::read_dir(workspace.runs()).ok()?.flatten();
    let mut runs: Vec<PathBuf> = runs.map(|entry| entry.path()).collect();
    runs.sort();
    runs.into_iter().rfind(|run| !steps(run).is_empty())
}

/// Steps of the checkpoints with a state, ascending.
fn steps(run: &Path) -> Vec<usize> {
    let files = fs::read_dir(run.join("checkpoint")).into_iter().flatten();
    let mut steps: Vec<usize> = files
        .filter_map(|file| {
            let name = file.ok()?.file_name().into_string().ok()?;
            let step = name.strip_prefix("state-")?.strip_suffix(".json")?;
            step.parse().ok()
        })
        .collect();
    steps.sort_unstable();
    steps
}

/// Waits until the process has saved, and a while longer, then kills it: in turns at once, and as a
/// scheduler does, first politely.
fn kill(workspace: &Workspace, mut child: Child, number: usize) {
    let newest = || run(workspace).and_then(|run| steps(&run).pop());
    let (before, begun) = (newest(), Instant::now());
    while newest() == before && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no progress");
        sleep(Duration::from_millis(5));
    }
    // Scattered over the pause by the golden ratio.
    let pause = (number as u64 + 1) * 618_033 % 1_000_000 * LONGEST_PAUSE / 1_000_000;
    sleep(Duration::from_millis(pause));
    #[cfg(unix)]
    if number % 2 == 1 {
        let id = child.id().to_string();
        let _ = std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status();
        sleep(Duration::from_millis(pause % 60));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Steps and evaluations of `metrics.jsonl` with their losses, in order.
fn losses(run: &Path) -> Vec<(String, u64, f64)> {
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let kind = line["kind"].as_str().unwrap().to_string();
        (
            kind,
            line["step"].as_u64().unwrap(),
            line["loss"].as_f64().unwrap(),
        )
    };
    lines.lines().map(line).collect()
}

#[test]
fn a_killed_run_ends_in_the_very_weights_and_records_of_an_undisturbed_one() {
    let (calm, disturbed) = (Workspace::new(), Workspace::new());
    assert!(train(&calm).wait().unwrap().success());
    let expected = run(&calm).unwrap();

    let resume = |run: &Path| {
        let mut resume = convirt(["resume"]);
        resume.arg(run);
        resume
    };
    for number in 0..KILLS {
        let child = match run(&disturbed) {
            Some(run) => resume(&run)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
            None => train(&disturbed),
        };
        kill(&disturbed, child, number);
        let run = run(&disturbed).expect("there is a whole checkpoint");
        let last = *steps(&run).last().unwrap();
        assert!(last < 40, "it ended before it was killed; kill earlier");
    }
    let run = run(&disturbed).unwrap();
    let output = resume(&run).output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));

    let weights = |run: &Path| fs::read(run.join("model/model.safetensors")).unwrap();
    assert!(weights(&run) == weights(&expected), "other weights");
    assert_eq!(losses(&run), losses(&expected));
    let result = |run: &Path| -> BTreeMap<String, Value> {
        let json = fs::read(run.join("summary.json")).unwrap();
        let mut summary: BTreeMap<String, Value> = serde_json::from_slice(&json).unwrap();
        summary.retain(|key, _| !["run", "seconds", "environment"].contains(&&**key));
        summary
    };
    assert_eq!(result(&run), result(&expected));
    // A checkpoint waits until the one before is written, so that time decides which step the last
    // but one is of.
    let names = |run: &Path| -> Vec<String> {
        let earlier = steps(run)[0].to_string();
        let names = contents(run).into_keys();
        let names = names.map(|name| name.to_string_lossy().replace(&earlier, "earlier"));
        names.filter(|name| !name.contains("tfevents")).collect()
    };
    assert_eq!(
        names(&run),
        names(&expected),
        "nothing is left of the killed ones"
    );
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_an_older_one_resumed() {
    let workspace = Workspace::new();
    assert!(train(&workspace).wait().unwrap().success());
    let run = run(&workspace).unwrap();
    let weights = || fs::read(run.join("model/model.safetensors")).unwrap();
    let (expected, expected_losses) = (weights(), losses(&run));
    let before_last = steps(&run)[0];
    let last = run.join("checkpoint/optim-40.bpk");
    let mut bytes = fs::read(&last).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&last, bytes).unwrap();
    let output = convirt(["resume"]).arg(&run).output().unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    let resumed = format!("resumed at      step {before_last}");
    for part in ["passed over", "optim-40.bpk", &resumed] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert!(weights() == expected, "other weights");
    assert_eq!(losses(&run), expected_losses);

    for step in steps(&run) {
        fs::write(run.join(format!("checkpoint/model-{step}.bpk")), "").unwrap();
    }
    let output = convirt(["resume"]).arg(&run).output().unwrap();
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("no whole checkpoint") && text.contains("model-40.bpk"),
        "{text}"
    );
}
