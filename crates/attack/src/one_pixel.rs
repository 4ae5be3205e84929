//! The one-pixel attack.

use std::sync::LazyLock;

use crate::image::Image;
use crate::param::Integer;
use crate::registry::{Description, Entry};
use crate::{Attack, Bounds, Halt, Norm, Probe, Reading, SampleRng, Samples, Start};

/// Share of the difference of two members that is added to a third.
const WEIGHT: f64 = 0.5;

/// The one-pixel attack (Su et al., 2019): differential evolution of the places and colours of a few pixels. A child is a member plus half of the difference of two
/// others, and takes its parent's place where its margin is smaller; the original watches the label's probability.
///
/// Eps counts elements: of pixels with three channels no more are changed than a third of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnePixel {
    /// Pixels that are changed, at most.
    pub pixels: u32,
    /// Members of the population, at least 4.
    pub population: u32,
    /// Generations after the first.
    pub generations: u32,
}

const PIXELS: Integer =
    Integer { name: "pixels", default: 1, min: 1, max: 10_000, doc: "Pixels that are changed, at most." };
const POPULATION: Integer = Integer {
    name: "population",
    default: 400,
    min: 4,
    max: 100_000,
    doc: "Members of the population, one forward evaluation each in every generation.",
};
const GENERATIONS: Integer = Integer {
    name: "generations",
    default: 100,
    min: 1,
    max: 100_000,
    doc: "Generations after the first, which is random.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "one-pixel",
    summary: "One-pixel attack: places and colours of a few pixels, by differential evolution; asks for logits only.",
    source: "Su, Vargas, Sakurai: One Pixel Attack for Fooling Deep Neural Networks, IEEE Transactions on Evolutionary Computation 2019",
    norms: &[Norm::L0],
    needs_gradient: false,
    needs_eps: false,
    parameters: vec![PIXELS.param(), POPULATION.param(), GENERATIONS.param()],
});

impl OnePixel {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self {
                pixels: PIXELS.read(arguments)?,
                population: POPULATION.read(arguments)?,
                generations: GENERATIONS.read(arguments)?,
            }))
        },
    };
}

impl Default for OnePixel {
    fn default() -> Self {
        Self { pixels: PIXELS.default, population: POPULATION.default, generations: GENERATIONS.default }
    }
}

impl Attack for OnePixel {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (PIXELS.name, self.pixels.to_string()),
            (POPULATION.name, self.population.to_string()),
            (GENERATIONS.name, self.generations.to_string()),
        ]
    }

    fn evaluations(&self) -> u64 {
        u64::from(self.population) * (1 + u64::from(self.generations))
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        let image = Image::of(samples.sample_shape());
        let pixels = image.pixels_within(threat).min(self.pixels as usize);
        if pixels == 0 {
            return Ok(());
        }
        let canvas = Canvas { image, bounds: threat.bounds, pixels };
        let size = self.population as usize;
        let mut populations: Vec<_> = (0..samples.len()).map(|_| Population::new(size, canvas.genes())).collect();
        let mut margins = vec![f32::INFINITY; samples.len() * size];
        samples.start(0, Start::Image);
        for _ in 0..=self.generations {
            let place = |Probe { sample, index, probe, rng, .. }: Probe<'_>| {
                let child = populations[sample].conceive(index as usize, &canvas, rng);
                canvas.paint(child, probe);
            };
            let read = |Reading { sample, index, margin, .. }: Reading<'_>| {
                margins[sample * size + index as usize] = margin;
            };
            samples.probe(|_| self.population, place, read)?;
            for (population, margins) in populations.iter_mut().zip(margins.chunks_exact_mut(size)) {
                population.select(margins);
                margins.fill(f32::INFINITY);
            }
        }
        Ok(())
    }
}

/// What members are, and what they look like: for each pixel its row and column, as shares of height and width, and its channels, as shares of the range of
/// valid inputs.
struct Canvas {
    image: Image,
    bounds: Bounds,
    pixels: usize,
}

impl Canvas {
    /// Numbers of a pixel.
    fn pixel(&self) -> usize {
        2 + self.image.channels
    }

    /// Numbers of a member.
    fn genes(&self) -> usize {
        self.pixels * self.pixel()
    }

    /// Whether a number says where a pixel is.
    fn is_place(&self, gene: usize) -> bool {
        gene % self.pixel() < 2
    }

    fn paint(&self, member: &[f64], point: &mut [f32]) {
        let image = self.image;
        let (low, high) = (f64::from(self.bounds.low()), f64::from(self.bounds.high()));
        for pixel in member.chunks_exact(self.pixel()) {
            let row = (pixel[0] * image.height as f64) as usize;
            let column = (pixel[1] * image.width as f64) as usize;
            for (channel, share) in pixel[2..].iter().enumerate() {
                let colour = (low + share * (high - low)) as f32;
                point[image.at(channel, row, column)] = colour.clamp(self.bounds.low(), self.bounds.high());
            }
        }
    }
}

