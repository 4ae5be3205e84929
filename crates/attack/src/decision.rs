//! What attacks share that ask only whether a point is adversarial, not for logits.

use crate::image::Image;
use crate::rows::Rows;
use crate::{Bounds, Halt, Probe, Reading, SampleRng, Samples};

/// Share of the queries, of as many as that, that go into a nearer one.
const NEARER_STARTS: f64 = 0.025;
/// How near that must be, as a share of the distance.
const NEARER: f64 = 0.8;

/// Points that stay adversarial while they move nearer to their samples.
pub(crate) struct Walk {
    image: Image,
    /// Candidates that were adversarial, and which those are.
    candidates: Rows,
    taken: Vec<bool>,
}

impl Walk {
    /// Starting points that are tried until one is adversarial.
    pub(crate) const STARTS: u32 = 64;

    pub(crate) fn new(samples: &Samples<'_>) -> Self {
        let candidates = Rows::zeros(samples);
        Self { image: Image::of(samples.sample_shape()), candidates, taken: vec![false; samples.len()] }
    }

    /// Evaluates one candidate of each sample that is `wanted`, where `place` puts it, and tells `answer` whether it is adversarial: then the
    /// sample's point moves there. Returns how many candidates there were.
    pub(crate) fn propose(
        &mut self,
        samples: &mut Samples<'_>,
        wanted: impl Fn(usize) -> bool,
        place: impl FnMut(Probe<'_>),
        mut answer: impl FnMut(usize, bool),
    ) -> Result<u64, Halt> {
        let (candidates, taken) = (&mut self.candidates, &mut self.taken);
        let read = |Reading { sample, probe, margin, .. }: Reading<'_>| {
            if margin < 0.0 {
                candidates.row(sample).copy_from_slice(probe);
                taken[sample] = true;
            }
            answer(sample, margin < 0.0);
        };
        let asked = samples.probe(|sample| u32::from(wanted(sample)), place, read)?;
        samples.each(|spot| {
            if std::mem::take(&mut taken[spot.sample]) {
                spot.point.copy_from_slice(candidates.row(spot.sample));
            }
        });
        Ok(asked)
    }

    /// Moves each point to an adversarial one, a random picture, and on to what a few more pictures show inside smaller and smaller balls around
    /// the sample. A sample for which none is found rests: most of them, where the attack is aimed at a class as which random pictures are not predicted.
    pub(crate) fn start(&mut self, samples: &mut Samples<'_>, queries: u32) -> Result<(), Halt> {
        let (image, threat) = (self.image, samples.threat());
        let tries = (NEARER_STARTS * f64::from(queries)) as u32;
        let mut started = vec![false; samples.len()];
        for trial in 0..Self::STARTS {
            let before = started.clone();
            let place = |Probe { sample, x, point, probe, rng, .. }: Probe<'_>| {
                picture(image, trial, threat.bounds, rng, probe);
                if before[sample] {
                    threat.project_within(x, NEARER * threat.distance(x, point), probe);
                }
            };
            let wanted = |sample: usize| !before[sample] || trial < tries;
            let asked = self.propose(samples, wanted, place, |sample, found| started[sample] |= found)?;
            if asked == 0 {
                break;
            }
        }
        for (sample, started) in started.into_iter().enumerate() {
            if !started {
                samples.rest(sample);
            }
        }
        Ok(())
    }

    /// Moves each adversarial point towards its sample, on the shortest way through balls of falling radius, until the boundary is nearer than
    /// this share of the distance.
    pub(crate) fn approach(&mut self, samples: &mut Samples<'_>, share: f64) -> Result<(), Halt> {
        let threat = samples.threat();
        let mut spans = vec![Span::default(); samples.len()];
        samples.each(|spot| {
            let distance = threat.distance(spot.x, spot.point);
            spans[spot.sample] = Span { inside: 0.0, outside: distance, width: share * distance };
        });
        loop {
            let now = spans.clone();
            let place = |Probe { sample, x, probe, .. }: Probe<'_>| {
                threat.project_within(x, now[sample].middle(), probe);
            };
            let answer = |sample: usize, adversarial| {
                let span: &mut Span = &mut spans[sample];
                *if adversarial { &mut span.outside } else { &mut span.inside } = now[sample].middle();
            };
            if self.propose(samples, |sample| now[sample].is_wide(), place, answer)? == 0 {
                return Ok(());
            }
        }
    }
}

/// Radii between which the boundary lies.
#[derive(Clone, Copy, Default)]
struct Span {
    inside: f64,
    outside: f64,
    /// How far they may lie apart.
    width: f64,
}

impl Span {
    fn middle(self) -> f64 {
        0.5 * (self.inside + self.outside)
    }

    fn is_wide(self) -> bool {
        self.outside - self.inside > self.width
    }
}

/// A random picture of squares, from single pixels to the whole image by turns: of all colours, or of the lightest and the darkest only, in a random
/// proportion, so that dark, light and glaring ones are among them.
fn picture(image: Image, trial: u32, bounds: Bounds, rng: &mut SampleRng, point: &mut [f32]) {
    let longest = image.height.max(image.width);
    let sizes = usize::BITS - (longest - 1).leading_zeros() + 1;
    let side = 1 << (trial / 2 % sizes);
    let (low, range) = (f64::from(bounds.low()), f64::from(bounds.high()) - f64::from(bounds.low()));
    let proportion = (trial % 2 == 1).then(|| rng.uniform());
    for channel in 0..image.channels {
        for top in (0..image.height).step_by(side) {
            for left in (0..image.width).step_by(side) {
                let drawn = rng.uniform();
                let colour = match proportion {
                    None => (low + range * drawn) as f32,
                    Some(proportion) if drawn < proportion => bounds.high(),
                    Some(_) => bounds.low(),
                };
                for row in top..(top + side).min(image.height) {
                    for column in left..(left + side).min(image.width) {
                        point[image.at(channel, row, column)] = colour;
                    }
                }
            }
        }
    }
}
