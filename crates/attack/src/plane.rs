//! The nearest point of a hyperplane and a box.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Bounds;

/// Writes to `offset` the shortest way from `point` to where `<w, v> = <w, point> - gap`, without leaving the bounds.
///
/// Every element moves against the sign of its weight, `pace(|w|)` times as far as a common factor says, until it is at the end of its
/// room; the pace is that of the norm: 1 for the maximum norm, the weight for the Euclidean one (Croce and Hein, Minimally
/// distorted Adversarial Examples with a Fast Adaptive Boundary Attack, 2020). If the box ends before the plane, it is the way to the corner.
pub(crate) fn approach(
    point: &[f32],
    w: &[f32],
    gap: f64,
    bounds: Bounds,
    pace: impl Fn(f64) -> f64,
    offset: &mut [f32],
) {
    let side = side(gap);
    let gap = gap.abs();
    let room = |p: f32, w: f64| room(p, w, bounds);
    let weights = || point.iter().zip(w).map(|(p, w)| (*p, side * f64::from(*w)));

    // What the moves achieve rises with the factor, ever more slowly: each solution for the elements that are free at the last one is a
    // factor that is larger, and not too large. It is there when no further element ends its room.
    let (mut factor, mut ended) = (0.0, usize::MAX);
    loop {
        let (mut achieved, mut rate, mut count) = (0.0, 0.0, 0);
        for (p, w) in weights().filter(|(_, w)| *w != 0.0) {
            let (size, room) = (w.abs(), room(p, w));
            if factor * pace(size) >= room {
                achieved += size * room;
                count += 1;
            } else {
                rate += size * pace(size);
            }
        }
        if rate == 0.0 {
            factor = f64::INFINITY;
            break;
        }
        if count == ended {
            break;
        }
        ended = count;
        factor = ((gap - achieved) / rate).max(factor);
    }
    for (offset, (p, w)) in offset.iter_mut().zip(weights()) {
        let length = if w == 0.0 { 0.0 } else { (factor * pace(w.abs())).min(room(p, w)) };
        *offset = (-w.signum() * length) as f32;
    }
}

/// A way that elements go one after the other, each to the end of its room, until a budget is spent; the last as far as it lasts. Those with the largest
/// gain take their turn first. The gain is a function of `|w|` and the room, the price of a unit of length one of `|w|`.
pub(crate) struct Turns {
    pub(crate) gain: fn(f64, f64) -> f64,
    pub(crate) price: fn(f64) -> f64,
    /// The most that an element moves.
    pub(crate) most: f64,
    pub(crate) budget: f64,
}

impl Turns {
    /// To where `<w, v> = <w, point> - gap`, by the least sum of changes.
    pub(crate) fn shortest(gap: f64) -> Self {
        Self { gain: |w, _| w, price: |w| w, most: f64::INFINITY, budget: gap.abs() }
    }

    /// To where `<w, v> = <w, point> - gap`, by the fewest elements.
    pub(crate) fn fewest(gap: f64) -> Self {
        Self { gain: |w, room| w * room, ..Self::shortest(gap) }
    }

    /// Up a gradient, by a sum of changes.
    pub(crate) fn of_length(length: f64) -> Self {
        Self { gain: |w, _| w, price: |_| 1.0, most: f64::INFINITY, budget: length }
    }

    /// The elements that move against the sign of `side * w`, and how far.
    pub(crate) fn take(
        self,
        point: &[f32],
        w: &[f32],
        side: f64,
        bounds: Bounds,
    ) -> impl Iterator<Item = (usize, f64)> {
        let at = move |i: usize| {
            let w = side * f64::from(w[i]);
            (w, room(point[i], w, bounds).min(self.most))
        };
        // The bits of numbers that are not negative are in their order.
        let key = |(w, room): (f64, f64)| (w != 0.0 && room > 0.0).then(|| (self.gain)(w.abs(), room).to_bits());
        let mut order: BinaryHeap<(u64, Reverse<usize>)> =
            (0..point.len()).filter_map(|i| Some((key(at(i))?, Reverse(i)))).collect();
        let mut left = self.budget;
        std::iter::from_fn(move || {
            let (_, Reverse(i)) = order.pop().filter(|_| left > 0.0)?;
            let (w, room) = at(i);
            let cost = room * (self.price)(w.abs());
            let length = if cost < left { room } else { room * (left / cost) };
            left = if cost < left { left - cost } else { 0.0 };
            Some((i, -w.signum() * length))
        })
    }

    /// Moves `point` up the gradient `w`.
    pub(crate) fn ascend(self, w: &[f32], bounds: Bounds, point: &mut [f32]) {
        let moves: Vec<(usize, f64)> = self.take(point, w, -1.0, bounds).collect();
        for (i, length) in moves {
            point[i] += length as f32;
        }
    }

    /// [`approach`] in turns.
    pub(crate) fn approach(self, point: &[f32], w: &[f32], gap: f64, bounds: Bounds, offset: &mut [f32]) {
        offset.fill(0.0);
        for (i, length) in self.take(point, w, side(gap), bounds) {
            offset[i] = length as f32;
        }
    }
}

pub(crate) fn side(gap: f64) -> f64 {
    if gap < 0.0 { -1.0 } else { 1.0 }
}

/// How far an element can move against the sign of its weight.
pub(crate) fn room(p: f32, w: f64, bounds: Bounds) -> f64 {
    if w > 0.0 { f64::from(p) - f64::from(bounds.low()) } else { f64::from(bounds.high()) - f64::from(p) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with the projections of the original FAB.
    #[test]
    fn offsets_are_those_of_the_reference() {
        let bounds = Bounds::new(0.0, 1.0).unwrap();
        let cases = [
            // Point, weights, level, offsets in the maximum norm, the Euclidean norm and the sum of absolute changes.
            (
                [0.2, 0.5, 0.9, 0.4],
                [1.0, -2.0, 0.5, 0.0],
                1.0,
                [0.433_333_4, -0.433_333_4, 0.1, 0.0],
                [0.3, -0.5, 0.1, 0.0],
                [0.35, -0.5, 0.0, 0.0],
            ),
            (
                [0.05, 0.95, 0.5, 0.5],
                [3.0, 1.0, -1.0, 0.25],
                3.5,
                [0.7, 0.05, -0.5, 0.5],
                [0.812_422_3, 0.05, -0.270_807_4, 0.067_701_9],
                [0.925, 0.0, 0.0, 0.0],
            ),
            ([0.5; 4], [0.1; 4], 10.0, [0.5; 4], [0.5; 4], [0.5; 4]),
        ];
        for (t, w, b, linf, l2, l1) in cases {
            let (t, w): ([f32; 4], [f32; 4]) = (t, w);
            let gap = t.iter().zip(&w).map(|(t, w)| f64::from(*t) * f64::from(*w)).sum::<f64>() - b;
            let mut offset = [0.0_f32; 4];
            approach(&t, &w, gap, bounds, |_| 1.0, &mut offset);
            assert!(offset.iter().zip(&linf).all(|(a, b)| (a - b).abs() < 1e-6), "{offset:?} {linf:?}");
            approach(&t, &w, gap, bounds, |w| w, &mut offset);
            assert!(offset.iter().zip(&l2).all(|(a, b)| (a - b).abs() < 1e-6), "{offset:?} {l2:?}");
            Turns::shortest(gap).approach(&t, &w, gap, bounds, &mut offset);
            assert!(offset.iter().zip(&l1).all(|(a, b)| (a - b).abs() < 1e-6), "{offset:?} {l1:?}");
        }
    }
}
