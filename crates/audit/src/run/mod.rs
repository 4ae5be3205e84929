//! Carrying out a plan.

pub(crate) mod chunk;
mod stage;

use std::error::Error;
use std::num::NonZeroUsize;

use assay_attack::{Attack, AttackError, Bounds, Cancel};
use assay_certify::CertifyError;
use assay_data::{DataError, Dataset};
use assay_runtime::{Classifier, Gradients, RunError};

use crate::baseline::{Baseline, Unlike};
use crate::certification::Certifies;
use crate::event::{
    AttackFacts, Circumstances, DataFacts, Environment, Event, ModelFacts, Setup, Started, ThreatFacts,
};
use crate::plan::{Attacks, Plan, PlanError};
use crate::report::Report;
use crate::schedule::{self, Shard};
use crate::tally::{Inconsistent, Tally};
pub use stage::Progress;

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
    /// Who certifies its samples; not needed where the plan certifies none.
    pub certifier: Option<&'a dyn Certifies>,
}

/// A plan with what it is carried out on and with.
#[derive(Clone)]
pub struct Audit<'a> {
    /// What to measure.
    pub plan: &'a Plan,
    /// The plan's models in its order.
    pub subjects: &'a [Subject<'a>],
    /// On what.
    pub data: &'a Dataset,
    /// The part of it that is measured; `None`: all.
    pub shard: Option<Shard>,
    /// What the plan's only model is compared with.
    pub baseline: Option<&'a Baseline>,
    /// With what.
    pub environment: Environment,
    /// When, and on what machine.
    pub circumstances: Circumstances,
}

/// Carries an audit out, from where the events `past` of the same audit end; none: from its beginning.
///
/// In an evaluation in sequence every attack works on what the ones before it left. Samples that a model gets wrong are attacked too, away from the class
/// it predicts: that measures the stability and does not touch the robust accuracy. What is found depends on plan, models and data only: not on where
/// the run was cut, on shards, batches or threads.
///
/// # Errors
/// The plan, the data and the subjects do not fit each other, or not the events; a model failed as a whole; an event could not be kept; or `cancel` was
/// set. What the observer was told of until then is true, and can be gone on from.
pub fn run(
    audit: &Audit<'_>,
    past: &[Event],
    observer: &mut dyn Observer,
    cancel: &Cancel,
) -> Result<Report, AuditError> {
    let attacks = audit.plan.attacks()?;
    fit(audit, &attacks)?;
    let mut started = started(audit, &attacks);
    started.setup.baseline = audit.baseline.map(|baseline| baseline.accepted(&started)).transpose()?;
    if let Some(shard) = audit.shard.filter(|shard| shard.of() > started.setup.chunks()) {
        let (chunks, samples) = (started.setup.chunks(), started.setup.data.samples);
        let reason = format!("is {shard}, but {samples} samples have {chunks} chunks; use at most {chunks} shards");
        return Err(PlanError::Field { field: "shard".into(), reason }.into());
    }
    let mut tally = match past {
        [] => {
            let first = Event::Started(Box::new(started));
            observer.event(&first).map_err(AuditError::Store)?;
            Tally::new(&first)?
        }
        past => {
            let tally = Tally::of(past)?;
            let shard = (tally.setup().shard != audit.shard).then_some("the shard");
            if let Some(what) = tally.started.differs_from(&started).or(shard) {
                return Err(AuditError::Changed { what });
            }
            tally
        }
    };
    while let Some(step) = tally.next_step() {
        let before = stage::at(&tally, &attacks, step, false);
        observer.progress(&before);
        let mut progress = before.clone();
        let mut inside = |inside: chunk::Inside| {
            progress.steps_done = before.steps_done + inside.steps;
            progress.correct = before.correct.saturating_sub(inside.lost);
            observer.progress(&progress);
        };
        let event = chunk::measure(audit, &attacks, &tally, step, &mut inside, cancel)?;
        tally.add(&event)?;
        // What was found is verified by now, and some samples may have failed: the last word on a chunk is what the report says, and is kept with it.
        observer.progress(&stage::at(&tally, &attacks, step, true));
        observer.event(&event).map_err(AuditError::Store)?;
    }
    if !tally.is_finished() {
        observer.event(&Event::Finished).map_err(AuditError::Store)?;
        tally.add(&Event::Finished)?;
    }
    Ok(Report::of(&tally)?)
}

