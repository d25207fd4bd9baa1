//! Metadata segments of JPEG and chunks of PNG files.

/// A segment of a JPEG or a chunk of a PNG.
#[derive(Clone, Copy)]
pub(crate) enum Segment<'a> {
    /// Marker and content.
    Jpeg(u8, &'a [u8]),
    /// Name and content.
    Png(&'a [u8], &'a [u8]),
}

/// Iterates over the segments of a JPEG before its first scan, or the chunks of a PNG.
///
/// Other files have none, and the iteration ends at a defect.
pub(crate) fn segments(file: &[u8]) -> Segments<'_> {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
    if let Some(rest) = file.strip_prefix(&[0xFF, 0xD8]) {
        Segments::Jpeg(rest)
    } else {
        Segments::Png(file.strip_prefix(PNG).unwrap_or_default())
    }
}

/// The rest of a file to iterate over.
pub(crate) enum Segments<'a> {
    Jpeg(&'a [u8]),
    Png(&'a [u8]),
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        match self {
            Self::Jpeg(rest) => loop {
                let &[0xFF, marker, high, low, ref content @ ..] = *rest else {
                    return None;
                };
                if marker == 0xFF {
                    *rest = &rest[1..];
                    continue;
                }
                // The length counts its own two bytes.
                let length = usize::from(u16::from_be_bytes([high, low])).saturating_sub(2);
                let (content, after) = content.split_at_checked(length)?;
                *rest = after;
                return (marker != 0xDA).then_some(Segment::Jpeg(marker, content));
            },
            Self::Png(rest) => {
                let (length, after) = rest.split_first_chunk()?;
                let (name, after) = after.split_at_checked(4)?;
                let (content, after) =
                    after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
                // The content is followed by its checksum.
                *rest = after.get(4..).unwrap_or_default();
                Some(Segment::Png(name, content))
            }
        }
    }
}

impl<'a> Segment<'a> {
    /// Returns the EXIF data, which begins like a TIFF file.
    pub(crate) fn exif(self) -> Option<&'a [u8]> {
        const PREFIX: &[u8] = b"Exif\0\0";
        match self {
            Self::Jpeg(0xE1, content) => content.strip_prefix(PREFIX),
            // Some writers include the JPEG prefix.
            Self::Png(b"eXIf", content) => Some(content.strip_prefix(PREFIX).unwrap_or(content)),
            _ => None,
        }
    }

    /// Returns the XMP packet.
    pub(crate) fn xmp(self) -> Option<&'a [u8]> {
        match self {
            Self::Jpeg(0xE1, content) => content.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0"),
            // XMP in a PNG is not compressed.
            Self::Png(b"iTXt", content) => content.strip_prefix(b"XML:com.adobe.xmp\0\0"),
            _ => None,
        }
    }
}
