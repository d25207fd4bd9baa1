//! The programs as their users run them.

use std::fs;
use std::process::Command;

use crate::fixtures::{Workspace, convirt, run_of, text_of, trained};

fn train() -> Command {
    convirt(["train"])
}

#[test]
fn it_tells_what_it_trains_and_what_came_of_it() {
    let workspace = Workspace::new();
    let output = train()
        .arg("--config")
        .arg(workspace.config_file())
        .args(["--device", "flex", "--set", "max_steps=2"])
        .args(["--set", "eval_every_n_steps=2"])
        .output()
        .unwrap();
    let text = text_of(&output);
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

/// Forced, it computes, and is named on screen and in the summary.
#[test]
fn a_kernel_is_chosen_by_the_environment() {
    let workspace = Workspace::new();
    for precision in ["float32", "bf16"] {
        let output = train()
            .arg("--config")
            .arg(workspace.config_file())
            .args(["--set", "max_steps=1", "--set", "eval_every_n_steps=1"])
            .args(["--set", &format!("precision={precision}")])
            .env("CONVIRT_KERNEL", "portable")
            .output()
            .unwrap();
        let text = text_of(&output);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("matrix products by portable"), "{text}");
        assert_eq!(text.contains("no faster"), precision == "bf16", "{text}");
        let summary = run_of(&text).join("summary.json");
        let summary = fs::read_to_string(summary).unwrap();
        assert!(summary.contains("\"kernel\": \"portable\""), "{summary}");
    }
}

#[test]
fn one_setting_trains_the_baseline_whose_image_side_is_exported() {
    let workspace = Workspace::new();
    let output = train()
        .arg("--config")
        .arg(workspace.config_file())
        .args(["--set", "objective=simclr", "--set", "max_steps=2"])
        .args(["--set", "eval_every_n_steps=2"])
        .output()
        .unwrap();
    let printed = text_of(&output);
    assert!(output.status.success(), "{printed}");
    for part in [
        "no effect: model.bert_base_model, model.text_from_scratch, model.freeze_embeddings",
        "5 held out",
        "2 of 4 images",
        "view→view",
        "(chance: ln(2·batch − 1) = ",
        "contrastive accuracy",
    ] {
        assert!(printed.contains(part), "no `{part}` in:\n{printed}");
    }
    for part in ["text encoder", "image→text", "recall"] {
        assert!(!printed.contains(part), "`{part}` in:\n{printed}");
    }

    let run = run_of(&printed);
    let out = workspace.path().join("exported");
    let mut export = convirt(["export"]);
    export.arg(&run).arg("--out").arg(&out);
    let printed = text_of(&export.output().unwrap());
    let mut files: Vec<_> = fs::read_dir(&out)
        .unwrap_or_else(|_| panic!("{printed}"))
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let expected = [
        "README.md",
        "checksums.json",
        "config.json",
        "convirt_model.py",
        "image_tower.onnx",
        "model.safetensors",
        "preprocessor_config.json",
        "projections.safetensors",
        "resnet18.safetensors",
    ];
    assert_eq!(files, expected, "{printed}");

    let output = convirt(["inspect"]).arg(run).output().unwrap();
    let printed = text_of(&output);
    for part in [
        "image encoder: resnet18",
        "loaded as image_encoder.layer4.1.conv2.weight",
        "loaded as image_projection.linear2.bias",
    ] {
        assert!(printed.contains(part), "no `{part}` in:\n{printed}");
    }
    assert!(!printed.contains("unexpected"), "{printed}");
}

#[test]
fn help_lists_every_option() {
    let output = train().arg("--help").output().unwrap();
    let text = text_of(&output);
    for option in ["--config", "--device", "--set"] {
        assert!(text.contains(option), "{text}");
    }
}

#[test]
fn programs_that_run_a_model_take_a_precision_and_say_its_default() {
    for command in [
        &["transfer"][..],
        &["zero-shot"],
        &["embed"],
        &["index", "build"],
        &["index", "search"],
        &["retrieve", "pairs"],
        &["retrieve", "chexpert"],
    ] {
        let output = convirt(command).arg("--help").output();
        let text = text_of(&output.unwrap());
        let line = text.lines().find(|line| line.contains("--precision"));
        let line = line.unwrap_or_else(|| panic!("{command:?}:\n{text}"));
        for part in ["float32", "high", "bf16", "[default: float32]"] {
            assert!(line.contains(part), "no `{part}` for {command:?} in {line}");
        }
    }
}

#[test]
fn a_misspelt_key_is_named_with_its_line_and_the_key_meant() {
    let workspace = Workspace::new();
    let path = workspace.path().join("config.yaml");
    fs::write(&path, workspace.yaml().replace("batch_size", "batchsize")).unwrap();
    let output = train().arg("--config").arg(&path).output().unwrap();
    let text = text_of(&output);
    assert!(!output.status.success());
    for part in ["config.yaml:1", "batchsize", "batch_size"] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
}

