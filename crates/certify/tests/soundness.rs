//! No point of a neighbourhood leaves the bounds, however it was found; and what a certifier says of odd jobs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use assay_attack::{Bounds, Norm, Threat};
use assay_certify::{Certifier, CertifyError, Job, Method, Neighbourhood, Progress, Until, Verdict};
use assay_reference::{Net, Random};
use assay_runtime::{Cancel, Class, Classifier, RunError};
use ndarray::{Array2, ArrayView1};
use proptest::prelude::*;
use support::nets::{FEATURES, nets};
use support::{certifier, certify, margins, runtime};

/// Points of the neighbourhood of `x`: random ones, corners, and where the ascent on each margin ends.
fn points(certifier: &Certifier, x: &Array2<f32>, label: usize, threat: &Threat, random: &mut Random) -> Vec<Vec<f32>> {
    let classifier = certifier.classifier();
    let clean = x.row(0).to_vec();
    let mut points = vec![clean.clone()];
    let eps = threat.eps.limit();
    for corner in [false, true] {
        for _ in 0..10 {
            let mut point: Vec<f32> = clean
                .iter()
                .map(|x| {
                    let move_by = random.uniform(-1.0, 1.0);
                    x + (eps * if corner { move_by.signum() } else { move_by }) as f32
                })
                .collect();
            threat.project(&clean, &mut point);
            points.push(point);
        }
    }
    for other in (0..3).filter(|&class| class != label) {
        let mut point = clean.clone();
        let mut cotangent = Array2::zeros((1, 3));
        cotangent[[0, other]] = 1.0;
        cotangent[[0, label]] = -1.0;
        for _ in 0..15 {
            let at = Array2::from_shape_vec((1, FEATURES), point.clone()).unwrap();
            let mut gradient =
                classifier.vjp(at.view(), cotangent.view()).unwrap().gradient.into_raw_vec_and_offset().0;
            threat.climb(&clean, &mut gradient, (eps / 4.0) as f32, &mut point);
            points.push(point.clone());
        }
    }
    points
}

fn best(row: &ArrayView1<'_, f32>) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn no_point_of_a_neighbourhood_leaves_the_bounds(
        seed in any::<u64>(),
        net in 0usize..3,
        norm in prop::sample::select(vec![Norm::Linf, Norm::L2, Norm::L1]),
        size in prop::sample::select(vec![0.0, 0.004, 0.02, 0.1]),
    ) {
        let Some(runtime) = runtime() else { return Ok(()) };
        let (name, net) = nets().swap_remove(net);
        let mut certifier = certifier(&runtime, &net).unwrap();
        let mut random = Random::new(seed);
        let x = Array2::from_shape_fn((1, FEATURES), |_| random.uniform(0.0, 1.0) as f32);
        let label = best(&certifier.classifier().logits(x.view()).unwrap().row(0));
        // Balls whose boxes are of about the same use.
        let eps = size * match norm { Norm::L2 => 4.0, Norm::L1 => 20.0, Norm::Linf | Norm::L0 => 1.0 };
        let threat = Threat { norm, eps: eps.to_string().parse().unwrap(), bounds: Bounds::new(0.0, 1.0).unwrap() };
        let job = Job {
            images: x.view(),
            labels: &[Class(label as u32)],
            neighbourhood: Neighbourhood::Threat(&threat),
            methods: &Method::ALL,
            until: Until::All,
        };
        let certificate = certify(&mut certifier, &job).swap_remove(0);
        for point in points(&certifier, &x, label, &threat, &mut random) {
            let point = Array2::from_shape_vec((1, FEATURES), point).unwrap();
            let logits = certifier.classifier().logits(point.view()).unwrap();
            let truth: Vec<f32> = (0..3).filter(|&c| c != label).map(|c| logits[[0, label]] - logits[[0, c]]).collect();
            for method in Method::ALL {
                let bounds = certificate.bounds.iter().find(|b| b.method == method).unwrap();
                for (bound, truth) in bounds.margins.iter().zip(&truth) {
                    prop_assert!(*bound <= truth + bounds.slack, "{name}, {method}: {truth} is below {bound}");
                    if size == 0.0 {
                        prop_assert!((bound - truth).abs() <= bounds.slack, "{name}, {method}: {bound}, not {truth}");
                    }
                }
            }
            if certificate.verdict == Verdict::Certified {
                prop_assert_eq!(best(&logits.row(0)), label, "{}: a certified sample was misled", name);
            }
        }
    }
}

