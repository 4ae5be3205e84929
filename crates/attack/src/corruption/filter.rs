//! Filters and changes of size.

use super::picture::{Border, Plane};

/// A pixel that takes part in a filter: its row and column relative to the filtered one, and its weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub(super) row: isize,
    pub(super) column: isize,
    pub(super) weight: f32,
}

/// Makes every pixel the weighted sum of those around it.
pub(super) fn correlate(plane: &Plane, taps: &[Tap], border: Border) -> Plane {
    let reach = |offset: fn(&Tap) -> isize| {
        let offsets = || taps.iter().map(offset);
        (offsets().min().unwrap_or(0).min(0), offsets().max().unwrap_or(0).max(0))
    };
    let ((up, down), (left, right)) = (reach(|tap| tap.row), reach(|tap| tap.column));
    let (height, width) = (plane.height, plane.width);
    // With its surroundings the plane needs no further thought of the border.
    let columns: Vec<usize> = (left..width as isize + right).map(|column| border.position(column, width)).collect();
    let wide: Vec<f32> = (up..height as isize + down)
        .flat_map(|row| {
            let row = plane.row(border.position(row, height));
            columns.iter().map(|column| row[*column])
        })
        .collect();
    let mut values = vec![0.0; height * width];
    for (row, out) in values.chunks_exact_mut(width).enumerate() {
        for tap in taps {
            let from = (row + (tap.row - up).unsigned_abs()) * columns.len() + (tap.column - left).unsigned_abs();
            for (out, value) in out.iter_mut().zip(&wide[from..from + width]) {
                *out += tap.weight * value;
            }
        }
    }
    Plane { values, ..*plane }
}

/// Weights of a Gaussian from `-radius` to `radius` that sum to 1.
fn bell(sigma: f64, radius: isize) -> Vec<(isize, f32)> {
    let weight = |i: isize| (-0.5 * (i as f64 / sigma).powi(2)).exp();
    let sum: f64 = (-radius..=radius).map(weight).sum();
    (-radius..=radius).map(|i| (i, (weight(i) / sum) as f32)).collect()
}

/// Gaussian blur whose bell ends `truncate` standard deviations from its middle.
pub(super) fn gaussian(plane: &Plane, sigma: f64, truncate: f64, border: Border) -> Plane {
    let radius = (truncate * sigma + 0.5) as isize;
    if radius == 0 {
        return plane.clone();
    }
    gaussian_within(plane, sigma, radius, border)
}

/// Gaussian blur of a square of `2 * radius + 1` pixels.
pub(super) fn gaussian_within(plane: &Plane, sigma: f64, radius: isize, border: Border) -> Plane {
    let bell = bell(sigma, radius);
    let down: Vec<Tap> = bell.iter().map(|&(row, weight)| Tap { row, column: 0, weight }).collect();
    let across: Vec<Tap> = bell.iter().map(|&(column, weight)| Tap { row: 0, column, weight }).collect();
    correlate(&correlate(plane, &down, border), &across, border)
}

/// The mean of the three by three pixels around each.
pub(super) fn mean_of_nine(plane: &Plane) -> Plane {
    let tap = |row, column| Tap { row, column, weight: 1.0 };
    let taps: Vec<Tap> = (-1..=1).flat_map(|row| (-1..=1).map(move |column| tap(row, column))).collect();
    correlate(plane, &taps, Border::Mirror).map(|sum| sum / 9.0)
}

/// A blur by motion: each pixel becomes the mean of itself and the `2 * radius` pixels beside it along `angle`, in degrees from the
/// right downwards, weighted with half a bell. So does ImageMagick.
pub(super) fn motion(plane: &Plane, radius: u32, sigma: f64, angle: f64) -> Plane {
    let length = 2 * radius as isize + 1;
    let (sin, cos) = angle.to_radians().sin_cos();
    let weight = |i: isize| (-0.5 * (i as f64 / sigma).powi(2)).exp();
    let sum: f64 = (0..length).map(weight).sum();
    let offset = |i: isize, part: f64| (i as f64 * part - 0.5).ceil() as isize;
    let tap = |i| Tap { row: offset(i, sin), column: offset(i, cos), weight: (weight(i) / sum) as f32 };
    correlate(plane, &(0..length).map(tap).collect::<Vec<_>>(), Border::Edge)
}

/// The middle of the plane, `factor` times as large and cut to the plane's size.
pub(super) fn zoom(plane: &Plane, factor: f64) -> Plane {
    let [(top, rows), (left, columns)] = [plane.height, plane.width].map(|size| {
        let part = (size as f64 / factor).ceil().max(1.0);
        let enlarged = (part * factor).round_ties_even();
        let before = (size - part as usize) / 2;
        let trimmed = (enlarged as usize).saturating_sub(size) / 2;
        // Corners stay corners.
        let step = (part - 1.0) / (enlarged - 1.0).max(1.0);
        (before, move |i: usize| ((trimmed + i) as f64 * step).min(part - 1.0))
    });
    Plane::from_fn(plane.height, plane.width, |row, column| {
        plane.between(top as f64 + rows(row), left as f64 + columns(column), Border::Edge)
    })
}

