//! `Audit`.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use assay_attack::Cancel;
use assay_audit::{
    AttackSpec, Audit, AuditError, Circumstances, Condition, Environment, Gate, Html, Json, Markdown, ModelRef,
    Observer, Order, PLAN_SCHEMA, Plan, PlanError, Render, Report, StoreError, Subject, Verdict,
};
use assay_data::{DataSource, Dataset, Parts};
use assay_proto::v1::{
    self, AuditProgress, AuditReport, AuditRequest, AuditResponse, RenderedReport, ReportFormat,
    audit_request::Data as WireData, audit_response::Event, gate::Condition as WireCondition,
};
use assay_runtime::OPTIMIZATION;
use serde::{Deserialize, de::IntoDeserializer};
use tonic::Request;

use super::{
    attack::refused as attack_refused,
    metered::Metered,
    request::{attack, bounds, check_steps, expected, labels, norm_and_eps, sorted},
};
use crate::{
    call::Call,
    core::Core,
    job::{self, Events, Progress},
    repository::Hosted,
    status::CallError,
    tensor,
};

/// Configuration key of the largest audit.
const LIMIT: &str = "limits.max_audit_samples";

pub(super) fn audit(core: &Arc<Core>, request: Request<AuditRequest>) -> Result<Events<AuditResponse>, CallError> {
    let call = Call::of(&request)?;
    let request = request.into_inner();
    let models = models(core, &call, &request.models)?;
    let plan = plan(core, &request, &models)?;
    let formats = formats(&request.formats)?;
    let data = data(core, request.data, &models)?;
    if let Data::Inline(dataset) = &data {
        call.samples(dataset.len());
    }
    let permit = core.admission.job()?;
    let work = Work { core: Arc::clone(core), models, plan, formats, call: Arc::clone(&call) };
    Ok(job::start(call, permit, move |progress, cancel| work.run(data, progress, cancel)))
}

/// An audit that was understood.
struct Work {
    core: Arc<Core>,
    models: Vec<Arc<Hosted>>,
    plan: Plan,
    formats: Vec<ReportFormat>,
    call: Arc<Call>,
}

/// The samples, or where they are: files are read by the job.
enum Data {
    Inline(Dataset),
    File { name: String, path: PathBuf, first: Option<usize> },
}

impl Work {
    fn run(&self, data: Data, progress: &Progress<AuditResponse>, cancel: &Cancel) -> Result<AuditResponse, CallError> {
        let data = data.open(self.core.config.limits.max_audit_samples)?;
        self.call.samples(data.len());
        let metrics = &self.core.metrics;
        let metered: Vec<Metered> = self
            .models
            .iter()
            .map(|hosted| Metered { hosted: Arc::clone(hosted), metrics: metrics.clone(), rpc: "Audit" })
            .collect();
        let subjects = metered.iter().map(|model| self.subject(model)).collect::<Result<Vec<_>, _>>()?;
        let audit = Audit {
            plan: &self.plan,
            subjects: &subjects,
            data: &data,
            shard: None,
            environment: Environment {
                assay: env!("CARGO_PKG_VERSION").to_owned(),
                onnxruntime: self.core.runtime.version().to_owned(),
                optimization: OPTIMIZATION.to_owned(),
            },
            circumstances: Circumstances { date: rfc3339(SystemTime::now()), ..self.core.circumstances() },
        };
        let mut follower = Follower { models: &self.models, progress, measured: false };
        let report =
            assay_audit::run(&audit, &[], &mut follower, cancel).map_err(|error| refused(error, &self.call))?;
        metrics.audited(report.verdict);
        Ok(AuditResponse { event: Some(Event::Report(wire_report(&report, &self.formats))) })
    }

    fn subject<'a>(&self, model: &'a Metered) -> Result<Subject<'a>, CallError> {
        let hosted = &model.hosted;
        Ok(Subject {
            name: hosted.name.clone(),
            version: hosted.version.to_string(),
            kind: hosted.manifest.kind.clone(),
            parameters: hosted.info().parameters,
            bounds: bounds(hosted)?,
            labels: hosted.manifest.labels.clone(),
            batch: self.core.job_batch(),
            classifier: model,
        })
    }
}

impl Data {
    fn open(self, most: usize) -> Result<Dataset, CallError> {
        match self {
            Self::Inline(dataset) => Ok(dataset),
            Self::File { name, path, first } => {
                // One more than is allowed tells a data set that is too large without reading all of it.
                let dataset = Dataset::open(&DataSource::new(&path), Some(first.unwrap_or(most.saturating_add(1))))
                    .map_err(|e| CallError::Precondition(format!("data set `{name}` of this server: {e}")))?;
                check_samples("registered.samples", dataset.len() as u64, most)?;
                Ok(dataset.named(name))
            }
        }
    }
}

