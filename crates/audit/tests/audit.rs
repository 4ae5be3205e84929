//! Audits of classifiers whose robustness is known exactly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::num::NonZeroUsize;

use assay_attack::FlagKind;
use assay_attack::{Bounds, Cancel};
use assay_audit::{
    Audit, AuditError, Baseline, Circumstances, Environment, Estimate, Event, Format, GradientFacts, Html, Json,
    Markdown, Observed, Observer, ObserverError, Plan, Progress, Raised, Render, Report, Shard, Subject, Verdict,
    merge, run,
};
use assay_data::{Dataset, Parts};
use assay_graph::Loss;
use assay_runtime::{Class, Classifier, ClassifierSpec, Evaluated, Gradients, RunError};
use ndarray::{Array2, ArrayView2};

/// Two classes apart by a hyperplane: `z = (-s, s)` with `s = scale · (w·x - offset)`, or with the same for every `x`.
///
/// A sample's prediction withstands exactly the L∞ perturbations below `|w·x - offset| / |w|₁`, and FGSM finds the best one.
struct Hyperplane {
    spec: ClassifierSpec,
    offset: f32,
    /// Loss without slope, as of a saturated model.
    flat: bool,
    /// Samples whose first value is above this have logits that are not finite.
    finite_below: f32,
}

impl Hyperplane {
    fn new(offset: f32) -> Self {
        let spec = ClassifierSpec {
            digest: format!("{offset:x<64}"),
            sample_shape: vec![1, 2, 2],
            classes: 2,
            provider: "cpu".into(),
            gradients: Gradients::Exact,
        };
        Self { spec, offset, flat: false, finite_below: f32::INFINITY }
    }

    fn score(&self, x: &[f32]) -> f32 {
        if x[0] > self.finite_below { f32::NAN } else { x.iter().sum::<f32>() / 4.0 - self.offset }
    }
}

impl Classifier for Hyperplane {
    fn spec(&self) -> &ClassifierSpec {
        &self.spec
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        let scores: Vec<f32> = x.rows().into_iter().map(|row| self.score(&row.to_vec())).collect();
        Ok(Array2::from_shape_fn((x.nrows(), 2), |(i, class)| if class == 0 { -scores[i] } else { scores[i] }))
    }

    fn gradient(
        &self,
        x: ArrayView2<'_, f32>,
        _: Loss,
        labels: &[Class],
        _: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        let logits = self.logits(x)?;
        let mut gradient = Array2::zeros(x.dim());
        for (mut row, label) in gradient.rows_mut().into_iter().zip(labels) {
            row.fill(if self.flat {
                0.0
            } else if label.0 == 1 {
                -0.25
            } else {
                0.25
            });
        }
        Ok(Evaluated { loss: vec![0.0; x.nrows()], logits, gradient })
    }

    fn vjp(&self, x: ArrayView2<'_, f32>, cotangent: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        let slope = if self.flat { 0.0 } else { 0.25 };
        let gradient = Array2::from_shape_fn(x.dim(), |(i, _)| slope * (cotangent[[i, 1]] - cotangent[[i, 0]]));
        Ok(Evaluated { loss: Vec::new(), logits: self.logits(x)?, gradient })
    }
}

/// Twenty samples, constant at 0.025, 0.075, ..., 0.975; class 1 from 0.5 on.
fn data() -> Dataset {
    let values: Vec<f32> = (0..20).map(|i| 0.025 + 0.05 * i as f32).collect();
    Dataset::from_parts(Parts {
        name: "ramp".into(),
        samples: Array2::from_shape_fn((20, 4), |(i, _)| values[i]),
        labels: values.iter().map(|v| Class(u32::from(*v >= 0.5))).collect(),
        sample_shape: vec![1, 2, 2],
        bounds: Bounds::new(0.0, 1.0).unwrap(),
        class_names: vec!["dark".into(), "light".into()],
        digest: String::new(),
    })
    .unwrap()
}

fn subject<'a>(name: &str, classifier: &'a dyn Classifier) -> Subject<'a> {
    Subject {
        name: name.into(),
        version: "1".into(),
        kind: String::new(),
        parameters: 5,
        bounds: Bounds::new(0.0, 1.0).unwrap(),
        labels: Vec::new(),
        batch: NonZeroUsize::new(7).unwrap(),
        classifier,
        certifier: None,
    }
}

