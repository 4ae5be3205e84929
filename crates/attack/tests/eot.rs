//! Expectation over transformation: attacks on models that answer at random follow the mean of several answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use assay_attack::{
    Apgd, Attack, Attacked, Budget, Cancel, Description, Halt, Norm, Outcome, Pgd, Reason, SampleId, SampleRng, Start,
    Threat, attacks, run,
};
use assay_graph::Loss;
use common::{Altered, Net, Samples, exact_margin, threat};

/// A net whose gradients, or logits, are hidden in normal noise so many times their size, drawn anew in each call.
fn noisy<'a>(net: &'a Net, calls: &'a AtomicU64, of_gradients: f32, of_logits: f32) -> Altered<'a> {
    let noise = move |n: usize| {
        let mut values = vec![0.0_f32; n];
        let call = calls.fetch_add(1, Ordering::Relaxed);
        SampleRng::new(call, SampleId(0), "noise", 0).fill_normal(&mut values);
        values
    };
    let mut altered = Altered::new(net);
    altered.logits = Box::new(move |_, mut z| {
        let noise = noise(z.len());
        z.iter_mut().zip(noise).for_each(|(z, noise)| *z += of_logits * noise);
        Ok(z)
    });
    altered.gradient = Box::new(move |_, mut e| {
        let size = (e.gradient.iter().map(|g| g * g).sum::<f32>() / e.gradient.len() as f32).sqrt();
        let hidden = noise(e.gradient.len());
        e.gradient.iter_mut().zip(hidden).for_each(|(g, noise)| *g += of_gradients * size * noise);
        let hidden = noise(e.logits.len());
        e.logits.iter_mut().zip(hidden).for_each(|(z, noise)| *z += of_logits * noise);
        Ok(e)
    });
    altered
}

/// Samples that can be broken and were not.
fn missed(net: &Net, samples: &Samples, threat: &Threat, attacked: &Attacked) -> usize {
    let robust = attacked.outcomes.iter().zip(samples.images.rows()).filter(|(o, _)| o.outcome == Outcome::Robust);
    robust.filter(|(o, x)| exact_margin(net, threat, *x, o.label) > 0.0).count()
}

/// With noise eight times as large as the gradient the signs of single answers are nearly those of a coin; those of the mean of 400 are
/// right but for the smallest elements. A mean of the wrong sign would break nothing.
#[test]
fn the_mean_finds_the_way_through_noisy_gradients() {
    let net = Net::random_linear(&[3, 5, 4], 2, 1);
    let samples = Samples::random(&net, 60, 1);
    for (norm, eps) in [(Norm::Linf, "0.05"), (Norm::L2, "0.3")] {
        let threat = threat(norm, eps);
        let margins = samples.images.rows().into_iter().zip(&samples.labels);
        let breakable = margins.filter(|(x, label)| exact_margin(&net, &threat, *x, **label) > 0.0).count();
        assert!((20..55).contains(&breakable), "{breakable}");
        let attacks = |eot| -> [Box<dyn Attack>; 2] {
            let pgd = Pgd { steps: 10, start: Start::Image, eot, ..Pgd::default() };
            [Box::new(pgd), Box::new(Apgd { steps: 25, eot, ..Apgd::default() })]
        };
        for (single, mean) in attacks(1).into_iter().zip(attacks(400)) {
            let calls = AtomicU64::new(0);
            let model = noisy(&net, &calls, 8.0, 0.0);
            let [single, mean] = [single, mean]
                .map(|attack| missed(&net, &samples, &threat, &samples.attack(&model, &*attack, &threat)));
            assert!(mean * 10 <= breakable && single >= mean + 5, "{threat}: {single} and {mean} of {breakable}");
        }
    }
}

/// Nothing can be broken, but a single answer is another class now and then.
#[test]
fn a_lucky_answer_is_no_find() {
    let net = Net::random_linear(&[3, 5, 4], 3, 1);
    let samples = Samples::random(&net, 60, 1);
    let threat = threat(Norm::Linf, "0.0001");
    let calls = AtomicU64::new(0);
    let model = noisy(&net, &calls, 0.0, 1.0);
    let found = |eot| {
        let attacked = samples.attack(&model, &Pgd { steps: 10, eot, ..Pgd::default() }, &threat);
        let finds = attacked.outcomes.iter().zip(samples.images.rows());
        let finds = finds.filter(|(o, _)| o.outcome != Outcome::Robust && o.outcome != Outcome::Misclassified);
        finds.filter(|(o, x)| exact_margin(&net, &threat, *x, o.label) < -0.5).count()
    };
    let [single, mean] = [1, 100].map(found);
    assert!(single > 10 && mean == 0, "{single} {mean}");
}

