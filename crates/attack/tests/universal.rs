//! Attacks that are one perturbation for all samples: made from some of them, judged on the others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::num::NonZeroUsize;

use assay_attack::{
    AdversarialPatch, Attack, Attacked, Cancel, Goal, Noise, Norm, Outcome, SampleId, SampleOutcome, Target, Universal,
    attacks, parse, run,
};
use assay_runtime::Class;
use common::{Net, Samples, exact_margin, threat};
use ndarray::Axis;

/// Samples of one class, or of all, `inside` the range by so much.
fn samples(net: &Net, n: usize, class: Option<u32>, inside: f32) -> Samples {
    let all = Samples::random(net, 6 * n, 3);
    let of_class: Vec<usize> = (0..6 * n).filter(|&i| class.is_none_or(|class| all.labels[i].0 == class)).collect();
    let images = all.images.select(Axis(0), &of_class).mapv(|v| inside + (1.0 - 2.0 * inside) * v);
    // Nearer to the middle, samples keep their classes where the boundary goes through it.
    let mut chosen = Samples::labelled(net, images.slice(ndarray::s![..n.min(images.nrows()), ..]).to_owned());
    chosen.ids = (0..chosen.labels.len() as u64).map(SampleId).collect();
    assert_eq!(chosen.labels.len(), n);
    chosen
}

fn judged(attacked: &Attacked) -> Vec<(usize, &SampleOutcome)> {
    attacked.outcomes.iter().enumerate().filter(|(_, o)| o.outcome != Outcome::Fitted).collect()
}

/// Of two classes, what moves one sample across moves all of its class: the best perturbation for one is the best for all.
#[test]
fn of_one_class_of_two_it_breaks_all_that_can_be_broken() {
    let net = Net::random_linear(&[3, 5, 4], 2, 1);
    for (norm, radii, inside) in
        [(Norm::Linf, ["0.01", "8/255"], 0.0), (Norm::L2, ["0.1", "0.25"], 0.3), (Norm::L1, ["0.2", "0.3"], 0.3)]
    {
        let samples = samples(&net, 80, Some(0), inside);
        for eps in radii {
            let threat = threat(norm, eps);
            let attacked = samples.attack(&net, &Universal::default(), &threat);
            assert_eq!(attacked.count(Outcome::Fitted), 40);
            let (mut robust, mut broken) = (0, 0);
            for (i, outcome) in judged(&attacked) {
                let margin = exact_margin(&net, &threat, samples.images.row(i), samples.labels[i]);
                match outcome.outcome {
                    _ if margin.abs() < 1e-2 => {}
                    Outcome::Broken => broken += usize::from(margin > 0.0),
                    Outcome::Robust => robust += usize::from(margin < 0.0),
                    other => panic!("{other:?}"),
                }
                assert!(
                    margin.abs() < 1e-2 || (margin > 0.0) == (outcome.outcome == Outcome::Broken),
                    "{threat} {i}: {margin}"
                );
            }
            println!("{threat}: {broken} broken, {robust} robust");
            assert!(robust > 2 && broken > 2, "{threat}: {robust} {broken}");
        }
    }
}

#[test]
fn one_perturbation_cannot_move_two_classes_apart() {
    let net = Net::random_linear(&[3, 5, 4], 2, 1);
    let samples = samples(&net, 120, None, 0.0);
    let attacked = samples.attack(&net, &Universal::default(), &threat(Norm::Linf, "0.1"));
    let labels: Vec<Class> =
        judged(&attacked).iter().filter(|(_, o)| o.outcome == Outcome::Broken).map(|(_, o)| o.label).collect();
    assert!(labels.len() > 15 && labels.iter().all(|label| *label == labels[0]), "{labels:?}");
}

