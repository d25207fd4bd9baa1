//! The numbers of a training do not depend on how many threads compute them.

use burn::tensor::Device;
use convirt::compute::Precision;
use serde_json::Value;

use crate::fixtures::{Workspace, computed, convirt, run_of, text_of};

/// What a training has [computed] on a number of threads.
fn trained_on(threads: &str, precision: Precision, name: &str) -> (Vec<u8>, Vec<Vec<Value>>) {
    let workspace = Workspace::new();
    let config = workspace.config_file();
    // Measured anew, the fastest kernel might be another one.
    let kernel = precision.kernel(&Device::flex()).expect("the CPU has one");
    let output = convirt(["train"])
        .arg("--config")
        .arg(config)
        .args(["--set", "max_steps=4", "--set", "eval_every_n_steps=2"])
        .args(["--set", "model.dropout=0.2", "--set", "log_every_n_steps=1"])
        .args(["--set", &format!("precision={name}")])
        .env("RAYON_NUM_THREADS", threads)
        .env("CONVIRT_KERNEL", kernel.name())
        .output()
        .unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    computed(&run_of(&text))
}

#[test]
fn a_training_on_three_threads_has_the_bits_of_one_on_one_thread() {
    for (precision, name) in [
        (Precision::Float32, "float32"),
        (Precision::BFloat16, "bf16"),
    ] {
        let [one, three] = ["1", "3"].map(|threads| trained_on(threads, precision, name));
        assert_eq!(one.1.len(), 6, "{name}");
        assert_eq!(one.1, three.1, "{name}");
        assert!(one.0 == three.0, "{name}: weights differ");
    }
}
