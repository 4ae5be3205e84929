//! Common corruptions against numbers of another implementation, and what must hold of each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;

use assay_attack::{Attack, Bounds, Cancel, Constants, Corruption, CorruptionKind, Norm, Outcome, run};
use common::{Net, Samples, proposals, threat};
use ndarray::{Array2, ArrayView1};

fn unit() -> Bounds {
    Bounds::new(0.0, 1.0).unwrap()
}

/// What `attack` makes of images of one shape.
fn corrupted(attack: Corruption, shape: &[usize], images: &Array2<f32>) -> Array2<f32> {
    let [points] = <[_; 1]>::try_from(proposals(&attack, shape, images, unit(), 7)).unwrap();
    points
}

fn kind(name: &str) -> CorruptionKind {
    CorruptionKind::ALL.into_iter().find(|kind| kind.name() == name).unwrap()
}

/// Waves and dots of 8 bits: the picture of `corruptions/reference.py`, `[3, height, width]`.
fn picture(height: usize, width: usize) -> Vec<f32> {
    let value = |i: usize| {
        let (channel, row, column) = (i / (height * width), i / width % height, i % width);
        let waves = 0.35 * (0.45 * row as f64 + 0.3 * channel as f64).sin() * (0.37 * column as f64).cos();
        let dots = ((7 * row + 13 * column + 5 * channel) % 11) as f64 / 10.0;
        ((255.0 * (0.425 + waves + 0.15 * dots) + 0.5).floor() / 255.0) as f32
    };
    (0..3 * height * width).map(value).collect()
}

/// `n` times the same picture.
fn copies(picture: &[f32], n: usize) -> Array2<f32> {
    Array2::from_shape_fn((n, picture.len()), |(_, i)| picture[i])
}

/// Mean change, and mean size of the change, in units of 1/255.
fn change(x: &[f32], point: &ArrayView1<'_, f32>) -> (f64, f64) {
    let changes = || x.iter().zip(point).map(|(x, p)| 255.0 * (f64::from(*p) - f64::from(*x)));
    let n = x.len() as f64;
    (changes().sum::<f64>() / n, changes().map(f64::abs).sum::<f64>() / n)
}

const SIDE: usize = 64;
const PLACES: [(usize, usize, usize); 4] = [(0, 0, 0), (1, 20, 33), (2, 63, 40), (0, 31, 63)];
const REFERENCE: &str = include_str!("corruptions/reference.txt");

/// Rows of the reference of one sort: kind, severity, numbers.
fn reference(sort: &str) -> impl Iterator<Item = (CorruptionKind, u32, Vec<f64>)> {
    let rows = REFERENCE.lines().filter_map(move |line| line.strip_prefix(sort));
    rows.map(|row| {
        let mut words = row.split_whitespace();
        let (kind, severity) = (kind(words.next().unwrap()), words.next().unwrap().parse().unwrap());
        (kind, severity, words.map(|word| word.parse().unwrap()).collect())
    })
}

#[test]
fn corruptions_without_chance_are_those_of_the_reference() {
    let (shape, x) = ([3, SIDE, SIDE], picture(SIDE, SIDE));
    let mut compared = 0;
    for (kind, severity, expected) in reference("exact ") {
        let attack = Corruption { kind, severity, constants: Constants::Imagenet };
        let points = corrupted(attack, &shape, &copies(&x, 1));
        // There, pixels are bytes in between; two JPEG codecs round differently.
        let (tolerance, on_average) = match kind {
            CorruptionKind::Pixelate => (1.01, 0.5),
            CorruptionKind::JpegCompression => (30.0, 0.2),
            _ => (0.02, 0.002),
        };
        for ((channel, row, column), expected) in PLACES.into_iter().zip(&expected) {
            let value = 255.0 * f64::from(points[[0, (channel * SIDE + row) * SIDE + column]]);
            assert!((value - expected).abs() < tolerance, "{} {severity}: {value} {expected}", kind.name());
        }
        let (_, size) = change(&x, &points.row(0));
        assert!((size - expected[4]).abs() < on_average, "{} {severity}: {size} {}", kind.name(), expected[4]);
        compared += 1;
    }
    assert_eq!(compared, 35);
}

