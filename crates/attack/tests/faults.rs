//! Models that misbehave, runs that are stopped, and jobs that are not valid.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use assay_attack::{
    Attack, AttackError, Attacked, Budget, Cancel, Description, Fgsm, Halt, Job, Norm, Outcome, Pgd, Reason, SampleId,
    Start, StepSize, Threat, attacks, parse, run,
};
use assay_graph::Loss;
use assay_runtime::{Class, Classifier, ClassifierSpec, Evaluated, Gradients, RunError};
use common::{Altered, Net, Samples, threat};
use ndarray::{Array2, ArrayView2};

fn net_and_samples() -> (Net, Samples, Threat) {
    let net = Net::random_linear(&[2, 3, 4], 3, 9);
    let samples = Samples::random(&net, 20, 9);
    (net, samples, threat(Norm::Linf, "0.05"))
}

fn outcomes(attacked: &Attacked) -> Vec<Outcome> {
    attacked.outcomes.iter().map(|o| o.outcome).collect()
}

/// A row is a sample's own if it lies in the ball around it.
fn is(x: &ArrayView2<'_, f32>, row: usize, sample: &ArrayView2<'_, f32>) -> bool {
    x.row(row).iter().zip(sample.row(0)).all(|(a, b)| (a - b).abs() <= 0.0501)
}

