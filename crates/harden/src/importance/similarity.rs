//! How much of a representation is left without a part of the net (CKA: Kornblith et al., Similarity of Neural Network Representations
//! Revisited, ICML 2019), and how far predictions are apart.

use ndarray::{Array2, ArrayView1, Axis};

/// Linear centred kernel alignment of two representations of the same samples, `[n, features]` each: `‖Bᵀ A‖² / (‖Aᵀ A‖ ‖Bᵀ B‖)` in Frobenius
/// norms, of centred columns. 1 for representations that are the same up to a rotation and a factor; 0 where one is constant.
pub(super) fn alignment(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    let (a, b) = (centred(a), centred(b));
    let norm = |x: &Array2<f64>, y: &Array2<f64>| x.t().dot(y).mapv(|v| v * v).sum();
    let of_both = (norm(&a, &a) * norm(&b, &b)).sqrt();
    if of_both > 0.0 { norm(&b, &a) / of_both } else { 0.0 }
}

fn centred(x: &Array2<f64>) -> Array2<f64> {
    let mean = x.mean_axis(Axis(0));
    mean.map_or_else(|| x.clone(), |mean| x - &mean)
}

/// `KL(q ‖ p) = Σ q (ln q - ln p)` of two rows of probabilities, none of which counts as less than 1e-12.
pub(super) fn divergence(q: &ArrayView1<'_, f64>, p: &ArrayView1<'_, f64>) -> f64 {
    let floor = |v: f64| v.max(1e-12);
    q.iter().zip(p.iter()).map(|(&q, &p)| floor(q) * (floor(q).ln() - floor(p).ln())).sum()
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn alignment_knows_neither_rotations_nor_factors() {
        let a = array![[1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [-1.0, 0.5]];
        let (sin, cos) = 0.7_f64.sin_cos();
        let rotated = a.dot(&array![[cos, -sin], [sin, cos]]) * 3.0 + 5.0;
        assert!((alignment(&a, &rotated) - 1.0).abs() < 1e-12);
        let without = a.select(Axis(1), &[0]);
        let left = alignment(&a, &without);
        assert!(left > 0.5 && left < 1.0, "{left}");
        assert_eq!(alignment(&a, &Array2::ones((4, 2))), 0.0);
    }

    #[test]
    fn divergence_is_zero_for_the_same_and_finite_for_zeros() {
        let (p, q) = (array![0.2, 0.8], array![0.5, 0.5]);
        assert_eq!(divergence(&p.view(), &p.view()), 0.0);
        let expected = 0.5 * (0.5_f64 / 0.2).ln() + 0.5 * (0.5_f64 / 0.8).ln();
        assert!((divergence(&q.view(), &p.view()) - expected).abs() < 1e-15);
        assert!(divergence(&p.view(), &array![0.0, 1.0].view()).is_finite());
    }
}
