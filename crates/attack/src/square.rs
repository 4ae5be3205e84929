//! Square: random search with squares.

use std::sync::LazyLock;

use crate::image::{Image, Window};
use crate::param::{Choice, Integer, ParamKind};
use crate::registry::{Description, Entry};
use crate::{Answer, Attack, Halt, Norm, SampleRng, Samples, Threat};

/// Share of the pixels that the first squares change.
const FIRST_SHARE: f64 = 0.8;

/// Square (Andriushchenko et al., 2020): random search that changes one square of the image at a time and keeps what brings the
/// label's logit nearer to the others. It asks for logits only; it needs no gradient.
///
/// Each sample has squares and signs of its own, where the original shares them among a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Square {
    /// Squares that are tried after the start, one evaluation each; none where a square changes nothing.
    pub queries: u32,
    /// When squares get smaller.
    pub schedule: Schedule,
}

/// When squares get smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// After as many of them as in AutoAttack, however many are tried.
    AutoAttack,
    /// After the same share of those that are tried, as in the original: its schedule is made for 10,000.
    Relative,
}

impl Schedule {
    /// The number of a square, of so many, in the schedule.
    fn place(self, square: u32, queries: u32) -> u32 {
        match self {
            Self::AutoAttack => square,
            Self::Relative => u32::try_from(u64::from(square) * 10_000 / u64::from(queries.max(1))).unwrap_or(u32::MAX),
        }
    }
}

const QUERIES: Integer = Integer {
    name: "queries",
    default: 5_000,
    min: 1,
    max: 1_000_000,
    doc: "Squares that are tried after the start, one forward evaluation each; none where a square changes nothing.",
};
const SCHEDULE: Choice<Schedule> = Choice {
    name: "schedule",
    default: Schedule::AutoAttack,
    options: &[Schedule::AutoAttack, Schedule::Relative],
    word: |schedule| if schedule == Schedule::AutoAttack { "autoattack" } else { "relative" },
    kind: ParamKind::Choice,
    doc: "When squares get smaller: after as many of them as in AutoAttack, or after the same share of the queries, which is stronger where they are few.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "square",
    summary: "Square: random search with squares of falling size; asks for logits only.",
    source: "Andriushchenko, Croce, Flammarion, Hein: Square Attack: a Query-efficient Black-box Adversarial Attack via Random Search, ECCV 2020",
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    needs_gradient: false,
    needs_eps: true,
    parameters: vec![QUERIES.param(), SCHEDULE.param()],
});

impl Square {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self { queries: QUERIES.read(arguments)?, schedule: SCHEDULE.read(arguments)? }))
        },
    };
}

impl Default for Square {
    fn default() -> Self {
        Self { queries: QUERIES.default, schedule: SCHEDULE.default }
    }
}

impl Attack for Square {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![(QUERIES.name, self.queries.to_string()), (SCHEDULE.name, (SCHEDULE.word)(self.schedule).to_owned())]
    }

    fn evaluations(&self) -> u64 {
        1 + u64::from(self.queries)
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let (threat, image) = (samples.threat(), Image::of(samples.sample_shape()));
        let search = Search { threat, image, eps: threat.eps.limit(), measure: Measure::of(threat.norm) };
        samples.start_at(0, |x, rng, point| search.start(x, rng, point));
        let mut best: Vec<Option<Best>> = (0..samples.len()).map(|_| None).collect();
        while !samples.is_done() {
            let mut ended = Vec::new();
            samples.query_each(|Answer { sample, x, point, margin, rng }| {
                let best = best[sample].get_or_insert_with(|| Best::new(point));
                best.judge(margin, point);
                if !best.change(&search, self, x, rng, point) {
                    ended.push(sample);
                }
            })?;
            for sample in ended {
                samples.rest(sample);
            }
        }
        Ok(())
    }
}

/// The best point of a sample so far.
struct Best {
    margin: f32,
    point: Vec<f32>,
    /// Squares that were tried.
    tried: u32,
}

impl Best {
    fn new(point: &[f32]) -> Self {
        Self { margin: f32::INFINITY, point: point.to_vec(), tried: 0 }
    }

    /// Keeps a point that is better, and returns to the best one from another.
    fn judge(&mut self, margin: f32, point: &mut [f32]) {
        if margin < self.margin {
            self.margin = margin;
            self.point.copy_from_slice(point);
        } else {
            point.copy_from_slice(&self.point);
        }
    }

    /// Tries the next square, and if it changes nothing, because it has the colours that are there, the next one: what the model says of the best point
    /// is known. Whether there is something to ask the model.
    fn change(
        &mut self,
        search: &Search<'_>,
        square: &Square,
        x: &[f32],
        rng: &mut SampleRng,
        point: &mut [f32],
    ) -> bool {
        while self.tried < square.queries {
            search.change(square.schedule.place(self.tried, square.queries), x, rng, point);
            self.tried += 1;
            if point != self.point {
                return true;
            }
        }
        false
    }
}

/// How points are proposed.
struct Search<'a> {
    threat: &'a Threat,
    image: Image,
    eps: f64,
    measure: Measure,
}

