//! Audits of classifiers whose robustness is known exactly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::num::NonZeroUsize;

use assay_attack::{Bounds, Cancel};
use assay_audit::{
    AuditError, Environment, Estimate, Event, FindingKind, GradientFacts, Html, Json, Markdown, Observer, Plan,
    Progress, Render, Report, Subject, Verdict, run,
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
    }
}

fn environment() -> Environment {
    Environment { assay: "0.1.0".into(), onnxruntime: "none".into(), date: "2026-11-21T00:00:00Z".into() }
}

fn plan(models: &[&str], gates: &str) -> Plan {
    let models: Vec<_> = models.iter().map(|name| format!("{{ name = \"{name}\" }}")).collect();
    Plan::parse(&format!(
        "models = [{}]\ngates = [{gates}]\nseed = 7\n\
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
    fn event(&mut self, event: &Event) {
        self.events.push(event.clone());
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
    let report = run(plan, &subjects, &data(), environment(), &mut recorded, &Cancel::default()).unwrap();
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
    assert!(report.findings.is_empty());
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
    // Any event that is missing is missed, but for those that only add to the report.
    for missing in 0..read.len() {
        let rest = read.iter().enumerate().filter(|(i, _)| *i != missing).map(|(_, event)| event);
        let optional = matches!(read[missing], Event::Example(_) | Event::Finding(_));
        assert_eq!(Report::fold(rest).is_ok(), optional, "without event {missing}");
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
    let finding = report.findings[0].clone();
    assert_eq!((finding.kind, finding.hits, finding.of), (FindingKind::Errors, 2, 20));
}

#[test]
fn a_gradient_of_zero_is_reported() {
    let model = Hyperplane { flat: true, ..Hyperplane::new(0.5) };
    let (report, _) = audit(&plan(&["flat"], ""), &[("flat", &model)]);
    let finding = report.findings.iter().find(|f| f.kind == FindingKind::ZeroGradients).unwrap();
    assert!(finding.hits >= 16 && finding.hits == finding.of, "{finding:?}");
    assert!(Markdown.to_text(&report).contains("robust accuracy may be overstated"));
}

#[test]
fn samples_that_withstand_an_estimated_gradient_are_reported() {
    let mut model = Hyperplane::new(0.5);
    let (report, _) = audit(&plan(&["exact"], ""), &[("exact", &model)]);
    assert_eq!((&report.findings[..], &report.setup.models[0].gradients), (&[][..], &GradientFacts::Exact));
    let nodes = vec!["\"q\" (QuantizeLinear)".to_owned()];
    model.spec.gradients = Gradients::StraightThrough(nodes.clone());
    let (report, _) = audit(&plan(&["estimated"], ""), &[("estimated", &model)]);
    assert_eq!(report.setup.models[0].gradients, GradientFacts::StraightThrough { nodes });
    let finding = report.findings.iter().find(|f| f.kind == FindingKind::StraightThrough).unwrap();
    assert!(finding.hits > 0 && finding.hits <= finding.of, "{finding:?}");
    assert_eq!(finding.of, 20);
    for text in [Markdown.to_text(&report), Html.to_text(&report)] {
        assert!(text.contains("straight through") && text.contains("gradients estimated at 1 node"), "{text}");
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
        let result = run(&plan, &[subject("exact", &model)], &data(), environment(), &mut observer, &cancel);
        assert!(matches!(result, Err(AuditError::Stopped)), "after {calls}: {result:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_spent() {
    let model = Hyperplane::new(0.5);
    let refusal = |plan: &Plan, subjects: &[Subject<'_>]| {
        run(plan, subjects, &data(), environment(), &mut (), &Cancel::default()).unwrap_err().to_string()
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
    plan.evaluations[0].eps = "25.5".parse().unwrap();
    let report = run(&plan, &[subject], &data(), environment(), &mut (), &Cancel::default()).unwrap();
    assert_eq!((report.models[0].clean, report.models[0].threats[0].robust), (rate(20, 20), rate(16, 20)));
}
