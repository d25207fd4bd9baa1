//! Plausibility checks: whether a file is large enough for the image that its header declares.
//!
//! A header may declare an image of any size. Memory is only allocated if the file could contain
//! it, judged by the best compression of each codec, so that blank images of any encoder pass.

/// Whether `bytes` are enough for a Huffman-coded JPEG: each block of 8×8 pixels needs at least one
/// bit.
pub(crate) fn jpeg(width: usize, height: usize, bytes: usize) -> bool {
    width.div_ceil(8) * height.div_ceil(8) <= 8 * bytes
}

/// Whether `bytes` are enough for a PNG; true for other files.
///
/// The longest match of Deflate has 258 bytes and takes two bits.
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
    // Each row begins with its filter type.
    let row = 1 + (width * samples * u64::from(depth)).div_ceil(8);
    row.saturating_mul(height) <= DEFLATE.saturating_mul(bytes)
}

/// Whether `bytes` are enough for run-length coded data: the longest run has 128 bytes and takes
/// two.
pub(crate) fn run_length(pixel_bytes: usize, bytes: usize) -> bool {
    pixel_bytes <= 64 * bytes
}

/// Whether `bytes` are enough for a JPEG-LS: a bit codes a run of at most 32,768 pixels of a row.
pub(crate) fn jpeg_ls(width: usize, height: usize, bytes: usize) -> bool {
    width.div_ceil(1 << 15) * height <= 8 * bytes
}

/// Whether `bytes` are enough for a JPEG 2000: each tile has a header of 14 bytes and a packet.
///
/// A blank tile needs no more, whatever its size, so the format does not bound the pixels: OpenJPEG
/// writes 4,096×4,096 grey pixels in 141 bytes. Twice as many pixels per byte are accepted, which
/// is a blank image of 6,000×6,000, larger than any detector.
pub(crate) fn jpeg_2000(pixels: u64, tiles: u64, bytes: usize) -> bool {
    const PIXELS_PER_BYTE: u64 = 1 << 18;
    let bytes = bytes as u64;
    tiles.saturating_mul(15) <= bytes && pixels <= bytes.saturating_mul(PIXELS_PER_BYTE)
}
