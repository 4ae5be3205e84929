//! Rank of feature maps (HRank: Lin et al., Filter Pruning using High-Rank Feature Map, CVPR 2020).

use nalgebra::DMatrix;

/// Rank of a map of `rows` times `columns` numbers: its singular values above `σ_max max(rows, columns) ε`, with ε that of binary32, as
/// `numpy.linalg.matrix_rank` counts them.
pub(super) fn rank(map: &[f32], rows: usize, columns: usize) -> usize {
    let first = map.first().copied().unwrap_or(0.0);
    // Maps that a ReLU has emptied are common, and constant ones need no decomposition either.
    if map.iter().all(|v| v.to_bits() == first.to_bits()) {
        return usize::from(first != 0.0 && first.is_finite());
    }
    let values = DMatrix::from_row_iterator(rows, columns, map.iter().map(|&v| f64::from(v))).singular_values();
    let largest = values.iter().copied().fold(0.0, f64::max);
    let least = largest * rows.max(columns) as f64 * f64::from(f32::EPSILON);
    values.iter().filter(|&&v| v > least).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_independent_rows() {
        let outer: Vec<f32> = (0..20).map(|i| ((i / 5 + 1) * (i % 5 + 2)) as f32).collect();
        assert_eq!(rank(&outer, 4, 5), 1);
        let mut two = outer;
        two[7] += 1.0;
        assert_eq!(rank(&two, 4, 5), 2);
        let identity: Vec<f32> = (0..16).map(|i| f32::from(u8::from(i / 4 == i % 4))).collect();
        assert_eq!(rank(&identity, 4, 4), 4);
        assert_eq!(rank(&[0.0; 12], 3, 4), 0);
        assert_eq!(rank(&[2.5; 12], 3, 4), 1);
    }

    /// The tolerance is that of f32, though the values are computed in f64.
    #[test]
    fn what_is_only_rounding_does_not_count() {
        let mut outer: Vec<f32> = (0..64).map(|i| ((i / 8 + 1) as f32 / 3.0) * ((i % 8 + 2) as f32 / 7.0)).collect();
        assert_eq!(rank(&outer, 8, 8), 1);
        outer[9] *= 1.0 + 1e-3;
        assert_eq!(rank(&outer, 8, 8), 2);
    }
}
