//! Importance in a partial least squares regression of the classes on the filters (PLS/VIP: Jordao et al., Deep Network Compression Based
//! on Partial Least Squares, 2020).

use ndarray::{Array1, Array2, Axis};

/// Components of the regression.
const COMPONENTS: usize = 2;

/// Iterations of the power method for one component at most, and the change of a unit vector at which it ends.
const MOST_ITERATIONS: usize = 500;
const SETTLED: f64 = 1e-12;

/// Variable importance in the projection of each column of `x`, `[n, p]`, for the classes `labels` of its rows: a regression by
/// NIPALS on columns of unit variance, and `sqrt(p Σ_j S_j (w_fj / ‖w_j‖)² / Σ_j S_j)` with the explained sums of squares
/// `S_j = t_jᵀ t_j q_jᵀ q_j`. The mean of the squares is 1. Columns that do not vary have importance 0.
pub(super) fn importance(x: &Array2<f64>, labels: &[usize], classes: usize) -> Array1<f64> {
    let (n, p) = x.dim();
    let mut one_hot = Array2::zeros((n, classes));
    for (row, &label) in labels.iter().enumerate().filter(|(_, label)| **label < classes) {
        one_hot[[row, label]] = 1.0;
    }
    let (mut x, mut y) = (standardized(x), standardized(&one_hot));
    let (mut squares, mut total) = (Array1::zeros(p), 0.0);
    for _ in 0..COMPONENTS.min(p) {
        let Some(w) = direction(&x.t().dot(&y)) else { break };
        let t = x.dot(&w);
        let length = t.dot(&t);
        if length <= f64::EPSILON {
            break;
        }
        let loadings = x.t().dot(&t) / length;
        let q = y.t().dot(&t) / length;
        let explained = length * q.dot(&q);
        squares.scaled_add(explained, &w.mapv(|v| v * v));
        total += explained;
        deflate(&mut x, &t, &loadings);
        deflate(&mut y, &t, &q);
    }
    if total > 0.0 { squares.mapv(|v| (p as f64 * v / total).sqrt()) } else { squares }
}

/// Columns with mean 0 and variance 1; those that do not vary are zero.
fn standardized(x: &Array2<f64>) -> Array2<f64> {
    let mut out = x.clone();
    for mut column in out.axis_iter_mut(Axis(1)) {
        let mean = column.mean().unwrap_or(0.0);
        column -= mean;
        let deviation = (column.dot(&column) / (column.len().max(2) - 1) as f64).sqrt();
        // Rounding of a constant column is no variation.
        if deviation > 1e-12 * mean.abs().max(1.0) {
            column /= deviation;
        } else {
            column.fill(0.0);
        }
    }
    out
}

/// The first left singular vector of a matrix; `None` if that is zero.
fn direction(matrix: &Array2<f64>) -> Option<Array1<f64>> {
    let norm = |column: &ndarray::ArrayView1<'_, f64>| column.dot(column);
    let columns = matrix.axis_iter(Axis(1));
    let largest = columns.max_by(|a, b| norm(a).total_cmp(&norm(b)))?;
    let mut w = unit(largest.to_owned())?;
    for _ in 0..MOST_ITERATIONS {
        let next = unit(matrix.dot(&matrix.t().dot(&w)))?;
        let change = (&next - &w).mapv(|v| v * v).sum();
        w = next;
        if change < SETTLED {
            break;
        }
    }
    Some(w)
}

fn unit(v: Array1<f64>) -> Option<Array1<f64>> {
    let length = v.dot(&v).sqrt();
    (length > 1e-12).then(|| v / length)
}

/// `matrix - t loadingsᵀ`.
fn deflate(matrix: &mut Array2<f64>, t: &Array1<f64>, loadings: &Array1<f64>) {
    for (mut row, t) in matrix.outer_iter_mut().zip(t) {
        row.scaled_add(-t, loadings);
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    /// Two classes: column 0 tells them, column 1 is the same twice as large, column 2 is noise, column 3 is constant.
    fn example() -> (Array2<f64>, Vec<usize>) {
        let noise = [0.3, -0.2, 0.5, -0.4, 0.1, -0.3, 0.2, -0.2];
        let labels: Vec<usize> = (0..8).map(|i| i % 2).collect();
        let x = Array2::from_shape_fn((8, 4), |(row, column)| match column {
            0 | 1 => (column as f64 + 1.0) * (labels[row] as f64 + 0.1 * noise[(row + 3) % 8]),
            2 => noise[row] * if row % 4 < 2 { 1.0 } else { -1.0 },
            _ => 3.0,
        });
        (x, labels)
    }

    #[test]
    fn what_tells_the_classes_is_important_whatever_its_scale() {
        let (x, labels) = example();
        let vip = importance(&x, &labels, 2);
        assert!((vip[0] - vip[1]).abs() < 1e-9, "{vip}");
        assert!(vip[0] > 1.0 && vip[2] < 0.7, "{vip}");
        assert_eq!(vip[3], 0.0);
    }

    #[test]
    fn the_mean_of_the_squares_is_one() {
        let (x, labels) = example();
        let vip = importance(&x, &labels, 2);
        assert!((vip.mapv(|v| v * v).mean().unwrap() - 1.0).abs() < 1e-9, "{vip}");
        assert_eq!(importance(&array![[1.0], [1.0]], &[0, 1], 2), array![0.0]);
    }
}
