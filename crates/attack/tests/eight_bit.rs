//! Where only images of 8 bits count, what is found is one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value, missing_docs)]

mod common;

use assay_attack::{Attack, Attacked, Bounds, Cancel, Job, Norm, Outcome, Threat, parse, run};
use common::{Net, Samples};
use ndarray::{ArrayView1, aview1};

/// A linear model whose boundaries are near the middle of the range, wherever that is.
fn net(low: f32, high: f32) -> Net {
    let unit = Net::random_linear(&[2, 3, 5], 4, 5);
    let (scale, middle) = (f64::from(high - low), f64::from(low.midpoint(high)));
    let weights = unit.weights / scale;
    let bias = weights.rows().into_iter().map(|w| -middle * w.sum()).collect();
    Net::linear(&[2, 3, 5], weights, bias)
}

/// Its class of a point, and by how much another one can be made to exceed it within `eps` in the maximum norm and [0, 1].
fn class(net: &Net, x: &[f32]) -> usize {
    let z = net.row(aview1(x));
    (0..z.len()).fold(0, |best, i| if z[i] as f32 > z[best] as f32 { i } else { best })
}

fn reach(net: &Net, x: &[f32], eps: f64) -> f64 {
    let (z, label) = (net.row(aview1(x)), class(net, x));
    let gain = |k: usize| -> f64 {
        let room = |v: f64, x: f64| if v > 0.0 { eps.min(1.0 - x) } else { -eps.min(x) };
        let v = |i: usize| net.weights[[k, i]] - net.weights[[label, i]];
        x.iter().enumerate().map(|(i, x)| v(i) * room(v(i), f64::from(*x))).sum()
    };
    (0..z.len()).filter(|k| *k != label).map(|k| z[k] - z[label] + gain(k)).fold(f64::NEG_INFINITY, f64::max)
}

/// Random images of 8 bits in [`low`, `high`], as a tensor of bytes is read.
fn images(net: &Net, n: usize, low: f32, high: f32) -> Samples {
    let bytes = Samples::random(net, n, 3).images.mapv(|v| (v * 255.0).round());
    Samples::labelled(net, bytes.mapv(|byte| low + (high - low) * byte / 255.0))
}

fn attacked(net: &Net, samples: &Samples, attack: &dyn Attack, threat: &Threat, eight_bit: bool) -> Attacked {
    let job = Job { eight_bit, ..samples.job(net, attack, threat) };
    run(&job, &mut |_| {}, &Cancel::default()).unwrap()
}

fn threat(norm: Norm, eps: &str, low: f32, high: f32) -> Threat {
    Threat { norm, eps: eps.parse().unwrap(), bounds: Bounds::new(low, high).unwrap() }
}

/// What is left of a point when it is written to an image and read again.
fn decoded(point: ArrayView1<'_, f32>, low: f32, high: f32) -> Vec<f32> {
    let byte = |v: &f32| (255.0 * (v - low) / (high - low)).round();
    point.iter().map(|v| (low + (high - low) * byte(v) / 255.0).clamp(low, high)).collect()
}

#[test]
fn what_is_found_is_an_image_and_misleads_as_one() {
    for (norm, eps, names) in [
        (Norm::Linf, "0.03", &["pgd", "apgd", "square", "fmn", "deepfool", "mi-fgsm", "spsa"][..]),
        (Norm::L2, "0.3", &["pgd", "apgd", "square", "ddn", "hopskipjump", "fab-t", "cw"]),
        (Norm::L1, "1", &["apgd", "fmn"]),
        (Norm::L0, "2", &["sigma-zero", "fmn"]),
    ] {
        for (low, high) in [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)] {
            let net = net(low, high);
            let samples = images(&net, 40, low, high);
            let scale = high - low;
            let eps = if norm == Norm::L0 { eps.to_owned() } else { (scale * eps.parse::<f32>().unwrap()).to_string() };
            let threat = threat(norm, &eps, low, high);
            for name in names {
                let attack = parse(name, &[]).unwrap();
                let attacked = attacked(&net, &samples, &*attack, &threat, true);
                let found = attacked.outcomes.iter().zip(attacked.adversarial.rows()).enumerate();
                let mut broken = 0;
                for (i, (outcome, point)) in found.filter(|(_, (o, _))| o.outcome == Outcome::Broken) {
                    let image = decoded(point, low, high);
                    for (p, v) in point.iter().zip(&image) {
                        assert!((p - v).abs() <= 2.0 * f32::EPSILON * high.max(-low), "{name}: {p} is no byte");
                    }
                    assert_ne!(class(&net, &image), outcome.label.index(), "{name}: the image of sample {i}");
                    assert!(
                        threat.distance(samples.images.row(i).as_slice().unwrap(), &image)
                            <= threat.eps.limit() * (1.0 + 1e-6)
                    );
                    broken += 1;
                }
                let of = attacked.outcomes.len();
                assert!(broken > 1 && attacked.count(Outcome::Unstable) == 0, "{name} in {norm}: {broken} of {of}");
            }
        }
    }
}

#[test]
fn exactly_the_samples_are_broken_that_whole_levels_can_break() {
    let net = net(0.0, 1.0);
    let samples = images(&net, 60, 0.0, 1.0);
    // Of 2.9 levels two can be used, of three (by rounding a little less) three.
    for (eps, levels) in [("2.9/255", 2.0), ("3/255", 3.0), ("0.4/255", 0.0)] {
        let threat = threat(Norm::Linf, eps, 0.0, 1.0);
        let attack = parse("apgd", &[("loss".into(), "margin".into())]).unwrap();
        let attacked = attacked(&net, &samples, &*attack, &threat, true);
        for (outcome, x) in attacked.outcomes.iter().zip(samples.images.rows()) {
            let reach = reach(&net, &x.to_vec(), levels / 255.0);
            if reach.abs() > 1e-4 {
                assert_eq!(outcome.outcome == Outcome::Broken, reach > 0.0, "eps {eps}: reach {reach}");
            }
        }
    }
}

#[test]
fn samples_that_are_no_images_are_refused() {
    let net = net(0.0, 1.0);
    let mut samples = images(&net, 4, 0.0, 1.0);
    samples.images[[2, 7]] = 0.5;
    let (attack, threat) = (parse("pgd", &[]).unwrap(), threat(Norm::Linf, "0.03", 0.0, 1.0));
    let job = Job { eight_bit: true, ..samples.job(&net, &*attack, &threat) };
    let error = run(&job, &mut |_| {}, &Cancel::default()).unwrap_err().to_string();
    assert!(error.contains("element 7 of sample 2 is 0.5, none of the 256 values"), "{error}");
}
