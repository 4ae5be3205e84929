//! Attacks that ask for logits, or for the predicted class, against nets whose robust samples are known in closed form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::sync::Mutex;

use assay_attack::{Attack, Basis, Nes, Norm, OnePixel, Optimizer, Outcome, Pixle, Simba, Spsa, Square};
use common::{Altered, Net, Samples, exact_margin, threat};
use ndarray::Array2;

const RADII: [(Norm, [&str; 3]); 2] = [(Norm::Linf, ["0.01", "8/255", "0.2"]), (Norm::L2, ["0.05", "0.3", "1"])];

/// Samples that can be broken, and how many of them an attack breaks: none that cannot be, and none from outside the threat.
#[track_caller]
fn breaks(attack: &dyn Attack, classes: usize, norm: Norm, radii: &[&str]) -> (usize, usize) {
    let (mut breakable, mut broken, mut robust) = (0, 0, 0);
    for (shape, seed) in [&[8][..], &[3, 5, 4], &[7, 9, 1]].into_iter().zip(1..) {
        let net = Net::random_linear(shape, classes, seed);
        let samples = Samples::random(&net, 40, seed);
        for eps in radii {
            let threat = threat(norm, eps);
            let attacked = samples.attack(&net, attack, &threat);
            for (i, outcome) in attacked.outcomes.iter().enumerate() {
                let (x, point) = (samples.images.row(i), attacked.adversarial.row(i));
                let margin = exact_margin(&net, &threat, x, samples.labels[i]);
                assert!(threat.allows(x.as_slice().unwrap(), point.as_slice().unwrap()));
                assert!(outcome.cost.queries <= attack.evaluations() + 3 && outcome.cost.gradients == 0);
                match outcome.outcome {
                    Outcome::Broken => assert!(margin > -1e-4, "sample {i} is broken, its exact margin is {margin}"),
                    Outcome::Robust => robust += usize::from(margin < -1e-4),
                    other => panic!("sample {i} is {other:?}"),
                }
                if margin > 1e-4 {
                    breakable += 1;
                    broken += usize::from(outcome.outcome == Outcome::Broken);
                }
            }
        }
    }
    assert!(breakable > 50 && robust > 50, "{breakable} {robust}: too few of one kind to mean much");
    (breakable, broken)
}

#[test]
fn estimated_gradients_break_nearly_what_can_be_broken() {
    let spsa = Spsa { queries: 2_000, ..Spsa::default() };
    let steepest = Spsa { optimizer: Optimizer::Steepest, ..spsa };
    let nes = Nes { queries: 2_000, ..Nes::default() };
    for (norm, radii) in RADII {
        for attack in [&spsa as &dyn Attack, &steepest, &nes] {
            let (breakable, broken) = breaks(attack, 2, norm, &radii);
            println!("{attack:?} {norm}: {broken} of {breakable}");
            assert!(broken * 100 >= breakable * 96, "{attack:?} {norm}: {broken} of {breakable}");
        }
    }
}

/// In the maximum norm one step in each element reaches the best corner. Elsewhere steps that are kept early leave too little of the radius for better ones.
#[test]
fn simba_is_exact_in_the_maximum_norm() {
    let [pixel, dct] =
        [Basis::Pixel, Basis::Dct].map(|basis| Simba { queries: 2_000, basis, frequencies: 1.0, ..Simba::default() });
    for (norm, radii) in RADII {
        for (attack, percent) in [(&pixel, if norm == Norm::Linf { 100 } else { 85 }), (&dct, 85)] {
            let (breakable, broken) = breaks(attack, 2, norm, &radii);
            println!("{attack:?} {norm}: {broken} of {breakable}");
            assert!(broken * 100 >= breakable * percent, "{attack:?} {norm}: {broken} of {breakable}");
        }
    }
}

/// All points of an attack on one sample in the middle of its range, its clean prediction first.
fn asked(attack: &dyn Attack, features: usize, norm: Norm, eps: &str) -> Vec<Vec<f32>> {
    let net = Net::linear(&[features], Array2::zeros((2, features)), vec![1.0, 0.0]);
    let samples = Samples::labelled(&net, Array2::from_elem((1, features), 0.5));
    let rows = Mutex::new(Vec::new());
    let mut recording = Altered::new(&net);
    recording.logits = Box::new(|x, z| {
        rows.lock().unwrap().extend(x.rows().into_iter().map(|x| x.to_vec()));
        Ok(z)
    });
    samples.attack(&recording, attack, &threat(norm, eps));
    drop(recording);
    rows.into_inner().unwrap()
}

#[test]
fn estimates_ask_for_pairs_on_either_side_of_the_point() {
    let spsa = Spsa { queries: 11, pairs: 5, delta: 0.01, ..Spsa::default() };
    let nes = Nes { queries: 11, pairs: 5, sigma: 0.01, ..Nes::default() };
    // Signs have a fourth moment of 1, normal deviates of 3.
    for (attack, fourth) in [(&spsa as &dyn Attack, 0.95..1.01), (&nes, 2.0..4.5)] {
        let rows = asked(attack, 400, Norm::Linf, "0.4");
        assert_eq!(rows.len(), 12);
        let centre = &rows[1];
        for pair in rows[2..].chunks(2) {
            let offsets: Vec<f32> = pair[0].iter().zip(centre).map(|(p, c)| p - c).collect();
            let inside = |c: f32| (0.15..0.85).contains(&c);
            let elements = offsets.iter().zip(&pair[1]).zip(centre).filter(|(_, c)| inside(**c));
            for ((offset, other), c) in elements {
                assert!((other - (c - offset)).abs() < 1e-6, "{offset} and {} are not opposite", other - c);
            }
            let moment = |k: i32| offsets.iter().map(|o| f64::from(*o / 0.01).powi(k)).sum::<f64>() / 400.0;
            assert!((0.8..1.2).contains(&moment(2)) && fourth.contains(&moment(4)), "{} {}", moment(2), moment(4));
        }
    }
}

