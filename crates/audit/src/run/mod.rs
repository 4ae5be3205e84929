//! Carrying out a plan.

mod model;

use std::num::NonZeroUsize;

use assay_attack::{Attack, AttackError, Bounds, Cancel, Threat};
use assay_data::{DataError, Dataset};
use assay_runtime::{Classifier, Gradients, RunError};
use serde::{Deserialize, Serialize};

use crate::event::{AttackFacts, DataFacts, Environment, Event, ModelFacts, ModelId, Setup, ThreatFacts, ThreatId};
use crate::plan::{Plan, PlanError};
use crate::report::{Inconsistent, Report};
use model::{Model, Stage};

/// Most adversarial samples that a report shows.
const EXAMPLES: usize = 12;

/// A model under test.
#[derive(Clone)]
pub struct Subject<'a> {
    /// Name in the repository.
    pub name: String,
    /// Version.
    pub version: String,
    /// What it is: `dense`, `filter-pruned`, ...; empty if unknown.
    pub kind: String,
    /// Elements of all weights.
    pub parameters: u64,
    /// Range of valid input values.
    pub bounds: Bounds,
    /// Class names in order; empty if unknown.
    pub labels: Vec<String>,
    /// Most samples in one call of the model.
    pub batch: NonZeroUsize,
    /// The model itself.
    pub classifier: &'a dyn Classifier,
}

/// Measures the subjects, which are the plan's models in its order, on the data.
///
/// Every attack works on what the ones before it left. Samples that a model gets wrong are attacked too, away from the class
/// it predicts: that measures the stability and does not touch the robust accuracy.
///
/// # Errors
/// The plan, the data and the subjects do not fit each other; a model failed as a whole; or `cancel` was set.
pub fn run(
    plan: &Plan,
    subjects: &[Subject<'_>],
    data: &Dataset,
    environment: Environment,
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Result<Report, AuditError> {
    let attacks = plan.attacks()?;
    fit(plan, subjects, data, &attacks)?;
    let stages = subjects.len() * (1 + attacks.iter().map(Vec::len).sum::<usize>());
    let mut log = Log { events: Vec::new(), observer, stage: 0, stages: u32::try_from(stages).unwrap_or(u32::MAX) };
    let setup = Box::new(setup(plan, subjects, data, &attacks, environment));
    log.event(Event::Started { setup, labels: data.labels().iter().map(|label| label.0).collect() });
    let share = (EXAMPLES / (subjects.len() * attacks.len())).max(1);
    let mut room = EXAMPLES;
    for (id, subject) in (0..).map(ModelId).zip(subjects) {
        let mut model = Model::classified(id, subject, data, plan.seed, cancel, &mut log)?;
        for ((threat, evaluation), attacks) in (0..).map(ThreatId).zip(&plan.evaluations).zip(&attacks) {
            let spec = Threat { norm: evaluation.norm, eps: evaluation.eps.clone(), bounds: subject.bounds };
            let mut shown = share.min(room);
            room -= shown;
            model.begin();
            for (number, attack) in (0..).zip(attacks) {
                let stage = Stage { threat, number, spec: &spec, attack: attack.as_ref() };
                model.attack(&stage, &mut shown, cancel, &mut log)?;
            }
            room += shown;
        }
        model.findings().into_iter().for_each(|finding| log.event(Event::Finding(finding)));
    }
    log.event(Event::Finished);
    Ok(Report::fold(&log.events)?)
}

/// Who follows an audit. Both methods do nothing unless they are overridden.
pub trait Observer {
    /// An event that the report is made of happened.
    fn event(&mut self, event: &Event) {
        let _ = event;
    }

    /// Work went on.
    fn progress(&mut self, progress: &Progress) {
        let _ = progress;
    }
}

/// Follows nothing.
impl Observer for () {}

/// How far an audit is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Model under test.
    pub model: ModelId,
    /// What is being done: `clean`, or an attack under a threat such as `pgd Linf 0.1`.
    pub stage: String,
    /// Number of the stage, from 1.
    pub stage_number: u32,
    /// How many stages there are over all models.
    pub stages: u32,
    /// Samples of the data.
    pub samples: u64,
    /// Those still correct so far in this stage.
    pub correct: u64,
    /// Work of this stage done, in sample-steps.
    pub steps_done: u64,
    /// The most there can be.
    pub steps_total: u64,
}

/// An audit that has no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The plan makes no sense.
    #[error("plan: {0}")]
    Plan(#[from] PlanError),
    /// The data cannot be used.
    #[error("data: {0}")]
    Data(#[from] DataError),
    /// The data or the plan do not fit the model.
    #[error("model \"{model}\": {reason}")]
    Subject {
        /// Name of the model.
        model: String,
        /// What does not fit, what was expected, and what to do.
        reason: String,
    },
    /// An attack of the plan needs a gradient and the model has none.
    #[error("model \"{model}\" has no gradient, which attack \"{attack}\" needs: {reason}")]
    NoGradient {
        /// Name of the model.
        model: String,
        /// The attack.
        attack: &'static str,
        /// The operator and node that stand in the way.
        reason: String,
    },
    /// The model could not be evaluated.
    #[error("model \"{model}\": {source}")]
    Model {
        /// Name of the model.
        model: String,
        /// Reason.
        source: RunError,
    },
    /// An attack could not be run.
    #[error("model \"{model}\": {source}")]
    Attack {
        /// Name of the model.
        model: String,
        /// Reason.
        source: AttackError,
    },
    /// The caller asked to stop.
    #[error("the audit was stopped before it ended; there is no report")]
    Stopped,
    /// Events do not make a report: a defect of assay.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
}

/// What happened so far, and who is told.
struct Log<'a> {
    events: Vec<Event>,
    observer: &'a mut dyn Observer,
    stage: u32,
    stages: u32,
}

impl Log<'_> {
    fn event(&mut self, event: Event) {
        self.observer.event(&event);
        self.events.push(event);
    }
}

