//! Weights find their way in and out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use convirt::weights::{Inspection, LoadStatus, WeightsFile};
use convirt::{Error, Model};

use crate::fixtures::{Workspace, trained};

/// A step at this rate is too small for any weight to change.
const STILL: [&str; 3] = ["learning_rate=1e-30", "max_steps=1", "eval_every_n_steps=1"];

/// The tensors of a file or run whose names begin with `prefix`, without it.
pub fn tensors(path: &Path, prefix: &str) -> BTreeMap<String, Vec<f32>> {
    let file = WeightsFile::open(path).unwrap();
    let of_prefix = file.tensors().iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix(prefix)?;
        Some((name.to_string(), tensor.read().ok()?))
    });
    let tensors: BTreeMap<_, _> = of_prefix.collect();
    assert!(!tensors.is_empty(), "{}: {prefix}", path.display());
    tensors
}

/// The model of a run of one step without effect.
pub fn started(workspace: &Workspace, overrides: &[&str]) -> PathBuf {
    let overrides: Vec<&str> = STILL.iter().chain(overrides).copied().collect();
    workspace.train(&overrides).unwrap().run
}

/// A run whose encoders start from files; all else is drawn with another seed than the shared one's.
fn started_from(workspace: &Workspace, text: &Path, image: &Path) -> PathBuf {
    started(
        workspace,
        &[
            &format!("model.bert_base_model={}", text.display()),
            &format!("model.image_weights={}", image.display()),
            "seed=5",
        ],
    )
}

/// The shared training, exported.
fn exported() -> (tempfile::TempDir, Model) {
    let model = Model::load(trained().run.path()).unwrap();
    (tempfile::tempdir().unwrap(), model)
}

