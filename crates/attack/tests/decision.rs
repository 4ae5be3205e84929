//! Attacks that ask for the predicted class only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use assay_attack::{Attack, Attacked, Boundary, Distribution, GeoDa, HopSkipJump, Keep, Noise, Norm, Outcome};
use common::{Altered, Net, Samples, exact_distance, threat};
use ndarray::Array2;

/// A model that tells the predicted class and nothing else: one logit is 1, the others are 0.
fn tells_the_class(net: &Net) -> Altered<'_> {
    let mut altered = Altered::new(net);
    altered.logits = Box::new(|_, z| {
        let mut told = Array2::zeros(z.dim());
        for (i, z) in z.rows().into_iter().enumerate() {
            told[[i, assay_attack::predicted(&z).unwrap().index()]] = 1.0;
        }
        Ok(told)
    });
    altered
}

fn told(attacked: &Attacked) -> (String, Vec<u32>) {
    (serde_json::to_string(&attacked.outcomes).unwrap(), attacked.adversarial.iter().map(|v| v.to_bits()).collect())
}

#[test]
fn the_class_is_all_they_use() {
    let net = Net::random_linear(&[3, 5, 4], 4, 5);
    let samples = Samples::random(&net, 40, 5);
    let hopskipjump = HopSkipJump { queries: 600, ..HopSkipJump::default() };
    let boundary = Boundary { queries: 600, ..Boundary::default() };
    let geoda = GeoDa { queries: 600, ..GeoDa::default() };
    let noise = Noise::default();
    let uniform = Noise { distribution: Distribution::Uniform, ..noise };
    for norm in [Norm::Linf, Norm::L2] {
        for attack in [&hopskipjump as &dyn Attack, &boundary, &geoda, &noise, &uniform] {
            if attack.description().norms.contains(&norm) {
                let threat = threat(norm, if norm == Norm::Linf { "0.05" } else { "0.3" });
                let [logits, class] = [&net as &dyn assay_runtime::Classifier, &tells_the_class(&net)]
                    .map(|classifier| samples.attack(classifier, attack, &threat));
                assert!(
                    (2..38).contains(&logits.count(Outcome::Broken)),
                    "{attack:?} {norm}: {}",
                    logits.count(Outcome::Broken)
                );
                assert_eq!(told(&logits), told(&class), "{attack:?} {norm}");
            }
        }
    }
}

/// Mean of how many times as far as the nearest adversarial point what was found lies.
#[track_caller]
fn excess(attack: &dyn Attack, norm: Norm, classes: usize) -> f64 {
    let mut ratios = Vec::new();
    for (shape, seed) in [(&[3, 5, 7][..], 1), (&[40], 2), (&[6, 4, 1], 3)] {
        let net = Net::random_linear(shape, classes, seed);
        let samples = Samples::random(&net, 12, seed);
        let attacked = samples.attack(&net, attack, &threat(norm, "inf"));
        for (outcome, x) in attacked.outcomes.iter().zip(samples.images.rows()) {
            assert_eq!(outcome.outcome, Outcome::Broken);
            assert!(outcome.cost.queries <= attack.evaluations() + 3);
            let ratio = outcome.distance.of(norm) / exact_distance(&net, norm, x, outcome.label);
            assert!(ratio > 0.999, "nearer than possible");
            ratios.push(ratio);
        }
    }
    ratios.iter().sum::<f64>() / ratios.len() as f64
}

#[test]
fn they_come_near_the_closed_form() {
    let hopskipjump = HopSkipJump { queries: 3_000, ..HopSkipJump::default() };
    let boundary = Boundary { queries: 3_000, ..Boundary::default() };
    // Weights are noise, of which low frequencies are only a part.
    let geoda = GeoDa { queries: 3_000, frequencies: 1.0, ..GeoDa::default() };
    for classes in [2, 4] {
        for norm in [Norm::Linf, Norm::L2] {
            for attack in [&hopskipjump as &dyn Attack, &boundary, &geoda] {
                if attack.description().norms.contains(&norm) {
                    let excess = excess(attack, norm, classes);
                    println!("{attack:?} {norm} {classes}: {excess:.3}");
                    assert!(excess < 1.1, "{attack:?} {norm} {classes}: {excess:.3} times the distance");
                }
            }
        }
    }
}

