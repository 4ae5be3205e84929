//! A square that hides a part of the picture.

use std::sync::LazyLock;

use crate::image::{Image, Window};
use crate::param::{Choice, Decimal, Integer, ParamKind};
use crate::registry::{Description, Entry};
use crate::search::spread;
use crate::{Attack, Bounds, Halt, Norm, Samples, Spot, Start};

/// A square of one colour that is slid over the picture (Zeiler and Fergus, 2014). Each sample stops at the first place where the
/// square breaks it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Occlusion {
    /// Its side, as a share of the picture's shorter side.
    pub side: f32,
    /// Places in each direction, from edge to edge at equal distances.
    pub places: u32,
    /// Its colour.
    pub colour: Patch,
}

/// Colour of a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Patch {
    /// The middle of the range.
    Grey,
    /// The least value.
    Black,
    /// The largest value.
    White,
    /// The mean of each channel of the sample.
    Mean,
}

impl Patch {
    /// The name users write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Grey => "grey",
            Self::Black => "black",
            Self::White => "white",
            Self::Mean => "mean",
        }
    }
}

const SIDE: Decimal = Decimal {
    name: "side",
    default: 0.25,
    min: 0.0,
    max: 1.0,
    doc: "Side of the square, as a share of the picture's shorter side; at least one pixel.",
};
const PLACES: Integer = Integer {
    name: "places",
    default: 7,
    min: 1,
    max: 1_000,
    doc: "Places in each direction, from edge to edge at equal distances; a single one is the middle.",
};
const COLOUR: Choice<Patch> = Choice {
    name: "colour",
    default: Patch::Grey,
    options: &[Patch::Grey, Patch::Black, Patch::White, Patch::Mean],
    word: Patch::name,
    kind: ParamKind::Choice,
    doc: "Colour of the square: the middle, least or largest value of the range, or the mean of each channel of the sample.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "occlusion",
    summary: "A square of one colour, slid over the picture.",
    source: "Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014",
    norms: &Norm::ALL,
    needs_gradient: false,
    needs_eps: false,
    parameters: vec![SIDE.param(), PLACES.param(), COLOUR.param()],
});

impl Occlusion {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self {
                side: SIDE.read(arguments)?,
                places: PLACES.read(arguments)?,
                colour: COLOUR.read(arguments)?,
            }))
        },
    };

    /// The square at every place; two places that are the same pixel are one.
    fn windows(&self, image: Image) -> Vec<Window> {
        let shorter = image.height.min(image.width);
        let side = ((f64::from(self.side) * shorter as f64).round() as usize).clamp(1, shorter);
        let corners = |size: usize| {
            let middle = (size - side) as f64 / 2.0;
            let mut corners: Vec<usize> = spread(middle, self.places).map(|v| (middle + v).round() as usize).collect();
            corners.dedup();
            corners
        };
        let columns = corners(image.width);
        let row = |row: usize| columns.iter().map(move |&column| Window { row, column, side });
        corners(image.height).into_iter().flat_map(row).collect()
    }

    /// Colour of one channel of a sample.
    fn shade(&self, x: &[f32], image: Image, channel: usize, bounds: Bounds) -> f32 {
        match self.colour {
            Patch::Grey => bounds.low() + (bounds.high() - bounds.low()) / 2.0,
            Patch::Black => bounds.low(),
            Patch::White => bounds.high(),
            Patch::Mean => {
                let cells = (0..image.height).flat_map(|row| (0..image.width).map(move |column| (row, column)));
                let sum: f64 = cells.map(|(row, column)| f64::from(x[image.at(channel, row, column)])).sum();
                ((sum / image.pixels() as f64) as f32).clamp(bounds.low(), bounds.high())
            }
        }
    }
}

impl Default for Occlusion {
    fn default() -> Self {
        Self { side: SIDE.default, places: PLACES.default, colour: COLOUR.default }
    }
}

impl Attack for Occlusion {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (SIDE.name, self.side.to_string()),
            (PLACES.name, self.places.to_string()),
            (COLOUR.name, self.colour.name().to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        u64::from(self.places).pow(2)
    }

    fn fits(&self, sample_shape: &[usize]) -> Result<(), String> {
        Image::pictured(sample_shape).map(|_| ())
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let (image, bounds) = (Image::of(samples.sample_shape()), samples.threat().bounds);
        samples.roam();
        samples.start(0, Start::Image);
        for window in self.windows(image) {
            samples.each(|Spot { x, point, .. }| {
                point.copy_from_slice(x);
                for channel in 0..image.channels {
                    let shade = self.shade(x, image, channel, bounds);
                    window.elements(image, channel).for_each(|(_, _, at)| point[at] = shade);
                }
            });
            samples.query()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_reach_from_edge_to_edge() {
        let windows = |side, places, shape: &[usize]| {
            let windows = Occlusion { side, places, ..Occlusion::default() }.windows(Image::of(shape));
            windows.into_iter().map(|w| (w.row, w.column, w.side)).collect::<Vec<_>>()
        };
        assert_eq!(windows(0.5, 2, &[1, 4, 6]), [(0, 0, 2), (0, 4, 2), (2, 0, 2), (2, 4, 2)]);
        assert_eq!(windows(0.25, 3, &[1, 9, 9]).iter().map(|w| w.0).collect::<Vec<_>>(), [0, 0, 0, 4, 4, 4, 7, 7, 7]);
        assert_eq!(windows(0.25, 1, &[8, 8, 3]), [(3, 3, 2)]);
        // More places than pixels, and a square as large as the picture.
        assert_eq!(windows(0.0, 9, &[3, 1, 2]), [(0, 0, 1), (0, 1, 1)]);
        assert_eq!(windows(1.0, 9, &[5, 5]), [(0, 0, 5)]);
    }
}
