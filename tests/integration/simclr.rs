//! The baseline of images alone is trained, resumed and used as ConVIRT is.

use convirt::inference::InferenceError;
use convirt::run::RunError;
use std::fs;
use std::sync::OnceLock;

use burn::tensor::{Device, Tensor};
use convirt::config::Objective;
use convirt::model::{ResNetConfig, ResNetDepth};
use convirt::run::Ending;
use convirt::weights::{Inspection, WeightsFile, load_image_encoder};
use convirt::{Error, ImageModel, Model, Summary, Training};

use crate::fixtures::{Workspace, alone, trained};
use crate::weights::{started, tensors};

const SIMCLR: &str = "objective=simclr";

/// Long enough for so few images and views so much alike to tell something.
const LONG: [&str; 6] = [
    SIMCLR,
    "batch_size=8",
    "max_steps=24",
    "eval_every_n_steps=8",
    "dataset.s=0",
    "dataset.augmentation={crop_area: [0.8, 1.0], rotation_degrees: 5, blur_sigma: [0.1, 0.5]}",
];

/// The training that tests share which only look at what it left.
fn baseline() -> &'static (Workspace, Summary) {
    static BASELINE: OnceLock<(Workspace, Summary)> = OnceLock::new();
    BASELINE.get_or_init(|| {
        let workspace = Workspace::shared("simclr");
        let summary = workspace.train(&LONG).unwrap();
        (workspace, summary)
    })
}

#[test]
fn the_loss_falls_below_chance_and_the_folder_says_what_it_is() {
    let (_, summary) = baseline();
    assert_eq!(summary.ending, Ending::Completed);
    let loss = summary.validation_loss.unwrap();
    assert!(
        loss < summary.chance_loss - 0.2,
        "{loss} {}",
        summary.chance_loss
    );
    // Five images are held out: a view has nine others.
    assert_eq!(summary.valid_pairs, 5);
    assert!((summary.chance_loss - 9f64.ln()).abs() < 1e-12);
    let accuracy = summary.contrastive_accuracy.unwrap();
    assert!(accuracy > 2.0 / 9.0, "{accuracy}");
    assert_eq!(summary.retrieval, None);
    assert_eq!(summary.parameters.text_encoder.total, 0);
    let text = summary.to_string();
    assert!(text.contains("chance: ln(2·batch − 1)"), "{text}");

    let read = |file| fs::read_to_string(summary.run.join(file)).unwrap();
    let kept: Summary = serde_json::from_str(&read("summary.json")).unwrap();
    assert_eq!(kept.objective, Objective::SimClr);
    assert!(read("report.html").contains("<h2>Data</h2>"));
    assert!(read("model/convirt.json").contains("\"objective\": \"simclr\""));
    assert!(!summary.run.join("model/tokenizer.json").exists());
    assert!(read("metrics.jsonl").contains("\"view_to_view\""));
    let tensors = tensors(&summary.run, "");
    for name in [
        "image_encoder.layer2.0.downsample.0.weight",
        "image_projection.linear2.bias",
    ] {
        assert!(tensors.contains_key(name), "{name}");
    }
    assert!(tensors.keys().all(|name| name.starts_with("image_")));
}

#[test]
fn an_interrupted_run_goes_on_to_the_very_weights_of_an_uninterrupted_one() {
    let (workspace, whole) = baseline();
    let _alone = alone();
    let training = Training::prepare(workspace.config(&LONG)).unwrap();
    let run = training.run_dir().path().to_path_buf();
    // Asked for beforehand, a stop takes effect after the first step, amid a window.
    training.interrupter().stop(Some("test"));
    assert_eq!(training.run().unwrap().ending, Ending::Interrupted);

    let resumed = Training::resume(&run, &[]).unwrap().run().unwrap();
    assert_eq!((resumed.ending, resumed.steps), (Ending::Completed, 24));
    assert_eq!(resumed.validation_loss, whole.validation_loss);
    assert_eq!(resumed.contrastive_accuracy, whole.contrastive_accuracy);
    assert!(tensors(&run, "") == tensors(&whole.run, ""));

    let other = Training::resume(&run, &["objective=convirt".to_string()]);
    assert!(matches!(
        other,
        Err(Error::Run(RunError::FixedOnResume { .. }))
    ));
}

#[test]
fn its_encoder_loads_wherever_that_of_a_run_of_pairs_does() {
    let device = Device::flex();
    let images = Tensor::<4>::ones([2, 3, 32, 32], &device);
    let (_, summary) = baseline();
    for (run, objective) in [
        (summary.run.as_path(), Objective::SimClr),
        (trained().run.path(), Objective::ConVirt),
    ] {
        let encoder = ResNetConfig::new(ResNetDepth::ResNet18).init(&device);
        let file = WeightsFile::open(run).unwrap();
        let (encoder, _) = load_image_encoder(encoder, &file, &[]).unwrap();
        let tower = ImageModel::load(run).unwrap();
        assert_eq!(tower.objective(), objective);
        let encoded = tower.encode_image(images.clone());
        assert_eq!(encoded.embedding.dims(), [2, 16]);
        let features = burn::module::Module::valid(&encoder).forward(images.clone());
        assert_eq!(features.into_data(), encoded.features.into_data());
    }
}

