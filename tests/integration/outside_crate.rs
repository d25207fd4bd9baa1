//! A crate of its own, outside the workspace, uses convirt as its manual says.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::fixtures;

/// What `README.md` shows a user of the library, as a program that takes the run and the image as
/// arguments.
fn program() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let code = readme.split("```rust,no_run\n").nth(1).unwrap();
    let code = code.split("```").next().unwrap();
    let argument = |place: usize| format!("std::env::args().nth({place}).unwrap()");
    let program = code
        .replace("\"runs/2026-01-16_02-27-36_phantom\"", &argument(1))
        .replace("\"chest.png\"", &argument(2));
    assert_ne!(program, code);
    program
}

#[test]
fn a_crate_that_depends_on_convirt_by_path_with_flex_alone_embeds_and_scores() {
    let trained = fixtures::trained();
    let folder = tempfile::tempdir().unwrap();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/main.rs"), program()).unwrap();
    fs::write(
        folder.path().join("Cargo.toml"),
        format!(
            r#"
[package]
name = "outside"
version = "0.1.0"
edition = "2024"

[workspace]

[dependencies]
convirt = {{ path = {:?}, default-features = false, features = ["flex"] }}

{}"#,
            crates.join("convirt"),
            profiles()
        ),
    )
    .unwrap();
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"),
        folder.path().join("Cargo.lock"),
    )
    .unwrap();

    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--"])
        .arg(trained.run.path())
        .arg(trained.an_image())
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", target_dir())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");

    let model = convirt::Model::load(trained.run.path()).unwrap();
    let image = model.embed_image(trained.an_image()).unwrap();
    let text = model.embed_text("The heart is enlarged.").unwrap();
    let line = format!(
        "{:+.3} The heart is enlarged.",
        convirt::similarity(&image, &text)
    );
    assert!(stdout.contains(&line), "expected {line} in:\n{stdout}");
}

/// The profiles of the workspace, so that the dependencies that it compiled with the same features
/// serve here.
fn profiles() -> String {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let (_, profiles) = manifest.split_once("\n[profile.dev]").unwrap();
    let (profiles, _) = profiles.split_once("\n[package]").unwrap();
    format!("[profile.dev]{profiles}")
}

/// The folder that this test was built in: `<target>/<profile>/deps/<this>`.
fn target_dir() -> std::path::PathBuf {
    let executable = std::env::current_exe().unwrap();
    executable.ancestors().nth(3).unwrap().to_path_buf()
}
