//! A training leaves what it promises, resumes where it stopped, and starts from earlier ones.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use convirt::compute::{Kernel, Precision};
use convirt::data::{DecodeLimits, Manifest, ManifestConfig, Radiograph, SplitConfig, split};
use convirt::inference::RunNameError;
use convirt::recipe::StartingConfig;
use convirt::run::{Ending, RunError};
use convirt::{Config, Error, RunDir, Summary, Training};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::fixtures::{Workspace, alone, computed, convirt, interrupted, trained};

#[test]
fn a_run_folder_holds_everything_and_its_summary_reads_back() {
    let trained = trained();
    let run = trained.run.path();
    for file in [
        "config.yaml",
        "summary.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "model/convirt.json",
        "metrics.jsonl",
        "checkpoint/state-8.json",
        "checkpoint/model-8.bpk",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let events = fs::read_dir(run).unwrap().flatten().any(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("events.out.tfevents.")
    });
    assert!(events);
    let json = fs::read_to_string(run.join("summary.json")).unwrap();
    let summary: Summary = serde_json::from_str(&json).unwrap();
    assert_eq!(summary.run, trained.summary.run);
    assert_eq!(summary.skipped, trained.summary.skipped);
    let losses = [summary, trained.summary.clone()].map(|summary| summary.validation_loss.unwrap());
    assert_eq!(losses[0], losses[1]);
    let summary = &trained.summary;
    assert_eq!(summary.ending, Ending::Completed);
    assert_eq!(summary.steps, 8);
    assert!(summary.validation_loss.unwrap().is_finite());
}

#[test]
fn a_summary_names_precision_and_kernel_and_one_from_before_still_loads() {
    let precision = Precision::BFloat16;
    let run = Workspace::new().train(&["max_steps=1", "precision=bf16"]);
    let summary = run.unwrap();
    assert_eq!(summary.precision, precision);
    let kernel = precision.kernel(&Device::flex()).unwrap().name();
    assert_eq!(summary.kernel.as_deref(), Some(kernel));

    let mut json = serde_json::to_value(&summary).unwrap();
    assert_eq!(
        (&json["precision"], &json["kernel"]),
        (&"bf16".into(), &kernel.into())
    );
    let fields = json.as_object_mut().unwrap();
    fields.remove("precision");
    fields.remove("kernel");
    let earlier: Summary = serde_json::from_value(json).unwrap();
    assert_eq!(
        (earlier.precision, earlier.kernel),
        (Precision::Float32, None)
    );
}

#[test]
fn the_configuration_kept_makes_the_same_run_again() {
    let trained = trained();
    let _alone = alone();
    let kept = Config::from_file(trained.run.config(), &[]).unwrap();
    let again = Training::prepare(kept).unwrap().run().unwrap();
    assert_eq!(again.validation_loss, trained.summary.validation_loss);
    assert_eq!(again.retrieval, trained.summary.retrieval);
}

#[test]
fn an_interrupted_run_goes_on_to_the_very_numbers_of_an_uninterrupted_one() {
    let whole = trained();
    let _alone = alone();
    let workspace = Workspace::new();
    let training = Training::prepare(workspace.config(&[])).unwrap();
    let run = training.run_dir().path().to_path_buf();
    // Asked for beforehand, a stop takes effect after the first step, amid a window.
    training.interrupter().stop(Some("test"));
    let first = training.run().unwrap();
    assert_eq!(first.ending, Ending::Interrupted);
    assert_eq!(first.steps, 1);
    assert!(first.to_string().contains("convirt resume"), "{first}");

    let resumed = Training::resume(&run, &[]).unwrap().run().unwrap();
    assert_eq!(resumed.ending, Ending::Completed);
    assert_eq!(resumed.steps, 8);
    assert_eq!(resumed.validation_loss, whole.summary.validation_loss);
    assert_eq!(resumed.retrieval, whole.summary.retrieval);
    assert!(tensors(&run, "") == tensors(whole.run.path(), ""));
}

/// Which weights a seed gives is a promise: Burn draws them when they are first looked at, and a
/// change of what looks first once changed each run's numbers in silence.
#[test]
fn a_stop_in_the_last_step_leaves_the_evaluation_to_be_resumed() {
    let workspace = Workspace::new();
    let settings = ["max_steps=1", "eval_every_n_steps=1"];
    let expected = workspace.train(&settings).unwrap();
    let _alone = alone();
    let run = interrupted(Training::prepare(workspace.config(&settings)).unwrap());
    let summary = Training::resume(&run, &[]).unwrap().run().unwrap();
    assert_eq!(summary.ending, Ending::Completed);
    assert!(computed(&run) == computed(&expected.run));
}

