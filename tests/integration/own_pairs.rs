//! The first hour with one's own data: a table is trained on at the first try.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::fixtures::{Workspace, convirt, text_of, trained};

/// Settings for a training of seconds.
const TINY: [&str; 9] = [
    "max_steps=2",
    "eval_every_n_steps=2",
    "batch_size=4",
    "model.out_dim=16",
    "model.text_from_scratch.layers=1",
    "model.text_from_scratch.hidden_size=33",
    "model.text_from_scratch.vocab_size=300",
    "dataset.input_shape=[32, 32, 3]",
    "dataset.num_workers=0",
];

/// A folder with the phantom's images in `images/` and a table of its own: two columns, `picture`
/// and `finding`, whose texts are the reports themselves.
fn own_pairs() -> Workspace {
    let workspace = Workspace::new();
    let data = workspace.data();
    let table = fs::read_to_string(data.join("pairs.csv")).unwrap();
    let mut own = "picture,finding\n".to_string();
    for row in table.lines().skip(1) {
        let mut cells = row.split(',');
        let [image, text] = [cells.next().unwrap(), cells.next().unwrap()];
        let text = fs::read_to_string(data.join(text)).unwrap();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        own += &format!("{image},\"{}\"\n", text.replace('"', "\"\""));
    }
    fs::remove_file(data.join("phantom.json")).unwrap();
    fs::write(data.join("own.csv"), own).unwrap();
    workspace
}

fn run_in(folder: &Path, arguments: &[&str], settings: &[&str]) -> Output {
    let mut command: Command = convirt(arguments);
    for setting in settings {
        command.args(["--set", setting]);
    }
    command.current_dir(folder).output().unwrap()
}

