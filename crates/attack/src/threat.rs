//! What an adversary may do.

use std::fmt;

use crate::plane::{self, Turns};
use crate::{Distance, Eps, Norm, SampleRng, l0, l1, l2, linf};

/// The range of valid inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    low: f32,
    high: f32,
}

/// Two numbers that are not a range.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the input range [{low}, {high}] is not valid: expected two finite numbers, the lower first")]
pub struct BoundsError {
    low: f32,
    high: f32,
}

impl Bounds {
    /// From `low` to `high`, both included.
    ///
    /// # Errors
    /// One is not finite, or `low` is not below `high`.
    pub fn new(low: f32, high: f32) -> Result<Self, BoundsError> {
        if low.is_finite() && high.is_finite() && low < high {
            Ok(Self { low, high })
        } else {
            Err(BoundsError { low, high })
        }
    }

    /// Smallest valid value.
    #[must_use]
    pub fn low(self) -> f32 {
        self.low
    }

    /// Largest valid value.
    #[must_use]
    pub fn high(self) -> f32 {
        self.high
    }

    /// Whether the value is valid.
    #[must_use]
    pub fn contain(self, value: f32) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// Share of the elements that a step in L1 moves.
const SLIDE: f64 = 0.01;

/// All points within a radius of a sample, inside the range of valid inputs.
///
/// The geometry of an attack lives here, so that no attack asks which norm it is in. Samples and points are flat and of the
/// same length; the sample lies inside the bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Threat {
    /// Norm of the perturbation.
    pub norm: Norm,
    /// Its largest length. With `inf` the adversary may choose any valid input.
    pub eps: Eps,
    /// Range of valid inputs.
    pub bounds: Bounds,
}

impl Threat {
    /// Writes a random point around `x` to `point`: drawn uniformly from the ball, then projected; without a radius, uniformly from
    /// the valid inputs.
    pub fn start(&self, x: &[f32], rng: &mut SampleRng, point: &mut [f32]) {
        self.start_within(x, self.eps.limit(), rng, point);
    }

    /// [`Threat::start`] with another radius, which may be infinite.
    pub fn start_within(&self, x: &[f32], radius: f64, rng: &mut SampleRng, point: &mut [f32]) {
        if !radius.is_finite() {
            let (low, high) = (f64::from(self.bounds.low), f64::from(self.bounds.high));
            point.fill_with(|| (low + (high - low) * rng.uniform()) as f32);
            return;
        }
        match self.norm {
            Norm::Linf => linf::start(x, radius, rng, point),
            Norm::L2 => l2::start(x, radius, rng, point),
            Norm::L1 => l1::start(x, radius, rng, point),
            Norm::L0 => l0::start(x, radius, self.bounds, rng, point),
        }
        self.project_within(x, radius, point);
    }

    /// Turns a finite gradient into the direction of length one along which the loss rises fastest; zero stays zero. In L0, where any
    /// change of one element has length one, it changes by one unit.
    pub fn steepest(&self, gradient: &mut [f32]) {
        match self.norm {
            Norm::Linf => linf::steepest(gradient),
            Norm::L2 => l2::steepest(gradient),
            Norm::L1 | Norm::L0 => l1::steepest(gradient),
        }
    }

    /// Moves `point` by a step of this length up a finite gradient, along [`Threat::steepest`], and projects it.
    ///
    /// In L1 that would move one element, soon to the end of its room. There a hundredth of the elements go equally far, those with the largest
    /// derivatives (SLIDE: Tramèr and Boneh, Adversarial Training and Robustness for Multiple Perturbations, NeurIPS 2019), and more where these come to
    /// their end.
    pub fn climb(&self, x: &[f32], gradient: &mut [f32], length: f32, point: &mut [f32]) {
        match self.norm {
            Norm::Linf | Norm::L2 | Norm::L0 => {
                self.steepest(gradient);
                point.iter_mut().zip(gradient).for_each(|(p, g)| *p += length * *g);
            }
            Norm::L1 => {
                let (length, moved) = (f64::from(length), (SLIDE * x.len() as f64).ceil());
                Turns { most: length / moved, ..Turns::of_length(length) }.ascend(gradient, self.bounds, point);
            }
        }
        self.project(x, point);
    }

    /// Moves a finite `point` to the nearest one (in the Euclidean norm) that the adversary may choose, up to rounding.
    ///
    /// Afterwards the distance of the point, in binary64, is at most [`Eps::limit`]; there is no tolerance. A point that
    /// satisfies this already is left as it is.
    pub fn project(&self, x: &[f32], point: &mut [f32]) {
        self.project_within(x, self.eps.limit(), point);
    }

    /// [`Threat::project`] with another radius.
    pub fn project_within(&self, x: &[f32], radius: f64, point: &mut [f32]) {
        match self.norm {
            Norm::Linf => linf::project(x, radius, self.bounds, point),
            Norm::L2 => l2::project(x, radius, self.bounds, point),
            Norm::L1 => l1::project(x, radius, self.bounds, point),
            Norm::L0 => l0::project(x, radius, self.bounds, point),
        }
    }

