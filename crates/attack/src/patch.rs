//! A patch that misleads wherever it is put.

use std::sync::LazyLock;

use assay_graph::Loss;

use crate::image::Image;
use crate::param::{Decimal, Integer};
use crate::pull::Pulls;
use crate::registry::{Description, Entry};
use crate::shared::FIT;
use crate::{Attack, Bounds, Cost, Eps, Halt, Norm, SampleRng, Samples, Spot, Threat};

/// What is left of earlier gradients after a step. They are of other places, over which the patch is to work too.
const MOMENTUM: f32 = 0.9;

/// An adversarial patch (Brown et al., 2017): a square picture that makes most samples misclassified, at a random place, turned and scaled at random. It is
/// made from the first samples by gradient ascent, where each sample has the patch elsewhere in every step, and judged on the others.
///
/// Its control is a patch that is not made but drawn: no steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdversarialPatch {
    /// Side of the largest patch, as a share of the picture's shorter side.
    pub side: f32,
    /// Side of the smallest, as a share of the largest.
    pub smallest: f32,
    /// Largest rotation to each side.
    pub degrees: f32,
    /// Steps.
    pub steps: u32,
    /// Length of the first step in each element, as a share of the range of valid inputs; steps shrink evenly, to nothing in the end.
    pub step: f32,
    /// Random places that are tried on each sample on which it is judged.
    pub tries: u32,
    /// Share of the samples that it is made from, the first ones.
    pub fit: f32,
}

const SIDE: Decimal = Decimal {
    name: "side",
    default: 0.35,
    min: 0.01,
    max: 1.0,
    doc: "Side of the largest patch, as a share of the picture's shorter side.",
};
const SMALLEST: Decimal = Decimal {
    name: "smallest",
    default: 0.7,
    min: 0.01,
    max: 1.0,
    doc: "Side of the smallest patch, as a share of the largest.",
};
const DEGREES: Decimal =
    Decimal { name: "degrees", default: 22.5, min: 0.0, max: 180.0, doc: "Largest rotation to each side." };
const STEPS: Integer = Integer {
    name: "steps",
    default: 200,
    min: 0,
    max: 10_000,
    doc: "Steps, one gradient each of every sample that it is made from. With none it is a random picture: what a patch must outdo.",
};
const STEP: Decimal = Decimal {
    name: "step",
    default: 0.2,
    min: 1e-6,
    max: 1.0,
    doc: "Length of the first step in each element of the patch, as a share of the range of valid inputs; the later ones shrink to nothing.",
};
const TRIES: Integer = Integer {
    name: "tries",
    default: 1,
    min: 1,
    max: 100_000,
    doc: "Random places, scales and rotations that are tried on each sample on which it is judged.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "patch",
    summary: "Adversarial patch: one small picture for all samples, at random places, scales and rotations: made from the first samples of a request, judged on the others. Use it with eps = inf.",
    source: "Brown, Mané, Roy, Abadi, Gilmer: Adversarial Patch, 2017",
    norms: &Norm::ALL,
    needs_gradient: true,
    needs_eps: false,
    parameters: vec![
        SIDE.param(),
        SMALLEST.param(),
        DEGREES.param(),
        STEPS.param(),
        STEP.param(),
        TRIES.param(),
        FIT.param(),
    ],
});

impl AdversarialPatch {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self {
                side: SIDE.read(arguments)?,
                smallest: SMALLEST.read(arguments)?,
                degrees: DEGREES.read(arguments)?,
                steps: STEPS.read(arguments)?,
                step: STEP.read(arguments)?,
                tries: TRIES.read(arguments)?,
                fit: FIT.read(arguments)?,
            }))
        },
    };

    /// Where a sample has the patch next.
    fn draw(&self, image: Image, rng: &mut SampleRng) -> Stamp {
        let between = |low: f64, high: f64, share: f64| low + (high - low) * share;
        let largest = f64::from(self.side) * image.height.min(image.width) as f64;
        let side = between(f64::from(self.smallest) * largest, largest, rng.uniform());
        let degrees = f64::from(self.degrees);
        let turned = between(-degrees, degrees, rng.uniform()).to_radians();
        let mut place = |size: usize| between(side / 2.0, size as f64 - side / 2.0, rng.uniform());
        Stamp { row: place(image.height), column: place(image.width), side, turned }
    }
}

impl Default for AdversarialPatch {
    fn default() -> Self {
        Self {
            side: SIDE.default,
            smallest: SMALLEST.default,
            degrees: DEGREES.default,
            steps: STEPS.default,
            step: STEP.default,
            tries: TRIES.default,
            fit: FIT.default,
        }
    }
}

