//! Writes the inputs that a target starts from: `seeds TARGET FOLDER`.

use std::error::Error;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use convirt_data::ReportTokenizer;
use convirt_phantom::PhantomConfig;
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};

/// What instrumented crates call, which in a target is libFuzzer's.
macro_rules! without_coverage {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name() {}
        )*
    };
}

without_coverage! {
    __sanitizer_cov_8bit_counters_init
    __sanitizer_cov_pcs_init
    __sanitizer_cov_trace_cmp1
    __sanitizer_cov_trace_cmp2
    __sanitizer_cov_trace_cmp4
    __sanitizer_cov_trace_cmp8
    __sanitizer_cov_trace_const_cmp1
    __sanitizer_cov_trace_const_cmp2
    __sanitizer_cov_trace_const_cmp4
    __sanitizer_cov_trace_const_cmp8
    __sanitizer_cov_trace_pc_indir
    __sanitizer_cov_trace_switch
}

const REPORT: &str = "INDICATION: Cough.\n\nFINDINGS: The lungs are clear. 1. No effusion.\n\
    2. Heart size is 12.5 cm.\n\nIMPRESSION:\nNormal chest.\n\n\
    Dictated by: Dr. ___\nFindings were discussed with Dr. ___ at 10:30 a.m.\n";

const XML: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR1"/><MedlineCitation><Article><Abstract>
<AbstractText Label="FINDINGS">Heart &gt; 50 % &#x26; large. <![CDATA[1 < 2]]></AbstractText>
<AbstractText Label="IMPRESSION"> Cardiomegaly. </AbstractText>
</Abstract></Article></MedlineCitation>
<MeSH><major>Cardiomegaly/mild</major><automatic>Cardiomegaly</automatic></MeSH>
<parentImage id="CXR1_IM-1"><caption>Xray</caption></parentImage></eCitation>"#;

type Inputs = Vec<Vec<u8>>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, folder] = &arguments[..] else {
        return Err("seeds TARGET FOLDER".into());
    };
    let mut inputs = match target.as_str() {
        "reports" => reports()?,
        "manifest" => manifests(),
        "openi" => openi(),
        "shards" => shards()?,
        "image" => images()?,
        "dicom" => dicom()?,
        "tokenizer" => tokenizers()?,
        #[cfg(feature = "convirt")]
        target => weights::inputs(target)?,
        #[cfg(not(feature = "convirt"))]
        _ => Vec::new(),
    };
    // Small files that no program here writes.
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    for entry in fs::read_dir(committed).into_iter().flatten() {
        let file = fs::read(entry?.path())?;
        inputs.push(match target.as_str() {
            "torch" => with_mode(b'f', &[&file]),
            _ => file,
        });
    }
    for (number, input) in inputs.iter().enumerate() {
        fs::write(Path::new(folder).join(format!("seed-{number}")), input)?;
    }
    println!("{} seeds", inputs.len());
    Ok(())
}

fn with_mode(mode: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut input = vec![mode];
    input.extend(parts.join(&0));
    input
}

fn reports() -> Result<Inputs, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let phantom = folder.path().join("phantom");
    let config = PhantomConfig {
        patients: 4,
        longer_side: 64,
        seed: 0,
    };
    config.write(&phantom, |_, _| ())?;
    let table = fs::read_to_string(phantom.join("pairs.csv"))?;
    let rows = table.lines().skip(1).map(|line| line.as_bytes().to_vec());
    Ok(rows.chain([REPORT.into()]).collect())
}

fn manifests() -> Inputs {
    let pairs = "image,text,patient,split\na.png,\"The lungs, as before, are clear.\",p1,train\n\
        b.png,A small effusion is seen.,p2,valid\nnone.png,\"\"\"Normal\"\"\",,\n";
    let files = "image;text\na.png;a.txt\nb.png;a.txt\n";
    let classes = "Path,label,who,split\na.png,effusion,p1,train\nb.png,normal,p2,test\n";
    let findings = "Path,Edema,Fracture,split\na.png,1,-1,\nb.png,0.0,,\n";
    let lists = "Path,Findings,who\na.png,Edema|Effusion,p1\nb.png,No Finding,p2\n";
    [
        (0, pairs),
        (2, files),
        (1, classes),
        (49, classes),
        (3, findings),
        (5, lists),
        (21, lists),
    ]
    .map(|(mode, table)| with_mode(mode, &[table.as_bytes()]))
    .into()
}