fn audit_of<'a>(plan: &'a Plan, subjects: &'a [Subject<'a>], data: &'a Dataset) -> Audit<'a> {
    let environment = Environment { assay: "0.1.0".into(), onnxruntime: "none".into(), optimization: "none".into() };
    let circumstances = Circumstances { date: "2026-11-21T00:00:00Z".into(), threads: 1, sessions: 1, batch: 7 };
    Audit { plan, subjects, data, shard: None, baseline: None, environment, circumstances }
}

fn plan(models: &[&str], gates: &str) -> Plan {
    let models: Vec<_> = models.iter().map(|name| format!("{{ name = \"{name}\" }}")).collect();
    Plan::parse(&format!(
        "schema = 1\nmodels = [{}]\ngates = [{gates}]\nseed = 7\n\
         [[evaluations]]\nnorm = \"Linf\"\neps = \"0.1\"\nattacks = [{{ name = \"fgsm\" }}, {{ name = \"pgd\", parameters = {{ steps = 5 }} }}]",
        models.join(", ")
    ))
    .unwrap()
}

#[derive(Default)]
struct Recorded {
    events: Vec<Event>,
    progress: Vec<Progress>,
}

impl Observer for Recorded {
    fn event(&mut self, event: &Event) -> Result<(), ObserverError> {
        self.events.push(event.clone());
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        self.progress.push(progress.clone());
    }
}

fn rate(hits: u64, of: u64) -> Estimate {
    Estimate::new(hits, of).unwrap()
}

fn audit(plan: &Plan, models: &[(&str, &Hyperplane)]) -> (Report, Recorded) {
    let subjects: Vec<_> = models.iter().map(|(name, model)| subject(name, *model)).collect();
    let mut recorded = Recorded::default();
    let report = run(&audit_of(plan, &subjects, &data()), &[], &mut recorded, &Cancel::default()).unwrap();
    (report, recorded)
}

#[test]
fn numbers_are_those_of_the_hyperplane() {
    // At 0.5 all 20 are right, and the two nearest on each side, 0.025 and 0.075 away, are within reach of 0.1.
    let (report, _) = audit(&plan(&["exact"], ""), &[("exact", &Hyperplane::new(0.5))]);
    let [model] = report.models.as_slice() else { panic!("one model") };
    let [threat] = model.threats.as_slice() else { panic!("one threat") };
    assert_eq!(model.clean, rate(20, 20));
    assert_eq!((threat.robust, threat.stability, threat.success), (rate(16, 20), rate(16, 20), Some(rate(4, 20))));
    // FGSM breaks all there is to break, and PGD gets what it left.
    assert_eq!(threat.attacks[0].success, Some(rate(4, 20)));
    assert_eq!(threat.attacks[1].success, Some(rate(0, 16)));
    assert_eq!(threat.attacks[1].robust, rate(16, 20));
    let classes: Vec<_> = model.classes.iter().map(|c| (c.class, c.clean, c.robust[0])).collect();
    assert_eq!(classes, [(0, rate(10, 10), rate(8, 10)), (1, rate(10, 10), rate(8, 10))]);
    assert_eq!(report.verdict, Verdict::Pass);
    assert_eq!(report.examples.len(), 4);
    assert!(report.flags.is_empty(), "{:?}", report.flags);
    assert!(
        report.examples.iter().all(|e| e.distance.linf <= 0.1 && e.pictures.is_some() && e.label == e.clean_prediction)
    );
}

#[test]
fn a_misclassified_sample_is_never_robust_but_may_be_stable() {
    // At 0.7 the four samples from 0.525 to 0.675 are wrong; 0.625, 0.675, 0.725 and 0.775 can be moved across.
    let (report, _) = audit(&plan(&["shifted"], ""), &[("shifted", &Hyperplane::new(0.7))]);
    let model = &report.models[0];
    assert_eq!(model.clean, rate(16, 20));
    assert_eq!(model.threats[0].robust, rate(14, 20));
    assert_eq!(model.threats[0].stability, rate(16, 20));
    assert_eq!(model.threats[0].success, Some(rate(2, 16)));
}

