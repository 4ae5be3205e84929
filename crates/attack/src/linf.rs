//! The maximum norm: a box around the sample, so that everything is done element by element.

use crate::{Bounds, SampleRng};

pub(crate) fn start(x: &[f32], eps: f64, rng: &mut SampleRng, point: &mut [f32]) {
    for (p, x) in point.iter_mut().zip(x) {
        *p = (f64::from(*x) + eps * (2.0 * rng.uniform() - 1.0)) as f32;
    }
}

/// Signs.
pub(crate) fn steepest(gradient: &mut [f32]) {
    for g in gradient {
        *g = if *g == 0.0 { 0.0 } else { g.signum() };
    }
}

pub(crate) fn project(x: &[f32], eps: f64, bounds: Bounds, point: &mut [f32]) {
    for (p, &x) in point.iter_mut().zip(x) {
        let clipped = p.clamp(bounds.low(), bounds.high());
        let offset = f64::from(clipped) - f64::from(x);
        *p = if offset.abs() <= eps { clipped } else { furthest(x, eps, offset > 0.0) };
    }
}

/// The furthest value from `x`, upwards or downwards, whose distance is at most `eps`.
fn furthest(x: f32, eps: f64, up: bool) -> f32 {
    let centre = f64::from(x);
    // Rounding to nearest may end one value outside.
    let mut value = if up { centre + eps } else { centre - eps } as f32;
    while (f64::from(value) - centre).abs() > eps {
        value = if up { value.next_down() } else { value.next_up() };
    }
    value
}

pub(crate) fn distance(x: &[f32], point: &[f32]) -> f64 {
    x.iter().zip(point).map(|(x, p)| (f64::from(*p) - f64::from(*x)).abs()).fold(0.0, f64::max)
}

pub(crate) fn length(offset: &[f32]) -> f64 {
    offset.iter().map(|v| f64::from(v.abs())).fold(0.0, f64::max)
}
