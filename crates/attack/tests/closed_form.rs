//! Attacks against nets whose robust samples are known in closed form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use assay_attack::{
    Attack, Attacked, Bim, Bounds, CarliniWagner, Ddn, DeepFool, Fab, FabTargeted, Fgsm, Fmn, Keep, MiFgsm, Norm,
    Outcome, Pgd, SigmaZero, Start, StepSize, Threat,
};
use assay_graph::Loss;
use common::{Altered, Net, Samples, exact_distance, exact_margin, threat};

/// What became of samples, against the exact answer.
#[derive(Debug, Default)]
struct Compared {
    robust: usize,
    broken: usize,
    missed: usize,
}

/// Compares every sample's outcome with the exact answer; samples within `1e-4` of the boundary are left out.
#[track_caller]
fn compare(net: &Net, samples: &Samples, threat: &Threat, attacked: &Attacked) -> Compared {
    let mut compared = Compared::default();
    for (i, outcome) in attacked.outcomes.iter().enumerate() {
        let margin = exact_margin(net, threat, samples.images.row(i), samples.labels[i]);
        match outcome.outcome {
            _ if margin.abs() < 1e-4 => {}
            Outcome::Robust if margin < 0.0 => compared.robust += 1,
            Outcome::Robust => compared.missed += 1,
            Outcome::Broken if margin > 0.0 => compared.broken += 1,
            other => panic!("sample {i} under {threat} is {other:?}, its exact margin is {margin}"),
        }
    }
    compared
}

#[track_caller]
fn assert_inside(samples: &Samples, threat: &Threat, attacked: &Attacked) {
    for (i, outcome) in attacked.outcomes.iter().enumerate() {
        let (x, point) = (samples.images.row(i), attacked.adversarial.row(i));
        let (x, point) = (x.as_slice().unwrap(), point.as_slice().unwrap());
        assert!(threat.allows(x, point), "sample {i}");
        match outcome.outcome {
            Outcome::Broken => {
                assert_eq!(outcome.distance.of(threat.norm), threat.distance(x, point));
                assert_ne!(outcome.adversarial_prediction, outcome.clean_prediction);
            }
            _ => assert_eq!(x, point),
        }
    }
}

const SHAPES: [&[usize]; 3] = [&[8], &[3, 5, 4], &[1, 7, 9]];
const RADII: [(Norm, [&str; 3]); 3] =
    [(Norm::Linf, ["0.01", "8/255", "0.2"]), (Norm::L2, ["0.05", "0.3", "1"]), (Norm::L1, ["0.2", "1", "3"])];

/// Attacks random linear nets of every shape.
fn against_linear_nets(attack: &dyn Attack, classes: usize, (norm, radii): (Norm, [&str; 3])) -> Compared {
    let mut all = Compared::default();
    for (shape, seed) in SHAPES.into_iter().zip(1..) {
        let net = Net::random_linear(shape, classes, seed);
        let samples = Samples::random(&net, 60, seed);
        for eps in radii {
            let threat = threat(norm, eps);
            let attacked = samples.attack(&net, attack, &threat);
            assert_inside(&samples, &threat, &attacked);
            let compared = compare(&net, &samples, &threat, &attacked);
            all.robust += compared.robust;
            all.broken += compared.broken;
            all.missed += compared.missed;
        }
    }
    assert!(all.robust > 50 && all.broken > 50, "{all:?}: too few of one kind to mean much");
    all
}

/// In the Euclidean norm, steps that are small against the radius turn a point slowly: forty long ones get there. In L1 a step moves few elements: more
/// are needed.
#[test]
fn pgd_is_exact_for_two_classes() {
    assert_eq!(against_linear_nets(&Pgd::default(), 2, RADII[0]).missed, 0);
    let long = Pgd { step: StepSize::Fixed(1.0), ..Pgd::default() };
    assert_eq!(against_linear_nets(&long, 2, RADII[1]).missed, 0);
    let many = Pgd { steps: 100, ..Pgd::default() };
    assert_eq!(against_linear_nets(&many, 2, RADII[2]).missed, 0);
}

#[test]
fn pgd_with_restarts_is_exact_for_more_classes_in_the_maximum_norm_and_in_sums() {
    let pgd = Pgd { loss: Loss::Margin, restarts: 10, steps: 50, ..Pgd::default() };
    for classes in [3, 4, 10] {
        for radii in [RADII[0], RADII[2]] {
            assert_eq!(against_linear_nets(&pgd, classes, radii).missed, 0, "{classes} classes");
        }
    }
}