#[test]
fn two_models_are_compared_on_the_same_samples() {
    let gates = "{ max_drop = 0.6 }, { min_robust_accuracy = 0.25 }, { min_clean_accuracy = 0.99 }";
    let models = [("exact", &Hyperplane::new(0.5)), ("shifted", &Hyperplane::new(0.7))];
    let (report, _) = audit(&plan(&["exact", "shifted"], gates), &models);
    let comparison = report.comparison.as_ref().unwrap();
    assert_eq!((comparison.clean.only_first, comparison.clean.only_second), (4, 0));
    assert!((comparison.clean.p_value - 0.125).abs() < 1e-12);
    // The first loses 0.425 to 0.575, the second 0.525 to 0.775.
    let robust = comparison.threats[0];
    assert_eq!((robust.both, robust.only_first, robust.only_second, robust.neither), (12, 4, 2, 2));
    assert!((robust.difference.value + 0.1).abs() < 1e-12);
    let verdicts: Vec<_> = report.gates.iter().map(|gate| gate.verdict).collect();
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Pass, Verdict::Fail]);
    assert_eq!(report.verdict, Verdict::Fail);
    // Twenty of twenty are no proof of 99 %; sixteen are one against it.
    let verdicts: Vec<_> = report.gates[2].checks.iter().map(|check| check.verdict).collect();
    assert_eq!(verdicts, [Verdict::Inconclusive, Verdict::Fail]);
}

#[test]
fn the_fold_of_the_recorded_events_is_the_report() {
    let models = [("exact", &Hyperplane::new(0.5)), ("shifted", &Hyperplane::new(0.7))];
    let (report, recorded) = audit(&plan(&["exact", "shifted"], "{ max_drop = 0.1 }"), &models);
    let stored: Vec<String> = recorded.events.iter().map(|e| serde_json::to_string(e).unwrap()).collect();
    let read: Vec<Event> = stored.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let again = Report::fold(&read).unwrap();
    assert_eq!(again, report);
    for format in [&Json as &dyn Render, &Markdown, &Html] {
        assert_eq!(format.to_text(&again), format.to_text(&report));
    }
    assert_eq!(serde_json::from_str::<Report>(&Json.to_text(&report)).unwrap(), report);
    for missing in 0..read.len() {
        let rest = read.iter().enumerate().filter(|(i, _)| *i != missing).map(|(_, event)| event);
        assert!(Report::fold(rest).is_err(), "without event {missing}");
    }
}

#[test]
fn an_accepted_report_stands_for_its_model() {
    let (plan, models, data) = (Plan::parse(TWO).unwrap(), two(), many());
    let both: Vec<_> = ["a", "b"].iter().zip(&models).map(|(name, model)| subject(name, model)).collect();
    let measured = |audit: &Audit<'_>, observer: &mut dyn Observer| run(audit, &[], observer, &Cancel::default());
    let together = measured(&audit_of(&plan, &both, &data), &mut ()).unwrap();

    let only = |at: usize| Plan { models: vec![plan.models[at].clone()], transfer: false, ..plan.clone() };
    let (first, second) = (Plan { gates: Vec::new(), ..only(0) }, only(1));
    let accepted = measured(&audit_of(&first, &both[..1], &data), &mut ()).unwrap();
    let read: Report = serde_json::from_str(&Json.to_text(&accepted)).unwrap();
    let baseline = Baseline::of(&read, "renamed").unwrap();
    let audit = Audit { baseline: Some(&baseline), ..audit_of(&second, &both[1..], &data) };
    let mut recorded = Recorded::default();
    let later = measured(&audit, &mut recorded).unwrap();
    assert_eq!(later.comparison, together.comparison);
    assert_eq!((later.verdict, &later.gates), (together.verdict, &together.gates));
    assert_eq!(later.compared(), Some(["accepted a@1".to_owned(), "b".to_owned()]));
    for format in [Format::Html, Format::Markdown] {
        let text = format.render(&later);
        assert!(text.contains("accepted"), "{text}");
    }

    // In parts, and cut off, it is the same.
    let parts: Vec<Vec<Event>> = (0..3)
        .map(|index| {
            let mut part = Recorded::default();
            _ = measured(&Audit { shard: Shard::new(index, 3), ..audit.clone() }, &mut part).unwrap();
            part.events
        })
        .collect();
    same(&bytes(&Report::fold(&merge(&parts).unwrap()).unwrap()), &bytes(&later), "3 shards");
    same(&bytes(&run(&audit, &recorded.events[..40], &mut (), &Cancel::default()).unwrap()), &bytes(&later), "cut");
    let other = Audit { baseline: None, ..audit.clone() };
    let error = run(&other, &recorded.events, &mut (), &Cancel::default()).unwrap_err().to_string();
    assert!(error.contains("gates[0].max_drop: compares two models"), "{error}");
    let beside = Audit { plan: &plan, subjects: &both, ..audit };
    let error = measured(&beside, &mut ()).unwrap_err().to_string();
    assert!(error.contains("models: names two"), "{error}");
}