/// What was made from the first samples is added to the others as it is: nothing is found for those, and for these nothing is looked for.
#[test]
fn the_first_samples_are_fitted_on_and_the_others_judged() {
    let net = Net::random_linear(&[3, 5, 4], 4, 2);
    let mut samples = samples(&net, 60, None, 0.25);
    // One in each part.
    for i in [2, 50] {
        samples.labels[i].0 = (samples.labels[i].0 + 1) % 4;
    }
    for (norm, eps) in [(Norm::Linf, "0.1"), (Norm::L2, "0.24"), (Norm::L1, "0.24")] {
        let threat = threat(norm, eps);
        let attack = Universal { steps: 30, fit: 0.3, ..Universal::default() };
        let attacked = samples.attack(&net, &attack, &threat);
        let mut offsets: Vec<Vec<f32>> = Vec::new();
        for (i, outcome) in attacked.outcomes.iter().enumerate() {
            let (x, point) = (samples.images.row(i), attacked.adversarial.row(i));
            assert_eq!(outcome.outcome == Outcome::Fitted, i < 18, "{i}");
            let (gradients, queries) = match outcome.outcome {
                Outcome::Fitted if i == 2 => (0, 1),
                Outcome::Fitted => (30, 2),
                Outcome::Misclassified => (0, 1),
                Outcome::Robust => (0, 2),
                _ => (0, 4),
            };
            assert_eq!((outcome.cost.gradients, outcome.cost.queries), (gradients, queries), "{i}: {outcome:?}");
            if outcome.outcome == Outcome::Broken {
                offsets.push(point.iter().zip(x).map(|(p, x)| p - x).collect());
            } else {
                assert_eq!(point, x);
            }
        }
        assert!(offsets.len() > 3, "{norm}: {}", offsets.len());
        let same = |other: &Vec<f32>| other.iter().zip(&offsets[0]).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(offsets.iter().all(same), "{norm}");
    }
}

#[test]
fn it_breaks_far_more_than_noise() {
    let net = common::toy::mlp();
    let samples = samples(&net, 200, None, 0.0);
    for (norm, eps) in [(Norm::Linf, "0.05"), (Norm::L2, "0.5"), (Norm::L1, "5")] {
        let threat = threat(norm, eps);
        let attacked = samples.attack(&net, &Universal::default(), &threat);
        let noise = samples.attack(&net, &Noise { queries: 1, ..Noise::default() }, &threat);
        let (broken, by_noise) = (attacked.count(Outcome::Broken), noise.count(Outcome::Broken) / 2);
        println!("{threat}: {broken} of 100, noise {by_noise}");
        assert!(broken > 2 * by_noise && broken > 20, "{threat}: {broken} {by_noise}");
    }
}

/// Three classes that are colours: a patch of one colour misleads from the others wherever it is.
fn colours() -> Net {
    let weights = ndarray::Array2::from_shape_fn((3, 192), |(class, i)| if i / 64 == class { 1.0 } else { -0.5 });
    Net::linear(&[3, 8, 8], weights, vec![0.0; 3])
}

/// At the same places, a random picture is the control.
#[test]
fn a_patch_breaks_far_more_than_a_random_picture() {
    let net = colours();
    let samples = samples(&net, 200, None, 0.0);
    let threat = threat(Norm::L0, "inf");
    let patch = AdversarialPatch { side: 0.5, ..AdversarialPatch::default() };
    let [made, drawn, often] = [(200, 1), (0, 1), (200, 5)].map(|(steps, tries)| {
        let attacked = samples.attack(&net, &AdversarialPatch { steps, tries, ..patch }, &threat);
        assert_eq!((attacked.count(Outcome::Fitted), attacked.count(Outcome::Error)), (100, 0));
        for (outcome, row) in attacked.outcomes.iter().zip(attacked.adversarial.rows()) {
            // Of three channels, no more than a square of half the side, turned, covers.
            assert!(outcome.distance.l0 <= 3 * 25 && row.iter().all(|v| (0.0..=1.0).contains(v)));
            let (queries, gradients) = (outcome.cost.queries, outcome.cost.gradients);
            match outcome.outcome {
                Outcome::Fitted => assert_eq!((queries, gradients), (1, steps.into())),
                _ => assert!(queries <= u64::from(tries) + 3 && gradients == 0),
            }
        }
        attacked.count(Outcome::Broken)
    });
    println!("a patch breaks {made} of 100, in five places {often}, a random picture {drawn}");
    assert!(made > 2 * drawn && made > 50 && often >= made, "{made} {drawn} {often}");
}

/// Beyond eps nothing is found.
#[test]
fn a_patch_that_eps_does_not_allow_is_no_find() {
    let net = colours();
    let samples = samples(&net, 40, None, 0.0);
    let patch = AdversarialPatch { side: 0.5, steps: 40, ..AdversarialPatch::default() };
    let [few, all] =
        ["8", "inf"].map(|eps| samples.attack(&net, &patch, &threat(Norm::L0, eps)).count(Outcome::Broken));
    assert!(few == 0 && all > 3, "{few} {all}");
}

