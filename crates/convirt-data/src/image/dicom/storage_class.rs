//! The kind of a DICOM object, from its first elements.

use super::data_set::{Encoding, Reader};
use super::tag::Tag;

const MAGIC_END: usize = 132;
const MEDIA_STORAGE_SOP_CLASS: Tag = Tag(0x0002, 0x0002);

/// Classes of objects without pixels that archives export with images (PS3.4, table B.5-1); those
/// that end with a dot are prefixes.
const WITHOUT_PIXELS: [&str; 10] = [
    // The directory of a medium.
    "1.2.840.10008.1.3.10",
    // Waveforms, presentation states, structured reports, encapsulated documents.
    "1.2.840.10008.5.1.4.1.1.9.",
    "1.2.840.10008.5.1.4.1.1.11.",
    "1.2.840.10008.5.1.4.1.1.88.",
    "1.2.840.10008.5.1.4.1.1.104.",
    // Raw data, registrations and fiducials.
    "1.2.840.10008.5.1.4.1.1.66",
    "1.2.840.10008.5.1.4.1.1.66.1",
    "1.2.840.10008.5.1.4.1.1.66.2",
    "1.2.840.10008.5.1.4.1.1.66.3",
    // Plans and structures of radiotherapy; its images have other classes.
    "1.2.840.10008.5.1.4.1.1.481.3",
];

/// Whether a file that begins with `start` declares itself as an object without pixels.
pub(crate) fn has_no_pixels(start: &[u8]) -> bool {
    let marked = start.get(MAGIC_END..).unwrap_or_default();
    let mut reader = Reader::new(marked, Encoding::EXPLICIT);
    while reader.rest.starts_with(&[2, 0]) {
        let Ok(Some(element)) = reader.element() else {
            return false;
        };
        if element.tag == MEDIA_STORAGE_SOP_CLASS {
            let class = String::from_utf8_lossy(element.value);
            let class = class.trim_matches(['\0', ' ']);
            return WITHOUT_PIXELS.iter().any(|known| {
                if known.ends_with('.') {
                    class.starts_with(known)
                } else {
                    class == *known
                }
            });
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::dicom::tests::fixtures::Dicom;

    /// A file with its class as the first element of group 2, as in all complete files.
    fn of_class(uid: &str) -> Vec<u8> {
        let mut file = Dicom::grey_8(2, &[0, 51, 102, 255]).file();
        let uid = match uid.len() % 2 {
            0 => uid.to_string(),
            _ => format!("{uid}\0"),
        };
        let mut element = b"\x02\0\x02\0UI".to_vec();
        element.extend((uid.len() as u16).to_le_bytes());
        element.extend(uid.bytes());
        file.splice(MAGIC_END..MAGIC_END, element);
        file
    }

    #[test]
    fn reports_and_directories_are_recognized_as_objects_without_pixels() {
        for (class, expected) in [
            ("1.2.840.10008.1.3.10", true),
            ("1.2.840.10008.5.1.4.1.1.88.11", true),
            ("1.2.840.10008.5.1.4.1.1.11.1", true),
            // Computed and digital radiography, secondary capture, a segmentation.
            ("1.2.840.10008.5.1.4.1.1.1", false),
            ("1.2.840.10008.5.1.4.1.1.1.1", false),
            ("1.2.840.10008.5.1.4.1.1.7", false),
            ("1.2.840.10008.5.1.4.1.1.66.4", false),
        ] {
            assert_eq!(has_no_pixels(&of_class(class)), expected, "{class}");
        }
        let unsaid = Dicom::grey_8(2, &[0, 51, 102, 255]).file();
        for file in [&unsaid[..], &unsaid[..140], b""] {
            assert!(!has_no_pixels(file));
        }
    }
}
