//! Truncated, inconsistent and malicious weight files are rejected.
//!
//! Each gives a clear error, nothing in it is executed, and reading it does not need far more
//! memory than the file's size.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use burn::store::burn_pack;
use burn::tensor::{Bytes, DType};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::weights::saved_tensor::Values;
use crate::weights::*;

pub type Contents = Vec<(String, Vec<usize>, Vec<f32>)>;

/// Reads all tensors of a file, or returns the error message without the folder's path.
pub fn opened(path: &Path) -> Result<Contents, String> {
    let read = |(name, tensor): (&String, &StoredTensor)| {
        let numbers = match tensor.element_type {
            // Integers that checkpoints of `transformers` contain, and that are never read.
            ElementType::Other(_) if name.ends_with("position_ids") => Vec::new(),
            _ => tensor.read()?,
        };
        Ok((name.clone(), tensor.shape.clone(), numbers))
    };
    let contents =
        WeightsFile::open(path).and_then(|file| file.tensors().iter().map(read).collect());
    contents.map_err(|error: WeightsError| {
        let error = error.to_string();
        let folder = path.parent().unwrap().to_str().unwrap();
        assert!(error.starts_with(folder), "{error}");
        assert!(!error.contains(char::is_control), "{error}");
        assert!(error.len() < 600, "{error}");
        error[folder.len()..].to_string()
    })
}

pub fn opened_as(name: &str, bytes: &[u8]) -> Result<Contents, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    opened(&path)
}

#[track_caller]
pub fn assert_rejected(bytes: &[u8], because: &str) {
    let error = opened_as("weights", bytes).unwrap_err();
    assert!(error.contains(because), "{error}");
}

pub const DAMAGED: &str = "damaged or cut off";

/// Returns a saved file in the format of the extension, with `w`, the numbers 1 to 300, and `b`.
fn saved(name: &str) -> Vec<u8> {
    let tensors = [("b", vec![2]), ("w", vec![3, 100])].map(|(name, shape)| SavedTensor {
        name: name.to_string(),
        values: Values::Floats(Box::new({
            let count = shape.iter().product::<usize>();
            move || (1..=count).map(|i| i as f32).collect()
        })),
        shape,
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    save(tensors.into(), &path).unwrap();
    fs::read(path).unwrap()
}

fn burnpack() -> Vec<u8> {
    let tensors = ["a", "b"].map(|name| {
        let bytes = Bytes::from_bytes_vec(vec![1; 1024]);
        burn_pack::Tensor::new(name.to_string(), DType::F32, [256], None, bytes)
    });
    let bytes = burn_pack::Writer::new(tensors.into()).into_bytes().unwrap();
    bytes.to_vec()
}

fn safetensors(header: &str, numbers: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), &vec![1; numbers]].concat()
}

