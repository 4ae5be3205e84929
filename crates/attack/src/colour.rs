//! Hue, saturation, brightness and contrast.

use std::sync::LazyLock;

use crate::image::Image;
use crate::param::{Choice, Decimal, Integer};
use crate::registry::{Description, Entry};
use crate::search::{Search, spread};
use crate::{Attack, Bounds, Halt, Norm, SampleRng, Samples, Spot, Start, hsv};

/// Another hue and saturation of the whole picture (Hosseini and Poovendran, 2018), and another brightness and contrast. Each sample
/// stops at the first change that breaks it.
///
/// Random changes grow from try to try, other than the hue's, as in the paper; its attack is `brightness=0,contrast=0`. Grey pixels
/// count as red ones of saturation 0, as there. Pictures without colours have neither hue nor saturation: only brightness and
/// contrast change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colour {
    /// Which changes are tried.
    pub search: Search,
    /// Largest change of the hue, as a share of the circle.
    pub hue: f32,
    /// Largest change of the saturation.
    pub saturation: f32,
    /// Largest change of the value, as a share of the range.
    pub brightness: f32,
    /// Largest change of the distance to the channel's mean, as a share of it.
    pub contrast: f32,
    /// Changes of the grid in each direction.
    pub levels: u32,
    /// Random changes that are tried.
    pub tries: u32,
}

const SEARCH: Choice<Search> = Search::Random.param();
const HUE: Decimal = Decimal {
    name: "hue",
    default: 0.5,
    min: 0.0,
    max: 0.5,
    doc: "Largest change of the hue, as a share of the circle; 0.5 is any hue. Nothing changes it in grey pictures.",
};
const SATURATION: Decimal = Decimal {
    name: "saturation",
    default: 1.0,
    min: 0.0,
    max: 1.0,
    doc: "Largest change of the saturation, which is from 0 to 1. Nothing changes it in grey pictures.",
};
const BRIGHTNESS: Decimal = Decimal {
    name: "brightness",
    default: 0.2,
    min: 0.0,
    max: 1.0,
    doc: "Largest change of the brightness, as a share of the range.",
};
const CONTRAST: Decimal = Decimal {
    name: "contrast",
    default: 0.3,
    min: 0.0,
    max: 1.0,
    doc: "Largest change of the contrast, as a share of it.",
};
const LEVELS: Integer = Integer {
    name: "levels",
    default: 3,
    min: 2,
    max: 50,
    doc: "Steps of the grid for each of hue, saturation, brightness and contrast.",
};
const TRIES: Integer =
    Integer { name: "tries", default: 100, min: 1, max: 1_000_000, doc: "Random changes that are tried." };

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "colour",
    summary: "Another hue, saturation, brightness and contrast of the whole picture; grey pictures have the last two only.",
    source: "Hosseini, Poovendran: Semantic Adversarial Examples, CVPR Workshops 2018",
    norms: &Norm::ALL,
    needs_gradient: false,
    needs_eps: false,
    parameters: vec![
        SEARCH.param(),
        HUE.param(),
        SATURATION.param(),
        BRIGHTNESS.param(),
        CONTRAST.param(),
        LEVELS.param(),
        TRIES.param(),
    ],
});

impl Colour {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            let attack = Self {
                search: SEARCH.read(arguments)?,
                hue: HUE.read(arguments)?,
                saturation: SATURATION.read(arguments)?,
                brightness: BRIGHTNESS.read(arguments)?,
                contrast: CONTRAST.read(arguments)?,
                levels: LEVELS.read(arguments)?,
                tries: TRIES.read(arguments)?,
            };
            if attack.evaluations() == 0 {
                let expected =
                    "a number above 0 where hue, saturation and brightness are 0: nothing changes".to_owned();
                return Err(arguments.invalid(CONTRAST.name, &attack.contrast.to_string(), expected));
            }
            Ok(Box::new(attack))
        },
    };

    /// The largest changes of a picture with so many channels.
    fn most(&self, channels: usize) -> Change {
        let coloured = |most: f32| if channels == 3 { most } else { 0.0 };
        Change {
            hue: coloured(self.hue),
            saturation: coloured(self.saturation),
            brightness: self.brightness,
            contrast: self.contrast,
        }
    }

    /// The grid up to `most`, without the picture as it is.
    fn grid(&self, most: Change) -> impl Iterator<Item = Change> {
        let levels = |most: f32| -> Vec<f32> {
            spread(most.into(), if most > 0.0 { self.levels } else { 1 }).map(|v| v as f32).collect()
        };
        let parts = [most.hue, most.saturation, most.brightness, most.contrast].map(levels);
        let points: usize = parts.iter().map(Vec::len).product();
        let point = move |mut i: usize| {
            let [hue, saturation, brightness, contrast] = parts.each_ref().map(|part| {
                let value = part[i % part.len()];
                i /= part.len();
                value
            });
            Change { hue, saturation, brightness, contrast }
        };
        (0..points).map(point).filter(|change| *change != Change::default())
    }

    /// The random change of one try.
    fn random(&self, most: Change, attempt: u32, rng: &mut SampleRng) -> Change {
        let grown = f64::from(attempt + 1) / f64::from(self.tries);
        let mut within = |most: f32, grown: f64| (f64::from(most) * grown * (2.0 * rng.uniform() - 1.0)) as f32;
        Change {
            hue: within(most.hue, 1.0),
            saturation: within(most.saturation, grown),
            brightness: within(most.brightness, grown),
            contrast: within(most.contrast, grown),
        }
    }
}

