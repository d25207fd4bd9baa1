//! Files that are cut off, contradict themselves or mean harm: a clear error each, nothing run, and
//! no memory out of proportion to the file.

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

/// What a file has, or what is said of it behind its path.
pub fn opened(path: &Path) -> Result<Contents, String> {
    let read = |(name, tensor): (&String, &StoredTensor)| {
        let numbers = match tensor.element_type {
            // As every checkpoint has.
            ElementType::Other(_) if name.ends_with("position_ids") => Vec::new(),
            _ => tensor.read()?,
        };
        Ok((name.clone(), tensor.shape.clone(), numbers))
    };
    let contents =
        WeightsFile::open(path).and_then(|file| file.tensors().iter().map(read).collect());
    contents.map_err(|error: WeightsError| {
        let error = error.to_string();
        let named = path.parent().unwrap().to_str().unwrap();
        assert!(error.starts_with(named), "{error}");
        assert!(!error.contains(char::is_control), "{error}");
        assert!(error.len() < 600, "{error}");
        error[named.len()..].to_string()
    })
}

pub fn opened_as(name: &str, bytes: &[u8]) -> Result<Contents, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    opened(&path)
}

#[track_caller]
pub fn refused(bytes: &[u8], because: &str) {
    let error = opened_as("weights", bytes).unwrap_err();
    assert!(error.contains(because), "{error}");
}

pub const DAMAGED: &str = "damaged or cut off";

/// `w`, 1 to 300, and `b` in the format of a name.
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

/// A zip of these entries, deflated where `is_small`.
fn zip(entries: &[(&str, &[u8])], is_small: bool) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(match is_small {
        true => CompressionMethod::Deflated,
        false => CompressionMethod::Stored,
    });
    for (name, bytes) in entries {
        zip.start_file(format!("archive/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// What `torch.save` wrote before the zips, with one storage of 16 numbers if there is to be one.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    let keys: &[u8] = match pickle.windows(7).any(|part| part == b"storage") {
        true => b"V0\n",
        false => b"",
    };
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
    let field = |entry: &mut Vec<u8>, at: usize, text: &str| {
        entry[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    field(&mut entry, 0, name);
    field(&mut entry, 124, &format!("{:011o}", bytes.len()));
    field(&mut entry, 257, "ustar  ");
    entry[156] = kind;
    if kind == b'S' {
        // One empty block of data at the end of 2^33 - 1 zeros.
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

/// What `torch.save` wrote before the pickles: tensor 8, of the 2 numbers of storage 7.
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
    let sides = [2u64, 1, 0].map(u64::to_le_bytes).concat();
    [
        tar_entry("storages", &storages, b'0'),
        tar_entry("tensors", &[&tensors[..], &sides].concat(), b'0'),
        tar_entry("pickle", pickle, b'0'),
        vec![0; 1024],
    ]
    .concat()
}

/// A dictionary with the tensor `w` of a storage of `count` numbers.
fn pickle(count: &str, shape: &str, strides: &str) -> Vec<u8> {
    let storage = format!("(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI{count}\ntQ");
    let tensor =
        format!("ctorch._utils\n_rebuild_tensor_v2\n({storage}I0\n{shape}{strides}I00\nNtR");
    format!("(dVw\n{tensor}s.").into_bytes()
}

/// The files that can hold a pickle, of which the first two can have its storages.
fn holding(pickle: &[u8]) -> [Vec<u8>; 5] {
    let pickle = &[b"\x80\x02", pickle].concat();
    let zip = zip(&[("data.pkl", pickle), ("data/0", &[1; 64])], false);
    let [views, itself] = [tar(pickle, b"N."), tar(b"(l.", pickle)];
    [zip, legacy(pickle), pickle.clone(), views, itself]
}

/// A small file of each format. Of the first four, numbers are read when they are asked for.
fn small() -> Vec<Vec<u8>> {
    let pickle = pickle("16", "(I4\nt", "(I1\nt");
    vec![
        saved("x.safetensors"),
        saved("x.pth"),
        burnpack(),
        legacy(&pickle),
        tar(b"(l.", b"(dVw\nP8\ns."),
        #[cfg(feature = "onnx")]
        super::onnx::small(),
    ]
}

fn resize(path: &Path, length: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

#[test]
fn what_is_no_weights_is_named() {
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
        refused(bytes, what);
    }
}

#[test]
fn no_part_of_a_file_passes_for_the_whole() {
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let published = |name| fs::read(published.join(name)).unwrap();
    let large = [
        (published("tiny_bert_1layer.bin"), 20),
        (published("tiny_bert_1layer_legacy.bin"), 200),
    ];
    let small = small().into_iter().map(|file| (file, usize::MAX));
    for (whole, places) in small.chain(large) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let write = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
        write(&whole);
        let contents = opened(&path).unwrap();
        let step = (whole.len() / places).max(1);
        for length in (0..whole.len()).step_by(step) {
            write(&whole[..length]);
            match opened(&path) {
                // The zeros at the end of a tar.
                Ok(part) => assert!(part == contents && whole[length..].iter().all(|b| *b == 0)),
                Err(error) => assert!(error.contains(DAMAGED) || error.contains("not weights")),
            }
        }
    }
}

#[test]
fn no_changed_byte_makes_a_file_panic() {
    for whole in small() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        for at in 0..whole.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                fs::write(&path, changed).unwrap();
                _ = opened(&path);
            }
        }
    }
}

