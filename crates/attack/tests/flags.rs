//! Each flag is raised by a model that deserves it, and by no other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use assay_attack::{
    ApgdTargeted, Attack, Attacked, Budget, Cancel, Flag, FlagKind, Norm, Outcome, Pgd, Square, Start, StepSize, Suite,
    Threat, run,
};
use assay_graph::Loss;
use assay_runtime::{Class, Classifier, ClassifierSpec, Evaluated, Gradients, RunError};
use common::{Altered, Net, Samples, threat};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

fn net_and_samples() -> (Net, Samples, Threat) {
    let net = Net::random_linear(&[2, 3, 4], 4, 9);
    let samples = Samples::random(&net, 20, 9);
    (net, samples, threat(Norm::Linf, "0.02"))
}

fn attacked(samples: &Samples, classifier: &dyn Classifier, attack: &dyn Attack, threat: &Threat) -> Attacked {
    let mut job = samples.job(classifier, attack, threat);
    job.checks = true;
    run(&job, &mut |_| {}, &Cancel::default()).unwrap()
}

fn kinds(attacked: &Attacked) -> Vec<FlagKind> {
    attacked.flags.iter().map(|flag| flag.kind).collect()
}

/// The only flag.
#[track_caller]
fn only(attacked: &Attacked, kind: FlagKind) -> &Flag {
    assert_eq!(kinds(attacked), [kind], "{:?}", attacked.flags);
    &attacked.flags[0]
}

/// A net whose description says something else.
struct Said<'a>(&'a Net, ClassifierSpec);

impl<'a> Said<'a> {
    fn of(net: &'a Net, gradients: Gradients) -> Self {
        Self(net, ClassifierSpec { gradients, ..net.spec().clone() })
    }
}

impl Classifier for Said<'_> {
    fn spec(&self) -> &ClassifierSpec {
        &self.1
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        self.0.logits(x)
    }

    fn gradient(
        &self,
        x: ArrayView2<'_, f32>,
        loss: Loss,
        labels: &[Class],
        targets: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        self.0.gradient(x, loss, labels, targets)
    }

    fn vjp(&self, x: ArrayView2<'_, f32>, cotangent: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        self.0.vjp(x, cotangent)
    }
}

#[test]
fn a_sound_model_raises_none_and_looking_at_it_is_counted_apart() {
    let (net, samples, threat) = net_and_samples();
    let pgd = Pgd::default();
    let looked = attacked(&samples, &net, &pgd, &threat);
    assert_eq!(looked.flags, []);
    let robust = looked.count(Outcome::Robust);
    assert!(robust > 8, "{robust} robust samples are enough for all that is tried without bounds");
    // The first batch again, one of it alone, and eight samples: clean, attacked, and verified twice.
    assert_eq!(looked.checks.queries, 16 + 1 + 8 * 3);
    assert!((8..=8 * 40).contains(&looked.checks.gradients), "{:?}", looked.checks);
    let plain = samples.attack(&net, &pgd, &threat);
    assert_eq!((plain.outcomes, plain.cost, plain.checks.queries), (looked.outcomes, looked.cost, 0));
}

#[test]
fn calls_of_one_sample_raise_none_either() {
    let (net, samples, threat) = net_and_samples();
    let pgd = Pgd::default();
    let mut job = samples.job(&net, &pgd, &threat);
    (job.checks, job.batch) = (true, std::num::NonZeroUsize::MIN);
    assert_eq!(run(&job, &mut |_| {}, &Cancel::default()).unwrap().flags, []);
}

#[test]
fn a_model_that_draws_random_numbers_is_found_out() {
    let (net, samples, threat) = net_and_samples();
    let calls = AtomicUsize::new(0);
    let mut noisy = Altered::new(&net);
    noisy.logits = Box::new(|_, mut z| {
        let noise = 0.01 * calls.fetch_add(1, Ordering::Relaxed) as f32;
        z.column_mut(0).mapv_inplace(|v| v + noise);
        Ok(z)
    });
    let flags = attacked(&samples, &noisy, &Pgd::default(), &threat).flags;
    assert_eq!((flags[0].kind, flags[0].samples), (FlagKind::RandomizedOutput, 16));
}

