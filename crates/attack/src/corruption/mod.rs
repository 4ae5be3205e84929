//! Common corruptions: what happens to pictures without an adversary.

mod blur;
mod digital;
mod filter;
mod level;
mod noise;
mod picture;
mod plasma;
mod spatter;
mod tone;
mod weather;

use std::sync::LazyLock;

pub use level::Constants;

use crate::image::Image;
use crate::param::{Choice, Integer, ParamKind};
use crate::registry::{Description, Entry};
use crate::{Attack, Bounds, Halt, Norm, SampleRng, Samples, Spot, Start};
use picture::Picture;

/// One corruption of each sample (Hendrycks and Dietterich, 2019): fifteen that benchmarks report, and four more.
///
/// Made anew from each sample's random stream, with the constants of the published benchmarks. What is drawn is the same for
/// every severity: they differ in strength alone. Values are not rounded to 8 bits, other than by JPEG. Frost is drawn where the
/// original uses photographs, so that accuracies under it are not comparable with published ones; those of the others come close,
/// and only the published files give the published numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// What happens.
    pub kind: CorruptionKind,
    /// How strongly, from 1 to 5.
    pub severity: u32,
    /// The benchmark whose constants are used.
    pub constants: Constants,
}

/// What happens to a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CorruptionKind {
    /// Normal noise.
    GaussianNoise,
    /// Few photons.
    ShotNoise,
    /// Values that became black or white.
    ImpulseNoise,
    /// A lens out of focus.
    DefocusBlur,
    /// Frosted glass.
    GlassBlur,
    /// A moving camera.
    MotionBlur,
    /// A camera that moves towards the object.
    ZoomBlur,
    /// Falling snow.
    Snow,
    /// Ice on the lens, drawn: not comparable with published numbers.
    Frost,
    /// Fog.
    Fog,
    /// More light.
    Brightness,
    /// Less contrast.
    Contrast,
    /// A distorted picture.
    ElasticTransform,
    /// Larger pixels.
    Pixelate,
    /// JPEG compression.
    JpegCompression,
    /// Noise in proportion to the value.
    SpeckleNoise,
    /// A bell around each pixel.
    GaussianBlur,
    /// Water or mud on the lens.
    Spatter,
    /// More or less colour; nothing happens to pictures without any.
    Saturate,
}

impl CorruptionKind {
    /// The fifteen that benchmarks report, then the four more.
    pub const ALL: [Self; 19] = [
        Self::GaussianNoise,
        Self::ShotNoise,
        Self::ImpulseNoise,
        Self::DefocusBlur,
        Self::GlassBlur,
        Self::MotionBlur,
        Self::ZoomBlur,
        Self::Snow,
        Self::Frost,
        Self::Fog,
        Self::Brightness,
        Self::Contrast,
        Self::ElasticTransform,
        Self::Pixelate,
        Self::JpegCompression,
        Self::SpeckleNoise,
        Self::GaussianBlur,
        Self::Spatter,
        Self::Saturate,
    ];
    /// How many of [`CorruptionKind::ALL`] benchmarks report.
    pub const COMMON: usize = 15;

    /// The name users write: that of the files of CIFAR-10-C.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GaussianNoise => "gaussian_noise",
            Self::ShotNoise => "shot_noise",
            Self::ImpulseNoise => "impulse_noise",
            Self::DefocusBlur => "defocus_blur",
            Self::GlassBlur => "glass_blur",
            Self::MotionBlur => "motion_blur",
            Self::ZoomBlur => "zoom_blur",
            Self::Snow => "snow",
            Self::Frost => "frost",
            Self::Fog => "fog",
            Self::Brightness => "brightness",
            Self::Contrast => "contrast",
            Self::ElasticTransform => "elastic_transform",
            Self::Pixelate => "pixelate",
            Self::JpegCompression => "jpeg_compression",
            Self::SpeckleNoise => "speckle_noise",
            Self::GaussianBlur => "gaussian_blur",
            Self::Spatter => "spatter",
            Self::Saturate => "saturate",
        }
    }
}