/// Returns a zip of these entries.
fn zip(entries: &[(&str, &[u8])], is_compressed: bool) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let method = if is_compressed {
        CompressionMethod::Deflated
    } else {
        CompressionMethod::Stored
    };
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        zip.start_file(format!("archive/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Returns a file in the legacy pickle format of `torch.save`.
///
/// It has one storage of 16 numbers if the pickle mentions a storage.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    let has_storage = pickle.windows(7).any(|part| part == b"storage");
    let keys: &[u8] = if has_storage { b"V0\n" } else { b"" };
    [
        &b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."[..],
        b"\x80\x02}X\x0d\0\0\0little_endian\x88s.",
        pickle,
        b"\x80\x02(",
        keys,
        b"l.\x10\0\0\0\0\0\0\0",
        &[1; 64],
    ]
    .concat()
}

fn tar_entry(name: &str, bytes: &[u8], kind: u8) -> Vec<u8> {
    let mut entry = vec![0; 512];
    let field = |entry: &mut Vec<u8>, position: usize, text: &str| {
        entry[position..position + text.len()].copy_from_slice(text.as_bytes());
    };
    field(&mut entry, 0, name);
    field(&mut entry, 124, &format!("{:011o}", bytes.len()));
    field(&mut entry, 257, "ustar  ");
    entry[156] = kind;
    if kind == b'S' {
        // A sparse file of 2^33 - 1 zeros with one empty block of data at its end.
        field(&mut entry, 386, "77777777777");
        field(&mut entry, 398, "00000000000");
        field(&mut entry, 483, "77777777777");
    }
    let sum = entry.iter().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
    field(&mut entry, 148, &format!("{sum:06o}\0 "));
    entry.extend(bytes);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

/// Returns a file in the tar format of `torch.save`: tensor 8 has the 2 numbers of storage 7.
fn tar(views: &[u8], pickle: &[u8]) -> Vec<u8> {
    let storage = |key: char, class: &str, count: &[u8], numbers: &[u8]| {
        let head = format!("\u{2}K{key}X\u{3}\0\0\0cpuq\0ctorch\n{class}\nq\u{1}");
        let count = [count, &[0; 7]].concat();
        [b"\x80", head.as_bytes(), b"\x87q\x02.", &count, numbers].concat()
    };
    let storages = [
        b"\x80\x02K\x02.".to_vec(),
        storage('\x06', "DoubleStorage", b"\x03", &[0xff; 24]),
        storage('\x07', "FloatStorage", b"\x02", b"\0\0\x80?\0\0\0@"),
        views.to_vec(),
    ]
    .concat();
    let tensors = b"I1\n.(I8\nI7\nctorch\nFloatTensor\nt.\x01\0\0\0\0\0\0\0";
    let shape_strides_offset = [2u64, 1, 0].map(u64::to_le_bytes).concat();
    [
        tar_entry("storages", &storages, b'0'),
        tar_entry(
            "tensors",
            &[&tensors[..], &shape_strides_offset].concat(),
            b'0',
        ),
        tar_entry("pickle", pickle, b'0'),
        vec![0; 1024],
    ]
    .concat()
}

/// Returns the pickle of a dictionary with the tensor `w`, whose storage has `count` numbers.
fn pickle(count: &str, shape: &str, strides: &str) -> Vec<u8> {
    let storage = format!("(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI{count}\ntQ");
    let tensor =
        format!("ctorch._utils\n_rebuild_tensor_v2\n({storage}I0\n{shape}{strides}I00\nNtR");
    format!("(dVw\n{tensor}s.").into_bytes()
}

/// Returns a file of each format that contains a pickle. The first two also have its storages.
fn files_with_pickle(pickle: &[u8]) -> [Vec<u8>; 5] {
    let pickle = &[b"\x80\x02", pickle].concat();
    let zip = zip(&[("data.pkl", pickle), ("data/0", &[1; 64])], false);
    let [tar_of_views, tar_of_dictionary] = [tar(pickle, b"N."), tar(b"(l.", pickle)];
    let bare_pickle = pickle.clone();
    [
        zip,
        legacy(pickle),
        bare_pickle,
        tar_of_views,
        tar_of_dictionary,
    ]
}

/// Returns a small valid file of each format. The first four read their numbers on request.
fn small_files() -> Vec<Vec<u8>> {
    let pickle = pickle("16", "(I4\nt", "(I1\nt");
    vec![
        saved("x.safetensors"),
        saved("x.pth"),
        burnpack(),
        legacy(&pickle),
        tar(b"(l.", b"(dVw\nP8\ns."),
        #[cfg(feature = "onnx")]
        super::onnx::small_file(),
    ]
}

fn resize(path: &Path, length: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

#[test]
fn files_of_other_formats_are_rejected_with_a_description() {
    #[rustfmt::skip]
    let files = [
        (&b""[..], "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"<!DOCTYPE html><title>404</title>", "web page"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", "something else"),
        (b"BURN\x01\0\0\0\0\0", "something else"),
        (b"PK\x03\x04", DAMAGED),
        (b"NRUB", DAMAGED),
        (b"\x80\x02", DAMAGED),
    ];
    for (bytes, what) in files {
        assert_rejected(bytes, what);
    }
    assert_rejected(b"BURN", "ONNX (.onnx)");
}

#[test]
fn every_truncated_file_is_rejected() {
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let published = |name| fs::read(published.join(name)).unwrap();
    let large = [
        (published("tiny_bert_1layer.bin"), 20),
        (published("tiny_bert_1layer_legacy.bin"), 200),
    ];
    let small = small_files().into_iter().map(|file| (file, usize::MAX));
    for (whole, lengths) in small.chain(large) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let write = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
        write(&whole);
        let contents = opened(&path).unwrap();
        let step = (whole.len() / lengths).max(1);
        for length in (0..whole.len()).step_by(step) {
            write(&whole[..length]);
            match opened(&path) {
                // Only zeros at the end of a tar can be missing.
                Ok(part) => assert!(part == contents && whole[length..].iter().all(|b| *b == 0)),
                Err(error) => assert!(error.contains(DAMAGED) || error.contains("not weights")),
            }
        }
    }
}

#[test]
fn no_changed_byte_causes_a_panic() {
    for whole in small_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        for position in 0..whole.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[position] ^= change;
                fs::write(&path, changed).unwrap();
                _ = opened(&path);
            }
        }
    }
}