#[test]
fn headers_of_safetensors_that_lie_are_refused() {
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
        refused(&safetensors(&header, 16), because);
    }
    for length in [1 << 20, 1 << 40, u64::MAX] {
        let file = [&length.to_le_bytes()[..], b"{}"].concat();
        refused(&file, "beyond its end");
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    fs::write(&path, [&150_000_000u64.to_le_bytes()[..], b"{"].concat()).unwrap();
    resize(&path, 200_000_000);
    assert!(opened(&path).unwrap_err().contains("above 100 MB"));
}

#[test]
fn pickles_that_lie_are_refused() {
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
        // What `expand` gives: one number, seen as often as one likes.
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
        for file in &holding(&pickle)[..2] {
            let error = opened_as("weights", file).unwrap_err();
            assert!(error.contains(DAMAGED), "{error}");
            // Without a directory, the place of a storage is only known from its size.
            let is_beyond = error.contains("beyond the end of the file");
            assert!(is_beyond || error.contains(because), "{error}");
        }
    }
}

#[test]
fn what_a_pickle_calls_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    let mark = folder.path().join("was-run");
    let call = format!("cos\nsystem\n(Vtouch {}\ntR", mark.display());
    let weights = String::from_utf8(pickle("16", "(I4\nt", "(I1\nt")).unwrap();
    let beside = weights.replace("s.", &format!("sVcall\n{call}s."));
    let built = format!("(dVw\n{call}(dVw\nI1\nsbs.");
    for (pickle, tensors) in [
        (format!("{call}."), None),
        (beside, Some(1)),
        (built, Some(0)),
    ] {
        for file in &holding(pickle.as_bytes())[..2] {
            fs::write(&path, file).unwrap();
            match opened(&path) {
                Ok(contents) => assert_eq!(Some(contents.len()), tensors),
                Err(error) => assert!(tensors.is_none() && error.contains("found os.system")),
            }
            assert!(!mark.exists());
        }
    }
}

