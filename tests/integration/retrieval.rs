//! Embeddings and retrieval, from the command line to the files.

use convirt::retrieval::IndexError;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use convirt::compute::Precision;
use convirt::data::{Column, LoaderConfig, Manifest, ManifestConfig, Split, Study};
use convirt::inference::{Assistants, EmbeddedBatch, TowerOutput};
use convirt::retrieval::{EmbeddingIndex, Modality, PairRetrieval};
use convirt::{ImageModel, Model, similarity};

use crate::fixtures::{Workspace, convirt, text_of, trained};

/// Runs a program on the shared run.
fn run(program: &str, arguments: &[&str]) -> Output {
    let run = trained().run.path().to_str().unwrap();
    convirt([program])
        .args(arguments)
        .args(["--run", run, "--device", "flex"])
        .output()
        .unwrap()
}

/// As [`run`], for what must succeed.
fn succeeds(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let text = text_of(&output);
    assert!(output.status.success(), "{arguments:?}:\n{text}");
    text
}

/// As [`run`], for what must not.
fn fails(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let text = text_of(&output);
    assert!(!output.status.success(), "{arguments:?}:\n{text}");
    text
}

fn model() -> Model {
    Model::load(trained().run.path()).unwrap()
}

fn images() -> Vec<PathBuf> {
    let data = trained().workspace().data();
    convirt::data::ImageFiles::below(&data).unwrap().images
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn near(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let floats = bytes.as_chunks::<4>().0.iter();
    floats.map(|float| f32::from_le_bytes(*float)).collect()
}

#[test]
fn many_images_are_embedded_as_each_by_itself() {
    let (model, images) = (model(), images());
    let loader = LoaderConfig {
        batch_size: 3,
        num_workers: 2,
        ..LoaderConfig::default()
    };
    let images = &images[..7];
    let mut seen = 0;
    for batch in model.embed_images(images, &loader, 0.0).unwrap() {
        let batch = batch.unwrap();
        let features = batch.rows(TowerOutput::Features);
        let both = features.zip(batch.rows(TowerOutput::Embedding));
        for (&index, (features, embedding)) in batch.indices.iter().zip(both) {
            assert_eq!(index, seen);
            assert!(near(embedding, &model.embed_image(&images[index]).unwrap()));
            let tower = model.image_tower();
            let alone = tower.embed_image(&images[index], TowerOutput::Features);
            assert!(near(features, &alone.unwrap()));
            assert_eq!(features.len(), tower.width(TowerOutput::Features));
            seen += 1;
        }
    }
    assert_eq!(seen, 7);
}

/// With images that cannot be read in the shares of both, and a whole batch of them.
#[test]
fn several_devices_embed_the_bits_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (number, image) in images().iter().take(11).enumerate() {
        paths.push(folder.path().join(format!("{number:02}.jpg")));
        std::fs::copy(image, &paths[number]).unwrap();
    }
    for broken in [1, 2, 3, 8] {
        std::fs::write(&paths[broken], "no image").unwrap();
    }
    let texts: Vec<String> = (0..70)
        .map(|place| "The heart is normal. ".repeat(1 + place * 7 % 5))
        .collect();
    let loader = LoaderConfig {
        batch_size: 2,
        num_workers: 2,
        ..LoaderConfig::default()
    };
    let embed = |devices: &str| {
        let devices = Arc::new(Assistants::find(Some(devices)).unwrap());
        let model = Model::load_on(trained().run.path(), devices.device()).unwrap();
        let model = model.with_assistants(devices);
        let mut embedded = model.embed_images(&paths[..], &loader, 0.5).unwrap();
        let images: Vec<EmbeddedBatch> = embedded.by_ref().map(Result::unwrap).collect();
        assert_eq!(embedded.done(), 11);
        let left_out = embedded.into_unreadable().into_iter();
        let left_out: Vec<usize> = left_out.map(|image| image.index).collect();
        let mut embedded = model.embed_texts(&texts, &loader).unwrap();
        // One that begins meanwhile is for the leader alone.
        assert_eq!(model.embed_texts(&texts, &loader).unwrap().count(), 5);
        let texts: Vec<EmbeddedBatch> = embedded.by_ref().map(Result::unwrap).collect();
        assert_eq!(embedded.done(), 70);
        let error = model.embed_images(&paths[..], &loader, 0.2).unwrap();
        let error = error.filter_map(Result::err).next().unwrap().to_string();
        assert!(error.contains("of 11 images cannot be read"), "{error}");
        (images, left_out, texts)
    };
    let expected = embed("flex");
    assert_eq!(expected.1, [1, 2, 3, 8]);
    for devices in ["flex,flex", "flex,flex,flex,flex,flex"] {
        assert!(embed(devices) == expected, "{devices}");
    }
}