/// Runs a command that must succeed, and returns what it printed.
fn told(folder: &Path, arguments: &[&str], settings: &[&str]) -> String {
    let output = run_in(folder, arguments, settings);
    let text = text_of(&output);
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

#[test]
fn a_table_of_images_and_texts_trains_by_its_name_alone() {
    let workspace = own_pairs();
    let folder = workspace.data();
    for arguments in [
        &["train", "--csv", "own.csv"][..],
        &["train", "--set", "dataset.csv_file=own.csv"],
    ] {
        let text = told(&folder, arguments, &TINY);
        for part in [
            "recipe small-data",
            "images in `picture`, texts in `finding`, equal texts and images in one group",
            "split at random",
            "recall@10",
            "_own",
        ] {
            assert!(
                text.contains(part),
                "{arguments:?}: no `{part}` in:\n{text}"
            );
        }
    }
    // The run has the columns that were recognized, whatever becomes of the table.
    let run = fs::read_dir(folder.join("runs")).unwrap().next().unwrap();
    let config = fs::read_to_string(run.unwrap().path().join("config.yaml")).unwrap();
    assert!(config.contains("img_path_col: \"picture\""), "{config}");
    // Nothing was drawn into the folder.
    assert!(!folder.join("phantom.json").exists());
}

#[test]
fn patients_and_split_of_a_table_are_used_where_it_has_them() {
    let trained = trained();
    let folder = trained.workspace().data();
    let runs = tempfile::tempdir().unwrap();
    let runs = format!("runs_dir={}", runs.path().display());
    let settings = [&TINY[..], &[&runs]].concat();
    let text = told(&folder, &["train", "--csv", "pairs.csv"], &settings);
    let columns = "images in `image`, paths of texts in `text`, groups by `subject_id`, split by \
                   `split`";
    assert!(text.contains(columns), "{text}");
}

#[test]
fn init_writes_a_configuration_that_says_what_was_found_and_trains() {
    let workspace = own_pairs();
    let folder = workspace.data();
    let text = told(&folder, &["init", "own.csv"], &[]);
    assert!(text.contains("written: own.yaml"), "{text}");
    let written = fs::read_to_string(folder.join("own.yaml")).unwrap();
    for part in [
        "recipe small-data (others: large-data, paper)",
        "img_path_col: picture",
        "text_col: finding",
        "words on average",
        "text_from_files: False",
        "True: paths of text files",
        "group_col: null",
        "valid_size: 0.1",
        "paper: (224, 224, 3)",
    ] {
        assert!(written.contains(part), "no `{part}` in:\n{written}");
    }
    told(&folder, &["config", "check", "own.yaml"], &[]);
    told(&folder, &["train", "--config", "own.yaml"], &TINY);

    // It is not overwritten.
    let output = run_in(&folder, &["init", "own.csv"], &[]);
    assert!(!output.status.success());
    assert!(text_of(&output).contains("own.yaml"));
    // Each recipe is a configuration.
    for recipe in ["large-data", "paper", "small-data"] {
        told(
            &folder,
            &["init", "own.csv", "--force", "--recipe", recipe],
            &[],
        );
        told(&folder, &["config", "check", "own.yaml"], &[]);
    }
}

#[test]
fn weights_that_are_given_change_what_follows_from_them() {
    let workspace = own_pairs();
    let folder = workspace.data();
    fs::create_dir(folder.join("bert")).unwrap();
    fs::write(
        folder.join("bert/config.json"),
        r#"{"model_type": "bert", "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 4,
            "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}"#,
    )
    .unwrap();
    told(
        &folder,
        &[
            "init",
            "own.csv",
            "--text-encoder",
            "bert",
            "--image-root",
            ".",
        ],
        &[],
    );
    let written = fs::read_to_string(folder.join("own.yaml")).unwrap();
    for part in [
        "bert_base_model: bert ",
        "freeze_layers: [0, 1] ",
        "learning_rate: 1e-4",
        "img_root_dir: \".\"",
    ] {
        assert!(written.contains(part), "no `{part}` in:\n{written}");
    }
}

#[test]
fn errors_about_a_table_say_what_to_set() {
    let workspace = own_pairs();
    let folder = workspace.data();
    let table = fs::read_to_string(folder.join("own.csv")).unwrap();
    fs::write(
        folder.join("moved.csv"),
        table.replace("images/", "elsewhere/"),
    )
    .unwrap();
    fs::write(
        folder.join("outside.csv"),
        table.replace("\nimages/", "\n../images/"),
    )
    .unwrap();
    for (arguments, parts) in [
        (
            &["train", "--csv", "missing.csv"][..],
            &["Error: missing.csv: cannot be read"][..],
        ),
        (
            &["train", "--csv", "moved.csv"],
            &[
                "moved.csv",
                "`picture` names images",
                "dataset.img_root_dir",
            ],
        ),
        (
            &["train", "--csv", "outside.csv"],
            &[
                "outside.csv: row 1: `../images/",
                "dataset.allow_outside_roots",
            ],
        ),
        (
            &[
                "train",
                "--csv",
                "own.csv",
                "--set",
                "dataset.text_from_files=True",
            ],
            &["`finding` holds texts", "dataset.text_from_files"],
        ),
        (
            &["train", "--csv", "own.csv", "--set", "temperature=3"],
            &["did you mean `loss.temperature`?"],
        ),
        (
            &["train", "--csv", "own.csv", "--recipe", "papre"],
            &["small-data, large-data or paper"],
        ),
        (
            &["train", "--recipe", "paper"],
            &["--recipe has an effect with --csv only"],
        ),
    ] {
        let output = run_in(&folder, arguments, &[]);
        let text = text_of(&output).to_lowercase();
        assert!(!output.status.success(), "{arguments:?}");
        for part in parts {
            assert!(
                text.contains(&part.to_lowercase()),
                "{arguments:?}: no `{part}` in:\n{text}"
            );
        }
    }
}

#[test]
fn a_run_is_named_by_path_name_beginning_or_latest() {
    let trained = trained();
    let folder = trained.workspace().path();
    let name = trained.run.name();
    for name in [name.as_str(), &name[..12], "latest"] {
        let text = told(folder, &["report", name], &[]);
        assert!(text.contains("report.html"), "{name}: {text}");
        let sentences = folder.join("sentences.txt");
        fs::write(&sentences, "The heart is enlarged.\n").unwrap();
        let out = folder.join("sentences.npy");
        let mut embed = convirt(["embed", "--run", name, "--sentences"]);
        embed.arg(&sentences).arg("--out").arg(&out).arg("--force");
        let output = embed.current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{name}: {}", text_of(&output));
    }
    let output = run_in(folder, &["report", "latset"], &[]);
    assert!(text_of(&output).contains(&name), "{}", text_of(&output));
}

#[test]
fn of_the_runs_own_table_the_held_out_rows_are_scored() {
    let trained = trained();
    let manifest = trained.workspace().data().join("pairs.csv");
    let retrieve = |more: &[&str]| {
        let mut command = convirt(["retrieve", "pairs", "--json", "--run"]);
        command
            .arg(trained.run.path())
            .arg("--manifest")
            .arg(&manifest);
        let output = command.args(more).output().unwrap();
        let told = text_of(&output);
        assert!(output.status.success(), "{told}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (json["pairs"]["images"].as_u64().unwrap(), told)
    };
    let (pairs, told) = retrieve(&[]);
    assert_eq!(pairs as usize, trained.summary.valid_pairs);
    let held_out = format!("{pairs} of ");
    assert!(
        told.contains(&held_out) && told.contains("held out by the run"),
        "{told}"
    );
    assert!(!told.contains("were trained on"), "{told}");

    let (all, told) = retrieve(&["--split", "all"]);
    assert!(all > pairs);
    let trained_on = format!(
        "{} of these {all} rows were trained on",
        trained.summary.train_pairs
    );
    assert!(told.contains(&trained_on), "{told}");
    let (train, _) = retrieve(&["--split", "train"]);
    assert_eq!(train as usize, trained.summary.train_pairs);
}
