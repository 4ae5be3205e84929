//! Translations and rotations.

use std::sync::LazyLock;

use crate::image::Image;
use crate::param::{Choice, Decimal, Integer};
use crate::registry::{Description, Entry};
use crate::search::{Search, spread};
use crate::{Attack, Bounds, Halt, Norm, SampleRng, Samples, Spot, Start};

/// Translations and rotations (Engstrom et al., 2019): the picture is turned around its centre, then shifted; what comes in from
/// outside is black. Each sample stops at the first that breaks it.
///
/// By default the paper's grid of 5 x 5 x 31 of up to 3 pixels and 30 degrees; with `search=random` its worst of 10.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spatial {
    /// Which are tried.
    pub search: Search,
    /// Largest shift in each direction, in pixels.
    pub pixels: f32,
    /// Largest rotation to each side.
    pub degrees: f32,
    /// Shifts of the grid in each direction.
    pub shifts: u32,
    /// Rotations of the grid.
    pub angles: u32,
    /// Random ones that are tried.
    pub tries: u32,
}

const SEARCH: Choice<Search> = Search::Grid.param();
const PIXELS: Decimal =
    Decimal { name: "pixels", default: 3.0, min: 0.0, max: 1e4, doc: "Largest shift in each direction." };
const DEGREES: Decimal =
    Decimal { name: "degrees", default: 30.0, min: 0.0, max: 180.0, doc: "Largest rotation to each side." };
const SHIFTS: Integer = Integer {
    name: "shifts",
    default: 5,
    min: 1,
    max: 1_000,
    doc: "Shifts of the grid in each of the two directions.",
};
const ANGLES: Integer = Integer { name: "angles", default: 31, min: 1, max: 1_000, doc: "Rotations of the grid." };
const TRIES: Integer =
    Integer { name: "tries", default: 10, min: 1, max: 1_000_000, doc: "Random changes that are tried." };

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "spatial",
    summary: "Translations and rotations of the picture: all of a grid, or the worst of a few random ones.",
    source: "Engstrom, Tran, Tsipras, Schmidt, Madry: Exploring the Landscape of Spatial Robustness, ICML 2019",
    norms: &Norm::ALL,
    needs_gradient: false,
    needs_eps: false,
    parameters: vec![SEARCH.param(), PIXELS.param(), DEGREES.param(), SHIFTS.param(), ANGLES.param(), TRIES.param()],
});

impl Spatial {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            let attack = Self {
                search: SEARCH.read(arguments)?,
                pixels: PIXELS.read(arguments)?,
                degrees: DEGREES.read(arguments)?,
                shifts: SHIFTS.read(arguments)?,
                angles: ANGLES.read(arguments)?,
                tries: TRIES.read(arguments)?,
            };
            if attack.evaluations() == 0 {
                let expected =
                    "a number above 0 with degrees = 0, or a grid of more than one: nothing moves".to_owned();
                return Err(arguments.invalid(PIXELS.name, &attack.pixels.to_string(), expected));
            }
            Ok(Box::new(attack))
        },
    };

    /// Shifts in each direction, and rotations, of the grid.
    fn counts(&self) -> (u32, u32) {
        (if self.pixels > 0.0 { self.shifts } else { 1 }, if self.degrees > 0.0 { self.angles } else { 1 })
    }

    /// The grid, without the picture as it is.
    fn grid(&self) -> impl Iterator<Item = Move> {
        let (shifts, angles) = self.counts();
        let (shifts, angles) = (spread(self.pixels.into(), shifts), spread(self.degrees.into(), angles));
        let moves = angles.flat_map(move |degrees| {
            let columns = shifts.clone();
            let places = shifts.clone().flat_map(move |down| columns.clone().map(move |right| (down, right)));
            places.map(move |(down, right)| Move { down, right, degrees })
        });
        moves.filter(|m| *m != Move { down: 0.0, right: 0.0, degrees: 0.0 })
    }

    fn random(&self, rng: &mut SampleRng) -> Move {
        let mut within = |most: f32| f64::from(most) * (2.0 * rng.uniform() - 1.0);
        Move { down: within(self.pixels), right: within(self.pixels), degrees: within(self.degrees) }
    }
}

