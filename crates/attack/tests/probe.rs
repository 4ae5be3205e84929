//! Several points of a sample at once: in full batches, counted, judged, and the same in every batch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::num::NonZeroUsize;
use std::sync::Mutex;

use assay_attack::{
    Attack, Attacked, Budget, Cancel, Description, Halt, Keep, Norm, Outcome, Probe, Reading, Reason, Start, Threat,
    attacks, run,
};
use common::{Altered, Net, Samples, threat};

/// Climbs by estimates of the gradient: each round a few random points, and a step from their margins.
#[derive(Debug)]
struct Climb {
    points: u32,
    allotted: u32,
    keep: Keep,
    seen: Mutex<Vec<(usize, u32)>>,
}

impl Climb {
    fn new(points: u32, allotted: u32, keep: Keep) -> Self {
        Self { points, allotted, keep, seen: Mutex::default() }
    }
}

impl Attack for Climb {
    fn description(&self) -> &'static Description {
        attacks()[0]
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn evaluations(&self) -> u64 {
        self.allotted.into()
    }

    fn run(&self, samples: &mut assay_attack::Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        let features: usize = samples.sample_shape().iter().product();
        samples.keep(self.keep);
        samples.start(0, Start::Image);
        samples.allot(self.allotted);
        let mut ascents = vec![vec![0.0; features]; samples.len()];
        while !samples.is_done() {
            ascents.iter_mut().for_each(|ascent| ascent.fill(0.0));
            let place = |Probe { x, point, probe, rng, .. }: Probe<'_>| {
                assert_eq!(point, &*probe);
                probe.iter_mut().for_each(|v| *v += 0.01 * rng.sign() as f32);
                threat.project(x, probe);
            };
            let read = |Reading { sample, index, point, probe, margin, .. }: Reading<'_>| {
                self.seen.lock().unwrap().push((sample, index));
                for (ascent, (to, from)) in ascents[sample].iter_mut().zip(probe.iter().zip(point)) {
                    *ascent -= margin * (to - from);
                }
            };
            samples.probe(|sample| self.points + sample as u32 % 2, place, read)?;
            samples.each(|spot| {
                let ascent = &mut ascents[spot.sample];
                threat.steepest(ascent);
                // Draws after the round: they come at the same place of the stream in every batch.
                let length = (0.02 + 0.02 * spot.rng.uniform()) as f32;
                spot.point.iter_mut().zip(&*ascent).for_each(|(p, a)| *p += length * a);
                threat.project(spot.x, spot.point);
            });
        }
        Ok(())
    }
}

fn net_and_samples() -> (Net, Samples, Threat) {
    let net = Net::random_linear(&[2, 3, 4], 3, 9);
    let samples = Samples::random(&net, 20, 9);
    (net, samples, threat(Norm::Linf, "0.1"))
}

fn told(attacked: &Attacked) -> (String, Vec<u32>) {
    let bits = attacked.adversarial.iter().map(|v| v.to_bits()).collect();
    (serde_json::to_string(&attacked.outcomes).unwrap(), bits)
}

#[test]
fn results_do_not_depend_on_how_points_are_gathered() {
    let (net, samples, threat) = net_and_samples();
    for keep in [Keep::First, Keep::Best, Keep::Nearest] {
        let climb = Climb::new(6, 60, keep);
        let whole = samples.attack(&net, &climb, &threat);
        let broken = whole.count(Outcome::Broken);
        assert!((5..16).contains(&broken), "{broken}");
        for batch in [1, 3, 7, 64, 1000] {
            let mut job = samples.job(&net, &climb, &threat);
            job.batch = NonZeroUsize::new(batch).unwrap();
            let attacked = run(&job, &mut |_| {}, &Cancel::default()).unwrap();
            assert_eq!(told(&attacked), told(&whole), "batches of {batch}");
        }
    }
}

