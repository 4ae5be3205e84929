//! The Euclidean norm.

use crate::{Bounds, SampleRng, round};

/// Uniform in the ball: a direction from normal deviates, and a radius whose `n`-th power is uniform.
pub(crate) fn start(x: &[f32], eps: f64, rng: &mut SampleRng, point: &mut [f32]) {
    rng.fill_normal(point);
    let length = norm(point.iter().map(|v| f64::from(*v)));
    let radius = eps * rng.uniform().powf(1.0 / x.len() as f64);
    let scale = if length > 0.0 { radius / length } else { 0.0 };
    for (p, x) in point.iter_mut().zip(x) {
        *p = (f64::from(*x) + scale * f64::from(*p)) as f32;
    }
}

pub(crate) fn steepest(gradient: &mut [f32]) {
    let length = norm(gradient.iter().map(|v| f64::from(*v)));
    if length > 0.0 {
        for g in gradient {
            *g = (f64::from(*g) / length) as f32;
        }
    }
}

/// The nearest point of ball and box.
///
/// The Karush-Kuhn-Tucker conditions of that problem say that it is `x + clip(s * d)` for the offset `d`, where `clip` keeps
/// the point in the box and `s` is the largest scale, at most 1, at which the length is at most `eps`.
pub(crate) fn project(x: &[f32], eps: f64, bounds: Bounds, point: &mut [f32]) {
    let (low, high) = (f64::from(bounds.low()), f64::from(bounds.high()));
    if norm(x.iter().zip(&*point).map(|(&x, &p)| f64::from(p).clamp(low, high) - f64::from(x))) <= eps {
        for p in point {
            *p = p.clamp(bounds.low(), bounds.high());
        }
        return;
    }
    let offset = |x: f32, p: f32| f64::from(p) - f64::from(x);
    let clip = |x: f32, offset: f64| offset.clamp(low - f64::from(x), high - f64::from(x));

    // Elements that are clipped at one scale stay clipped at larger ones, so this rises to the scale that is sought, and is
    // there when the set of clipped elements does not change any more.
    let mut scale = 0.0;
    let mut clipped = usize::MAX;
    loop {
        let (mut fixed, mut free, mut count) = (0.0, 0.0, 0);
        for (&x, &p) in x.iter().zip(&*point) {
            let d = offset(x, p);
            let c = clip(x, scale * d);
            if c != scale * d {
                fixed += c * c;
                count += 1;
            } else {
                free += d * d;
            }
        }
        if count == clipped || free == 0.0 {
            break;
        }
        clipped = count;
        scale = ((eps * eps - fixed).max(0.0) / free).sqrt().min(1.0);
    }

    round::inside(x, point, eps, |x, p| clip(x, scale * offset(x, p)), distance);
}

pub(crate) fn distance(x: &[f32], point: &[f32]) -> f64 {
    norm(x.iter().zip(point).map(|(x, p)| f64::from(*p) - f64::from(*x)))
}

pub(crate) fn length(offset: &[f32]) -> f64 {
    norm(offset.iter().map(|v| f64::from(*v)))
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}