#[test]
fn a_seed_gives_the_numbers_that_it_gave_before() {
    const FIRST_LOSS: f64 = 1.76225;
    let path = trained().run.path().join("metrics.jsonl");
    let metrics = fs::read_to_string(path).unwrap();
    let first: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    let loss = first["loss"].as_f64().unwrap();
    // Kernels differ in their sums' order.
    assert!((loss - FIRST_LOSS).abs() < 1e-4, "{loss}");
}

/// Names and bytes of a run's weights whose names begin with `prefix`, sorted.
fn tensors(run: &Path, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(run.join("model/model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<(String, Vec<u8>)> = file
        .tensors()
        .into_iter()
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, tensor)| (name, tensor.data().to_vec()))
        .collect();
    tensors.sort();
    tensors
}

#[test]
fn a_resumed_run_keeps_its_model() {
    let error = Training::resume(trained().run.path(), &["model.out_dim=8".to_string()]);
    assert!(matches!(
        error,
        Err(Error::Run(RunError::FixedOnResume { .. }))
    ));
}

#[test]
fn a_run_goes_on_in_one_process_and_only_on_request_with_other_pairs() {
    let workspace = Workspace::new();
    let run = workspace.train(&["max_steps=1"]).unwrap().run;
    let _alone = alone();
    let further = ["max_steps=2".to_string()];
    let first = Training::resume(&run, &further).unwrap();
    let warning = "changed since the checkpoint of step 1: pairs to train on: ";
    assert!(!first.to_string().contains(warning), "{first}");
    let second = Training::resume(&run, &[]).err().expect("it is taken");
    assert!(
        matches!(second, Error::Run(RunError::RunInUse { .. })),
        "{second}"
    );
    drop(first);

    let csv = workspace.data().join("pairs.csv");
    let table = fs::read_to_string(&csv).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    let is_training = |row: &&&str| row.ends_with(",train") || row.contains(",train,");
    let removed = *rows.iter().find(is_training).unwrap();
    let kept: Vec<&str> = rows.iter().copied().filter(|row| *row != removed).collect();
    fs::write(&csv, kept.join("\n")).unwrap();
    let resumed = Training::resume(&run, &further).unwrap();
    assert!(resumed.to_string().contains(warning), "{resumed}");
    let error = resumed.run().unwrap_err();
    assert!(
        matches!(error, Error::Run(RunError::Changed { step: 1, .. })),
        "{error}"
    );
    assert!(
        error.to_string().contains("--allow-changed-data"),
        "{error}"
    );
    let resume = || Training::resume(&run, &further).unwrap();
    resume().allowing_changed_data().run().unwrap();
    // The changed data are now those of the run.
    let again = resume();
    assert!(!again.to_string().contains("changed since"), "{again}");
    again.run().unwrap();
}

#[test]
fn a_configuration_changed_by_hand_is_noticed_and_one_changed_on_request_is_not() {
    let workspace = Workspace::new();
    let run = workspace.train(&["max_steps=1"]).unwrap().run;
    let path = run.join("config.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let resume = |overrides: &[&str]| {
        let _alone = alone();
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Training::resume(&run, &overrides).and_then(Training::run)
    };
    let edited = text.replace("learning_rate: 0.001", "learning_rate: 0.5");
    assert_ne!(edited, text);
    fs::write(&path, &edited).unwrap();
    let error = resume(&["max_steps=2"]).unwrap_err().to_string();
    let expected = "config.yaml: learning_rate: 0.001 → 0.5";
    assert!(error.contains(expected), "{error}");
    // A part of it, which is valid and means the defaults.
    let kept = text.lines().filter(|line| !line.starts_with("batch_size"));
    fs::write(&path, kept.collect::<Vec<_>>().join("\n")).unwrap();
    let error = resume(&["max_steps=2"]).unwrap_err();
    assert!(
        matches!(error, Error::Run(RunError::FixedOnResume { .. })),
        "{error}"
    );
    let expected = "(config.yaml: batch_size: 4 → 32)";
    assert!(error.to_string().contains(expected), "{error}");
    fs::write(&path, text).unwrap();
    assert_eq!(resume(&["max_steps=2", "weight_decay=0"]).unwrap().steps, 2);
    assert_eq!(resume(&["max_steps=3"]).unwrap().steps, 3);
    let error = resume(&["max_steps=2"]).unwrap_err();
    assert!(
        matches!(error, Error::Run(RunError::EndsBefore { .. })),
        "{error}"
    );
}