fn threat(norm: Norm, eps: &str) -> Threat {
    Threat { norm, eps: eps.parse().unwrap(), bounds: Bounds::new(0.0, 1.0).unwrap() }
}

/// Samples of the residual net with the labels that it gives them.
fn samples(certifier: &Certifier, n: usize) -> (Array2<f32>, Vec<Class>) {
    let mut random = Random::new(3);
    let x = Array2::from_shape_fn((n, FEATURES), |_| random.uniform(0.0, 1.0) as f32);
    let logits = certifier.classifier().logits(x.view()).unwrap();
    let labels = logits.rows().into_iter().map(|row| Class(best(&row) as u32)).collect();
    (x, labels)
}

#[test]
fn bounds_of_a_sample_do_not_depend_on_the_others() {
    let Some(runtime) = runtime() else { return };
    let mut certifier = certifier(&runtime, &nets()[0].1).unwrap();
    let (x, labels) = samples(&certifier, 20);
    let threat = threat(Norm::Linf, "0.01");
    let mut found = |range: std::ops::Range<usize>| {
        let job = Job {
            images: x.slice(ndarray::s![range.clone(), ..]),
            labels: &labels[range],
            neighbourhood: Neighbourhood::Threat(&threat),
            methods: &Method::ALL,
            until: Until::All,
        };
        certify(&mut certifier, &job)
    };
    let all = found(0..20);
    for i in [0, 7, 19] {
        let alone = found(i..i + 1).swap_remove(0);
        for method in Method::ALL {
            for (a, b) in margins(&all[i], method).iter().zip(margins(&alone, method)) {
                assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "sample {i}, {method}: {a} and {b}");
            }
        }
    }
}

#[test]
fn a_larger_radius_has_lower_interval_bounds_and_a_ball_no_lower_bounds_than_its_box() {
    let Some(runtime) = runtime() else { return };
    let mut certifier = certifier(&runtime, &nets()[0].1).unwrap();
    let (x, labels) = samples(&certifier, 4);
    let mut found = |norm, eps: &str, method| {
        let threat = threat(norm, eps);
        let job = Job {
            images: x.view(),
            labels: &labels,
            neighbourhood: Neighbourhood::Threat(&threat),
            methods: &[method],
            until: Until::All,
        };
        certify(&mut certifier, &job).iter().flat_map(|c| margins(c, method).to_vec()).collect::<Vec<f32>>()
    };
    let radii = ["0", "0.001", "0.01", "0.1"].map(|eps| found(Norm::Linf, eps, Method::Ibp));
    for pair in radii.windows(2) {
        assert!(pair[0].iter().zip(&pair[1]).all(|(small, large)| large <= &(small + 1e-5)), "{pair:?}");
    }
    let in_box = found(Norm::Linf, "0.02", Method::CrownIbp);
    for norm in [Norm::L2, Norm::L1] {
        let in_ball = found(norm, "0.02", Method::CrownIbp);
        assert!(in_ball.iter().zip(&in_box).all(|(ball, cube)| *ball >= cube - 1e-5), "{norm}");
        assert!(in_ball.iter().zip(&in_box).any(|(ball, cube)| *ball > cube + 1e-3), "{norm}: no better than the box");
    }
}