#[test]
fn logits_that_are_not_finite_end_that_sample_only() {
    let (net, samples, threat) = net_and_samples();
    let expected = outcomes(&samples.attack(&net, &Pgd::default(), &threat));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for clean in [true, false] {
            let mut altered = Altered::new(&net);
            let victim = samples.images.slice(ndarray::s![4..5, ..]);
            if clean {
                altered.logits = Box::new(move |x, mut z| {
                    (0..x.nrows()).filter(|i| is(&x, *i, &victim)).for_each(|i| z[[i, 1]] = bad);
                    Ok(z)
                });
            } else {
                altered.gradient = Box::new(move |x, mut e| {
                    (0..x.nrows()).filter(|i| is(&x, *i, &victim)).for_each(|i| e.logits[[i, 1]] = bad);
                    Ok(e)
                });
            }
            let attacked = samples.attack(&altered, &Pgd::default(), &threat);
            let victim = &attacked.outcomes[4];
            assert_eq!(victim.outcome, Outcome::Error);
            assert_eq!(victim.error.as_deref(), Some("the logits of the model are not finite"));
            assert_eq!(victim.clean_prediction.is_none(), clean);
            for (i, outcome) in outcomes(&attacked).into_iter().enumerate().filter(|(i, _)| *i != 4) {
                assert_eq!(outcome, expected[i]);
            }
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_ends_that_sample_only() {
    let (net, samples, threat) = net_and_samples();
    let mut altered = Altered::new(&net);
    let victim = samples.images.slice(ndarray::s![4..5, ..]);
    altered.gradient = Box::new(move |x, mut e| {
        (0..x.nrows()).filter(|i| is(&x, *i, &victim)).for_each(|i| e.gradient[[i, 3]] = f32::NAN);
        Ok(e)
    });
    let attacked = samples.attack(&altered, &Fgsm, &threat);
    assert_eq!(attacked.outcomes[4].error.as_deref(), Some("the gradient of the model is not finite"));
    assert_eq!(attacked.count(Outcome::Error), 1);
}

#[test]
fn constant_logits_are_the_lowest_class_and_their_zero_gradients_are_counted() {
    let net = Net::linear(&[6], Array2::zeros((3, 6)), vec![0.5; 3]);
    let samples = Samples::random(&net, 5, 1);
    assert!(samples.labels.iter().all(|l| *l == Class(0)));
    for &norm in Pgd::default().description().norms {
        let threat = threat(norm, "0.1");
        let attacked = samples.attack(&net, &Pgd::default(), &threat);
        assert_eq!(attacked.count(Outcome::Robust), 5);
        assert!(attacked.outcomes.iter().all(|o| o.zero_gradients == 40));
    }
}

#[test]
fn a_zero_gradient_is_replaced_by_a_random_direction() {
    let (net, samples, _) = net_and_samples();
    let threat = threat(Norm::Linf, "0.5");
    let mut flat = Altered::new(&net);
    flat.gradient = Box::new(|_, mut e| {
        e.gradient.fill(0.0);
        Ok(e)
    });
    let pgd = Pgd { start: Start::Image, step: StepSize::Fixed(0.25), ..Pgd::default() };
    let attacked = samples.attack(&flat, &pgd, &threat);
    assert!(attacked.count(Outcome::Broken) > 0, "a random walk breaks some");
    assert!(attacked.outcomes.iter().all(|o| o.zero_gradients > 0
        && o.zero_gradients == o.cost.gradients - u64::from(o.outcome == Outcome::Broken && o.cost.queries == 3)));
}

#[test]
fn a_failing_call_fails_the_run() {
    let (net, samples, threat) = net_and_samples();
    let calls = AtomicUsize::new(0);
    let mut failing = Altered::new(&net);
    failing.gradient = Box::new(|_, e| {
        if calls.fetch_add(1, Ordering::Relaxed) == 5 {
            Err(RunError::Runtime("out of memory".to_owned()))
        } else {
            Ok(e)
        }
    });
    let error = run(&samples.job(&failing, &Pgd::default(), &threat), &mut |_| {}, &Cancel::default()).unwrap_err();
    assert_eq!(error.to_string(), "ONNX Runtime failed: out of memory");
    assert_eq!(calls.load(Ordering::Relaxed), 6);
}

#[test]
fn answers_of_another_shape_are_refused() {
    let (net, samples, threat) = net_and_samples();
    let mut short = Altered::new(&net);
    short.logits = Box::new(|_, z| Ok(z.slice(ndarray::s![1.., ..]).to_owned()));
    let mut narrow = Altered::new(&net);
    narrow.gradient = Box::new(|_, mut e| {
        e.gradient = e.gradient.slice(ndarray::s![.., 1..]).to_owned();
        Ok(e)
    });
    for (classifier, text) in [(&short, "logits"), (&narrow, "gradients")] {
        let error = run(&samples.job(classifier, &Fgsm, &threat), &mut |_| {}, &Cancel::default()).unwrap_err();
        assert!(error.to_string().contains(text) && error.to_string().contains("expected"), "{error}");
    }
}

/// The model's forward pass, or only that of a single sample, does not agree with what the gradient's pass said.
#[test]
fn a_find_that_does_not_hold_is_unstable() {
    let (net, samples, threat) = net_and_samples();
    let broken = samples.attack(&net, &Pgd::default(), &threat).count(Outcome::Broken);
    assert!(broken > 3);
    let calls = AtomicUsize::new(0);
    for alone in [true, false] {
        let clean = samples.images.view();
        let labels = &samples.labels;
        let mut altered = Altered::new(&net);
        let calls = &calls;
        calls.store(0, Ordering::Relaxed);
        altered.logits = Box::new(move |x, mut z| {
            // Whichever sample a row belongs to, it is given that sample's label.
            let first = calls.fetch_add(1, Ordering::Relaxed) < 2;
            if !first && (x.nrows() == 1 || !alone) {
                for i in 0..x.nrows() {
                    let owner =
                        (0..clean.nrows()).find(|s| is(&x, i, &clean.slice(ndarray::s![*s..s + 1, ..]))).unwrap();
                    z[[i, labels[owner].index()]] = 1e6;
                }
            }
            Ok(z)
        });
        let attacked = samples.attack(&altered, &Pgd::default(), &threat);
        assert_eq!(attacked.count(Outcome::Broken), 0);
        assert_eq!(attacked.count(Outcome::Unstable), broken);
        for o in attacked.outcomes.iter().filter(|o| o.outcome == Outcome::Unstable) {
            assert!(o.distance.linf > 0.0 && o.adversarial_prediction == Some(o.label));
        }
    }
}

#[test]
fn cancelling_stops_before_the_next_call() {
    let (net, samples, threat) = net_and_samples();
    let (calls, cancel) = (AtomicUsize::new(0), Cancel::default());
    let mut slow = Altered::new(&net);
    slow.gradient = Box::new(|_, e| {
        if calls.fetch_add(1, Ordering::Relaxed) == 2 {
            cancel.cancel();
        }
        Ok(e)
    });
    let attacked =
        run(&samples.job(&slow, &Pgd { steps: 10_000, ..Pgd::default() }, &threat), &mut |_| {}, &cancel).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    assert_eq!(attacked.stopped, Some(Reason::Cancelled));
    assert!(attacked.outcomes.iter().all(|o| o.outcome == Outcome::Error));
    assert!(attacked.outcomes.iter().all(|o| o.error.as_deref().unwrap().starts_with("not measured: ")));

    let attacked = run(&samples.job(&net, &Fgsm, &threat), &mut |_| {}, &cancel).unwrap();
    assert_eq!(attacked.cost, assay_attack::Cost::default(), "a run that is cancelled before it starts calls nothing");
}

#[test]
fn a_deadline_ends_the_attack_and_keeps_what_was_verified() {
    let (net, samples, threat) = net_and_samples();
    let mut job = samples.job(&net, &Fgsm, &threat);
    job.budget.deadline = Some(Instant::now());
    let attacked = run(&job, &mut |_| {}, &Cancel::default()).unwrap();
    assert_eq!((attacked.stopped, attacked.cost.queries), (Some(Reason::Deadline), 0));
    assert_eq!(attacked.count(Outcome::Error), 20);

    let deadline = Instant::now() + Duration::from_secs(1);
    let calls = AtomicUsize::new(0);
    let mut slow = Altered::new(&net);
    slow.gradient = Box::new(|_, e| {
        // However fast the machine is, the deadline passes within the same call.
        if calls.fetch_add(1, Ordering::Relaxed) == 15 {
            std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        }
        Ok(e)
    });
    let pgd = Pgd { steps: 10_000, step: StepSize::Fixed(0.02), ..Pgd::default() };
    let mut job = samples.job(&slow, &pgd, &threat);
    job.budget.deadline = Some(deadline);
    let attacked = run(&job, &mut |_| {}, &Cancel::default()).unwrap();
    assert_eq!(attacked.stopped, Some(Reason::Deadline));
    assert!(attacked.count(Outcome::Broken) > 0 && attacked.count(Outcome::Error) > 0);
    assert_eq!(attacked.count(Outcome::Robust), 0, "what was not attacked to the end is not robust");
}

#[test]
fn budgets_hold_for_each_sample_and_cost_adds_up() {
    let (net, samples, threat) = net_and_samples();
    let pgd = Pgd { steps: 30, restarts: 2, ..Pgd::default() };
    let mut job = samples.job(&net, &pgd, &threat);
    for (budget, reason) in [
        (Budget::default(), None),
        (Budget { gradients: Some(7), ..Budget::default() }, Some(Reason::Gradients)),
        (Budget { queries: Some(2), ..Budget::default() }, Some(Reason::Queries)),
    ] {
        job.budget = budget;
        let attacked = run(&job, &mut |_| {}, &Cancel::default()).unwrap();
        assert_eq!(attacked.stopped, reason);
        let mut sum = assay_attack::Cost::default();
        for outcome in &attacked.outcomes {
            sum += outcome.cost;
            assert!(outcome.cost.gradients <= budget.gradients.unwrap_or(60));
            match outcome.outcome {
                // The clean prediction, one query at the end of each restart.
                Outcome::Robust if reason.is_none() => {
                    assert_eq!((outcome.cost.queries, outcome.cost.gradients), (3, 60));
                }
                Outcome::Robust => assert!(outcome.cost.queries <= budget.queries.unwrap_or(1)),
                Outcome::Broken => assert!((3..=5).contains(&outcome.cost.queries)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(sum, attacked.cost);
    }
}

#[test]
fn no_samples_are_no_work() {
    let (net, _, threat) = net_and_samples();
    let none = Samples { images: Array2::zeros((0, 24)), labels: vec![], ids: vec![] };
    let attacked = none.attack(&net, &Pgd::default(), &threat);
    assert!(attacked.outcomes.is_empty() && attacked.adversarial.dim() == (0, 24) && attacked.stopped.is_none());
}

#[track_caller]
fn refused(job: &Job<'_>, text: &str) {
    let error = run(job, &mut |_| panic!("called"), &Cancel::default()).unwrap_err();
    assert!(matches!(error, AttackError::Invalid(_)), "{error:?}");
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn jobs_that_are_not_valid_are_refused_with_the_place() {
    let (net, samples, threat) = net_and_samples();
    let good = samples.job(&net, &Fgsm, &threat);
    let narrow = samples.images.slice(ndarray::s![.., 1..]);
    refused(&Job { images: narrow, ..good }, "the samples have 23 elements, the model's shape [2, 3, 4] has 24");
    refused(&Job { labels: &samples.labels[1..], ..good }, "there are 19 labels for 20 samples");
    refused(&Job { ids: &samples.ids[1..], ..good }, "there are 19 sample ids for 20 samples");
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (1.5, "1.5"), (-0.1, "-0.1")] {
        let mut images = samples.images.clone();
        images[[3, 7]] = value;
        let text = format!("element 7 of sample 3 is {shown}: expected a number in the input range [0, 1]");
        refused(&Job { images: images.view(), ..good }, &text);
    }
    let mut labels = samples.labels.clone();
    labels[2] = Class(3);
    refused(
        &Job { labels: &labels, ..good },
        "label 3 of sample 2 is out of range: the model has 3 classes, counted from 0",
    );
    let mut ids = samples.ids.clone();
    ids[9] = SampleId(4);
    refused(&Job { ids: &ids, ..good }, "samples 4 and 9 have the same id 4");
    let two = Net::random_linear(&[2, 3, 4], 2, 1);
    let dlr = Pgd { loss: Loss::Dlr, ..Pgd::default() };
    let labels = vec![Class(0); 20];
    refused(
        &Job { classifier: &two, attack: &dlr, labels: &labels, ..good },
        "needs at least 3 classes, the model has 2",
    );
}

#[test]
fn attacks_that_need_a_radius_say_so() {
    let (net, samples, _) = net_and_samples();
    let any = threat(Norm::Linf, "inf");
    refused(
        &samples.job(&net, &Fgsm, &any),
        "attack \"fgsm\" needs a finite eps: expected a radius such as 8/255, got inf, which allows any valid input",
    );
    for name in ["ddn", "fab-t", "fmn"] {
        let attack = parse(name, &[("steps".to_owned(), "60".to_owned())]).unwrap();
        let any = threat(attack.description().norms[0], "inf");
        assert_eq!(samples.attack(&net, &*attack, &any).count(Outcome::Broken), 20, "{name}: nothing is out of reach");
    }
}

struct NoGradient(ClassifierSpec);

impl Classifier for NoGradient {
    fn spec(&self) -> &ClassifierSpec {
        &self.0
    }

    fn logits(&self, _: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        panic!("not called")
    }

    fn gradient(
        &self,
        _: ArrayView2<'_, f32>,
        _: Loss,
        _: &[Class],
        _: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        panic!("not called")
    }

    fn vjp(&self, _: ArrayView2<'_, f32>, _: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        panic!("not called")
    }
}

#[test]
fn a_model_without_a_gradient_is_refused_before_any_call() {
    let (net, samples, threat) = net_and_samples();
    let gradients = Gradients::Unavailable("node \"gru\" (GRU): no rule".to_owned());
    let classifier = NoGradient(ClassifierSpec { gradients, ..net.spec().clone() });
    let error = run(&samples.job(&classifier, &Fgsm, &threat), &mut |_| {}, &Cancel::default()).unwrap_err();
    let text = "attack \"fgsm\" needs the model's gradient, which is not available: node \"gru\" (GRU): no rule";
    assert_eq!(error.to_string(), text);
}

/// An attack with a defect: it proposes points outside its threat.
#[derive(Debug)]
struct Runaway;

impl Attack for Runaway {
    fn description(&self) -> &'static Description {
        attacks()[0]
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn evaluations(&self) -> u64 {
        2
    }

    fn run(&self, samples: &mut assay_attack::Samples<'_>) -> Result<(), Halt> {
        samples.start(0, Start::Image);
        samples.gradient(Loss::CrossEntropy, |mut step| step.advance(1e3))?;
        samples.query()
    }
}

#[test]
fn a_point_outside_the_threat_never_counts() {
    let (net, samples, threat) = net_and_samples();
    let attacked = samples.attack(&net, &Runaway, &threat);
    assert_eq!(attacked.count(Outcome::Broken), 0);
    assert!(attacked.count(Outcome::Error) > 15);
    assert!(attacked.outcomes.iter().filter_map(|o| o.error.as_ref()).all(|e| e.contains("left its threat Linf 0.05")));
}