fn openi() -> Inputs {
    let mut header = [0u8; 512];
    header[..5].copy_from_slice(b"1.xml");
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(format!("{:011o}", XML.len()).as_bytes());
    header[156] = b'0';
    header[257..262].copy_from_slice(b"ustar");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut archive = header.to_vec();
    archive.extend(XML.bytes());
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    let table = "dicom_id,subject_id,study_id,ViewPosition,Edema,split\n\
        02aa804e-bde0afdd,10000032,50414267,PA,1.0,train\n";
    vec![
        with_mode(b'x', &[XML.as_bytes()]),
        with_mode(b't', &[&archive]),
        with_mode(b'c', &[table.as_bytes()]),
    ]
}

/// Two samples with their texts, and one whose text is a field.
fn shards() -> Result<Inputs, Box<dyn Error>> {
    let image = DynamicImage::from(GrayImage::from_fn(9, 8, |x, y| Luma([(x * 9 + y) as u8])));
    let [png, jpeg] = [ImageFormat::Png, ImageFormat::Jpeg].map(|format| encoded(&image, format));
    let (png, jpeg) = (png?, jpeg?);
    let text = b"The lungs are clear.";
    let fields = br#"{"text": "No pleural effusion is seen.", "subject_id": 10, "split": "valid"}"#;
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [
        ("a/1.png", &png[..]),
        ("a/1.txt", text),
        ("2.jpg", &jpeg),
        ("2.json", fields),
        ("2.txt", text),
        ("3.jpeg", &jpeg),
        ("3.json", fields),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content)?;
    }
    Ok(vec![archive.into_inner()?])
}

/// Images of all sample types in both formats, and those of the crate's tests.
fn images() -> Result<Inputs, Box<dyn Error>> {
    let grey = GrayImage::from_fn(24, 17, |x, y| Luma([(x * 9 + y * 3) as u8]));
    let colour = RgbImage::from_fn(17, 24, |x, y| Rgb([x as u8 * 9, y as u8 * 7, 90]));
    let grey = DynamicImage::from(grey);
    let colour = DynamicImage::from(colour);
    let mut inputs = Vec::new();
    for image in [
        grey.clone(),
        grey.to_luma16().into(),
        grey.to_luma_alpha8().into(),
        colour.clone(),
        colour.to_rgba8().into(),
        colour.to_rgb16().into(),
    ] {
        inputs.push(encoded(&image, ImageFormat::Png)?);
    }
    for image in [grey, colour] {
        inputs.push(encoded(&image, ImageFormat::Jpeg)?);
    }
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/convirt-data/tests/data");
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "png" || end == "jpg") {
            inputs.push(fs::read(path)?);
        }
    }
    Ok(inputs)
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format)?;
    Ok(bytes.into_inner())
}

