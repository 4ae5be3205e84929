//! Attacks that are aimed at a class.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use assay_attack::{
    Apgd, ApgdTargeted, Attack, Attacked, Bim, Cancel, CarliniWagner, Ddn, DeepFool, Fab, FabTargeted, Fgsm, Fmn, Goal,
    MiFgsm, Norm, Outcome, Pgd, Square, Target, Threat, attacks, parse, run,
};
use assay_graph::Loss;
use assay_runtime::Class;
use common::{Net, Samples, reachable, threat};

fn aimed(net: &Net, samples: &Samples, attack: &dyn Attack, threat: &Threat, target: Target) -> Attacked {
    let goal = Goal::Targeted(target);
    let mut job = samples.job(net, attack, threat);
    job.goal = &goal;
    run(&job, &mut |_| {}, &Cancel::default()).unwrap()
}

/// Samples whose target is reached, out of reach, in reach and missed, and too close to tell.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    reached: usize,
    out_of_reach: usize,
    missed: usize,
    unknown: usize,
}

/// Compares with what is possible; a target that is reached although it is out of reach fails.
fn against_linear_nets(
    attack: &dyn Attack,
    classes: usize,
    target: &Target,
    (norm, radii): (Norm, [&str; 3]),
) -> Counts {
    let mut counts = Counts::default();
    for (shape, seed) in [(&[12][..], 1), (&[2, 4, 5], 2)] {
        let net = Net::random_linear(shape, classes, seed);
        let samples = Samples::random(&net, 40, seed);
        for eps in radii {
            let threat = threat(norm, eps);
            let attacked = aimed(&net, &samples, attack, &threat, target.clone());
            for (outcome, x) in attacked.outcomes.iter().zip(samples.images.rows()) {
                let target = outcome.target.unwrap();
                let possible = reachable(&net, &threat, x, target);
                let count = match (outcome.outcome, possible) {
                    (Outcome::Broken, Some(true)) => &mut counts.reached,
                    (Outcome::Robust, Some(false)) => &mut counts.out_of_reach,
                    (Outcome::Robust, Some(true)) => &mut counts.missed,
                    (_, None) => &mut counts.unknown,
                    other => panic!("{other:?} under {threat}"),
                };
                *count += 1;
                if outcome.outcome == Outcome::Broken {
                    assert_eq!(outcome.adversarial_prediction, Some(target));
                }
            }
        }
    }
    counts
}

const TARGETS: [Target; 3] = [Target::LeastLikely, Target::Rank(1), Target::Random];
const LINF: (Norm, [&str; 3]) = (Norm::Linf, ["0.05", "0.2", "0.4"]);
const L1: (Norm, [&str; 3]) = (Norm::L1, ["0.5", "2", "6"]);
const L2: (Norm, [&str; 3]) = (Norm::L2, ["0.2", "0.8", "2"]);

const MARGIN: Apgd = Apgd { steps: 100, restarts: 1, start: assay_attack::Start::Random, loss: Loss::Margin, eot: 1 };

/// The margin of the target above all others is concave: ascent ends at the best point of the threat.
#[test]
fn apgd_reaches_what_can_be_reached_in_the_euclidean_norm() {
    for classes in [2, 3, 4, 10] {
        for target in TARGETS {
            let counts = against_linear_nets(&MARGIN, classes, &target, L2);
            assert_eq!((counts.missed, counts.unknown), (0, 0), "{classes} classes, {target:?}");
            assert!(counts.reached > 80 && counts.out_of_reach > 15, "{counts:?}: too few of one kind to mean much");
        }
    }
}

/// Signs move every element as far as every other, so that a point cannot follow an edge between several classes to its end; steps in L1 move too few.
#[test]
fn apgd_reaches_nearly_all_in_other_norms_and_all_of_two_classes_in_the_maximum_norm() {
    for classes in [2, 3, 4, 10] {
        for (target, threat) in TARGETS.into_iter().flat_map(|target| [(target.clone(), LINF), (target, L1)]) {
            let counts = against_linear_nets(&MARGIN, classes, &target, threat);
            let most = if classes == 2 && threat == LINF { 0 } else { counts.reached / 20 };
            assert!(counts.missed <= most && counts.unknown <= 2, "{classes} classes, {target:?}: {counts:?}");
            assert!(counts.reached > 80 && counts.out_of_reach > 15, "{counts:?}: too few of one kind to mean much");
        }
    }
}

