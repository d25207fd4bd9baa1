//! Reading of XML reports from a tar archive, gzipped or not.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::Archive;

use crate::files::{FileError, GZIP, is_companion, open_regular};

/// Largest archive, in unpacked bytes; OpenI's reports have 20 MB.
const MAX_UNPACKED: u64 = 1 << 30;

/// An XML file of an archive: its name and its content, which may be truncated.
type XmlFile = (PathBuf, Vec<u8>);

/// Returns the XML files of an archive in order, each truncated to `max_bytes + 1`.
pub(super) fn xml_files(path: &Path, max_bytes: u64) -> Result<Vec<XmlFile>, FileError> {
    read(path, max_bytes, MAX_UNPACKED).map_err(FileError::read(path))
}

fn read(path: &Path, max_bytes: u64, max_unpacked: u64) -> io::Result<Vec<XmlFile>> {
    let mut file = BufReader::new(open_regular(path)?);
    let unpacked: Box<dyn Read> = if file.fill_buf()?.starts_with(&GZIP) {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut unpacked = unpacked.take(max_unpacked);
    let files = entries(&mut unpacked, max_bytes)
        // The rest of the archive contains its checksum.
        .and_then(|files| io::copy(&mut unpacked, &mut io::sink()).map(|_| files));
    if unpacked.limit() == 0 {
        let what = format!("{max_unpacked} bytes or more, unpacked");
        return Err(io::Error::other(what));
    }
    files
}

fn entries(unpacked: impl Read, max_bytes: u64) -> io::Result<Vec<XmlFile>> {
    let mut files = Vec::new();
    for entry in Archive::new(unpacked).entries()? {
        let entry = entry?;
        let name = entry.path()?.into_owned();
        if entry.header().entry_type().is_file() && is_report(&name) {
            let mut content = Vec::new();
            entry.take(max_bytes + 1).read_to_end(&mut content)?;
            files.push((name, content));
        }
    }
    Ok(files)
}

/// Whether a file is an XML report by its name, and not a companion file of macOS such as
/// `._1.xml`.
pub(super) fn is_report(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    extension.eq_ignore_ascii_case("xml") && !path.iter().any(is_companion)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, EntryType, Header};

    use super::*;

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = Header::new_gnu();
            header.set_size(content.len() as u64);
            if name.ends_with('/') {
                header.set_entry_type(EntryType::Directory);
            }
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        io::copy(&mut &*bytes, &mut encoder).unwrap();
        encoder.finish().unwrap()
    }

    fn files(archive: &[u8], max_bytes: u64) -> io::Result<Vec<(String, Vec<u8>)>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reports.tgz");
        fs::write(&path, archive).unwrap();
        let files = read(&path, max_bytes, 1 << 20)?.into_iter();
        let shown = |name: PathBuf| name.display().to_string();
        Ok(files
            .map(|(name, content)| (shown(name), content))
            .collect())
    }

    #[test]
    fn gzipped_and_plain_archives_give_their_xml_files() {
        let archive = tar(&[
            ("reports/", b""),
            ("reports/1.xml", b"one"),
            ("reports/._1.xml", b"\0\x05\x16\x07"),
            ("reports/readme.txt", b"no report"),
            ("reports/2.XML", b"two and more"),
        ]);
        let expected = [("reports/1.xml", &b"one"[..]), ("reports/2.XML", b"two a")]
            .map(|(name, content)| (name.to_owned(), content.to_vec()));
        for bytes in [&archive, &gzipped(&archive)] {
            assert_eq!(files(bytes, 4).unwrap(), expected);
        }
    }

    #[test]
    fn a_damaged_archive_is_an_error_and_not_a_shorter_list() {
        let packed = gzipped(&tar(&[("1.xml", b"one"), ("2.xml", b"two")]));
        for length in 1..packed.len() {
            assert!(files(&packed[..length], 9).is_err(), "{length}");
        }
        let mut other = packed.clone();
        let checksum = other.len() - 8;
        other[checksum] ^= 1;
        assert!(files(&other, 9).is_err());
        assert!(files(b"<eCitation><uId id=\"CXR1\"/></eCitation>", 9).is_err());
    }

    #[test]
    fn an_archive_that_unpacks_beyond_the_limit_is_rejected() {
        let zeros = vec![0; 2 << 20];
        for name in ["1.xml", "image.png"] {
            let error = files(&gzipped(&tar(&[(name, &zeros)])), 9).unwrap_err();
            assert!(
                error.to_string().contains("1048576 bytes or more"),
                "{error}"
            );
        }
        // A long name is read before its file, whatever its length.
        let long = "a/".repeat(1 << 20) + "1.xml";
        assert!(files(&gzipped(&tar(&[(&long, b"one")])), 9).is_err());
    }
}