/// Why an event was not kept.
pub type ObserverError = Box<dyn Error + Send + Sync>;

/// Who follows an audit. Both methods do nothing unless they are overridden.
pub trait Observer {
    /// An event that the report is made of happened. What follows rests on it: where it is to survive this process, it must be safe when this returns.
    ///
    /// # Errors
    /// It could not be kept, which ends the audit.
    fn event(&mut self, event: &Event) -> Result<(), ObserverError> {
        let _ = event;
        Ok(())
    }

    /// Work went on.
    fn progress(&mut self, progress: &Progress) {
        let _ = progress;
    }
}

/// Follows nothing.
impl Observer for () {}

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
    /// The baseline says nothing that could be compared.
    #[error("baseline: {0}")]
    Baseline(#[from] Unlike),
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
    /// The plan certifies, and the model has no bounds by a method of it.
    #[error("model \"{model}\" has no bounds, which [certification] needs: {reason}")]
    NoBounds {
        /// Name of the model.
        model: String,
        /// The operator and node that stand in the way.
        reason: String,
    },
    /// Samples could not be certified.
    #[error("model \"{model}\": {source}")]
    Certify {
        /// Name of the model.
        model: String,
        /// Reason.
        source: CertifyError,
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
    /// The events that were there already are not those of this audit.
    #[error("{what} is not what it was when the audit began, so that it cannot go on; begin a new one")]
    Changed {
        /// The first thing that differs.
        what: &'static str,
    },
    /// An event could not be kept.
    #[error("what was measured could not be kept: {0}")]
    Store(#[source] ObserverError),
    /// The caller asked to stop.
    #[error("the audit was stopped before it ended; there is no report")]
    Stopped,
    /// Events do not make a report: a defect of assay.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
}

/// Checks that plan, models and data belong together, before anything is spent.
fn fit(audit: &Audit<'_>, attacks: &[Attacks]) -> Result<(), AuditError> {
    let Audit { plan, subjects, data, baseline, .. } = *audit;
    plan.check_compared(baseline.is_some())?;
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
        if let Some(certification) = &plan.certification {
            let certifier = subject.certifier.ok_or_else(|| chunk::nobody(subject))?;
            let no_bounds = |reason| AuditError::NoBounds { model: subject.name.clone(), reason };
            certifier.supports(&certification.methods()).map_err(no_bounds)?;
        }
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
        for attack in attacks.iter().flat_map(|attacks| &attacks.attacks) {
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

/// A threat with its attacks, as reports and progress name them.
pub(crate) fn facts(of: &Attacks) -> ThreatFacts {
    let attack = |attack: &dyn Attack| AttackFacts {
        name: attack.description().name.to_owned(),
        parameters: attack.settings().into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    };
    ThreatFacts {
        name: of.name.clone(),
        norm: of.norm,
        eps: of.eps.clone(),
        attacks: of.attacks.iter().map(|a| attack(a.as_ref())).collect(),
        order: of.order,
    }
}

fn started(audit: &Audit<'_>, attacks: &[Attacks]) -> Started {
    let Audit { plan, subjects, data, .. } = *audit;
    let model = |subject: &Subject<'_>| ModelFacts {
        name: subject.name.clone(),
        version: subject.version.clone(),
        digest: subject.classifier.spec().digest.clone(),
        kind: subject.kind.clone(),
        parameters: subject.parameters,
        provider: subject.classifier.spec().provider.clone(),
        gradients: (&subject.classifier.spec().gradients).into(),
    };
    let named = subjects.iter().map(|s| &s.labels).find(|labels| !labels.is_empty());
    let own = Some(data.class_names().to_vec()).filter(|names| !names.is_empty());
    let classes = subjects.first().map_or(0, |s| s.classifier.spec().classes);
    let setup = Setup {
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
        threats: attacks.iter().map(facts).collect(),
        chunk: schedule::chunk(data.samples().ncols()),
        shard: audit.shard,
        baseline: None,
        environment: audit.environment.clone(),
    };
    Started {
        setup,
        labels: data.labels().iter().map(|label| label.0).collect(),
        positions: data.positions().to_vec(),
        circumstances: audit.circumstances.clone(),
    }
}