#[test]
fn what_is_found_on_each_model_is_shown_to_the_other() {
    let blind = Hyperplane { flat: true, ..Hyperplane::new(0.5) };
    let models = [("exact", &Hyperplane::new(0.5)), ("blind", &blind)];
    let with = |transfer| audit(&Plan { transfer, ..plan(&["exact", "blind"], "") }, &models).0;
    let (apart, report) = (with(false), with(true));
    let [exact, blind] = report.models.as_slice() else { panic!("two models") };
    // Without a slope the attacks see less than the four samples within reach. What is found on its twin misleads it.
    let own = blind.threats[0].robust;
    assert!(own.hits() > 16, "{own}");
    let transfer = blind.threats[0].transfer.as_ref().unwrap();
    assert_eq!((transfer.from.as_str(), transfer.misled, transfer.robust), ("exact", Some(rate(4, 4)), rate(16, 20)));
    let flag = raised(&report, FlagKind::TransferStronger);
    assert_eq!((flag.model.0, &flag.stages[0].stage), (1, &"transfer from exact Linf 0.1".to_owned()));
    assert_eq!((flag.stages[0].samples, flag.stages[0].of), (own.hits() - 16, 20));
    // The other way round nothing is overlooked.
    let transfer = exact.threats[0].transfer.as_ref().unwrap();
    assert_eq!((transfer.from.as_str(), transfer.robust), ("blind", exact.threats[0].robust));
    assert_eq!(transfer.misled, Estimate::new(20 - own.hits(), 20 - own.hits()));
    assert!(report.flags.iter().filter(|flag| flag.kind == FlagKind::TransferStronger).all(|flag| flag.model.0 == 1));
    // What is shown does not change what is measured.
    for (shown, alone) in report.models.iter().zip(&apart.models) {
        assert_eq!((shown.threats[0].robust, shown.cost), (alone.threats[0].robust, alone.cost));
        assert!(alone.threats[0].transfer.is_none());
    }
    for text in [Markdown.to_text(&report), Html.to_text(&report)] {
        assert!(text.contains("what was found on exact") && text.contains("transfer-stronger"), "{text}");
    }
    let gated = Plan { transfer: true, ..plan(&["exact", "blind"], "{ forbid_flags = [\"transfer-stronger\"] }") };
    assert_eq!(audit(&gated, &models).0.verdict, Verdict::Fail);
}

#[test]
fn a_gate_on_latency_times_both_models_in_turn() {
    let models = [("exact", &Hyperplane::new(0.5)), ("shifted", &Hyperplane::new(0.7))];
    let with = |gate: &str| audit(&plan(&["exact", "shifted"], gate), &models);
    let (report, recorded) = with("{ max_latency_ratio = 100 }, { min_clean_accuracy = 0.1 }");
    assert_eq!(report.verdict, Verdict::Pass, "{:?}", report.gates);
    let check = &report.gates[0].checks[0];
    let Observed::LatencyRatio { ratio, rounds } = check.observed else { panic!("{check:?}") };
    let high = check.grounds.unwrap().high.unwrap();
    assert!(rounds == 200 && ratio > 0.01 && ratio <= high && high < 100.0, "{check:?}");
    assert!(check.to_string().starts_with("shifted, latency: "), "{check}");
    assert_eq!(Report::fold(&recorded.events).unwrap(), report);
    let stages: Vec<&str> = recorded.progress.iter().map(|p| p.stage.as_str()).collect();
    assert_eq!(stages.last(), Some(&"latency"));
    assert!(recorded.progress.iter().all(|p| p.stages == 7 && p.stage_number <= 7));

    let (report, _) = with("{ max_latency_ratio = 0.0001 }");
    assert_eq!(report.verdict, Verdict::Fail, "{:?}", report.gates);
    let (_, recorded) = with("");
    assert!(!recorded.events.iter().any(|event| matches!(event, Event::Timed(_))));

    // Each shard times its own chunks, and all rounds are judged together.
    let (plan, data) = (plan(&["exact", "shifted"], "{ max_latency_ratio = 100 }"), many());
    let subjects: Vec<_> = models.iter().map(|(name, model)| subject(name, *model)).collect();
    let part = |index| {
        let audit = Audit { shard: Shard::new(index, 2), ..audit_of(&plan, &subjects, &data) };
        let mut part = Recorded::default();
        _ = run(&audit, &[], &mut part, &Cancel::default()).unwrap();
        part.events
    };
    let whole = Report::fold(&merge(&[part(0), part(1)]).unwrap()).unwrap();
    let Observed::LatencyRatio { rounds, .. } = whole.gates[0].checks[0].observed else { panic!("no ratio") };
    assert_eq!((whole.verdict, rounds), (Verdict::Pass, 16 * 13));
}