#[test]
fn it_may_be_aimed_at_a_class() {
    let net = Net::random_linear(&[3, 5, 4], 4, 2);
    let samples = samples(&net, 60, None, 0.0);
    let (threat, attack) = (threat(Norm::Linf, "0.2"), Universal::default());
    let kept: Vec<usize> = (0..60).filter(|&i| samples.labels[i] != Class(3)).collect();
    let others = Samples::labelled(&net, samples.images.select(Axis(0), &kept));
    let goal = Goal::Targeted(Target::Classes(vec![Class(3); kept.len()]));
    let mut job = others.job(&net, &attack, &threat);
    job.goal = &goal;
    let attacked = run(&job, &mut |_| {}, &Cancel::default()).unwrap();
    assert!(attacked.count(Outcome::Broken) > kept.len() / 4, "{}", attacked.count(Outcome::Broken));
    let broken = attacked.outcomes.iter().filter(|o| o.outcome == Outcome::Broken);
    assert!(broken.map(|o| o.adversarial_prediction).all(|class| class == Some(Class(3))));
}

/// Everything that is told of the samples that are judged, by id.
fn told(attacked: &Attacked) -> Vec<(SampleId, String)> {
    let mut told: Vec<_> = judged(attacked)
        .iter()
        .map(|(i, o)| (o.id, format!("{o:?} {:?}", attacked.adversarial.row(*i).to_vec())))
        .collect();
    told.sort();
    told
}

/// All attacks that are made from samples: batches change nothing, and neither do those that are judged for one another.
#[test]
fn results_depend_on_the_samples_they_are_made_from_and_on_nothing_else() {
    let net = Net::random_linear(&[2, 6, 7], 4, 5);
    let samples = samples(&net, 60, None, 0.0);
    let chosen = |rows: Vec<usize>| Samples {
        images: samples.images.select(Axis(0), &rows),
        labels: rows.iter().map(|&i| samples.labels[i]).collect(),
        ids: rows.iter().map(|&i| samples.ids[i]).collect(),
    };
    let mut tested = 0;
    for description in attacks() {
        let steps = description.parameters.iter().any(|p| p.name == "steps");
        let make = |fit: &str| {
            let steps = steps.then(|| ("steps".to_owned(), "12".to_owned()));
            let fit = ("fit".to_owned(), fit.to_owned());
            parse(description.name, &steps.into_iter().chain([fit]).collect::<Vec<_>>()).unwrap()
        };
        if parse(description.name, &[]).unwrap().fitted_share().is_none() {
            continue;
        }
        tested += 1;
        for norm in description.norms {
            let half = make("0.5");
            let eps = if *norm == Norm::Linf { "0.1" } else { "0.9" };
            let threat = threat(*norm, if half.needs_eps() { eps } else { "inf" });
            let whole = samples.attack(&net, &*half, &threat);
            assert!(whole.count(Outcome::Broken) > 0);
            for batch in [1, 3, 7, 64] {
                let mut job = samples.job(&net, &*half, &threat);
                job.batch = NonZeroUsize::new(batch).unwrap();
                let attacked = run(&job, &mut |_| {}, &Cancel::default()).unwrap();
                assert_eq!(told(&attacked), told(&whole), "{norm}, batches of {batch}");
            }
            let backwards = chosen((0..30).chain((30..60).rev()).collect());
            assert_eq!(told(&backwards.attack(&net, &*half, &threat)), told(&whole), "{norm}");
            // 30 of 40 are three quarters.
            let fewer = told(&chosen((0..40).collect()).attack(&net, &*make("0.75"), &threat));
            assert_eq!(fewer, told(&whole)[..10], "{norm}");
            let others = chosen((30..60).chain(0..30).collect());
            assert_ne!(told(&others.attack(&net, &*half, &threat)), told(&whole), "{norm}: made from others");
        }
    }
    assert_eq!(tested, 2);
}

#[test]
fn samples_that_do_not_suffice_are_refused() {
    let net = Net::random_linear(&[2, 3, 5], 4, 5);
    let threat = threat(Norm::Linf, "0.1");
    let refusal = |samples: &Samples, attack: &dyn Attack| {
        run(&samples.job(&net, attack, &threat), &mut |_| {}, &Cancel::default()).unwrap_err().to_string()
    };
    let one = refusal(&samples(&net, 1, None, 0.0), &Universal::default());
    assert!(one.contains("\"universal\" is made from 1 of 1 samples, which leaves none to judge"), "{one}");
    let few = refusal(&samples(&net, 3, None, 0.0), &Universal { fit: 0.99, ..Universal::default() });
    assert!(few.contains("made from 3 of 3 samples"), "{few}");
    let mut wrong = samples(&net, 10, None, 0.0);
    wrong.labels[..5].iter_mut().for_each(|label| label.0 = (label.0 + 1) % 4);
    let none = refusal(&wrong, &Universal::default());
    assert!(none.contains("made from the first 5 of 10 samples, and the model classifies none"), "{none}");
}
