//! Parser for the elements of a DICOM file that describe its image (PS3.5, section 7).
//!
//! Values borrow from the file, and lengths are checked against the length of the file.

use std::collections::BTreeMap;

use memchr::memmem;

use super::error::DicomError;
use super::tag::{PIXEL_DATA, Tag, is_view_element};

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
/// The group of elements that describe an image; it contains no patient data.
const IMAGE_GROUP: u16 = 0x0028;
/// The group of the functional groups, which describe the frames of enhanced images.
const FRAMES_GROUP: u16 = 0x5200;

/// The value representations of elements (PS3.5, section 6.2).
const VRS: [&[u8; 2]; 34] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"OB",
    b"OD", b"OF", b"OL", b"OV", b"OW", b"PN", b"SH", b"SL", b"SQ", b"SS", b"ST", b"SV", b"TM",
    b"UC", b"UI", b"UL", b"UN", b"UR", b"US", b"UT", b"UV",
];

/// The undefined length: the value ends at a delimiter.
const UNDEFINED: u32 = u32::MAX;
/// Largest nesting of sequences; files have two or three levels.
const MAX_DEPTH: usize = 32;

/// The encoding of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoding {
    pub(super) explicit: bool,
    pub(super) big_endian: bool,
}

impl Encoding {
    pub(super) const IMPLICIT: Self = Self {
        explicit: false,
        big_endian: false,
    };
    pub(super) const EXPLICIT: Self = Self {
        explicit: true,
        big_endian: false,
    };
    pub(super) const BIG_ENDIAN: Self = Self {
        explicit: true,
        big_endian: true,
    };

    /// Corrects a wrong transfer syntax by the first element: whether it has a VR, as in pydicom,
    /// and which byte of its group is 0, since the group is below 0x0100.
    pub(super) fn corrected(self, elements: &[u8]) -> Self {
        let big_endian = match elements {
            [0, low, ..] if *low > 0 => true,
            [low, 0, ..] if *low > 0 => false,
            _ => self.big_endian,
        };
        Self { big_endian, ..self }.corrected_vr(elements)
    }

    /// Corrects whether elements have VRs, by the first element.
    ///
    /// Two capitals may also be the length of an element without VR, of at least 16,705 bytes. So
    /// if VRs are not expected, only existing VRs are accepted.
    fn corrected_vr(self, elements: &[u8]) -> Self {
        let Some(vr) = elements.get(4..6) else {
            return self;
        };
        let explicit = if self.explicit {
            is_vr(vr)
        } else {
            VRS.iter().any(|known| known.as_slice() == vr)
        };
        Self { explicit, ..self }
    }

    /// Returns the encoding of the elements in an item, which may lack VRs even if the outer
    /// elements have them.
    fn within_item(self, elements: &[u8]) -> Self {
        if self.explicit {
            self.corrected_vr(elements)
        } else {
            self
        }
    }

    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }
}

/// Whether two bytes may be a VR.
pub(super) fn is_vr(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_uppercase)
}

/// An element of the file; the value of a sequence is its items.
pub(super) struct Element<'a> {
    pub(super) tag: Tag,
    /// VR; empty if the encoding is implicit.
    vr: &'a [u8],
    pub(super) value: &'a [u8],
    is_of_undefined_length: bool,
}

/// The elements that describe an image.
pub(super) struct DataSet<'a> {
    encoding: Encoding,
    elements: BTreeMap<Tag, Element<'a>>,
}

impl<'a> DataSet<'a> {
    /// Reads the elements up to the pixel data.
    pub(super) fn read(bytes: &'a [u8], encoding: Encoding) -> Result<Self, DicomError> {
        let mut reader = Reader::new(bytes, encoding);
        let mut elements = BTreeMap::new();
        while let Some(element) = reader.element()? {
            let tag = element.tag;
            let describes_frames = tag.0 == FRAMES_GROUP;
            if tag.0 == IMAGE_GROUP || describes_frames || tag == PIXEL_DATA || is_view_element(tag)
            {
                elements.insert(tag, element);
            }
            if tag == PIXEL_DATA {
                break;
            }
        }
        Ok(Self { encoding, elements })
    }