impl Default for Colour {
    fn default() -> Self {
        Self {
            search: SEARCH.default,
            hue: HUE.default,
            saturation: SATURATION.default,
            brightness: BRIGHTNESS.default,
            contrast: CONTRAST.default,
            levels: LEVELS.default,
            tries: TRIES.default,
        }
    }
}

impl Attack for Colour {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (SEARCH.name, self.search.name().to_owned()),
            (HUE.name, self.hue.to_string()),
            (SATURATION.name, self.saturation.to_string()),
            (BRIGHTNESS.name, self.brightness.to_string()),
            (CONTRAST.name, self.contrast.to_string()),
            (LEVELS.name, self.levels.to_string()),
            (TRIES.name, self.tries.to_string()),
        ]
    }

    fn evaluations(&self) -> u64 {
        let parts = [self.hue, self.saturation, self.brightness, self.contrast];
        let changed = parts.into_iter().filter(|most| *most > 0.0).count() as u32;
        match self.search {
            _ if changed == 0 => 0,
            // An odd number of levels has the picture as it is in the middle.
            Search::Grid => u64::from(self.levels).pow(changed) - u64::from(self.levels % 2),
            Search::Random => self.tries.into(),
        }
    }

    fn fits(&self, sample_shape: &[usize]) -> Result<(), String> {
        let image = Image::pictured(sample_shape)?;
        if self.most(image.channels) == Change::default() {
            return Err(format!(
                "samples of shape {sample_shape:?} have no colours, so that nothing changes: expected {} or {} above 0",
                BRIGHTNESS.name, CONTRAST.name
            ));
        }
        Ok(())
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let (image, bounds) = (Image::of(samples.sample_shape()), samples.threat().bounds);
        let most = self.most(image.channels);
        samples.roam();
        samples.start(0, Start::Image);
        match self.search {
            Search::Grid => {
                for change in self.grid(most) {
                    samples.each(|Spot { x, point, .. }| change.apply(x, image, bounds, point));
                    samples.query()?;
                }
            }
            Search::Random => {
                for attempt in 0..self.tries {
                    samples.each(|Spot { x, point, rng, .. }| {
                        self.random(most, attempt, rng).apply(x, image, bounds, point);
                    });
                    samples.query()?;
                }
            }
        }
        Ok(())
    }
}

/// How colours are changed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Change {
    hue: f32,
    saturation: f32,
    brightness: f32,
    contrast: f32,
}

impl Change {
    /// Writes the changed picture to `point`: hue, saturation and brightness first, then the contrast.
    fn apply(&self, x: &[f32], image: Image, bounds: Bounds, point: &mut [f32]) {
        let (low, range) = (bounds.low(), bounds.high() - bounds.low());
        let cells = || (0..image.height).flat_map(|row| (0..image.width).map(move |column| (row, column)));
        for (row, column) in cells() {
            let at = |channel| image.at(channel, row, column);
            if image.channels == 3 {
                let [hue, saturation, value] = hsv::from_rgb([0, 1, 2].map(|channel| (x[at(channel)] - low) / range));
                let changed = hsv::to_rgb([
                    hue + self.hue,
                    (saturation + self.saturation).clamp(0.0, 1.0),
                    (value + self.brightness).clamp(0.0, 1.0),
                ]);
                for (channel, value) in changed.into_iter().enumerate() {
                    point[at(channel)] = value;
                }
            } else {
                for channel in 0..image.channels {
                    point[at(channel)] = ((x[at(channel)] - low) / range + self.brightness).clamp(0.0, 1.0);
                }
            }
        }
        for channel in 0..image.channels {
            let sum: f64 = cells().map(|(row, column)| f64::from(point[image.at(channel, row, column)])).sum();
            let mean = (sum / image.pixels() as f64) as f32;
            for (row, column) in cells() {
                let value = &mut point[image.at(channel, row, column)];
                let contrasted = mean + (1.0 + self.contrast) * (*value - mean);
                *value = (low + range * contrasted).clamp(bounds.low(), bounds.high());
            }
        }
    }
}