/// Killed between the change of the configuration and the first checkpoint with it.
#[test]
fn a_change_that_no_checkpoint_holds_yet_is_no_change_by_hand() {
    let workspace = Workspace::new();
    let run = workspace.train(&["max_steps=1"]).unwrap().run;
    let changed = fs::read_to_string(run.join("config.yaml")).unwrap();
    let changed = changed.replace("weight_decay: 0.000001", "weight_decay: 0.0");
    fs::write(run.join("config-from-step-1.yaml"), &changed).unwrap();
    fs::write(run.join("config.yaml"), &changed).unwrap();
    let _alone = alone();
    let resumed = Training::resume(&run, &["max_steps=2".to_string()]).unwrap();
    assert_eq!(resumed.run().unwrap().steps, 2);
}

#[test]
fn a_checkpoint_of_another_kernel_is_resumed_with_a_warning() {
    let here = Precision::Float32.kernel(&Device::flex()).unwrap().name();
    let other = Kernel::Portable.name();
    let workspace = Workspace::new();
    let config = workspace.config_file();
    let mut train = convirt(["train", "--set", "max_steps=1", "--config"]);
    let output = train.arg(config).env("CONVIRT_KERNEL", other).output();
    assert!(output.unwrap().status.success());
    let run = RunDir::open(&workspace.runs(), "latest".as_ref()).unwrap();
    let kernel = |step: usize| {
        let path = run.path().join(format!("checkpoint/state-{step}.json"));
        let state: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        state["state"]["kernel"].clone()
    };
    assert_eq!(kernel(1), other);

    let _alone = alone();
    let further = |steps: usize| {
        let overrides = [format!("max_steps={steps}")];
        Training::resume(run.path(), &overrides).unwrap()
    };
    let resumed = further(2);
    let text = resumed.to_string();
    let parts = [
        "warning: up to step 1 ",
        "bit for bit",
        "CONVIRT_KERNEL=portable ",
    ];
    let is_told = parts.map(|part| text.contains(part));
    // Some machines have no other kernel.
    assert_eq!(is_told, [here != other; 3], "{text}");
    resumed.run().unwrap();
    assert_eq!(kernel(2), here, "what follows is by the kernel here");
    let text = further(3).to_string();
    assert!(!text.contains("bit for bit"), "{text}");
}

#[test]
fn a_run_tells_its_device_kernel_and_precision() {
    let workspace = Workspace::new();
    let told = |overrides: &[&str]| {
        let _alone = alone();
        Training::prepare(workspace.config(overrides))
            .unwrap()
            .to_string()
    };
    // The CPU has no float16.
    let [float32, _] = ["fp16_precision=True", "precision=fp16"].map(|asked| {
        let text = told(&[asked]);
        for part in [
            "\nprecision       float32\n",
            "warning: Flex(Cpu) does not compute in float16; it computes in float32",
        ] {
            assert!(text.contains(part), "{text}");
        }
        text
    });
    let kernel = Precision::Float32.kernel(&Device::flex()).unwrap();
    let device = format!("device          Flex(Cpu), matrix products by {kernel}\n");
    assert!(float32.contains(&device), "{float32}");
    let bfloat16 = told(&["fp16_precision=True", "precision=bf16"]);
    assert!(
        bfloat16.contains("bfloat16") && !bfloat16.contains("float16;"),
        "{bfloat16}"
    );
    let error = workspace.try_config(&["precision=half"]).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("float32, high, bf16 or fp16"), "{error}");
}