impl Search<'_> {
    fn start(&self, x: &[f32], rng: &mut SampleRng, point: &mut [f32]) {
        match self.threat.norm {
            Norm::Linf => self.stripes(x, rng, point),
            _ => self.tiles(x, rng, point),
        }
        self.threat.project(x, point);
    }

    fn change(&self, query: u32, x: &[f32], rng: &mut SampleRng, point: &mut [f32]) {
        match self.threat.norm {
            Norm::Linf => self.recolour(query, x, rng, point),
            _ => {
                self.move_mass(query, x, rng, point);
                self.threat.project(x, point);
            }
        }
    }

    /// Vertical stripes one pixel wide, each up or down by eps.
    fn stripes(&self, x: &[f32], rng: &mut SampleRng, point: &mut [f32]) {
        let image = self.image;
        for channel in 0..image.channels {
            for column in 0..image.width {
                let shift = self.eps * rng.sign();
                for row in 0..image.height {
                    let at = image.at(channel, row, column);
                    point[at] = (f64::from(x[at]) + shift) as f32;
                }
            }
        }
    }

    /// A square goes up or down by eps as a whole, each channel for itself.
    fn recolour(&self, query: u32, x: &[f32], rng: &mut SampleRng, point: &mut [f32]) {
        let shortest = self.image.height.min(self.image.width);
        let window = self.window(side(query, self.image.pixels()).clamp(1, shortest), rng);
        for channel in 0..self.image.channels {
            let shift = self.eps * rng.sign();
            for (_, _, at) in window.elements(self.image, channel) {
                point[at] = (f64::from(x[at]) + shift) as f32;
                // In this norm every element is projected for itself, and the others are where they may be.
                self.threat.project(&x[at..=at], &mut point[at..=at]);
            }
        }
    }

    /// Bumps side by side all over the image, scaled to eps together.
    fn tiles(&self, x: &[f32], rng: &mut SampleRng, point: &mut [f32]) {
        let image = self.image;
        let side = (image.height.min(image.width) / 5).max(1);
        let mut offset = vec![0.0; x.len()];
        for row in (image.height % side / 2..=image.height - side).step_by(side) {
            for column in (image.width % side / 2..=image.width - side).step_by(side) {
                let bump = Bump::new(side, self.measure, rng);
                for channel in 0..image.channels {
                    let sign = rng.sign();
                    for (i, j, at) in (Window { row, column, side }).elements(image, channel) {
                        offset[at] = sign * bump.at(i, j);
                    }
                }
            }
        }
        self.place(x, &offset, point);
    }

    /// The offset of one square is taken away, and goes into a bump in another one.
    fn move_mass(&self, query: u32, x: &[f32], rng: &mut SampleRng, point: &mut [f32]) {
        let image = self.image;
        let shortest = image.height.min(image.width);
        let side = (side(query, image.pixels()).max(3) | 1).min(shortest - (shortest + 1) % 2);
        let (to, from) = (self.window(side, rng), self.window(side, rng));
        let bump = Bump::new(side, self.measure, rng);
        let mut offset: Vec<f64> = point.iter().zip(x).map(|(p, x)| f64::from(*p) - f64::from(*x)).collect();
        let measure = self.measure;
        let spare = (measure.power(self.eps) - measure.mass(&offset)).max(0.0) / image.channels as f64;
        let taken: Vec<Vec<f64>> = (0..image.channels).map(|channel| take(&mut offset, to, image, channel)).collect();
        let mut moved: Vec<f64> = (0..image.channels)
            .map(|channel| measure.mass(&taken[channel]) + measure.mass(&take(&mut offset, from, image, channel)))
            .collect();
        if measure.pooled {
            let all = moved.iter().sum();
            moved.fill(all);
        }
        for (channel, taken) in taken.iter().enumerate() {
            let (sign, before) = (rng.sign(), measure.length(taken).max(1e-12));
            let shape: Vec<f64> = to
                .elements(image, channel)
                .zip(taken)
                .map(|((i, j, _), taken)| sign * bump.at(i, j) + taken / before)
                .collect();
            let scale = measure.root(spare + moved[channel]) / measure.length(&shape).max(1e-12);
            for ((_, _, at), value) in to.elements(image, channel).zip(&shape) {
                offset[at] = scale * value;
            }
        }
        self.place(x, &offset, point);
    }

    /// Puts the point at the offset, scaled to eps; a pooled one, which is longer, is left to the projection.
    fn place(&self, x: &[f32], offset: &[f64], point: &mut [f32]) {
        let scale = if self.measure.pooled { 1.0 } else { self.eps / self.measure.length(offset).max(1e-12) };
        for ((p, x), offset) in point.iter_mut().zip(x).zip(offset) {
            *p = (f64::from(*x) + scale * offset) as f32;
        }
    }

    /// A window anywhere in the image.
    fn window(&self, side: usize, rng: &mut SampleRng) -> Window {
        Window { row: rng.below(self.image.height - side + 1), column: rng.below(self.image.width - side + 1), side }
    }
}