/// The members of one sample, and their children.
struct Population {
    genes: usize,
    members: Vec<f64>,
    margins: Vec<f32>,
    children: Vec<f64>,
    /// Whether there are members at all.
    settled: bool,
}

impl Population {
    fn new(size: usize, genes: usize) -> Self {
        let (members, children) = (vec![0.0; size * genes], vec![0.0; size * genes]);
        Self { genes, members, margins: vec![f32::INFINITY; size], children, settled: false }
    }

    /// A child of the member with the same number; of no one in the first generation.
    fn conceive(&mut self, number: usize, canvas: &Canvas, rng: &mut SampleRng) -> &[f64] {
        let parents = self.settled.then(|| self.three_but(number, rng));
        let child = &mut self.children[number * self.genes..][..self.genes];
        for (i, gene) in child.iter_mut().enumerate() {
            let of = |member: usize| self.members[member * self.genes + i];
            *gene = match parents {
                Some([a, b, c]) => of(a) + WEIGHT * (of(b) - of(c)),
                None if canvas.is_place(i) => rng.uniform(),
                None => {
                    let mut deviate = [0.0];
                    rng.fill_normal(&mut deviate);
                    0.5 + 0.5 * f64::from(deviate[0])
                }
            };
            if canvas.is_place(i) {
                // Beyond the edge there is no pixel, and most at the edge would be too many.
                if !(0.0..1.0).contains(gene) {
                    *gene = rng.uniform();
                }
            } else {
                *gene = gene.clamp(0.0, 1.0);
            }
        }
        child
    }

    /// Three members, different from each other and from this one.
    fn three_but(&self, number: usize, rng: &mut SampleRng) -> [usize; 3] {
        let mut chosen = [number; 3];
        for i in 0..3 {
            loop {
                chosen[i] = rng.below(self.margins.len());
                if chosen[i] != number && !chosen[..i].contains(&chosen[i]) {
                    break;
                }
            }
        }
        chosen
    }

    /// Children with smaller margins take their parents' places.
    fn select(&mut self, margins: &[f32]) {
        for (number, (before, margin)) in self.margins.iter_mut().zip(margins).enumerate() {
            if margin < before {
                *before = *margin;
                let genes = number * self.genes..(number + 1) * self.genes;
                self.members[genes.clone()].copy_from_slice(&self.children[genes]);
            }
        }
        self.settled = true;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::SampleId;

    /// Members of one grey pixel each, in the middle of the picture.
    fn grey(colours: [f64; 4]) -> (Canvas, Population) {
        let canvas = Canvas { image: Image::of(&[1, 8, 8]), bounds: Bounds::new(0.0, 1.0).unwrap(), pixels: 1 };
        let mut population = Population::new(4, canvas.genes());
        for (member, colour) in population.members.chunks_exact_mut(3).zip(colours) {
            member.copy_from_slice(&[0.5, 0.5, colour]);
        }
        population.settled = true;
        (canvas, population)
    }

    #[test]
    fn a_child_is_a_member_and_half_the_difference_of_two_others() {
        let (canvas, mut population) = grey([0.1, 0.5, 0.54, 0.62]);
        let mut rng = SampleRng::new(1, SampleId(0), "one-pixel", 0);
        let mut children = BTreeSet::new();
        for _ in 0..200 {
            let child = population.conceive(0, &canvas, &mut rng);
            assert_eq!(child[..2], [0.5, 0.5]);
            children.insert((100.0 * child[2]).round() as u32);
        }
        // 50 - 4, 50 + 4, 54 - 6, 54 + 6, 62 - 2, 62 + 2: of the first member, whose child it is, nothing.
        assert_eq!(children.into_iter().collect::<Vec<_>>(), [46, 48, 54, 60, 64]);
    }

    #[test]
    fn the_better_of_parent_and_child_stays() {
        let (_, mut population) = grey([0.1, 0.2, 0.3, 0.4]);
        population.margins = vec![1.0, 2.0, -1.0, 4.0];
        population.children.fill(0.9);
        population.select(&[0.5, 2.0, 0.0, f32::INFINITY]);
        assert_eq!(population.margins, [0.5, 2.0, -1.0, 4.0]);
        let colours: Vec<f64> = population.members.chunks_exact(3).map(|member| member[2]).collect();
        assert_eq!(colours, [0.9, 0.2, 0.3, 0.4]);
    }
}