/// None of them knows that it is aimed: the engine hands them the loss, the margin and the verdict of the target.
#[test]
fn other_attacks_reach_most_of_what_can_be_reached() {
    let apgd_t = ApgdTargeted { loss: Loss::MarginTargeted, ..ApgdTargeted::default() };
    let cw = CarliniWagner { weight: 0.1, searches: 6, ..CarliniWagner::default() };
    let (fmn, deepfool, square) = (Fmn::default(), DeepFool::default(), Square { queries: 1000, ..Square::default() });
    let (fab, fab_t) = (Fab::default(), FabTargeted::default());
    let (pgd, bim, mi_fgsm, ddn) = (Pgd::default(), Bim::default(), MiFgsm::default(), Ddn::default());
    let of_both: [&dyn Attack; 9] = [&pgd, &bim, &mi_fgsm, &apgd_t, &fmn, &fab, &fab_t, &deepfool, &square];
    for threat in [LINF, L2, L1] {
        let of_one: &[&dyn Attack] = if threat.0 == Norm::L2 { &[&ddn, &cw] } else { &[] };
        for attack in of_both.iter().chain(of_one).filter(|attack| attack.description().norms.contains(&threat.0)) {
            let counts = against_linear_nets(*attack, 4, &Target::Random, threat);
            println!("{} {}: {counts:?}", attack.description().name, threat.0);
            assert!(counts.missed <= counts.reached / 5 && counts.unknown == 0, "{counts:?}");
            assert!(counts.reached > 80 && counts.out_of_reach > 15, "{counts:?}: too few of one kind to mean much");
        }
    }
}

/// A class that stays far below the others: the attack leads to other classes, and each of those would be a find without a target.
#[test]
fn another_class_than_the_target_is_no_success() {
    let mut net = Net::random_linear(&[2, 3, 4], 4, 9);
    net.bias[3] -= 1e3;
    let samples = Samples::random(&net, 20, 9);
    let threat = threat(Norm::Linf, "0.5");
    let targets = vec![Class(3); 20];
    for attack in
        [&Pgd::default() as &dyn Attack, &Square { queries: 100, ..Square::default() }, &FabTargeted::default()]
    {
        let untargeted = samples.attack(&net, attack, &threat);
        assert_eq!(untargeted.count(Outcome::Broken), 20);
        assert!(untargeted.outcomes.iter().all(|outcome| outcome.target.is_none()));
        let targeted = aimed(&net, &samples, attack, &threat, Target::Classes(targets.clone()));
        assert_eq!(targeted.count(Outcome::Robust), 20);
        assert!(targeted.outcomes.iter().all(|outcome| outcome.target == Some(Class(3))));
        assert_eq!(targeted.adversarial, samples.images);
    }
}

#[test]
fn a_confidence_is_demanded_of_the_target_above_all_others() {
    let net = Net::random_linear(&[3, 5, 4], 4, 3);
    let samples = Samples::random(&net, 20, 3);
    let cw = CarliniWagner { kappa: 1.0, weight: 0.1, searches: 6, steps: 300, ..CarliniWagner::default() };
    let attacked = aimed(&net, &samples, &cw, &threat(Norm::L2, "20"), Target::LeastLikely);
    assert_eq!(attacked.count(Outcome::Broken), 20);
    for (outcome, x) in attacked.outcomes.iter().zip(attacked.adversarial.rows()) {
        let z = net.row(x);
        let target = outcome.target.unwrap().index();
        let others = z.iter().enumerate().filter(|(class, _)| *class != target);
        let excess = z[target] - others.fold(f64::NEG_INFINITY, |largest, (_, z)| largest.max(*z));
        assert!((0.9999..1.5).contains(&excess), "{excess}");
    }
}

