//! Whether a JPEG holds all of the image that its header promises (ITU-T T.81).
//!
//! Own code, since no decoder tells: each paints what is missing in grey and calls it well, behind
//! a damaged code too, and where an end marker stands behind half a scan, as libjpeg puts it there,
//! which many tools use to copy or repair files. So the codes are walked through once, without
//! making an image of them and with hardly any memory, before a decoder makes room for it.

use std::ops::{ControlFlow, RangeInclusive};

use memchr::memchr_iter;

use super::bits::{Bits, CodedData};
use super::huffman::HuffmanTable;

const TEMPORARY: u8 = 0x01;
const FRAMES: RangeInclusive<u8> = 0xC0..=0xC3;
const HUFFMAN_TABLES: u8 = 0xC4;
const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const SCAN: u8 = 0xDA;
const RESTART_INTERVAL: u8 = 0xDD;
const FIRST_APPLICATION: u8 = 0xE0;
const ADOBE: u8 = 0xEE;

/// Scans that are followed: as many as the decoder takes, and ten times what encoders write.
const MAX_SCANS: usize = 100;

/// Bits of the longest code.
const LONGEST_CODE: usize = 16;

/// Whether a JPEG reaches its end-of-image marker with all codes of its image before it.
///
/// A progressive file needs the last bit of every coefficient, as encoders write them. What follows
/// the marker does not count. Of arithmetic codes and hierarchical files, which no decoder here
/// reads, only the marker is looked for.
pub(crate) fn is_whole(jpeg: &[u8]) -> bool {
    match Walk::default().all_scans(jpeg) {
        Ok(()) => true,
        Err(Stop::EndsEarly | Stop::Damaged) => false,
        Err(Stop::NotKnown) => reaches_end_of_image(jpeg),
    }
}

/// Whether a JPEG has its end-of-image marker.
///
/// Follows the segments instead of looking at the last two bytes: files with something behind
/// the image are common, and a thumbnail in the header has an end marker of its own.
pub(crate) fn reaches_end_of_image(jpeg: &[u8]) -> bool {
    let is_end = |marker, _: &[u8]| match marker {
        END_OF_IMAGE => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    walk(jpeg, is_end).is_some()
}

/// What three components of a JPEG are, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    RedGreenBlue,
    LuminanceAndDifferences,
}