#[test]
fn an_inspection_knows_its_projection_head() {
    let (_, summary) = baseline();
    let checkpoint = summary.run.join("checkpoint/model-24.bpk");
    for path in [&summary.run, &checkpoint] {
        let inspection = Inspection::read(path).unwrap();
        let told = inspection.to_string();
        for part in [
            "loaded as image_projection.linear2.bias",
            "loaded as image_encoder.layer4.1.conv2.weight",
            "image encoder and projection: 104 tensors loaded\n",
        ] {
            assert!(told.contains(part), "no `{part}` in:\n{told}");
        }
        let loaded = inspection.load(&Device::flex()).unwrap();
        assert!(loaded.image_side.is_some() && loaded.image_encoder.is_none());
    }
}

#[test]
fn trainings_of_either_objective_start_from_either() {
    let (workspace, simclr) = baseline();
    let begin = |objective: &str, from: &str| started(workspace, &[objective, from, "seed=5"]);
    let runs = [&*simclr.run, trained().run.path()];
    for run in runs {
        let begun = begin(SIMCLR, &format!("fine_tune_from={}", run.display()));
        let prefix = "image_projection.";
        assert!(tensors(&begun, prefix) == tensors(run, prefix));
    }
    // Of the last step, where the model that is kept is the best.
    let checkpoint = simclr.run.join("checkpoint/model-24.bpk");
    let begun = begin(SIMCLR, &format!("fine_tune_from={}", checkpoint.display()));
    let projection = workspace.path().join("projection.safetensors");
    let tower = ImageModel::load(&checkpoint).unwrap();
    tower.export_projection(&projection).unwrap();
    assert!(tensors(&begun, "image_projection.") == tensors(&projection, "image_projection."));

    for (run, objective) in [(runs[0], "objective=convirt"), (runs[1], SIMCLR)] {
        let begun = begin(objective, &format!("model.image_weights={}", run.display()));
        // Running statistics move on with the one step; convolutions do not.
        let prefix = "image_encoder.layer4.1.conv2";
        assert!(tensors(&begun, prefix) == tensors(run, prefix));
    }
}

#[test]
fn what_needs_texts_says_that_there_is_no_text_encoder() {
    let (workspace, simclr) = baseline();
    let from = format!("fine_tune_from={}", simclr.run.display());
    for error in [
        Model::load(&simclr.run).unwrap_err(),
        Model::load(simclr.run.join("checkpoint/model-24.bpk")).unwrap_err(),
        workspace.train(&[&from]).unwrap_err(),
    ] {
        assert!(
            matches!(
                error,
                Error::Inference(InferenceError::NoTextEncoder { .. })
            ),
            "{error}"
        );
        let error = error.to_string();
        let run = simclr.run.display().to_string();
        for part in [&*run, "SimCLR", "no text encoder", "model.image_weights"] {
            assert!(error.contains(part), "no `{part}` in {error}");
        }
    }
}

/// The pairs or images that a training has, and that it holds out.
fn pairs(workspace: &Workspace, overrides: &[&str]) -> (usize, usize) {
    let _alone = alone();
    let training = Training::prepare(workspace.config(overrides)).unwrap();
    let told = training.to_string();
    let mut lines = told.lines();
    let line = lines.find(|line| line.ends_with("held out")).unwrap();
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn it_takes_the_rows_of_convirt_where_a_text_column_is_given_and_every_image_without() {
    let workspace = Workspace::new();
    let table = workspace.data().join("pairs.csv");
    let rows = fs::read_to_string(&table).unwrap();
    for row in rows.lines().skip(1).take(4) {
        let text = row.split(',').nth(1).unwrap();
        fs::write(workspace.data().join(text), "Too short.").unwrap();
    }
    let convirt = pairs(&workspace, &[]);
    assert_eq!(pairs(&workspace, &[SIMCLR]), convirt);
    let images = pairs(&workspace, &[SIMCLR, "dataset.text_col=null"]);
    assert_eq!(images.0 + images.1, rows.lines().count() - 1);
    assert!(images.0 + images.1 > convirt.0 + convirt.1);

    let columns: Vec<_> = rows
        .lines()
        .map(|row| row.split(',').next().unwrap())
        .collect();
    fs::write(&table, columns.join("\n")).unwrap();
    let alone = [
        "dataset.group_col=null",
        "dataset.split_col=null",
        "dataset.valid_size=0.2",
    ];
    let alone = [&alone[..], &[SIMCLR, "dataset.text_col=null"]].concat();
    let (train, valid) = pairs(&workspace, &alone);
    assert_eq!(train + valid, columns.len() - 1);
    assert_eq!(valid, ((columns.len() - 1) as f64 * 0.2).round() as usize);
}
