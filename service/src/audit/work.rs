//! An audit carried out: from its record to its report.

use std::sync::Arc;

use assay_attack::Cancel;
use assay_audit::{
    AuditError, Circumstances, Environment, Progress, Report, Subject,
    job::{self, JobError, ModelDigest, Moment, Record, Watcher},
};

use assay_runtime::{OPTIMIZATION, return_free_memory};

use super::{
    Audits,
    data::Data,
    job::{Job, Told},
};
use crate::{
    admission::{Admission, Rank},
    certifying::Certifying,
    core::Core,
    metered::Metered,
    repository::Hosted,
    rpc::bounds,
    status::CallError,
};

/// RPC that the audits' share of the work is counted under.
const RPC: &str = "Audit";

/// Why an audit ended without a report.
pub(super) enum Ended {
    /// It was to stop.
    Stopped,
    /// What was wrong.
    Failed(String),
}

impl From<CallError> for Ended {
    fn from(error: CallError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// With what audits are made here.
pub(super) fn environment(core: &Core) -> Environment {
    Environment {
        assay: env!("CARGO_PKG_VERSION").to_owned(),
        onnxruntime: core.runtime.version().to_owned(),
        optimization: OPTIMIZATION.to_owned(),
    }
}

/// Date and time in UTC, to the second: `2026-11-21T23:01:01Z`.
pub(crate) fn rfc3339(moment: Moment) -> String {
    humantime::format_rfc3339_seconds(moment.into()).to_string()
}

/// Goes on behind the events that are stored, to the report. Blocks.
pub(super) fn carry_out(
    core: &Core,
    audits: &Audits,
    job: &Job,
    record: &Record,
    cancel: &Cancel,
) -> Result<Report, Ended> {
    same_versions(core, record)?;
    let find = |model: &ModelDigest| core.repository.find("models", &model.name, &model.version);
    let models = record.asked.models.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let first = models.first().ok_or_else(|| Ended::Failed("it names no models".to_owned()))?;
    let data = Data::find(core, &audits.spool, &record.asked)?.open(first)?;
    // An audit is long, and what its samples were decoded from is not needed again.
    return_free_memory();
    let metrics = &core.metrics;
    let metered: Vec<Metered> = models
        .iter()
        .map(|hosted| Metered {
            hosted: Arc::clone(hosted),
            metrics: metrics.clone(),
            rpc: RPC,
            spent: job.meter(),
            cancel: Cancel::default(),
        })
        .collect();
    let certifying: Vec<Certifying> =
        models.iter().map(|hosted| Certifying::new(core, Arc::clone(hosted), RPC, job.meter())).collect();
    let both = metered.iter().zip(&certifying);
    let subjects = both.map(|(model, certifier)| subject(core, model, certifier)).collect::<Result<Vec<_>, _>>()?;
    let circumstances =
        Circumstances { date: rfc3339(record.started.unwrap_or(record.created)), ..core.circumstances() };
    let mut told = GivesWay { told: Told(job), admission: &core.admission, cancel };
    let work = job::Work { job: record, subjects: &subjects, data: &data, circumstances: &circumstances };
    job::carry_out(&work, audits.store(), &mut told, cancel).map_err(|error| match error {
        JobError::Audit(AuditError::Stopped) => Ended::Stopped,
        other => Ended::Failed(other.to_string()),
    })
}

/// Audits give way to what somebody waits for, between two of their evaluations.
struct GivesWay<'a> {
    told: Told<'a>,
    admission: &'a Admission,
    cancel: &'a Cancel,
}

impl Watcher for GivesWay<'_> {
    fn stored(&mut self, events: u64) {
        self.told.stored(events);
    }

    fn progress(&mut self, progress: &Progress) {
        self.told.progress(progress);
        self.admission.give_way(Rank::Audit, self.cancel);
    }
}

/// Two versions of the programs may give two numbers, and a report has those of one.
fn same_versions(core: &Core, record: &Record) -> Result<(), Ended> {
    let Environment { assay, onnxruntime, .. } = &record.asked.environment;
    let now = environment(core);
    if (assay, onnxruntime) == (&now.assay, &now.onnxruntime) {
        return Ok(());
    }
    Err(Ended::Failed(format!(
        "it was taken by assay {assay} with ONNX Runtime {onnxruntime}, and this is assay {} with ONNX Runtime {}; start the audit anew",
        now.assay, now.onnxruntime
    )))
}

fn subject<'a>(core: &Core, model: &'a Metered, certifier: &'a Certifying) -> Result<Subject<'a>, CallError> {
    let hosted: &Hosted = &model.hosted;
    Ok(Subject {
        name: hosted.name.clone(),
        version: hosted.version.to_string(),
        kind: hosted.manifest.kind.clone(),
        parameters: hosted.info().parameters,
        bounds: bounds(hosted)?,
        labels: hosted.manifest.labels.clone(),
        batch: core.job_batch(),
        classifier: model,
        certifier: Some(certifier),
    })
}