#[test]
fn a_wrong_label_is_never_certified_and_a_number_that_is_not_finite_is_told() {
    let Some(runtime) = runtime() else { return };
    let mut one = certifier(&runtime, &nets()[0].1).unwrap();
    let (x, labels) = samples(&one, 2);
    let wrong: Vec<Class> = labels.iter().map(|label| Class((label.0 + 1) % 3)).collect();
    let none = threat(Norm::Linf, "0");
    let mut job = Job {
        images: x.view(),
        labels: &wrong,
        neighbourhood: Neighbourhood::Threat(&none),
        methods: &Method::ALL,
        until: Until::All,
    };
    for certificate in certify(&mut one, &job) {
        assert_eq!((certificate.verdict, certificate.bounds.len()), (Verdict::Misclassified, 0));
    }
    job.labels = &labels;
    assert!(certify(&mut one, &job).iter().all(|c| c.verdict == Verdict::Certified), "a point is certified");

    // Bounds that grow beyond binary32, of a net whose own numbers do not: the difference of two equal numbers.
    let huge = Net::new(&[2, 6, 6])
        .floats("scale", &[], &[1e20])
        .node("Mul", "x scale -> a", &[])
        .node("Relu", "a -> b", &[])
        .node("Sub", "b a -> c", &[])
        .node("Mul", "c scale -> d", &[])
        .node("Relu", "d -> e", &[])
        .node("Sum", "e x -> f", &[])
        .head("f", 2);
    let mut two = certifier(&runtime, &huge).unwrap();
    let (x, labels) = samples(&two, 1);
    let wide = threat(Norm::Linf, "0.1");
    job = Job { images: x.view(), labels: &labels, neighbourhood: Neighbourhood::Threat(&wide), ..job };
    let found = certify(&mut two, &job).swap_remove(0);
    assert!(matches!(found.verdict, Verdict::Failed(_)), "{found:?}");
}

#[test]
fn odd_jobs_are_refused_with_what_was_expected() {
    let Some(runtime) = runtime() else { return };
    let mut certifier = certifier(&runtime, &nets()[0].1).unwrap();
    let (x, labels) = samples(&certifier, 2);
    let threat = threat(Norm::Linf, "0.01");
    let job = Job {
        images: x.view(),
        labels: &labels,
        neighbourhood: Neighbourhood::Threat(&threat),
        methods: &[Method::Ibp],
        until: Until::All,
    };
    let cancelled = Cancel::default();
    let mut refused = |job: &Job<'_>| match certifier.certify(job, &mut |_| {}, &cancelled) {
        Err(CertifyError::Invalid(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(refused(&Job { labels: &labels[..1], ..job }).contains("1 labels for 2 samples"));
    assert!(refused(&Job { labels: &[Class(0), Class(3)], ..job }).contains("label 3 of sample 1"));
    assert!(refused(&Job { images: x.slice(ndarray::s![.., ..5]), ..job }).contains("5 values"));
    assert!(refused(&Job { methods: &[], ..job }).contains("alpha-crown"));
    let boxes = Neighbourhood::Boxes { lower: x.view(), upper: x.slice(ndarray::s![..1, ..]) };
    assert!(refused(&Job { neighbourhood: boxes, ..job }).contains("expected that of the samples"));
}

#[test]
fn a_job_tells_how_far_it_is_and_can_be_stopped() {
    let Some(runtime) = runtime() else { return };
    let mut certifier = certifier(&runtime, &nets()[0].1).unwrap();
    let (x, labels) = samples(&certifier, 40);
    let threat = threat(Norm::Linf, "0");
    let job = Job {
        images: x.view(),
        labels: &labels,
        neighbourhood: Neighbourhood::Threat(&threat),
        methods: &[Method::Ibp],
        until: Until::Certified,
    };
    let mut seen: Vec<Progress> = Vec::new();
    certifier.certify(&job, &mut |progress| seen.push(progress), &Cancel::default()).unwrap();
    assert_eq!(seen.first(), Some(&Progress { done: 0, of: 40, certified: 0 }));
    assert_eq!(seen.last(), Some(&Progress { done: 40, of: 40, certified: 40 }));
    assert!(seen.len() > 2 && seen.is_sorted_by_key(|p| p.done), "{seen:?}");

    let cancel = Cancel::default();
    let stopped = certifier.certify(&job, &mut |_| cancel.cancel(), &cancel);
    assert!(matches!(stopped, Err(CertifyError::Run(RunError::Cancelled))), "{stopped:?}");
}

#[test]
fn a_model_without_bounds_is_refused_by_operator_and_node() {
    let Some(runtime) = runtime() else { return };
    let net = Net::new(&[2, 6, 6]).node("Sin", "x -> a", &[]).head("a", 2);
    let error = certifier(&runtime, &net).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("interval: node \"the a\" (Sin)"), "{error}");
}
