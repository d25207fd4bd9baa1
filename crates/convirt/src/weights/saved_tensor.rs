//! Tensors that are written to files.

/// A tensor that is written to a file. Its numbers are copied from the device only at that moment.
pub(crate) struct SavedTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Values,
}

/// The numbers of a [`SavedTensor`].
pub(crate) enum Values {
    /// 32-bit floating-point numbers, row-major.
    Floats(Box<dyn Fn() -> Vec<f32> + Send + Sync>),
    /// One 64-bit integer.
    Integer(i64),
}

impl SavedTensor {
    /// Creates a tensor of zeros, for a layer that our networks do not have.
    pub fn zeros(name: &str, shape: &[usize]) -> Self {
        let count = shape.iter().product();
        Self {
            name: name.to_string(),
            shape: shape.to_vec(),
            values: Values::Floats(Box::new(move || vec![0.0; count])),
        }
    }

    /// Returns the number of bytes of an element.
    pub fn element_size(&self) -> usize {
        match self.values {
            Values::Floats(_) => 4,
            Values::Integer(_) => 8,
        }
    }

    /// Returns the little-endian bytes of the numbers.
    pub fn bytes(&self) -> Vec<u8> {
        match &self.values {
            Values::Floats(numbers) => numbers().into_iter().flat_map(f32::to_le_bytes).collect(),
            Values::Integer(number) => number.to_le_bytes().to_vec(),
        }
    }
}