    /// Length of `point - x`, computed in binary64.
    #[must_use]
    pub fn distance(&self, x: &[f32], point: &[f32]) -> f64 {
        match self.norm {
            Norm::Linf => linf::distance(x, point),
            Norm::L2 => l2::distance(x, point),
            Norm::L1 => l1::distance(x, point),
            Norm::L0 => l0::distance(x, point) as f64,
        }
    }

    /// Length of an offset, computed in binary64.
    #[must_use]
    pub fn length(&self, offset: &[f32]) -> f64 {
        match self.norm {
            Norm::Linf => linf::length(offset),
            Norm::L2 => l2::length(offset),
            Norm::L1 => l1::length(offset),
            Norm::L0 => l0::length(offset) as f64,
        }
    }

    /// Length of a gradient in the dual norm: how much a step of length 1 along [`Threat::steepest`] gains.
    #[must_use]
    pub fn dual_length(&self, gradient: &[f32]) -> f64 {
        match self.norm {
            Norm::Linf => l1::length(gradient),
            Norm::L2 => l2::length(gradient),
            Norm::L1 | Norm::L0 => linf::length(gradient),
        }
    }

    /// Writes to `offset` the shortest way from `point`, which lies inside the bounds, to the hyperplane `<w, v> = <w, point> - gap`,
    /// without leaving the bounds; to the last corner on the way, if the hyperplane lies outside.
    pub fn approach(&self, point: &[f32], w: &[f32], gap: f64, offset: &mut [f32]) {
        match self.norm {
            Norm::Linf => plane::approach(point, w, gap, self.bounds, |_| 1.0, offset),
            Norm::L2 => plane::approach(point, w, gap, self.bounds, |w| w, offset),
            Norm::L1 => Turns::shortest(gap).approach(point, w, gap, self.bounds, offset),
            Norm::L0 => Turns::fewest(gap).approach(point, w, gap, self.bounds, offset),
        }
    }

    /// Length of a way from `x` over `point` to the hyperplane `<w, v> = <w, point> - gap`, as if there were no bounds. In L0, where one element would then do,
    /// it stays within them: the elements that changed change further, at no cost, and then as few others as possible.
    #[must_use]
    pub fn detour(&self, x: &[f32], point: &[f32], w: &[f32], gap: f64) -> f64 {
        let distance = self.distance(x, point);
        if self.norm != Norm::L0 {
            return distance + gap.abs() / self.dual_length(w).max(1e-12);
        }
        let side = plane::side(gap);
        let (mut left, mut others) = (gap.abs(), w.to_vec());
        for (w, (_, p)) in others.iter_mut().zip(x.iter().zip(point)).filter(|(_, (x, p))| x != p) {
            left -= f64::from(w.abs()) * plane::room(*p, side * f64::from(*w), self.bounds);
            *w = 0.0;
        }
        distance + Turns::fewest(left.max(0.0)).take(x, &others, side, self.bounds).count() as f64
    }

    /// A radius that is `factor` times as large. In L0, where distances are whole numbers, it is one too, and another than before.
    #[must_use]
    pub fn resized(&self, radius: f64, factor: f64) -> f64 {
        match self.norm {
            Norm::L0 if factor < 1.0 => (radius * factor).floor().min(radius - 1.0).max(0.0),
            Norm::L0 => (radius * factor).floor().max(radius + 1.0),
            Norm::Linf | Norm::L2 | Norm::L1 => radius * factor,
        }
    }

    /// What may be done to zero so that, added to some sample, it is a perturbation of this threat.
    #[must_use]
    pub fn of_offsets(&self) -> Self {
        let range = (self.bounds.high - self.bounds.low).min(f32::MAX);
        Self { bounds: Bounds { low: -range, high: range }, ..self.clone() }
    }

    /// Whether the adversary may choose `point`.
    #[must_use]
    pub fn allows(&self, x: &[f32], point: &[f32]) -> bool {
        point.iter().all(|v| self.bounds.contain(*v)) && self.distance(x, point) <= self.eps.limit()
    }
}

impl Distance {
    /// Between two flat samples of the same length.
    #[must_use]
    pub fn between(x: &[f32], point: &[f32]) -> Self {
        Self {
            linf: linf::distance(x, point),
            l2: l2::distance(x, point),
            l1: l1::distance(x, point),
            l0: l0::distance(x, point) as u64,
        }
    }

    /// The distance in one of the norms.
    #[must_use]
    pub fn of(&self, norm: Norm) -> f64 {
        match norm {
            Norm::Linf => self.linf,
            Norm::L2 => self.l2,
            Norm::L1 => self.l1,
            Norm::L0 => self.l0 as f64,
        }
    }
}

impl fmt::Display for Threat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.norm, self.eps)
    }
}