impl Attack for AdversarialPatch {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (SIDE.name, self.side.to_string()),
            (SMALLEST.name, self.smallest.to_string()),
            (DEGREES.name, self.degrees.to_string()),
            (STEPS.name, self.steps.to_string()),
            (STEP.name, self.step.to_string()),
            (TRIES.name, self.tries.to_string()),
            (FIT.name, self.fit.to_string()),
        ]
    }

    fn evaluations(&self) -> u64 {
        u64::from(self.steps.max(self.tries))
    }

    fn worst_case(&self) -> Cost {
        Cost { queries: u64::from(self.tries) + 3, gradients: self.steps.into() }
    }

    fn fits(&self, sample_shape: &[usize]) -> Result<(), String> {
        Image::pictured(sample_shape).map(|_| ())
    }

    fn fitted_share(&self) -> Option<f64> {
        Some(self.fit.into())
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let (image, bounds) = (Image::of(samples.sample_shape()), samples.threat().bounds);
        // Any picture of the range may be the patch.
        let free = Threat { norm: Norm::Linf, eps: Eps::infinite(), bounds };
        let first = self.step * (bounds.high() - bounds.low());
        let mut stamps = vec![None; samples.len()];
        let mut pulls = Pulls::new();
        samples.roam();
        samples.start_fitting();
        let mut texture = Texture::new(image, self.side);
        texture.draw(&free, samples);
        let mut sum = texture.blank();
        for step in 0..self.steps {
            sum.values.iter_mut().for_each(|sum| *sum *= MOMENTUM);
            samples.each(|Spot { sample, x, point, rng, .. }| {
                let stamp = self.draw(image, rng);
                texture.put(&stamp, image, bounds, x, point);
                stamps[sample] = Some(stamp);
            });
            samples.gradient(Loss::Margin, |step| {
                let pull = pulls.of(step.loss);
                if let Some(stamp) = &stamps[step.sample] {
                    sum.gather(stamp, image, pull, step.gradient);
                }
            })?;
            pulls.end();
            let (start, mut ahead) = (texture.values.clone(), sum.values.clone());
            let length = first * (1.0 - step as f32 / self.steps as f32);
            free.climb(&start, &mut ahead, length, &mut texture.values);
        }
        samples.start_judging();
        for _ in 0..self.tries {
            samples.each(|Spot { x, point, rng, .. }| texture.put(&self.draw(image, rng), image, bounds, x, point));
            samples.query()?;
        }
        Ok(())
    }
}

/// Where a patch is: its middle and its side, in pixels, and by how much it is turned clockwise, in radians.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    row: f64,
    column: f64,
    side: f64,
    turned: f64,
}

/// The patch: a square of elements, channel by channel.
struct Texture {
    side: usize,
    channels: usize,
    values: Vec<f32>,
}

impl Texture {
    /// As fine as the largest patch.
    fn new(image: Image, share: f32) -> Self {
        let side = (f64::from(share) * image.height.min(image.width) as f64).round().max(1.0) as usize;
        Self { side, channels: image.channels, values: vec![0.0; image.channels * side * side] }
    }

    fn blank(&self) -> Self {
        Self { values: vec![0.0; self.values.len()], ..*self }
    }

    /// Draws a random picture, from the stream of the first sample.
    fn draw(&mut self, free: &Threat, samples: &mut Samples<'_>) {
        let mut drawn = false;
        samples.each(|spot| {
            if !std::mem::replace(&mut drawn, true) {
                let start = self.values.clone();
                free.start(&start, spot.rng, &mut self.values);
            }
        });
    }

    /// The pixels that the patch covers, and what each of its elements, counted in one channel, contributes to them: bilinear interpolation.
    fn covered(&self, stamp: &Stamp, image: Image) -> impl Iterator<Item = (usize, usize, [(usize, f32); 4])> + use<> {
        let (texels, stamp) = (self.side, *stamp);
        let (sin, cos) = stamp.turned.sin_cos();
        // A turned square reaches no farther than its diagonal.
        let reach = stamp.side / 2.0_f64.sqrt();
        let span = |middle: f64, size: usize| {
            let last = (middle + reach).ceil().min(size as f64) as usize;
            ((middle - reach).floor().max(0.0) as usize)..last
        };
        let columns = span(stamp.column, image.width);
        span(stamp.row, image.height).flat_map(move |row| columns.clone().map(move |column| (row, column))).filter_map(
            move |(row, column)| {
                let (down, right) = (row as f64 + 0.5 - stamp.row, column as f64 + 0.5 - stamp.column);
                let (down, right) = (cos * down - sin * right, sin * down + cos * right);
                let inside = down.abs().max(right.abs()) <= stamp.side / 2.0;
                inside.then(|| (row, column, corners(down / stamp.side, right / stamp.side, texels)))
            },
        )
    }

    /// Writes the sample with the patch on it to `point`.
    fn put(&self, stamp: &Stamp, image: Image, bounds: Bounds, x: &[f32], point: &mut [f32]) {
        point.copy_from_slice(x);
        for (row, column, corners) in self.covered(stamp, image) {
            for channel in 0..self.channels {
                let texels = &self.values[channel * self.side * self.side..];
                let value: f32 = corners.iter().map(|(texel, weight)| weight * texels[*texel]).sum();
                point[image.at(channel, row, column)] = value.clamp(bounds.low(), bounds.high());
            }
        }
    }