/// Passes an audit's progress on.
struct Follower<'a> {
    models: &'a [Arc<Hosted>],
    progress: &'a Progress<AuditResponse>,
    /// An event happened since the last progress.
    measured: bool,
}

impl Observer for Follower<'_> {
    fn event(&mut self, _: &assay_audit::Event) -> Result<(), StoreError> {
        self.measured = true;
        Ok(())
    }

    fn progress(&mut self, progress: &assay_audit::Progress) {
        // What follows an event is the last word on its chunk, and after the last chunk on the stage, which must not be missed.
        let ended = std::mem::take(&mut self.measured) && progress.steps_done == progress.steps_total;
        let model = usize::try_from(progress.model.0).ok().and_then(|at| self.models.get(at));
        let progress = AuditProgress {
            model: model.map(|hosted| hosted.name.clone()).unwrap_or_default(),
            stage: progress.stage.clone(),
            stage_number: progress.stage_number,
            stages: progress.stages,
            samples: progress.samples,
            correct: progress.correct,
            steps_done: progress.steps_done,
            steps_total: progress.steps_total,
        };
        let event = AuditResponse { event: Some(Event::Progress(progress)) };
        if ended { self.progress.end_stage(event) } else { self.progress.update(event) }
    }
}

fn models(core: &Core, call: &Call, models: &[v1::ModelRef]) -> Result<Vec<Arc<Hosted>>, CallError> {
    if !(1..=2).contains(&models.len()) {
        return Err(CallError::field("models", format!("expected 1 or 2 models, got {}", models.len())));
    }
    let find = |(i, wanted): (usize, &v1::ModelRef)| {
        core.find(call, &format!("models[{i}].model"), &wanted.model, &wanted.version)
    };
    let found = models.iter().enumerate().map(find).collect::<Result<Vec<_>, _>>()?;
    // The first model stands for the audit in logs and metrics.
    call.about(&found[0].name);
    Ok(found)
}

fn plan(core: &Core, request: &AuditRequest, models: &[Arc<Hosted>]) -> Result<Plan, CallError> {
    let mut steps = 0_u64;
    let mut evaluations = Vec::with_capacity(request.evaluations.len());
    for (i, evaluation) in request.evaluations.iter().enumerate() {
        let (norm, eps) = norm_and_eps(&format!("evaluations[{i}].threat"), evaluation.threat.as_ref())?;
        for (j, spec) in evaluation.attacks.iter().enumerate() {
            let attack = attack(&format!("evaluations[{i}].attacks[{j}]"), Some(spec))?;
            steps = steps.saturating_add(attack.evaluations());
        }
        let attacks = evaluation.attacks.iter().map(|spec| AttackSpec {
            name: spec.name.clone(),
            parameters: sorted(&spec.parameters).into_iter().collect(),
        });
        evaluations.push(assay_audit::Evaluation {
            name: None,
            norm,
            eps: vec![eps],
            attacks: attacks.collect(),
            order: Order::Sequence,
        });
    }
    check_steps("evaluations", steps, &core.config.limits)?;
    let gates = request.gates.iter().enumerate().map(|(i, wanted)| gate(i, wanted));
    let model = |hosted: &Arc<Hosted>| ModelRef { name: hosted.name.clone(), version: hosted.version.to_string() };
    let plan = Plan {
        schema: PLAN_SCHEMA,
        data: None,
        models: models.iter().map(model).collect(),
        evaluations,
        gates: gates.collect::<Result<_, _>>()?,
        seed: request.seed,
    };
    plan.check().map_err(wrong_plan)?;
    Ok(plan)
}

fn gate(i: usize, wanted: &v1::Gate) -> Result<Gate, CallError> {
    let condition = match &wanted.condition {
        None => return Err(CallError::field(format!("gates[{i}]"), "missing; give a condition")),
        Some(WireCondition::MinRobustAccuracy(least)) => Condition::MinRobustAccuracy(*least),
        Some(WireCondition::MinCleanAccuracy(least)) => Condition::MinCleanAccuracy(*least),
        Some(WireCondition::MaxDrop(most)) => Condition::MaxDrop(*most),
        Some(WireCondition::MaxCleanDrop(most)) => Condition::MaxCleanDrop(*most),
        Some(WireCondition::MaxCorruptionError(most)) => Condition::MaxCorruptionError(*most),
        Some(WireCondition::ForbidFlags(flags)) => {
            let kind = |name: &String| {
                let unknown = |error: serde::de::value::Error| {
                    CallError::field(format!("gates[{i}].forbid_flags"), error.to_string())
                };
                FlagKind::deserialize(name.as_str().into_deserializer()).map_err(unknown)
            };
            Condition::ForbidFlags(flags.kinds.iter().map(kind).collect::<Result<_, _>>()?)
        }
    };
    let threat = (!wanted.threat.is_empty()).then(|| wanted.threat.clone());
    Ok(Gate { condition, threat })
}

