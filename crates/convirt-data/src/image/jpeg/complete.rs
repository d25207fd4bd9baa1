//! Checks that a JPEG contains all of the image that its header declares (ITU-T T.81).
//!
//! This is our own code, because decoders do not report missing data: they fill the missing part
//! with grey, also after an invalid code, and also if an end marker follows half a scan, as libjpeg
//! and many tools write it. So all codes are read once, without decoding the image and with little
//! memory, before a decoder allocates the image.

mod codes;

use std::ops::RangeInclusive;

use super::bits::CodedData;
use super::huffman::HuffmanTable;
use super::segments::{
    END_OF_IMAGE, HUFFMAN_TABLES, RESTART_INTERVAL, SCAN, next_segment, reaches_end_of_image,
};
use codes::{ScanComponent, ScanHeader};

/// Markers of the supported frames.
const FRAMES: RangeInclusive<u8> = 0xC0..=0xC3;

/// Largest number of scans: that of the decoder, and ten times what encoders write.
const MAX_SCANS: usize = 100;

/// Longest code, in bits.
const MAX_CODE_LENGTH: usize = 16;

/// Whether a JPEG has its end-of-image marker, and all codes of its image before it.
///
/// A progressive file must contain the last bit of every coefficient. Data after the end marker is
/// ignored. For arithmetic coding and hierarchical files, which no decoder here supports, only the
/// end marker is checked.
pub(crate) fn is_complete(jpeg: &[u8]) -> bool {
    match CodeReader::default().read_scans(jpeg) {
        Ok(()) => true,
        Err(Stop::EndsEarly | Stop::Damaged) => false,
        Err(Stop::Unsupported) => reaches_end_of_image(jpeg),
    }
}

/// Why reading the codes stopped.
enum Stop {
    /// The data ends before the image.
    EndsEarly,
    /// A code is invalid.
    Damaged,
    /// The coding is not supported here; the decoder decides.
    Unsupported,
}

/// Reads the codes of all scans, with the tables of the segments before them.
#[derive(Default)]
struct CodeReader {
    frame: Option<Frame>,
    dc: [Option<HuffmanTable>; 4],
    ac: [Option<HuffmanTable>; 4],
    /// Units (MCUs) in a restart interval; 0 for no restarts.
    restart_interval: usize,
}

/// The coding process.
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
    /// Sampling factors: blocks (or lossless samples) in a unit (MCU), across and down.
    sampling: (usize, usize),
    /// Bit mask of the coefficients whose last bit is still missing.
    missing: u64,
    /// Bit masks of the nonzero coefficients of each block so far, in rows of whole units; only for
    /// progressive files, whose refinements add bits to these.
    nonzero: Vec<u64>,
}