#[test]
fn an_assistant_that_cannot_load_the_model_ends_the_embedding_with_its_reason() {
    let devices = Arc::new(Assistants::find(Some("flex,flex")).unwrap());
    let workspace = tempfile::tempdir().unwrap();
    let model_folder = workspace.path().join("model");
    std::fs::create_dir(&model_folder).unwrap();
    for file in std::fs::read_dir(trained().run.path().join("model")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), model_folder.join(file.file_name())).unwrap();
    }
    let model = Model::load_on(&model_folder, devices.device()).unwrap();
    let model = model.with_assistants(devices);
    std::fs::remove_file(model_folder.join("tokenizer.json")).unwrap();
    let texts = vec!["Clear lungs."; 600];
    let mut embedded = model.embed_texts(&texts, &LoaderConfig::default()).unwrap();
    let error = embedded.next().unwrap().unwrap_err().to_string();
    assert!(
        error.contains("peer 1") && error.contains("tokenizer.json"),
        "{error}"
    );
    assert!(embedded.next().is_none());
}

/// Long and short texts, more than are sorted together.
#[test]
fn many_texts_are_embedded_as_each_by_itself_and_in_their_order() {
    let model = model();
    let texts: Vec<String> = (0..40)
        .map(|place| "The heart is normal. ".repeat(1 + place * 7 % 5))
        .collect();
    let loader = LoaderConfig {
        batch_size: 2,
        ..LoaderConfig::default()
    };
    let mut rows = Vec::new();
    for batch in model.embed_texts(&texts, &loader).unwrap() {
        let batch = batch.unwrap();
        assert_eq!(batch.indices[0], rows.len());
        rows.extend(batch.rows(TowerOutput::Embedding).map(<[f32]>::to_vec));
    }
    assert_eq!(rows.len(), texts.len());
    for (row, text) in rows.iter().zip(&texts) {
        assert!(near(row, &model.embed_text(text).unwrap()));
    }
    let nothing: [&str; 0] = [];
    assert!(model.embed_texts(&nothing, &loader).is_err());
}

#[test]
fn the_image_side_alone_is_the_same_model() {
    let tower = ImageModel::load(trained().run.path()).unwrap();
    let model = model();
    assert_eq!(tower.identity().unwrap(), model.identity().unwrap());
    assert_eq!(tower.identity().unwrap().name, trained().run.name());
    let image = trained().an_image();
    let embedding = tower.embed_image(&image, TowerOutput::Embedding).unwrap();
    assert!(near(&embedding, &model.embed_image(&image).unwrap()));
}

#[test]
fn a_folder_becomes_numpy_with_names_and_broken_images_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let images = images();
    for (place, image) in images[..4].iter().enumerate() {
        fs::copy(image, folder.path().join(format!("{place}.png"))).unwrap();
    }
    fs::write(folder.path().join("1.png"), b"no image").unwrap();
    let out = folder.path().join("out.npy");
    let arguments = ["--images", text(folder.path()), "--out", text(&out)];
    let told = fails("embed", &arguments);
    assert!(told.contains("1 of 4 images"), "{told}");
    assert!(told.contains("1.png"), "{told}");
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        4,
        "nothing is left"
    );

    let told = succeeds(
        "embed",
        &[&arguments[..], &["--max-bad-share", "0.25"]].concat(),
    );
    assert!(
        told.contains("left out 1") && told.contains("1.png"),
        "{told}"
    );
    assert!(told.contains("3 × 16"), "{told}");
    let bytes = fs::read(&out).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    assert!(header.contains("'shape': (3, 16)"), "{header}");
    let names = fs::read_to_string(out.with_extension("names.csv")).unwrap();
    let names: Vec<_> = names.lines().skip(1).collect();
    assert_eq!(names.len(), 3);
    assert!(names[1].ends_with("2.png"), "{names:?}");
    let expected = model().embed_image(&images[2]).unwrap();
    assert!(near(&floats(&bytes[start..])[16..32], &expected));
}