fn raised(report: &Report, kind: FlagKind) -> &Raised {
    report.flags.iter().find(|raised| raised.kind == kind).unwrap()
}

/// A thousand samples between 0 and 1 in no order, some of them wrongly labelled.
fn many() -> Dataset {
    let value = |i: usize| ((i * 617) % 1000) as f32 / 1000.0 + 0.0004;
    Dataset::from_parts(Parts {
        name: "many".into(),
        samples: Array2::from_shape_fn((1000, 4), |(i, _)| value(i)),
        labels: (0..1000).map(|i| Class(u32::from((value(i) >= 0.5) != (i % 9 == 0)))).collect(),
        sample_shape: vec![1, 2, 2],
        bounds: Bounds::new(0.0, 1.0).unwrap(),
        class_names: Vec::new(),
        digest: String::new(),
    })
    .unwrap()
}

fn two() -> [Hyperplane; 2] {
    [Hyperplane { finite_below: 0.9, ..Hyperplane::new(0.5) }, Hyperplane { flat: true, ..Hyperplane::new(0.6) }]
}

const TWO: &str = "schema = 1\nmodels = [{ name = \"a\" }, { name = \"b\" }]\ngates = [{ max_drop = 0.1 }]\ntransfer = true\nseed = 3\n\
     [[evaluations]]\nnorm = \"Linf\"\neps = [\"0.05\", \"0.1\"]\nattacks = [{ name = \"fgsm\" }, { name = \"pgd\", parameters = { steps = 3 } }]\n\
     [[evaluations]]\nname = \"each\"\nnorm = \"L2\"\neps = \"0.1\"\norder = \"separate\"\n\
     attacks = [{ name = \"pgd\", parameters = { steps = 3 } }, { name = \"fgsm\" }]";

/// Carries TWO out on many samples, `batch` at a time, from where `past` ends.
fn measure(
    shard: Option<Shard>,
    batch: usize,
    past: &[Event],
    observer: &mut dyn Observer,
) -> Result<Report, AuditError> {
    let (plan, models, data) = (Plan::parse(TWO).unwrap(), two(), many());
    let batch = NonZeroUsize::new(batch).unwrap();
    let subjects: Vec<_> = ["a", "b"].iter().zip(&models).map(|(n, m)| Subject { batch, ..subject(n, m) }).collect();
    let audit = Audit { shard, ..audit_of(&plan, &subjects, &data) };
    run(&audit, past, observer, &Cancel::default())
}

fn bytes(report: &Report) -> String {
    Json.to_text(&report.clone().without_run())
}

/// Whether two reports are the same; the first lines that differ, if not.
#[track_caller]
fn same(found: &str, expected: &str, what: &str) {
    let lines = (1..).zip(found.lines().zip(expected.lines()));
    let different: Vec<_> = lines.filter(|(_, (found, expected))| found != expected).take(3).collect();
    assert!(different.is_empty() && found.len() == expected.len(), "{what}: {different:?}");
}

/// Keeps events until it is full, as a disk, or killed, as a process.
struct Ends {
    events: Vec<Event>,
    after: usize,
}

impl Observer for Ends {
    fn event(&mut self, event: &Event) -> Result<(), ObserverError> {
        if self.events.len() == self.after {
            return Err("no space left on device".into());
        }
        self.events.push(event.clone());
        Ok(())
    }
}