    /// Returns the encoding of the elements.
    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns the bytes of an element, if it exists and is not empty.
    pub(super) fn bytes(&self, tag: Tag) -> Option<&'a [u8]> {
        let value = self.elements.get(&tag)?.value;
        (!value.is_empty()).then_some(value)
    }

    /// Whether the VR of an element is that of 16-bit words.
    pub(super) fn is_of_words(&self, tag: Tag) -> bool {
        self.vr(tag) == b"OW"
    }

    /// Returns the VR of an element; empty if unknown.
    pub(super) fn vr(&self, tag: Tag) -> &'a [u8] {
        self.elements.get(&tag).map_or(&[], |it| it.vr)
    }

    /// Whether the pixel data consists of fragments, as for compressed images.
    pub(super) fn has_fragments(&self) -> bool {
        let pixels = self.elements.get(&PIXEL_DATA);
        pixels.is_some_and(|it| it.is_of_undefined_length)
    }

    /// Returns the integers of an element.
    pub(super) fn integers(&self, tag: Tag) -> Vec<u16> {
        let (pairs, _) = self.bytes(tag).unwrap_or_default().as_chunks();
        pairs.iter().map(|&pair| self.encoding.u16(pair)).collect()
    }

    /// Returns the first integer of an element.
    pub(super) fn integer(&self, tag: Tag) -> Option<u16> {
        let value = self.bytes(tag)?.first_chunk()?;
        Some(self.encoding.u16(*value))
    }

    /// Returns the first text value of an element.
    pub(super) fn text(&self, tag: Tag) -> Option<&'a str> {
        let text = str::from_utf8(self.bytes(tag)?).ok()?;
        let first = text.split('\\').next()?.trim_matches(['\0', ' ']);
        (!first.is_empty()).then_some(first)
    }

    /// Returns the decimal numbers (DS) of an element; empty if it is absent or has no value.
    /// `name` is used in errors.
    ///
    /// An invalid number, or one so large that sums and products overflow, is an error.
    pub(super) fn decimals(&self, tag: Tag, name: &'static str) -> Result<Vec<f64>, DicomError> {
        let text = self.lossy_text(tag);
        let decimal = |value: &str| {
            let number: f64 = value.trim_matches(['\0', ' ']).parse().ok()?;
            (number.abs() <= f64::from(f32::MAX)).then_some(number)
        };
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let numbers: Option<_> = text.split('\\').map(decimal).collect();
        numbers.ok_or_else(|| DicomError::value(name, tag, &text, "no decimal number"))
    }

    /// Returns the value of an element as text, even if it is damaged.
    pub(super) fn lossy_text(&self, tag: Tag) -> String {
        let text = String::from_utf8_lossy(self.bytes(tag).unwrap_or_default());
        text.trim_matches(['\0', ' ']).into()
    }

    /// Whether an element exists, even if it is empty.
    pub(super) fn has(&self, tag: Tag) -> bool {
        self.elements.contains_key(&tag)
    }

    /// Returns the first item of a sequence.
    pub(super) fn first_item(&self, sequence: Tag) -> Result<Option<Self>, DicomError> {
        let Some(items) = self.bytes(sequence) else {
            return Ok(None);
        };
        let mut reader = Reader::new(items, self.encoding);
        reader.enter(self.vr(sequence));
        let (tag, length) = reader.item_header()?;
        let item = match (tag, length) {
            (ITEM, UNDEFINED) => reader.rest,
            (ITEM, length) => reader.take(length as usize)?,
            _ => return Ok(None),
        };
        Self::read(item, reader.encoding.within_item(item)).map(Some)
    }

    /// Returns the compressed image: all fragments except the first, which is the offset table.
    pub(super) fn compressed(&self) -> Result<Vec<u8>, DicomError> {
        let name = "pixel data";
        let items = self.bytes(PIXEL_DATA).ok_or(DicomError::Missing { name })?;
        let mut reader = Reader::new(items, Encoding::EXPLICIT);
        let mut fragments = Vec::new();
        while !reader.rest.is_empty() {
            match reader.item_header()? {
                (ITEM, length) => fragments.push(reader.take(length as usize)?),
                (SEQUENCE_END, _) => break,
                _ => {
                    let what = "its compressed pixels are not in fragments";
                    return Err(DicomError::Malformed { what });
                }
            }
        }
        match fragments.get(1..) {
            Some(fragments) if !fragments.is_empty() => Ok(fragments.concat()),
            _ => Err(DicomError::Missing { name }),
        }
    }
}