#[test]
fn inconsistent_safetensors_headers_are_rejected() {
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let huge = u64::MAX;
    let overlap = r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},
                      "b":{"dtype":"F32","shape":[3],"data_offsets":[4,16]}}"#;
    #[rustfmt::skip]
    let headers = [
        (tensor("F32", "[3]", "[0,16]"), "tensor"),
        (tensor("F64", "[4]", "[0,16]"), "tensor"),
        (tensor("F32", "[2]", "[0,8]"), "8 bytes of numbers announced, 16 there"),
        (tensor("F32", "[8]", "[0,32]"), "32 bytes of numbers announced, 16 there"),
        (tensor("F32", "[2]", "[8,16]"), "offset"),
        (tensor("F32", "[4]", "[16,0]"), "offset"),
        (overlap.to_string(), "offset"),
        (tensor("F32", "[4]", "[0,-16]"), "its header"),
        (tensor("F32", "[-4]", "[0,16]"), "its header"),
        (tensor("F31", "[4]", "[0,16]"), "its header"),
        (tensor("F32", &format!("[{huge},{huge}]"), "[0,16]"), "overflow"),
        (tensor("F32", &format!("[{huge}]"), "[0,16]"), "overflow"),
        (tensor("F32", &format!("[{huge},{huge},0]"), "[0,16]"), "overflow"),
        (tensor("F32", "[4]", &format!("[0,{huge}]")), "tensor"),
        (tensor("F32", &"[".repeat(10_000), "[0,16]"), "its header"),
        (tensor("I64", "[2]", "[0,16]"), "i64, which is not a real number"),
        (r#"{"__metadata__":{"a":1}}"#.to_string(), "its header"),
        (r#"{"w":1}"#.to_string(), "its header"),
        ("{".to_string(), "its header"),
    ];
    assert!(opened_as("weights", &safetensors(&tensor("F32", "[4]", "[0,16]"), 16)).is_ok());
    for (header, because) in headers {
        assert_rejected(&safetensors(&header, 16), because);
    }
    for length in [1 << 20, 1 << 40, u64::MAX] {
        let file = [&length.to_le_bytes()[..], b"{}"].concat();
        assert_rejected(&file, "beyond its end");
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    fs::write(&path, [&150_000_000u64.to_le_bytes()[..], b"{"].concat()).unwrap();
    resize(&path, 200_000_000);
    assert!(opened(&path).unwrap_err().contains("above 100 MB"));
}

#[test]
fn inconsistent_pickles_are_rejected() {
    let nested = |depth| [b"(dVw\n".repeat(depth), b"N".to_vec(), b"s".repeat(depth)].concat();
    #[rustfmt::skip]
    let pickles = [
        (pickle("16", "(I17\nt", "(I1\nt"), "needs 17 elements"),
        (pickle("16", "(I2\nI2\nt", "(I15\nI1\nt"), "needs 17 elements"),
        (pickle("1000000", "(I20\nt", "(I1\nt"), "16 are available"),
        (pickle("16", "(I-1\nt", "(I1\nt"), "negative"),
        (pickle("-1", "(I1\nt", "(I1\nt"), "negative"),
        (pickle("16", "(I2\nI2\nt", "(I1\nt"), "rank"),
        (pickle("9223372036854775807", "(I1\nt", "(I1\nt"), "overflow"),
        (pickle("16", "(I4294967296\nI4294967296\nt", "(I0\nI0\nt"), "overflow"),
        // `expand` gives such strides: one number is repeated.
        (pickle("16", "(I1000000\nt", "(I0\nt"), "tensor `w` is larger than the file"),
        (pickle("16", "(I9999999999999\nt", "(I0\nt"), "limit"),
        ([nested(5000), b".".to_vec()].concat(), "nesting"),
        ([b"]".repeat(5000), b"a".repeat(4999), b".".to_vec()].concat(), "nesting"),
        ([b"(".repeat(5000), b".".to_vec()].concat(), "MARK"),
        (b"(dVw\nVtext\nQs.".to_vec(), "persistent id"),
        (b"(dVw\n\x82\x01s.".to_vec(), "Ext1"),
        (b"(dVw\n\xffs.".to_vec(), "opcode"),
        (b"(dVw\nh\x07s.".to_vec(), "memo"),
        (b"X\xff\xff\xff\xffw.".to_vec(), "expected 4294967295 bytes"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffw.".to_vec(), "expected 18446744073709551615 bytes"),
        (b"N.".to_vec(), "Expected a dictionary"),
        (b".".to_vec(), "underflow"),
    ];
    for (pickle, because) in pickles {
        for file in &files_with_pickle(&pickle)[..2] {
            let error = opened_as("weights", file).unwrap_err();
            assert!(error.contains(DAMAGED), "{error}");
            // The legacy format has no directory, so that a wrong size gives a wrong position.
            let is_beyond = error.contains("beyond the end of the file");
            assert!(is_beyond || error.contains(because), "{error}");
        }
    }
}

#[test]
fn calls_in_a_pickle_are_not_executed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    let marker = folder.path().join("was-executed");
    let call = format!("cos\nsystem\n(Vtouch {}\ntR", marker.display());
    let weights = String::from_utf8(pickle("16", "(I4\nt", "(I1\nt")).unwrap();
    let beside = weights.replace("s.", &format!("sVcall\n{call}s."));
    let built = format!("(dVw\n{call}(dVw\nI1\nsbs.");
    for (pickle, tensors) in [
        (format!("{call}."), None),
        (beside, Some(1)),
        (built, Some(0)),
    ] {
        for file in &files_with_pickle(pickle.as_bytes())[..2] {
            fs::write(&path, file).unwrap();
            match opened(&path) {
                Ok(contents) => assert_eq!(Some(contents.len()), tensors),
                Err(error) => assert!(tensors.is_none() && error.contains("found os.system")),
            }
            assert!(!marker.exists());
        }
    }
}

#[test]
fn inconsistent_indices_are_rejected() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("model");
    fs::create_dir_all(folder.join("folder")).unwrap();
    for name in ["a.safetensors", "b.safetensors", "../a.safetensors"] {
        fs::write(folder.join(name), saved("x.safetensors")).unwrap();
    }
    let path = folder.join("model.safetensors.index.json");
    let outside = "not the name of a file of weights beside it";
    let absolute = format!(r#"{{"w":{:?}}}"#, folder.join("a.safetensors"));
    let long = format!(r#"{{"w":"{}"}}"#, "x".repeat(10_000));
    let deep = "[".repeat(10_000);
    #[rustfmt::skip]
    let maps = [
        (r#"{"w":"../a.safetensors"}"#, outside),
        (&absolute, outside),
        (r#"{"w":"./a.safetensors"}"#, outside),
        (r#"{"w":".."}"#, outside),
        (r#"{"w":""}"#, outside),
        (r#"{"w":"a\u0000b"}"#, outside),
        (r#"{"w":"model.safetensors.index.json"}"#, outside),
        (&long, outside),
        (r#"{"w":"folder"}"#, "folder: cannot be read"),
        (r#"{"w":"c.safetensors"}"#, "c.safetensors: cannot be read"),
        (r#"{"x":"a.safetensors"}"#, "no tensor `x` in a.safetensors"),
        (r#"{"w":"a.safetensors","b":"b.safetensors"}"#, "in another part"),
        (r#"{"w":1}"#, "expected a string"),
        (&deep, DAMAGED),
        ("", DAMAGED),
    ];
    let write = |map| fs::write(&path, format!(r#"{{"weight_map":{map}}}"#)).unwrap();
    write(r#"{"w":"a.safetensors"}"#);
    assert_eq!(opened(&path).unwrap().len(), 2);
    for (map, because) in maps {
        write(map);
        let error = opened(&path).unwrap_err();
        assert!(error.contains(because), "{error}");
    }
    fs::write(&path, "").unwrap();
    assert!(opened(&path).unwrap_err().contains(DAMAGED));
}

#[test]
fn inconsistent_burn_files_are_rejected() {
    let whole = burnpack();
    assert_eq!(opened_as("weights", &whole).unwrap().len(), 2);
    let changed = |old: &[u8], new: &[u8]| {
        let position = whole
            .windows(old.len())
            .rposition(|part| part == old)
            .unwrap();
        let mut file = whole.clone();
        file[position..position + new.len()].copy_from_slice(new);
        file
    };
    // Lengths and offsets are CBOR's 16-bit integers.
    let shape = b"\x81\x19\x01\x00";
    let offsets = b"\x82\x19\x04\x00\x19\x08\x00";
    let overlapping = changed(offsets, b"\x82\x19\x00\x00\x19\x04\x00");
    let beyond = changed(offsets, b"\x82\x19\x08\x00\x19\x0c\x00");
    let backwards = changed(offsets, b"\x82\x19\x08\x00\x19\x04\x00");
    assert_rejected(&overlapping[..overlapping.len() - 1024], "overlap");
    assert_rejected(&beyond, "truncated");
    assert_rejected(&backwards, "corrupted offset");
    assert_rejected(&changed(shape, b"\x81\x19\x01\x01"), "need 1028");
    let mut names = whole.clone();
    names[6..10].fill(0xff);
    assert_rejected(&names, "beyond its end");
    assert_rejected(&[b"NRUB\x02\0\0\0\0\0", &[0; 256][..]].concat(), "version");
}

#[test]
fn a_file_that_is_truncated_while_it_is_open_is_noticed() {
    for whole in &small_files()[..4] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        fs::write(&path, whole).unwrap();
        let file = WeightsFile::open(&path).unwrap();
        resize(&path, 12);
        for tensor in file.tensors().values() {
            let error = tensor.read().unwrap_err().to_string();
            assert!(error.contains(DAMAGED), "{error}");
        }
    }
}

/// Small files whose pickles or compressed entries need gigabytes of memory.
#[test]
fn decompression_bombs_are_rejected() {
    let repeated = |object: String| {
        let list = format!("(dVw\n({object}q\u{1}{}ls.", "h\u{1}".repeat(30_000));
        list.into_bytes()
    };
    let long = "x".repeat(60_000);
    let long_shape = format!("({}t", "I1\n".repeat(20_000));
    let tensor = |shape: &str| {
        let pickle = String::from_utf8(pickle("16", shape, shape)).unwrap();
        pickle["(dVw\n".len()..pickle.len() - "s.".len()].to_string()
    };
    let (long_tensor, tensor) = (tensor(&long_shape), tensor("(I1\nt"));
    let names: String = (0..20_000).map(|i| format!("V{i}\nh\x01s")).collect();
    for pickle in [
        repeated(format!("c{long}\nx\n")),
        repeated(format!("(dV{long}\nNs")),
        repeated(long_tensor),
        format!("(dVt\n{tensor}q\x01sV{long}\n(d{names}s.").into_bytes(),
        format!("(dVt\nP8\nq\x01sV{long}\n(d{names}s.").into_bytes(),
        [b"Nq\0".to_vec(), b"h\0h\0\x86q\0".repeat(40), b".".to_vec()].concat(),
    ] {
        for file in files_with_pickle(&pickle) {
            let error = opened_as("weights", &file).unwrap_err();
            assert!(error.contains("far more memory"), "{error}");
        }
    }

    let zeros = vec![0; 64 << 20];
    let numbers = pickle("16777216", "(I2\nt", "(I16777215\nt");
    let numbers = [b"\x80\x02", &numbers[..]].concat();
    let zips = [
        zip(&[("data.pkl", &zeros)], true),
        zip(&[("data.pkl", &numbers), ("data/0", &zeros)], true),
    ];
    zips.iter()
        .for_each(|zip| assert_rejected(zip, "unpacks to more than the file"));
    let holes = [tar_entry("storages", b"", b'S'), vec![0; 1024]].concat();
    assert_rejected(&holes, "more than plain files");
}

/// The limit is 1 GiB of address space, most of which the program and its threads need themselves.
#[cfg(target_os = "linux")]
#[test]
fn decompression_bombs_are_rejected_within_little_memory() {
    let tests = [
        "malformed::decompression_bombs_are_rejected",
        #[cfg(feature = "onnx")]
        "onnx::a_graph_of_many_nodes_needs_little_memory",
    ];
    for test in tests {
        let child = std::process::Command::new("sh")
            .args(["-c", "ulimit -v 1048576; exec \"$0\" \"$1\" --exact"])
            .arg(std::env::current_exe().unwrap())
            .arg(format!("weights::tests::{test}"))
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(output.contains("1 passed"), "{output}");
    }
}

#[test]
fn impossible_sizes_give_no_network() {
    let tensor = |name: &str, shape: &str, offsets: &str| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}"#)
    };
    let empty_shape = "[1125899906842624,0]";
    let header = [
        tensor("embeddings.word_embeddings.weight", "[1,2]", "[0,8]"),
        tensor("encoder.layer.0.output.dense.bias", "[2]", "[8,16]"),
        tensor(
            "embeddings.token_type_embeddings.weight",
            empty_shape,
            "[16,16]",
        ),
        tensor(
            "embeddings.position_embeddings.weight",
            empty_shape,
            "[16,16]",
        ),
        tensor(
            "encoder.layer.0.intermediate.dense.bias",
            empty_shape,
            "[16,16]",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    fs::write(&path, safetensors(&format!("{{{}}}", header.join(",")), 16)).unwrap();
    let inspection = Inspection::read(&path).unwrap().to_string();
    assert!(inspection.contains("no network"), "{inspection}");
}