/// Weights of low frequencies, as those of models of pictures are: few waves show the normal.
#[test]
fn geoda_needs_fewer_queries_where_frequencies_are_low() {
    let shape = [1, 16, 16];
    let mut net = Net::random_linear(&shape, 2, 1);
    for (class, mut weights) in net.weights.rows_mut().into_iter().enumerate() {
        for (i, weight) in weights.iter_mut().enumerate() {
            let (row, column) = ((i / 16) as f64 / 16.0, (i % 16) as f64 / 16.0);
            *weight = (class as f64 + 3.0 * row).sin() - (2.0 * column + class as f64).cos();
        }
    }
    net.bias = net.weights.rows().into_iter().map(|w| -0.5 * w.sum()).collect();
    let samples = Samples::random(&net, 12, 1);
    let [low, all] = [0.3, 1.0].map(|frequencies| {
        let geoda = GeoDa { queries: 600, frequencies, ..GeoDa::default() };
        let attacked = samples.attack(&net, &geoda, &threat(Norm::L2, "inf"));
        let rows = attacked.outcomes.iter().zip(samples.images.rows());
        rows.map(|(o, x)| o.distance.l2 / exact_distance(&net, Norm::L2, x, o.label)).sum::<f64>() / 12.0
    });
    println!("{low:.3} times the distance, {all:.3} in all frequencies");
    assert!(low < 1.2 && all > 1.5, "{low} {all}");
}

#[test]
fn the_first_find_ends_the_walk_where_that_is_asked_for() {
    let net = Net::random_linear(&[3, 5, 4], 4, 5);
    let samples = Samples::random(&net, 30, 5);
    let threat = threat(Norm::L2, "0.3");
    let pairs: [[Box<dyn Attack>; 2]; 3] = [
        [Keep::First, Keep::Nearest]
            .map(|keep| -> Box<dyn Attack> { Box::new(HopSkipJump { queries: 800, keep, ..HopSkipJump::default() }) }),
        [Keep::First, Keep::Nearest]
            .map(|keep| -> Box<dyn Attack> { Box::new(Boundary { queries: 800, keep, ..Boundary::default() }) }),
        [Keep::First, Keep::Nearest]
            .map(|keep| -> Box<dyn Attack> { Box::new(GeoDa { queries: 800, keep, ..GeoDa::default() }) }),
    ];
    for attacks in pairs {
        let [first, nearest] = attacks.map(|attack| samples.attack(&net, &*attack, &threat));
        let mut fewer = 0;
        for (first, nearest) in first.outcomes.iter().zip(&nearest.outcomes) {
            assert_eq!(first.outcome, nearest.outcome);
            assert!(first.distance.l2 >= nearest.distance.l2 && first.cost.queries <= nearest.cost.queries);
            fewer += u64::from(first.cost.queries < nearest.cost.queries);
        }
        assert!((3..30).contains(&fewer), "{fewer}");
    }
}

/// No picture is misclassified: the walk has nowhere to begin.
#[test]
fn a_sample_without_a_starting_point_is_left() {
    let net = Net::linear(&[3, 5, 4], Array2::zeros((3, 60)), vec![1.0, 0.0, 0.0]);
    let samples = Samples::random(&net, 5, 1);
    for attack in [&HopSkipJump::default() as &dyn Attack, &Boundary::default(), &GeoDa::default()] {
        let attacked = samples.attack(&net, attack, &threat(Norm::L2, "inf"));
        assert_eq!((attacked.count(Outcome::Robust), attacked.stopped), (5, None));
        assert!(attacked.outcomes.iter().all(|o| (10..100).contains(&o.cost.queries)), "{:?}", attacked.cost);
    }
}

/// Far from the ends of the range, every perturbation is as long as it may be, and its elements are distributed as was asked for.
#[test]
fn noise_has_the_length_of_eps() {
    let net = Net::linear(&[400], Array2::zeros((2, 400)), vec![1.0, 0.0]);
    let samples = Samples::labelled(&net, Array2::from_elem((1, 400), 0.5));
    for (norm, eps, length) in [(Norm::Linf, "0.25", 0.25), (Norm::L2, "1", 1.0), (Norm::L1, "8", 8.0)] {
        for (distribution, kurtosis) in [(Distribution::Gaussian, 2.2..4.5), (Distribution::Uniform, 1.6..2.0)] {
            let rows = std::sync::Mutex::new(Vec::new());
            let mut recording = Altered::new(&net);
            recording.logits = Box::new(|x, z| {
                rows.lock().unwrap().push(x.row(0).mapv(|v| f64::from(v) - 0.5));
                Ok(z)
            });
            let threat = threat(norm, eps);
            samples.attack(&recording, &Noise { queries: 5, distribution }, &threat);
            let rows = rows.lock().unwrap();
            // The clean prediction, and five perturbations, all different.
            assert!(rows.len() == 6 && rows.windows(2).all(|pair| pair[0] != pair[1]));
            for row in &rows[1..] {
                let found = match norm {
                    Norm::Linf => row.iter().fold(0.0_f64, |a, v| a.max(v.abs())),
                    Norm::L2 => row.mapv(|v| v * v).sum().sqrt(),
                    _ => row.mapv(f64::abs).sum(),
                };
                assert!(found <= length && found > 0.9999 * length, "{norm} {distribution:?}: {found}");
                let moment = |k: i32| row.mapv(|v| v.powi(k)).mean().unwrap();
                assert!(kurtosis.contains(&(moment(4) / moment(2).powi(2))), "{norm} {distribution:?}");
                assert!(row.iter().filter(|v| **v > 0.0).count() > 150);
            }
        }
    }
}
