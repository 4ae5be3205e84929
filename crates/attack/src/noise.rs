//! Noise.

use std::sync::LazyLock;

use crate::param::{Choice, Integer, ParamKind};
use crate::registry::{Description, Entry};
use crate::{Attack, Halt, Norm, SampleRng, Samples, Start, Threat};

/// Random perturbations of length eps, one after the other until one succeeds: what every attack that searches must outdo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noise {
    /// Perturbations that are tried.
    pub queries: u32,
    /// Distribution of each element.
    pub distribution: Distribution,
}

/// Distribution of each element of a perturbation, before it is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// Normal.
    Gaussian,
    /// Uniform, as often positive as negative.
    Uniform,
}

const QUERIES: Integer = Integer {
    name: "queries",
    default: 100,
    min: 1,
    max: 1_000_000,
    doc: "Perturbations that are tried, one forward evaluation each.",
};
const DISTRIBUTION: Choice<Distribution> = Choice {
    name: "distribution",
    default: Distribution::Gaussian,
    options: &[Distribution::Gaussian, Distribution::Uniform],
    word: |distribution| if distribution == Distribution::Gaussian { "gaussian" } else { "uniform" },
    kind: ParamKind::Choice,
    doc: "Distribution of each element, before the perturbation is scaled to eps.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "noise",
    summary: "Random perturbations of length eps, one after the other: the floor that every other attack must outdo.",
    source: "Rauber, Brendel, Bethge: Foolbox: A Python toolbox to benchmark the robustness of machine learning models, 2017",
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    needs_gradient: false,
    needs_eps: true,
    parameters: vec![QUERIES.param(), DISTRIBUTION.param()],
});

impl Noise {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self { queries: QUERIES.read(arguments)?, distribution: DISTRIBUTION.read(arguments)? }))
        },
    };

    /// Puts `point` at a random offset of length eps from `x`, or at the nearest point to that which the adversary may choose.
    fn draw(&self, threat: &Threat, x: &[f32], rng: &mut SampleRng, point: &mut [f32]) {
        match self.distribution {
            Distribution::Gaussian => rng.fill_normal(point),
            Distribution::Uniform => point.fill_with(|| (2.0 * rng.uniform() - 1.0) as f32),
        }
        let scale = threat.eps.limit() / threat.length(point).max(f64::MIN_POSITIVE);
        for (p, x) in point.iter_mut().zip(x) {
            *p = (f64::from(*x) + scale * f64::from(*p)) as f32;
        }
        threat.project(x, point);
    }
}

impl Default for Noise {
    fn default() -> Self {
        Self { queries: QUERIES.default, distribution: DISTRIBUTION.default }
    }
}

impl Attack for Noise {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (QUERIES.name, self.queries.to_string()),
            (DISTRIBUTION.name, (DISTRIBUTION.word)(self.distribution).to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        self.queries.into()
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        samples.start(0, Start::Image);
        samples.allot(self.queries);
        while !samples.is_done() {
            samples.each(|spot| self.draw(threat, spot.x, spot.rng, spot.point));
            samples.query()?;
        }
        Ok(())
    }
}