#[test]
fn points_come_in_order_and_fill_batches_across_samples() {
    let (net, samples, threat) = net_and_samples();
    let sizes = Mutex::new(Vec::new());
    let mut recording = Altered::new(&net);
    recording.logits = Box::new(|x, z| {
        sizes.lock().unwrap().push(x.nrows());
        Ok(z)
    });
    let climb = Climb::new(2, 3, Keep::Best);
    let attacked = samples.attack(&recording, &climb, &threat);
    // Samples with an even position have two points and then one, of their three; those with an odd one three at once.
    let first: Vec<_> = (0..20).flat_map(|sample| (0..2 + sample as u32 % 2).map(move |i| (sample, i))).collect();
    let second: Vec<_> = (0..20).step_by(2).map(|sample| (sample, 0)).collect();
    assert_eq!(*climb.seen.lock().unwrap(), [first, second].concat());
    // Two clean batches, then 50 points and 10, in batches of 16; a verification for each find.
    assert_eq!(sizes.lock().unwrap()[..7], [16, 4, 16, 16, 16, 2, 10]);
    let verified = |o: &assay_attack::SampleOutcome| if o.outcome == Outcome::Broken { 2 } else { 0 };
    assert!(attacked.outcomes.iter().all(|o| o.cost.queries == 4 + verified(o)));
    assert_eq!(attacked.stopped, None);
}

#[test]
fn all_points_of_a_sample_count_and_the_first_find_is_kept() {
    let (net, samples, _) = net_and_samples();
    let climb = Climb::new(30, 31, Keep::First);
    let attacked = samples.attack(&net, &climb, &threat(Norm::Linf, "1"));
    let broken: Vec<_> = attacked.outcomes.iter().filter(|o| o.outcome == Outcome::Broken).collect();
    assert!(!broken.is_empty());
    for outcome in broken {
        let sample = attacked.outcomes.iter().position(|o| o.id == outcome.id).unwrap();
        // The clean prediction, the points of the first round (of the second: one more), and two to verify.
        let asked = 30 + u64::from(sample % 2 == 1);
        assert!(outcome.cost.queries == asked + 3 || outcome.cost.queries == 34, "{outcome:?}");
        // What comes after the find is not handed on.
        let read = climb.seen.lock().unwrap().iter().filter(|(s, _)| *s == sample).count() as u64;
        assert!(read < asked);
    }
}

#[test]
fn a_budget_grants_the_first_points_and_ends_the_attack() {
    let (net, samples, threat) = net_and_samples();
    let climb = Climb::new(6, 60, Keep::First);
    let whole = samples.attack(&net, &climb, &threat);
    for queries in [1, 2, 10, 33] {
        climb.seen.lock().unwrap().clear();
        let mut job = samples.job(&net, &climb, &threat);
        job.budget = Budget { queries: Some(queries), ..Budget::default() };
        let attacked = run(&job, &mut |_| {}, &Cancel::default()).unwrap();
        assert_eq!(attacked.stopped, Some(Reason::Queries));
        for (outcome, unlimited) in attacked.outcomes.iter().zip(&whole.outcomes) {
            match outcome.outcome {
                // What was found within the budget is the same find.
                Outcome::Broken => assert_eq!(outcome.distance, unlimited.distance),
                Outcome::Robust => assert_eq!(outcome.cost.queries, queries),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_point_with_logits_that_are_not_finite_ends_that_sample_only() {
    let (net, samples, threat) = net_and_samples();
    let climb = Climb::new(6, 60, Keep::First);
    let whole = samples.attack(&net, &climb, &threat);
    let victim = whole.outcomes.iter().position(|o| o.outcome == Outcome::Robust).unwrap();
    let near = |row: ndarray::ArrayView1<'_, f32>| {
        let x = samples.images.row(victim);
        row != x && row.iter().zip(x).all(|(a, b)| (a - b).abs() < 0.101)
    };
    let mut altered = Altered::new(&net);
    altered.logits = Box::new(|x, mut z| {
        (0..x.nrows()).filter(|i| near(x.row(*i))).for_each(|i| z[[i, 1]] = f32::NAN);
        Ok(z)
    });
    let attacked = samples.attack(&altered, &climb, &threat);
    for (i, (outcome, expected)) in attacked.outcomes.iter().zip(&whole.outcomes).enumerate() {
        if i == victim {
            assert_eq!(outcome.error.as_deref(), Some("the logits of the model are not finite"));
        } else {
            assert_eq!(outcome, expected);
        }
    }
}
