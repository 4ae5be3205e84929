//! Spatter: drops of water or splashes of mud on the lens.

use super::filter::{Tap, correlate, gaussian, mean_of_nine};
use super::level::{Level, Table};
use super::picture::{Border, Picture, Plane, luma};
use crate::SampleRng;

/// What is spattered.
#[derive(Clone, Copy)]
struct Spatter {
    /// Mean and standard deviation of the noise whose peaks are liquid, and how far it is smoothed.
    noise: (f32, f32, f64),
    /// Below this there is none.
    threshold: f32,
    liquid: Liquid,
}

#[derive(Clone, Copy)]
enum Liquid {
    /// As light as this at most.
    Water(f32),
    /// Smoothed by this.
    Mud(f64),
}

use Liquid::{Mud, Water};

const fn level_of(noise: (f32, f32, f64), threshold: f32, liquid: Liquid) -> Spatter {
    Spatter { noise, threshold, liquid }
}

const SPATTER: Table<Spatter> = [
    [
        level_of((0.62, 0.1, 0.7), 0.7, Water(0.5)),
        level_of((0.65, 0.1, 0.8), 0.7, Water(0.5)),
        level_of((0.65, 0.3, 1.0), 0.69, Water(0.5)),
        level_of((0.65, 0.1, 0.7), 0.69, Mud(0.6)),
        level_of((0.65, 0.1, 0.5), 0.68, Mud(0.6)),
    ],
    [
        level_of((0.62, 0.1, 0.7), 0.7, Water(0.6)),
        level_of((0.65, 0.1, 0.8), 0.7, Water(0.6)),
        level_of((0.65, 0.3, 1.0), 0.69, Water(0.6)),
        level_of((0.65, 0.1, 0.7), 0.68, Mud(0.6)),
        level_of((0.65, 0.1, 0.5), 0.67, Mud(0.6)),
    ],
    [
        level_of((0.65, 0.3, 4.0), 0.69, Water(0.6)),
        level_of((0.65, 0.3, 3.0), 0.68, Water(0.6)),
        level_of((0.65, 0.3, 2.0), 0.68, Water(0.5)),
        level_of((0.65, 0.3, 1.0), 0.65, Mud(1.5)),
        level_of((0.67, 0.4, 1.0), 0.65, Mud(1.5)),
    ],
];

/// Standard deviations after which a bell ends.
const TRUNCATE: f64 = 4.0;
/// Below this share mud leaves the lens clear.
const THIN_MUD: f32 = 0.8;
const TURQUOISE: [f32; 3] = [175.0 / 255.0, 238.0 / 255.0, 238.0 / 255.0];
const BROWN: [f32; 3] = [63.0 / 255.0, 42.0 / 255.0, 20.0 / 255.0];

/// Water lightens the picture where it is, mud covers it.
pub(super) fn spatter(picture: &mut Picture, level: Level, rng: &mut SampleRng) {
    let spatter = level.of(&SPATTER);
    let (mean, deviation, sigma) = spatter.noise;
    let mut values = vec![0.0; picture.height() * picture.width()];
    rng.fill_normal(&mut values);
    let noise = Plane { height: picture.height(), width: picture.width(), values };
    let smooth = gaussian(&noise.map(|v| mean + deviation * v), sigma, TRUNCATE, Border::Edge);
    let layer = smooth.map(|v| if v < spatter.threshold { 0.0 } else { v });
    match spatter.liquid {
        Water(light) => {
            let water = water(&layer, light);
            tint(picture, &water, TURQUOISE, |value, water, colour| value + water * colour);
        }
        Mud(sigma) => {
            let covered = layer.map(|v| f32::from(u8::from(v > spatter.threshold)));
            let mud = gaussian(&covered, sigma, TRUNCATE, Border::Edge).map(|v| if v < THIN_MUD { 0.0 } else { v });
            tint(picture, &mud, BROWN, |value, mud, colour| (1.0 - mud) * value + mud * colour);
        }
    }
}

/// Mixes a colour, or its brightness where there are none, into a picture.
fn tint(picture: &mut Picture, share: &Plane, colour: [f32; 3], mixed: impl Fn(f32, f32, f32) -> f32) {
    let grey = [luma(colour)];
    let colours = if picture.coloured() { &colour[..] } else { &grey[..] };
    for (plane, colour) in picture.planes.iter_mut().zip(colours.iter().cycle()) {
        for (value, share) in plane.values.iter_mut().zip(&share.values) {
            *value = mixed(*value, *share, *colour);
        }
    }
}