/// Side of the square after so many queries: that of its share of the pixels, which halves again and again.
fn side(query: u32, pixels: usize) -> usize {
    const HALVED_AFTER: [u32; 9] = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000];
    let halvings = HALVED_AFTER.iter().filter(|after| query > **after).count() as i32;
    (FIRST_SHARE * 0.5_f64.powi(halvings) * pixels as f64).sqrt().round() as usize
}

/// How lengths are made of elements, and what bumps look like.
#[derive(Clone, Copy)]
struct Measure {
    /// A length to this power is the sum of its elements'.
    exponent: i32,
    /// The `k`-th rectangle of a bump weighs `k` to this power.
    fall: i32,
    /// Whether each channel of a bump gets what all channels of the two squares had. In L1 the projection takes the same from every element, so that
    /// of offsets that are too long the peaks remain.
    pooled: bool,
}

impl Measure {
    fn of(norm: Norm) -> Self {
        if norm == Norm::L1 {
            Self { exponent: 1, fall: -4, pooled: true }
        } else {
            Self { exponent: 2, fall: -2, pooled: false }
        }
    }

    fn power(self, value: f64) -> f64 {
        value.abs().powi(self.exponent)
    }

    fn root(self, mass: f64) -> f64 {
        if self.exponent == 2 { mass.sqrt() } else { mass }
    }

    /// What adds up where offsets are joined.
    fn mass(self, values: &[f64]) -> f64 {
        values.iter().map(|v| self.power(*v)).sum()
    }

    fn length(self, values: &[f64]) -> f64 {
        self.root(self.mass(values))
    }

    fn normalize(self, values: &mut [f64]) {
        let length = self.length(values);
        if length > 0.0 {
            values.iter_mut().for_each(|v| *v /= length);
        }
    }
}

/// Takes a window's values of one channel out of `offset`: zeros stay behind.
fn take(offset: &mut [f64], window: Window, image: Image, channel: usize) -> Vec<f64> {
    window.elements(image, channel).map(|(_, _, at)| std::mem::take(&mut offset[at])).collect()
}

/// A square of two halves with one peak each, one up and one down, of length 1.
struct Bump {
    side: usize,
    values: Vec<f64>,
    transposed: bool,
}

impl Bump {
    fn new(side: usize, measure: Measure, rng: &mut SampleRng) -> Self {
        let upper = side / 2;
        let up = half(upper, side, measure);
        let down = half(side - upper, side, measure).into_iter().map(|v| -v);
        let mut values: Vec<f64> = up.into_iter().chain(down).collect();
        measure.normalize(&mut values);
        Self { side, values, transposed: rng.sign() > 0.0 }
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        let (row, column) = if self.transposed { (column, row) } else { (row, column) };
        self.values[row * self.side + column]
    }
}

/// Rectangles around the centre, one inside the other, of weights that fall from the innermost on, summed and normalised.
fn half(rows: usize, columns: usize, measure: Measure) -> Vec<f64> {
    let (middle_row, middle_column) = (rows / 2, columns / 2);
    let rectangles = rows.max(columns) / 2 + 1;
    let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let mut values: Vec<f64> = cells
        .map(|(row, column)| {
            let first = row.abs_diff(middle_row).max(column.abs_diff(middle_column));
            (first..rectangles).map(|k| ((k + 1) as f64).powi(measure.fall)).sum()
        })
        .collect();
    measure.normalize(&mut values);
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SampleId;

    /// The schedule of the original with 5,000 queries, which AutoAttack does not rescale.
    #[test]
    fn sides_fall_as_in_autoattack() {
        let sides = |query| (side(query, 32 * 32), side(query, 28 * 28));
        assert_eq!(
            [0, 10, 11, 50, 51, 200, 201].map(sides),
            [(29, 25), (29, 25), (20, 18), (20, 18), (14, 13), (14, 13), (10, 9)]
        );
    }

    #[test]
    fn a_relative_schedule_is_that_of_ten_thousand_squares() {
        let places = |queries| [0, 1, queries / 2, queries - 1].map(|square| Schedule::Relative.place(square, queries));
        assert_eq!(places(1_000), [0, 10, 5_000, 9_990]);
        assert_eq!(places(10_000), [0, 1, 5_000, 9_999]);
        assert_eq!(places(1), [0, 10_000, 0, 0]);
        assert_eq!(Schedule::AutoAttack.place(700, 1_000), 700);
    }

    #[test]
    fn bumps_are_those_of_the_original() {
        let euclidean = [
            0.136_082_8,
            0.680_413_8,
            0.136_082_8,
            -0.129_099_4,
            -0.129_099_4,
            -0.129_099_4,
            -0.129_099_4,
            -0.645_497_2,
            -0.129_099_4,
        ];
        let sums = [
            0.026_315_8,
            0.447_368_5,
            0.026_315_8,
            -0.022_727_3,
            -0.022_727_3,
            -0.022_727_3,
            -0.022_727_3,
            -0.386_363_7,
            -0.022_727_3,
        ];
        for (norm, expected) in [(Norm::L2, euclidean), (Norm::L1, sums)] {
            let bump = Bump::new(3, Measure::of(norm), &mut SampleRng::new(0, SampleId(0), "test", 0));
            assert!(bump.values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", bump.values);
        }
    }
}
