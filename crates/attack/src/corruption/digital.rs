//! What processing does: elastic transformation, pixelation, JPEG compression.

use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, SamplingFactor};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::filter::{gaussian, resize};
use super::level::{Level, Table};
use super::picture::{Border, Picture, Plane};
use crate::SampleRng;

/// Length of the local shifts, standard deviation that smooths them, and how far three corners move, as shares of the shorter side.
const ELASTIC: Table<(f64, f64, f64)> = [
    [(0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
    [(0.0, 0.0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)],
    [
        imagenet_elastic(2.0, 0.7, 0.1),
        imagenet_elastic(2.0, 0.08, 0.2),
        imagenet_elastic(0.05, 0.01, 0.02),
        imagenet_elastic(0.07, 0.01, 0.02),
        imagenet_elastic(0.12, 0.01, 0.02),
    ],
];

/// ImageNet-C takes its shares of 244 pixels, where its pictures have 224.
const fn imagenet_elastic(length: f64, sigma: f64, corner: f64) -> (f64, f64, f64) {
    const RATIO: f64 = 244.0 / 224.0;
    (RATIO * length, RATIO * sigma, RATIO * corner)
}

/// Standard deviations after which the bell that smooths the shifts ends.
const TRUNCATE: f64 = 3.0;
/// What is left of height and width.
const PIXELATE: Table<f64> = [[0.95, 0.9, 0.85, 0.75, 0.65], [0.9, 0.8, 0.7, 0.6, 0.5], [0.6, 0.5, 0.4, 0.3, 0.25]];
/// Quality, from 1 to 100.
const JPEG: Table<u8> = [[80, 65, 58, 50, 40], [65, 58, 50, 40, 25], [25, 18, 15, 10, 7]];

/// Longest side of a picture that JPEG can hold.
pub(super) const LONGEST_SIDE: usize = u16::MAX as usize;

/// A random affine map, then random shifts of every pixel that are alike for neighbours (Simard et al., 2003).
pub(super) fn elastic(picture: &mut Picture, level: Level, rng: &mut SampleRng) {
    let (height, width) = (picture.height(), picture.width());
    let side = height.min(width) as f64;
    let (length, sigma, corner) = level.of(&ELASTIC);
    let map = Affine::random(height, width, corner * side, rng);
    picture.each(|plane| {
        Plane::from_fn(height, width, |row, column| {
            let (row, column) = map.source(row as f64, column as f64);
            plane.between(row, column, Border::Mirror)
        })
    });
    let mut shifts = || {
        let noise = Plane::from_fn(height, width, |_, _| (2.0 * rng.uniform() - 1.0) as f32);
        gaussian(&noise, sigma * side, TRUNCATE, Border::Reflect).map(|v| (length * side) as f32 * v)
    };
    let (right, down) = (shifts(), shifts());
    picture.each(|plane| {
        Plane::from_fn(height, width, |row, column| {
            let (down, right) = (f64::from(down.at(row, column)), f64::from(right.at(row, column)));
            plane.between(row as f64 + down, column as f64 + right, Border::Reflect)
        })
    });
}

/// `source = point M + offset`.
struct Affine {
    rows: [f64; 3],
    columns: [f64; 3],
}

impl Affine {
    /// The map for which three corners of a square in the middle come from points at most `reach` away in each direction.
    fn random(height: usize, width: usize, reach: f64, rng: &mut SampleRng) -> Self {
        let (y, x) = ((height / 2) as f64, (width / 2) as f64);
        let arm = (height.min(width) / 3).max(1) as f64;
        let corners = [(y + arm, x + arm), (y - arm, x + arm), (y - arm, x - arm)];
        let mut moved = |v: f64| v + reach * (2.0 * rng.uniform() - 1.0);
        let goals = corners.map(|(y, x)| (moved(y), moved(x)));
        Self::through(goals, corners).unwrap_or(Self { rows: [1.0, 0.0, 0.0], columns: [0.0, 1.0, 0.0] })
    }

    /// The map whose source of each of `points` is that of `sources`; none if the points lie on a line.
    fn through(points: [(f64, f64); 3], sources: [(f64, f64); 3]) -> Option<Self> {
        let [(y0, x0), (y1, x1), (y2, x2)] = points;
        let determinant = (y1 - y0) * (x2 - x0) - (y2 - y0) * (x1 - x0);
        let solve = |[s0, s1, s2]: [f64; 3]| {
            let by_y = ((s1 - s0) * (x2 - x0) - (s2 - s0) * (x1 - x0)) / determinant;
            let by_x = ((y1 - y0) * (s2 - s0) - (y2 - y0) * (s1 - s0)) / determinant;
            [by_y, by_x, s0 - by_y * y0 - by_x * x0]
        };
        (determinant.abs() > 1e-9)
            .then(|| Self { rows: solve(sources.map(|(y, _)| y)), columns: solve(sources.map(|(_, x)| x)) })
    }

    fn source(&self, row: f64, column: f64) -> (f64, f64) {
        let of = |[by_row, by_column, offset]: [f64; 3]| by_row * row + by_column * column + offset;
        (of(self.rows), of(self.columns))
    }
}

/// Fewer, larger pixels.
pub(super) fn pixelate(picture: &mut Picture, level: Level) {
    let share = level.of(&PIXELATE);
    let (height, width) = (picture.height(), picture.width());
    let fewer = |size: usize| ((size as f64 * share) as usize).max(1);
    picture.each(|plane| resize(&resize(plane, fewer(height), fewer(width)), height, width));
}

/// Written as a JPEG file and read again, with 8 bits a value and half as many colours each way as brightnesses.
///
/// # Errors
/// The picture cannot be written or read.
pub(super) fn jpeg(picture: &mut Picture, level: Level) -> Result<(), String> {
    let quality = level.of(&JPEG);
    if picture.coloured() {
        return through_jpeg(&mut picture.planes, quality);
    }
    picture.planes.iter_mut().try_for_each(|plane| through_jpeg(std::slice::from_mut(plane), quality))
}

/// Writes one plane of grey, or three of colours, and reads what was written.
fn through_jpeg(planes: &mut [Plane], quality: u8) -> Result<(), String> {
    let (height, width) = (planes[0].height, planes[0].width);
    let pixels: Vec<u8> = (0..height * width)
        .flat_map(|i| planes.iter().map(move |plane| (255.0 * plane.values[i]).round() as u8))
        .collect();
    let fail = |error: String| format!("a picture of {width}x{height} pixels cannot be compressed as JPEG: {error}");
    let size = |side: usize| u16::try_from(side).map_err(|_| fail(format!("more than {LONGEST_SIDE} pixels a side")));
    let (written, read) =
        if planes.len() == 3 { (ColorType::Rgb, ColorSpace::RGB) } else { (ColorType::Luma, ColorSpace::Luma) };
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder.encode(&pixels, size(width)?, size(height)?, written).map_err(|e| fail(e.to_string()))?;
    // Without instructions of the processor's own, so that the bytes are the same everywhere.
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(read)
        .set_max_width(LONGEST_SIDE)
        .set_max_height(LONGEST_SIDE)
        .set_use_unsafe(false);
    let pixels =
        JpegDecoder::new_with_options(ZCursor::new(&file), options).decode().map_err(|e| fail(e.to_string()))?;
    let channels = planes.len();
    for (channel, plane) in planes.iter_mut().enumerate() {
        for (value, byte) in plane.values.iter_mut().zip(pixels.iter().skip(channel).step_by(channels)) {
            *value = f32::from(*byte) / 255.0;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SampleId;

    #[test]
    fn an_affine_map_goes_through_its_three_points() {
        let points = [(1.0, 2.0), (4.0, 3.0), (0.0, 7.0)];
        let sources = [(0.5, 2.5), (5.0, 2.0), (1.0, 6.0)];
        let map = Affine::through(points, sources).unwrap();
        for ((row, column), source) in points.into_iter().zip(sources) {
            let (y, x) = map.source(row, column);
            assert!((y - source.0).abs() < 1e-12 && (x - source.1).abs() < 1e-12);
        }
        assert!(Affine::through([(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)], sources).is_none());
        let still = Affine::random(7, 9, 0.0, &mut SampleRng::new(0, SampleId(0), "test", 0));
        let (row, column) = still.source(5.0, 8.0);
        assert!((row - 5.0).abs() < 1e-12 && (column - 8.0).abs() < 1e-12);
    }
}