/// How light water is: by the distance from the drops' edges, in relief. There may be none at all.
fn water(layer: &Plane, light: f32) -> Plane {
    let bytes = layer.map(|v| (255.0 * v).floor().min(255.0));
    let distance = distance(&edges(&bytes), layer.height, layer.width).map(|v| v.min(FURTHEST));
    let relief = correlate(&equalised(&mean_of_nine(&distance).map(f32::floor)), &RELIEF, Border::Mirror);
    let relief = mean_of_nine(&relief.map(|v| v.clamp(0.0, 255.0))).map(f32::round_ties_even);
    let values = bytes.values.iter().zip(&relief.values).map(|(liquid, relief)| liquid * relief).collect();
    let water = Plane { values, ..relief };
    let most = water.max();
    water.map(|v| if most > 0.0 { light * v / most } else { 0.0 })
}

/// Distances beyond this do not count.
const FURTHEST: f32 = 20.0;

const fn tap(row: isize, column: isize, weight: f32) -> Tap {
    Tap { row, column, weight }
}

/// Light from one corner.
const RELIEF: [Tap; 7] = [
    tap(-1, -1, -2.0),
    tap(-1, 0, -1.0),
    tap(0, -1, -1.0),
    tap(0, 0, 1.0),
    tap(0, 1, 1.0),
    tap(1, 0, 1.0),
    tap(1, 1, 2.0),
];

/// A change of brightness below the first is no edge, above the second it is one, and between them where it continues one.
const EDGE: (f32, f32) = (50.0, 150.0);

/// The edges of a plane of bytes (Canny, 1986), with Sobel's operator and the sum of the changes in both directions.
fn edges(bytes: &Plane) -> Vec<bool> {
    const SOBEL: [Tap; 6] =
        [tap(-1, -1, -1.0), tap(0, -1, -2.0), tap(1, -1, -1.0), tap(-1, 1, 1.0), tap(0, 1, 2.0), tap(1, 1, 1.0)];
    let right = correlate(bytes, &SOBEL, Border::Edge);
    let down = correlate(bytes, &SOBEL.map(|t| tap(t.column, t.row, t.weight)), Border::Edge);
    let (height, width) = (bytes.height as isize, bytes.width as isize);
    let inside = |row: isize, column: isize| (0..height).contains(&row) && (0..width).contains(&column);
    let at = |row: isize, column: isize| (row * width + column).unsigned_abs();
    let change = |row: isize, column: isize| {
        if inside(row, column) { right.values[at(row, column)].abs() + down.values[at(row, column)].abs() } else { 0.0 }
    };
    let crest = |row: isize, column: isize| {
        let (x, y, here) = (right.values[at(row, column)], down.values[at(row, column)], change(row, column));
        // Steeper than a quarter of the way from one axis to the diagonal.
        let eighth = std::f32::consts::FRAC_PI_8.tan();
        if y.abs() < eighth * x.abs() {
            here > change(row, column - 1) && here >= change(row, column + 1)
        } else if y.abs() > (2.0 + eighth) * x.abs() {
            here > change(row - 1, column) && here >= change(row + 1, column)
        } else {
            let side = if (x < 0.0) == (y < 0.0) { 1 } else { -1 };
            here > change(row - 1, column - side) && here > change(row + 1, column + side)
        }
    };
    let cells = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
    let crests: Vec<bool> = cells.clone().map(|(r, c)| change(r, c) > EDGE.0 && crest(r, c)).collect();
    let mut edges = vec![false; crests.len()];
    let mut open: Vec<_> = cells.filter(|&(r, c)| crests[at(r, c)] && change(r, c) > EDGE.1).collect();
    while let Some((row, column)) = open.pop() {
        if std::mem::replace(&mut edges[at(row, column)], true) {
            continue;
        }
        let around = (-1..=1).flat_map(|down| (-1..=1).map(move |right| (row + down, column + right)));
        open.extend(around.filter(|&(r, c)| inside(r, c) && crests[at(r, c)] && !edges[at(r, c)]));
    }
    edges
}

