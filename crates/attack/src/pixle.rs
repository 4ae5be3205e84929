//! Pixle.

use std::sync::LazyLock;

use crate::image::Image;
use crate::param::Integer;
use crate::registry::{Description, Entry};
use crate::rows::Rows;
use crate::shared::QUERIES;
use crate::{Answer, Attack, Halt, Norm, Probe, Reading, SampleRng, Samples, Start};

/// Shortest side of a patch.
const SHORTEST: usize = 2;

/// Pixle (Pomponi et al., 2022): in each round some patches of the clean sample are scattered over the best point so far, pixel by pixel, to random places; the one with the
/// smallest margin is the next, if that is smaller than before. The original watches the label's probability.
///
/// Eps counts elements: where no more pixels may differ from the sample's, only those that differ already are overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pixle {
    /// Forward evaluations of each sample, at most.
    pub queries: u32,
    /// Patches that are tried in a round.
    pub patches: u32,
    /// Longest side of a patch, in pixels.
    pub side: u32,
}

const PATCHES: Integer = Integer {
    name: "patches",
    default: 10,
    min: 1,
    max: 10_000,
    doc: "Patches that are tried in a round; the best is kept.",
};
const SIDE: Integer = Integer {
    name: "side",
    default: 10,
    min: 2,
    max: 10_000,
    doc: "Longest side of a patch in pixels; the shortest is 2.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "pixle",
    summary: "Pixle: copies pixels of the picture to other places; asks for logits only.",
    source: "Pomponi, Scardapane, Uncini: Pixle: a Fast and Effective Black-box Attack based on Rearranging Pixels, IJCNN 2022",
    norms: &[Norm::L0],
    needs_gradient: false,
    needs_eps: false,
    parameters: vec![QUERIES.param(), PATCHES.param(), SIDE.param()],
});

impl Pixle {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self {
                queries: QUERIES.read(arguments)?,
                patches: PATCHES.read(arguments)?,
                side: SIDE.read(arguments)?,
            }))
        },
    };
}

impl Default for Pixle {
    fn default() -> Self {
        Self { queries: QUERIES.default, patches: PATCHES.default, side: SIDE.default }
    }
}

impl Attack for Pixle {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (QUERIES.name, self.queries.to_string()),
            (PATCHES.name, self.patches.to_string()),
            (SIDE.name, self.side.to_string()),
        ]
    }

    fn evaluations(&self) -> u64 {
        self.queries.into()
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let image = Image::of(samples.sample_shape());
        let scatter = Scatter { image, side: self.side as usize, most: image.pixels_within(samples.threat()) };
        if scatter.most == 0 {
            return Ok(());
        }
        let mut best = Rows::zeros(samples);
        let mut margins = vec![f32::INFINITY; samples.len()];
        samples.start(0, Start::Image);
        samples.allot(self.queries);
        samples.query_each(|Answer { sample, point, margin, .. }| {
            margins[sample] = margin;
            best.row(sample).copy_from_slice(point);
        })?;
        while !samples.is_done() {
            let place = |Probe { x, probe, rng, .. }: Probe<'_>| scatter.apply(x, rng, probe);
            let read = |Reading { sample, probe, margin, .. }: Reading<'_>| {
                if margin < margins[sample] {
                    margins[sample] = margin;
                    best.row(sample).copy_from_slice(probe);
                }
            };
            samples.probe(|_| self.patches, place, read)?;
            samples.each(|spot| spot.point.copy_from_slice(best.row(spot.sample)));
        }
        Ok(())
    }
}

/// How pixels are moved.
struct Scatter {
    image: Image,
    /// Longest side of a patch.
    side: usize,
    /// Pixels that may differ.
    most: usize,
}

impl Scatter {
    /// Copies a random patch of `x` to random places of `point`.
    fn apply(&self, x: &[f32], rng: &mut SampleRng, point: &mut [f32]) {
        let image = self.image;
        let mut differing = (0..image.pixels()).filter(|&pixel| self.differs(x, point, pixel)).count();
        let (height, width) = (self.length(image.height, rng), self.length(image.width, rng));
        let (top, left) = (rng.below(image.height - height + 1), rng.below(image.width - width + 1));
        for row in top..top + height {
            for column in left..left + width {
                let to = rng.below(image.pixels());
                let differed = self.differs(x, point, to);
                if !differed && differing == self.most {
                    continue;
                }
                for channel in 0..image.channels {
                    point[self.at(channel, to)] = x[image.at(channel, row, column)];
                }
                differing = differing + usize::from(self.differs(x, point, to)) - usize::from(differed);
            }
        }
    }

    /// Length of a side of a patch, in an image with such a side.
    fn length(&self, most: usize, rng: &mut SampleRng) -> usize {
        let (shortest, longest) = (SHORTEST.min(most), self.side.min(most));
        shortest + rng.below(longest.saturating_sub(shortest) + 1)
    }

    fn at(&self, channel: usize, pixel: usize) -> usize {
        self.image.at(channel, pixel / self.image.width, pixel % self.image.width)
    }

    fn differs(&self, x: &[f32], point: &[f32], pixel: usize) -> bool {
        (0..self.image.channels).map(|channel| self.at(channel, pixel)).any(|at| x[at] != point[at])
    }
}
