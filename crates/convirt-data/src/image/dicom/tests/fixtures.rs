//! DICOM files made in tests.

use crate::image::dicom::tag::{PIXEL_DATA, Tag};

pub(crate) const IMPLICIT: &str = "1.2.840.10008.1.2";
pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub(crate) const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub(crate) const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
pub(crate) const RUN_LENGTH: &str = "1.2.840.10008.1.2.5";
pub(crate) const JPEG: &str = "1.2.840.10008.1.2.4.50";
pub(crate) const JPEG_LOSSLESS: &str = "1.2.840.10008.1.2.4.70";
pub(crate) const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
pub(crate) const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";

/// A value, written as the transfer syntax says.
#[derive(Clone)]
pub(crate) enum Value {
    Text(String),
    Integers(Vec<u16>),
    Bytes(Vec<u8>),
    /// The one item of a sequence.
    Item(Vec<(Tag, Value)>),
    /// The one item of a sequence, written elsewhere.
    RawItem(Vec<u8>),
    /// A compressed image.
    Fragment(Vec<u8>),
    /// Bytes of undefined length that are no items.
    Undelimited(Vec<u8>),
}

/// A file in the making.
#[derive(Clone)]
pub(crate) struct Dicom {
    pub(crate) syntax: &'static str,
    elements: Vec<(Tag, Value)>,
}

impl Dicom {
    /// A grey image of 16 bits allocated and a patient's name, in explicit little endian.
    pub(crate) fn grey(width: u16, bits: u16, samples: &[u16]) -> Self {
        let rows = samples.len() as u16 / width;
        Self::empty()
            .text(0x0010_0010, "Doe^Jane")
            .integers(0x0028_0002, &[1])
            .text(0x0028_0004, "MONOCHROME2")
            .integers(0x0028_0010, &[rows])
            .integers(0x0028_0011, &[width])
            .integers(0x0028_0100, &[16])
            .integers(0x0028_0101, &[bits])
            .integers(0x0028_0102, &[bits - 1])
            .integers(0x0028_0103, &[0])
            .integers(0x7FE0_0010, samples)
    }

    /// A header without any elements behind it.
    pub(crate) fn empty() -> Self {
        Self {
            syntax: EXPLICIT,
            elements: Vec::new(),
        }
    }

    /// A grey image of 8 bits.
    pub(crate) fn grey_8(width: u16, samples: &[u8]) -> Self {
        let rows = samples.len() as u16 / width;
        Self::grey(width, 8, &[])
            .integers(0x0028_0010, &[rows])
            .integers(0x0028_0100, &[8])
            .bytes(0x7FE0_0010, samples)
    }

    pub(crate) fn syntax(mut self, uid: &'static str) -> Self {
        self.syntax = uid;
        self
    }

    pub(crate) fn text(self, tag: u32, text: &str) -> Self {
        self.with(tag, Value::Text(text.into()))
    }

    pub(crate) fn integers(self, tag: u32, integers: &[u16]) -> Self {
        self.with(tag, Value::Integers(integers.into()))
    }

    pub(crate) fn bytes(self, tag: u32, bytes: &[u8]) -> Self {
        self.with(tag, Value::Bytes(bytes.into()))
    }

    /// A lookup table: its descriptor and entries.
    pub(crate) fn table(self, tag: u32, descriptor: [u16; 3], entries: &[u16]) -> Self {
        let item = vec![
            (Tag(0x0028, 0x3002), Value::Integers(descriptor.into())),
            (Tag(0x0028, 0x3006), Value::Integers(entries.into())),
        ];
        self.with(tag, Value::Item(item))
    }

    pub(crate) fn fragment(self, compressed: &[u8]) -> Self {
        self.with(0x7FE0_0010, Value::Fragment(compressed.into()))
    }

    pub(crate) fn without(mut self, tag: u32) -> Self {
        self.elements.retain(|(it, _)| *it != split(tag));
        self
    }