#[test]
fn a_model_whose_batch_matters_is_found_out() {
    let (net, samples, threat) = net_and_samples();
    let mut mixing = Altered::new(&net);
    mixing.logits = Box::new(|x, z| Ok(z * (1.0 + 1e-6 * x.nrows() as f32)));
    let attacked = attacked(&samples, &mixing, &Pgd::default(), &threat);
    assert!(
        only(&attacked, FlagKind::BatchDependentOutput).detail.contains("in a batch of 16; calls are filled up to 16")
    );
}

#[test]
fn probabilities_are_no_logits() {
    let (net, samples, threat) = net_and_samples();
    let mut softmax = Altered::new(&net);
    softmax.logits = Box::new(|_, z| {
        let exp = z.mapv(f32::exp);
        let sums = exp.sum_axis(Axis(1)).insert_axis(Axis(1));
        Ok(exp / sums)
    });
    only(&attacked(&samples, &softmax, &Pgd::default(), &threat), FlagKind::Probabilities);
}

#[test]
fn a_model_without_a_gradient_or_with_an_estimate_says_so() {
    let (net, samples, threat) = net_and_samples();
    let none = Said::of(&net, Gradients::Unavailable("node \"gru\" (GRU): no rule".to_owned()));
    let square = Square { queries: 20, ..Square::default() };
    let found = attacked(&samples, &none, &square, &threat);
    assert!(only(&found, FlagKind::NoGradient).detail.contains("(GRU)"));
    let estimate = Said::of(&net, Gradients::StraightThrough(vec!["node \"q\" (QuantizeLinear)".to_owned()]));
    assert!(
        only(&attacked(&samples, &estimate, &Pgd::default(), &threat), FlagKind::StraightThrough)
            .detail
            .contains("1 nodes")
    );
    assert_eq!(attacked(&samples, &estimate, &square, &threat).flags, [], "square follows no gradient");
}

#[test]
fn a_masked_gradient_is_found_out_in_three_ways() {
    let (net, samples, threat) = net_and_samples();
    let mut flat = Altered::new(&net);
    flat.gradient = Box::new(|_, mut e| {
        e.gradient.fill(0.0);
        Ok(e)
    });
    let suite = Suite::named("ci-fast").unwrap();
    let flags = kinds(&attacked(&samples, &flat, &suite, &threat));
    assert!(flags.contains(&FlagKind::ZeroGradient) && flags.contains(&FlagKind::BlackBoxStronger), "{flags:?}");

    let mut reversed = Altered::new(&net);
    reversed.gradient = Box::new(|_, mut e| {
        e.gradient.mapv_inplace(|g| -g);
        Ok(e)
    });
    let blind = attacked(&samples, &reversed, &Pgd::default(), &threat);
    let flag = only(&blind, FlagKind::UnconstrainedAttackFails);
    assert_eq!(flag.samples, 8, "{}", flag.detail);
}

#[test]
fn numbers_that_are_not_finite_are_counted() {
    let (net, samples, threat) = net_and_samples();
    let (clean, mut broken) = (samples.images.row(3).to_owned(), Altered::new(&net));
    broken.logits = Box::new(move |x, mut z| {
        let is = |row: usize| x.row(row) == clean.view();
        (0..x.nrows()).filter(|row| is(*row)).for_each(|row| z[[row, 0]] = f32::NAN);
        Ok(z)
    });
    let attacked = attacked(&samples, &broken, &Pgd::default(), &threat);
    let flag = attacked.flags.iter().find(|flag| flag.kind == FlagKind::NotFinite).unwrap();
    assert_eq!((flag.samples, attacked.count(Outcome::Error)), (1, 1));
}

