//! The sum of absolute changes.

use crate::{Bounds, SampleRng, round};

/// Uniform in the ball: the shares that exponential deviates have of their sum, with one more deviate that goes nowhere, and random signs.
pub(crate) fn start(x: &[f32], eps: f64, rng: &mut SampleRng, point: &mut [f32]) {
    let mut sum = rng.exponential();
    for p in point.iter_mut() {
        let size = rng.exponential();
        sum += size;
        *p = (rng.sign() * size) as f32;
    }
    for (p, x) in point.iter_mut().zip(x) {
        *p = (f64::from(*x) + eps * f64::from(*p) / sum) as f32;
    }
}

/// The whole step goes to the element with the largest derivative; of equal ones to the first.
pub(crate) fn steepest(gradient: &mut [f32]) {
    let largest = gradient.iter().fold(0.0_f32, |largest, g| largest.max(g.abs()));
    let mut taken = largest == 0.0;
    for g in gradient {
        *g = if !taken && g.abs() == largest { g.signum() } else { 0.0 };
        taken |= *g != 0.0;
    }
}

/// The step is shared evenly by the elements with the largest derivatives: that `share` of all, rounded up, at least one.
pub(crate) fn spread(gradient: &mut [f32], share: f64) {
    let Some(end) = gradient.len().checked_sub(1) else { return };
    let mut sizes: Vec<f32> = gradient.iter().map(|g| g.abs()).collect();
    let last = ((share * sizes.len() as f64).ceil() as usize).saturating_sub(1).min(end);
    let least = *sizes.select_nth_unstable_by(last, |a, b| b.total_cmp(a)).1;
    let moves = |g: f32| g != 0.0 && g.abs() >= least;
    let part = 1.0 / gradient.iter().filter(|g| moves(**g)).count() as f32;
    for g in gradient {
        *g = if moves(*g) { part.copysign(*g) } else { 0.0 };
    }
}

/// The nearest point of ball and box.
///
/// The Karush-Kuhn-Tucker conditions of that problem say that every offset shrinks by the same amount, to not less than zero, and then ends
/// where the box does; the amount is the smallest at which the length is at most `eps` (Croce and Hein, Mind the Box, ICML 2021, proposition 1).
pub(crate) fn project(x: &[f32], eps: f64, bounds: Bounds, point: &mut [f32]) {
    let (low, high) = (f64::from(bounds.low()), f64::from(bounds.high()));
    let offset = |x: f32, p: f32| f64::from(p) - f64::from(x);
    let clip = |x: f32, offset: f64| offset.clamp(low - f64::from(x), high - f64::from(x));
    if sum(x.iter().zip(&*point).map(|(&x, &p)| clip(x, offset(x, p)))) <= eps {
        for p in point {
            *p = p.clamp(bounds.low(), bounds.high());
        }
        return;
    }

    // The length falls with the amount along straight pieces: from inside the piece that is sought, Newton's step ends at the amount. Where
    // it would leave what is known to hold it, the middle is taken.
    let shrunk = |x: f32, p: f32, amount: f64| {
        let offset = offset(x, p);
        clip(x, offset.signum() * (offset.abs() - amount).max(0.0))
    };
    let (mut below, mut above) = (0.0, x.iter().zip(&*point).map(|(&x, &p)| offset(x, p).abs()).fold(0.0, f64::max));
    let mut amount = below;
    loop {
        let (mut length, mut free) = (0.0, 0.0);
        for (&x, &p) in x.iter().zip(&*point) {
            let size = shrunk(x, p, amount).abs();
            length += size;
            free += f64::from(size > 0.0 && size == offset(x, p).abs() - amount);
        }
        if length > eps {
            below = amount;
        } else {
            above = amount;
        }
        let step = (length - eps) / free;
        // Rounding of sums decides about what is left.
        if step.abs() <= 1e-14 * above {
            break;
        }
        let newton = amount + step;
        amount = if below < newton && newton < above { newton } else { f64::midpoint(below, above) };
        if amount <= below || above <= amount {
            break;
        }
    }
    round::inside(x, point, eps, |x, p| shrunk(x, p, amount), distance);
}

pub(crate) fn distance(x: &[f32], point: &[f32]) -> f64 {
    sum(x.iter().zip(point).map(|(x, p)| f64::from(*p) - f64::from(*x)))
}

pub(crate) fn length(offset: &[f32]) -> f64 {
    sum(offset.iter().map(|v| f64::from(*v)))
}

fn sum(values: impl Iterator<Item = f64>) -> f64 {
    values.map(f64::abs).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with the projection of the original Auto-PGD.
    #[test]
    fn projections_are_those_of_the_reference() {
        let bounds = Bounds::new(0.0, 1.0).unwrap();
        let cases = [
            ([0.5, 0.2, 0.9, 0.0, 1.0], [0.4, -0.3, 0.3, -0.2, 0.5], [0.3, -0.2, 0.1, 0.0, 0.0]),
            ([0.5, 0.2, 0.9, 0.0, 1.0], [0.1, -0.1, 0.05, 0.0, 0.0], [0.1, -0.1, 0.05, 0.0, 0.0]),
            ([0.1, 0.5, 0.5, 0.5, 0.9], [2.0, -1.0, 0.5, 0.25, -0.75], [0.6, 0.0, 0.0, 0.0, 0.0]),
        ];
        for (x, offset, expected) in cases {
            let (x, mut point): ([f32; 5], [f32; 5]) = (x, std::array::from_fn(|i| x[i] + offset[i]));
            project(&x, 0.6, bounds, &mut point);
            for i in 0..5 {
                assert!((point[i] - x[i] - expected[i]).abs() < 1e-6, "{point:?} {expected:?}");
            }
        }
    }
}