#[test]
fn a_run_that_is_cut_anywhere_goes_on_to_the_same_report() {
    let mut whole = Recorded::default();
    let report = measure(None, 7, &[], &mut whole).unwrap();
    let events = whole.events.len();
    // Two models on 16 chunks: clean, two attacks at two radii, two apart; the start and the end.
    assert_eq!(events, 2 * 16 * 7 + 2);
    assert!(
        report.models.iter().all(|m| m.threats.iter().all(|t| t.robust.hits() > 0 && t.robust.hits() < m.clean.hits()))
    );
    // Every 23rd place, and all near the ends.
    for cut in (0..events).filter(|cut| cut % 23 == 0 || *cut < 4 || *cut > events - 4) {
        let mut first = Ends { events: Vec::new(), after: cut };
        let error = measure(None, 7, &[], &mut first).unwrap_err();
        assert!(matches!(&error, AuditError::Store(_)) && error.to_string().contains("no space left"), "{error}");
        let mut rest = Recorded::default();
        let resumed = measure(None, 7, &first.events, &mut rest).unwrap();
        same(&bytes(&resumed), &bytes(&report), &format!("cut after {cut} events"));
        assert_eq!(first.events.len() + rest.events.len(), events, "nothing is done twice");
    }
    // What has ended has nothing more to say.
    let mut nothing = Recorded::default();
    assert_eq!(bytes(&measure(None, 7, &whole.events, &mut nothing).unwrap()), bytes(&report));
    assert!(nothing.events.is_empty());
}

#[test]
fn the_size_of_batches_and_the_number_of_shards_make_no_difference() {
    let whole = bytes(&measure(None, 7, &[], &mut ()).unwrap());
    for batch in [1, 64, 1000] {
        same(&bytes(&measure(None, batch, &[], &mut ()).unwrap()), &whole, &format!("batches of {batch}"));
    }
    for of in [1, 3, 7, 16] {
        let mut records: Vec<Vec<Event>> = (0..of)
            .map(|index| {
                let mut recorded = Recorded::default();
                let part = measure(Shard::new(index, of), 64, &[], &mut recorded).unwrap();
                assert_eq!(part.samples.labels.len() as u64, part.models[0].clean.of());
                recorded.events
            })
            .collect();
        records.reverse();
        let merged = merge(&records).unwrap();
        same(&bytes(&Report::fold(&merged).unwrap()), &whole, &format!("{of} shards"));
    }
    let refused = measure(Shard::new(0, 17), 64, &[], &mut ()).unwrap_err().to_string();
    assert!(refused.contains("shard: is 0/17, but 1000 samples have 16 chunks"), "{refused}");
}

#[test]
fn what_are_not_all_shards_of_one_audit_is_not_put_together() {
    let record = |shard| {
        let mut recorded = Recorded::default();
        let _ = measure(shard, 64, &[], &mut recorded).unwrap();
        recorded.events
    };
    let [first, second, whole] = [record(Shard::new(0, 2)), record(Shard::new(1, 2)), record(None)];
    let mut other = second.clone();
    let Event::Started(started) = &mut other[0] else { panic!("no start") };
    started.setup.models[0].digest = "0".into();
    let cut = second[..5].to_vec();
    for (records, words) in [
        (vec![], "there are no shards"),
        (vec![first.clone()], "shard 1/2 is missing; expected each of the 2 shards once"),
        (vec![first.clone(), first.clone()], "shard 0/2 is there more than once"),
        (vec![first.clone(), other], "record 1 is of another audit than the first: a model differs"),
        (vec![first.clone(), cut], "shard 1/2 did not end"),
        (vec![first, second[1..].to_vec()], "record 1 does not begin with the start"),
        (vec![whole], "record 0 is no shard"),
    ] {
        let error = merge(&records).unwrap_err().to_string();
        assert!(error.contains(words), "{words} not in {error}");
    }
}

#[test]
fn an_audit_does_not_go_on_with_something_else() {
    let mut kept = Ends { events: Vec::new(), after: 9 };
    measure(None, 7, &[], &mut kept).unwrap_err();
    let refusal = |change: &dyn Fn(&mut assay_audit::Started)| {
        let mut events = kept.events.clone();
        let Event::Started(started) = &mut events[0] else { panic!("no start") };
        change(started);
        measure(None, 7, &events, &mut ()).map(|report| report.verdict).map_err(|e| e.to_string())
    };
    let changed = |result: Result<Verdict, String>, what: &str| {
        let error = result.unwrap_err();
        assert!(error.starts_with(&format!("{what} is not what it was when the audit began")), "{error}");
    };
    changed(refusal(&|started| started.setup.plan.seed = 4), "the plan");
    changed(refusal(&|started| started.setup.models[1].digest.clear()), "a model");
    changed(refusal(&|started| started.labels[999] = 0), "the data set");
    changed(
        refusal(&|started| started.setup.environment.onnxruntime.clear()),
        "the version of assay or of ONNX Runtime",
    );
    // Another machine is another machine.
    assert!(refusal(&|started| started.circumstances = Circumstances::default()).is_ok());
    let error = measure(Shard::new(0, 2), 7, &kept.events, &mut ()).unwrap_err().to_string();
    assert!(error.contains("the shard is not what it was"), "{error}");
    let mut torn = kept.events.clone();
    torn.remove(3);
    assert!(measure(None, 7, &torn, &mut ()).unwrap_err().to_string().contains("event 3 does not fit"));
}