/// The largest margin of several classes is convex, so that ascent may end at a local maximum; random starts in the ball,
/// which are all close to its surface, seldom lead elsewhere. One sample of 1,620 is missed so (only a loss that is aimed at
/// one class at a time is exact).
#[test]
fn pgd_with_restarts_is_nearly_exact_for_more_classes_in_the_euclidean_norm() {
    let pgd = Pgd { loss: Loss::Margin, restarts: 10, steps: 50, ..Pgd::default() };
    let missed = [3, 4, 10].map(|classes| against_linear_nets(&pgd, classes, RADII[1]).missed);
    assert!(missed.iter().sum::<usize>() <= 1, "{missed:?}");
}

#[test]
fn fgsm_is_exact_for_two_classes_in_the_maximum_norm_and_in_sums() {
    for radii in [RADII[0], RADII[2]] {
        assert_eq!(against_linear_nets(&Fgsm, 2, radii).missed, 0);
    }
}

#[test]
fn bim_and_mi_fgsm_are_exact_for_two_classes_in_the_maximum_norm() {
    for attack in [&Bim::default() as &dyn Attack, &MiFgsm::default()] {
        assert_eq!(against_linear_nets(attack, 2, RADII[0]).missed, 0);
    }
}

#[test]
fn bim_is_pgd_from_the_image_with_steps_of_a_quarter_of_eps() {
    let net = common::toy::mlp();
    let samples = common::toy::samples(&net);
    let pgd = Pgd { steps: 10, step: StepSize::Relative(0.25), start: Start::Image, ..Pgd::default() };
    for threat in [threat(Norm::Linf, "0.01"), threat(Norm::L2, "0.1"), threat(Norm::L1, "1")] {
        let [bim, pgd] = [&Bim::default() as &dyn Attack, &pgd].map(|attack| samples.attack(&net, attack, &threat));
        assert_eq!(bim.adversarial, pgd.adversarial);
        assert_eq!(bim.cost, pgd.cost);
        assert!((5..60).contains(&bim.count(Outcome::Broken)));
    }
}

#[test]
fn fgsm_is_exact_for_two_classes_in_the_euclidean_norm_far_from_the_box() {
    let net = Net::random_linear(&[4, 5], 2, 1);
    let images = Samples::random(&net, 100, 1).images.mapv(|v| 0.3 + 0.4 * v);
    let samples = Samples::labelled(&net, images);
    let threat = threat(Norm::L2, "0.25");
    let compared = compare(&net, &samples, &threat, &samples.attack(&net, &Fgsm, &threat));
    assert!(compared.missed == 0 && compared.robust > 10 && compared.broken > 10, "{compared:?}");
}

/// The tests above would notice a gradient with the wrong sign.
#[test]
fn a_flipped_gradient_is_not_exact() {
    let net = Net::random_linear(&[3, 5, 4], 2, 1);
    let samples = Samples::random(&net, 100, 1);
    let mut flipped = Altered::new(&net);
    flipped.gradient = Box::new(|_, mut e| {
        e.gradient.mapv_inplace(|g| -g);
        Ok(e)
    });
    for (norm, eps) in [(Norm::Linf, "8/255"), (Norm::L2, "0.3"), (Norm::L1, "1")] {
        let threat = threat(norm, eps);
        for attack in [&Fgsm as &dyn Attack, &Pgd::default()] {
            let right = samples.attack(&net, attack, &threat).count(Outcome::Robust);
            let wrong = samples.attack(&flipped, attack, &threat).count(Outcome::Robust);
            assert!(right < 70 && wrong > 95, "{right} {wrong}");
        }
    }
}

#[test]
fn robust_samples_fall_with_the_radius_from_clean_to_none() {
    let net = Net::random_linear(&[3, 5, 4], 4, 2);
    let mut samples = Samples::random(&net, 60, 2);
    samples.labels[3].0 = (samples.labels[3].0 + 1) % 4;
    for (norm, radii) in [
        (Norm::Linf, ["0", "0.01", "0.03", "0.1", "1"]),
        (Norm::L2, ["0", "0.1", "0.3", "1", "8"]),
        (Norm::L1, ["0", "0.3", "1", "3", "60"]),
    ] {
        for attack in [&Fgsm as &dyn Attack, &Pgd::default()] {
            let robust = radii.map(|eps| samples.attack(&net, attack, &threat(norm, eps)).count(Outcome::Robust));
            assert_eq!(robust[0], 59, "a radius of zero gives clean accuracy");
            assert!(robust.is_sorted_by(|a, b| a >= b), "{robust:?}");
            assert!(robust[2] < 55);
        }
        let everything = threat(norm, radii[4]);
        assert_eq!(samples.attack(&net, &Pgd::default(), &everything).count(Outcome::Robust), 0);
    }
}