#[test]
fn three_classes_are_too_few_for_the_targeted_dlr_loss() {
    let net = Net::random_linear(&[2, 3, 4], 3, 9);
    let (samples, threat) = (Samples::random(&net, 20, 9), threat(Norm::Linf, "0.02"));
    let apgd = ApgdTargeted::default();
    let replaced = attacked(&samples, &net, &apgd, &threat);
    assert!(only(&replaced, FlagKind::TooFewClasses).detail.contains("the model has 3"));
    let margin = attacked(&samples, &net, &ApgdTargeted { loss: Loss::MarginTargeted, ..apgd }, &threat);
    assert_eq!((margin.flags, margin.outcomes), (vec![], replaced.outcomes));
}

#[test]
fn an_attack_that_was_still_getting_on_says_so() {
    let (net, samples, threat) = net_and_samples();
    // The surface of the ball is out of reach.
    let short = Pgd { steps: 20, step: StepSize::Fixed(1e-5), start: Start::Image, ..Pgd::default() };
    let attacked = attacked(&samples, &net, &short, &threat);
    let robust = attacked.count(Outcome::Robust) as u64;
    assert!(robust > 0);
    assert_eq!(only(&attacked, FlagKind::IncompleteOptimization).samples, robust);
}

#[test]
fn predictions_that_do_not_hold_are_counted() {
    let (net, samples, threat) = net_and_samples();
    let clean = samples.images.clone();
    let mut forgetful = Altered::new(&net);
    // Whatever is no clean sample has the label's logits when it is evaluated forward only.
    forgetful.logits = Box::new(|x, mut z| {
        for (row, mut z) in x.rows().into_iter().zip(z.rows_mut()) {
            let near = |c: &ArrayView1<'_, f32>| c.iter().zip(&row).all(|(a, b)| (a - b).abs() < 0.021);
            if let Some(near) = clean.rows().into_iter().find(near) {
                z.assign(&net.row(near).into_iter().map(|v| v as f32).collect::<Array1<f32>>());
            }
        }
        Ok(z)
    });
    let attacked = attacked(&samples, &forgetful, &Pgd::default(), &threat);
    let unstable = attacked.count(Outcome::Unstable) as u64;
    assert!(unstable > 0);
    assert_eq!(attacked.flags.iter().find(|f| f.kind == FlagKind::UnstablePredictions).unwrap().samples, unstable);
}

#[test]
fn a_spent_budget_is_said_to_be_one() {
    let (net, samples, threat) = net_and_samples();
    let pgd = Pgd { step: StepSize::Fixed(1e-6), start: Start::Image, ..Pgd::default() };
    let mut job = samples.job(&net, &pgd, &threat);
    job.budget = Budget { gradients: Some(2), ..Budget::default() };
    let attacked = run(&job, &mut |_| {}, &Cancel::default()).unwrap();
    assert_eq!(only(&attacked, FlagKind::BudgetSpent).samples, 20);
}

/// One answer in four is adversarial everywhere: the mean of eight is not.
#[test]
fn a_lucky_draw_is_no_find_but_said() {
    let (net, samples, threat) = net_and_samples();
    let calls = AtomicUsize::new(0);
    let lucky = |mut z: Array2<f32>| {
        if calls.fetch_add(1, Ordering::Relaxed) % 4 == 3 {
            z.mapv_inplace(|v| -0.1 * v);
        }
        z
    };
    let mut model = Altered::new(&net);
    model.gradient = Box::new(|_, e| Ok(Evaluated { logits: lucky(e.logits), ..e }));
    let pgd = Pgd { steps: 5, eot: 8, ..Pgd::default() };
    let attacked = attacked(&samples, &model, &pgd, &threat);
    let robust = attacked.count(Outcome::Robust) as u64;
    let flag = attacked.flags.iter().find(|flag| flag.kind == FlagKind::SilentSuccess).unwrap();
    assert!(robust > 0 && flag.samples == robust, "{flag:?}");
}