    /// Adds `pull` times the derivative with respect to the patch's elements, of which `gradient` is that with respect to the sample's.
    fn gather(&mut self, stamp: &Stamp, image: Image, pull: f32, gradient: &[f32]) {
        for (row, column, corners) in self.covered(stamp, image) {
            for channel in 0..self.channels {
                let g = pull * gradient[image.at(channel, row, column)];
                for (texel, weight) in corners {
                    self.values[channel * self.side * self.side + texel] += weight * g;
                }
            }
        }
    }
}

/// The four elements around a place in a square of so many by so many, and what each contributes to it. The place is in shares of the side, from the middle;
/// beyond the middles of the outermost elements, those are all there is.
fn corners(down: f64, right: f64, side: usize) -> [(usize, f32); 4] {
    let last = side as f64 - 1.0;
    let at = |share: f64| ((share + 0.5) * side as f64 - 0.5).clamp(0.0, last);
    let (row, column) = (at(down), at(right));
    [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)].map(|(i, j)| {
        let (top, left) = (row.floor(), column.floor());
        let weight = (1.0 - (row - top - i).abs()) * (1.0 - (column - left - j).abs());
        let index = (top + i).min(last) as usize * side + (left + j).min(last) as usize;
        (index, weight as f32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SampleId;

    const IMAGE: [usize; 3] = [2, 12, 9];

    fn numbers(n: usize, stream: u32) -> Vec<f32> {
        let mut rng = SampleRng::new(1, SampleId(0), "patch", stream);
        (0..n).map(|_| rng.uniform() as f32).collect()
    }

    /// What the patch is put over is linear in its elements: the derivative is exact for any step.
    #[test]
    fn what_is_gathered_is_the_derivative_of_what_is_put() {
        let (image, bounds) = (Image::of(&IMAGE), Bounds::new(-10.0, 10.0).unwrap());
        let (x, direction) = (numbers(216, 1), numbers(216, 2));
        let mut rng = SampleRng::new(2, SampleId(0), "patch", 0);
        for _ in 0..20 {
            let attack = AdversarialPatch { side: 0.5, degrees: 180.0, ..AdversarialPatch::default() };
            let stamp = attack.draw(image, &mut rng);
            let mut texture = Texture::new(image, attack.side);
            texture.values = numbers(texture.values.len(), 3);
            let along = |texture: &Texture| -> f32 {
                let mut point = vec![0.0; 216];
                texture.put(&stamp, image, bounds, &x, &mut point);
                point.iter().zip(&direction).map(|(p, d)| p * d).sum()
            };
            let mut gathered = texture.blank();
            gathered.gather(&stamp, image, 2.0, &direction);
            let before = along(&texture);
            for i in 0..texture.values.len() {
                texture.values[i] += 1.0;
                let slope = along(&texture) - before;
                texture.values[i] -= 1.0;
                assert!((gathered.values[i] - 2.0 * slope).abs() < 1e-3, "{i}: {} {slope}", gathered.values[i]);
            }
        }
    }

    /// As fine as the pixels that it covers, and not turned, it is copied; turned by a right angle clockwise, its upper left is at the upper right.
    #[test]
    fn a_patch_is_put_where_the_stamp_says() {
        let (image, bounds) = (Image::of(&[1, 8, 8]), Bounds::new(0.0, 1.0).unwrap());
        let texture = Texture { side: 3, channels: 1, values: numbers(9, 4) };
        let (x, mut point) = (vec![0.0; 64], vec![0.5; 64]);
        let put = |turned: f64, point: &mut Vec<f32>| {
            texture.put(&Stamp { row: 3.5, column: 4.5, side: 3.0, turned }, image, bounds, &x, point);
            assert_eq!(point.iter().filter(|v| **v != 0.0).count(), 9);
        };
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-6, "{a} {b}");
        put(0.0, &mut point);
        for i in 0..9 {
            close(point[(2 + i / 3) * 8 + 3 + i % 3], texture.values[i]);
        }
        put(std::f64::consts::FRAC_PI_2, &mut point);
        close(point[2 * 8 + 5], texture.values[0]);
        close(point[4 * 8 + 5], texture.values[2]);
    }

    #[test]
    fn stamps_stay_in_the_picture_and_within_what_was_asked_for() {
        let (image, attack) = (Image::of(&IMAGE), AdversarialPatch { side: 0.6, ..AdversarialPatch::default() });
        let mut rng = SampleRng::new(3, SampleId(0), "patch", 0);
        let stamps: Vec<Stamp> = (0..500).map(|_| attack.draw(image, &mut rng)).collect();
        let range = |of: fn(&Stamp) -> f64| {
            let values = stamps.iter().map(of);
            (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max))
        };
        let near = |(low, high): (f64, f64), (least, most): (f64, f64)| {
            let slack = 0.05 * (most - least);
            assert!((least..least + slack).contains(&low) && (most - slack..=most).contains(&high), "{low} {high}");
        };
        near(range(|s| s.side), (0.7 * 5.4, 5.4));
        near(range(|s| s.turned.to_degrees()), (-22.5, 22.5));
        near(range(|s| s.row - s.side / 2.0), (0.0, 12.0 - 0.7 * 5.4));
        near(range(|s| s.column + s.side / 2.0), (0.7 * 5.4, 9.0));
    }
}