impl CodeReader {
    fn read_scans(&mut self, jpeg: &[u8]) -> Result<(), Stop> {
        let (mut rest, mut scans) = (jpeg, 0);
        loop {
            let (marker, content, after) = next_segment(rest).ok_or(Stop::EndsEarly)?;
            rest = after;
            match marker {
                END_OF_IMAGE => break,
                HUFFMAN_TABLES => self.read_tables(content).ok_or(Stop::Unsupported)?,
                RESTART_INTERVAL => {
                    let interval = content.first_chunk().ok_or(Stop::Unsupported)?;
                    self.restart_interval = u16::from_be_bytes(*interval).into();
                }
                0xC0..=0xCF if !FRAMES.contains(&marker) || self.frame.is_some() => {
                    return Err(Stop::Unsupported);
                }
                0xC0..=0xCF => {
                    self.frame = Some(Frame::read(marker, content).ok_or(Stop::Unsupported)?);
                }
                SCAN => {
                    scans += 1;
                    if scans > MAX_SCANS {
                        return Err(Stop::Unsupported);
                    }
                    let (data, end) = CodedData::read(after).ok_or(Stop::EndsEarly)?;
                    self.scan(content, &data)?;
                    rest = &after[end..];
                }
                _ => {}
            }
        }
        let frame = self.frame.as_ref().ok_or(Stop::Unsupported)?;
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
        let frame = self.frame.as_mut().ok_or(Stop::Unsupported)?;
        let (dc, ac) = (&self.dc, &self.ac);
        let component = |&[id, codes]: &[u8; 2]| {
            let index = frame.components.iter().position(|it| it.id == id)?;
            Some(ScanComponent {
                component: index,
                dc: dc.get(usize::from(codes >> 4))?.as_ref(),
                ac: ac.get(usize::from(codes & 15))?.as_ref(),
            })
        };
        let parsed = || {
            let (&count, rest) = header.split_first()?;
            let (selections, rest) = rest.split_at_checked(2 * usize::from(count))?;
            let parts: Option<Vec<_>> = selections.as_chunks().0.iter().map(component).collect();
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
        let (parts, header) = parsed().ok_or(Stop::Unsupported)?;
        let (first, last) = header.band;
        let is_supported = match frame.process {
            Process::Progressive => first <= last && last < 64 && (first == 0 || parts.len() == 1),
            _ => true,
        };
        let has_tables = |part: &ScanComponent<'_>| match frame.process {
            Process::Sequential => part.dc.is_some() && part.ac.is_some(),
            Process::Progressive if first > 0 => part.ac.is_some(),
            _ => part.dc.is_some() || header.is_refinement,
        };
        if !is_supported || !parts.iter().all(has_tables) {
            return Err(Stop::Unsupported);
        }
        frame.read_units(&parts, &header, data, self.restart_interval)?;
        let complete = match frame.process {
            Process::Progressive if header.is_last => u64::MAX >> (63 - last) & u64::MAX << first,
            Process::Progressive => 0,
            Process::Sequential | Process::Lossless => u64::MAX,
        };
        for part in parts {
            frame.components[part.component].missing &= !complete;
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
        // A height of 0 means that it follows after the first scan, which is not supported.
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

    /// Reads the codes of all units of a scan. A unit is a block or sample if there is one
    /// component, and else the blocks of all components given by their sampling factors.
    fn read_units(
        &mut self,
        parts: &[ScanComponent<'_>],
        header: &ScanHeader,
        data: &CodedData,
        restart_interval: usize,
    ) -> Result<(), Stop> {
        let side = match self.process {
            Process::Lossless => 1,
            _ => 8,
        };
        let largest = |factor: fn(&Component) -> usize| self.components.iter().map(factor).max();
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
        let mut intervals = data.intervals();
        let mut unit = 0;
        while unit < count {
            let mut bits = intervals.next().ok_or(Stop::EndsEarly)?;
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
                        let block = y * whole_units.0 * component.sampling.0 + x;
                        let result = match (self.process, header.band.0) {
                            (Process::Sequential, _) => part.block(&mut bits),
                            (Process::Lossless, _) => part.value(&mut bits),
                            (Process::Progressive, 0) if header.is_refinement => {
                                bits.refill();
                                bits.skip(1);
                                Some(())
                            }
                            (Process::Progressive, 0) => part.value(&mut bits),
                            (Process::Progressive, _) => {
                                let nonzero = component.nonzero_at(block);
                                let left = &mut blocks_left;
                                if header.is_refinement {
                                    part.refined_band(&mut bits, header, nonzero, left)
                                } else {
                                    part.first_band(&mut bits, header, nonzero, left)
                                }
                            }
                        };
                        match result {
                            _ if !bits.is_sound() => return Err(Stop::EndsEarly),
                            // The one bits that pad the last byte are not a code.
                            None if !bits.has(MAX_CODE_LENGTH) => return Err(Stop::EndsEarly),
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
    /// Returns the mask of a block. Memory grows with the blocks that actually occur.
    fn nonzero_at(&mut self, block: usize) -> &mut u64 {
        if self.nonzero.len() <= block {
            self.nonzero.resize(block + 1, 0);
        }
        &mut self.nonzero[block]
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::image::error::ImageError;
    use crate::image::jpeg::segments::colours;
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

    /// Returns the start of the first scan's data.
    fn first_scan(jpeg: &[u8]) -> usize {
        let start = jpeg.windows(2).position(|it| it == [0xFF, SCAN]).unwrap() + 2;
        start + usize::from(u16::from_be_bytes([jpeg[start], jpeg[start + 1]]))
    }

    #[test]
    fn complete_files_are_accepted_whatever_follows_their_end() {
        for name in FILES {
            let jpeg = file(name);
            assert!(is_complete(&jpeg), "{name}");
            let with_more = [&jpeg[..], &[0; 100], &jpeg[..200]].concat();
            assert!(is_complete(&with_more), "{name}");
            // Any number of FF bytes may precede a marker.
            let (image, end) = jpeg.split_at(jpeg.len() - 2);
            assert!(is_complete(&[image, &[0xFF; 3], end].concat()), "{name}");
        }
    }

    // The last byte of a scan may be all padding.
    #[test]
    fn a_scan_truncated_anywhere_ends_early_despite_its_end_marker() {
        for name in FILES {
            let jpeg = file(name);
            for length in first_scan(&jpeg)..jpeg.len() - 3 {
                let cut = [&jpeg[..length], &[0xFF, END_OF_IMAGE]].concat();
                assert!(!is_complete(&cut), "{name}: {length}");
                assert!(!is_complete(&jpeg[..length]), "{name}: {length}, no marker");
            }
        }
    }

    #[test]
    fn half_a_scan_is_an_error_at_any_size() {
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

    // Their tables have no code of 16 one bits.
    #[test]
    fn an_invalid_code_is_an_error_too() {
        for name in FILES {
            let mut jpeg = file(name);
            let scan = first_scan(&jpeg);
            jpeg.splice(scan + 4..scan + 6, [0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0]);
            assert!(!is_complete(&jpeg), "{name}");
        }
    }

    #[test]
    fn a_frame_larger_than_its_scan_ends_early() {
        for name in FILES {
            let mut jpeg = file(name);
            let frame = |it: &[u8]| it[0] == 0xFF && matches!(it[1], 0xC0..=0xC2);
            let at = jpeg.windows(2).position(frame).unwrap();
            jpeg[at + 5..at + 9].copy_from_slice(&[0x3F, 0xFF, 0x3F, 0xFF]);
            assert!(!is_complete(&jpeg), "{name}");
        }
    }

    #[test]
    fn damage_causes_no_panic() {
        for name in FILES {
            let jpeg = file(name);
            for position in (0..jpeg.len()).step_by(3) {
                for value in [0x00, 0x55, 0xFF] {
                    let mut damaged = jpeg.clone();
                    damaged[position] = value;
                    is_complete(&damaged);
                    colours(&damaged);
                }
            }
        }
    }
}
