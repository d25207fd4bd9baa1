//! Drawing the pixels of a radiograph from findings.

mod canvas;
mod anatomy;
mod devices;
mod pathology;
mod render;
mod exposure;

pub(crate) use anatomy::Anatomy;
pub(crate) use exposure::{Exposure, FileKind};

#[cfg(test)]
mod tests {
    mod visibility;
}
