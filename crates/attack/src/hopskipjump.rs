//! HopSkipJump.

use std::sync::LazyLock;

use crate::decision::Walk;
use crate::normals::Normals;
use crate::param::Integer;
use crate::registry::{Description, Entry};
use crate::shared::{KEEP_NEAREST, QUERIES};
use crate::{Attack, Halt, Keep, Norm, Probe, Samples, Start};

/// Distance of the first probes from their centre, as a share of the range of valid inputs.
const FIRST_REACH: f64 = 0.1;
/// Most probes for an estimate.
const MOST_PROBES: f64 = 10_000.0;
/// Lengths that are tried before a jump is given up.
const LENGTHS: u32 = 20;

/// HopSkipJump (Chen et al., 2020): from an adversarial point it goes to the boundary, estimates the boundary's normal by which of many points nearby
/// are adversarial, jumps along it and goes back to the boundary, each time nearer to the sample. It needs to know the predicted class only.
///
/// A find is a point inside the threat; with a large eps, the distance that is reported is an estimate of the sample's robustness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopSkipJump {
    /// Forward evaluations of each sample, at most.
    pub queries: u32,
    /// Points of the first estimate; estimate number `t` takes `√t` times as many.
    pub probes: u32,
    /// Which adversarial sample is kept.
    pub keep: Keep,
}

const PROBES: Integer = Integer {
    name: "probes",
    default: 100,
    min: 1,
    max: 10_000,
    doc: "Points of the first estimate of the boundary's normal; estimate number t takes √t times as many.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "hopskipjump",
    summary: "HopSkipJump: the nearest adversarial point, along estimated normals of the boundary; asks for the predicted class only.",
    source: "Chen, Jordan, Wainwright: HopSkipJumpAttack: A Query-Efficient Decision-Based Attack, S&P 2020",
    norms: &[Norm::Linf, Norm::L2],
    needs_gradient: false,
    needs_eps: false,
    parameters: vec![QUERIES.param(), PROBES.param(), KEEP_NEAREST.param()],
});

impl HopSkipJump {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            let (queries, probes) = (QUERIES.read(arguments)?, PROBES.read(arguments)?);
            Ok(Box::new(Self { queries, probes, keep: KEEP_NEAREST.read(arguments)? }))
        },
    };
}

impl Default for HopSkipJump {
    fn default() -> Self {
        Self { queries: QUERIES.default, probes: PROBES.default, keep: KEEP_NEAREST.default }
    }
}

impl Attack for HopSkipJump {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (QUERIES.name, self.queries.to_string()),
            (PROBES.name, self.probes.to_string()),
            (KEEP_NEAREST.name, self.keep.name().to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        self.queries.into()
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        let features = samples.features() as f64;
        // Section IV.C: how near to the boundary a search ends, as a share of the distance; below that of binary32 nothing changes.
        let nearness = features.powf(if threat.norm == Norm::Linf { -2.0 } else { -1.5 }).max(f64::from(f32::EPSILON));
        let range = f64::from(threat.bounds.high()) - f64::from(threat.bounds.low());
        samples.keep(self.keep);
        samples.roam();
        samples.start(0, Start::Image);
        samples.allot(self.queries);
        let mut walk = Walk::new(samples);
        let mut normals = Normals::new(samples);
        walk.start(samples, self.queries)?;
        walk.approach(samples, nearness)?;
        for estimate in 1.. {
            if samples.is_done() {
                break;
            }
            let growth = f64::from(estimate).sqrt();
            let mut jumps = vec![Jump::default(); samples.len()];
            samples.each(|spot| {
                let distance = threat.distance(spot.x, spot.point);
                jumps[spot.sample] = Jump { length: distance / growth, tried: 0, pending: true };
                normals.reach[spot.sample] = if estimate == 1 { FIRST_REACH * range } else { distance / features };
            });
            let probes = (f64::from(self.probes) * growth).min(MOST_PROBES) as u32;
            normals.estimate(samples, probes, |rng, direction| match threat.norm {
                Norm::Linf => direction.fill_with(|| (2.0 * rng.uniform() - 1.0) as f32),
                _ => rng.fill_normal(direction),
            })?;
            jump(samples, &mut walk, &mut normals, &mut jumps)?;
            walk.approach(samples, nearness)?;
        }
        Ok(())
    }
}

/// Moves each point along its normal, by half and half of that until it is adversarial.
fn jump(samples: &mut Samples<'_>, walk: &mut Walk, normals: &mut Normals, jumps: &mut [Jump]) -> Result<(), Halt> {
    let bounds = samples.threat().bounds;
    loop {
        let now = jumps.to_vec();
        let place = |Probe { sample, probe, .. }: Probe<'_>| {
            let length = now[sample].length as f32;
            for (p, normal) in probe.iter_mut().zip(normals.directions.row(sample)) {
                *p = (*p + length * *normal).clamp(bounds.low(), bounds.high());
            }
        };
        let answer = |sample: usize, adversarial| jumps[sample].note(adversarial);
        if walk.propose(samples, |sample| now[sample].pending, place, answer)? == 0 {
            return Ok(());
        }
    }
}

/// A step along the normal.
#[derive(Clone, Copy, Default)]
struct Jump {
    length: f64,
    tried: u32,
    pending: bool,
}

impl Jump {
    fn note(&mut self, adversarial: bool) {
        self.tried += 1;
        self.pending = !adversarial && self.tried < LENGTHS;
        self.length /= 2.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_halved_until_it_ends_well() {
        let mut jump = Jump { length: 8.0, tried: 0, pending: true };
        jump.note(false);
        jump.note(false);
        assert_eq!((jump.length, jump.pending), (2.0, true));
        jump.note(true);
        assert!(!jump.pending);
        let mut jump = Jump { length: 8.0, tried: 0, pending: true };
        (0..LENGTHS).for_each(|_| jump.note(false));
        assert!(!jump.pending);
    }
}
