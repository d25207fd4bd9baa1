//! Linear probes, fine-tuning and zero-shot classification, as their users run them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
#[cfg(target_os = "linux")]
use std::process::{Child, Stdio};

use convirt::Classifier;
use convirt::compute::Precision;
use convirt::data::{Column, LabelColumns, LabelledConfig};
use convirt::transfer::{EncoderSource, Transfer, TransferConfig, TransferMode};
use serde_json::Value;
use tempfile::TempDir;

#[cfg(target_os = "linux")]
use crate::fixtures::send;
use crate::fixtures::{alone, convirt, text_of, trained};

/// Grey images of 40 patients, two each, and `labels.csv` with a class (`bright`, `dark`, and in
/// `third` also `middle`), a finding that is the same as `bright` but uncertain for some, and one
/// that holds of every third patient.
pub fn labelled() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut csv = "image,label,third,Bright,Odd,patient,split\n".to_string();
    for i in 0..80_usize {
        let patient = i / 2;
        let is_bright = patient.is_multiple_of(2);
        let base = if is_bright { 150 } else { 40 };
        let samples: Vec<u8> = (0..40 * 30)
            .map(|pixel| (base + pixel * (i + 3) % 97) as u8)
            .collect();
        let name = format!("{i}.png");
        let path = folder.path().join(&name);
        image::save_buffer(path, &samples, 40, 30, image::ColorType::L8).unwrap();
        let label = if is_bright { "bright" } else { "dark" };
        let third = match patient % 3 {
            0 => "middle",
            _ => label,
        };
        let bright = match (patient % 10, is_bright) {
            (9, _) => "-1",
            (_, true) => "1.0",
            (_, false) => "",
        };
        let odd = u8::from(patient % 3 == 0);
        let split = match patient % 5 {
            0 => "test",
            _ => "train",
        };
        writeln!(
            csv,
            "{name},{label},{third},{bright},{odd},p{patient},{split}"
        )
        .unwrap();
    }
    fs::write(folder.path().join("labels.csv"), csv).unwrap();
    folder
}

fn transfer(folder: &TempDir) -> Command {
    let mut program = convirt(["transfer"]);
    program
        .arg("--csv")
        .arg(folder.path().join("labels.csv"))
        .arg("--out")
        .arg(folder.path().join("out"))
        .args(["--device", "flex", "--group-col", "patient", "--force"]);
    program
}