#[test]
fn indices_that_lie_are_refused() {
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
fn burnpacks_that_lie_are_refused() {
    let whole = burnpack();
    assert_eq!(opened_as("weights", &whole).unwrap().len(), 2);
    let changed = |from: &[u8], to: &[u8]| {
        let at = whole
            .windows(from.len())
            .rposition(|part| part == from)
            .unwrap();
        let mut file = whole.clone();
        file[at..at + to.len()].copy_from_slice(to);
        file
    };
    // Lengths and offsets are CBOR's 16-bit integers.
    let side = b"\x81\x19\x01\x00";
    let offsets = b"\x82\x19\x04\x00\x19\x08\x00";
    let overlapping = changed(offsets, b"\x82\x19\x00\x00\x19\x04\x00");
    let beyond = changed(offsets, b"\x82\x19\x08\x00\x19\x0c\x00");
    let backwards = changed(offsets, b"\x82\x19\x08\x00\x19\x04\x00");
    refused(&overlapping[..overlapping.len() - 1024], "overlap");
    refused(&beyond, "truncated");
    refused(&backwards, "corrupted offset");
    refused(&changed(side, b"\x81\x19\x01\x01"), "need 1028");
    let mut names = whole.clone();
    names[6..10].fill(0xff);
    refused(&names, "beyond its end");
    refused(&[b"NRUB\x02\0\0\0\0\0", &[0; 256][..]].concat(), "version");
}

#[test]
fn a_file_that_changes_once_it_is_open_is_noticed() {
    for whole in &small()[..4] {
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

/// Small files that ask for gigabytes.
#[test]
fn bombs_are_refused() {
    let repeated = |made: String| {
        let list = format!("(dVw\n({made}q\u{1}{}ls.", "h\u{1}".repeat(30_000));
        list.into_bytes()
    };
    let long = "x".repeat(60_000);
    let sides = format!("({}t", "I1\n".repeat(20_000));
    let tensor = |sides: &str| {
        let pickle = String::from_utf8(pickle("16", sides, sides)).unwrap();
        pickle["(dVw\n".len()..pickle.len() - "s.".len()].to_string()
    };
    let (scalar, tensor) = (tensor(&sides), tensor("(I1\nt"));
    let names: String = (0..20_000).map(|i| format!("V{i}\nh\x01s")).collect();
    for pickle in [
        repeated(format!("c{long}\nx\n")),
        repeated(format!("(dV{long}\nNs")),
        repeated(scalar),
        format!("(dVt\n{tensor}q\x01sV{long}\n(d{names}s.").into_bytes(),
        format!("(dVt\nP8\nq\x01sV{long}\n(d{names}s.").into_bytes(),
        [b"Nq\0".to_vec(), b"h\0h\0\x86q\0".repeat(40), b".".to_vec()].concat(),
    ] {
        for file in holding(&pickle) {
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
        .for_each(|zip| refused(zip, "unpacks to more than the file"));
    let holes = [tar_entry("storages", b"", b'S'), vec![0; 1024]].concat();
    refused(&holes, "more than plain files");
}

/// In 1 GiB of addresses, most of which are the program's and its threads'.
#[cfg(target_os = "linux")]
#[test]
fn bombs_are_refused_within_little_memory() {
    let bombs = [
        "malformed::bombs_are_refused",
        #[cfg(feature = "onnx")]
        "onnx::a_graph_of_many_nodes_is_no_bomb",
    ];
    for bomb in bombs {
        let child = std::process::Command::new("sh")
            .args(["-c", "ulimit -v 1048576; exec \"$0\" \"$1\" --exact"])
            .arg(std::env::current_exe().unwrap())
            .arg(format!("weights::tests::{bomb}"))
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(output.contains("1 passed"), "{output}");
    }
}

#[test]
fn sizes_that_lie_make_no_network() {
    let tensor = |name: &str, shape: &str, offsets: &str| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}"#)
    };
    let none = "[1125899906842624,0]";
    let header = [
        tensor("embeddings.word_embeddings.weight", "[1,2]", "[0,8]"),
        tensor("encoder.layer.0.output.dense.bias", "[2]", "[8,16]"),
        tensor("embeddings.token_type_embeddings.weight", none, "[16,16]"),
        tensor("embeddings.position_embeddings.weight", none, "[16,16]"),
        tensor("encoder.layer.0.intermediate.dense.bias", none, "[16,16]"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    fs::write(&path, safetensors(&format!("{{{}}}", header.join(",")), 16)).unwrap();
    let inspection = Inspection::read(&path).unwrap().to_string();
    assert!(inspection.contains("no network"), "{inspection}");
}
