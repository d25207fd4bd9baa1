//! What a run records is true, over all its parts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use convirt::records::{CheckpointRecord, EvaluationRecord, StepRecord, TrainingObserver};
use convirt::run::{Comparison, Ending};
use convirt::{Config, Summary, Training};
use serde_json::Value;

use crate::fixtures::{Workspace, alone, contents, convirt, text_of, trained};

fn lines(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn steps_of(lines: &[Value], kind: &str) -> Vec<u64> {
    let lines = lines.iter().filter(|line| line["kind"] == kind);
    lines.map(|line| line["step"].as_u64().unwrap()).collect()
}

/// The content of every file of a run but the lock.
fn files_of(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = contents(run);
    files.remove(Path::new("lock"));
    files
}

fn resume(run: &Path, overrides: &[&str]) -> (String, Summary) {
    let _alone = alone();
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    let training = Training::resume(run, &overrides).unwrap();
    (training.to_string(), training.run().unwrap())
}

#[test]
fn every_step_and_evaluation_has_a_line_and_the_log_is_what_the_screen_showed() {
    let run = trained().run.path();
    let lines = lines(run);
    assert_eq!(steps_of(&lines, "step"), (1..=8).collect::<Vec<_>>());
    assert_eq!(steps_of(&lines, "evaluation"), [4, 8]);
    let step = &lines[1];
    for key in [
        "loss",
        "learning_rate",
        "gradient_norm",
        "temperature",
        "pairs_per_second",
        "seconds",
    ] {
        assert!(
            step[key].as_f64().is_some_and(|value| value > 0.0),
            "{key}: {step}"
        );
    }
    assert!(lines[0]["pairs_per_second"].is_null(), "{}", lines[0]);
    // The last evaluation is of the saved model if it was the best.
    let mut evaluations = lines.iter().filter(|line| line["kind"] == "evaluation");
    let best = evaluations.rfind(|line| line["is_best"] == true).unwrap();
    let summary = &trained().summary;
    assert_eq!(best["step"], summary.best_step);
    let recall = &best["retrieval"]["image_to_text"]["scores"]["recall_at_10"];
    let expected = summary
        .retrieval
        .as_ref()
        .unwrap()
        .image_to_text
        .scores
        .recall_at_10;
    assert!(
        (recall.as_f64().unwrap() - expected).abs() < 1e-9,
        "{recall} {expected}"
    );

    let log = fs::read_to_string(run.join("train.log")).unwrap();
    for part in [
        "device ",
        "columns ",
        "held out",
        "step     1/8",
        "evaluation at step 8",
        "best so far",
        "completed after 8 steps",
        "recall@10",
    ] {
        assert!(log.contains(part), "no `{part}` in:\n{log}");
    }
}

#[test]
fn a_resumption_with_other_settings_keeps_every_configuration_and_adds_the_seconds() {
    let workspace = Workspace::new();
    let first = workspace.train(&["log_every_n_steps=1"]).unwrap();
    let run = &first.run;
    let before = fs::read_to_string(run.join("config.yaml")).unwrap();
    let (told, second) = resume(run, &["max_steps=12", "dataset.num_workers=0"]);
    assert_eq!((second.steps, second.ending), (12, Ending::Completed));
    for part in ["max_steps: 8 → 12", "dataset.num_workers: 1 → 0"] {
        assert!(told.contains(part), "no `{part}` in:\n{told}");
    }
    assert!(
        second.seconds > first.seconds,
        "{} {}",
        second.seconds,
        first.seconds
    );

    let file = |name: &str| fs::read_to_string(run.join(name)).unwrap();
    assert_eq!(file("config-from-step-0.yaml"), before);
    assert_eq!(file("config-from-step-8.yaml"), file("config.yaml"));
    let config = Config::from_file(run.join("config.yaml"), &[]).unwrap();
    assert_eq!(
        (config.max_steps, config.dataset.num_workers),
        (Some(12), 0)
    );

    let lines = lines(run);
    assert_eq!(steps_of(&lines, "step"), (1..=12).collect::<Vec<_>>());
    let seconds: Vec<f64> = lines
        .iter()
        .map(|line| line["seconds"].as_f64().unwrap())
        .collect();
    assert!(seconds.is_sorted(), "{seconds:?}");
    let log = fs::read_to_string(run.join("train.log")).unwrap();
    assert!(
        log.contains("resumed at") && log.contains("completed after 12 steps"),
        "{log}"
    );
}

#[test]
fn resuming_a_finished_run_changes_nothing_and_says_so() {
    let workspace = Workspace::new();
    let first = workspace
        .train(&["max_steps=2", "eval_every_n_steps=2"])
        .unwrap();
    let before = files_of(&first.run);
    // Numbers out of JSON may differ in their last bit from those that were written.
    let first: Summary =
        serde_json::from_slice(&fs::read(first.run.join("summary.json")).unwrap()).unwrap();
    for overrides in [&[][..], &["dataset.num_workers=0"]] {
        let (told, summary) = resume(&first.run, overrides);
        assert!(
            told.contains("the run has ended") && told.contains("max_steps"),
            "{told}"
        );
        assert_eq!(summary, first);
        assert!(files_of(&first.run) == before);
    }
}

#[test]
fn what_cannot_work_is_said_before_the_first_step() {
    let workspace = Workspace::new();
    let cosine = ["schedule.kind=cosine", "schedule.warmup_steps=8"];
    let config = workspace.config(&cosine);
    let _alone = alone();
    let training = Training::prepare(config).unwrap();
    let told = training.to_string();
    assert!(
        told.contains("the warm-up takes 8 steps, and the training has 8"),
        "{told}"
    );
    let run = training.run().unwrap().run;
    let training = Training::resume(&run, &["max_steps=12".to_string()]).unwrap();
    let told = training.to_string();
    assert!(
        told.contains("the cosine schedule now ends at step 12 instead of 8"),
        "{told}"
    );
}

#[test]
fn a_summary_names_version_command_machine_and_initial_weights() {
    let workspace = Workspace::new();
    let start = format!("fine_tune_from={}", trained().run.path().display());
    let summary = workspace
        .train(&["max_steps=1", "eval_every_n_steps=1", &start])
        .unwrap();
    let environment = &summary.environment;
    assert_eq!(environment.version, env!("CARGO_PKG_VERSION"));
    assert!(!environment.command.is_empty() && environment.cores > 0);
    let [weights] = &summary.initial_weights[..] else {
        panic!("{:?}", summary.initial_weights);
    };
    let model = trained().run.model().join("model.safetensors");
    assert_eq!(weights.file, model);
    let checksum = crc32c(&fs::read(model).unwrap());
    assert_eq!(weights.crc32c, format!("{checksum:08x}"));
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl TrainingObserver for Events {
    fn on_step(&mut self, record: &StepRecord) {
        self.0.lock().unwrap().push(format!("step {}", record.step));
    }

    fn on_evaluation(&mut self, record: &EvaluationRecord) {
        self.0
            .lock()
            .unwrap()
            .push(format!("evaluation {}", record.step));
    }

    fn on_checkpoint(&mut self, record: &CheckpointRecord) {
        let CheckpointRecord { step, bytes, .. } = record;
        assert!(*bytes > 1_000_000, "{bytes}");
        self.0.lock().unwrap().push(format!("checkpoint {step}"));
    }

    fn on_warning(&mut self, text: &str) {
        self.0.lock().unwrap().push(format!("warning {text}"));
    }
}

#[test]
fn an_observer_is_told_of_steps_evaluations_and_checkpoints() {
    let workspace = Workspace::new();
    let events = Events::default();
    {
        let _alone = alone();
        let config = workspace.config(&["max_steps=2", "eval_every_n_steps=1"]);
        let training = Training::prepare(config).unwrap();
        training.with_observer(events.clone()).run().unwrap();
    }
    let events = events.0.lock().unwrap().clone();
    let (checkpoints, others): (Vec<String>, Vec<String>) = events
        .into_iter()
        .partition(|event| event.starts_with("checkpoint"));
    assert_eq!(others, ["step 1", "evaluation 1", "step 2", "evaluation 2"]);
    // They become whole while the training goes on.
    assert_eq!(
        checkpoints,
        [0, 1, 2].map(|step| format!("checkpoint {step}"))
    );
}

#[test]
fn runs_are_listed_and_compared() {
    let workspace = Workspace::new();
    let few = ["max_steps=1", "eval_every_n_steps=1"];
    let first = workspace.train(&few).unwrap();
    let second = workspace
        .train(&[&few[..], &["batch_size=5"]].concat())
        .unwrap();
    let output = convirt(["runs", "--runs-dir"])
        .arg(workspace.runs())
        .output()
        .unwrap();
    let told = text_of(&output);
    for run in [&first, &second] {
        let name = run.run.file_name().unwrap().to_str().unwrap();
        assert!(told.contains(name), "no {name} in {told}");
    }
    let retrieval = second.retrieval.unwrap();
    let ranks = [retrieval.image_to_text, retrieval.text_to_image];
    let ranks = ranks.map(|it| [it.scores.median_rank, it.chance.median_rank]);
    let ranks = ranks.map(|[rank, chance]| format!("{:>13}", format!("{rank:.1} ({chance:.1})")));
    for part in [
        "recall@10 (chance), %",
        "median rank (chance)",
        "image→text     text→image     image→text     text→image",
        &ranks.join("  "),
    ] {
        assert!(told.contains(part), "no `{part}` in {told}");
    }
    let mut compare = convirt(["report"]);
    let output = compare.args([&first.run, &second.run]).output().unwrap();
    let told = text_of(&output);
    assert!(
        output.status.success() && told.contains("4  |  5"),
        "{told}"
    );
    let comparison = Comparison::of_folder(&workspace.runs());
    assert_eq!(comparison.runs.len(), 2);
    assert_eq!(comparison.runs[0].summary.as_ref(), Some(&first));
}
