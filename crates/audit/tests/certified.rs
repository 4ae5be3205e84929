//! Audits with certificates of a classifier whose margins are known exactly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::num::NonZeroUsize;

use assay_attack::{Bounds, Cancel, FlagKind};
use assay_audit::{
    Audit, AuditError, Certifies, Circumstances, Environment, Estimate, Event, Format, Json, Plan, Proof, Render,
    Report, Shard, Subject, Verdict, merge, run,
};
use assay_certify::{Certificate, CertifyError, Job, Method, Neighbourhood, Progress};
use assay_data::{Dataset, Parts};
use assay_graph::Loss;
use assay_runtime::{Class, Classifier, ClassifierSpec, Evaluated, Gradients, RunError};
use ndarray::{Array2, ArrayView2};

/// Class 1 where the mean of four values is above one half, and what is known of its margins: by `crown` they are exact, by `ibp` those of a threat three
/// times as large.
struct Mean {
    spec: ClassifierSpec,
    /// What an odd certifier says.
    odd: Odd,
}

#[derive(Clone, Copy, PartialEq)]
enum Odd {
    Nothing,
    /// It certifies whatever it is asked.
    Lies,
    /// A bound of the first sample is not finite.
    Fails,
    /// It has no bounds by `crown`.
    Knows,
}

impl Mean {
    fn new(odd: Odd) -> Self {
        let spec = ClassifierSpec {
            digest: "d".repeat(64),
            sample_shape: vec![1, 2, 2],
            classes: 2,
            provider: "cpu".into(),
            gradients: Gradients::Exact,
        };
        Self { spec, odd }
    }
}

impl Classifier for Mean {
    fn spec(&self) -> &ClassifierSpec {
        &self.spec
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        let score = |i: usize| x.row(i).sum() / 4.0 - 0.5;
        Ok(Array2::from_shape_fn((x.nrows(), 2), |(i, class)| if class == 0 { -score(i) } else { score(i) }))
    }

    fn gradient(
        &self,
        x: ArrayView2<'_, f32>,
        _: Loss,
        labels: &[Class],
        _: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        let slope = |i: usize| if labels[i].0 == 1 { -0.25 } else { 0.25 };
        let gradient = Array2::from_shape_fn(x.dim(), |(i, _)| slope(i));
        Ok(Evaluated { loss: vec![0.0; x.nrows()], logits: self.logits(x)?, gradient })
    }

    fn vjp(&self, x: ArrayView2<'_, f32>, cotangent: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        let gradient = Array2::from_shape_fn(x.dim(), |(i, _)| 0.25 * (cotangent[[i, 1]] - cotangent[[i, 0]]));
        Ok(Evaluated { loss: Vec::new(), logits: self.logits(x)?, gradient })
    }
}

impl Certifies for Mean {
    fn supports(&self, methods: &[Method]) -> Result<(), String> {
        match self.odd == Odd::Knows && methods.contains(&Method::Crown) {
            true => Err("linear_bounds: node \"n\" (Exp): no rule for this operator".to_owned()),
            false => Ok(()),
        }
    }

    fn certify(
        &self,
        job: &Job<'_>,
        observer: &mut dyn FnMut(Progress),
        _: &Cancel,
    ) -> Result<Vec<Certificate>, CertifyError> {
        let Neighbourhood::Threat(threat) = job.neighbourhood else { panic!("a box") };
        let certificate = |i: usize| {
            let distance = f64::from(job.images.row(i).sum() / 4.0 - 0.5).abs();
            let mut bounds = Vec::new();
            for &method in job.methods {
                let times = if method == Method::Ibp { 3.0 } else { 1.0 };
                let margin = if self.odd == Odd::Lies { 1.0 } else { 2.0 * (distance - times * threat.eps.up()) };
                bounds.push(assay_certify::Bounds { method, margins: vec![margin as f32], slack: 1e-4 });
            }
            let verdict = match bounds.iter().any(assay_certify::Bounds::certify) {
                _ if self.odd == Odd::Fails && i == 0 => assay_certify::Verdict::Failed("a bound is NaN".to_owned()),
                true => assay_certify::Verdict::Certified,
                false => assay_certify::Verdict::Unknown,
            };
            Certificate { verdict, bounds }
        };
        let certificates: Vec<_> = (0..job.labels.len()).map(certificate).collect();
        observer(Progress { done: certificates.len(), of: certificates.len(), certified: 0 });
        Ok(certificates)
    }
}