/// Mean change, and its mean size, over many pictures are within five standard errors of the reference's.
#[test]
fn corruptions_by_chance_change_as_much_as_those_of_the_reference() {
    const PICTURES: usize = 48;
    const OF_REFERENCE: f64 = 400.0;
    let (shape, x) = ([3, SIDE, SIDE], picture(SIDE, SIDE));
    let mut compared = 0;
    for (kind, severity, expected) in reference("random ") {
        let attack = Corruption { kind, severity, constants: Constants::Imagenet };
        let points = corrupted(attack, &shape, &copies(&x, PICTURES));
        let changes: Vec<_> = points.rows().into_iter().map(|point| change(&x, &point)).collect();
        let average = |of: fn(&(f64, f64)) -> f64| changes.iter().map(of).sum::<f64>() / PICTURES as f64;
        for (what, found, (expected, deviation)) in [
            ("change", average(|c| c.0), (expected[0], expected[1])),
            ("size", average(|c| c.1), (expected[2], expected[3])),
        ] {
            let error = deviation * (1.0 / PICTURES as f64 + 1.0 / OF_REFERENCE).sqrt();
            assert!(
                (found - expected).abs() < 5.0 * error + 0.01,
                "{} {severity}: mean {what} {found:.3}, there {expected} +- {error:.3}",
                kind.name()
            );
        }
        compared += 1;
    }
    assert_eq!(compared, 45);
}

/// Kinds whose published constants do not make each severity change more than the one before.
const UNEVEN: [(Constants, &[&str]); 3] = [
    (Constants::Cifar, &["glass_blur", "frost", "elastic_transform", "spatter", "saturate"]),
    (Constants::TinyImagenet, &["glass_blur", "frost", "elastic_transform", "spatter"]),
    (Constants::Imagenet, &["glass_blur", "snow", "frost", "fog", "elastic_transform"]),
];

#[test]
fn severities_rise_where_their_constants_do() {
    let (shape, x) = ([3, 48, 56], picture(48, 56));
    let images = copies(&x, 6);
    for (constants, uneven) in UNEVEN {
        let mut falling = Vec::new();
        for kind in CorruptionKind::ALL {
            let sizes = [1, 2, 3, 4, 5].map(|severity| {
                let points = corrupted(Corruption { kind, severity, constants }, &shape, &images);
                points.rows().into_iter().map(|point| change(&x, &point).1).sum::<f64>() / 6.0
            });
            println!("{} {}: {sizes:.1?}", constants.name(), kind.name());
            assert!(sizes.iter().all(|size| *size > 0.5), "{} {sizes:?}", kind.name());
            falling.extend((!sizes.is_sorted()).then(|| kind.name()));
        }
        assert_eq!(falling, uneven, "{}", constants.name());
    }
}

/// Kinds that draw nothing.
const CERTAIN: [&str; 8] = [
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
];

#[test]
fn seed_and_sample_are_all_that_chance_depends_on() {
    let (shape, x) = ([3, 12, 17], picture(12, 17));
    let images = copies(&x, 2);
    let mut different = BTreeSet::new();
    for kind in CorruptionKind::ALL {
        let attack = Corruption { kind, severity: 5, ..Corruption::default() };
        let points = |seed| proposals(&attack, &shape, &images, unit(), seed);
        let first = points(7);
        assert_eq!(first, points(7), "{}", kind.name());
        let certain = CERTAIN.contains(&kind.name());
        assert_eq!(first == points(8), certain, "{}", kind.name());
        assert_eq!(first[0].row(0) == first[0].row(1), certain, "{}", kind.name());
        different.insert(first[0].row(0).iter().map(|v| v.to_bits()).collect::<Vec<_>>());
    }
    assert_eq!(different.len(), CorruptionKind::ALL.len());
}

#[test]
fn layout_and_range_of_the_samples_change_nothing_else() {
    let (height, width) = (14, 19);
    let x = picture(height, width);
    let last = |x: &[f32]| -> Vec<f32> { (0..x.len()).map(|i| x[i % 3 * height * width + i / 3]).collect() };
    let wide = Bounds::new(-2.0, 6.0).unwrap();
    for kind in CorruptionKind::ALL {
        let attack = Corruption { kind, severity: 4, ..Corruption::default() };
        let first = corrupted(attack, &[3, height, width], &copies(&x, 1));
        let moved = corrupted(attack, &[height, width, 3], &copies(&last(&x), 1));
        assert_eq!(moved.row(0).to_vec(), last(&first.row(0).to_vec()), "{}", kind.name());
        let stretched: Vec<f32> = x.iter().map(|v| 8.0 * v - 2.0).collect();
        let points = proposals(&attack, &[3, height, width], &copies(&stretched, 1), wide, 7);
        let same = points[0].iter().zip(&first).filter(|(wide, unit)| ((*wide + 2.0) / 8.0 - **unit).abs() < 1e-4);
        // Bytes, and a random choice by a threshold, may differ by a rounding.
        assert!(same.count() * 100 >= 97 * first.len(), "{}", kind.name());
    }
}

