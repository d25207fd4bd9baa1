//! The baseline of images alone is trained, resumed and used as ConVIRT is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use burn::tensor::{Device, Tensor};
use convirt::model::{ResNetConfig, ResNetDepth};
use convirt::weights::{WeightsFile, load_image_encoder};
use convirt::{ConVirt, Ending, Error, ImageTower, Objective, Summary, Training};

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
        let workspace = Workspace::new();
        let summary = workspace.train(&LONG).unwrap();
        (workspace, summary)
    })
}

fn all_tensors(run: &Path) -> Vec<(String, Vec<f32>)> {
    tensors(run, "").into_iter().collect()
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
    assert!(read("model/convirt.json").contains("\"objective\": \"simclr\""));
    assert!(!summary.run.join("model/tokenizer.json").exists());
    assert!(
        summary
            .run
            .join("valid/epoch-3/ContrastiveAccuracy.log")
            .is_file()
    );
    let names: Vec<_> = all_tensors(&summary.run)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    for name in [
        "image_encoder.layer2.0.downsample.0.weight",
        "image_projection.linear2.bias",
    ] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    assert!(
        names.iter().all(|name| name.starts_with("image_")),
        "{names:?}"
    );
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
    assert!(all_tensors(&run) == all_tensors(&whole.run));

    let other = Training::resume(&run, &["objective=convirt".to_string()]);
    assert!(matches!(other, Err(Error::FixedOnResume { .. })));
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
        let tower = ImageTower::load(run).unwrap();
        assert_eq!(tower.objective(), objective);
        let encoded = tower.encode_image(images.clone());
        assert_eq!(encoded.embedding.dims(), [2, 16]);
        let features = burn::module::Module::valid(&encoder).forward(images.clone());
        assert_eq!(features.into_data(), encoded.features.into_data());
    }
}

/// The weights of `prefix` that a training of one step without effect started from.
fn begun(workspace: &Workspace, prefix: &str, overrides: &[&str]) -> Vec<(String, Vec<f32>)> {
    let run: PathBuf = started(workspace, &[overrides, &["seed=5"]].concat());
    tensors(&run, prefix).into_iter().collect()
}

#[test]
fn trainings_of_either_objective_start_from_either() {
    let (workspace, simclr) = baseline();
    let runs = [simclr.run.as_path(), trained().run.path()];
    let checkpoint = simclr.run.join("checkpoint/model-24.bpk");
    for run in [runs[0], runs[1], &checkpoint] {
        let from = format!("fine_tune_from={}", run.display());
        let same: Vec<_> = match run == checkpoint {
            // The last step, where the model kept is the best.
            true => ImageTower::load(run)
                .map(|tower| projection(&tower))
                .unwrap(),
            false => tensors(run, "image_projection.").into_iter().collect(),
        };
        let found = begun(workspace, "image_projection.", &[SIMCLR, &from]);
        assert!(found == same, "{}", run.display());
    }
    for (run, objective) in [(runs[0], "objective=convirt"), (runs[1], SIMCLR)] {
        let from = format!("model.image_weights={}", run.display());
        // Running statistics move on with the one step; convolutions do not.
        let prefix = "image_encoder.layer4.1.conv2";
        let found = begun(workspace, prefix, &[objective, &from]);
        assert!(found == tensors(run, prefix).into_iter().collect::<Vec<_>>());
    }
}

fn projection(tower: &ImageTower) -> Vec<(String, Vec<f32>)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("projection.safetensors");
    tower.export_projection(&file).unwrap();
    tensors(&file, "image_projection.").into_iter().collect()
}

#[test]
fn what_needs_texts_says_that_there_is_no_text_encoder() {
    let (workspace, simclr) = baseline();
    let from = format!("fine_tune_from={}", simclr.run.display());
    for error in [
        ConVirt::load(&simclr.run).unwrap_err(),
        ConVirt::load(simclr.run.join("checkpoint/model-24.bpk")).unwrap_err(),
        workspace.train(&[&from]).unwrap_err(),
    ] {
        assert!(matches!(error, Error::NoTextEncoder { .. }), "{error}");
        let error = error.to_string();
        let run = simclr.run.display().to_string();
        for part in [&*run, "SimCLR", "no text encoder", "model.image_weights"] {
            assert!(error.contains(part), "no `{part}` in {error}");
        }
    }
}

/// The rows of the table as (train, valid).
fn pairs(workspace: &Workspace, overrides: &[&str]) -> (usize, usize) {
    let overrides = [overrides, &["max_steps=1", "eval_every_n_steps=1"]].concat();
    let summary = workspace.train(&overrides).unwrap();
    (summary.train_pairs, summary.valid_pairs)
}

#[test]
fn it_takes_the_rows_of_convirt_where_a_text_column_is_given_and_every_image_without() {
    let workspace = Workspace::new();
    let table = workspace.data().join("pairs.csv");
    let rows = fs::read_to_string(&table).unwrap();
    // The texts of the first two patients' studies say nothing.
    for path in rows
        .lines()
        .skip(1)
        .take(4)
        .map(|row| row.split(',').nth(1).unwrap())
    {
        fs::write(workspace.data().join(path), "Normal.").unwrap();
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