/// So many samples that rise from 0 to 1; class 1 above one half, but for the first, which is labelled wrong.
fn data(samples: usize) -> Dataset {
    let value = |i: usize| (i as f32 + 0.5) / samples as f32;
    Dataset::from_parts(Parts {
        name: "ramp".into(),
        samples: Array2::from_shape_fn((samples, 4), |(i, _)| value(i)),
        labels: (0..samples).map(|i| Class(u32::from(value(i) > 0.5 || i == 0))).collect(),
        sample_shape: vec![1, 2, 2],
        bounds: Bounds::new(0.0, 1.0).unwrap(),
        class_names: Vec::new(),
        digest: String::new(),
    })
    .unwrap()
}

/// Against two threats, of which one has certificates.
fn plan(gates: &str, certification: &str) -> Plan {
    Plan::parse(&format!(
        "schema = 1\nmodels = [{{ name = \"mean\" }}]\ngates = [{gates}]\n\
         [[evaluations]]\nnorm = \"Linf\"\neps = \"0.1\"\nattacks = [{{ name = \"fgsm\" }}]\n\
         [[evaluations]]\nnorm = \"L2\"\neps = \"inf\"\nattacks = [{{ name = \"fmn\", parameters = {{ steps = 5 }} }}]\n{certification}"
    ))
    .unwrap()
}

const BOTH: &str = "[certification]\nmethods = [\"crown\", \"ibp\"]";

fn subject(model: &Mean) -> Subject<'_> {
    Subject {
        name: "mean".into(),
        version: "1".into(),
        kind: String::new(),
        parameters: 5,
        bounds: Bounds::new(0.0, 1.0).unwrap(),
        labels: Vec::new(),
        batch: NonZeroUsize::new(7).unwrap(),
        classifier: model,
        certifier: Some(model),
    }
}

fn audit_of<'a>(plan: &'a Plan, subjects: &'a [Subject<'a>], data: &'a Dataset, shard: Option<Shard>) -> Audit<'a> {
    let environment = Environment { assay: "0.1.0".into(), onnxruntime: "none".into(), optimization: "none".into() };
    Audit { plan, subjects, data, shard, baseline: None, environment, circumstances: Circumstances::default() }
}

#[derive(Default)]
struct Recorded {
    events: Vec<Event>,
    progress: Vec<assay_audit::Progress>,
}

impl assay_audit::Observer for Recorded {
    fn event(&mut self, event: &Event) -> Result<(), assay_audit::ObserverError> {
        self.events.push(event.clone());
        Ok(())
    }

    fn progress(&mut self, progress: &assay_audit::Progress) {
        self.progress.push(progress.clone());
    }
}

fn measured(plan: &Plan, odd: Odd, samples: usize) -> (Report, Recorded) {
    let (model, data) = (Mean::new(odd), data(samples));
    let subjects = [subject(&model)];
    let mut recorded = Recorded::default();
    let report = run(&audit_of(plan, &subjects, &data, None), &[], &mut recorded, &Cancel::default()).unwrap();
    (report, recorded)
}

fn rate(hits: u64, of: u64) -> Estimate {
    Estimate::new(hits, of).unwrap()
}

