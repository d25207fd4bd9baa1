//! How programs end: with an exit code that tells, whoever listens, and nobody's file replaced.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::fixtures::{Workspace, convirt, text_of, trained};

fn train(workspace: &Workspace) -> Command {
    let config = workspace.config_file();
    let mut command = convirt(["train"]);
    command.arg("--config").arg(config);
    command
}

/// The only run of a workspace.
fn run_of(workspace: &Workspace) -> std::path::PathBuf {
    let mut runs = fs::read_dir(workspace.runs()).unwrap();
    runs.next().unwrap().unwrap().path()
}

#[test]
fn a_training_goes_on_when_nobody_reads_what_it_prints() {
    let workspace = Workspace::new();
    let mut child = train(&workspace)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    assert!(run_of(&workspace).join("summary.json").is_file());
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_written_are_an_error_when_the_job_is_done() {
    let full = || {
        fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let workspace = Workspace::new();
    let output = train(&workspace).stdout(full()).output().unwrap();
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("standard output"), "{text}");
    assert!(run_of(&workspace).join("summary.json").is_file(), "{text}");

    let both = train(&workspace).stdout(full()).stderr(full()).output();
    assert_eq!(both.unwrap().status.code(), Some(1));
    let mut inspect = convirt(["inspect"]);
    inspect.arg(trained().run.model()).stdout(full());
    let output = inspect.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
}

#[test]
fn an_error_is_printed_once_and_its_code_tells_whose_it_is() {
    let workspace = Workspace::new();
    for (arguments, code) in [
        (["--set", "batchsize=4"], 2),
        (["--set", "batch_size=0"], 2),
        (["--device", "abacus"], 2),
        (["--set", "dataset.csv_file=nowhere.csv"], 2),
        (["--set", "dataset.text_col=nothing"], 1),
    ] {
        let output = train(&workspace).args(arguments).output().unwrap();
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    }
    let mut export = convirt(["export"]);
    let output = export.arg("nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = text_of(&output);
    assert_eq!(text.matches("nowhere").count(), 1, "{text}");
    let names_a_frame = |text: &str| text.contains("convirt::main");
    assert!(
        !text.contains("Caused by") && !names_a_frame(&text),
        "{text}"
    );
    let asked = export.env("RUST_BACKTRACE", "1").output().unwrap();
    assert!(
        names_a_frame(&text_of(&asked)),
        "a backtrace is printed on request"
    );
}

#[test]
fn an_output_replaces_nothing_unless_forced() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained().run.path();
    let weights = trained().run.model().join("model.safetensors");
    let before = fs::read(&weights).unwrap();
    let sentences = folder.path().join("sentences.txt");
    fs::write(&sentences, "The lungs are clear.\n").unwrap();
    let embed = |out: &Path| {
        let mut command = convirt(["embed"]);
        command
            .arg("--run")
            .arg(run)
            .arg("--sentences")
            .arg(&sentences);
        command.arg("--out").arg(out);
        command
    };
    let output = embed(&weights).output().unwrap();
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("--force"), "{text}");
    assert!(
        fs::read(&weights).unwrap() == before,
        "the model is as it was"
    );

    let out = folder.path().join("sentences.npy");
    let succeeds = |command: &mut Command| command.output().unwrap().status.success();
    let names = folder.path().join("sentences.names.csv");
    fs::write(&names, "notes").unwrap();
    assert!(!succeeds(&mut embed(&out)));
    assert_eq!(fs::read_to_string(&names).unwrap(), "notes");
    fs::remove_file(&names).unwrap();
    assert!(succeeds(&mut embed(&out)));
    assert!(!succeeds(&mut embed(&out)));
    assert!(succeeds(embed(&out).arg("--force")));

    let exported = folder.path().join("exported");
    let mut export = convirt(["export"]);
    export.arg(run).arg("--out").arg(&exported);
    assert!(succeeds(&mut export));
    assert!(!succeeds(&mut export));
    assert!(succeeds(export.arg("--force")));
}

#[test]
fn options_without_effect_are_refused() {
    let run = trained().run.path();
    let data = trained().workspace().data();
    let manifest = data.join("pairs.csv");
    let of_manifest = ["--manifest", manifest.to_str().unwrap()];
    let of_images = ["--images", data.to_str().unwrap()];
    for (program, of, arguments) in [
        (
            "index build --out a.index",
            &of_manifest,
            "--split-col split",
        ),
        ("retrieve pairs", &of_manifest, "--split-col split"),
        ("index build --out a.index", &of_images, "--texts"),
        ("index build --out a.index", &of_images, "--image-col 0"),
        ("embed --out a.npy", &of_images, "--texts"),
        (
            "embed --out a.npy",
            &of_images,
            "--split-col split --split test",
        ),
    ] {
        let mut command = convirt(program.split(' '));
        command.args(of).args(arguments.split(' '));
        let output = command.arg("--run").arg(run).output().unwrap();
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {text}");
        let option = arguments.split(' ').next().unwrap();
        assert!(text.contains(option), "{arguments}: {text}");
    }
    let mut zero_shot = convirt(["zero-shot"]);
    zero_shot
        .arg(run)
        .args(["--prompts", "p.yaml", "--label-col", "label", "a.png"]);
    let output = zero_shot.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
}