/// Looks up what three components are: by their names, then the mark of JFIF (pydicom's order),
/// then Adobe's (libjpeg's); `None` where there is none of them.
pub(crate) fn colours(jpeg: &[u8]) -> Option<Colours> {
    let (mut is_jfif, mut adobe) = (false, None);
    let names = walk(jpeg, |marker, content| {
        match (marker, content) {
            (FIRST_APPLICATION, [b'J', b'F', b'I', b'F', 0, ..]) => is_jfif = true,
            (
                ADOBE,
                [
                    b'A',
                    b'd',
                    b'o',
                    b'b',
                    b'e',
                    _,
                    _,
                    _,
                    _,
                    _,
                    _,
                    transform,
                    ..,
                ],
            ) => {
                adobe = Some(*transform);
            }
            (0xC0..=0xC3, &[_, _, _, _, _, 3, a, _, _, b, _, _, c, ..]) => {
                return ControlFlow::Break([a, b, c]);
            }
            (SCAN | END_OF_IMAGE, _) => return ControlFlow::Break([0; 3]),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    match (names, adobe) {
        (Some([b'R', b'G', b'B'] | [b'r', b'g', b'b']), _) => Some(Colours::RedGreenBlue),
        _ if is_jfif => Some(Colours::LuminanceAndDifferences),
        (_, Some(0)) => Some(Colours::RedGreenBlue),
        (_, Some(_)) => Some(Colours::LuminanceAndDifferences),
        (_, None) => None,
    }
}

/// Visits the segments of a JPEG with their markers and contents, until `visit` breaks with what
/// it looks for.
fn walk<T>(jpeg: &[u8], mut visit: impl FnMut(u8, &[u8]) -> ControlFlow<T>) -> Option<T> {
    let mut rest = jpeg;
    loop {
        let (marker, content, after) = next_segment(rest)?;
        if let ControlFlow::Break(found) = visit(marker, content) {
            return Some(found);
        }
        rest = after;
    }
}

/// Finds the next marker; returns it, the content of its segment and what follows.
fn next_segment(rest: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    // In a scan, FF 00 is a byte FF of the data and FF D0–D7 a restart; FF FF is padding.
    let is_marker =
        |&at: &usize| !matches!(rest.get(at + 1), None | Some(0x00 | 0xD0..=0xD7 | 0xFF));
    let start = memchr_iter(0xFF, rest).find(is_marker)?;
    let (marker, after) = (rest[start + 1], &rest[start + 2..]);
    if matches!(marker, START_OF_IMAGE | END_OF_IMAGE | TEMPORARY) {
        return Some((marker, &[], after));
    }
    let length = usize::from(u16::from_be_bytes(*after.first_chunk()?));
    let (segment, after) = after.split_at_checked(length)?;
    Some((marker, segment.get(2..).unwrap_or_default(), after))
}

/// Why not all codes were found.
enum Stop {
    /// There are fewer than the image needs.
    EndsEarly,
    /// There are bits that are none.
    Damaged,
    /// They are of a kind that is not followed: the decoder has the say.
    NotKnown,
}

/// What the segments up to a scan have said.
#[derive(Default)]
struct Walk {
    frame: Option<Frame>,
    dc: [Option<HuffmanTable>; 4],
    ac: [Option<HuffmanTable>; 4],
    /// Units between two restarts; 0 for none.
    restart_interval: usize,
}

/// How the coefficients or samples are coded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Process {
    Sequential,
    Progressive,
    Lossless,
}

struct Frame {
    process: Process,
    width: usize,
    height: usize,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// Blocks of a unit of several components, across and down; samples where it is lossless.
    sampling: (usize, usize),
    /// The coefficients, by bits, of which the last bit has not been there.
    missing: u64,
    /// Which coefficients of each block are not 0 so far, for progressive files, which add bits to
    /// those; rows of whole units.
    nonzero: Vec<u64>,
}

/// What the scan's header says about all its components.
struct ScanHeader {
    /// First and last coefficient.
    band: (usize, usize),
    /// Whether bits are added to values that are known by their higher ones.
    is_refinement: bool,
    /// Whether these are the last.
    is_last: bool,
}

/// A component in a scan.
struct Part<'a> {
    component: usize,
    dc: Option<&'a HuffmanTable>,
    ac: Option<&'a HuffmanTable>,
}

impl Walk {
    fn all_scans(&mut self, jpeg: &[u8]) -> Result<(), Stop> {
        let (mut rest, mut scans) = (jpeg, 0);
        loop {
            let (marker, content, after) = next_segment(rest).ok_or(Stop::EndsEarly)?;
            rest = after;
            match marker {
                END_OF_IMAGE => break,
                HUFFMAN_TABLES => self.read_tables(content).ok_or(Stop::NotKnown)?,
                RESTART_INTERVAL => {
                    let interval = content.first_chunk().ok_or(Stop::NotKnown)?;
                    self.restart_interval = u16::from_be_bytes(*interval).into();
                }
                0xC0..=0xCF if !FRAMES.contains(&marker) || self.frame.is_some() => {
                    return Err(Stop::NotKnown);
                }
                0xC0..=0xCF => {
                    self.frame = Some(Frame::read(marker, content).ok_or(Stop::NotKnown)?);
                }
                SCAN => {
                    scans += 1;
                    if scans > MAX_SCANS {
                        return Err(Stop::NotKnown);
                    }
                    let (data, end) = CodedData::read(after).ok_or(Stop::EndsEarly)?;
                    self.scan(content, &data)?;
                    rest = &after[end..];
                }
                _ => {}
            }
        }
        let frame = self.frame.as_ref().ok_or(Stop::NotKnown)?;
        if frame.components.iter().all(|it| it.missing == 0) {
            Ok(())
        } else {
            Err(Stop::EndsEarly)
        }
    }

    fn read_tables(&mut self, mut content: &[u8]) -> Option<()> {
        while let [head, rest @ ..] = content {
            let (lengths, rest) = rest.split_first_chunk::<16>()?;
            let symbols = lengths.iter().copied().map(usize::from).sum();
            let (symbols, after) = rest.split_at_checked(symbols)?;
            let tables = match head >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return None,
            };
            *tables.get_mut(usize::from(head & 15))? = HuffmanTable::new(lengths, symbols);
            content = after;
        }
        Some(())
    }

    fn scan(&mut self, header: &[u8], data: &CodedData) -> Result<(), Stop> {
        let frame = self.frame.as_mut().ok_or(Stop::NotKnown)?;
        let (dc, ac) = (&self.dc, &self.ac);
        let part = |&[id, codes]: &[u8; 2]| {
            let component = frame.components.iter().position(|it| it.id == id)?;
            Some(Part {
                component,
                dc: dc.get(usize::from(codes >> 4))?.as_ref(),
                ac: ac.get(usize::from(codes & 15))?.as_ref(),
            })
        };
        let parsed = || {
            let (&count, rest) = header.split_first()?;
            let (selections, rest) = rest.split_at_checked(2 * usize::from(count))?;
            let parts: Option<Vec<_>> = selections.as_chunks().0.iter().map(part).collect();
            let &[first, last, bits, ..] = rest else {
                return None;
            };
            let header = ScanHeader {
                band: (first.into(), last.into()),
                is_refinement: bits >> 4 != 0,
                is_last: bits & 15 == 0,
            };
            Some((parts.filter(|parts| !parts.is_empty())?, header))
        };
        let (parts, header) = parsed().ok_or(Stop::NotKnown)?;
        let (first, last) = header.band;
        let is_known = match frame.process {
            Process::Progressive => first <= last && last < 64 && (first == 0 || parts.len() == 1),
            _ => true,
        };
        let is_at_hand = |part: &Part<'_>| match frame.process {
            Process::Sequential => part.dc.is_some() && part.ac.is_some(),
            Process::Progressive if first > 0 => part.ac.is_some(),
            _ => part.dc.is_some() || header.is_refinement,
        };
        if !is_known || !parts.iter().all(is_at_hand) {
            return Err(Stop::NotKnown);
        }
        frame.units_of_scan(&parts, &header, data, self.restart_interval)?;
        let found = match frame.process {
            Process::Progressive if header.is_last => u64::MAX >> (63 - last) & u64::MAX << first,
            Process::Progressive => 0,
            Process::Sequential | Process::Lossless => u64::MAX,
        };
        for part in parts {
            frame.components[part.component].missing &= !found;
        }
        Ok(())
    }
}