/// A grey image of 8 and of 16 bits in each way of storing pixels; the compressed ones get bytes
/// that only JPEG can read.
fn dicom() -> Result<Inputs, Box<dyn Error>> {
    let grey = GrayImage::from_fn(24, 16, |x, y| Luma([(x * 9 + y * 3) as u8]));
    let jpeg = encoded(&grey.clone().into(), ImageFormat::Jpeg)?;
    let samples: Vec<u8> = grey.pixels().map(|pixel| pixel[0]).collect();
    let wide: Vec<u8> = samples.iter().flat_map(|&sample| [sample, 1]).collect();
    let mut run_length = vec![0u8; 64];
    run_length[0] = 1;
    run_length[4] = 64;
    for part in samples.chunks(128) {
        run_length.push(part.len() as u8 - 1);
        run_length.extend(part);
    }
    let mut inputs = Vec::new();
    for (syntax, compressed) in [
        ("1.2.840.10008.1.2.4.50", Some(&jpeg)),
        ("1.2.840.10008.1.2.4.51", Some(&jpeg)),
        ("1.2.840.10008.1.2.4.70", Some(&jpeg)),
        ("1.2.840.10008.1.2.4.80", Some(&jpeg)),
        ("1.2.840.10008.1.2.4.90", Some(&jpeg)),
        ("1.2.840.10008.1.2.5", Some(&run_length)),
        ("1.2.840.10008.1.2.1", None),
        ("1.2.840.10008.1.2", None),
        ("1.2.840.10008.1.2.2", None),
    ] {
        for (bits, pixels) in [(8u16, &samples), (16, &wide)] {
            let mut file = vec![0; 128];
            file.extend(b"DICM");
            let mut uid = syntax.as_bytes().to_vec();
            uid.resize(uid.len().next_multiple_of(2), 0);
            let explicit = Encoding { implicit: false, big: false };
            explicit.element(&mut file, [2, 0x10], b"UI", &uid);
            let encoding = Encoding {
                implicit: syntax == "1.2.840.10008.1.2",
                big: syntax == "1.2.840.10008.1.2.2",
            };
            let number = |it: u16| encoding.number(it);
            let mut put = |tag, kind, bytes: &[u8]| encoding.element(&mut file, tag, kind, bytes);
            put([0x10, 0x10], b"PN", b"Doe^Jane");
            put([0x18, 0x5101], b"CS", b"PA");
            put([0x28, 2], b"US", &number(1));
            put([0x28, 4], b"CS", b"MONOCHROME1 ");
            put([0x28, 0x10], b"US", &number(16));
            put([0x28, 0x11], b"US", &number(24));
            put([0x28, 0x100], b"US", &number(bits));
            put([0x28, 0x101], b"US", &number(bits));
            put([0x28, 0x102], b"US", &number(bits - 1));
            put([0x28, 0x103], b"US", &number(0));
            put([0x28, 0x1050], b"DS", b"100 ");
            put([0x28, 0x1051], b"DS", b"200 ");
            put([0x28, 0x1052], b"DS", b"-10 ");
            put([0x28, 0x1053], b"DS", b"1.5 ");
            match compressed {
                None => put([0x7fe0, 0x10], b"OW", pixels),
                Some(bytes) => encoding.fragment(&mut file, bytes),
            }
            inputs.push(file);
        }
    }
    Ok(inputs)
}

struct Encoding {
    implicit: bool,
    big: bool,
}

impl Encoding {
    fn number(&self, number: u16) -> [u8; 2] {
        if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn length(&self, length: u32) -> [u8; 4] {
        if self.big { length.to_be_bytes() } else { length.to_le_bytes() }
    }

    fn element(&self, file: &mut Vec<u8>, tag: [u16; 2], kind: &[u8; 2], bytes: &[u8]) {
        file.extend(tag.iter().flat_map(|&half| self.number(half)));
        if self.implicit {
            file.extend(self.length(bytes.len() as u32));
        } else if kind == b"OW" {
            file.extend(kind);
            file.extend([0, 0]);
            file.extend(self.length(bytes.len() as u32));
        } else {
            file.extend(kind);
            file.extend(self.number(bytes.len() as u16));
        }
        file.extend(bytes);
    }

    fn fragment(&self, file: &mut Vec<u8>, bytes: &[u8]) {
        file.extend([0xe0, 0x7f, 0x10, 0, b'O', b'B', 0, 0, 255, 255, 255, 255]);
        for part in [&[][..], bytes] {
            file.extend([0xfe, 0xff, 0, 0xe0]);
            file.extend((part.len() as u32).to_le_bytes());
            file.extend(part);
        }
        file.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
    }
}

fn tokenizers() -> Result<Inputs, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let reports = ["The lungs are clear.", "The lungs are hyperinflated."];
    ReportTokenizer::train(reports.iter(), 60, true)?.save(folder.path())?;
    let [whole, settings] = ReportTokenizer::FILES.map(|name| fs::read(folder.path().join(name)));
    let words = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nlungs\nthe\nclear\n##s\na\n##r\n.\n";
    let pairs = br#"{"<s>":0,"<pad>":1,"</s>":2,"<unk>":3,"<mask>":4,"t":5,"h":6,"e":7,"th":8}"#;
    let added = br#"{"[NEW]": 12}"#;
    let map = br#"{"mask_token": {"content": "[MASK]", "lstrip": true}, "pad_token": "[PAD]"}"#;
    let lower = br#"{"do_lower_case": false, "model_max_length": 512}"#;
    Ok(vec![
        with_mode(4, &[&whole?, &settings?]),
        with_mode(0, &[words, lower]),
        with_mode(1, &[pairs, b"#version: 0.2\nt h\n"]),
        with_mode(2, &[words, added]),
        with_mode(3, &[words, map]),
    ])
}

