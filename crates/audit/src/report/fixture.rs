//! One audit as events, for the tests of the renderers.

use assay_attack::{Cost, Distance, Flag, FlagKind};

use crate::event::{
    AttackFacts, Attacked, Circumstances, Clean, DataFacts, Environment, Event, Example, Fate, Found, GradientFacts,
    ModelFacts, ModelId, Pictures, SampleResult, Setup, Started, ThreatFacts, ThreatId,
};
use crate::plan::{Order, Plan};
use crate::report::Report;

const PLAN: &str = r#"
schema = 1
models = [{ name = "sneaker-net" }, { name = "sneaker-net-pruned", version = "2" }]
gates = [{ min_robust_accuracy = 0.05, threat = "Linf 8/255" }, { max_drop = 0.05 }, { forbid_flags = ["not-finite"] }]
seed = 7
[[evaluations]]
norm = "Linf"
eps = "8/255"
attacks = [{ name = "fgsm" }, { name = "pgd", parameters = { steps = 40 } }]
"#;

/// What is measured: two models on ten samples of two classes.
pub(crate) fn setup() -> Setup {
    started(["sneaker-net", "sneaker-net-pruned"], ["boot", "sneaker"]).setup
}

fn started(names: [&str; 2], classes: [&str; 2]) -> Started {
    let plan = Plan::parse(PLAN).unwrap();
    let attack = |name: &str, steps: Option<&str>| AttackFacts {
        name: name.into(),
        parameters: steps.into_iter().map(|steps| ("steps".into(), steps.into())).collect(),
    };
    let model = |name: &str, version: &str, kind: &str, parameters, gradients| ModelFacts {
        name: name.into(),
        version: version.into(),
        digest: version.repeat(64),
        kind: kind.into(),
        parameters,
        provider: "cpu".into(),
        gradients,
    };
    let estimated = GradientFacts::StraightThrough { nodes: vec!["\"q\" (QuantizeLinear)".into()] };
    let setup = Setup {
        models: vec![
            model(names[0], "1", "dense", 78_042, GradientFacts::Exact),
            model(names[1], "2", "filter-pruned", 41_000, estimated),
        ],
        data: DataFacts {
            name: "shoes".into(),
            digest: "d".repeat(64),
            sample_shape: vec![1, 4, 4],
            class_names: classes.map(str::to_owned).to_vec(),
            classes: 2,
            samples: 10,
        },
        threats: vec![ThreatFacts {
            name: None,
            norm: plan.evaluations[0].norm,
            eps: plan.evaluations[0].eps[0].clone(),
            attacks: vec![attack("fgsm", None), attack("pgd", Some("40"))],
            order: Order::Sequence,
        }],
        chunk: 64,
        shard: None,
        baseline: None,
        environment: Environment { assay: "0.1.0".into(), onnxruntime: "1.31.1".into(), optimization: "all".into() },
        plan,
    };
    Started {
        setup,
        labels: (0..10).map(|i| i % 2).collect(),
        positions: Vec::new(),
        circumstances: Circumstances { date: "2026-11-21T08:00:00Z".into(), threads: 1, sessions: 2, batch: 128 },
    }
}

/// Events of two models; the pruned one is worse.
pub(crate) fn events(names: [&str; 2], classes: [&str; 2]) -> Vec<Event> {
    let started = started(names, classes);
    let labels = started.labels.clone();
    let mut events = vec![Event::Started(Box::new(started))];
    // Sample 9 is wrong for the first model; 8 and 9 for the second, and 0 has no finite logits.
    measured(&mut events, ModelId(0), &labels, &[9], &[], &[0, 1], &[2]);
    measured(&mut events, ModelId(1), &labels, &[8, 9], &[0], &[1, 2, 3], &[4, 8]);
    events.push(Event::Finished);
    events
}

fn measured(
    events: &mut Vec<Event>,
    model: ModelId,
    labels: &[u32],
    wrong: &[usize],
    failed: &[usize],
    fgsm: &[u64],
    pgd: &[u64],
) {
    let prediction = |(i, label): (usize, &u32)| match i {
        i if failed.contains(&i) => None,
        i if wrong.contains(&i) => Some(1 - label),
        _ => Some(*label),
    };
    let predictions: Vec<_> = labels.iter().enumerate().map(prediction).collect();
    let mut standing: Vec<u64> = (0..10).filter(|i| predictions[*i as usize].is_some()).collect();
    let cost = Cost { queries: 10, gradients: 0 };
    let distance = Distance { linf: 0.031_37, l2: 0.1255, l1: 0.502, l0: 16 };
    events.push(Event::Clean(Clean { model, chunk: 0, predictions: predictions.clone(), cost, seconds: 0.01 }));
    for (attack, name, broken, gradients) in [(0, "fgsm", fgsm, 10), (1, "pgd", pgd, 280)] {
        let outcome = |&sample: &u64| {
            let other = 1 - predictions[sample as usize].unwrap();
            let found = broken.contains(&sample).then(|| Found {
                prediction: other,
                elsewhere: None,
                by: name.into(),
                distance,
            });
            let fate = if found.is_some() { Fate::Changed } else { Fate::Held };
            SampleResult { sample, fate, found, error: None }
        };
        let outcomes = standing.iter().map(outcome).collect();
        standing.retain(|sample| !broken.contains(sample));
        let example = |&sample: &u64| {
            let label = labels[sample as usize];
            Example {
                model,
                threat: ThreatId(0),
                attack,
                sample,
                label,
                clean_prediction: label,
                adversarial_prediction: 1 - label,
                distance,
                pictures: Some(pictures()),
            }
        };
        let shown = broken.iter().filter(|sample| !wrong.contains(&(**sample as usize))).take(1);
        let zero = Flag {
            kind: FlagKind::ZeroGradient,
            samples: 3,
            detail: "3 of 6 samples are robust, and their gradient was exactly zero at some step".into(),
        };
        events.push(Event::Attacked(Attacked {
            model,
            threat: ThreatId(0),
            attack,
            chunk: 0,
            outcomes,
            flags: if (model, attack) == (ModelId(1), 1) { vec![zero] } else { Vec::new() },
            examples: shown.map(example).collect(),
            cost: Cost { queries: 10, gradients },
            checks: Cost { queries: 11, gradients: 0 },
            seconds: 0.25,
        }));
    }
}

/// Four by four pixels, a ramp and its checkered change.
fn pictures() -> Pictures {
    let bounds = assay_attack::Bounds::new(0.0, 1.0).unwrap();
    let original = ndarray::Array1::from_shape_fn(16, |i| 0.2 + 0.04 * i as f32);
    let adversarial =
        ndarray::Array1::from_shape_fn(16, |i| original[i] + if (i + i / 4) % 2 == 0 { 0.031_25 } else { -0.031_25 });
    Pictures::draw(&[1, 4, 4], bounds, &original.view(), &adversarial.view()).unwrap()
}

/// The report of these events under harmless names.
pub(crate) fn report() -> Report {
    Report::fold(&events(["sneaker-net", "sneaker-net-pruned"], ["boot", "sneaker"])).unwrap()
}

/// The same with names that try to be markup.
pub(crate) fn hostile() -> Report {
    let names =
        ["</script><script>alert(1)</script>", "a|b\n# c `d` ![x](http://e.example) <img src=x onerror=alert(1)>"];
    Report::fold(&events(names, ["\"><b>bold</b>", "*it*"])).unwrap()
}