#[test]
fn keeping_the_best_breaks_the_same_samples_with_larger_margins() {
    let net = Net::random_linear(&[3, 5, 4], 3, 3);
    let samples = Samples::random(&net, 60, 3);
    let threat = threat(Norm::Linf, "0.1");
    let [first, best] = [Keep::First, Keep::Best].map(|keep| {
        let attacked = samples.attack(&net, &Pgd { keep, ..Pgd::default() }, &threat);
        assert_inside(&samples, &threat, &attacked);
        attacked
    });
    let margin = |attacked: &Attacked, i: usize| {
        let z = net.row(attacked.adversarial.row(i));
        z[attacked.outcomes[i].adversarial_prediction.unwrap().index()] - z[samples.labels[i].index()]
    };
    let mut larger = 0;
    for (i, (a, b)) in first.outcomes.iter().zip(&best.outcomes).enumerate() {
        assert_eq!(a.outcome, b.outcome);
        assert!(a.cost.gradients <= b.cost.gradients);
        if a.outcome == Outcome::Broken {
            assert!(margin(&best, i) >= margin(&first, i) - 1e-6);
            larger += usize::from(margin(&best, i) > margin(&first, i) + 0.1);
        }
    }
    assert!(larger > 20, "{larger}");
    assert!(first.cost.gradients < best.cost.gradients);
}

#[test]
fn more_restarts_and_steps_never_leave_more() {
    let net = common::toy::mlp();
    let samples = common::toy::samples(&net);
    let threat = threat(Norm::Linf, "0.01");
    let robust = |restarts, steps, step| {
        let pgd = Pgd { restarts, steps, step, ..Pgd::default() };
        samples.attack(&net, &pgd, &threat).count(Outcome::Robust)
    };
    let [one, five] = [1, 5].map(|restarts| robust(restarts, 20, StepSize::Auto));
    assert!(five <= one);
    let [short, long] = [5, 40].map(|steps| robust(1, steps, StepSize::Fixed(0.002)));
    assert!(long <= short);
}

/// Nets whose weights are pseudo-random numbers, with the counts that other implementations reach on them.
mod toy {
    use super::*;
    use common::toy::{linear, mlp, samples};

    /// Robust samples after PGD-100 on the cross-entropy, and after the margin with restarts.
    fn counts(net: &Net, samples: &Samples, threat: &Threat, restarts: u32) -> (usize, usize) {
        let plain = samples.attack(net, &Pgd { steps: 100, ..Pgd::default() }, threat).count(Outcome::Robust);
        let margin = Pgd { loss: Loss::Margin, restarts, ..Pgd::default() };
        (plain, samples.attack(net, &margin, threat).count(Outcome::Robust))
    }

    /// Robust samples, of 64, and those that APGD on the cross-entropy leaves. In the maximum norm the margin with restarts
    /// is exact and PGD as good as APGD; in the Euclidean norm each may leave one more.
    #[test]
    fn linear_net() {
        let net = linear();
        let samples = samples(&net);
        for (norm, eps, exact, apgd) in [
            (Norm::Linf, "0.005", 37, 43),
            (Norm::Linf, "0.01", 30, 33),
            (Norm::Linf, "0.02", 11, 16),
            (Norm::L2, "0.05", 41, 45),
            (Norm::L2, "0.1", 33, 37),
        ] {
            let threat = threat(norm, eps);
            let margins =
                samples.images.rows().into_iter().zip(&samples.labels).map(|(x, y)| exact_margin(&net, &threat, x, *y));
            assert_eq!(margins.filter(|m| *m < 0.0).count(), exact, "{threat}");
            let (plain, strong) = counts(&net, &samples, &threat, 10);
            println!("linear {threat}: exact {exact}, APGD-CE {apgd}, PGD-100 {plain}, margin with restarts {strong}");
            let more = usize::from(norm == Norm::L2);
            assert!((exact..=exact + more).contains(&strong), "{threat}: {strong}");
            assert!((strong..=apgd + more).contains(&plain), "{threat}: {plain}");
        }
    }