/// Takes note of what it is handed, and moves nothing.
#[derive(Debug, Default)]
struct Onlooker {
    draws: u32,
    seen: Mutex<Vec<(f32, Vec<f32>, bool)>>,
    margin: Mutex<Vec<f32>>,
}

impl Attack for Onlooker {
    fn description(&self) -> &'static Description {
        attacks()[0]
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn evaluations(&self) -> u64 {
        2 * u64::from(self.draws)
    }

    fn run(&self, samples: &mut assay_attack::Samples<'_>) -> Result<(), Halt> {
        samples.keep(assay_attack::Keep::Best);
        samples.draws(self.draws);
        samples.start(0, Start::Image);
        samples.gradient(Loss::CrossEntropy, |step| {
            self.seen.lock().unwrap().push((step.loss, step.gradient.to_vec(), step.adversarial));
        })?;
        samples.query_each(|answer| self.margin.lock().unwrap().push(answer.margin))
    }
}

#[test]
fn loss_gradient_and_logits_are_means_and_each_draw_is_counted() {
    let net = Net::linear(&[2], ndarray::Array2::zeros((2, 2)), vec![1.0, 0.0]);
    let samples = Samples::labelled(&net, ndarray::array![[0.5_f32, 0.5]]);
    let (calls, forward) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut model = Altered::new(&net);
    model.gradient = Box::new(|_, mut e| {
        let call = calls.fetch_add(1, Ordering::Relaxed) as f32;
        e.loss[0] = call;
        e.gradient.row_mut(0).assign(&ndarray::arr1(&[call, 2.0 - 2.0 * call]));
        // Two of the four draws are of the other class, by less than the others are of the label.
        e.logits.row_mut(0).assign(&ndarray::arr1(&[1.0, [3.0, -8.0, 2.0, -4.0][call as usize]]));
        Ok(e)
    });
    model.logits = Box::new(|_, mut z| {
        // The clean prediction, and four draws of which one is of the other class, by more than the others are of the label.
        z[[0, 1]] = [0.0, 0.0, 0.0, 0.0, 9.0, 2.0, 2.0][forward.fetch_add(1, Ordering::Relaxed) as usize];
        Ok(z)
    });
    let onlooker = Onlooker { draws: 4, ..Onlooker::default() };
    let mut last = None;
    let threat = threat(Norm::L2, "1");
    let job = samples.job(&model, &onlooker, &threat);
    let attacked = run(&job, &mut |progress| last = Some(progress), &Cancel::default()).unwrap();
    assert_eq!(*onlooker.seen.lock().unwrap(), [(1.5, vec![1.5, -1.0], false)]);
    assert_eq!(*onlooker.margin.lock().unwrap(), [1.0 - 2.25]);
    // Verified by two single answers.
    assert_eq!(attacked.outcomes[0].outcome, Outcome::Broken);
    assert_eq!((attacked.cost.gradients, attacked.cost.queries), (4, 1 + 4 + 2));
    let last = last.unwrap();
    assert_eq!((last.steps_done, last.steps_total), (8, 8));
}

#[test]
fn budgets_hold_and_costs_are_those_of_every_draw() {
    let net = Net::random_linear(&[2, 3, 4], 3, 9);
    let samples = Samples::random(&net, 20, 9);
    let threat = threat(Norm::Linf, "0.001");
    for attack in
        [&Pgd { steps: 6, eot: 3, ..Pgd::default() } as &dyn Attack, &Apgd { steps: 6, eot: 3, ..Apgd::default() }]
    {
        for (budget, reason, (gradients, queries)) in [
            (Budget::default(), None, (18, 4)),
            (Budget { gradients: Some(8), ..Budget::default() }, Some(Reason::Gradients), (6, 1)),
        ] {
            let mut job = samples.job(&net, attack, &threat);
            job.budget = budget;
            let attacked = run(&job, &mut |_| {}, &Cancel::default()).unwrap();
            assert_eq!(attacked.stopped, reason);
            assert!(attacked.count(Outcome::Robust) > 15);
            for outcome in attacked.outcomes.iter().filter(|o| o.outcome == Outcome::Robust) {
                assert_eq!((outcome.cost.gradients, outcome.cost.queries), (gradients, queries));
                assert!(outcome.cost.gradients + outcome.cost.queries - 1 <= attack.evaluations());
            }
        }
    }
}