#[test]
fn targets_are_chosen_by_the_clean_logits_or_the_samples_stream() {
    let net = Net::random_linear(&[2, 3, 4], 5, 4);
    let mut samples = Samples::random(&net, 60, 4);
    // Misclassified samples are not attacked.
    samples.labels[7].0 = (samples.labels[7].0 + 1) % 5;
    let threat = threat(Norm::Linf, "0.05");
    let chosen = |samples: &Samples, target| {
        let attacked = aimed(&net, samples, &Fgsm, &threat, target);
        assert!(attacked.outcomes.iter().all(|outcome| outcome.target != Some(outcome.label)));
        attacked.outcomes.iter().map(|outcome| outcome.target.unwrap()).collect::<Vec<_>>()
    };
    let ranks: Vec<_> = (1..=4).map(|rank| chosen(&samples, Target::Rank(rank))).collect();
    assert_eq!(chosen(&samples, Target::LeastLikely), ranks[3]);
    for (i, x) in samples.images.rows().into_iter().enumerate() {
        let z = net.row(x);
        assert!(ranks.windows(2).all(|pair| z[pair[0][i].index()] >= z[pair[1][i].index()]));
    }
    let random = chosen(&samples, Target::Random);
    assert!(ranks.iter().all(|rank| (5..30).contains(&rank.iter().zip(&random).filter(|(a, b)| a == b).count())));
    let rows = [41, 3, 7, 20];
    let few = Samples {
        images: samples.images.select(ndarray::Axis(0), &rows),
        labels: rows.map(|i| samples.labels[i]).to_vec(),
        ids: rows.map(|i| samples.ids[i]).to_vec(),
    };
    assert_eq!(chosen(&few, Target::Random), rows.map(|i| random[i]));
}

#[test]
fn attacks_are_aimed_or_refused() {
    let net = Net::random_linear(&[2, 3, 4], 4, 5);
    let samples = Samples::random(&net, 10, 5);
    let (random, mut refused) = (Goal::Targeted(Target::Random), Vec::new());
    for norm in Norm::ALL {
        let threat = threat(norm, "0.5");
        for description in attacks().iter().filter(|description| description.norms.contains(&norm)) {
            let known = |name: &&str| description.parameters.iter().any(|p| p.name == *name);
            let short = ["steps", "queries", "searches"]
                .into_iter()
                .filter(known)
                .map(|name| (name.to_owned(), "3".to_owned()));
            let attack = parse(description.name, &short.collect::<Vec<_>>()).unwrap();
            let mut job = samples.job(&net, &*attack, &threat);
            job.goal = &random;
            match run(&job, &mut |_| {}, &Cancel::default()) {
                Ok(attacked) => {
                    let broken = attacked.outcomes.iter().filter(|outcome| outcome.outcome == Outcome::Broken);
                    broken.for_each(|outcome| assert_eq!(outcome.adversarial_prediction, outcome.target));
                }
                Err(error) => refused.push(error.to_string()),
            }
        }
    }
    for (attack, loss) in [("apgd-t", "dlr-targeted"), ("autoattack-standard", "dlr-targeted")] {
        let text = format!("attack \"{attack}\" cannot be aimed at a class: the loss \"{loss}\" does not change");
        assert!(refused.iter().any(|error| error.starts_with(&text)), "{refused:?}");
    }
}

#[test]
fn targets_that_are_none_are_refused_with_the_place() {
    let net = Net::random_linear(&[2, 3, 4], 4, 5);
    let samples = Samples::random(&net, 3, 5);
    let threat = threat(Norm::Linf, "0.1");
    let refused = |attack: &dyn Attack, target: Target, text: &str| {
        let goal = Goal::Targeted(target);
        let mut job = samples.job(&net, attack, &threat);
        job.goal = &goal;
        let error = run(&job, &mut |_| panic!("called"), &Cancel::default()).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    };
    let other = |i: usize| Class((samples.labels[i].0 + 1) % 4);
    refused(&Fgsm, Target::Classes(vec![other(0)]), "there are 1 targets for 3 samples");
    refused(
        &Fgsm,
        Target::Classes(vec![other(0), Class(4), other(2)]),
        "target 4 of sample 1 is out of range: the model has 4 classes, counted from 0",
    );
    let label = samples.labels[2];
    refused(
        &Fgsm,
        Target::Classes(vec![other(0), other(1), label]),
        &format!("the target of sample 2 is its label, {label}: choose another one, or leave the sample out"),
    );
    for rank in [0, 4] {
        refused(&Fgsm, Target::Rank(rank), "expected 1 to 3, the model has 4 classes");
    }
    let dlr = Pgd { loss: Loss::Dlr, ..Pgd::default() };
    refused(&dlr, Target::Random, "attack \"pgd\" cannot be aimed at a class: the loss \"dlr\" does not change where");
}
