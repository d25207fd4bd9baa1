//! How programs end: with an exit code that tells, whoever listens, and nobody's file replaced.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::fixtures::{Workspace, contents, convirt, text_of, trained};

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
    assert!(text.contains("is a part of the input"), "{text}");
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
    let output = embed(&out).output().unwrap();
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("--force"), "{text}");
    assert!(succeeds(embed(&out).arg("--force")));

    let exported = folder.path().join("exported");
    let mut export = convirt(["export"]);
    export.arg(run).arg("--out").arg(&exported);
    assert!(succeeds(&mut export));
    assert!(!succeeds(&mut export));
    assert!(succeeds(export.arg("--force")));
}

/// A folder with a table of pairs, labels, prompts, sentences, a configuration, an image, and a run
/// without weights.
fn inputs() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        (
            "pairs.csv",
            "image,text\na.png,The lungs are clear and the heart is normal.\n",
        ),
        ("labels.csv", "image,label\na.png,sick\na.png,healthy\n"),
        (
            "prompts.yaml",
            "sick: {positive: [Opacity.]}\nhealthy: {positive: [Clear.]}\n",
        ),
        ("sentences.npy", "The lungs are clear.\n"),
        (
            "config.yaml",
            "dataset: {csv_file: pairs.csv, phantom: null}\n",
        ),
        ("runs/2026-01-16_here/config.yaml", ""),
        ("runs/2026-01-16_here/model/embeddings.npy", "weights"),
    ] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::copy(trained().an_image(), folder.path().join("a.png")).unwrap();
    folder
}

#[test]
fn no_command_replaces_its_own_input_even_if_forced() {
    let folder = inputs();
    #[cfg(unix)]
    for link in ["link.yaml", "link.html"] {
        std::os::unix::fs::symlink("pairs.csv", folder.path().join(link)).unwrap();
    }
    let before = contents(folder.path());
    for arguments in [
        "init pairs.csv --out pairs.csv",
        #[cfg(unix)]
        "init pairs.csv --out link.yaml",
        "doctor --csv pairs.csv --out runs/../pairs.csv",
        #[cfg(unix)]
        "doctor --csv pairs.csv --out link.html",
        "doctor --csv pairs.csv --fix ./pairs.csv",
        "doctor --config config.yaml --out config.yaml",
        "embed --run latest --sentences sentences.npy --out sentences.npy",
        "embed --run latest --csv pairs.csv --out runs/2026-01-16_here/model/embeddings.npy",
        "index build --run latest --manifest pairs.csv --out pairs.csv",
        "index build --run latest --manifest pairs.csv --out a.png",
        "index build --run latest --images . --out a.png",
        "zero-shot latest --prompts prompts.yaml --csv labels.csv --label-col label --out labels.csv",
        "zero-shot latest --prompts prompts.yaml --csv labels.csv --label-col label --out a.png",
        "zero-shot latest --prompts prompts.yaml a.png --out prompts.yaml",
        "zero-shot latest --prompts prompts.yaml a.png --out a.png",
        "export 2026 --out runs/2026-01-16_here",
        "export latest --out runs/2026-01-16_here/model",
        "export latest --out runs",
        "transfer --encoder pixels --csv labels.csv --label-col label --out .",
        "transfer --encoder latest --csv labels.csv --label-col label --out runs",
    ] {
        let mut command = convirt(arguments.split(' '));
        command.arg("--force").current_dir(folder.path());
        let output = command.output().unwrap();
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {text}");
        assert!(
            text.contains("which is never replaced"),
            "{arguments}: {text}"
        );
        assert!(contents(folder.path()) == before, "{arguments}: {text}");
    }
}

/// Most inputs do not exist, and yet the error is the output's: nothing is looked at before it.
#[test]
fn an_output_that_cannot_be_written_is_an_error_before_any_work() {
    let folder = inputs();
    for (arguments, out) in [
        ("init pairs.csv", "out.yaml"),
        ("doctor --csv pairs.csv", "page.html"),
        ("embed --run nowhere --sentences nowhere.txt", "out.npy"),
        ("index build --run nowhere --images nowhere", "out.index"),
        ("zero-shot nowhere --prompts nowhere.yaml a.png", "out.csv"),
        (
            "transfer --encoder nowhere --csv nowhere.csv --label-col label",
            "out",
        ),
        ("export nowhere", "out"),
    ] {
        let run = |out: &str| {
            let mut command = convirt(arguments.split(' '));
            command.args(["--out", out]).current_dir(folder.path());
            let output = command.output().unwrap();
            assert!(!output.status.success(), "{arguments}");
            text_of(&output)
        };
        let text = run(&format!("pairs.csv/below/{out}"));
        assert!(
            text.contains("pairs.csv is no folder"),
            "{arguments}: {text}"
        );
        // Not even the superuser can write there.
        #[cfg(target_os = "linux")]
        for out in [format!("/proc/{out}"), format!("/proc/below/{out}")] {
            let text = run(&out);
            let expected = format!("Error: {out}: cannot be written");
            assert!(text.contains(&expected), "{arguments}: {text}");
        }
        let (taken, expected) = if out == "out" {
            ("pairs.csv".to_string(), "is no folder")
        } else {
            (format!("folders/{out}"), "is a folder")
        };
        fs::create_dir_all(folder.path().join("folders").join(out)).unwrap();
        let text = run(&taken);
        assert!(text.contains(expected), "{arguments}: {text}");
    }
}

#[test]
fn the_folders_above_an_output_are_made() {
    let folder = inputs();
    let run = trained().run.path().to_str().unwrap();
    for (arguments, out) in [
        ("init pairs.csv", "new/init/out.yaml"),
        ("doctor --csv pairs.csv", "new/doctor/page.html"),
        ("embed --sentences sentences.npy --run", "new/embed/out.npy"),
        ("index build --images . --run", "new/index/out.index"),
        ("zero-shot --prompts prompts.yaml", "new/zero_shot/out.csv"),
        ("export --hub-layout", "new/export/out"),
    ] {
        let mut command = convirt(arguments.split(' '));
        if !arguments.contains("pairs.csv") {
            command.arg(run);
        }
        if arguments.starts_with("zero-shot") {
            command.arg("a.png");
        }
        command.args(["--out", out]).current_dir(folder.path());
        let text = text_of(&command.output().unwrap());
        assert!(folder.path().join(out).exists(), "{arguments}: {text}");
    }
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
