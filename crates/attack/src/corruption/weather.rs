//! Weather: snow, frost, fog.

use super::filter::{motion, zoom};
use super::level::{Level, Table};
use super::picture::{Picture, Plane};
use super::plasma::plasma;
use crate::SampleRng;

/// How snow falls.
#[derive(Clone, Copy)]
struct Snow {
    /// Mean and standard deviation of the noise that flakes are the peaks of.
    noise: (f32, f32),
    /// How large they are.
    zoom: f64,
    /// Below this there is no flake.
    threshold: f32,
    /// Radius and standard deviation of their fall.
    fall: (u32, f64),
    /// What is left of the picture; the rest whitens.
    left: f32,
}

const fn snow_level(noise: (f32, f32), zoom: f64, threshold: f32, fall: (u32, f64), left: f32) -> Snow {
    Snow { noise, zoom, threshold, fall, left }
}

const SNOW: Table<Snow> = [
    [
        snow_level((0.1, 0.2), 1.0, 0.6, (8, 3.0), 0.95),
        snow_level((0.1, 0.2), 1.0, 0.5, (10, 4.0), 0.9),
        snow_level((0.15, 0.3), 1.75, 0.55, (10, 4.0), 0.9),
        snow_level((0.25, 0.3), 2.25, 0.6, (12, 6.0), 0.85),
        snow_level((0.3, 0.3), 1.25, 0.65, (14, 12.0), 0.8),
    ],
    [
        snow_level((0.1, 0.2), 1.0, 0.6, (8, 3.0), 0.8),
        snow_level((0.1, 0.2), 1.0, 0.5, (10, 4.0), 0.8),
        snow_level((0.15, 0.3), 1.75, 0.55, (10, 4.0), 0.7),
        snow_level((0.25, 0.3), 2.25, 0.6, (12, 6.0), 0.65),
        snow_level((0.3, 0.3), 1.25, 0.65, (14, 12.0), 0.6),
    ],
    [
        snow_level((0.1, 0.3), 3.0, 0.5, (10, 4.0), 0.8),
        snow_level((0.2, 0.3), 2.0, 0.5, (12, 4.0), 0.7),
        snow_level((0.55, 0.3), 4.0, 0.9, (12, 8.0), 0.7),
        snow_level((0.55, 0.3), 4.5, 0.85, (12, 8.0), 0.65),
        snow_level((0.55, 0.3), 2.5, 0.85, (12, 12.0), 0.55),
    ],
];
/// What is left of the picture, and the weight of the frost.
const FROST: Table<(f32, f32)> = [
    [(1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
    [(1.0, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)],
    [(1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
];
/// Weight of the fog, and how smooth it is.
const FOG: Table<(f32, f64)> = [
    [(0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)],
    [(0.4, 3.0), (0.7, 3.0), (1.0, 2.5), (1.5, 2.0), (2.0, 1.75)],
    [(1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)],
];

/// Flakes that fall at most 45 degrees from the vertical, over a whitened picture.
pub(super) fn snow(picture: &mut Picture, level: Level, rng: &mut SampleRng) {
    let snow = level.of(&SNOW);
    let (mean, deviation) = snow.noise;
    let mut noise = vec![0.0; picture.height() * picture.width()];
    rng.fill_normal(&mut noise);
    let noise = Plane { height: picture.height(), width: picture.width(), values: noise };
    let peaks = zoom(&noise.map(|v| mean + deviation * v), snow.zoom);
    let flakes = peaks.map(|v| if v < snow.threshold { 0.0 } else { v.min(1.0) });
    let (radius, sigma) = snow.fall;
    let falling = motion(&flakes, radius, sigma, -135.0 + 90.0 * rng.uniform());
    // Half of the flakes fall the other way.
    let layer: Vec<f32> = falling.values.iter().zip(falling.turned().values).map(|(a, b)| a + b).collect();
    let grey = picture.grey();
    for plane in &mut picture.planes {
        for ((value, grey), flake) in plane.values.iter_mut().zip(&grey.values).zip(&layer) {
            *value = snow.left * *value + (1.0 - snow.left) * value.max(1.5 * grey + 0.5) + flake;
        }
    }
}

/// A layer of ice. The original adds one of five photographs of ice, which assay does not have: this one is drawn, as light and as
/// rough as those are. Accuracies under it are not comparable with published ones.
pub(super) fn frost(picture: &mut Picture, level: Level, rng: &mut SampleRng) {
    let (left, weight) = level.of(&FROST);
    let ice = ice(picture.height(), picture.width(), rng);
    let tints = if picture.coloured() { &TINT[..] } else { &[0.0] };
    for (plane, tint) in picture.planes.iter_mut().zip(tints.iter().cycle()) {
        for (value, ice) in plane.values.iter_mut().zip(&ice.values) {
            *value = left * *value + weight * (ice + tint).clamp(0.0, 1.0);
        }
    }
}

/// Ice is bluish: what red, green and blue differ from its brightness by.
const TINT: [f32; 3] = [-0.06, 0.01, 0.06];
/// Mean and standard deviation of the brightness, from the darkest to the lightest of the photographs.
const ICE: [(f32, f32); 2] = [(0.43, 0.14), (0.79, 0.07)];

/// Ridges of a cloud, and needles that grow from them in three directions, 60 degrees apart as in a crystal.
fn ice(height: usize, width: usize, rng: &mut SampleRng) -> Plane {
    let ridges = plasma(height, width, 1.7, rng).map(|v| (1.0 - (2.0 * v - 1.0).abs()).powi(3));
    let mut noise = vec![0.0; height * width];
    rng.fill_normal(&mut noise);
    let seeds = Plane { height, width, values: noise }.map(|v| if v > SEED { 1.0 } else { 0.0 });
    let (length, first) = ((height.min(width) / 16).max(2) as u32, 60.0 * rng.uniform());
    let needles = [0.0, 60.0, 120.0].map(|turn| motion(&seeds, length, length.into(), first + turn));
    let mut ice = standard(&ridges);
    for needles in needles.map(|plane| standard(&plane)) {
        ice.values.iter_mut().zip(needles.values).for_each(|(ice, needle)| *ice += 0.5 * needle);
    }
    let share = rng.uniform() as f32;
    let [(dark, rough), (light, even)] = ICE;
    let (brightness, contrast) = (dark + share * (light - dark), rough + share * (even - rough));
    standard(&ice).map(|v| (brightness + contrast * v).clamp(0.0, 1.0))
}

/// Normal deviates above this are where needles begin.
const SEED: f32 = 1.8;

/// The plane with a mean of 0 and a standard deviation of 1; all 0 if it has one value only.
fn standard(plane: &Plane) -> Plane {
    let pixels = plane.values.len() as f32;
    let mean = plane.values.iter().sum::<f32>() / pixels;
    let variance = plane.values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / pixels;
    let scale = if variance > 0.0 { variance.sqrt().recip() } else { 0.0 };
    plane.map(|v| scale * (v - mean))
}

/// A cloud in front of the picture, as light as its lightest value.
pub(super) fn fog(picture: &mut Picture, level: Level, rng: &mut SampleRng) {
    let (weight, decay) = level.of(&FOG);
    let cloud = plasma(picture.height(), picture.width(), decay, rng);
    let lightest = picture.planes.iter().map(Plane::max).fold(0.0, f32::max);
    for plane in &mut picture.planes {
        for (value, cloud) in plane.values.iter_mut().zip(&cloud.values) {
            *value = (*value + weight * cloud) * lightest / (lightest + weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SampleId;

    #[test]
    fn ice_is_as_light_and_as_rough_as_the_photographs() {
        for side in [32, 224] {
            let numbers = |i| {
                let ice = ice(side, side, &mut SampleRng::new(i, SampleId(0), "test", 0));
                let pixels = ice.values.len() as f32;
                let mean = ice.values.iter().sum::<f32>() / pixels;
                let variance = ice.values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / pixels;
                (mean, variance.sqrt())
            };
            for (mean, deviation) in (0..20).map(numbers) {
                assert!((0.42..0.80).contains(&mean) && (0.06..0.15).contains(&deviation), "{mean} {deviation}");
            }
        }
    }
}