impl Default for Spatial {
    fn default() -> Self {
        Self {
            search: SEARCH.default,
            pixels: PIXELS.default,
            degrees: DEGREES.default,
            shifts: SHIFTS.default,
            angles: ANGLES.default,
            tries: TRIES.default,
        }
    }
}

impl Attack for Spatial {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (SEARCH.name, self.search.name().to_owned()),
            (PIXELS.name, self.pixels.to_string()),
            (DEGREES.name, self.degrees.to_string()),
            (SHIFTS.name, self.shifts.to_string()),
            (ANGLES.name, self.angles.to_string()),
            (TRIES.name, self.tries.to_string()),
        ]
    }

    fn evaluations(&self) -> u64 {
        let (shifts, angles) = self.counts();
        match self.search {
            Search::Grid => {
                // Odd numbers of them have the picture as it is in the middle.
                let still = u64::from(shifts % 2 == 1 && angles % 2 == 1);
                u64::from(shifts).pow(2) * u64::from(angles) - still
            }
            Search::Random if self.pixels == 0.0 && self.degrees == 0.0 => 0,
            Search::Random => self.tries.into(),
        }
    }

    fn fits(&self, sample_shape: &[usize]) -> Result<(), String> {
        Image::pictured(sample_shape).map(|_| ())
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let (image, bounds) = (Image::of(samples.sample_shape()), samples.threat().bounds);
        samples.roam();
        samples.start(0, Start::Image);
        match self.search {
            Search::Grid => {
                for movement in self.grid() {
                    samples.each(|Spot { x, point, .. }| movement.apply(x, image, bounds, point));
                    samples.query()?;
                }
            }
            Search::Random => {
                for _ in 0..self.tries {
                    samples.each(|Spot { x, point, rng, .. }| {
                        self.random(rng).apply(x, image, bounds, point);
                    });
                    samples.query()?;
                }
            }
        }
        Ok(())
    }
}

/// A rotation around the centre, clockwise, and then a translation.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Move {
    down: f64,
    right: f64,
    degrees: f64,
}

impl Move {
    /// Writes the moved picture to `point`, by bilinear interpolation. What lies outside is black.
    fn apply(&self, x: &[f32], image: Image, bounds: Bounds, point: &mut [f32]) {
        let (sin, cos) = self.degrees.to_radians().sin_cos();
        let (middle, centre) = ((image.height as f64 - 1.0) / 2.0, (image.width as f64 - 1.0) / 2.0);
        for row in 0..image.height {
            for column in 0..image.width {
                let (below, beside) = (row as f64 - middle - self.down, column as f64 - centre - self.right);
                let source = (middle + cos * below - sin * beside, centre + sin * below + cos * beside);
                let around = around(source, image);
                for channel in 0..image.channels {
                    let value = around.iter().map(|&(pixel, weight)| {
                        weight * pixel.map_or(bounds.low(), |(row, column)| x[image.at(channel, row, column)])
                    });
                    point[image.at(channel, row, column)] = value.sum::<f32>().clamp(bounds.low(), bounds.high());
                }
            }
        }
    }
}

/// The four pixels around a place, none where they lie outside, and what each contributes to it.
fn around((row, column): (f64, f64), image: Image) -> [(Option<(usize, usize)>, f32); 4] {
    let (top, left) = (row.floor(), column.floor());
    let (down, right) = (row - top, column - left);
    let inside = |i: f64, size: usize| (i >= 0.0 && i < size as f64).then_some(i as usize);
    [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)].map(|(i, j)| {
        let weight = (1.0 - (down - i).abs()) * (1.0 - (right - j).abs());
        (inside(top + i, image.height).zip(inside(left + j, image.width)), weight as f32)
    })
}