/// How far each pixel is from an edge: over pixels whose sides, corners or knight's moves touch (Borgefors, 1986).
fn distance(edges: &[bool], height: usize, width: usize) -> Plane {
    const SIDE: f32 = 1.0;
    const CORNER: f32 = 1.4;
    const KNIGHT: f32 = 2.1969;
    // Half of the neighbours; the other half are opposite.
    const BEFORE: [(isize, isize, f32); 8] = [
        (-2, -1, KNIGHT),
        (-2, 1, KNIGHT),
        (-1, -2, KNIGHT),
        (-1, -1, CORNER),
        (-1, 0, SIDE),
        (-1, 1, CORNER),
        (-1, 2, KNIGHT),
        (0, -1, SIDE),
    ];
    let mut distance =
        Plane::from_fn(height, width, |row, column| if edges[row * width + column] { 0.0 } else { f32::INFINITY });
    let mut relax = |i: usize, sign: isize| {
        let (row, column) = ((i / width) as isize, (i % width) as isize);
        for (down, right, length) in BEFORE {
            let (r, c) = (row + sign * down, column + sign * right);
            if (0..height as isize).contains(&r) && (0..width as isize).contains(&c) {
                let there = distance.at(r.unsigned_abs(), c.unsigned_abs());
                distance.values[i] = distance.values[i].min(there + length);
            }
        }
    };
    (0..height * width).for_each(|i| relax(i, 1));
    (0..height * width).rev().for_each(|i| relax(i, -1));
    distance
}

/// Bytes, so spread that each is as frequent as any other; the smallest becomes 0. A single value stays.
fn equalised(bytes: &Plane) -> Plane {
    let mut frequency = [0_u32; 256];
    bytes.values.iter().for_each(|v| frequency[usize::from(*v as u8)] += 1);
    let smallest = frequency.iter().copied().find(|n| *n > 0).unwrap_or(0);
    let rest = bytes.values.len() as u32 - smallest;
    if rest == 0 {
        return bytes.clone();
    }
    let mut below = 0;
    let spread: Vec<f32> = frequency
        .iter()
        .map(|n| {
            below += n;
            (255.0 * f64::from(below.saturating_sub(smallest)) / f64::from(rest)).round_ties_even() as f32
        })
        .collect();
    bytes.map(|v| spread[usize::from(v as u8)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dark plane with a light square in it.
    fn square() -> Plane {
        Plane::from_fn(
            12,
            12,
            |row, column| if (4..8).contains(&row) && (4..8).contains(&column) { 200.0 } else { 0.0 },
        )
    }

    /// As OpenCV's `Canny(square, 50, 150)` draws them.
    #[test]
    fn the_edges_of_a_square_are_closed_and_one_pixel_wide() {
        let edges = edges(&square());
        let drawn: Vec<String> =
            edges.chunks(12).map(|row| row.iter().map(|e| if *e { '#' } else { '.' }).collect()).collect();
        assert_eq!(
            drawn,
            [
                "............",
                "............",
                "............",
                ".....##.....",
                "....#..#....",
                "...#...#....",
                "...#...#....",
                "....####....",
                "............",
                "............",
                "............",
                "............"
            ]
        );
    }

    #[test]
    fn distances_are_those_over_sides_corners_and_knights_moves() {
        let mut edges = vec![false; 49];
        edges[24] = true;
        let distance = distance(&edges, 7, 7);
        assert_eq!(distance.row(3), [3.0, 2.0, 1.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!(distance.row(2), [1.0 + 2.1969, 2.1969, 1.4, 1.0, 1.4, 2.1969, 1.0 + 2.1969]);
        assert!((distance.at(0, 0) - 4.2).abs() < 1e-5);
        assert!(super::distance(&[false; 4], 2, 2).values.iter().all(|v| v.is_infinite()));
    }

    #[test]
    fn equalised_bytes_are_spread_over_the_range() {
        let plane = |values: &[f32]| Plane { height: 1, width: values.len(), values: values.to_vec() };
        assert_eq!(equalised(&plane(&[3.0, 3.0, 5.0, 7.0, 7.0])).values, [0.0, 0.0, 85.0, 255.0, 255.0]);
        assert_eq!(equalised(&plane(&[9.0, 9.0])).values, [9.0, 9.0]);
    }

    #[test]
    fn a_dry_lens_stays_clear() {
        let dry = water(&Plane::from_fn(5, 5, |_, _| 0.0), 0.5);
        assert!(dry.values.iter().all(|v| *v == 0.0));
    }
}
