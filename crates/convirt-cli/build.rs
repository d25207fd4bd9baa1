//! Composes the text of `convirt --version`: the version, the commit of a checkout, the features.

use std::env;
use std::path::Path;
use std::process::Command;

/// The features that change what the program does, as cargo names them to this script.
const FEATURES: [&str; 9] = [
    "flex", "cuda", "wgpu", "vulkan", "metal", "webgpu", "rocm", "cpu", "x86-v4",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_on = |feature: &&str| {
        let name = feature.to_uppercase().replace('-', "_");
        env::var_os(format!("CARGO_FEATURE_{name}")).is_some()
    };
    let features: Vec<&str> = FEATURES.into_iter().filter(is_on).collect();
    let mut parts = vec![format!("backends: {}", features.join(" "))];
    if let Some(commit) = commit() {
        parts.insert(0, format!("commit {commit}"));
    }
    let version = env::var("CARGO_PKG_VERSION").expect("cargo gives the version");
    println!(
        "cargo::rustc-env=CONVIRT_VERSION={version} ({})",
        parts.join(", ")
    );
}

/// Returns the commit of the checkout that contains this package, if it is tracked there. A package
/// that was unpacked inside another repository is not.
fn commit() -> Option<String> {
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    // HEAD changes with the branch, and its log with each commit.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_string())
}