fn json(folder: &TempDir) -> Value {
    let text = fs::read_to_string(folder.path().join("out/transfer.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Mean AUROC of a row.
fn auroc(row: &Value) -> f64 {
    row["scores"]["auroc"]["value"].as_f64().unwrap()
}

fn image_of(folder: &Path, is_bright: bool) -> PathBuf {
    folder.join(if is_bright { "0.png" } else { "2.png" })
}

#[test]
fn encoders_are_compared_and_a_classifier_of_each_but_the_pixels_is_saved() {
    let folder = labelled();
    let output = transfer(&folder)
        .arg("--encoder")
        .arg(trained().run.path())
        .args(["--encoder", "random:resnet18", "--encoder", "pixels:16"])
        .args(["--label-col", "label", "--positive", "bright"])
        .args(["--fractions", "0.25,1", "--seeds", "2", "--resamples", "50"])
        .output()
        .unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    for part in [
        "findings        bright",
        "of 32 groups",
        "of 8 groups",
        "linear probe",
        "AUROC",
        ", 32 × 32",
        "pixels:16, 16 × 16",
        "25 % (16 images, 2 runs)",
        "best in validation",
        "classifier",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }

    let report = json(&folder);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6, "three encoders, two fractions");
    let pixels = rows.last().unwrap();
    assert_eq!(pixels["encoder"], "pixels:16");
    assert_eq!(auroc(pixels), 1.0, "brightness is plain to see");
    assert_eq!(
        pixels["runs"].as_array().unwrap().len(),
        1,
        "of all images one"
    );
    assert!(pixels["scores"]["auroc"]["interval"][1].as_f64().unwrap() <= 1.0);
    assert_eq!(pixels["scores"]["labels"][0]["images"], 16);

    let run = trained().run.name();
    let kept = classifiers(&folder);
    assert_eq!(kept, [run.as_str(), "random-resnet18"]);
    for name in kept {
        let classifier = folder.path().join("out/classifiers").join(&name);
        let classifier = Classifier::load(classifier).unwrap();
        assert_eq!(classifier.labels().names(), ["bright"]);
        let probability = |is_bright| {
            let image = image_of(folder.path(), is_bright);
            classifier.predict(image).unwrap()[0]
        };
        assert!(probability(true) > probability(false), "{name}");
    }
    // The best is one of them, chosen without the test images.
    let best = report["best"].as_u64().unwrap() as usize;
    let row = report["classifiers"][best]["row"].as_u64().unwrap() as usize;
    let encoder = rows[row]["encoder"].as_str().unwrap();
    assert!(
        text.contains(&format!("best in validation: {encoder}, 100 %")),
        "{text}"
    );
}

/// The folders of the classifiers that a transfer kept, sorted.
fn classifiers(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path().join("out/classifiers")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The classifier of the only encoder.
fn only_classifier(folder: &TempDir) -> PathBuf {
    let [name] = &classifiers(folder)[..] else {
        panic!("{:?}", classifiers(folder));
    };
    folder.path().join("out/classifiers").join(name)
}

#[test]
fn copies_of_an_image_on_both_sides_of_a_given_split_are_counted() {
    let folder = labelled();
    let text = || {
        let output = transfer(&folder)
            .args(["--encoder", "pixels:16", "--label-col", "label"])
            .args([
                "--split-col",
                "split",
                "--fractions",
                "1",
                "--resamples",
                "0",
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text_of(&output));
        text_of(&output)
    };
    let none = text();
    assert!(!none.contains("images held out"), "{none}");
    // Of patients 2 and 0, of whom the second is the test's.
    fs::copy(folder.path().join("4.png"), folder.path().join("0.png")).unwrap();
    let one = text();
    let warning = "warning: 1 of the images held out have the same content as a training image";
    assert!(one.contains(warning), "{one}");
}

#[test]
fn several_findings_and_policies_are_scored_each() {
    let folder = labelled();
    let run = |policy: &str| {
        let output = transfer(&folder)
            .args(["--encoder", "pixels:16", "--label-cols", "Bright,Odd"])
            .args(["--uncertain", policy, "--split-col", "split"])
            .args(["--fractions", "1", "--resamples", "0"])
            .output()
            .unwrap();
        let text = text_of(&output);
        assert!(output.status.success(), "{text}");
        (json(&folder)["rows"][0]["scores"].clone(), text)
    };
    let (ignored, table) = run("ignore");
    assert!(
        table.contains("    Bright") && table.contains("    Odd"),
        "{table}"
    );
    let labels = ignored["labels"].as_array().unwrap();
    assert_eq!(labels[0]["label"], "Bright");
    // Patients 0, 5, …, 35, of whom every other one is bright; none is uncertain.
    assert_eq!(
        (&labels[0]["images"], &labels[0]["positives"]),
        (&16.into(), &8.into())
    );
    assert!(labels[1]["auroc"]["interval"].is_null());
    let mean = (auroc_of(&labels[0]) + auroc_of(&labels[1])) / 2.0;
    assert!((ignored["auroc"]["value"].as_f64().unwrap() - mean).abs() < 1e-12);
    // Uncertain ones are dark: to call them bright is to teach what is wrong.
    let (ones, _) = run("ones");
    assert!(auroc_of(&labels[0]) >= auroc_of(&ones["labels"][0]));
    assert_ne!(ones["labels"][0], ignored["labels"][0]);
}

fn auroc_of(label: &Value) -> f64 {
    label["auroc"]["value"].as_f64().unwrap()
}

#[test]
fn classes_that_exclude_each_other_are_told_by_one_model() {
    let folder = labelled();
    let output = transfer(&folder)
        .args(["--encoder", "random:resnet18", "--label-col", "third"])
        .args(["--fractions", "1", "--resamples", "0", "--image-size", "32"])
        .output()
        .unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("classes         bright, dark, middle"),
        "{text}"
    );
    let scores = json(&folder)["rows"][0]["scores"].clone();
    assert!(scores["accuracy"]["value"].as_f64().unwrap() > 0.4);
    assert!(scores["labels"][0]["accuracy"].is_null());
    let classifier = Classifier::load(only_classifier(&folder)).unwrap();
    let told = classifier.predict(image_of(folder.path(), true)).unwrap();
    assert!((told.iter().sum::<f32>() - 1.0).abs() < 1e-5);
}

/// A fine-tuning of the shared run on half of the images.
fn fine_tuning(folder: &TempDir) -> TransferConfig {
    let labels = LabelColumns::Class {
        column: Column::Name("label".into()),
        positive: None,
    };
    let data = LabelledConfig {
        group: Some(Column::Name("patient".into())),
        ..LabelledConfig::new(folder.path().join("labels.csv"), labels)
    };
    let run = trained().run.path().display().to_string();
    TransferConfig {
        mode: TransferMode::FineTune,
        fractions: vec![0.5],
        runs: 1,
        batch_size: 8,
        num_workers: 1,
        device: Some("flex".into()),
        ..TransferConfig::new(vec![EncoderSource::Weights(run)], data)
    }
}

#[test]
fn a_fine_tuned_run_beats_chance_and_can_be_loaded() {
    let folder = labelled();
    let mut config = fine_tuning(&folder);
    config.fine_tune.max_epochs = 3;
    config.fine_tune.warmup_steps = 20;
    let _alone = alone();
    let report = Transfer::prepare(config).unwrap().run().unwrap();
    assert!(!report.interrupted);
    let (row, kept) = report.best().unwrap();
    assert!(row.scores.overall.auroc.unwrap().value > 0.8, "{report}");
    assert!(row.runs[0].best_epoch.is_some());
    report.save(folder.path().join("out")).unwrap();
    let loaded = Classifier::load(only_classifier(&folder)).unwrap();
    let image = image_of(folder.path(), false);
    assert_eq!(
        loaded.predict(&image).unwrap(),
        kept.classifier.predict(&image).unwrap()
    );
}

/// Waits until a program handles Ctrl-C, which the system lists among its signals.
#[cfg(target_os = "linux")]
fn wait_for_handler(program: &mut Child) {
    const SIGINT: u64 = 1 << 1;
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.expect("a line of the system's").trim();
        let has_ended = program.try_wait().unwrap().is_some();
        assert!(!has_ended, "it has never handled Ctrl-C");
        if u64::from_str_radix(caught, 16).unwrap() & SIGINT != 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_ends_a_comparison_with_the_results_so_far() {
    let folder = labelled();
    let mut program = transfer(&folder);
    program
        .args(["--encoder", "pixels:24", "--label-col", "label"])
        .args(["--fractions", "0.5", "--seeds", "200"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    wait_for_handler(&mut child);
    send("-INT", child.id());
    let output = child.wait_with_output().unwrap();
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert_eq!(json(&folder)["interrupted"], true, "{text}");
}

/// Losses of a precision, where float32's are `exact`: others, but not by much.
fn assert_near_but_other(exact: f64, rounded: f64) {
    assert!(exact != rounded, "the precision has its effect");
    assert!((exact - rounded).abs() < 0.05, "{exact} {rounded}");
}

#[test]
fn a_probe_is_of_features_in_the_precision_asked_for_and_says_so() {
    let folder = labelled();
    let loss = |precision: &str| {
        let output = transfer(&folder)
            .arg("--encoder")
            .arg(trained().run.path())
            .args(["--label-col", "third", "--fractions", "1"])
            .args(["--resamples", "0", "--precision", precision])
            .output()
            .unwrap();
        let text = text_of(&output);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("Flex(Cpu), matrix products by "), "{text}");
        assert!(
            text.contains(&format!("precision       {precision}")),
            "{text}"
        );
        let report = json(&folder);
        assert_eq!(report["precision"], precision);
        assert!(report["kernel"].is_string());
        let classifier = only_classifier(&folder).join("classifier.json");
        let classifier: Value =
            serde_json::from_str(&fs::read_to_string(classifier).unwrap()).unwrap();
        assert_eq!(classifier["precision"], precision);
        report["rows"][0]["runs"][0]["validation_loss"]
            .as_f64()
            .unwrap()
    };
    assert_near_but_other(loss("float32"), loss("bf16"));
}

#[test]
fn fine_tuning_steps_are_in_the_precision_asked_for() {
    let folder = labelled();
    let [exact, rounded] = [Precision::Float32, Precision::BFloat16].map(|precision| {
        let mut config = fine_tuning(&folder);
        config.precision = precision;
        config.fine_tune.max_epochs = 1;
        config.fine_tune.warmup_steps = 2;
        let _alone = alone();
        let report = Transfer::prepare(config).unwrap().run().unwrap();
        report.rows[0].runs[0].validation_loss
    });
    assert_near_but_other(exact, rounded);
}

#[test]
fn what_cannot_be_compared_is_an_error_that_says_what_to_do() {
    let folder = labelled();
    fs::write(
        folder.path().join("one.csv"),
        "image,label\n0.png,bright\n2.png,bright\n",
    )
    .unwrap();
    let pixels = ["--encoder", "pixels:16"];
    let one = folder.path().join("one.csv").display().to_string();
    for (arguments, parts) in [
        (
            vec!["--label-col", "labels"],
            vec!["`labels`", "did you mean `label`"],
        ),
        (
            vec!["--label-cols", "Bright,Edema"],
            vec!["no column `Edema`", "label_cols"],
        ),
        (
            vec!["--label-cols", "label"],
            vec!["row 1", "`bright` is not 1, 0, -1"],
        ),
        (
            vec!["--label-col", "label", "--fractions", "0.01"],
            vec![
                "a fraction of 0.01 keeps none of the 16 groups",
                "`dark`",
                "0.032",
            ],
        ),
        (
            vec!["--label-col", "label", "--fractions", "0.05"],
            vec![
                "a fraction of 0.05",
                "`dark` is negative in 1 group only",
                "larger",
            ],
        ),
        (
            vec!["--label-col", "label", "--positive", "shiny"],
            vec!["`shiny`", "bright"],
        ),
        (
            vec!["--label-col", "label", "--mode", "fine-tune"],
            vec!["pixels:16", "linear probe only"],
        ),
        (
            vec!["--label-col", "label", "--uncertain", "maybe"],
            vec!["maybe", "ones, zeros"],
        ),
        (
            vec!["--label-col", "label", "--encoder", "no/where.pth"],
            vec!["no/where.pth"],
        ),
        (
            vec!["--label-col", "label", "--csv", &one],
            vec!["only the class `bright`"],
        ),
        (
            vec!["--label-col", "label", "--precision", "half"],
            vec!["half", "float32, high, bf16 or fp16"],
        ),
        (vec![], vec!["--label-col"]),
    ] {
        let mut program = match arguments.contains(&"--csv") {
            true => {
                let mut program = convirt(["transfer"]);
                program.args(["--out", "nowhere"]);
                program
            }
            false => transfer(&folder),
        };
        let output = program.args(pixels).args(&arguments).output().unwrap();
        let text = text_of(&output);
        assert!(!output.status.success(), "{arguments:?}");
        for part in parts {
            assert!(
                text.contains(part),
                "no `{part}` for {arguments:?} in:\n{text}"
            );
        }
        assert!(!text.contains("panicked"), "{text}");
    }
    assert!(!folder.path().join("out").exists(), "nothing is written");
}

/// A file of prompts for `bright` and `dark`.
fn prompts(folder: &TempDir, yaml: &str) -> PathBuf {
    let path = folder.path().join("prompts.yaml");
    fs::write(&path, yaml).unwrap();
    path
}

fn zero_shot(folder: &TempDir, yaml: &str) -> Command {
    let mut program = convirt(["zero-shot"]);
    program
        .arg(trained().run.path())
        .arg("--prompts")
        .arg(prompts(folder, yaml))
        .arg("--out")
        .arg(folder.path().join("told.csv"))
        .args(["--device", "flex", "--force"]);
    program
}

const CLASSES: &str = "\
bright:
  positive: [The image is bright., Large pleural effusion.]
dark:
  positive: [The lungs are clear.]
";

const PAIRS: &str = "\
Bright:
  positive: [The image is bright., Large pleural effusion.]
  negative: [The lungs are clear.]
Odd:
  positive: [The heart is enlarged.]
  negative: [The heart is normal., No cardiomegaly.]
";

/// Probabilities by image of what `zero_shot` wrote.
fn told(folder: &TempDir) -> Vec<(String, Vec<f64>)> {
    let mut reader = csv::Reader::from_path(folder.path().join("told.csv")).unwrap();
    let rows = reader.records().map(Result::unwrap);
    rows.map(|row| {
        let numbers = row.iter().skip(1).map(|cell| cell.parse().unwrap());
        (row[0].to_string(), numbers.collect())
    })
    .collect()
}

#[test]
fn prompts_tell_classes_of_images_and_folders() {
    let folder = labelled();
    let image = image_of(folder.path(), true);
    let output = zero_shot(&folder, CLASSES).arg(&image).output().unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    let rows = told(&folder);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].0, image.display().to_string());
    assert!((rows[0].1.iter().sum::<f64>() - 1.0).abs() < 1e-5);

    // By hand: a softmax over cos/τ with the normalized mean of the prompts.
    let model = convirt::Model::load(trained().run.path()).unwrap();
    let embed = |text: &str| model.embed_text(text).unwrap();
    let [a, b] = [
        embed("The image is bright."),
        embed("Large pleural effusion."),
    ];
    let mean: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    let length = convirt::similarity(&mean, &mean).sqrt();
    let image = model.embed_image(&image).unwrap();
    let bright = convirt::similarity(&image, &mean) / length;
    let dark = convirt::similarity(&image, &embed("The lungs are clear."));
    let temperature = model.network().loss.temperature();
    let expected = 1.0 / (1.0 + (f64::from(dark - bright) / temperature).exp());
    assert!(
        (rows[0].1[0] - expected).abs() < 1e-4,
        "{} {expected}",
        rows[0].1[0]
    );

    let in_bfloat16 = ["--precision", "bf16"];
    let output = zero_shot(&folder, CLASSES)
        .arg(image_of(folder.path(), true))
        .args(in_bfloat16)
        .output()
        .unwrap();
    let text = text_of(&output);
    assert!(text.contains("precision       bf16"), "{text}");
    let rounded = told(&folder)[0].1[0];
    assert!(rounded != rows[0].1[0], "the precision has its effect");
    assert!(
        (rounded - rows[0].1[0]).abs() < 0.05,
        "{rounded} {}",
        rows[0].1[0]
    );

    let output = zero_shot(&folder, PAIRS)
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    assert_eq!(told(&folder).len(), 80);
}

#[test]
fn prompts_are_scored_where_there_are_labels() {
    let folder = labelled();
    let csv = folder.path().join("labels.csv");
    let with_labels = |yaml, labels: &[&str]| {
        let mut program = zero_shot(&folder, yaml);
        program
            .arg("--csv")
            .arg(&csv)
            .args(["--group-col", "patient"]);
        let output = program.args(labels).output().unwrap();
        (output.status.success(), text_of(&output))
    };
    for (yaml, labels, part) in [
        (CLASSES, ["--label-col", "label"], "dark (40 of 80)"),
        (PAIRS, ["--label-cols", "Bright,Odd"], "Odd (28 of 80)"),
    ] {
        let (success, text) = with_labels(yaml, &labels);
        assert!(
            success && text.contains("AUROC") && text.contains(part),
            "{text}"
        );
        assert_eq!(told(&folder).len(), 80);
    }
    for (yaml, labels, part) in [
        (
            CLASSES,
            ["--label-col", "third"],
            "no prompts for the label `middle`",
        ),
        (
            PAIRS,
            ["--label-col", "label"],
            "no prompts for the label `dark`",
        ),
        (
            "a: {positive: [x]}\n",
            ["--label-col", "label"],
            "one class without `negative`",
        ),
        (
            "Bright: {positive: [x]}\nOdd: {positive: [y]}\n",
            ["--label-cols", "Bright,Odd"],
            "add negative prompts to each class",
        ),
    ] {
        let (success, text) = with_labels(yaml, &labels);
        assert!(!success && text.contains(part), "no `{part}` in {text}");
    }
    // Of 80 images every fifth patient's are the test; none are for validation.
    let split = ["--label-col", "label", "--split-col", "split"];
    let (success, text) = with_labels(CLASSES, &split);
    assert!(
        success && text.contains("16 of 80 rows: the split test"),
        "{text}"
    );
    assert_eq!(told(&folder).len(), 16);
    let (success, text) = with_labels(CLASSES, &[&split[..], &["--split", "train"]].concat());
    assert!(success, "{text}");
    assert_eq!(told(&folder).len(), 64);
    let (success, text) = with_labels(CLASSES, &[&split[..], &["--split", "valid"]].concat());
    assert!(
        !success && text.contains("no row is in the split valid"),
        "{text}"
    );

    let output = zero_shot(&folder, CLASSES).output().unwrap();
    let text = text_of(&output);
    assert!(
        !output.status.success() && text.contains("no images"),
        "{text}"
    );
}

/// Of labelled images that the run trained on or held out, those held out are the test.
#[test]
fn the_images_that_the_pretraining_held_out_are_the_test() {
    let trained = trained();
    let data = trained.workspace().data();
    let table = fs::read_to_string(data.join("pairs.csv")).unwrap();
    let mut labels = "image,label,group\n".to_string();
    for (row, line) in table.lines().skip(1).enumerate() {
        let image = data.join(line.split(',').next().unwrap());
        let label = if row % 2 == 0 { "even" } else { "odd" };
        labels += &format!("{},{label},{row}\n", image.display());
    }
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("labels.csv");
    fs::write(&csv, labels).unwrap();
    let transfer = |more: &[&str]| {
        let mut command = convirt(["transfer", "--fractions", "1", "--resamples", "0"]);
        command
            .arg("--encoder")
            .arg(trained.run.path())
            .arg("--csv")
            .arg(&csv)
            .arg("--image-root")
            .arg(&data);
        command.args([
            "--label-col",
            "label",
            "--group-col",
            "group",
            "--force",
            "--out",
        ]);
        let output = command
            .arg(folder.path().join("out"))
            .args(more)
            .output()
            .unwrap();
        let text = text_of(&output);
        assert!(output.status.success(), "{text}");
        text
    };
    let text = transfer(&[]);
    let test = format!("test            {} of", trained.summary.valid_pairs);
    assert!(text.contains(&test), "{text}");
    let by_run = format!("as in the pretraining of {}", trained.run.name());
    assert!(
        text.contains(&by_run) && !text.contains("has seen"),
        "{text}"
    );
    // A share that is asked for takes others, and says so.
    let text = transfer(&["--test-size", "0.5"]);
    assert!(text.contains("has seen"), "{text}");
}