#[test]
fn fine_tuning_starts_from_the_earlier_weights_and_fails_without_them() {
    let trained = trained();
    let workspace = trained.workspace();
    let from = format!("fine_tune_from={}", trained.run.path().display());
    // A step at this rate is too small for any weight to change.
    let tuned = workspace
        .train(&[
            &from,
            "learning_rate=1e-30",
            "max_steps=1",
            "seed=5",
            "name=tuned",
        ])
        .unwrap();
    let expected = tensors(trained.run.path(), "text_encoder.");
    assert!(expected.len() > 10);
    assert!(tensors(&tuned.run, "text_encoder.") == expected);

    let error = workspace.train(&["fine_tune_from=nowhere"]).unwrap_err();
    assert!(
        matches!(error, Error::RunName(RunNameError::NoRun { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_table_alone_fine_tunes_an_earlier_run_with_its_networks() {
    let trained = trained();
    let csv = trained.workspace().data().join("pairs.csv");
    let overrides = [
        format!("fine_tune_from={}", trained.run.model().display()),
        format!("runs_dir={}", trained.workspace().runs().display()),
        "max_steps=1".to_string(),
        "device=flex".to_string(),
    ];
    let start = StartingConfig::for_pairs(&csv, None, &overrides).unwrap();
    let config = start.config(&overrides).unwrap();
    let earlier = Config::from_file(trained.run.config(), &[]).unwrap();
    assert_eq!(config.model, earlier.model);
    assert_eq!(config.dataset.input_shape, earlier.dataset.input_shape);
    let _alone = alone();
    Training::prepare(config).unwrap().run().unwrap();
}

#[test]
fn a_table_alone_is_trained_on_from_scratch_by_name() {
    let csv = trained().workspace().data().join("pairs.csv");
    let overrides = ["model.bert_base_model=scratch".to_string()];
    let start = StartingConfig::for_pairs(&csv, None, &overrides).unwrap();
    let config = start.config(&overrides).unwrap();
    assert!(config.model.text_is_from_scratch());
}

#[test]
fn a_loaded_model_embeds_as_the_one_that_was_evaluated() {
    let trained = trained();
    let model = convirt::Model::load(trained.run.path()).unwrap();
    let image = model.embed_image(trained.an_image()).unwrap();
    let text = model.embed_text("No pleural effusion.").unwrap();
    let norm = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>();
    assert!((norm(&image) - 1.0).abs() < 1e-5 && (norm(&text) - 1.0).abs() < 1e-5);
    assert_eq!(image.len(), 16);
    assert!(convirt::similarity(&image, &text).abs() <= 1.0 + 1e-5);
}

/// The same studies, from the table and built in code, give the same run.
#[test]
fn studies_built_in_code_are_trained_on_and_resumed() {
    let workspace = Workspace::new();
    let few = ["max_steps=2", "eval_every_n_steps=2"];
    let from_table = workspace.train(&few).unwrap();
    let studies = || {
        let manifest = Manifest::read(&ManifestConfig {
            text_from_files: true,
            image: "image".into(),
            text: Some("text".into()),
            group: Some("subject_id".into()),
            split: Some("split".into()),
            ..ManifestConfig::new(workspace.data().join("pairs.csv"))
        });
        let config = SplitConfig {
            valid_size: 0.1,
            seed: 0,
        };
        split(manifest.unwrap().studies, &config).unwrap()
    };
    let _alone = alone();
    let training = Training::prepare_studies(workspace.config(&few), studies()).unwrap();
    let summary = training.run().unwrap();
    assert_eq!(summary.validation_loss, from_table.validation_loss);
    let further = ["max_steps=4".to_string()];
    let resumed = Training::resume_studies(&summary.run, &further, studies()).unwrap();
    assert_eq!(resumed.run().unwrap().steps, 4);
    let mut none = studies();
    none.valid.clear();
    let error = Training::prepare_studies(workspace.config(&few), none);
    let error = error.err().expect("there is no validation").to_string();
    assert!(error.contains("valid"), "{error}");
}

#[test]
fn images_in_memory_are_embedded_like_their_files() {
    let model = convirt::Model::load(trained().run.path()).unwrap();
    let path = trained().an_image();
    let from_file = model.embed_image(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(model.embed_image_bytes(&bytes).unwrap(), from_file);
    let image = Radiograph::read(&path, &DecodeLimits::default()).unwrap();
    assert_eq!(model.embed_radiograph(&image).unwrap(), from_file);
    let error = model
        .embed_image_bytes(&bytes[..40])
        .unwrap_err()
        .to_string();
    assert!(error.contains("image in memory"), "{error}");
}

#[test]
fn a_run_with_the_sigmoid_loss_goes_on_with_its_bias_and_can_be_loaded() {
    let _alone = alone();
    let workspace = Workspace::new();
    let overrides = [
        "loss.kind=sigmoid",
        "loss.learnable_temperature=True",
        "loss.alpha_weight=0.5",
        "max_steps=4",
    ];
    let training = Training::prepare(workspace.config(&overrides)).unwrap();
    let description = training.to_string();
    assert!(
        description.contains("no effect: loss.alpha_weight\n"),
        "{description}"
    );
    let summary = training.run().unwrap();
    let text = summary.to_string();
    assert!(text.contains("batch · entropy(1/batch)"), "{text}");
    let more = ["max_steps=8".to_string()];
    let resumed = Training::resume(&summary.run, &more)
        .unwrap()
        .run()
        .unwrap();
    let whole = Training::prepare(workspace.config(&overrides[..3])).unwrap();
    let whole = whole.run().unwrap();
    assert_eq!(resumed.validation_loss, whole.validation_loss);
    let bias = tensors(&summary.run, "loss.bias");
    assert_eq!(bias.len(), 1, "{bias:?}");
    convirt::Model::load(&summary.run).unwrap();
}