#[cfg(feature = "convirt")]
mod weights {
    use convirt::Config;
    use convirt::burn::store::burn_pack;
    use convirt::burn::tensor::{Bytes, DType};
    use convirt::compute::Precision;
    use convirt::inference::{ModelIdentity, TowerOutput};
    use convirt::retrieval::{IndexDescription, IndexWriter, Modality};

    use super::*;

    pub fn inputs(target: &str) -> Result<Inputs, Box<dyn Error>> {
        Ok(match target {
            "config" => {
                let colab = "name: a\nbatch_size: 8\nmodel: {out_dim: 512, \
                    bert_base_model: 'emilyalsentzer/Bio_ClinicalBERT'}\ndataset:\n  \
                    input_shape: (224,224,3)\n  csv_file: a.csv\n  text_col: 1\n\0loss.temperature=0.1";
                let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
                vec![
                    fs::read(root.join("config.yaml"))?,
                    fs::read(root.join("examples/mimic.yaml"))?,
                    Config::default().to_yaml().into_bytes(),
                    colab.into(),
                ]
            }
            "safetensors" => {
                let header = r#"{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"a.bias":{"dtype":"BF16","shape":[2],"data_offsets":[24,28]}}"#;
                let mut file = (header.len() as u64).to_le_bytes().to_vec();
                file.extend(header.bytes());
                file.extend([1; 28]);
                let index = r#"{"metadata":{"total_size":64},"weight_map":{"w":"model.safetensors"}}"#;
                vec![
                    with_mode(b's', &[header.as_bytes()]),
                    with_mode(b'j', &[index.as_bytes()]),
                    with_mode(b'f', &[&file]),
                ]
            }
            "torch" => {
                let pickle = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n\
                    ((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQ\
                    K\0K\x10\x85K\x01\x85\x89}tRs.";
                vec![with_mode(b'z', &[pickle]), with_mode(b'l', &[pickle])]
            }
            "checkpoint" => {
                let tensors = ["a.weight", "b"].map(|name| {
                    let bytes = Bytes::from_bytes_vec(vec![1; 96]);
                    burn_pack::Tensor::new(name.to_string(), DType::F32, [4, 6], None, bytes)
                });
                let pack = burn_pack::Writer::new(tensors.into()).into_bytes()?;
                let split = "row,split,content\n1,train,00ff00ff00ff00ff\n2,valid,1\n";
                vec![
                    with_mode(b'r', &[&pack.to_vec()]),
                    with_mode(b'c', &[split.as_bytes()]),
                    with_mode(b'j', &[include_bytes!("../../seeds/summary.json")]),
                ]
            }
            "index" => {
                let folder = tempfile::tempdir()?;
                let path = folder.path().join("a.index");
                let description = IndexDescription {
                    model: ModelIdentity { name: "first".into(), checksum: 7 },
                    modality: Modality::Images,
                    output: TowerOutput::Embedding,
                    precision: Precision::Float32,
                };
                let mut writer = IndexWriter::create(&path, description, 3)?;
                for (name, text) in [("a.png", "Clear."), ("b.png", ""), ("c.png", "Effusion.")] {
                    writer.push(&[1.0, -2.0, 0.5], name, text)?;
                }
                writer.finish()?;
                vec![fs::read(path)?]
            }
            _ => Vec::new(),
        })
    }
}
