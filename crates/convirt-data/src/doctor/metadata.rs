//! Text that a JPEG or PNG carries beside its pixels.

/// Keywords of PNG chunks that say which program wrote a file and when.
const HARMLESS: [&[u8]; 4] = [
    b"Software",
    b"date:create",
    b"date:modify",
    b"date:timestamp",
];

/// Names the kinds of text beside the pixels, each once; never what it says.
pub(super) fn texts_beside_pixels(file: &[u8]) -> Vec<&'static str> {
    let mut found = match file {
        [0xFF, 0xD8, segments @ ..] => of_jpeg(segments),
        [
            0x89,
            b'P',
            b'N',
            b'G',
            b'\r',
            b'\n',
            0x1A,
            b'\n',
            chunks @ ..,
        ] => of_png(chunks),
        _ => Vec::new(),
    };
    found.dedup();
    found
}

/// Looks through the segments up to the scan.
fn of_jpeg(mut rest: &[u8]) -> Vec<&'static str> {
    let mut found = Vec::new();
    while let &[0xFF, marker, high, low, ref content @ ..] = rest {
        if marker == 0xFF {
            rest = &rest[1..];
            continue;
        }
        // The length counts its own two bytes.
        let length = usize::from(u16::from_be_bytes([high, low])).saturating_sub(2);
        let Some((content, after)) = content.split_at_checked(length) else {
            break;
        };
        match marker {
            0xDA => break,
            0xFE if !content.is_empty() => found.push("a comment"),
            0xE1 if content.starts_with(b"Exif\0") => found.push("EXIF"),
            0xE1 if content.starts_with(b"http://ns.adobe.com/xap") => found.push("XMP"),
            0xED if content.starts_with(b"Photoshop") => found.push("IPTC"),
            _ => {}
        }
        rest = after;
    }
    found
}

/// Looks through the chunks.
fn of_png(mut rest: &[u8]) -> Vec<&'static str> {
    let mut found = Vec::new();
    while let &[a, b, c, d, ref after @ ..] = rest {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some((name, content)) = after.split_at_checked(4) else {
            break;
        };
        let Some((content, after)) = content.split_at_checked(length) else {
            break;
        };
        match name {
            b"eXIf" => found.push("EXIF"),
            b"tEXt" | b"iTXt" | b"zTXt" => {
                let keyword = content.split(|&byte| byte == 0).next().unwrap_or_default();
                if !HARMLESS.contains(&keyword) {
                    found.push("a text chunk");
                }
            }
            _ => {}
        }
        // Behind the content stands its checksum.
        rest = after.get(4..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixtures::data_file;

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
    fn text_chunks_of_a_png_are_named_but_for_the_programs() {
        let plain = file("img_grey_111x130.png");
        assert_eq!(texts_beside_pixels(&plain), [""; 0]);
        // Behind the signature and the header of 13 bytes.
        let with = |extra: &[u8]| [&plain[..33], extra, &plain[33..]].concat();
        let named = with(&chunk(b"tEXt", b"Author\0Doe"));
        assert_eq!(texts_beside_pixels(&named), ["a text chunk"]);
        let program = with(&chunk(b"tEXt", b"Software\0paint"));
        assert_eq!(texts_beside_pixels(&program), [""; 0]);
    }

    #[test]
    fn files_cut_off_anywhere_are_looked_at_without_a_panic() {
        for name in ["img_grey_111x130.jpg", "img_grey_111x130.png"] {
            let whole = file(name);
            for length in 0..whole.len().min(400) {
                texts_beside_pixels(&whole[..length]);
            }
        }
    }
}