const KIND: Choice<CorruptionKind> = Choice {
    name: "kind",
    default: CorruptionKind::GaussianNoise,
    options: &CorruptionKind::ALL,
    word: CorruptionKind::name,
    kind: ParamKind::Choice,
    doc: "What happens to the pictures. frost is drawn, not photographed: not comparable with published numbers. saturate changes nothing in grey pictures.",
};
const SEVERITY: Integer = Integer { name: "severity", default: 3, min: 1, max: 5, doc: "How strongly it happens." };
const CONSTANTS: Choice<Constants> = Choice {
    name: "constants",
    default: Constants::Nearest,
    options: &Constants::ALL,
    word: Constants::name,
    kind: ParamKind::Choice,
    doc: "Benchmark whose constants are used; nearest: the one whose pictures are nearest in size (32, 64 or 224 pixels).",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "corruption",
    summary: "One of 19 common corruptions, made anew for each sample; a single point, no search.",
    source: "Hendrycks, Dietterich: Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR 2019",
    norms: &Norm::ALL,
    needs_gradient: false,
    needs_eps: false,
    parameters: vec![KIND.param(), SEVERITY.param(), CONSTANTS.param()],
});

impl Corruption {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self {
                kind: KIND.read(arguments)?,
                severity: SEVERITY.read(arguments)?,
                constants: CONSTANTS.read(arguments)?,
            }))
        },
    };

    /// Writes what becomes of a sample to `point`.
    fn corrupt(
        &self,
        x: &[f32],
        image: Image,
        bounds: Bounds,
        rng: &mut SampleRng,
        point: &mut [f32],
    ) -> Result<(), String> {
        let level = self.constants.level(self.severity, image.height, image.width);
        let mut picture = Picture::read(x, image, bounds);
        let picture = &mut picture;
        match self.kind {
            CorruptionKind::GaussianNoise => noise::gaussian(picture, level, rng),
            CorruptionKind::ShotNoise => noise::shot(picture, level, rng),
            CorruptionKind::ImpulseNoise => noise::impulse(picture, level, rng),
            CorruptionKind::DefocusBlur => blur::defocus(picture, level),
            CorruptionKind::GlassBlur => blur::glass(picture, level, rng),
            CorruptionKind::MotionBlur => blur::motion(picture, level, rng),
            CorruptionKind::ZoomBlur => blur::zoom(picture, level),
            CorruptionKind::Snow => weather::snow(picture, level, rng),
            CorruptionKind::Frost => weather::frost(picture, level, rng),
            CorruptionKind::Fog => weather::fog(picture, level, rng),
            CorruptionKind::Brightness => tone::brightness(picture, level),
            CorruptionKind::Contrast => tone::contrast(picture, level),
            CorruptionKind::ElasticTransform => digital::elastic(picture, level, rng),
            CorruptionKind::Pixelate => digital::pixelate(picture, level),
            CorruptionKind::JpegCompression => digital::jpeg(picture, level)?,
            CorruptionKind::SpeckleNoise => noise::speckle(picture, level, rng),
            CorruptionKind::GaussianBlur => blur::gaussian(picture, level),
            CorruptionKind::Spatter => spatter::spatter(picture, level, rng),
            CorruptionKind::Saturate => tone::saturate(picture, level),
        }
        picture.write(image, bounds, point);
        Ok(())
    }
}

impl Default for Corruption {
    fn default() -> Self {
        Self { kind: KIND.default, severity: SEVERITY.default, constants: CONSTANTS.default }
    }
}

impl Attack for Corruption {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (KIND.name, self.kind.name().to_owned()),
            (SEVERITY.name, self.severity.to_string()),
            (CONSTANTS.name, self.constants.name().to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        1
    }

    fn fits(&self, sample_shape: &[usize]) -> Result<(), String> {
        let Image { height, width, .. } = Image::pictured(sample_shape)?;
        if self.kind == CorruptionKind::JpegCompression && height.max(width) > digital::LONGEST_SIDE {
            let most = digital::LONGEST_SIDE;
            return Err(format!("JPEG holds at most {most} pixels a side, the model's samples have {width}x{height}"));
        }
        Ok(())
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let (bounds, image) = (samples.threat().bounds, Image::of(samples.sample_shape()));
        samples.roam();
        // Each kind draws from a stream of its own.
        samples.start(self.kind as u32, Start::Image);
        let mut failed = Vec::new();
        samples.each(|Spot { sample, x, point, rng }| {
            if let Err(why) = self.corrupt(x, image, bounds, rng, point) {
                failed.push((sample, why));
            }
        });
        for (sample, why) in failed {
            samples.fail(sample, &why);
        }
        samples.query()
    }
}