/// Checks that plan, models and data belong together, before anything is spent.
fn fit(
    plan: &Plan,
    subjects: &[Subject<'_>],
    data: &Dataset,
    attacks: &[Vec<Box<dyn Attack>>],
) -> Result<(), AuditError> {
    let named = |(model, subject): (&crate::ModelRef, &Subject<'_>)| {
        model.name == subject.name && (model.version.is_empty() || model.version == subject.version)
    };
    if plan.models.len() != subjects.len() || !plan.models.iter().zip(subjects).all(named) {
        let reason = "does not name the models that were handed in, in their order".to_owned();
        return Err(PlanError::Field { field: "models".into(), reason }.into());
    }
    if let [first, second] = subjects {
        comparable(first, second)?;
    }
    for subject in subjects {
        let fail = |reason: String| Err(AuditError::Subject { model: subject.name.clone(), reason });
        let spec = subject.classifier.spec();
        if !data.fits(&spec.sample_shape) {
            let (ours, theirs) = (data.sample_shape(), &spec.sample_shape);
            return fail(format!("takes samples of shape {theirs:?}; data set \"{}\" has {ours:?}", data.name()));
        }
        if let Some(sample) = data.labels().iter().position(|label| label.index() >= spec.classes) {
            let label = data.labels().get(sample).map_or(0, |label| label.0);
            let classes = spec.classes;
            return fail(format!(
                "tells {classes} classes apart; sample {sample} of \"{}\" has label {label}",
                data.name()
            ));
        }
        for attack in attacks.iter().flatten() {
            let name = attack.description().name;
            if let (Gradients::Unavailable(reason), true) = (&spec.gradients, attack.description().needs_gradient) {
                let (model, reason) = (subject.name.clone(), reason.clone());
                return Err(AuditError::NoGradient { model, attack: name, reason });
            }
            if spec.classes < attack.min_classes() {
                let (classes, least) = (spec.classes, attack.min_classes());
                return fail(format!("has {classes} classes; attack \"{name}\" with this loss needs {least}"));
            }
        }
    }
    Ok(())
}

fn comparable(first: &Subject<'_>, second: &Subject<'_>) -> Result<(), AuditError> {
    let fail = |reason: String| Err(AuditError::Subject { model: second.name.clone(), reason });
    let (ours, theirs) = (second.classifier.spec().classes, first.classifier.spec().classes);
    if ours != theirs {
        return fail(format!("has {ours} classes, \"{}\" has {theirs}; compare models of the same task", first.name));
    }
    if first.bounds != second.bounds {
        let [a, b] = [second.bounds, first.bounds].map(|bounds| format!("[{}, {}]", bounds.low(), bounds.high()));
        return fail(format!(
            "takes inputs in {a}, \"{}\" in {b}, so that the same eps means two things; audit them one at a time",
            first.name
        ));
    }
    Ok(())
}

fn setup(
    plan: &Plan,
    subjects: &[Subject<'_>],
    data: &Dataset,
    attacks: &[Vec<Box<dyn Attack>>],
    environment: Environment,
) -> Setup {
    let model = |subject: &Subject<'_>| ModelFacts {
        name: subject.name.clone(),
        version: subject.version.clone(),
        digest: subject.classifier.spec().digest.clone(),
        kind: subject.kind.clone(),
        parameters: subject.parameters,
        provider: subject.classifier.spec().provider.clone(),
        gradients: (&subject.classifier.spec().gradients).into(),
    };
    let attack = |attack: &dyn Attack| AttackFacts {
        name: attack.description().name.to_owned(),
        parameters: attack.settings().into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    };
    let threats = plan.evaluations.iter().zip(attacks).map(|(evaluation, attacks)| ThreatFacts {
        norm: evaluation.norm,
        eps: evaluation.eps.clone(),
        attacks: attacks.iter().map(|a| attack(a.as_ref())).collect(),
    });
    let named = subjects.iter().map(|s| &s.labels).find(|labels| !labels.is_empty());
    let own = Some(data.class_names().to_vec()).filter(|names| !names.is_empty());
    let classes = subjects.first().map_or(0, |s| s.classifier.spec().classes);
    Setup {
        plan: plan.clone(),
        models: subjects.iter().map(model).collect(),
        data: DataFacts {
            name: data.name().to_owned(),
            digest: data.digest().to_owned(),
            sample_shape: data.sample_shape().to_vec(),
            class_names: own.or_else(|| named.cloned()).unwrap_or_default(),
            classes: u32::try_from(classes).unwrap_or(u32::MAX),
            samples: data.len() as u64,
        },
        threats: threats.collect(),
        environment,
    }
}