#[test]
fn a_manifest_becomes_safetensors_of_features_or_of_texts() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let csv = trained().workspace().data().join("pairs.csv");
    let of_manifest = [
        "--manifest",
        text(&csv),
        "--text-from-files",
        "--split",
        "all",
        "--force",
        "--out",
        text(&out),
    ];
    let read = || {
        let bytes = fs::read(&out).unwrap();
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let names = &metadata.metadata().as_ref().unwrap()["names"];
        let names: Vec<String> = serde_json::from_str(names).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = tensors.tensor("embeddings").unwrap();
        let width = tensor.shape()[1];
        assert_eq!(tensor.shape()[0], names.len());
        (names, width, floats(tensor.data()))
    };

    succeeds("embed", &[&of_manifest[..], &["--features"]].concat());
    let (names, width, numbers) = read();
    assert_eq!((names.len(), width), (images().len(), 512));
    let tower = ImageModel::load(trained().run.path()).unwrap();
    let features = tower.embed_image(&names[3], TowerOutput::Features).unwrap();
    assert!(near(&numbers[3 * width..4 * width], &features));

    succeeds("embed", &[&of_manifest[..], &["--texts"]].concat());
    let (of_texts, width, numbers) = read();
    assert_eq!((&of_texts, width), (&names, 16));
    let table = fs::read_to_string(&csv).unwrap();
    let row: Vec<&str> = table.lines().nth(4).unwrap().split(',').collect();
    let report = fs::read_to_string(csv.with_file_name(row[1])).unwrap();
    let expected = model().embed_text(&report).unwrap();
    assert!(near(&numbers[3 * width..4 * width], &expected));
}

#[test]
fn sentences_of_a_file_are_embedded_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let (sentences, out) = (folder.path().join("a.txt"), folder.path().join("a.npy"));
    fs::write(
        &sentences,
        "The heart is normal.\n\n No effusion, \"none\".\r...\r",
    )
    .unwrap();
    let told = succeeds(
        "embed",
        &["--sentences", text(&sentences), "--out", text(&out)],
    );
    assert!(told.contains("1 lines without a letter or digit"), "{told}");
    let mut names = csv::Reader::from_path(out.with_extension("names.csv")).unwrap();
    let names: Vec<_> = names
        .records()
        .map(|row| row.unwrap()[0].to_string())
        .collect();
    assert_eq!(
        names,
        ["The heart is normal.", "No effusion, \"none\".", "..."]
    );
}

#[test]
fn embeddings_in_bfloat16_are_near_those_in_float32_and_not_the_same() {
    let [exact, rounded] = [Precision::Float32, Precision::BFloat16].map(|precision| {
        let model = model().with_precision(precision);
        assert_eq!(model.precision(), precision);
        [
            model.embed_image(trained().an_image()).unwrap(),
            model.embed_text("Small left pleural effusion.").unwrap(),
        ]
    });
    for (exact, rounded) in exact.iter().zip(&rounded) {
        assert_ne!(exact, rounded);
        assert!(similarity(exact, rounded) > 0.99);
    }
    assert_eq!(model().precision(), Precision::Float32, "unless asked");
}

#[test]
fn the_precision_of_a_program_is_told_has_its_effect_and_is_kept_in_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let (sentences, out) = (folder.path().join("a.txt"), folder.path().join("a.npy"));
    fs::write(&sentences, "The heart is normal.\n").unwrap();
    let of_sentences = [
        "--force",
        "--sentences",
        text(&sentences),
        "--out",
        text(&out),
    ];
    let in_bfloat16 = ["--precision", "bf16"];
    let numbers = |precision| {
        let told = succeeds("embed", &[&of_sentences[..], precision].concat());
        (fs::read(&out).unwrap(), told)
    };
    let (exact, told) = numbers(&[]);
    assert!(told.contains("precision       float32"), "{told}");
    let (rounded, told) = numbers(&in_bfloat16);
    assert!(told.contains("precision       bf16"), "{told}");
    assert_ne!(exact, rounded);

    let index = folder.path().join("chest.index");
    let data = trained().workspace().data();
    let build = ["build", "--images", text(&data), "--out", text(&index)];
    succeeds("index", &[&build[..], &in_bfloat16].concat());
    let precision = EmbeddingIndex::open(&index)
        .unwrap()
        .description()
        .precision;
    assert_eq!(precision, Precision::BFloat16);

    for program in ["embed", "index"] {
        let arguments = match program {
            "embed" => &of_sentences[..],
            _ => &build[..],
        };
        let told = fails(program, &[arguments, &["--precision", "half"]].concat());
        for part in ["half", "float32", "high", "bf16"] {
            assert!(told.contains(part), "no `{part}` in:\n{told}");
        }
    }
}

