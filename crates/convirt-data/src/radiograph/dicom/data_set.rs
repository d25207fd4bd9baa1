//! The elements of a DICOM file that describe its image, and no others (PS3.5, section 7).
//!
//! What is kept borrows from the file, and a length is believed only as far as the file goes.

use std::collections::BTreeMap;

use super::error::DicomError;
use super::view::tells_the_view;

/// Group and element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(pub(super) u16, pub(super) u16);

pub(super) const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);
const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
/// The group of the elements that describe an image; no patient is named in it.
const IMAGE_GROUP: u16 = 0x0028;

/// The length that says: up to the delimiter.
const UNDEFINED: u32 = u32::MAX;
/// Sequences within sequences that are followed; files have two or three.
const MAX_DEPTH: usize = 32;

/// How elements are written.
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

/// An element as it stands in the file; the value of a sequence is its items.
pub(super) struct Element<'a> {
    pub(super) tag: Tag,
    /// Empty where the encoding leaves it to the reader to know it.
    vr: &'a [u8],
    pub(super) value: &'a [u8],
}

/// The elements that describe an image.
pub(super) struct DataSet<'a> {
    encoding: Encoding,
    elements: BTreeMap<Tag, Element<'a>>,
}

impl<'a> DataSet<'a> {
    /// Reads up to the pixels; what follows them is not looked at.
    pub(super) fn read(bytes: &'a [u8], encoding: Encoding) -> Result<Self, DicomError> {
        let mut reader = Reader::new(bytes, encoding);
        let mut elements = BTreeMap::new();
        while let Some(element) = reader.element()? {
            let tag = element.tag;
            if tag.0 == IMAGE_GROUP || tag == PIXEL_DATA || tells_the_view(tag) {
                elements.insert(tag, element);
            }
            if tag >= PIXEL_DATA {
                break;
            }
        }
        Ok(Self { encoding, elements })
    }

    /// Returns how elements are written.
    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns the bytes of an element that is there and not empty.
    pub(super) fn bytes(&self, tag: Tag) -> Option<&'a [u8]> {
        let value = self.elements.get(&tag)?.value;
        (!value.is_empty()).then_some(value)
    }

    /// Whether the element is made of words of 16 bits, as far as the file says.
    pub(super) fn is_of_words(&self, tag: Tag) -> bool {
        self.elements.get(&tag).is_some_and(|it| it.vr == b"OW")
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

    /// Returns the first of the texts of an element.
    pub(super) fn text(&self, tag: Tag) -> Option<&'a str> {
        let text = str::from_utf8(self.bytes(tag)?).ok()?;
        let first = text.split('\\').next()?.trim_matches(['\0', ' ']);
        (!first.is_empty()).then_some(first)
    }

    /// Returns the first of the numbers that an element holds as text.
    pub(super) fn number(&self, tag: Tag) -> Option<f64> {
        let number: f64 = self.text(tag)?.parse().ok()?;
        // Sums and products of these are finite.
        (number.abs() <= f64::from(f32::MAX)).then_some(number)
    }

    /// Returns the first item of a sequence.
    pub(super) fn first_item(&self, sequence: Tag) -> Result<Option<Self>, DicomError> {
        let Some(items) = self.bytes(sequence) else {
            return Ok(None);
        };
        let mut reader = Reader::new(items, self.encoding);
        let (tag, length) = reader.item_header()?;
        let item = match (tag, length) {
            (ITEM, UNDEFINED) => reader.rest,
            (ITEM, length) => reader.take(length as usize)?,
            _ => return Ok(None),
        };
        Self::read(item, self.encoding).map(Some)
    }

    /// Returns the compressed image: all fragments but the first, which is a table of offsets.
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

/// Walks over elements.
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

    /// Reads an element, or returns `None` at the end of the bytes or of an item.
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
            // Fragments, or as much of the pixels as there is: the decoders count.
            _ if tag == PIXEL_DATA => {
                let length = self.rest.len().min(length as usize);
                self.take(length)?
            }
            UNDEFINED => self.items(vr)?,
            length => self.take(length as usize)?,
        };
        Ok(Some(Element { tag, vr, value }))
    }

    fn vr_and_length(&mut self) -> Result<(&'a [u8], u32), DicomError> {
        if !self.encoding.explicit {
            return Ok((&[], self.u32()?));
        }
        let vr = self.take(2)?;
        let length = match vr {
            b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN"
            | b"UR" | b"UT" | b"UV" => {
                self.take(2)?;
                self.u32()?
            }
            _ if vr.iter().all(u8::is_ascii_uppercase) => u32::from(self.u16()?),
            _ => {
                let what = "an element without a type";
                return Err(DicomError::Malformed { what });
            }
        };
        Ok((vr, length))
    }

    /// Passes over a sequence of undefined length and returns it without its delimiter.
    fn items(&mut self, vr: &[u8]) -> Result<&'a [u8], DicomError> {
        if self.depth == MAX_DEPTH {
            let what = "sequences nested too deeply";
            return Err(DicomError::Malformed { what });
        }
        let outer = self.encoding;
        // PS3.5, section 6.2.2, note 2: an unknown sequence is written as implicit little endian.
        if vr == b"UN" {
            self.encoding = Encoding::IMPLICIT;
        }
        self.depth += 1;
        let start = self.rest;
        let end = loop {
            let end = start.len() - self.rest.len();
            match self.item_header()? {
                (SEQUENCE_END, _) => break end,
                (ITEM, UNDEFINED) => while self.element()?.is_some() {},
                (ITEM, length) => _ = self.take(length as usize)?,
                _ => {
                    let what = "a sequence of something else than items";
                    return Err(DicomError::Malformed { what });
                }
            }
        };
        self.depth -= 1;
        self.encoding = outer;
        Ok(&start[..end])
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