/// Reads elements.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    encoding: Encoding,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], encoding: Encoding) -> Self {
        Self {
            rest: bytes,
            encoding,
            depth: 0,
        }
    }

    /// Reads the next element; `None` at the end of the data or of an item.
    pub(super) fn element(&mut self) -> Result<Option<Element<'a>>, DicomError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.tag()?;
        if tag == ITEM_END {
            self.take(4)?;
            return Ok(None);
        }
        let (vr, length) = self.vr_and_length()?;
        let value = match length {
            // Fragments, or the available part of the pixel data: the decoders check its length.
            // The pixel data of an icon is handled like any other element.
            _ if tag == PIXEL_DATA && self.depth == 0 => {
                let length = self.rest.len().min(length as usize);
                self.take(length)?
            }
            UNDEFINED => self.up_to_delimiter(vr)?,
            length => self.take(length as usize)?,
        };
        Ok(Some(Element {
            tag,
            vr,
            value,
            is_of_undefined_length: length == UNDEFINED,
        }))
    }

    /// Reads VR and length. An element without a VR among others that have one has a length of four
    /// bytes, as in pydicom.
    fn vr_and_length(&mut self) -> Result<(&'a [u8], u32), DicomError> {
        if !self.encoding.explicit || !self.rest.get(..2).is_none_or(is_vr) {
            return Ok((&[], self.u32()?));
        }
        let vr = self.take(2)?;
        let length = match vr {
            b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN"
            | b"UR" | b"UT" | b"UV" => {
                self.take(2)?;
                self.u32()?
            }
            _ => u32::from(self.u16()?),
        };
        Ok((vr, length))
    }

    /// Skips a value of undefined length and returns it without its delimiter: items, or the bytes
    /// of a private element.
    fn up_to_delimiter(&mut self, vr: &[u8]) -> Result<&'a [u8], DicomError> {
        if self.depth == MAX_DEPTH {
            let what = "sequences nested too deeply";
            return Err(DicomError::Malformed { what });
        }
        let outer = self.encoding;
        self.enter(vr);
        self.depth += 1;
        let start = self.rest;
        let end = if self.starts_with_item() {
            self.items()?
        } else {
            self.find_delimiter()?
        };
        self.depth -= 1;
        self.encoding = outer;
        Ok(&start[..end])
    }

    /// Sets the encoding within a sequence. An unknown sequence is written in implicit little
    /// endian (PS3.5, section 6.2.2, note 2), but some writers include VRs.
    fn enter(&mut self, vr: &[u8]) {
        if vr == b"UN" {
            let big_endian = self.rest.starts_with(&ITEM.0.to_be_bytes());
            self.encoding.big_endian &= big_endian;
        }
    }

    /// Whether the value starts with an item, or is too short to tell, which is an error of the
    /// items.
    fn starts_with_item(&self) -> bool {
        let mut ahead = Self::new(self.rest, self.encoding);
        ahead
            .tag()
            .map_or(true, |tag| [ITEM, SEQUENCE_END].contains(&tag))
    }

    /// Skips items and their delimiter; returns the length of the items.
    fn items(&mut self) -> Result<usize, DicomError> {
        let length = self.rest.len();
        let sequence = self.encoding;
        loop {
            let end = length - self.rest.len();
            match self.item_header()? {
                (SEQUENCE_END, _) => return Ok(end),
                (ITEM, UNDEFINED) => {
                    self.encoding = sequence.within_item(self.rest);
                    while self.element()?.is_some() {}
                    self.encoding = sequence;
                }
                (ITEM, length) => _ = self.take(length as usize)?,
                _ => {
                    let what = "a sequence of something else than items";
                    return Err(DicomError::Malformed { what });
                }
            }
        }
    }

    /// Skips bytes and their delimiter; returns the number of bytes.
    fn find_delimiter(&mut self) -> Result<usize, DicomError> {
        let delimiter = [SEQUENCE_END.0, SEQUENCE_END.1, 0, 0].map(|word| match self.encoding {
            Encoding {
                big_endian: true, ..
            } => word.to_be_bytes(),
            _ => word.to_le_bytes(),
        });
        let delimiter = delimiter.as_flattened();
        let position = memmem::find(self.rest, delimiter);
        let end = position.ok_or_else(|| DicomError::Truncated {
            needed: self.rest.len() + delimiter.len(),
            found: self.rest.len(),
        })?;
        self.take(end + delimiter.len())?;
        Ok(end)
    }

    fn item_header(&mut self) -> Result<(Tag, u32), DicomError> {
        Ok((self.tag()?, self.u32()?))
    }

    fn tag(&mut self) -> Result<Tag, DicomError> {
        Ok(Tag(self.u16()?, self.u16()?))
    }

    fn u16(&mut self) -> Result<u16, DicomError> {
        let bytes = self.array()?;
        Ok(self.encoding.u16(bytes))
    }

    fn u32(&mut self) -> Result<u32, DicomError> {
        let bytes = self.array()?;
        Ok(self.encoding.u32(bytes))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DicomError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DicomError> {
        let (taken, rest) =
            self.rest
                .split_at_checked(length)
                .ok_or_else(|| DicomError::Truncated {
                    needed: length,
                    found: self.rest.len(),
                })?;
        self.rest = rest;
        Ok(taken)
    }
}
