//! A sample's result depends on nothing but the sample, its id and the seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use assay_attack::{
    Attack, Attacked, Cancel, Description, Job, Keep, Norm, Outcome, Pgd, SampleId, SampleOutcome, attacks, contents,
    parse, run,
};
use common::{Altered, Net, Samples, threat};
use ndarray::{Array2, Axis, s};

/// Everything that is told of each sample, by id: outcome as JSON and the bits of its adversarial sample.
fn told(attacked: &Attacked) -> BTreeMap<SampleId, (String, Vec<u32>)> {
    let rows = attacked.adversarial.rows().into_iter().map(|row| row.iter().map(|v| v.to_bits()).collect());
    let outcome = |o| serde_json::to_string(o).unwrap();
    attacked.outcomes.iter().zip(rows).map(|(o, bits)| (o.id, (outcome(o), bits))).collect()
}

fn net_and_samples() -> (Net, Samples) {
    let net = Net::random_linear(&[2, 3, 5], 4, 5);
    let mut samples = Samples::random(&net, 70, 5);
    samples.labels[0].0 = (samples.labels[0].0 + 1) % 4;
    samples.ids = (0..70).map(|i| SampleId(1000 - 13 * i)).collect();
    (net, samples)
}

fn chosen(samples: &Samples, rows: &[usize]) -> Samples {
    Samples {
        images: samples.images.select(Axis(0), rows),
        labels: rows.iter().map(|&i| samples.labels[i]).collect(),
        ids: rows.iter().map(|&i| samples.ids[i]).collect(),
    }
}

const PGDS: [Pgd; 2] = [Pgd { steps: 10, restarts: 3, ..BASE }, Pgd { steps: 10, keep: Keep::Best, ..BASE }];
const BASE: Pgd = Pgd {
    steps: 1,
    step: assay_attack::StepSize::Auto,
    restarts: 1,
    start: assay_attack::Start::Random,
    loss: assay_graph::Loss::CrossEntropy,
    keep: Keep::First,
    eot: 1,
};

/// Every attack that works in `norm`, short where it can be.
fn short(norm: Norm) -> Vec<Box<dyn Attack>> {
    let shorter = [
        ("steps", "12"),
        ("targets", "2"),
        ("queries", "40"),
        ("searches", "3"),
        ("pairs", "5"),
        ("probes", "8"),
        ("population", "6"),
        ("generations", "4"),
        ("angles", "3"),
    ];
    let short = |description: &&Description| {
        let known = |name: &str| description.parameters.iter().any(|p| p.name == name);
        let given: Vec<_> =
            shorter.iter().filter(|(name, _)| known(name)).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        parse(description.name, &given).unwrap()
    };
    // Suites consist of the others.
    let all = attacks().iter().copied().filter(|d| d.norms.contains(&norm) && contents(d.name).is_none());
    let pgds = PGDS.into_iter().filter(|pgd| pgd.description().norms.contains(&norm));
    all.map(|d| short(&d)).chain(pgds.map(|pgd| Box::new(pgd) as Box<dyn Attack>)).collect()
}

#[test]
fn results_do_not_depend_on_batch_order_or_company() {
    let (net, samples) = net_and_samples();
    for (norm, eps) in [(Norm::Linf, "0.05"), (Norm::L2, "0.3"), (Norm::L1, "1"), (Norm::L0, "2")] {
        let threat = threat(norm, eps);
        // Those that are made from samples are in `universal.rs`.
        for attack in short(threat.norm).into_iter().filter(|attack| attack.fitted_share().is_none()) {
            let attack = &*attack;
            let whole = told(&samples.attack(&net, attack, &threat));
            for batch in [1, 3, 7, 64] {
                let mut job = samples.job(&net, attack, &threat);
                job.batch = NonZeroUsize::new(batch).unwrap();
                let attacked = run(&job, &mut |_| {}, &Cancel::default()).unwrap();
                assert_eq!(told(&attacked), whole, "batches of {batch}");
            }
            let permuted: Vec<usize> = (0..70).map(|i| (i * 29 + 11) % 70).collect();
            assert_eq!(told(&chosen(&samples, &permuted).attack(&net, attack, &threat)), whole, "permuted");
            for subset in [&permuted[..23], &permuted[23..], &[5]] {
                for (id, part) in told(&chosen(&samples, subset).attack(&net, attack, &threat)) {
                    assert_eq!(part, whole[&id], "sample {id} in a subset of {}", subset.len());
                }
            }
        }
    }
}

