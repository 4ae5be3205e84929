//! The number of elements that change.

use crate::{Bounds, SampleRng};

/// As many elements as may change, chosen at random, go anywhere in the bounds.
pub(crate) fn start(x: &[f32], eps: f64, bounds: Bounds, rng: &mut SampleRng, point: &mut [f32]) {
    let (low, high) = (f64::from(bounds.low()), f64::from(bounds.high()));
    let mut left = whole(eps);
    // Of those that are still to come, each is one of the chosen with the same chance.
    for (p, (x, rest)) in point.iter_mut().zip(x.iter().zip((1..=x.len()).rev())) {
        *p = *x;
        if rng.below(rest) < left {
            *p = (low + (high - low) * rng.uniform()) as f32;
            left -= 1;
        }
    }
}

/// The nearest point of ball and box: of the elements that change, those keep their value, or the end of their room, that would leave the
/// largest distance if they went back.
pub(crate) fn project(x: &[f32], eps: f64, bounds: Bounds, point: &mut [f32]) {
    let clip = |p: f32| p.clamp(bounds.low(), bounds.high());
    let most = whole(eps);
    if count(x.iter().zip(&*point).map(|(x, p)| clip(*p) != *x)) > most {
        let worth = |i: &usize| {
            let (x, p, clipped) = (f64::from(x[*i]), f64::from(point[*i]), f64::from(clip(point[*i])));
            (p - x).powi(2) - (p - clipped).powi(2)
        };
        let mut order: Vec<usize> = (0..x.len()).collect();
        order.select_nth_unstable_by(most, |a, b| worth(b).total_cmp(&worth(a)).then(a.cmp(b)));
        for &i in &order[most..] {
            point[i] = x[i];
        }
    }
    for p in point {
        *p = clip(*p);
    }
}

pub(crate) fn distance(x: &[f32], point: &[f32]) -> usize {
    count(x.iter().zip(point).map(|(x, p)| x != p))
}

pub(crate) fn length(offset: &[f32]) -> usize {
    count(offset.iter().map(|v| *v != 0.0))
}

/// The largest number of elements within a radius.
fn whole(eps: f64) -> usize {
    eps as usize
}

fn count(changes: impl Iterator<Item = bool>) -> usize {
    changes.filter(|changed| *changed).count()
}
