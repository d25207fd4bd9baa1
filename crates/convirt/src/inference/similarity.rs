//! The similarity of two embeddings.

/// Returns the cosine similarity of two embeddings of one model, in `[-1, 1]`.
///
/// It is the dot product: embeddings have L2 norm 1.
///
/// # Examples
///
/// ```
/// use convirt::similarity;
///
/// let (right, up) = ([1.0, 0.0], [0.0, 1.0]);
/// assert_eq!(similarity(&right, &right), 1.0);
/// assert_eq!(similarity(&right, &up), 0.0);
/// ```
///
/// # Panics
///
/// When their lengths differ.
pub fn similarity(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(
        a.len(),
        b.len(),
        "embeddings of one model have the same length"
    );
    // One running sum for each lane lets the compiler use wide registers.
    const LANES: usize = 16;
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