    /// Sets an element; elements are in order.
    pub(crate) fn with(self, tag: u32, value: Value) -> Self {
        let mut file = self.without(tag);
        file.elements.push((split(tag), value));
        file.elements.sort_by_key(|(tag, _)| *tag);
        file
    }

    /// Returns the file, with preamble and group 2.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut file = vec![0; 128];
        file.extend(b"DICM");
        let meta = Value::Text(self.syntax.into());
        write(&mut file, EXPLICIT, Tag(0x0002, 0x0010), &meta);
        file.extend(self.data_set());
        file
    }

    /// Returns the elements alone.
    pub(crate) fn data_set(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, value) in &self.elements {
            write(&mut bytes, self.syntax, *tag, value);
        }
        bytes
    }
}

fn split(tag: u32) -> Tag {
    Tag((tag >> 16) as u16, tag as u16)
}

fn write(out: &mut Vec<u8>, syntax: &str, tag: Tag, value: &Value) {
    let integer = |it: u16| match syntax {
        BIG_ENDIAN => it.to_be_bytes(),
        _ => it.to_le_bytes(),
    };
    let length = |it: u32| match syntax {
        BIG_ENDIAN => it.to_be_bytes(),
        _ => it.to_le_bytes(),
    };
    let header = |out: &mut Vec<u8>, tag: Tag| {
        out.extend(integer(tag.0));
        out.extend(integer(tag.1));
    };
    header(out, tag);
    let (vr, mut bytes) = match value {
        Value::Text(text) => (b"LO", text.clone().into_bytes()),
        Value::Integers(integers) if tag == PIXEL_DATA => {
            (b"OW", integers.iter().copied().flat_map(integer).collect())
        }
        Value::Integers(integers) => (b"US", integers.iter().copied().flat_map(integer).collect()),
        Value::Bytes(bytes) => (b"OB", bytes.clone()),
        Value::Item(_) | Value::RawItem(_) => (b"SQ", Vec::new()),
        Value::Fragment(_) | Value::Undelimited(_) => (b"OB", Vec::new()),
    };
    let is_long = matches!(vr, b"OW" | b"OB" | b"SQ");
    if syntax != IMPLICIT {
        out.extend(vr);
        if is_long {
            out.extend([0, 0]);
        }
    }
    let item = |out: &mut Vec<u8>, element, size| {
        header(out, Tag(0xFFFE, element));
        out.extend(length(size));
    };
    match value {
        Value::Item(elements) => {
            out.extend(length(u32::MAX));
            item(out, 0xE000, u32::MAX);
            for (tag, value) in elements {
                write(out, syntax, *tag, value);
            }
            item(out, 0xE00D, 0);
            item(out, 0xE0DD, 0);
        }
        Value::RawItem(bytes) => {
            out.extend(length(u32::MAX));
            item(out, 0xE000, bytes.len() as u32);
            out.extend(bytes);
            item(out, 0xE0DD, 0);
        }
        Value::Undelimited(bytes) => {
            out.extend(length(u32::MAX));
            out.extend(bytes);
            item(out, 0xE0DD, 0);
        }
        Value::Fragment(compressed) => {
            out.extend(length(u32::MAX));
            item(out, 0xE000, 0);
            // In two halves, as an image may be.
            let (first, second) = compressed.split_at(compressed.len() / 2);
            for half in [first, second] {
                item(out, 0xE000, half.len() as u32);
                out.extend(half);
            }
            item(out, 0xE0DD, 0);
        }
        _ => {
            if bytes.len() % 2 == 1 {
                bytes.push(if vr == b"LO" { b' ' } else { 0 });
            }
            if is_long || syntax == IMPLICIT {
                out.extend(length(bytes.len() as u32));
            } else {
                out.extend(integer(bytes.len() as u16));
            }
            out.extend(bytes);
        }
    }
}

/// Reads bytes written as hexadecimal digits.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<_> = digits
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    let pairs = digits.chunks_exact(2);
    pairs.map(|pair| (16 * pair[0] + pair[1]) as u8).collect()
}