#[test]
fn a_model_whose_arithmetic_depends_on_the_batch_gets_calls_of_one_size() {
    let (net, samples) = net_and_samples();
    let mut rounding = Altered::new(&net);
    let share = |rows: usize, element: usize| 0.02 * (rows % 5) as f32 * (element % 3) as f32;
    rounding.logits = Box::new(|x, z| Ok(z * (1.0 + 1e-6 * x.nrows() as f32)));
    rounding.gradient = Box::new(move |x, mut e| {
        e.logits *= 1.0 + 1e-6 * x.nrows() as f32;
        e.gradient.indexed_iter_mut().for_each(|((_, i), g)| *g *= 1.0 + share(x.nrows(), i));
        Ok(e)
    });
    let threat = threat(Norm::L2, "0.3");
    let attack = parse("pgd", &[("steps".into(), "12".into())]).unwrap();
    let told = |samples: &Samples, checks| {
        let job = Job { checks, ..samples.job(&rounding, &*attack, &threat) };
        told(&run(&job, &mut |_| {}, &Cancel::default()).unwrap())
    };
    let whole = told(&samples, true);
    let (mut differ, parts) = (0, [(0..23).collect::<Vec<_>>(), (23..70).collect(), vec![5]]);
    for part in parts {
        let part = chosen(&samples, &part);
        for (id, told) in told(&part, true) {
            assert_eq!(told, whole[&id], "sample {id} in a subset of {}", part.ids.len());
        }
        differ += told(&part, false).into_iter().filter(|(id, told)| *told != whole[id]).count();
    }
    assert!(differ > 10, "without looking at the model, its batches are as they come: {differ} differ");
}

#[test]
fn seed_and_id_change_the_random_start() {
    let (net, mut samples) = net_and_samples();
    let threat = threat(Norm::Linf, "0.05");
    let first = samples.attack(&net, &PGDS[0], &threat);
    let mut job = samples.job(&net, &PGDS[0], &threat);
    job.seed += 1;
    let seeded = run(&job, &mut |_| {}, &Cancel::default()).unwrap();
    samples.ids.iter_mut().for_each(|id| id.0 += 1);
    let renamed = samples.attack(&net, &PGDS[0], &threat);
    let broken = first.outcomes.iter().position(|o| o.outcome == Outcome::Broken).unwrap();
    for other in [seeded, renamed] {
        assert_ne!(first.adversarial.row(broken), other.adversarial.row(broken));
    }
}

#[test]
fn images_in_another_layout_are_the_same_images() {
    let (net, samples) = net_and_samples();
    let threat = threat(Norm::L2, "0.3");
    let whole = told(&samples.attack(&net, &PGDS[0], &threat));
    let mut wide = Array2::zeros((70, 60));
    wide.slice_mut(s![.., ..;2]).assign(&samples.images);
    let mut job = samples.job(&net, &PGDS[0], &threat);
    job.images = wide.slice(s![.., ..;2]);
    assert_eq!(told(&run(&job, &mut |_| {}, &Cancel::default()).unwrap()), whole);
}

#[test]
fn progress_never_falls_and_ends_complete() {
    let (net, samples) = net_and_samples();
    let threat = threat(Norm::L2, "0.3");
    for attack in short(threat.norm) {
        let attack = &*attack;
        let mut seen = Vec::new();
        let attacked = run(&samples.job(&net, attack, &threat), &mut |p| seen.push(p), &Cancel::default()).unwrap();
        for pair in seen.windows(2) {
            let [a, b] = pair else { panic!() };
            assert!(a.steps_done <= b.steps_done && a.finished <= b.finished && a.broken <= b.broken);
            assert!(a.steps_total == b.steps_total && a.samples == b.samples);
        }
        let last = seen.last().unwrap();
        assert_eq!(last.steps_total, 70 * attack.evaluations());
        assert_eq!((last.steps_done, last.samples, last.finished), (last.steps_total, 70, 70));
        let not_robust = 70 - attacked.count(Outcome::Robust) - attacked.count(Outcome::Fitted);
        assert_eq!(last.broken, not_robust as u64);
    }
}

#[test]
fn outcomes_survive_json() {
    let (net, samples) = net_and_samples();
    let attacked = samples.attack(&net, &PGDS[0], &threat(Norm::Linf, "0.05"));
    for outcome in &attacked.outcomes {
        let text = serde_json::to_string(outcome).unwrap();
        let mut read: SampleOutcome = serde_json::from_str(&text).unwrap();
        // serde_json reads numbers to within one unit in the last place.
        assert!((read.distance.l2 - outcome.distance.l2).abs() < 1e-15);
        read.distance = outcome.distance;
        assert_eq!(&read, outcome);
    }
    let text = serde_json::to_string(&attacked.outcomes[..5]).unwrap();
    assert!(text.contains("\"outcome\":\"broken\"") && text.contains("\"outcome\":\"misclassified\""), "{text}");
}
