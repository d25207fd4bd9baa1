//! The example programs of the library do what their first lines say.

use std::fs;
use std::path::Path;

use crate::fixtures::{Workspace, example, text_of, trained};

/// Runs an example, which must succeed, and returns what it printed.
fn run(name: &str, arguments: &[&Path]) -> String {
    let output = example(name).args(arguments).output().unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{name}: {text}");
    text
}

fn an_image() -> std::path::PathBuf {
    trained().an_image()
}

#[test]
fn train_mimic_trains_resumes_and_says_what_is_wrong() {
    let workspace = Workspace::new();
    let config = workspace.config_file();
    let train = |arguments: &[&str]| {
        let mut command = example("train_mimic");
        command.args(arguments).args(["--device", "flex"]);
        command.output().unwrap()
    };
    let config = config.to_str().unwrap();
    let output = train(&["--config", config, "--set", "max_steps=2"]);
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    for part in ["held out", "step ", "recall@10", "completed after 2 steps"] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    let run = text.lines().find_map(|line| line.strip_prefix("run: "));
    let output = train(&["--resume", run.unwrap(), "--set", "max_steps=3"]);
    let text = text_of(&output);
    assert!(
        text.contains("resumed at") && text.contains("completed after 3"),
        "{text}"
    );

    let output = train(&["--config", config, "--set", "batchsize=4"]);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("batchsize") && text.contains("batch_size"),
        "{text}"
    );
    let help = text_of(&train(&["--help"]));
    for option in ["--config", "--device", "--resume", "--set"] {
        assert!(help.contains(option), "{help}");
    }
}

#[test]
fn embed_and_compare_sorts_sentences_by_their_similarity() {
    let sentences = ["The heart is enlarged.", "No pleural effusion."];
    let [first, second] = sentences.map(Path::new);
    let image = an_image();
    let text = run(
        "embed_and_compare",
        &[trained().run.path(), &image, first, second],
    );
    let model = convirt::Model::load(trained().run.path()).unwrap();
    let image = model.embed_image(&image).unwrap();
    let mut scores = sentences.map(|sentence| {
        let score = convirt::similarity(&image, &model.embed_text(sentence).unwrap());
        (score, sentence)
    });
    scores.sort_by(|a, b| b.0.total_cmp(&a.0));
    let lines = scores.map(|(score, sentence)| format!("{score:+.4}  {sentence}\n"));
    assert!(text.starts_with(&lines.concat()), "{text}");
}

#[test]
fn config_in_code_trains_without_a_file() {
    let workspace = Workspace::new();
    let (pairs, runs) = (workspace.data().join("pairs.csv"), workspace.runs());
    let text = run("config_in_code", &[&pairs, &runs]);
    assert!(text.contains("completed after 4 steps"), "{text}");
    let run = fs::read_dir(runs).unwrap().next().unwrap().unwrap();
    assert!(run.file_name().to_str().unwrap().ends_with("_in-code"));
}

#[test]
fn own_loop_prints_a_loss_for_each_step() {
    let pairs = trained().workspace().data().join("pairs.csv");
    let text = run("own_loop", &[&pairs]);
    let losses = text.lines().filter_map(|line| line.strip_prefix("step "));
    let losses: Vec<f64> = losses
        .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
        .collect();
    assert_eq!(losses.len(), 4, "{text}");
    assert!(losses.iter().all(|loss| loss.is_finite()), "{text}");
}

/// Random embeddings sit near chance, ln 32, and those moved towards their image well below.
#[test]
fn loss_on_tensors_falls_where_texts_are_near_their_images() {
    let text = run("loss_on_tensors", &[]);
    let losses: Vec<f64> = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1)?.parse().ok())
        .collect();
    let [chance, random, matched] = losses[..] else {
        panic!("{text}");
    };
    assert_eq!(format!("{chance:.3}"), "3.466");
    assert!((random - chance).abs() < 0.8, "{text}");
    assert!(matched < 0.5 * chance, "{text}");
}

#[test]
fn zero_shot_gives_each_finding_a_probability() {
    let text = run("zero_shot", &[trained().run.path(), &an_image()]);
    for finding in ["Cardiomegaly", "Pleural effusion"] {
        let line = text.lines().find(|line| line.ends_with(finding));
        let line = line.unwrap_or_else(|| panic!("no {finding} in {text}"));
        let percent: f64 = line.split('%').next().unwrap().trim().parse().unwrap();
        assert!((0.0..=100.0).contains(&percent), "{line}");
    }
}

#[test]
fn fine_tune_leaves_a_classifier_and_predicts_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let labels = folder.path().join("labels.csv");
    let mut table = "image,label,patient\n".to_string();
    for image in 0..40_u8 {
        let (name, label) = (
            format!("{image}.png"),
            if image % 2 == 0 { "bright" } else { "dark" },
        );
        let base = if image % 2 == 0 { 150 } else { 40 };
        let pixels: Vec<u8> = (0..32 * 32)
            .map(|i| base + (i * 7 % 61) as u8 + image)
            .collect();
        let path = folder.path().join(&name);
        image::save_buffer(path, &pixels, 32, 32, image::ColorType::L8).unwrap();
        table += &format!("{name},{label},p{}\n", image / 2 * 2 + image % 2);
    }
    fs::write(&labels, table).unwrap();
    let out = folder.path().join("out");
    let image = folder.path().join("0.png");
    let text = run("fine_tune", &[trained().run.path(), &labels, &image, &out]);
    assert!(
        text.contains("fine-tun") && text.contains("AUROC"),
        "{text}"
    );
    // Of two classes the last one is the finding.
    assert!(text.contains(" %  dark"), "{text}");
    assert!(
        out.join("classifiers")
            .read_dir()
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
            .join("classifier.json")
            .is_file()
    );
}