#[test]
fn attacks_that_are_apart_each_see_all_samples_and_the_worst_counts() {
    let report = measure(None, 64, &[], &mut ()).unwrap();
    // A flat loss leaves PGD to chance, whereas FGSM on the hyperplane finds what there is to find.
    let of = &report.models[0];
    let [sequence, apart] = [&of.threats[1], &of.threats[2]];
    assert_eq!(apart.title, "each");
    let tried = |attack: &assay_audit::AttackResult| attack.success.unwrap().of();
    assert_eq!(apart.attacks.iter().map(tried).collect::<Vec<_>>(), [of.clean.hits(), of.clean.hits()]);
    assert!(tried(&sequence.attacks[1]) < of.clean.hits());
    let least = apart.attacks.iter().map(|attack| attack.robust.hits()).min().unwrap();
    assert!(apart.robust.hits() <= least);
    for threat in &of.threats {
        let lost: Vec<_> = threat.outcomes.iter().map(|outcome| outcome.sample).collect();
        assert!(lost.is_sorted() && !lost.is_empty());
        // What is listed as changed, of the samples that were right, is what is not robust of them.
        let right = |sample: u64| {
            let i = report.samples.positions.iter().position(|position| *position == sample).unwrap();
            of.predictions[i] == Some(report.samples.labels[i])
        };
        let broken = lost.iter().filter(|sample| right(**sample)).count() as u64;
        assert_eq!(threat.robust.hits(), of.clean.hits() - broken);
    }
}

#[test]
fn progress_reaches_its_end_in_every_stage() {
    let models = [("exact", &Hyperplane::new(0.5)), ("shifted", &Hyperplane::new(0.7))];
    let (_, recorded) = audit(&plan(&["exact", "shifted"], ""), &models);
    assert!(recorded.progress.is_sorted_by_key(|p| p.stage_number));
    for stage in 1..=6 {
        let steps: Vec<_> = recorded.progress.iter().filter(|p| p.stage_number == stage).collect();
        let last = steps.last().unwrap();
        assert_eq!((last.steps_done, last.stages), (last.steps_total, 6), "{last:?}");
        assert!(steps.is_sorted_by_key(|p| p.steps_done));
    }
    assert_eq!(last_correct(&recorded, 6), [20, 16, 16, 16, 14, 14]);
}

/// Samples that the last progress of each stage calls correct.
fn last_correct(recorded: &Recorded, stages: u32) -> Vec<u64> {
    let last = |stage| recorded.progress.iter().rfind(|p| p.stage_number == stage).unwrap();
    (1..=stages).map(|stage| last(stage).correct).collect()
}

#[test]
fn the_last_progress_of_a_stage_says_what_the_report_says() {
    // FGSM moves 0.425 and 0.475 up to where the model fails: they are neither broken nor robust.
    let model = Hyperplane { finite_below: 0.52, ..Hyperplane::new(0.9) };
    let (report, recorded) = audit(&plan(&["failing"], ""), &[("failing", &model)]);
    let result = &report.models[0];
    let last = last_correct(&recorded, 3);
    assert_eq!((last[0], last[2]), (result.clean.hits(), result.threats[0].robust.hits()));
    assert_eq!(last, [10, 8, 8]);
}

#[test]
fn logits_that_are_not_finite_are_errors_and_not_robust() {
    let model = Hyperplane { finite_below: 0.9, ..Hyperplane::new(0.5) };
    let (report, _) = audit(&plan(&["broken"], "{ min_clean_accuracy = 0.8 }"), &[("broken", &model)]);
    let result = &report.models[0];
    assert_eq!((result.clean, result.errors), (rate(18, 20), 2));
    // FGSM moves 0.825 and 0.875 down, away from where the model fails.
    assert_eq!((result.threats[0].robust, result.threats[0].stability), (rate(14, 20), rate(14, 20)));
    // All twenty would prove 80 %, eighteen do not: the two that are unknown decide it.
    assert_eq!(report.verdict, Verdict::Unreliable);
    let flag = raised(&report, FlagKind::NotFinite);
    assert_eq!((flag.stages[0].stage.as_str(), flag.stages[0].samples, flag.stages[0].of), ("clean", 2, 20));
}

