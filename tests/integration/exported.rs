//! Exported folders: the same model here, by its name on the hub, and in Python.

use std::fs;
use std::path::{Path, PathBuf};

use convirt::export::ModelCard;
use convirt::inference::TowerOutput;
use convirt::{ImageModel, Model};
use serde_json::{Value, json};

use crate::fixtures::{convirt, text_of, trained};

const TEXT: &str = "Small left pleural effusion.";

fn export(folder: &Path) -> Model {
    let model = Model::load(trained().run.path()).unwrap();
    let card = ModelCard {
        name: Some("Chest phantom".to_string()),
        license: Some("cc0-1.0".to_string()),
    };
    model.export(folder, &card).unwrap();
    model
}

#[test]
fn an_exported_folder_is_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = export(folder.path());
    let same = Model::load(folder.path()).unwrap();
    assert_eq!(
        same.embed_text(TEXT).unwrap(),
        model.embed_text(TEXT).unwrap()
    );
    let image = trained().an_image();
    let embedding = model.embed_image(&image).unwrap();
    assert_eq!(same.embed_image(&image).unwrap(), embedding);
    assert_eq!(same.identity().unwrap(), model.identity().unwrap());

    // A text encoder's folder of `transformers` has a config.json, too, and is no such model.
    let text_encoder = folder.path().join("text_encoder");
    model.export_text_encoder(&text_encoder).unwrap();
    let error = Model::load(&text_encoder).unwrap_err().to_string();
    assert!(error.contains("no model here"), "{error}");

    // Damage is noticed, even where the file is no longer JSON.
    let config = folder.path().join("config.json");
    let whole = fs::read_to_string(&config).unwrap();
    fs::write(&config, &whole[..whole.len() / 2]).unwrap();
    let error = Model::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("config.json: changed"), "{error}");
    fs::write(&config, &whole).unwrap();
    let changed = fs::read_to_string(&config)
        .unwrap()
        .replace("\"max\"", "\"mean\"");
    fs::write(&config, changed).unwrap();
    let error = Model::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("config.json: changed"), "{error}");
}

#[test]
fn the_model_card_tells_data_and_scores_beside_chance() {
    let folder = tempfile::tempdir().unwrap();
    export(folder.path());
    let card = fs::read_to_string(folder.path().join("README.md")).unwrap();
    let summary = &trained().summary;
    let retrieval = summary.retrieval.unwrap();
    let (scores, chance) = (
        retrieval.text_to_image.scores.recall_at_10,
        retrieval.text_to_image.chance.recall_at_10,
    );
    for part in [
        "---\n",
        "license: \"cc0-1.0\"\n",
        "library_name: convirt\n",
        "# Chest phantom\n",
        &format!("Trained on {} pairs", summary.train_pairs),
        &format!("{} pairs were held out", summary.valid_pairs),
        &format!(
            "| text → image, recall@10 | {:.1} % | {:.1} % |",
            100.0 * scores,
            100.0 * chance
        ),
        "must not be used for diagnosis",
        "after 32 tokens",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }

    // The scores are those of the saved model, not of a checkpoint.
    let checkpoints = fs::read_dir(trained().run.checkpoints()).unwrap();
    let mut paths = checkpoints.map(|entry| entry.unwrap().path());
    let checkpoint = paths
        .find(|path| path.extension().is_some_and(|it| it == "bpk") && is_model(path))
        .unwrap();
    let model = Model::load(checkpoint).unwrap();
    let without = folder.path().join("without");
    model.export(&without, &ModelCard::default()).unwrap();
    let card = fs::read_to_string(without.join("README.md")).unwrap();
    assert!(card.contains("Not known") && card.contains("license: \"unknown\""));
}

fn is_model(checkpoint: &Path) -> bool {
    let name = checkpoint.file_name().unwrap().to_string_lossy();
    name.starts_with("model-")
}

/// An entry of a file's metadata, as Protocol Buffers encode it: the key, then the value.
fn metadata_entry(key: &str, value: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (tag, text) in [(0x0a, key), (0x12, value)] {
        bytes.extend([tag, text.len() as u8]);
        bytes.extend(text.as_bytes());
    }
    bytes
}