    /// Samples that the whole of AutoAttack leaves, and those that APGD on the cross-entropy leaves. In the maximum norm the
    /// same counts are reached; in the Euclidean norm some are up to two higher, and one is lower.
    #[test]
    fn hidden_layer() {
        let net = mlp();
        let samples = samples(&net);
        for (norm, eps, autoattack, apgd) in [
            (Norm::Linf, "0.005", 42, 46),
            (Norm::Linf, "0.01", 25, 29),
            (Norm::L2, "0.05", 43, 48),
            (Norm::L2, "0.1", 28, 32),
        ] {
            let threat = threat(norm, eps);
            let (plain, strong) = counts(&net, &samples, &threat, 20);
            println!(
                "mlp {threat}: AutoAttack {autoattack}, APGD-CE {apgd}, PGD-100 {plain}, margin with restarts {strong}"
            );
            let more = usize::from(norm == Norm::L2);
            assert!(strong <= autoattack + 2 * more, "{threat}: {strong}");
            assert!((strong..=apgd + more).contains(&plain), "{threat}: {plain}");
        }
    }
}

/// Two steps by hand: a gradient counts by its direction, not its size, and half of the momentum is left after a step.
#[test]
fn mi_fgsm_follows_the_gradients_so_far() {
    let net = Net::linear(&[2], ndarray::Array2::zeros((2, 2)), vec![1.0, 0.0]);
    let samples = Samples::labelled(&net, ndarray::array![[0.5_f32, 0.5]]);
    let (calls, last) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let mut altered = Altered::new(&net);
    altered.gradient = Box::new(|_, mut e| {
        let gradient = [[1.0, -3.0], [-80.0, 20.0]][calls.fetch_add(1, Ordering::Relaxed)];
        e.gradient.row_mut(0).assign(&ndarray::arr1(&gradient));
        Ok(e)
    });
    altered.logits = Box::new(|x, z| {
        *last.lock().unwrap() = x.row(0).to_vec();
        Ok(z)
    });
    let mi_fgsm = MiFgsm { steps: 2, step: StepSize::Fixed(0.1), decay: 0.5, ..MiFgsm::default() };
    samples.attack(&altered, &mi_fgsm, &threat(Norm::L2, "1"));
    // Momenta (0.25, -0.75) and (0.125 - 0.8, -0.375 + 0.2).
    let [first, second] = [(0.25_f32, -0.75_f32), (-0.675, -0.175)].map(|(a, b)| (a / a.hypot(b), b / a.hypot(b)));
    let expected = [0.5 + 0.1 * (first.0 + second.0), 0.5 + 0.1 * (first.1 + second.1)];
    let last = last.lock().unwrap();
    assert!(last.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{last:?} {expected:?}");
}

/// Far from the box the boundary of a linear net is reached in one step; the second gradient sees that it is crossed.
#[test]
fn deepfool_crosses_a_plane_in_one_step() {
    let net = Net::random_linear(&[4, 5], 2, 1);
    let images = Samples::random(&net, 40, 1).images.mapv(|v| 0.45 + 0.1 * v);
    let samples = Samples::labelled(&net, images);
    for norm in [Norm::Linf, Norm::L2] {
        let attacked = samples.attack(&net, &DeepFool::default(), &threat(norm, "20"));
        for (outcome, x) in attacked.outcomes.iter().zip(samples.images.rows()) {
            assert_eq!((outcome.outcome, outcome.cost.gradients), (Outcome::Broken, 2));
            let found = if norm == Norm::Linf { outcome.distance.linf } else { outcome.distance.l2 };
            let ratio = found / exact_distance(&net, norm, x, outcome.label);
            assert!((1.0199..1.0201).contains(&ratio), "{norm}: {ratio}, not the overshoot");
        }
    }
}

#[test]
fn carlini_and_wagner_demand_the_confidence_that_was_asked_for() {
    let net = Net::random_linear(&[3, 5, 4], 3, 3);
    let samples = Samples::random(&net, 20, 3);
    let threat = threat(Norm::L2, "20");
    let cw = CarliniWagner { searches: 6, steps: 300, weight: 0.1, ..CarliniWagner::default() };
    let [near, sure, never] = [0.0, 2.0, 1e6].map(|kappa| {
        let cw = CarliniWagner { kappa, ..cw };
        samples.attack(&net, &cw, &threat)
    });
    assert_eq!((near.count(Outcome::Broken), sure.count(Outcome::Broken), never.count(Outcome::Robust)), (20, 20, 20));
    let excess = |row: ndarray::ArrayView1<'_, f32>, label: assay_runtime::Class| {
        let z = net.row(row);
        let others = z.iter().enumerate().filter(|(class, _)| *class != label.index());
        others.fold(f64::NEG_INFINITY, |largest, (_, z)| largest.max(*z)) - z[label.index()]
    };
    for (i, label) in samples.labels.iter().enumerate() {
        let [near_excess, sure_excess] = [&near, &sure].map(|a| excess(a.adversarial.row(i), *label));
        assert!(near_excess < 0.5 && (1.9999..2.5).contains(&sure_excess), "{near_excess} {sure_excess}");
        assert!(sure.outcomes[i].distance.l2 > near.outcomes[i].distance.l2);
    }
}