fn formats(wanted: &[i32]) -> Result<Vec<ReportFormat>, CallError> {
    let format = |(i, &wanted): (usize, &i32)| match ReportFormat::try_from(wanted) {
        Ok(format @ (ReportFormat::Markdown | ReportFormat::Html)) => Ok(format),
        _ => Err(CallError::field(
            format!("formats[{i}]"),
            format!("expected REPORT_FORMAT_MARKDOWN or REPORT_FORMAT_HTML, got {wanted}"),
        )),
    };
    wanted.iter().enumerate().map(format).collect()
}

fn data(core: &Core, data: Option<WireData>, models: &[Arc<Hosted>]) -> Result<Data, CallError> {
    let most = core.config.limits.max_audit_samples;
    match data {
        None => Err(CallError::field("data", "missing; name a registered data set, or send samples inline")),
        Some(WireData::Registered(registered)) => {
            let datasets = &core.config.datasets;
            if registered.name.is_empty() {
                return Err(CallError::field("registered.name", "missing; name a data set of the server"));
            }
            let path = datasets
                .get(&registered.name)
                .ok_or_else(|| CallError::unknown("data set", &registered.name, datasets.keys().map(String::as_str)))?;
            check_samples("registered.samples", registered.samples, most)?;
            let first = usize::try_from(registered.samples).ok().filter(|&samples| samples > 0);
            Ok(Data::File { name: registered.name, path: path.clone(), first })
        }
        Some(WireData::Inline(inline)) => {
            let hosted = &models[0];
            let samples = tensor::decode("inline.input", inline.input.as_ref(), expected(hosted, most, LIMIT))?;
            let labels = labels("inline.labels", &inline.labels, samples.nrows(), hosted.spec().classes)?;
            let parts = Parts {
                name: inline.name,
                samples,
                labels,
                sample_shape: hosted.spec().sample_shape.clone(),
                bounds: bounds(hosted)?,
                class_names: hosted.manifest.labels.clone(),
                digest: inline.digest,
            };
            Dataset::from_parts(parts).map(Data::Inline).map_err(|e| CallError::field("inline", e.to_string()))
        }
    }
}

fn check_samples(field: &str, asked: u64, most: usize) -> Result<(), CallError> {
    if asked <= most as u64 {
        return Ok(());
    }
    Err(CallError::Limit {
        what: format!("{field}: samples of an audit"),
        asked,
        limit: most as u64,
        key: LIMIT,
        remedy: "ask for fewer",
    })
}

fn wrong_plan(error: PlanError) -> CallError {
    match error {
        PlanError::Field { field, reason } => CallError::field(field, reason),
        other => CallError::field("evaluations", other.to_string()),
    }
}

fn refused(error: AuditError, call: &Call) -> CallError {
    match error {
        AuditError::Plan(error) => wrong_plan(error),
        AuditError::Data(error) => CallError::field("data", error.to_string()),
        AuditError::Subject { .. } => CallError::field("models", error.to_string()),
        AuditError::NoGradient { .. } => CallError::Precondition(error.to_string()),
        AuditError::Model { source, .. } => source.into(),
        AuditError::Attack { source, .. } => attack_refused(source),
        AuditError::Stopped => call.why_stopped(),
        other => CallError::Internal(other.to_string()),
    }
}

fn wire_report(report: &Report, formats: &[ReportFormat]) -> AuditReport {
    let verdict = match report.verdict {
        Verdict::Pass => v1::Verdict::Pass,
        Verdict::Fail => v1::Verdict::Fail,
        Verdict::Inconclusive => v1::Verdict::Inconclusive,
        Verdict::Unreliable => v1::Verdict::Unreliable,
    };
    let render = |&format: &ReportFormat| RenderedReport {
        format: format.into(),
        text: match format {
            ReportFormat::Html => Html.to_text(report),
            _ => Markdown.to_text(report),
        },
    };
    AuditReport { verdict: verdict.into(), json: Json.to_text(report), rendered: formats.iter().map(render).collect() }
}

/// Date and time in UTC, to the second: `2026-11-21T23:01:01Z`.
fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