impl Frame {
    fn read(marker: u8, content: &[u8]) -> Option<Self> {
        let (&[_, h1, h0, w1, w0, count], rest) = content.split_first_chunk()?;
        let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        let descriptions = rest.as_chunks::<3>().0.get(..count.into())?;
        let component = |&[id, sampling, _]: &[u8; 3]| {
            let sampling = (usize::from(sampling >> 4), usize::from(sampling & 15));
            let is_sound = (1..=4).contains(&sampling.0) && (1..=4).contains(&sampling.1);
            is_sound.then_some(Component {
                id,
                sampling,
                missing: u64::MAX,
                nonzero: Vec::new(),
            })
        };
        let components: Vec<_> = descriptions.iter().map(component).collect::<Option<_>>()?;
        // A height of 0 is told behind the first scan.
        let is_sound = width > 0 && height > 0 && (1..=4).contains(&components.len());
        is_sound.then_some(Self {
            process: match marker {
                0xC2 => Process::Progressive,
                0xC3 => Process::Lossless,
                _ => Process::Sequential,
            },
            width: width.into(),
            height: height.into(),
            components,
        })
    }

    /// Walks through the units of a scan: blocks or samples of one component, or as many of each
    /// as their sampling says.
    fn units_of_scan(
        &mut self,
        parts: &[Part<'_>],
        header: &ScanHeader,
        data: &CodedData,
        restart_interval: usize,
    ) -> Result<(), Stop> {
        let side = match self.process {
            Process::Lossless => 1,
            _ => 8,
        };
        let largest = |of: fn(&Component) -> usize| self.components.iter().map(of).max();
        let across = largest(|it| it.sampling.0).unwrap_or(1);
        let down = largest(|it| it.sampling.1).unwrap_or(1);
        let whole_units = (
            self.width.div_ceil(side * across),
            self.height.div_ceil(side * down),
        );
        let units = match parts {
            [part] => {
                let (h, v) = self.components[part.component].sampling;
                (
                    (self.width * h).div_ceil(side * across),
                    (self.height * v).div_ceil(side * down),
                )
            }
            _ => whole_units,
        };
        let count = units.0 * units.1;
        let interval = match restart_interval {
            0 => count,
            interval => interval,
        };
        let mut stretches = data.stretches();
        let mut unit = 0;
        while unit < count {
            let mut bits = stretches.next().ok_or(Stop::EndsEarly)?;
            let mut blocks_left = 0;
            for unit in unit..(unit + interval).min(count) {
                for part in parts {
                    let component = &mut self.components[part.component];
                    let (h, v) = match parts.len() {
                        1 => (1, 1),
                        _ => component.sampling,
                    };
                    for block in 0..h * v {
                        let x = unit % units.0 * h + block % h;
                        let y = unit / units.0 * v + block / h;
                        let place = y * whole_units.0 * component.sampling.0 + x;
                        let walked = match (self.process, header.band.0) {
                            (Process::Sequential, _) => part.block(&mut bits),
                            (Process::Lossless, _) => part.value(&mut bits),
                            (Process::Progressive, 0) if header.is_refinement => {
                                bits.refill();
                                bits.skip(1);
                                Some(())
                            }
                            (Process::Progressive, 0) => part.value(&mut bits),
                            (Process::Progressive, _) => {
                                let nonzero = component.nonzero_at(place);
                                let left = &mut blocks_left;
                                if header.is_refinement {
                                    part.refined_band(&mut bits, header, nonzero, left)
                                } else {
                                    part.first_band(&mut bits, header, nonzero, left)
                                }
                            }
                        };
                        match walked {
                            _ if !bits.is_sound() => return Err(Stop::EndsEarly),
                            // The ones that fill up the last byte are no code.
                            None if !bits.has(LONGEST_CODE) => return Err(Stop::EndsEarly),
                            None => return Err(Stop::Damaged),
                            Some(()) => {}
                        }
                    }
                }
            }
            unit += interval;
        }
        Ok(())
    }
}

impl Component {
    /// Blocks are counted as the scans come to them, so that room is made for those that are there.
    fn nonzero_at(&mut self, place: usize) -> &mut u64 {
        if self.nonzero.len() <= place {
            self.nonzero.resize(place + 1, 0);
        }
        &mut self.nonzero[place]
    }
}

impl Part<'_> {
    /// A sample, or a block's first coefficient: a symbol, and as many bits as it says.
    fn value(&self, bits: &mut Bits<'_>) -> Option<()> {
        bits.refill();
        let size = self.dc?.symbol(bits)?;
        match size {
            0..=15 => bits.skip(size.into()),
            // Of lossless files, the one value that needs no bits.
            16 => {}
            _ => return None,
        }
        Some(())
    }