#[test]
fn verified_accuracy_stands_beside_the_robust_one() {
    let (report, recorded) = measured(&plan("", BOTH), Odd::Nothing, 20);
    let [near, far] = report.models[0].threats.as_slice() else { panic!("two threats") };
    // Of 20 samples 0.05 apart, 16 are farther than 0.1 from one half, 8 farther than 0.3; the first is labelled wrong.
    let verified = near.verified.as_ref().unwrap();
    assert_eq!((near.robust, verified.vra), (rate(15, 20), rate(15, 20)));
    let by: Vec<_> = verified.methods.iter().map(|of| (of.method, of.samples.len())).collect();
    assert_eq!(by, [(Method::Ibp, 7), (Method::Crown, 8)]);
    assert_eq!(verified.methods[0].samples, [1, 2, 3, 16, 17, 18, 19]);
    assert_eq!((verified.unknown, verified.failures.len(), verified.violated.len()), (4, 0, 0));
    assert_eq!(far.verified, None, "there are no certificates without a radius");
    assert_eq!(report.verdict, Verdict::Pass);
    assert!(report.flags.iter().all(|flag| flag.kind != FlagKind::CertificateViolated));

    // What is stored is enough, and every format says it.
    let lines = assay_audit::to_lines(&recorded.events).unwrap();
    assert_eq!(Report::fold(&assay_audit::from_lines(&lines).unwrap()).unwrap(), report);
    assert_eq!(serde_json::from_str::<Report>(&Json.to_text(&report)).unwrap(), report);
    for (format, words) in [
        (Format::Markdown, "| mean | verified accuracy, Linf 0.1 | 75.0 % | 15 of 20 |"),
        (Format::Markdown, "certificates: ibp 7, crown 8 | 4 bounds too loose, 0 failed"),
        (Format::Html, "Verified accuracy, Linf 0.1"),
        (Format::Junit, "certified 75.0 % (15 of 20;"),
        (Format::Junit, "gate: no flag certificate-violated"),
        (Format::Csv, ",certified,ibp\n"),
        (Format::Csv, ",unknown,\n"),
    ] {
        let text = format.render(&report);
        assert!(text.contains(words), "{words} not in {text}");
    }
    let rows: Vec<String> = Format::Csv.render(&report).lines().skip(1).map(str::to_owned).collect();
    let certificates = |what: &str| rows.iter().filter(|row| row.contains(what)).count();
    assert_eq!((certificates(",certified,crown"), certificates(",unknown,")), (8, 4));

    let stages: Vec<_> = recorded.progress.iter().map(|now| (now.stage_number, now.stage.as_str())).collect();
    assert!(stages.contains(&(3, "certify Linf 0.1")) && stages.contains(&(4, "fmn L2 inf")), "{stages:?}");
    assert!(recorded.progress.iter().all(|now| now.stages == 4 && now.steps_done <= now.steps_total));
    let last = recorded.progress.iter().rfind(|now| now.stage_number == 3).unwrap();
    assert_eq!((last.correct, last.steps_done, last.steps_total), (15, 19, 19));
    assert!(report.run.unwrap().stages.iter().any(|timed| timed.stage == "certify Linf 0.1"));
}

#[test]
fn without_certification_nothing_is_said_of_it() {
    let (report, recorded) = measured(&plan("", ""), Odd::Nothing, 20);
    assert!(report.models[0].threats.iter().all(|threat| threat.verified.is_none()) && report.gates.is_empty());
    assert!(!recorded.events.iter().any(|event| matches!(event, Event::Certified(_))));
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Csv) {
        let text = format.render(&report).to_lowercase();
        let text = text.split("<style>").next().unwrap();
        assert!(!text.contains("verified accuracy"), "{format:?}");
    }
}

#[test]
fn intervals_that_prove_nothing_come_with_a_hint() {
    let wide = plan("", "[certification]\nmethods = [\"ibp\"]");
    let wide = Plan::parse(&toml::to_string(&wide).unwrap().replace("\"0.1\"", "\"0.2\"")).unwrap();
    let (report, _) = measured(&wide, Odd::Nothing, 20);
    assert_eq!(report.models[0].threats[0].verified.as_ref().unwrap().vra.hits(), 0);
    for format in [Format::Markdown, Format::Html] {
        assert!(format.render(&report).contains("crown gives tighter bounds"), "{format:?}");
    }
}

#[test]
fn a_gate_on_certificates_is_decided_by_its_bounds() {
    let of = |least: f64| {
        let plan = plan(&format!("{{ min_certified = {least} }}"), BOTH);
        let (report, _) = measured(&plan, Odd::Nothing, 200);
        let checks: Vec<String> = report.gates[0].checks.iter().map(ToString::to_string).collect();
        (report.verdict, report.gates[0].verdict, checks)
    };
    // 159 of 200.
    let (verdict, _, checks) = of(0.7);
    assert_eq!((verdict, checks.len()), (Verdict::Pass, 1));
    assert!(checks[0].starts_with("mean, Linf 0.1: 79.5 % (159 of 200;"), "{checks:?}");
    assert_eq!((of(0.78).0, of(0.9).0), (Verdict::Inconclusive, Verdict::Fail));
    // A bound that is not finite might have been one that proves.
    let plan = plan("{ min_certified = 0.7 }", BOTH);
    let (report, _) = measured(&plan, Odd::Fails, 200);
    let verified = report.models[0].threats[0].verified.as_ref().unwrap();
    assert!(verified.failures.len() == 4 && verified.failures[0].error == "a bound is NaN", "one for each chunk");
    assert_eq!(report.gates[0].checks[0].grounds.unwrap().unmeasured, 4);
    assert!(Format::Csv.render(&report).contains(",failed,\n"));
}