/// The plane in another size: each pixel is the mean of those whose centres lie where it is, or the one that its own centre lies in.
pub(super) fn resize(plane: &Plane, height: usize, width: usize) -> Plane {
    let spans = |from: usize, to: usize| -> Vec<std::ops::Range<usize>> {
        let scale = from as f64 / to as f64;
        let half = 0.5 * scale.max(1.0);
        let span = |i: usize| {
            let centre = (i as f64 + 0.5) * scale;
            let first = ((centre - half + 0.5) as usize).min(from - 1);
            first..((centre + half + 0.5) as usize).clamp(first + 1, from)
        };
        (0..to).map(span).collect()
    };
    let (rows, columns) = (spans(plane.height, height), spans(plane.width, width));
    Plane::from_fn(height, width, |row, column| {
        let (rows, columns) = (rows[row].clone(), columns[column].clone());
        let pixels = rows.len() * columns.len();
        let sum: f32 = rows.map(|row| plane.row(row)[columns.clone()].iter().sum::<f32>()).sum();
        sum / pixels as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot() -> Plane {
        Plane::from_fn(9, 9, |row, column| f32::from(u8::from((row, column) == (4, 4))))
    }

    #[test]
    fn a_gaussian_blur_makes_a_dot_a_bell() {
        let blurred = gaussian(&dot(), 1.0, 3.0, Border::Edge);
        let weight = |i: isize| (-0.5 * (i * i) as f64).exp();
        let sum: f64 = (-3..=3).map(weight).sum();
        for (row, column) in [(4, 4), (4, 5), (3, 2), (7, 1), (0, 4)] {
            let [down, right] = [row, column].map(|i: usize| i as isize - 4);
            let expected = if down.abs() > 3 { 0.0 } else { weight(down) * weight(right) / sum / sum };
            assert!((f64::from(blurred.at(row, column)) - expected).abs() < 1e-7, "{row} {column}");
        }
        assert_eq!(gaussian(&dot(), 0.1, 4.0, Border::Edge), dot());
    }

    #[test]
    fn motion_smears_against_its_angle() {
        // Of a ray to the right, pixels to the left of the dot see it.
        let smeared = motion(&dot(), 2, 1.0, 0.0);
        let weights = [0, 1, 2, 3, 4].map(|i| (-0.5 * f64::from(i * i)).exp());
        let sum: f64 = weights.iter().sum();
        for (i, weight) in weights.iter().enumerate() {
            assert!((f64::from(smeared.at(4, 4 - i)) - weight / sum).abs() < 1e-7);
        }
        assert_eq!(smeared.at(4, 5), 0.0);
        // Downwards: pixels above.
        let fallen = motion(&dot(), 2, 1.0, 90.0);
        assert!((0..5).all(|i| (fallen.at(4 - i, 4) - smeared.at(4, 4 - i)).abs() < 1e-7));
    }

    #[test]
    fn a_zoomed_ramp_is_a_flatter_ramp() {
        let ramp = Plane::from_fn(6, 10, |row, column| row as f32 + 100.0 * column as f32);
        assert_eq!(zoom(&ramp, 1.0), ramp);
        // The middle half: rows 1 to 3 of six become six, columns 2 to 6 of ten become ten; corners stay corners.
        let larger = zoom(&ramp, 2.0);
        for (row, column) in [(0, 0), (5, 9), (2, 3)] {
            let expected = 1.0 + row as f32 * 2.0 / 5.0 + 100.0 * (2.0 + column as f32 * 4.0 / 9.0);
            assert!((larger.at(row, column) - expected).abs() < 1e-4, "{row} {column}: {}", larger.at(row, column));
        }
    }

    #[test]
    fn a_smaller_plane_has_the_means_and_a_larger_one_the_same_pixels() {
        let plane = Plane::from_fn(4, 6, |row, column| (6 * row + column) as f32);
        let small = resize(&plane, 2, 2);
        assert_eq!(small.values, [4.0, 7.0, 16.0, 19.0]);
        let large = resize(&small, 4, 6);
        assert_eq!(large.row(1), [4.0, 4.0, 4.0, 7.0, 7.0, 7.0]);
        assert_eq!(large.row(2), [16.0, 16.0, 16.0, 19.0, 19.0, 19.0]);
        assert_eq!(resize(&plane, 1, 1).values, [11.5]);
    }
}
