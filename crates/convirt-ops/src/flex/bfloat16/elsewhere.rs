//! Processors without instructions for pairs of bfloat16.

use super::{Left, Matrix, MatrixMut, Output};

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

    pub(super) fn round_to_pairs(self, _: &[f32], _: &mut [f32]) {
        match self {}
    }

    pub(super) fn pack_panel_of_pairs(self, _: Matrix, _: &mut [f32]) {
        match self {}
    }

    pub(super) fn product(self, _: MatrixMut, _: Output, _: Left, _: &[f32]) {
        match self {}
    }
}