#[test]
fn pictures_of_any_size_and_number_of_channels_stay_pictures() {
    let shapes: [&[usize]; 9] =
        [&[1, 1], &[1, 1, 1], &[1, 7], &[9, 1, 3], &[3, 1, 2], &[2, 3, 5], &[5, 8, 8], &[1, 28, 28], &[3, 5, 70]];
    for shape in shapes {
        let features: usize = shape.iter().product();
        let images = Array2::from_shape_fn((3, features), |(i, j)| [0.0, 1.0, (j % 7) as f32 / 6.0][i]);
        for kind in CorruptionKind::ALL {
            for severity in [1, 3, 4, 5] {
                for constants in [Constants::Cifar, Constants::Imagenet] {
                    let points = corrupted(Corruption { kind, severity, constants }, shape, &images);
                    assert!(points.iter().all(|v| (0.0..=1.0).contains(v)), "{} {severity} {shape:?}", kind.name());
                }
            }
        }
    }
}

#[test]
fn nothing_saturates_grey_pictures() {
    let grey = Array2::from_shape_fn((2, 64), |(i, j)| ((i + j) % 9) as f32 / 8.0);
    let attack = Corruption { kind: CorruptionKind::Saturate, severity: 5, ..Corruption::default() };
    assert_eq!(corrupted(attack, &[1, 8, 8], &grey), grey);
    assert_eq!(corrupted(attack, &[8, 8], &grey), grey);
}

/// The mean decides between two classes, and brightness moves it by what the severity says.
#[test]
fn a_sample_is_broken_where_the_formula_says_so() {
    const THRESHOLD: f64 = 0.5;
    let weights = Array2::from_shape_fn((2, 12), |(class, _)| if class == 1 { 1.0 / 12.0 } else { 0.0 });
    let net = Net::linear(&[1, 3, 4], weights, vec![THRESHOLD, 0.0]);
    let samples = Samples::labelled(&net, Array2::from_shape_fn((40, 12), |(i, _)| i as f32 / 39.0));
    for (severity, more) in (1..).zip([0.05, 0.1, 0.15, 0.2, 0.3]) {
        let attack = Corruption { kind: CorruptionKind::Brightness, severity, constants: Constants::Cifar };
        let attacked = samples.attack(&net, &attack, &threat(Norm::L2, "inf"));
        for (i, outcome) in attacked.outcomes.iter().enumerate() {
            let mean = i as f64 / 39.0;
            let breaks = mean < THRESHOLD && mean + more > THRESHOLD;
            assert_eq!(outcome.outcome == Outcome::Broken, breaks, "{severity} {mean}");
            assert_eq!(outcome.cost.queries, if breaks { 4 } else { 2 }, "clean, once, and each find twice more");
            if breaks {
                assert!((outcome.distance.linf - more).abs() < 1e-6);
            }
        }
        // Within a radius, what lies beyond it is no find.
        let near = samples.attack(&net, &attack, &threat(Norm::Linf, "0.12"));
        assert_eq!(near.count(Outcome::Broken) > 0, more < 0.12);
        assert_eq!(near.count(Outcome::Error), 0);
    }
}

#[test]
fn samples_that_are_no_pictures_are_refused() {
    let net = Net::random_linear(&[12], 2, 1);
    let samples = Samples::random(&net, 2, 1);
    let threat = threat(Norm::L2, "inf");
    let attack = Corruption::default();
    let error = run(&samples.job(&net, &attack as &dyn Attack, &threat), &mut |_| {}, &Cancel::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "attack \"corruption\": it changes pictures, but the model takes samples of shape [12]: expected [channels, height, \
         width], [height, width, channels] or [height, width]"
    );
}