#[test]
fn a_certified_sample_that_is_broken_fails_the_audit() {
    let (report, _) = measured(&plan("", BOTH), Odd::Lies, 20);
    let verified = report.models[0].threats[0].verified.as_ref().unwrap();
    assert_eq!((verified.vra, verified.violated.as_slice()), (rate(19, 20), &[8, 9, 10, 11][..]));
    let flag = report.flags.iter().find(|flag| flag.kind == FlagKind::CertificateViolated).unwrap();
    assert_eq!((flag.stages[0].stage.as_str(), flag.stages[0].samples, flag.stages[0].of), ("certify Linf 0.1", 4, 19));
    assert_eq!((report.verdict, report.gates.len()), (Verdict::Fail, 1));
    assert_eq!(report.summary(), "The gate failed");
    assert!(Format::Github.render(&report).contains("::error title=Flag certificate-violated"));
    assert!(Format::Sarif.render(&report).contains("\"ruleId\": \"certificate-violated\""));
    // Whoever measures it again finds another.
    let honest = measured(&plan("", BOTH), Odd::Nothing, 20).0;
    let departures = report.repeated(&honest).differences;
    let found: Vec<_> = departures.iter().map(|d| (d.sample.unwrap(), d.reported.as_str(), d.found.as_str())).collect();
    assert!(found.contains(&(8, "certified by ibp", "not certified")), "{found:?}");
    assert_eq!(found.len(), 12, "four that are not certified, and eight by another method: {found:?}");
    // Where the plan says so itself, it is said once.
    let own = plan("{ forbid_flags = [\"certificate-violated\"] }", BOTH);
    assert_eq!(measured(&own, Odd::Lies, 20).0.gates.len(), 1);
}

#[test]
fn parts_and_runs_that_were_cut_give_the_same_report() {
    let (model, data, plan) = (Mean::new(Odd::Nothing), data(200), plan("{ min_certified = 0.7 }", BOTH));
    let subjects = [subject(&model)];
    let (whole, recorded) = measured(&plan, Odd::Nothing, 200);
    let text = |report: Report| Json.to_text(&report.without_run());
    let expected = text(whole);
    for cut in 1..recorded.events.len() {
        let audit = audit_of(&plan, &subjects, &data, None);
        let again = run(&audit, &recorded.events[..cut], &mut (), &Cancel::default()).unwrap();
        assert_eq!(text(again), expected, "cut behind {cut}");
    }
    let part = |index| {
        let mut recorded = Recorded::default();
        let audit = audit_of(&plan, &subjects, &data, Shard::new(index, 3));
        _ = run(&audit, &[], &mut recorded, &Cancel::default()).unwrap();
        recorded.events
    };
    let parts: Vec<Vec<Event>> = [2, 0, 1].map(part).to_vec();
    assert_eq!(text(Report::fold(&merge(&parts).unwrap()).unwrap()), expected);
    // What does not fit is found.
    let mut damaged = recorded.events;
    let at = damaged.iter().position(|event| matches!(event, Event::Certified(_))).unwrap();
    if let Event::Certified(certified) = &mut damaged[at] {
        certified.proofs.remove(0);
        certified.proofs[0].proof = Proof::Unknown;
    }
    let error = Report::fold(&damaged).unwrap_err().to_string();
    assert!(error.contains(&format!("event {at} ")) && error.contains("one for each sample"), "{error}");
}

#[test]
fn what_cannot_be_certified_is_refused_before_anything_is_measured() {
    let data = data(20);
    let refused = |plan: &Plan, subject: Subject<'_>| {
        let (subjects, mut recorded) = ([subject], Recorded::default());
        let audit = audit_of(plan, &subjects, &data, None);
        let error = run(&audit, &[], &mut recorded, &Cancel::default()).unwrap_err();
        assert!(recorded.events.is_empty() && matches!(error, AuditError::NoBounds { .. }), "{error:?}");
        error.to_string()
    };
    let knows = Mean::new(Odd::Knows);
    let error = refused(&plan("", BOTH), subject(&knows));
    assert!(error.contains("model \"mean\" has no bounds") && error.contains("node \"n\" (Exp)"), "{error}");
    let nobody = Subject { certifier: None, ..subject(&knows) };
    assert!(refused(&plan("", BOTH), nobody).contains("nothing here certifies"));
    let intervals = plan("", "[certification]\nmethods = [\"ibp\"]");
    assert!(run(&audit_of(&intervals, &[subject(&knows)], &data, None), &[], &mut (), &Cancel::default()).is_ok());
}
