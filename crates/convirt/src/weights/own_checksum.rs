//! The checksum that a safetensors file has of itself, in the metadata of its header.
//!
//! `crc32c` is the CRC-32C, in 8 hexadecimal digits, of all that follows the header, then of the
//! header, in which the digits are zeros.

use std::fs::File;
use std::io::{self, Read, Seek};

use super::checksums::append_crc32c_of;

/// Key of the checksum in the metadata.
pub(crate) const OWN_CHECKSUM: &str = "crc32c";

/// The value of [`OWN_CHECKSUM`] in a header to which [`add_own_checksum`] has not been applied.
pub(crate) const NO_CHECKSUM: &str = "00000000";

/// Computes the checksum of a file whose header ends at `start`.
pub(crate) fn own_checksum(mut file: &File, start: u64) -> io::Result<String> {
    file.rewind()?;
    let mut header = vec![0; start as usize];
    file.read_exact(&mut header)?;
    let (sum, _) = append_crc32c_of(0, file)?;
    if let Some(digits) = checksum_digits(&mut header) {
        digits.copy_from_slice(NO_CHECKSUM.as_bytes());
    }
    Ok(format!("{:08x}", crc32c::crc32c_append(sum, &header)))
}

/// Writes the checksum into a header, given that of all that follows the header.
pub(crate) fn add_own_checksum(header: &mut [u8], of_the_rest: u32) {
    let sum = format!("{:08x}", crc32c::crc32c_append(of_the_rest, header));
    let digits = checksum_digits(header).expect("the header has a place for it");
    digits.copy_from_slice(sum.as_bytes());
}

fn checksum_digits(header: &mut [u8]) -> Option<&mut [u8]> {
    let key = format!("\"{OWN_CHECKSUM}\":\"");
    let mut places = header.windows(key.len());
    let start = places.position(|it| it == key.as_bytes())? + key.len();
    header.get_mut(start..start + NO_CHECKSUM.len())
}