/// A weight means the same in any range of inputs.
#[test]
fn carlini_and_wagner_find_the_same_in_bytes() {
    let net = Net::random_linear(&[3, 5, 4], 3, 3);
    let samples = Samples::random(&net, 10, 3);
    let bytes = Net::linear(&[3, 5, 4], &net.weights / 255.0, net.bias.clone());
    let scaled = Samples { images: &samples.images * 255.0, labels: samples.labels.clone(), ids: samples.ids.clone() };
    let cw = CarliniWagner { searches: 6, steps: 300, weight: 0.1, ..CarliniWagner::default() };
    let found = samples.attack(&net, &cw, &threat(Norm::L2, "20"));
    let wide = Threat { bounds: Bounds::new(0.0, 255.0).unwrap(), ..threat(Norm::L2, "5100") };
    let found_scaled = scaled.attack(&bytes, &cw, &wide);
    for (a, b) in found.outcomes.iter().zip(&found_scaled.outcomes) {
        assert_eq!((a.outcome, b.outcome), (Outcome::Broken, Outcome::Broken));
        assert!((b.distance.l2 / a.distance.l2 / 255.0 - 1.0).abs() < 0.01, "{:?} {:?}", a.distance, b.distance);
    }
}

/// A bias keeps most samples several elements away from the boundary.
#[test]
fn sigma_zero_changes_hardly_more_elements_than_the_fewest() {
    for (shape, classes, seed) in [(&[3, 5, 7][..], 10, 1), (&[40], 2, 2), (&[3, 6, 4], 3, 3), (&[3, 4, 4], 4, 4)] {
        let mut net = Net::random_linear(shape, classes, seed);
        net.bias[0] += 12.0;
        let samples = Samples::random(&net, 24, seed);
        let attacked = samples.attack(&net, &SigmaZero::default(), &threat(Norm::L0, "inf"));
        let (mut found, mut fewest) = (0.0, 0.0);
        for (outcome, x) in attacked.outcomes.iter().zip(samples.images.rows()) {
            assert_eq!(outcome.outcome, Outcome::Broken);
            let least = exact_distance(&net, Norm::L0, x, outcome.label).round();
            assert!(outcome.distance.of(Norm::L0) >= least);
            found += outcome.distance.of(Norm::L0);
            fewest += least;
        }
        println!("{classes} classes: {found} elements where {fewest} are enough");
        assert!(fewest > 48.0 && found <= 1.15 * fewest, "{classes} classes: {found} {fewest}");
    }
}

#[test]
fn a_step_of_fab_costs_a_forward_evaluation_and_a_gradient_for_each_boundary() {
    let net = Net::random_linear(&[3, 4, 4], 4, 5);
    let samples = Samples::random(&net, 8, 5);
    // Three classes beside the label; the one towards which the steps go, or all of them in each step.
    let towards = FabTargeted { steps: 10, ..FabTargeted::default() };
    let nearest = Fab { steps: 10, restarts: 2, ..Fab::default() };
    for (attack, gradients, queries) in [(&towards as &dyn Attack, 30, 30), (&nearest, 60, 20)] {
        let attacked = samples.attack(&net, attack, &threat(Norm::L2, "1e-9"));
        let robust = attacked.outcomes.iter().filter(|o| o.outcome == Outcome::Robust);
        let costs: Vec<_> = robust.map(|o| (o.cost.gradients, o.cost.queries)).collect();
        // And the clean prediction.
        assert!(costs.len() > 6 && costs.iter().all(|cost| *cost == (gradients, queries + 1)), "{costs:?}");
        // The quote is for as many classes as are asked for.
        let (quoted, share) = (attack.worst_case(), 9 / 3);
        assert_eq!(quoted.gradients, share * gradients);
        assert_eq!(attack.evaluations(), quoted.gradients + quoted.queries - 3);
    }
}