#[test]
fn an_index_is_built_once_and_answers_images_and_texts() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("chest.index");
    let csv = trained().workspace().data().join("pairs.csv");
    let of_manifest = [
        "--manifest",
        text(&csv),
        "--text-from-files",
        "--out",
        text(&index),
    ];
    succeeds("index", &[&["build"], &of_manifest[..]].concat());

    // An image finds itself first, to the rounding of 16 bits, and its report is shown.
    let image = trained().an_image();
    let told = succeeds(
        "index",
        &["search", text(&index), "--image", text(&image), "-k", "3"],
    );
    let first: Vec<&str> = told.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(first[0], "1");
    assert!(
        (first[1].parse::<f32>().unwrap() - 1.0).abs() < 2e-3,
        "{told}"
    );
    assert_eq!(first[2], text(&image));
    let table = fs::read_to_string(&csv).unwrap();
    let row: Vec<&str> = table.lines().nth(1).unwrap().split(',').collect();
    let report = fs::read_to_string(csv.with_file_name(row[1])).unwrap();
    let words: Vec<&str> = report.split_whitespace().collect();
    assert!(told.contains(&words.join(" ")), "{told}");

    let told = fails("index", &["search", text(&index), "--text", " ... "]);
    assert!(told.contains("no letter or digit"), "{told}");

    // A text finds the image that its embedding is most similar to.
    let (model, sentence) = (model(), "The heart is enlarged.");
    let told = succeeds(
        "index",
        &["search", text(&index), "--text", sentence, "-k", "1"],
    );
    let query = model.embed_text(sentence).unwrap();
    let scores = images().into_iter().map(|image| {
        let score = similarity(&model.embed_image(&image).unwrap(), &query);
        (score, image)
    });
    let (score, _) = scores.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    let first: Vec<&str> = told.lines().nth(1).unwrap().split_whitespace().collect();
    assert!(
        (first[1].parse::<f32>().unwrap() - score).abs() < 2e-3,
        "{told}"
    );

    let texts = folder.path().join("reports.index");
    let of_texts = [&["build", "--texts"], &of_manifest[..4], &[text(&texts)]].concat();
    succeeds("index", &of_texts);
    let opened = EmbeddingIndex::open(&texts).unwrap();
    assert_eq!(opened.description().modality, Modality::Texts);
    let told = succeeds("index", &["search", text(&texts), "--image", text(&image)]);
    assert!(told.contains(" 10  "), "{told}");
}

#[test]
fn an_index_of_another_model_or_of_features_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("chest.index");
    let data = trained().workspace().data();
    let build = [
        "build",
        "--images",
        text(&data),
        "--out",
        text(&index),
        "--features",
    ];
    succeeds("index", &build);
    let told = fails("index", &["search", text(&index), "--text", "Clear."]);
    assert!(told.contains("cannot be compared"), "{told}");

    let workspace = Workspace::new();
    let other = workspace.train(&["max_steps=1", "seed=1"]).unwrap().run;
    let tower = ImageModel::load(&other).unwrap();
    let opened = EmbeddingIndex::open(&index).unwrap();
    let error = opened.check_query(&tower.identity().unwrap(), Modality::Images);
    let error = error.unwrap_err();
    assert!(matches!(error, IndexError::OtherModel { .. }), "{error}");
}

#[test]
fn a_damaged_index_and_an_empty_folder_are_errors_that_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("chest.index");
    let images = ["--images", text(folder.path()), "--out", text(&out)];
    let told = fails("index", &[&["build"], &images[..]].concat());
    assert!(
        told.contains("no images") && told.contains(text(folder.path())),
        "{told}"
    );
    let told = fails("embed", &images);
    assert!(
        told.contains(".safetensors") && told.contains(".npy"),
        "{told}"
    );

    fs::write(&out, b"\x40\0\0\0\0\0\0\0{}").unwrap();
    let told = fails("index", &["search", text(&out), "--text", "Clear."]);
    assert!(
        told.contains("chest.index") && told.contains("damaged"),
        "{told}"
    );
}

