//! The points around each sample that a certificate is about.

use assay_attack::{Bounds, Norm, Threat};
use assay_graph::Region;
use ndarray::{Array2, ArrayView2, Zip};

use crate::CertifyError;

/// What a certificate is about.
#[derive(Clone, Copy, Debug)]
pub enum Neighbourhood<'a> {
    /// The points that an adversary may choose, in Linf, L2 or L1. The radius is rounded up.
    Threat(&'a Threat),
    /// A box around each sample: its ends, each `[n, features]`.
    Boxes {
        /// Lower ends.
        lower: ArrayView2<'a, f32>,
        /// Upper ends.
        upper: ArrayView2<'a, f32>,
    },
}

/// The neighbourhoods of all samples of a job.
pub(crate) struct Around {
    pub(crate) lower: Array2<f32>,
    pub(crate) upper: Array2<f32>,
    pub(crate) region: Region,
    /// The distance of a region that is no box.
    pub(crate) radius: f32,
}

impl Around {
    /// Those of `images`.
    ///
    /// # Errors
    /// The threat has no radius, or a norm without bounds; a sample is not inside its neighbourhood.
    pub(crate) fn new(neighbourhood: &Neighbourhood<'_>, images: &ArrayView2<'_, f32>) -> Result<Self, CertifyError> {
        let around = match neighbourhood {
            Neighbourhood::Boxes { lower, upper } => {
                if lower.dim() != images.dim() || upper.dim() != images.dim() {
                    return Err(CertifyError::Invalid(format!(
                        "the boxes have the shapes {:?} and {:?}: expected that of the samples, {:?}",
                        lower.shape(),
                        upper.shape(),
                        images.shape()
                    )));
                }
                Self { lower: lower.to_owned(), upper: upper.to_owned(), region: Region::Box, radius: 0.0 }
            }
            Neighbourhood::Threat(threat) => Self::within(threat, images)?,
        };
        let outside = |at: (usize, usize)| {
            let (low, x, high) = (around.lower[at], images[at], around.upper[at]);
            !(low.is_finite() && high.is_finite() && low <= x && x <= high)
        };
        match images.indexed_iter().map(|(at, _)| at).find(|&at| outside(at)) {
            None => Ok(around),
            Some(at) => Err(CertifyError::Invalid(format!(
                "element {} of sample {} is {}: expected a number in its box [{}, {}], inside the input range",
                at.1, at.0, images[at], around.lower[at], around.upper[at]
            ))),
        }
    }

    /// The box around the ball of a threat, inside the valid inputs; its ends are rounded outwards.
    fn within(threat: &Threat, images: &ArrayView2<'_, f32>) -> Result<Self, CertifyError> {
        let region = match threat.norm {
            Norm::Linf => Region::Box,
            Norm::L2 => Region::L2,
            Norm::L1 => Region::L1,
            Norm::L0 => {
                return Err(CertifyError::Invalid(
                    "there are no certificates in L0: expected a threat in Linf, L2 or L1".into(),
                ));
            }
        };
        if !threat.eps.is_finite() {
            return Err(CertifyError::Invalid(
                "a certificate needs a finite eps: expected a radius such as 8/255".into(),
            ));
        }
        let radius = threat.eps.up();
        let bounds: Bounds = threat.bounds;
        let ends = |x: f32| {
            let x = f64::from(x);
            (down(x - radius).max(bounds.low()), up(x + radius).min(bounds.high()))
        };
        let (mut lower, mut upper) = (images.to_owned(), images.to_owned());
        Zip::from(&mut lower).and(&mut upper).and(images).for_each(|low, high, &x| (*low, *high) = ends(x));
        // A value outside the range is not inside its box, and told there.
        Ok(Self { lower, upper, region, radius: up(radius) })
    }
}

/// The largest binary32 that is at most `x`, or the one below it where `x` itself may have been rounded up.
#[allow(clippy::cast_possible_truncation)]
fn down(x: f64) -> f32 {
    let x = x.next_down();
    let nearest = x as f32;
    if f64::from(nearest) > x { nearest.next_down() } else { nearest }
}

/// The smallest binary32 that is at least `x`, or the one above it where `x` itself may have been rounded down.
fn up(x: f64) -> f32 {
    -down(-x)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn threat(norm: Norm, eps: &str) -> Threat {
        Threat { norm, eps: eps.parse().unwrap(), bounds: Bounds::new(0.0, 1.0).unwrap() }
    }

    #[test]
    fn boxes_are_rounded_outwards_and_end_at_the_range() {
        let images = array![[0.0f32, 0.3, 1.0]];
        let threat = threat(Norm::Linf, "0.1");
        let around = Around::new(&Neighbourhood::Threat(&threat), &images.view()).unwrap();
        assert_eq!((around.lower[[0, 0]], around.upper[[0, 2]]), (0.0, 1.0));
        assert!(f64::from(around.lower[[0, 1]]) <= f64::from(0.3f32) - 0.1);
        assert!(f64::from(around.upper[[0, 1]]) >= f64::from(0.3f32) + 0.1);
        assert!((around.upper[[0, 1]] - 0.4).abs() < 1e-6);
    }

    #[test]
    fn what_has_no_certificates_is_refused() {
        let images = array![[0.5f32]];
        let refused = |threat: &Threat, images: &Array2<f32>| {
            Around::new(&Neighbourhood::Threat(threat), &images.view()).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(refused(&threat(Norm::L0, "1"), &images).contains("L0"));
        assert!(refused(&threat(Norm::L2, "inf"), &images).contains("finite"));
        assert!(refused(&threat(Norm::L2, "1"), &array![[f32::NAN]]).contains("NaN"));
        assert!(refused(&threat(Norm::L2, "1"), &array![[0.5f32, 1.5]]).contains("element 1 of sample 0 is 1.5"));
    }
}
