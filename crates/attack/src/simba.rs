//! The simple black-box attack.

use std::sync::LazyLock;

use crate::image::Image;
use crate::param::{Choice, Decimal, ParamKind};
use crate::registry::{Description, Entry};
use crate::rows::Rows;
use crate::shared::QUERIES;
use crate::waves::Waves;
use crate::{Answer, Attack, Halt, Norm, SampleRng, Samples, Start};

/// Proposals in a row that change nothing, after which a sample is left: a threat of radius zero allows no other.
const PATIENCE: u32 = 100;

/// The simple black-box attack (Guo et al., 2019): one direction of an orthonormal basis after the other is tried, back and forth, and a step is kept
/// where it lowers the margin. The original watches the label's probability, which says less where the model is sure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Simba {
    /// Forward evaluations of each sample, at most.
    pub queries: u32,
    /// The directions.
    pub basis: Basis,
    /// Length of a step in the Euclidean norm, as a share of the range of valid inputs.
    pub step: f32,
    /// Share of the frequencies in height and in width that are tried, the lowest ones.
    pub frequencies: f32,
}

/// An orthonormal basis of the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// Single elements: a channel of a pixel.
    Pixel,
    /// Waves of the discrete cosine transform, each in one channel.
    Dct,
}

const BASIS: Choice<Basis> = Choice {
    name: "basis",
    default: Basis::Pixel,
    options: &[Basis::Pixel, Basis::Dct],
    word: |basis| if basis == Basis::Pixel { "pixel" } else { "dct" },
    kind: ParamKind::Choice,
    doc: "Directions that are tried: one channel of a pixel, or one wave of the discrete cosine transform.",
};
const STEP: Decimal = Decimal {
    name: "step",
    default: 0.2,
    min: 1e-6,
    max: 1e3,
    doc: "Length of a step in the Euclidean norm, as a share of the range of valid inputs.",
};
const FREQUENCIES: Decimal = Decimal {
    name: "frequencies",
    default: 0.5,
    min: 1e-3,
    max: 1.0,
    doc: "With basis = dct: share of the frequencies in height and in width that are tried, the lowest ones.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "simba",
    summary: "SimBA: steps along random pixels or cosine waves that lower the margin; asks for logits only.",
    source: "Guo, Gardner, You, Wilson, Weinberger: Simple Black-box Adversarial Attacks, ICML 2019",
    norms: &[Norm::Linf, Norm::L2],
    needs_gradient: false,
    needs_eps: false,
    parameters: vec![QUERIES.param(), BASIS.param(), STEP.param(), FREQUENCIES.param()],
});

impl Simba {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self {
                queries: QUERIES.read(arguments)?,
                basis: BASIS.read(arguments)?,
                step: STEP.read(arguments)?,
                frequencies: FREQUENCIES.read(arguments)?,
            }))
        },
    };

    fn directions(&self, image: Image) -> Directions {
        match self.basis {
            Basis::Pixel => Directions::Elements(image.channels * image.pixels()),
            Basis::Dct => Directions::Waves(Waves::lowest(self.frequencies, image)),
        }
    }
}

impl Default for Simba {
    fn default() -> Self {
        Self { queries: QUERIES.default, basis: BASIS.default, step: STEP.default, frequencies: FREQUENCIES.default }
    }
}

impl Attack for Simba {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (QUERIES.name, self.queries.to_string()),
            (BASIS.name, (BASIS.word)(self.basis).to_owned()),
            (STEP.name, self.step.to_string()),
            (FREQUENCIES.name, self.frequencies.to_string()),
        ]
    }

    fn evaluations(&self) -> u64 {
        self.queries.into()
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        let length = self.step * (threat.bounds.high() - threat.bounds.low());
        let directions = self.directions(Image::of(samples.sample_shape()));
        let mut best = Rows::zeros(samples);
        let mut walks: Vec<Walk> = (0..samples.len()).map(|_| Walk::new(directions.count())).collect();
        let mut ended = Vec::new();
        samples.start(0, Start::Image);
        samples.allot(self.queries);
        while !samples.is_done() {
            samples.query_each(|Answer { sample, x, point, margin, rng }| {
                let (best, walk) = (best.row(sample), &mut walks[sample]);
                if margin < walk.margin {
                    best.copy_from_slice(point);
                    walk.accept(margin);
                }
                for _ in 0..PATIENCE {
                    let (direction, sign) = walk.next(rng);
                    point.copy_from_slice(best);
                    directions.advance(direction, sign * length, point);
                    threat.project(x, point);
                    if point != best {
                        return;
                    }
                }
                ended.push(sample);
            })?;
            for sample in ended.drain(..) {
                samples.rest(sample);
            }
        }
        Ok(())
    }
}

/// Where a sample is on its way through the basis.
struct Walk {
    /// Smallest margin so far.
    margin: f32,
    /// The directions; the first `tried` of them in the order in which they were.
    order: Vec<u32>,
    tried: usize,
    /// Whether the step back along the last of them is still to be tried.
    back: bool,
}

impl Walk {
    fn new(directions: usize) -> Self {
        Self { margin: f32::INFINITY, order: (0..).take(directions).collect(), tried: 0, back: false }
    }

    /// A step was kept: its direction is done.
    fn accept(&mut self, margin: f32) {
        (self.margin, self.back) = (margin, false);
    }

    /// The next direction, at random among those that were not tried yet, and its sign. When all were, all may be tried again.
    fn next(&mut self, rng: &mut SampleRng) -> (usize, f32) {
        let sign = if self.back { -1.0 } else { 1.0 };
        if !self.back {
            self.tried %= self.order.len();
            let drawn = self.tried + rng.below(self.order.len() - self.tried);
            self.order.swap(self.tried, drawn);
            self.tried += 1;
        }
        self.back = !self.back;
        (self.order[self.tried - 1] as usize, sign)
    }
}

/// The vectors of a basis.
enum Directions {
    Elements(usize),
    Waves(Waves),
}

impl Directions {
    fn count(&self) -> usize {
        match self {
            Self::Elements(elements) => *elements,
            Self::Waves(waves) => waves.count(),
        }
    }

    /// Adds `length` times a vector.
    fn advance(&self, direction: usize, length: f32, point: &mut [f32]) {
        match self {
            Self::Elements(_) => point[direction] += length,
            Self::Waves(waves) => waves.add(direction, length, point),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SampleId;

    #[test]
    fn every_direction_comes_once_with_both_signs_unless_the_first_is_kept() {
        let mut rng = SampleRng::new(0, SampleId(0), "test", 0);
        let mut walk = Walk::new(5);
        let mut steps: Vec<_> = (0..10).map(|_| walk.next(&mut rng)).collect();
        assert!(steps.chunks(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].1 == 1.0 && pair[1].1 == -1.0));
        steps.sort_by_key(|(direction, _)| *direction);
        assert!(steps.iter().enumerate().all(|(i, (direction, _))| i / 2 == *direction));
        let (kept, _) = walk.next(&mut rng);
        walk.accept(0.5);
        let (next, sign) = walk.next(&mut rng);
        assert!(next != kept && sign == 1.0);
    }
}