#[test]
fn a_checkpoint_is_a_model_to_use_and_to_start_from() {
    let run = trained().run.path();
    let checkpoint = run.join("checkpoint/model-8.bpk");
    let model = Model::load(&checkpoint).unwrap();
    let text = model.embed_text("No pleural effusion.").unwrap();
    assert!((text.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);

    let folder = tempfile::tempdir().unwrap();
    let projections = folder.path().join("projections.safetensors");
    model.export_projections(&projections).unwrap();
    let from = format!("fine_tune_from={}", checkpoint.display());
    let tuned = started(trained().workspace(), &[&from, "seed=5"]);
    for prefix in ["image_projection.", "text_projection."] {
        assert!(tensors(&tuned, prefix) == tensors(&projections, prefix));
    }
}

#[test]
fn a_run_of_colab_is_started_from_by_its_name() {
    let (_, model) = exported();
    let workspace = Workspace::new();
    let checkpoints = workspace
        .runs()
        .join("Jan16_02-27-36_edu-GPU-Linux/checkpoints");
    std::fs::create_dir_all(&checkpoints).unwrap();
    model.export_colab(checkpoints.join("model.pth")).unwrap();
    let run = started(
        &workspace,
        &["fine_tune_from=Jan16_02-27-36_edu-GPU-Linux", "seed=5"],
    );
    for prefix in [
        "image_encoder.conv1",
        "image_projection.",
        "text_encoder.",
        "text_projection.",
    ] {
        assert!(
            tensors(&run, prefix) == tensors(trained().run.path(), prefix),
            "{prefix}"
        );
    }
}

#[test]
fn each_encoder_starts_from_a_file_of_its_own() {
    let (folder, model) = exported();
    let [text, image] = ["text", "resnet18.pth"].map(|name| folder.path().join(name));
    model.export_text_encoder(&text).unwrap();
    model.export_image_encoder(&image, Some(10)).unwrap();
    let workspace = Workspace::new();
    let run = started_from(&workspace, &text, &image);
    let earlier = trained().run.path();
    assert!(tensors(&run, "text_encoder.") == tensors(earlier, "text_encoder."));
    // Running statistics move on with the one step; convolutions do not.
    assert!(tensors(&run, "image_encoder.conv1") == tensors(earlier, "image_encoder.conv1"));
    assert!(tensors(&run, "image_projection.") != tensors(earlier, "image_projection."));
}

/// Both towers, as files and as what a training starts from.
#[test]
fn onnx_files_that_were_written_here_come_in_again() {
    let (folder, model) = exported();
    let [text, image] = ["text", "image_tower.onnx"].map(|name| folder.path().join(name));
    model.export_image_onnx(&image).unwrap();
    model.export_text_encoder(&text).unwrap();
    std::fs::remove_file(text.join("model.safetensors")).unwrap();
    model.export_text_onnx(text.join("model.onnx")).unwrap();

    let earlier = trained().run.path();
    for (file, side) in [(&image, "image"), (&text, "text")] {
        for prefix in [format!("{side}_encoder."), format!("{side}_projection.")] {
            assert!(
                tensors(file, &prefix) == tensors(earlier, &prefix),
                "{prefix}"
            );
        }
    }
    let device = burn::tensor::Device::flex();
    let inspection = Inspection::read(&image).unwrap();
    let side = inspection.load(&device).unwrap().image_side.unwrap();
    let images = || burn::tensor::Tensor::<4>::ones([1, 3, 32, 48], &device) * 0.3;
    let embedding = side.encode_image(images()).embedding.into_data();
    let expected = model.network().encode_image(images()).embedding.into_data();
    assert_eq!(embedding, expected);

    let workspace = Workspace::new();
    let run = started_from(&workspace, &text, &image);
    for prefix in ["text_encoder.", "image_encoder.conv1"] {
        assert!(
            tensors(&run, prefix) == tensors(earlier, prefix),
            "{prefix}"
        );
    }
}

#[test]
fn states_of_frozen_layers_in_a_folder_change_no_number_and_serve_the_next_run() {
    let (exports, model) = exported();
    let text = exports.path().join("text");
    model.export_text_encoder(&text).unwrap();
    let text = format!("model.bert_base_model={}", text.display());
    let workspace = Workspace::new();
    let folder = workspace.path().join("states");
    let folder_key = format!("model.frozen_states_dir={}", folder.display());
    let loss = |more: &[&str]| {
        let frozen = [
            &text,
            "model.freeze_embeddings=True",
            "model.freeze_layers=[0]",
        ];
        let summary = workspace.train(&[&frozen, more].concat()).unwrap();
        summary.validation_loss.unwrap()
    };
    let files = || {
        let files = std::fs::read_dir(&folder).unwrap();
        let sizes = files.map(|file| file.unwrap().metadata().unwrap().len());
        sizes.collect::<Vec<u64>>()
    };
    let expected = loss(&[]);
    assert_eq!(loss(&[&folder_key]), expected);
    let sizes = files();
    assert!(matches!(sizes[..], [size] if size > 10_000), "{sizes:?}");
    assert_eq!(loss(&[&folder_key]), expected);
    assert_eq!(files(), sizes, "all was there");
    let rounded = loss(&[&folder_key, "precision=bf16"]);
    assert!(rounded.is_finite() && rounded != expected);
    assert_eq!(files().len(), 2, "each precision has its own");
}

#[test]
fn weights_of_another_depth_are_refused_unless_allowed() {
    let (folder, model) = exported();
    let image = folder.path().join("resnet18.safetensors");
    model.export_image_encoder(&image, None).unwrap();
    let weights = format!("model.image_weights={}", image.display());
    let deeper = [weights.as_str(), "model.res_base_model=resnet34"];
    let workspace = Workspace::new();
    let error = workspace.train(&deeper).unwrap_err();
    assert!(matches!(error, Error::Weights(_)), "{error}");
    let error = error.to_string();
    for part in [
        "resnet18.safetensors",
        "image encoder",
        "layer1.2.",
        "missing",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let allow = "model.allow_unmatched=[\"layer*\"]";
    started(&workspace, &[deeper[0], deeper[1], allow]);
}

/// A shallower network would have a place for all of its parameters in a deeper one's file.
#[test]
fn weights_of_a_deeper_network_do_not_pass_for_those_of_a_shallower_one() {
    let (folder, model) = exported();
    let path = folder.path().join("resnet18.safetensors");
    model.export_image_encoder(&path, None).unwrap();
    assert!(Inspection::read(&path).unwrap().reports()[0].fits());
    let file = WeightsFile::open(&path).unwrap();
    let depth = convirt::model::ResNetDepth::ResNet18;
    let mut encoder = convirt::model::ResNetConfig::new(depth).init(&burn::tensor::Device::flex());
    encoder.layer4.pop();
    let error = convirt::weights::load_image_encoder(encoder, &file, &[]).unwrap_err();
    let convirt::weights::WeightsError::Mismatch(report) = error else {
        panic!("{error}");
    };
    let counts = report.counts();
    assert_eq!((counts.missing, counts.mismatched), (0, 0));
    assert_eq!(counts.unexpected, 10);
    let named = report
        .tensors
        .iter()
        .filter(|tensor| tensor.status.is_error());
    assert!(
        named
            .clone()
            .all(|tensor| tensor.name.starts_with("layer4.1."))
    );
    assert!(
        named
            .clone()
            .all(|tensor| tensor.status == LoadStatus::Unexpected { allowed: false })
    );
}