#[test]
fn evaluation_tells_precision_and_recall_beside_chance() {
    let csv = trained().workspace().data().join("pairs.csv");
    let of_manifest = ["pairs", "--manifest", text(&csv), "--text-from-files"];
    let of_valid = ["--split-col", "split", "--split", "valid"];
    let told = succeeds("retrieve", &[&of_manifest[..], &of_valid].concat());
    for part in [
        "image → text",
        "recall@10",
        "precision@5",
        "by chance",
        "images, ",
    ] {
        assert!(told.contains(part), "no `{part}` in:\n{told}");
    }
    let of_none = ["--split-col", "split", "--split", "test"];
    let told = fails("retrieve", &[&of_manifest[..], &of_none].concat());
    assert!(told.contains("no row is in the split test"), "{told}");
}

#[test]
fn retrieval_among_the_held_out_pairs_is_what_the_run_told() {
    let name = |name: &str| Column::Name(name.into());
    let manifest = Manifest::read(&ManifestConfig {
        text_from_files: true,
        image: name("image"),
        text: Some(name("text")),
        split: Some(name("split")),
        ..ManifestConfig::new(trained().workspace().data().join("pairs.csv"))
    });
    let studies = manifest.unwrap().studies.into_iter();
    let held_out = studies.filter(|study| study.split == Some(Split::Valid));
    let held_out: Vec<Study> = held_out.collect();
    let loader = LoaderConfig::default();
    let (found, unreadable) =
        PairRetrieval::evaluate(&model(), &held_out, &loader, 0.0, |_, _| ()).unwrap();
    assert!(unreadable.is_empty());
    assert_eq!(Some(found.pairs), trained().summary.retrieval);
}

/// A folder with images in the layout of CheXpert, and in `convirt/` the authors' three lists in small:
/// two findings, eight candidates each, of which a query is none.
pub fn chexpert_lists() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let images = images();
    let named = |place: usize| format!("CheXpert-v1.0-small/train/patient{place:05}.png");
    let mut candidates = "Path,Sex,Edema,Fracture\n".to_string();
    let mut queries = "Variable,Path\n".to_string();
    for (place, image) in images[..20].iter().enumerate() {
        let path = folder.path().join(named(place));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(image, path).unwrap();
        let is_edema = place % 2 == 0;
        match place {
            0..16 if is_edema => candidates += &format!("{},Male,1.0,0.0\n", named(place)),
            0..16 => candidates += &format!("{},Male,,1.0\n", named(place)),
            _ if is_edema => queries += &format!("Edema,{}\n", named(place)),
            _ => queries += &format!("Fracture,{}\n", named(place)),
        }
    }
    let lists = folder.path().join("convirt");
    for (name, list) in [
        ("image-retrieval/candidate.csv", candidates.as_str()),
        ("image-retrieval/query.csv", &queries),
        (
            "text-retrieval/query.csv",
            "Variable,Text\nEdema,Mild edema.\nFracture,A fracture.\n",
        ),
    ] {
        let path = lists.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, list).unwrap();
    }
    folder
}

#[test]
fn the_protocol_of_chexpert_8x200_runs_from_its_lists() {
    let folder = chexpert_lists();
    let lists = folder.path().join("convirt");
    let of = ["chexpert", "--lists", text(&lists), "--images"];
    let told = succeeds("retrieve", &[&of[..], &[text(folder.path())]].concat());
    for part in [
        "image → image, 16 candidates",
        "text → image, 16 candidates",
        "precision@50",
        "Edema",
        "Fracture",
        "50.0 %",
    ] {
        assert!(told.contains(part), "no `{part}` in:\n{told}");
    }
    let told = fails("retrieve", &[&of[..], &[text(&lists)]].concat());
    assert!(
        told.contains("candidate.csv") && told.contains("patient00000"),
        "{told}"
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_no_half_written_file() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let folder = tempfile::tempdir().unwrap();
    let (sentences, out) = (folder.path().join("a.txt"), folder.path().join("a.npy"));
    fs::write(&sentences, "The heart is normal in size.\n".repeat(400_000)).unwrap();
    let mut child = convirt(["embed"])
        .args(["--run", text(trained().run.path()), "--device", "flex"])
        .args(["--sentences", text(&sentences), "--out", text(&out)])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let partial = folder.path().join(format!("a.npy.partial-{}", child.id()));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !partial.exists() {
        assert!(Instant::now() < deadline, "it never began to write");
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