    /// A block of a sequential file (section F.2.2).
    fn block(&self, bits: &mut Bits<'_>) -> Option<()> {
        self.value(bits)?;
        let table = self.ac?;
        let mut next = 1;
        while next < 64 {
            bits.refill();
            let symbol = table.symbol(bits)?;
            let (zeros, size) = (usize::from(symbol >> 4), symbol & 15);
            if size == 0 && zeros < 15 {
                return Some(());
            }
            bits.skip(size.into());
            next += zeros + 1;
        }
        // Zeros beyond the last coefficient are accepted by all decoders.
        Some(())
    }

    /// The higher bits of a block's band (section G.1.2.2); `blocks_left` have nothing more.
    fn first_band(
        &self,
        bits: &mut Bits<'_>,
        header: &ScanHeader,
        nonzero: &mut u64,
        blocks_left: &mut usize,
    ) -> Option<()> {
        if *blocks_left > 0 {
            *blocks_left -= 1;
            return Some(());
        }
        let (mut next, last) = header.band;
        while next <= last {
            bits.refill();
            let symbol = self.ac?.symbol(bits)?;
            let (zeros, size) = (symbol >> 4, symbol & 15);
            if size == 0 && zeros < 15 {
                *blocks_left = (1 << zeros) - 1 + number(bits, zeros);
                return Some(());
            }
            next += usize::from(zeros);
            if size > 0 {
                bits.skip(size.into());
                *nonzero |= 1_u64.checked_shl(next as u32).unwrap_or(0);
            }
            next += 1;
        }
        Some(())
    }

