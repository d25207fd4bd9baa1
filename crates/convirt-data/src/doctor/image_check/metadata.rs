//! Text metadata in JPEG and PNG files.

use crate::image::{Segment, segments};

/// Keywords of PNG chunks that only tell which program wrote a file and when.
const HARMLESS: [&[u8]; 4] = [
    b"Software",
    b"date:create",
    b"date:modify",
    b"date:timestamp",
];

/// Names the kinds of text metadata, each once, without their content.
pub(super) fn texts_beside_pixels(file: &[u8]) -> Vec<&'static str> {
    let mut kinds: Vec<_> = segments(file).filter_map(kind).collect();
    kinds.dedup();
    kinds
}

fn kind(segment: Segment<'_>) -> Option<&'static str> {
    match segment {
        Segment::Jpeg(0xFE, content) if !content.is_empty() => Some("a comment"),
        Segment::Jpeg(0xE1, content) if content.starts_with(b"Exif\0") => Some("EXIF"),
        Segment::Jpeg(0xE1, content) if content.starts_with(b"http://ns.adobe.com/xap") => {
            Some("XMP")
        }
        Segment::Jpeg(0xED, content) if content.starts_with(b"Photoshop") => Some("IPTC"),
        Segment::Png(b"eXIf", _) => Some("EXIF"),
        Segment::Png(b"tEXt" | b"iTXt" | b"zTXt", content) => {
            let keyword = content.split(|&byte| byte == 0).next().unwrap_or_default();
            (!HARMLESS.contains(&keyword)).then_some("a text chunk")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tests::fixtures::data_file;

    fn file(name: &str) -> Vec<u8> {
        fs::read(data_file(name)).unwrap()
    }

    fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u16 + 2).to_be_bytes();
        [&[0xFF, marker], &length[..], content].concat()
    }

    fn chunk(name: &[u8], content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32).to_be_bytes();
        [&length, name, content, &[0; 4]].concat()
    }

    #[test]
    fn comments_and_exif_of_a_jpeg_are_named() {
        let plain = file("img_grey_111x130.jpg");
        assert_eq!(texts_beside_pixels(&plain), [""; 0]);
        for (extra, what) in [
            (segment(0xFE, b"Doe^Jane"), "a comment"),
            (segment(0xE1, b"Exif\0\0MM"), "EXIF"),
            (segment(0xED, b"Photoshop 3.0\0"), "IPTC"),
        ] {
            let with = [&plain[..2], &extra, &plain[2..]].concat();
            assert_eq!(texts_beside_pixels(&with), [what]);
        }
    }

    #[test]
    fn text_chunks_of_a_png_are_named_except_program_names() {
        let plain = file("img_grey_111x130.png");
        assert_eq!(texts_beside_pixels(&plain), [""; 0]);
        // After the signature and the header chunk of 13 bytes.
        let with = |extra: &[u8]| [&plain[..33], extra, &plain[33..]].concat();
        let named = with(&chunk(b"tEXt", b"Author\0Doe"));
        assert_eq!(texts_beside_pixels(&named), ["a text chunk"]);
        let program = with(&chunk(b"tEXt", b"Software\0paint"));
        assert_eq!(texts_beside_pixels(&program), [""; 0]);
    }

    #[test]
    fn files_truncated_anywhere_cause_no_panic() {
        for name in ["img_grey_111x130.jpg", "img_grey_111x130.png"] {
            let whole = file(name);
            for length in 0..whole.len().min(400) {
                texts_beside_pixels(&whole[..length]);
            }
        }
    }
}