#[test]
fn onnx_files_tell_what_their_inputs_and_outputs_are() {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::load(trained().run.path()).unwrap();
    let [image, text] = ["image.onnx", "text.onnx"].map(|name| folder.path().join(name));
    model.export_image_onnx(&image).unwrap();
    model.export_text_onnx(&text).unwrap();
    let unnormalized = "none; divide `embedding` by its L2 norm before comparing";
    for (path, entries) in [
        (
            image,
            &[
                ("image_mean", "[0.485,0.456,0.406]"),
                ("image_std", "[0.229,0.224,0.225]"),
                ("size", r#"{"shortest_edge":32}"#),
                ("crop_size", r#"{"height":32,"width":32}"#),
                ("temperature", "0.1"),
                ("embedding_normalization", unnormalized),
            ][..],
        ),
        (
            text,
            &[
                ("max_tokens", "32"),
                ("pooling", "max"),
                ("pooling_layer", "1"),
                ("temperature", "0.1"),
                ("embedding_normalization", unnormalized),
            ],
        ),
    ] {
        let file = fs::read(&path).unwrap();
        for (key, value) in entries {
            let entry = metadata_entry(key, value);
            let is_there = file.windows(entry.len()).any(|bytes| bytes == entry);
            assert!(is_there, "{}: no {key} = {value}", path.display());
        }
    }
}

#[test]
fn the_image_side_alone_is_a_model_without_texts() {
    let folder = tempfile::tempdir().unwrap();
    let tower = ImageModel::load(trained().run.path()).unwrap();
    tower.export(folder.path(), &ModelCard::default()).unwrap();
    assert!(!folder.path().join("tokenizer.json").exists());
    let card = fs::read_to_string(folder.path().join("README.md")).unwrap();
    assert!(
        card.contains("The image side") && card.contains("ConVIRT"),
        "{card}"
    );
    let same = ImageModel::load(folder.path()).unwrap();
    let image = trained().an_image();
    let [a, b] = [&tower, &same].map(|it| it.embed_image(&image, TowerOutput::Embedding).unwrap());
    assert_eq!(a, b);
    let error = Model::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("no text encoder"), "{error}");
}

/// The cache is laid out as Python's `huggingface_hub` and our own downloads leave it.
#[test]
fn a_model_of_the_hub_is_loaded_by_its_name() {
    let workspace = tempfile::tempdir().unwrap();
    let cache = workspace.path().join("hub");
    let repository = cache.join("models--owner--chest");
    export(&repository.join("snapshots/0123abc"));
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), "0123abc").unwrap();
    let sentences = workspace.path().join("sentences.txt");
    fs::write(&sentences, TEXT).unwrap();
    let embed = |name: &str| {
        let out = workspace.path().join(name.replace('/', "-") + ".npy");
        let mut command = convirt(["embed", "--run", name, "--sentences"]);
        command
            .arg(&sentences)
            .arg("--force")
            .arg("--out")
            .arg(&out);
        command
            .env("HF_HUB_CACHE", &cache)
            .env("HF_HUB_OFFLINE", "1");
        let output = command.current_dir(workspace.path()).output().unwrap();
        (output.status.success(), text_of(&output), out)
    };
    let (is_done, printed, out) = embed("owner/chest");
    assert!(is_done, "{printed}");
    assert!(out.is_file());

    let (is_done, printed, _) = embed("owner/other");
    assert!(!is_done);
    for part in ["owner/other", "HF_HUB_OFFLINE", "config.json (of convirt)"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    // A path into a folder that exists is never looked for on the hub.
    fs::create_dir(workspace.path().join("owner")).unwrap();
    let (_, printed, _) = embed("owner/chest");
    assert!(printed.contains("no run `owner/chest`"), "{printed}");
}

/// Embeds the files and texts in the folder that the environment variable `CONVIRT_EXPORTED` names,
/// by models that `tests/interop/exported.py` then loads.
#[test]
fn exported_folders_are_written_with_embeddings_to_compare() {
    let Some(folder) = std::env::var_os("CONVIRT_EXPORTED").map(PathBuf::from) else {
        eprintln!("skipped: CONVIRT_EXPORTED does not name a folder");
        return;
    };
    let run = trained().run.model();
    let description = fs::read(run.join("convirt.json")).unwrap();
    for (eval_resize, pooling, pooling_layer, longer_side) in [
        ("center_crop", "mean", json!(null), json!(null)),
        ("stretch", "max", json!(null), json!(80)),
        ("pad_square", "first", json!(1), json!(48)),
        ("center_crop", "last", json!(0), json!(40)),
    ] {
        let mut description: Value = serde_json::from_slice(&description).unwrap();
        description["eval_resize"] = eval_resize.into();
        description["longer_side"] = longer_side;
        description["network"]["pooling"] = pooling.into();
        description["network"]["pooling_layer"] = pooling_layer;
        let changed = tempfile::tempdir().unwrap();
        for name in [
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ] {
            fs::copy(run.join(name), changed.path().join(name)).unwrap();
        }
        fs::write(changed.path().join("convirt.json"), description.to_string()).unwrap();
        let case = folder
            .join("cases")
            .join(format!("{eval_resize}-{pooling}"));
        let model = Model::load(changed.path()).unwrap();
        model
            .export(case.join("model"), &ModelCard::default())
            .unwrap();
        let embeddings = embeddings(&Model::load(case.join("model")).unwrap(), &folder);
        fs::write(case.join("embeddings.json"), embeddings.to_string()).unwrap();
    }
    let case = folder.join("cases/images-alone");
    let tower = ImageModel::load(&run).unwrap();
    tower
        .export(case.join("model"), &ModelCard::default())
        .unwrap();
    let images = images(&folder, |path| {
        tower.embed_image(path, TowerOutput::Embedding).ok()
    });
    let embeddings = json!({ "images": images, "texts": null });
    fs::write(case.join("embeddings.json"), embeddings.to_string()).unwrap();
}

fn embeddings(model: &Model, folder: &Path) -> Value {
    let texts: Vec<String> =
        serde_json::from_slice(&fs::read(folder.join("texts.json")).unwrap()).unwrap();
    let texts = texts.iter().map(|text| model.embed_text(text).unwrap());
    json!({
        "images": images(folder, |path| model.embed_image(path).ok()),
        "texts": texts.collect::<Vec<_>>(),
    })
}

/// The embedding of each image; null where a file is not readable.
fn images(folder: &Path, embed: impl Fn(&Path) -> Option<Vec<f32>>) -> Value {
    let files = fs::read_dir(folder.join("images")).unwrap();
    let embedded = files.map(|file| {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, json!(embed(&path)))
    });
    embedded.collect::<serde_json::Map<_, _>>().into()
}
