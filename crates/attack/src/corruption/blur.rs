//! Blur: defocus, glass, motion, zoom, gaussian.

use super::filter::{Tap, correlate, gaussian as smooth, gaussian_within, motion as along, zoom as zoomed};
use super::level::{Level, Table};
use super::picture::{Border, Picture, Plane};
use crate::SampleRng;

/// Standard deviations after which a bell ends.
const TRUNCATE: f64 = 4.0;

/// Radius of the disk, and standard deviation that smooths its edge.
const DEFOCUS: Table<(f64, f64)> = [
    [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)],
    [(0.5, 0.6), (1.0, 0.1), (1.5, 0.1), (2.5, 0.01), (3.0, 0.1)],
    [(3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)],
];
/// Standard deviation of the blurs before and after, how far a pixel may move, and how often.
const GLASS: Table<(f64, usize, u32)> = [
    [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
    [(0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)],
    [(0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
];
/// Radius and standard deviation along the motion.
const MOTION: Table<(u32, f64)> = [
    [(6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)],
    [(10, 1.0), (10, 1.5), (10, 2.0), (10, 2.5), (12, 3.0)],
    [(10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)],
];
/// Number of zoomed pictures, and by how much each is larger than the one before.
const ZOOM: Table<(u32, f64)> = [
    [(7, 0.01), (12, 0.01), (16, 0.01), (21, 0.01), (26, 0.01)],
    [(7, 0.01), (12, 0.01), (16, 0.01), (21, 0.01), (26, 0.01)],
    [(12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03)],
];
/// Standard deviation.
const GAUSSIAN: Table<f64> = [[0.4, 0.6, 0.7, 0.8, 1.0], [0.5, 0.75, 1.0, 1.25, 1.5], [1.0, 2.0, 3.0, 4.0, 6.0]];

/// A disk around each pixel, as a lens makes it that is out of focus.
pub(super) fn defocus(picture: &mut Picture, level: Level) {
    let (radius, alias) = level.of(&DEFOCUS);
    let disk = disk(radius, alias);
    picture.each(|plane| correlate(plane, &disk, Border::Mirror));
}

/// The pixels of a disk, whose edge is smoothed, with weights that sum to 1.
fn disk(radius: f64, alias: f64) -> Vec<Tap> {
    let (reach, smoothed) = if radius <= 8.0 { (8, 1) } else { (radius as isize, 2) };
    let side = 2 * reach.unsigned_abs() + 1;
    let inside = |row: usize, column: usize| {
        let [row, column] = [row, column].map(|i| i as f64 - reach as f64);
        row * row + column * column <= radius * radius
    };
    let sharp = Plane::from_fn(side, side, |row, column| f32::from(u8::from(inside(row, column))));
    let pixels: f32 = sharp.values.iter().sum();
    let disk = gaussian_within(&sharp.map(|v| v / pixels), alias, smoothed, Border::Mirror);
    let tap = |(i, weight): (usize, &f32)| {
        let [row, column] = [i / side, i % side].map(|i| i as isize - reach);
        Tap { row, column, weight: *weight }
    };
    disk.values.iter().enumerate().filter(|(_, weight)| **weight > 0.0).map(tap).collect()
}

/// Pixels that take the colour of one nearby, between two slight blurs, as seen through frosted glass.
///
/// In the published data a pixel takes its neighbour's colour without giving its own, although its authors meant to swap them; so it
/// is here.
pub(super) fn glass(picture: &mut Picture, level: Level, rng: &mut SampleRng) {
    let (sigma, reach, times) = level.of(&GLASS);
    // Cut to 8 bits, as there; what is a byte already stays one in spite of rounding.
    picture.each(|plane| smooth(plane, sigma, TRUNCATE, Border::Edge).map(|v| (255.0 * v + 1e-3).floor() / 255.0));
    let (height, width) = (picture.height(), picture.width());
    for _ in 0..times {
        for row in (reach + 1..=height.saturating_sub(reach)).rev() {
            for column in (reach + 1..=width.saturating_sub(reach)).rev() {
                // At most one less than the reach to the right and downwards, as in the original.
                let (right, down) = (rng.below(2 * reach), rng.below(2 * reach));
                let from = (row + down - reach) * width + column + right - reach;
                for plane in &mut picture.planes {
                    if let Some(value) = plane.values.get(from).copied()
                        && let Some(pixel) = plane.values.get_mut(row * width + column)
                    {
                        *pixel = value;
                    }
                }
            }
        }
    }
    picture.each(|plane| smooth(plane, sigma, TRUNCATE, Border::Edge));
}

/// A smear to one side, at most 45 degrees from the horizontal.
pub(super) fn motion(picture: &mut Picture, level: Level, rng: &mut SampleRng) {
    let (radius, sigma) = level.of(&MOTION);
    let angle = 90.0 * rng.uniform() - 45.0;
    picture.each(|plane| along(plane, radius, sigma, angle));
}

/// The mean of the picture and of ever larger ones.
pub(super) fn zoom(picture: &mut Picture, level: Level) {
    let (pictures, step) = level.of(&ZOOM);
    // Rounded as the original's factors are: the size of a picture hangs on it.
    let step = (1.0 + step) - 1.0;
    picture.each(|plane| {
        let mut sum = plane.clone();
        for i in 0..pictures {
            let larger = zoomed(plane, 1.0 + f64::from(i) * step);
            sum.values.iter_mut().zip(larger.values).for_each(|(sum, value)| *sum += value);
        }
        sum.map(|v| v / (pictures + 1) as f32)
    });
}

/// A bell around each pixel.
pub(super) fn gaussian(picture: &mut Picture, level: Level) {
    let sigma = level.of(&GAUSSIAN);
    picture.each(|plane| smooth(plane, sigma, TRUNCATE, Border::Edge));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_the_weights_of_its_pixels() {
        // A radius of 1 covers a pixel and its four neighbours; a smoothing of 0.1 changes nothing.
        let cross = disk(1.0, 0.1);
        let weight = |row, column| {
            cross.iter().filter(|tap| (tap.row, tap.column) == (row, column)).map(|tap| tap.weight).sum::<f32>()
        };
        for (row, column) in [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)] {
            assert!((weight(row, column) - 0.2).abs() < 1e-6);
        }
        assert!(weight(1, 1).abs() < 1e-6);
        // A radius below 1 is the pixel itself: the smoothing of three by three pixels with 0.4.
        let side = (-1.0_f32 / (2.0 * 0.16)).exp();
        let middle = 1.0 / (1.0 + 2.0 * side);
        let dot = disk(0.3, 0.4);
        assert_eq!(dot.len(), 9);
        assert!((dot.iter().map(|tap| tap.weight).sum::<f32>() - 1.0).abs() < 1e-6);
        let centre = dot.iter().find(|tap| (tap.row, tap.column) == (0, 0)).unwrap();
        assert!((centre.weight - middle * middle).abs() < 1e-6, "{} {middle}", centre.weight);
    }
}
