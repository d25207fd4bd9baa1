//! Whether so few bytes can hold so many pixels.
//!
//! A header may promise an image of any size. Memory is made for it when the file could hold it: by
//! the least that each codec needs for an image without anything in it, so that a blank image of
//! any encoder passes.

/// Whether a JPEG of Huffman's codes can be so short: each block of 8×8 pixels has a code of one
/// bit at least.
pub(crate) fn jpeg(width: usize, height: usize, bytes: usize) -> bool {
    width.div_ceil(8) * height.div_ceil(8) <= 8 * bytes
}

/// Whether a PNG can be so short; true for what is none.
///
/// Deflate's longest match is of 258 bytes, and takes two bits.
pub(crate) fn png(file: &[u8], bytes: u64) -> bool {
    const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
    const DEFLATE: u64 = 258 * 4;
    let Some((header, _)) = file
        .strip_prefix(SIGNATURE)
        .and_then(|rest| rest.split_first_chunk::<18>())
    else {
        return true;
    };
    let &[
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        w3,
        w2,
        w1,
        w0,
        h3,
        h2,
        h1,
        h0,
        depth,
        colour,
    ] = header;
    let width = u64::from(u32::from_be_bytes([w3, w2, w1, w0]));
    let height = u64::from(u32::from_be_bytes([h3, h2, h1, h0]));
    let samples = match colour {
        2 => 3,
        4 => 2,
        6 => 4,
        _ => 1,
    };
    // Each row begins with its filter.
    let row = 1 + (width * samples * u64::from(depth)).div_ceil(8);
    row.saturating_mul(height) <= DEFLATE.saturating_mul(bytes)
}

/// Whether run-length coded data can be so short: its longest run is of 128 bytes, and takes two.
pub(crate) fn run_length(pixel_bytes: usize, bytes: usize) -> bool {
    pixel_bytes <= 64 * bytes
}

/// Whether a JPEG-LS can be so short: a bit stands for a run of 32,768 pixels of a row, or for
/// less.
pub(crate) fn jpeg_ls(width: usize, height: usize, bytes: usize) -> bool {
    width.div_ceil(1 << 15) * height <= 8 * bytes
}

/// Whether a JPEG 2000 of so many tiles can be so short: each has a header of 14 bytes and a
/// packet.
///
/// Of a tile without anything in it there is no more, whatever its size, so that the format sets no
/// bound on the pixels: OpenJPEG writes 4,096×4,096 grey ones in 141 bytes. Twice as many a byte
/// are let through, which is a blank image of 6,000×6,000, more than any detector has.
pub(crate) fn jpeg_2000(pixels: u64, tiles: u64, bytes: usize) -> bool {
    const PIXELS_A_BYTE: u64 = 1 << 18;
    let bytes = bytes as u64;
    tiles.saturating_mul(15) <= bytes && pixels <= bytes.saturating_mul(PIXELS_A_BYTE)
}