/// No point is better than the first one here, and half of the squares, of one element each, have the colour that is there.
#[test]
fn square_does_not_ask_about_a_point_again() {
    let rows = asked(&Square { queries: 200, ..Square::default() }, 36, Norm::Linf, "0.1");
    let (start, tried) = rows[1..].split_first().unwrap();
    assert!(tried.iter().all(|point| point != start));
    assert!((70..130).contains(&tried.len()), "{}", tried.len());
}

/// Whether `pixels` pixels at the ends of the range make a linear net of two classes misclassify: those that gain most.
fn pixels_suffice(net: &Net, shape: [usize; 3], x: &ndarray::ArrayView1<'_, f32>, label: usize, pixels: usize) -> bool {
    let z = net.row(*x);
    let area = shape[1] * shape[2];
    let mut gains = vec![0.0; area];
    for (i, x) in x.iter().enumerate() {
        let slope = net.weights[[1 - label, i]] - net.weights[[label, i]];
        gains[i % area] += slope * (if slope > 0.0 { 1.0 } else { 0.0 } - f64::from(*x));
    }
    gains.sort_by(|a, b| b.total_cmp(a));
    z[1 - label] - z[label] + gains[..pixels].iter().sum::<f64>() > 1e-4
}

#[test]
fn one_pixel_finds_the_pixels_that_gain_most() {
    for (shape, seed) in [([1, 6, 4], 1), ([3, 5, 4], 2)] {
        let net = Net::random_linear(&shape, 2, seed);
        let samples = Samples::random(&net, 40, seed);
        for pixels in [1, 3] {
            let attack = OnePixel { pixels, population: 60, generations: 60 };
            let attacked = samples.attack(&net, &attack, &threat(Norm::L0, "inf"));
            let (mut breakable, mut broken) = (0, 0);
            for (outcome, x) in attacked.outcomes.iter().zip(samples.images.rows()) {
                let suffice = pixels_suffice(&net, shape, &x, outcome.label.index(), pixels as usize);
                let found = outcome.outcome == Outcome::Broken;
                assert!(suffice || !found, "broken by fewer pixels than that takes");
                assert!(outcome.distance.l0 <= u64::from(pixels) * shape[0] as u64);
                breakable += usize::from(suffice);
                broken += usize::from(found);
            }
            println!("{shape:?}, {pixels} pixels: {broken} of {breakable}");
            assert!(breakable > 20 && broken * 20 >= breakable * 19, "{shape:?}, {pixels}: {broken} of {breakable}");
        }
    }
}

/// Eps counts elements: 7 of them are two pixels of three channels, and 2 are none.
#[test]
fn no_more_pixels_are_changed_than_eps_allows() {
    for shape in [[3, 5, 4], [5, 6, 3]] {
        let net = Net::random_linear(&shape, 3, 3);
        let samples = Samples::random(&net, 30, 3);
        let one_pixel = OnePixel { pixels: 5, population: 20, generations: 10 };
        let pixle = Pixle { queries: 300, ..Pixle::default() };
        for attack in [&one_pixel as &dyn Attack, &pixle] {
            let attacked = samples.attack(&net, attack, &threat(Norm::L0, "7"));
            assert!(attacked.count(Outcome::Broken) > 3, "{attack:?}");
            assert_eq!(attacked.count(Outcome::Error), 0);
            assert!(attacked.outcomes.iter().all(|o| o.distance.l0 <= 6), "{attack:?}");
            assert!(attacked.outcomes.iter().any(|o| o.distance.l0 > 3), "{attack:?}");
            let none = samples.attack(&net, attack, &threat(Norm::L0, "2"));
            assert_eq!((none.count(Outcome::Robust), none.cost.queries), (30, 30), "{attack:?}");
        }
    }
}

/// What it finds consists of pixels of the picture, all channels together; with every round the margin falls or stays.
#[test]
fn pixle_moves_pixels_and_keeps_the_best() {
    let shape = [3, 6, 5];
    let net = Net::random_linear(&shape, 4, 6);
    let samples = Samples::random(&net, 40, 6);
    let [few, many] = [20, 400].map(|queries| {
        let pixle = Pixle { queries, ..Pixle::default() };
        let attacked = samples.attack(&net, &pixle, &threat(Norm::L0, "3"));
        for (i, outcome) in attacked.outcomes.iter().enumerate().filter(|(_, o)| o.outcome == Outcome::Broken) {
            let (x, point) = (samples.images.row(i), attacked.adversarial.row(i));
            let pixel = |row: &ndarray::ArrayView1<'_, f32>, at: usize| [0, 30, 60].map(|channel| row[channel + at]);
            assert!((0..30).all(|to| (0..30).any(|from| pixel(&point, to) == pixel(&x, from))), "sample {i}");
            assert!(outcome.distance.l0 <= 3);
        }
        attacked.count(Outcome::Broken)
    });
    assert!(few < 27 && many > 27, "{few} {many}");
}