#[test]
fn an_unknown_device_lists_those_of_the_build() {
    let workspace = Workspace::new();
    let output = train()
        .arg("--config")
        .arg(workspace.config_file())
        .args(["--device", "abacus"])
        .output()
        .unwrap();
    let text = text_of(&output);
    assert!(!output.status.success());
    assert!(text.contains("abacus") && text.contains("flex"), "{text}");
}

#[test]
fn an_unknown_kernel_lists_those_there_are_before_anything_is_made() {
    let workspace = Workspace::new();
    let output = train()
        .arg("--config")
        .arg(workspace.config_file())
        .env("CONVIRT_KERNEL", "abacus")
        .output()
        .unwrap();
    let text = text_of(&output);
    assert!(!output.status.success(), "{text}");
    for part in ["CONVIRT_KERNEL", "abacus", "avx512bf16", "portable"] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
    assert!(!workspace.runs().exists(), "no run was begun");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_step_saves_and_says_how_to_resume() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;

    let workspace = Workspace::new();
    let mut child = train()
        .arg("--config")
        .arg(workspace.config_file())
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
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    let scored = "no evaluation yet; the scores are those of the model of step ";
    assert!(
        rest.contains(scored) && rest.contains("recall@10"),
        "{rest}"
    );
    let resume = rest
        .lines()
        .find_map(|line| line.strip_prefix("resume with: convirt resume "))
        .unwrap_or_else(|| panic!("{rest}"));

    let mut lines = rest.lines();
    let ended = lines.find_map(|line| line.strip_prefix("interrupted after "));
    let steps = ended.and_then(|ended| ended.split(' ').next()).unwrap();
    let steps: usize = steps.parse().unwrap();
    let one_more = format!("max_steps={}", steps + 1);
    let output = convirt(["resume", resume, "--set", &one_more])
        .output()
        .unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("resumed at"), "{text}");
    assert!(text.contains("completed"), "{text}");
}

/// Without the network, and with a cache that is empty.
#[test]
fn weights_that_are_nowhere_are_an_error_that_says_which_files_to_place() {
    let workspace = Workspace::new();
    for (key, name, files) in [
        (
            "bert_base_model",
            "emilyalsentzer/Bio_ClinicalBERT",
            &["config.json", "model.safetensors", "vocab.txt"][..],
        ),
        (
            "image_weights",
            "imagenet",
            &["timm/resnet18.tv_in1k", "model.safetensors"],
        ),
    ] {
        let output = train()
            .arg("--config")
            .arg(workspace.config_file())
            .args(["--set", &format!("model.{key}={name}")])
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HOME", workspace.path())
            .env_remove("HF_HUB_CACHE")
            .output()
            .unwrap();
        let text = text_of(&output);
        assert!(!output.status.success(), "{text}");
        let folder = if name == "imagenet" { files[0] } else { name };
        for part in files.iter().chain([&"HF_HUB_OFFLINE", &folder]) {
            assert!(text.contains(part), "no `{part}` in:\n{text}");
        }
    }
    assert!(
        !workspace.runs().exists(),
        "nothing is written before all is there"
    );
}

#[test]
fn export_writes_every_form_and_inspect_reads_each() {
    let out = tempfile::tempdir().unwrap();
    let output = convirt(["export"])
        .arg(trained().run.path())
        .arg("--out")
        .arg(out.path())
        .args(["--classes", "14"])
        .output()
        .unwrap();
    let printed = text_of(&output);
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("resnet18(num_classes=14)"), "{printed}");
    for (name, parts) in [
        (
            "resnet18.safetensors",
            &[
                "image encoder: resnet18",
                "fc.weight",
                "ignored",
                "layer4.1.conv2.weight",
            ][..],
        ),
        (
            "text_encoder",
            &["text encoder: 1 layers, 32 wide", "loaded as layers.0."],
        ),
        ("projections.safetensors", &["no network of this crate"]),
        (
            "model.pth",
            &[
                "PyTorch",
                "model: ",
                "loaded as text_projection.linear2.weight",
            ],
        ),
        (
            "image_tower.onnx",
            &[
                "ONNX",
                "image encoder: resnet18",
                "loaded as image_projection.linear1.weight",
            ],
        ),
        (
            "text_tower.onnx",
            &["text encoder: 1 layers, 32 wide", "loaded as layers.0."],
        ),
        (
            "checkpoint",
            &["Burn", "model: ", "loaded as image_projection.linear1.bias"],
        ),
    ] {
        let path = match name {
            "checkpoint" => trained().run.checkpoints().join("model-8.bpk"),
            name => out.path().join(name),
        };
        let output = convirt(["inspect"]).arg(path).output().unwrap();
        let printed = text_of(&output);
        assert!(output.status.success(), "{name}: {printed}");
        for part in parts {
            assert!(printed.contains(part), "no `{part}` in {name}:\n{printed}");
        }
        assert!(
            !printed.contains("missing") && !printed.contains("unexpected"),
            "{printed}"
        );
    }
}

#[test]
fn inspect_names_a_file_that_is_none() {
    let output = convirt(["inspect"]).arg("Cargo.toml").output().unwrap();
    assert!(!output.status.success());
    let printed = text_of(&output);
    assert!(
        printed.contains("Cargo.toml") && printed.contains("not weights"),
        "{printed}"
    );
}
