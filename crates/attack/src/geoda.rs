//! GeoDA.

use std::sync::LazyLock;

use crate::decision::Walk;
use crate::image::Image;
use crate::normals::Normals;
use crate::param::{Decimal, Integer};
use crate::registry::{Description, Entry};
use crate::shared::{KEEP_NEAREST, QUERIES};
use crate::waves::Waves;
use crate::{Attack, Distance, Halt, Keep, Norm, Probe, Samples, Start};

/// By what the number of points grows from one estimate to the next: `0.6^(-2/3)`, where 0.6 is by what an iteration shortens the distance (section 3.3).
const GROWTH: f64 = 1.4057;
/// Distance of the points from their centre, as a share of the sample's, in the Euclidean norm.
const REACH: f64 = 0.01;
/// How near to the boundary a search ends, as a share of the distance: well within reach of the points.
const NEARNESS: f64 = 1e-3;
/// Forward evaluations of such a search, and of the look at the point where it begins.
const SEARCH: f64 = 11.0;
/// By what the length grows that is tried along the normal, and how often.
const FARTHER: f64 = 1.1;
const LENGTHS: u32 = 8;

/// GeoDA (Rahmati et al., 2020): it estimates the normal of the boundary by which of many points nearby are adversarial, and goes from the sample along it to
/// the boundary, again and again; where the boundary is nearly flat, that leads to the nearest point. The points lie in random waves of low frequency, of
/// which fewer are enough than of all directions. It needs to know the predicted class only.
///
/// A find is a point inside the threat; with a large eps, the distance that is reported is an estimate of the sample's robustness.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeoDa {
    /// Forward evaluations of each sample, at most.
    pub queries: u32,
    /// Estimates of the normal. Each has 1.4 times as many points as the one before.
    pub estimates: u32,
    /// Share of the frequencies in height and in width that the points consist of, the lowest ones.
    pub frequencies: f32,
    /// Which adversarial sample is kept.
    pub keep: Keep,
}

const ESTIMATES: Integer = Integer {
    name: "estimates",
    default: 10,
    min: 1,
    max: 100,
    doc: "Estimates of the boundary's normal, each with 1.4 times as many points as the one before; together they have what queries are left.",
};
const FREQUENCIES: Decimal = Decimal {
    name: "frequencies",
    default: 0.3,
    min: 1e-3,
    max: 1.0,
    doc: "Share of the frequencies in height and in width that the points consist of, the lowest ones.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "geoda",
    summary: "GeoDA: the nearest adversarial point, from the sample along estimated normals of the boundary, in low frequencies; asks for the predicted class only.",
    source: "Rahmati, Moosavi-Dezfooli, Frossard, Dai: GeoDA: A Geometric Framework for Black-Box Adversarial Attacks, CVPR 2020",
    norms: &[Norm::Linf, Norm::L2],
    needs_gradient: false,
    needs_eps: false,
    parameters: vec![QUERIES.param(), ESTIMATES.param(), FREQUENCIES.param(), KEEP_NEAREST.param()],
});

impl GeoDa {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self {
                queries: QUERIES.read(arguments)?,
                estimates: ESTIMATES.read(arguments)?,
                frequencies: FREQUENCIES.read(arguments)?,
                keep: KEEP_NEAREST.read(arguments)?,
            }))
        },
    };

    /// Points of each estimate: a geometric series that adds up to what searches leave.
    fn points(&self) -> impl Iterator<Item = u32> + use<> {
        let estimates = f64::from(self.estimates);
        let searches = f64::from(Walk::STARTS) + SEARCH * (estimates + 1.0);
        let first = (f64::from(self.queries) - searches) * (GROWTH - 1.0) / (GROWTH.powf(estimates) - 1.0);
        (0..self.estimates).map(move |number| (first * GROWTH.powf(number.into())).max(1.0) as u32)
    }
}

impl Default for GeoDa {
    fn default() -> Self {
        Self {
            queries: QUERIES.default,
            estimates: ESTIMATES.default,
            frequencies: FREQUENCIES.default,
            keep: KEEP_NEAREST.default,
        }
    }
}

impl Attack for GeoDa {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (QUERIES.name, self.queries.to_string()),
            (ESTIMATES.name, self.estimates.to_string()),
            (FREQUENCIES.name, self.frequencies.to_string()),
            (KEEP_NEAREST.name, self.keep.name().to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        self.queries.into()
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let waves = Waves::lowest(self.frequencies, Image::of(samples.sample_shape()));
        samples.keep(self.keep);
        samples.roam();
        samples.start(0, Start::Image);
        samples.allot(self.queries);
        let mut walk = Walk::new(samples);
        let mut normals = Normals::new(samples);
        let mut work = Vec::new();
        walk.start(samples, self.queries)?;
        walk.approach(samples, NEARNESS)?;
        for points in self.points() {
            samples.each(|spot| normals.reach[spot.sample] = REACH * Distance::between(spot.x, spot.point).l2);
            normals.estimate(samples, points, |rng, direction| waves.fill_normal(rng, &mut work, direction))?;
            go_along(samples, &mut walk, &mut normals)?;
            walk.approach(samples, NEARNESS)?;
        }
        Ok(())
    }
}

/// Moves each point to an adversarial one on the normal from its sample, as far away as it was before or a little farther. It stays where there is none: so
/// poor a normal is not worth a longer way.
fn go_along(samples: &mut Samples<'_>, walk: &mut Walk, normals: &mut Normals) -> Result<(), Halt> {
    let threat = samples.threat();
    let mut lengths = vec![None; samples.len()];
    samples.each(|spot| lengths[spot.sample] = Some(threat.distance(spot.x, spot.point)));
    for _ in 0..LENGTHS {
        let now = lengths.clone();
        let place = |Probe { sample, x, probe, .. }: Probe<'_>| {
            let length = now[sample].unwrap_or(0.0) as f32;
            for ((p, x), normal) in probe.iter_mut().zip(x).zip(normals.directions.row(sample)) {
                *p = (x + length * *normal).clamp(threat.bounds.low(), threat.bounds.high());
            }
        };
        let answer = |sample: usize, adversarial: bool| {
            lengths[sample] = now[sample].filter(|_| !adversarial).map(|length: f64| FARTHER * length);
        };
        if walk.propose(samples, |sample| now[sample].is_some(), place, answer)? == 0 {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_grow_and_leave_what_searches_need() {
        let points: Vec<u32> = GeoDa::default().points().collect();
        assert_eq!(points.len(), 10);
        for pair in points.windows(2) {
            assert!((1.38..1.43).contains(&(f64::from(pair[1]) / f64::from(pair[0]))), "{points:?}");
        }
        let left = 5000 - points.iter().sum::<u32>();
        assert!((64 + 11 * 11..64 + 11 * 11 + 12).contains(&left), "{left}");
        // Too few queries for a series.
        assert!(GeoDa { queries: 40, ..GeoDa::default() }.points().all(|points| points == 1));
    }
}
