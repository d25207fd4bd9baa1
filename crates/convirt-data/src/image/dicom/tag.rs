//! Tags of elements (PS3.6).

use std::fmt;

/// Tag: group and element number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag(pub(super) u16, pub(super) u16);

pub(super) const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);

pub(super) const VIEW_POSITION: Tag = Tag(0x0018, 0x5101);
/// The view as a code, in an item with the code and its coding scheme.
pub(super) const VIEW_CODE_SEQUENCE: Tag = Tag(0x0054, 0x0220);
pub(super) const CODE_VALUE: Tag = Tag(0x0008, 0x0100);
pub(super) const CODING_SCHEME: Tag = Tag(0x0008, 0x0102);
pub(super) const CODE_MEANING: Tag = Tag(0x0008, 0x0104);
/// Free texts that often name the view if the view position is blank, in order of preference:
/// series description, acquisition device processing description, protocol name.
pub(super) const DESCRIPTIONS: [Tag; 3] = [
    Tag(0x0008, 0x103E),
    Tag(0x0018, 0x1400),
    Tag(0x0018, 0x1030),
];

/// Whether an element may contain the view.
pub(super) fn is_view_element(tag: Tag) -> bool {
    let of_code = [VIEW_CODE_SEQUENCE, CODE_VALUE, CODING_SCHEME, CODE_MEANING];
    tag == VIEW_POSITION || of_code.contains(&tag) || DESCRIPTIONS.contains(&tag)
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:04X},{:04X})", self.0, self.1)
    }
}