/// Where a fab begins: the points at which it asks for its first gradient of each restart.
fn starts(net: &Net, samples: &Samples, fab: Fab, threat: &Threat) -> Vec<Vec<f32>> {
    let rows = Mutex::new(Vec::new());
    let mut recording = Altered::new(net);
    recording.gradient = Box::new(|x, e| {
        rows.lock().unwrap().push(x.row(0).to_vec());
        Ok(e)
    });
    samples.attack(&recording, &Fab { targets: 1, ..fab }, threat);
    drop(recording);
    rows.into_inner().unwrap().into_iter().step_by(fab.steps as usize).collect()
}

/// A hundred elements, so that a ball is nearly all surface.
#[test]
fn fab_begins_again_half_as_far_as_eps_or_what_was_found() {
    let net = Net::random_linear(&[100], 2, 1);
    let images = Samples::random(&net, 1, 1).images.mapv(|v| 0.45 + 0.1 * v);
    let samples = Samples::labelled(&net, images);
    let x = samples.images.row(0);
    let fab = Fab { steps: 3, restarts: 4, keep: Keep::Nearest, ..Fab::default() };
    for norm in [Norm::Linf, Norm::L2, Norm::L1] {
        let nearest = exact_distance(&net, norm, x, samples.labels[0]);
        // Too near for a find; farther than the nearest point, which lies inside; and any valid input.
        let small = format!("{:.9}", nearest / 3.0);
        for (eps, half) in [(&*small, nearest / 6.0), ("20", nearest / 2.0), ("inf", nearest / 2.0)] {
            let threat = threat(norm, eps);
            let starts = starts(&net, &samples, fab, &threat);
            let distances: Vec<f64> = starts.iter().map(|p| threat.distance(x.as_slice().unwrap(), p)).collect();
            assert_eq!((distances.len(), distances[0]), (4, 0.0), "{threat}");
            assert!(
                distances[1..].iter().all(|d| (0.9 * half..1.06 * half).contains(d)),
                "{threat}: {distances:?} {half}"
            );
            assert!(starts[1] != starts[2] && starts[2] != starts[3]);
        }
    }
}

#[test]
fn minimum_norm_attacks_come_within_a_twentieth_of_the_closed_form() {
    for (shape, classes, seed) in [(&[3, 5, 7][..], 10, 1), (&[40], 2, 2), (&[1, 6, 4], 3, 3), (&[2, 4, 4], 4, 4)] {
        let net = Net::random_linear(shape, classes, seed);
        let samples = Samples::random(&net, 24, seed);
        for norm in Norm::ALL {
            let fmn = Fmn { steps: 500, ..Fmn::default() };
            let fab = Fab { keep: Keep::Nearest, ..Fab::default() };
            let fab_t = FabTargeted { keep: Keep::Nearest, ..FabTargeted::default() };
            let ddn = Ddn { steps: 500, ..Ddn::default() };
            let deepfool = DeepFool::default();
            // Pixels at the end of their range are slow to leave it.
            let cw = CarliniWagner { searches: 7, weight: 0.01, abort_early: false, ..CarliniWagner::default() };
            let attacks = [&fmn as &dyn Attack, &fab, &fab_t, &deepfool, &ddn, &cw];
            for attack in attacks.into_iter().filter(|a| a.description().norms.contains(&norm)) {
                let attacked = samples.attack(&net, attack, &threat(norm, "inf"));
                let ratios: Vec<f64> = attacked
                    .outcomes
                    .iter()
                    .zip(samples.images.rows())
                    .filter(|(outcome, _)| outcome.outcome == Outcome::Broken)
                    .map(|(outcome, x)| outcome.distance.of(norm) / exact_distance(&net, norm, x, outcome.label))
                    .collect();
                let name = attack.description().name;
                assert_eq!(ratios.len(), samples.ids.len(), "{name} {norm} {classes}: not all found");
                let worst = ratios.iter().fold(0.0_f64, |a, b| a.max(*b));
                let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
                println!("{name} {norm} {classes} classes: mean {mean:.4}, worst {worst:.4}");
                assert!(ratios.iter().all(|r| *r > 0.999), "{name} {norm} {classes}: nearer than possible");
                assert!(mean < 1.05, "{name} {norm} {classes}: {mean} times the distance");
            }
        }
    }
}