    /// One bit more of a block's band (section G.1.2.3): each coefficient that is not 0 has one,
    /// wherever zeros are stepped over.
    fn refined_band(
        &self,
        bits: &mut Bits<'_>,
        header: &ScanHeader,
        nonzero: &mut u64,
        blocks_left: &mut usize,
    ) -> Option<()> {
        let (mut next, last) = header.band;
        while *blocks_left == 0 && next <= last {
            bits.refill();
            let symbol = self.ac?.symbol(bits)?;
            let (mut zeros, size) = (symbol >> 4, symbol & 15);
            if size == 0 && zeros < 15 {
                *blocks_left = (1 << zeros) + number(bits, zeros);
                break;
            }
            bits.skip(size.min(1).into());
            while next <= last {
                if *nonzero >> next & 1 == 1 {
                    bits.refill();
                    bits.skip(1);
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                next += 1;
            }
            if size > 0 && next <= last {
                *nonzero |= 1 << next;
            }
            next += 1;
        }
        if *blocks_left > 0 {
            *blocks_left -= 1;
            for place in next..=last {
                if *nonzero >> place & 1 == 1 {
                    bits.refill();
                    bits.skip(1);
                }
            }
        }
        Some(())
    }
}

/// Reads a number of up to 14 bits that are ready.
fn number(bits: &mut Bits<'_>, count: u8) -> usize {
    if count == 0 {
        return 0;
    }
    let number = bits.peek(count.into());
    bits.skip(count.into());
    number
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::image::error::ImageError;
    use crate::image::limits::DecodeLimits;
    use crate::image::radiograph::Radiograph;
    use crate::tests::fixtures::data_file;

    /// Sequential, with restarts, colours of half the resolution, progressive.
    const FILES: [&str; 5] = [
        "img_grey_111x130.jpg",
        "img_rgb_61x97.jpg",
        "restarts_and_own_codes_111x130.jpg",
        "progressive_grey_41x33.jpg",
        "progressive_rgb_41x33.jpg",
    ];

    fn file(name: &str) -> Vec<u8> {
        fs::read(data_file(name)).unwrap()
    }

    /// Where the first scan's data begins.
    fn first_scan(jpeg: &[u8]) -> usize {
        let start = jpeg.windows(2).position(|it| it == [0xFF, SCAN]).unwrap() + 2;
        start + usize::from(u16::from_be_bytes([jpeg[start], jpeg[start + 1]]))
    }

    #[test]
    fn whole_files_are_whole_whatever_follows_their_end() {
        for name in FILES {
            let jpeg = file(name);
            assert!(is_whole(&jpeg), "{name}");
            let with_more = [&jpeg[..], &[0; 100], &jpeg[..200]].concat();
            assert!(is_whole(&with_more), "{name}");
            // Any number of FF may stand before a marker.
            let (image, end) = jpeg.split_at(jpeg.len() - 2);
            assert!(is_whole(&[image, &[0xFF; 3], end].concat()), "{name}");
        }
    }

    // The last byte of a scan may be all padding.
    #[test]
    fn a_scan_cut_off_anywhere_ends_early_though_the_end_marker_is_there() {
        for name in FILES {
            let jpeg = file(name);
            for length in first_scan(&jpeg)..jpeg.len() - 3 {
                let cut = [&jpeg[..length], &[0xFF, END_OF_IMAGE]].concat();
                assert!(!is_whole(&cut), "{name}: {length}");
                assert!(!is_whole(&jpeg[..length]), "{name}: {length}, no marker");
            }
        }
    }

    #[test]
    fn half_a_scan_is_a_bad_file_however_it_is_decoded() {
        let limits = DecodeLimits::default();
        for name in FILES {
            let jpeg = file(name);
            let half = (first_scan(&jpeg) + jpeg.len()) / 2;
            let cut = [&jpeg[..half], &[0xFF, END_OF_IMAGE]].concat();
            for result in [
                Radiograph::decode(&cut, Path::new("a.jpg"), &limits),
                Radiograph::decode_within(&cut, Path::new("a.jpg"), 8, &limits),
            ] {
                let error = result.unwrap_err();
                assert!(matches!(error, ImageError::Truncated { .. }), "{error}");
            }
        }
    }

    // Their tables have no code of 16 ones.
    #[test]
    fn a_damaged_code_is_a_bad_file_too() {
        for name in FILES {
            let mut jpeg = file(name);
            let scan = first_scan(&jpeg);
            jpeg.splice(scan + 4..scan + 6, [0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0]);
            assert!(!is_whole(&jpeg), "{name}");
        }
    }

    #[test]
    fn a_frame_larger_than_its_scan_ends_early() {
        for name in FILES {
            let mut jpeg = file(name);
            let frame = |it: &[u8]| it[0] == 0xFF && matches!(it[1], 0xC0..=0xC2);
            let at = jpeg.windows(2).position(frame).unwrap();
            jpeg[at + 5..at + 9].copy_from_slice(&[0x3F, 0xFF, 0x3F, 0xFF]);
            assert!(!is_whole(&jpeg), "{name}");
        }
    }

    #[test]
    fn no_damage_is_a_panic() {
        for name in FILES {
            let jpeg = file(name);
            for position in (0..jpeg.len()).step_by(3) {
                for value in [0x00, 0x55, 0xFF] {
                    let mut damaged = jpeg.clone();
                    damaged[position] = value;
                    is_whole(&damaged);
                    colours(&damaged);
                }
            }
        }
    }

    #[test]
    fn colours_are_those_of_names_then_jfif_then_adobe() {
        use Colours::{LuminanceAndDifferences, RedGreenBlue};
        let jpeg = |jfif: bool, adobe: Option<u8>, names: [u8; 3]| {
            let mut jpeg = vec![0xFF, START_OF_IMAGE];
            if jfif {
                jpeg.extend(b"\xFF\xE0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
            }
            if let Some(transform) = adobe {
                jpeg.extend(b"\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0");
                jpeg.push(transform);
            }
            let [a, b, c] = names;
            let frame = [0, 17, 8, 0, 8, 0, 8, 3, a, 0x11, 0, b, 0x11, 0, c, 0x11, 0];
            [&jpeg[..], &[0xFF, 0xC0], &frame].concat()
        };
        for (file, expected) in [
            (jpeg(false, None, [1, 2, 3]), None),
            (jpeg(false, None, *b"RGB"), Some(RedGreenBlue)),
            (jpeg(true, None, [1, 2, 3]), Some(LuminanceAndDifferences)),
            (jpeg(false, Some(0), [1, 2, 3]), Some(RedGreenBlue)),
            (
                jpeg(false, Some(1), [1, 2, 3]),
                Some(LuminanceAndDifferences),
            ),
            (
                jpeg(true, Some(0), [1, 2, 3]),
                Some(LuminanceAndDifferences),
            ),
        ] {
            assert_eq!(colours(&file), expected);
        }
    }
}
