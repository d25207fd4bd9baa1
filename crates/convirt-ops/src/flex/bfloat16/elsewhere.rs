//! Processors without instructions for pairs of bfloat16.

use super::{Matrix, MatrixMut, Output};

pub(super) const PANEL: usize = 1;

/// There is none.
#[derive(Clone, Copy)]
pub(super) enum Instructions {}

impl Instructions {
    pub(super) fn detected() -> Option<Self> {
        None
    }

    pub(super) fn panel_length(_: usize) -> usize {
        0
    }

    pub(super) fn pack_panel(self, _: Matrix, _: &mut [f32]) {
        match self {}
    }

    pub(super) fn product(self, _: MatrixMut, _: Output, _: Matrix, _: &[f32]) {
        match self {}
    }
}
