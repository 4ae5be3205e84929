//! Tone: brightness, contrast, saturation.

use super::level::{Level, Table};
use super::picture::Picture;
use crate::hsv;

/// What is added to the value.
const BRIGHTNESS: Table<f32> = [[0.05, 0.1, 0.15, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5]];
/// What is left of the contrast.
const CONTRAST: Table<f32> = [[0.75, 0.5, 0.4, 0.3, 0.15], [0.4, 0.3, 0.2, 0.1, 0.05], [0.4, 0.3, 0.2, 0.1, 0.05]];
/// What the saturation is multiplied with, and what is added to it.
const SATURATE: Table<(f32, f32)> = [
    [(0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)],
    [(0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (30.0, 0.2)],
    [(0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)],
];

/// A larger value, with the same hue and saturation.
pub(super) fn brightness(picture: &mut Picture, level: Level) {
    let more = level.of(&BRIGHTNESS);
    if picture.coloured() {
        picture.recolour(|rgb| {
            let [hue, saturation, value] = hsv::from_rgb(rgb);
            hsv::to_rgb([hue, saturation, (value + more).min(1.0)])
        });
    } else {
        picture.values_mut().for_each(|v| *v += more);
    }
}

/// Nearer to the mean of the channel.
pub(super) fn contrast(picture: &mut Picture, level: Level) {
    let left = level.of(&CONTRAST);
    picture.each(|plane| {
        let mean = plane.values.iter().map(|v| f64::from(*v)).sum::<f64>() / plane.values.len() as f64;
        plane.map(|v| (v - mean as f32) * left + mean as f32)
    });
}

/// More or less colour. A picture without colours stays as it is.
pub(super) fn saturate(picture: &mut Picture, level: Level) {
    let (factor, more) = level.of(&SATURATE);
    picture.recolour(|rgb| {
        let [hue, saturation, value] = hsv::from_rgb(rgb);
        hsv::to_rgb([hue, (saturation * factor + more).clamp(0.0, 1.0), value])
    });
}