#[test]
fn a_gradient_of_zero_is_reported() {
    let model = Hyperplane { flat: true, ..Hyperplane::new(0.5) };
    let (report, _) = audit(&plan(&["flat"], ""), &[("flat", &model)]);
    let flag = raised(&report, FlagKind::ZeroGradient);
    // All but those that a random direction happens to break.
    assert!(flag.stages.iter().all(|seen| seen.samples >= 16 && seen.samples <= seen.of), "{flag:?}");
    for text in [Markdown.to_text(&report), Html.to_text(&report)] {
        assert!(text.contains("zero-gradient") && text.contains("the attack was blind"), "{text}");
    }
}

#[test]
fn samples_that_withstand_an_estimated_gradient_are_reported() {
    let mut model = Hyperplane::new(0.5);
    let (report, _) = audit(&plan(&["exact"], ""), &[("exact", &model)]);
    assert_eq!((&report.flags[..], &report.setup.models[0].gradients), (&[][..], &GradientFacts::Exact));
    let nodes = vec!["\"q\" (QuantizeLinear)".to_owned()];
    model.spec.gradients = Gradients::StraightThrough(nodes.clone());
    let (report, _) = audit(&plan(&["estimated"], ""), &[("estimated", &model)]);
    assert_eq!(report.setup.models[0].gradients, GradientFacts::StraightThrough { nodes });
    assert_eq!(raised(&report, FlagKind::StraightThrough).stages.len(), 2);
    for text in [Markdown.to_text(&report), Html.to_text(&report)] {
        assert!(text.contains("straight-through") && text.contains("gradients estimated at 1 node"), "{text}");
    }
}

#[test]
fn a_stop_anywhere_ends_without_a_report() {
    struct StopAfter(usize, Cancel);
    impl Observer for StopAfter {
        fn progress(&mut self, _: &Progress) {
            self.0 = self.0.saturating_sub(1);
            if self.0 == 0 {
                self.1.cancel();
            }
        }
    }
    let (plan, model) = (plan(&["exact"], ""), Hyperplane::new(0.5));
    for calls in [1, 2, 4, 5, 8] {
        let cancel = Cancel::default();
        let mut observer = StopAfter(calls, cancel.clone());
        let result = run(&audit_of(&plan, &[subject("exact", &model)], &data()), &[], &mut observer, &cancel);
        assert!(matches!(result, Err(AuditError::Stopped)), "after {calls}: {result:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_spent() {
    let model = Hyperplane::new(0.5);
    let refusal = |plan: &Plan, subjects: &[Subject<'_>]| {
        run(&audit_of(plan, subjects, &data()), &[], &mut (), &Cancel::default()).unwrap_err().to_string()
    };
    let one = plan(&["a"], "");
    assert!(refusal(&one, &[subject("b", &model)]).contains("does not name the models"));
    let mut wide = Hyperplane::new(0.5);
    wide.spec.sample_shape = vec![1, 3, 3];
    assert_eq!(
        refusal(&one, &[subject("a", &wide)]),
        "model \"a\": takes samples of shape [1, 3, 3]; data set \"ramp\" has [1, 2, 2]"
    );
    let mut single = Hyperplane::new(0.5);
    single.spec.classes = 1;
    assert!(refusal(&one, &[subject("a", &single)]).contains("tells 1 classes apart; sample 10"));
    let mut opaque = Hyperplane::new(0.5);
    opaque.spec.gradients = Gradients::Unavailable("NonZero at \"n\"".into());
    assert!(refusal(&one, &[subject("a", &opaque)]).contains("which attack \"fgsm\" needs: NonZero at \"n\""));
    let scaled = Subject { bounds: Bounds::new(0.0, 255.0).unwrap(), ..subject("b", &model) };
    assert!(refusal(&plan(&["a", "b"], ""), &[subject("a", &model), scaled]).contains("the same eps means two things"));
}

#[test]
fn samples_are_moved_to_the_range_of_the_model() {
    let model = Hyperplane::new(127.5);
    let subject = Subject { bounds: Bounds::new(0.0, 255.0).unwrap(), ..subject("bytes", &model) };
    let mut plan = plan(&["bytes"], "");
    plan.evaluations[0].eps = vec!["25.5".parse().unwrap()];
    let report = run(&audit_of(&plan, &[subject], &data()), &[], &mut (), &Cancel::default()).unwrap();
    assert_eq!((report.models[0].clean, report.models[0].threats[0].robust), (rate(20, 20), rate(16, 20)));
}
