//! What is to be audited: the models, the samples, the threats.

use std::path::{Path, PathBuf};

use assay_attack::FlagKind;
use assay_audit::{
    Baseline, Condition, Evaluation, Gate, ModelRef, Order as PlanOrder, PLAN_SCHEMA, Plan, PlanData, PlanFileError,
    Shard, line_of,
};
use assay_data::{DataSource, Dataset, Draw};
use assay_proto::v1::upload_data_request::Part;
use assay_proto::v1::{
    self, AuditRequest, FindDataRequest, QuoteAuditRequest, SampleData, StartAuditRequest, UploadDataRequest,
    UploadHeader, UploadedData, start_audit_request,
};
use prost::Message;
use prost::bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::args::Audit;
use crate::commands::{Session, plan as plan_file, report};
use crate::error::ClientError;
use crate::samples::Samples;
use crate::spec;

/// Bytes of one message of an upload: less than the smallest limit that a server is likely to have.
const PART: usize = 256 << 10;

/// What is to be audited.
#[derive(Clone)]
pub(super) struct Order {
    audit: AuditRequest,
    key: String,
    /// Its models, as the plan names them.
    models: Vec<ModelRef>,
    /// How many samples there are; `None` where the server has the data by name.
    count: Option<u64>,
    /// What must be at the server before; none where the server has the data by name.
    samples: Option<Bytes>,
}

impl Order {
    /// What starts the job, or finds it again.
    pub(super) fn request(&self) -> StartAuditRequest {
        StartAuditRequest {
            what: Some(start_audit_request::What::Audit(self.audit.clone())),
            idempotency_key: self.key.clone(),
            join: true,
        }
    }

    /// One part of it, by a name of its own.
    pub(super) fn part(&self, shard: Shard, key: String) -> Self {
        let audit = AuditRequest { shard: shard.to_string(), ..self.audit.clone() };
        Self { audit, key, ..self.clone() }
    }

    /// The name that the command gives it; empty: none.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Its models, as the plan names them.
    pub(super) fn models(&self) -> &[ModelRef] {
        &self.models
    }

    /// How many samples there are; `None`: only the server knows.
    pub(super) fn count(&self) -> Option<u64> {
        self.count
    }

    /// A name for what is ordered, as far as the request says it: the same for the same, for nothing else.
    pub(super) fn digest(&self) -> String {
        hexadecimal(&Sha256::digest(self.audit.encode_to_vec()))
    }

    /// What asks what the job would cost.
    pub(super) fn quote(&self) -> QuoteAuditRequest {
        QuoteAuditRequest {
            audit: Some(self.audit.clone()),
            samples: self.count.unwrap_or(0),
            idempotency_key: self.key.clone(),
            join: true,
        }
    }

    /// Hands the samples over, unless the server has them.
    pub(super) async fn upload(&mut self, session: &mut Session) -> Result<(), ClientError> {
        let (Some(bytes), Some(data)) = (self.samples.take(), &self.audit.uploaded) else { return Ok(()) };
        let content = data.content.clone();
        let request = session.request(FindDataRequest { content: content.clone() });
        if session.client.find_data(request).await?.into_inner().found {
            return Ok(());
        }
        let header = Part::Header(UploadHeader { content, size: bytes.len() as u64 });
        let starts = (0..bytes.len()).step_by(PART);
        let parts: Vec<Part> =
            starts.map(|start| Part::Chunk(bytes.slice(start..bytes.len().min(start + PART)))).collect();
        let messages = std::iter::once(header).chain(parts).map(|part| UploadDataRequest { part: Some(part) });
        let request = session.request(tokio_stream::iter(messages));
        session.client.upload_data(request).await?;
        Ok(())
    }
}

/// What the command orders.
pub(super) async fn read(session: &mut Session, command: &Audit) -> Result<Order, ClientError> {
    let Written { plan, text, path } = written(command)?;
    let baseline = baseline(command, &plan, &text)?;
    let handed = data(session, command, &plan, path.as_deref()).await?;
    let count = handed.as_ref().map(|handed| handed.count);
    let (uploaded, samples) = handed.map(|handed| (handed.uploaded, handed.bytes)).unzip();
    let shard = command.shard.map(|shard| shard.to_string()).unwrap_or_default();
    let audit = AuditRequest { plan: text, uploaded, shard, baseline };
    Ok(Order { audit, key: command.key.clone().unwrap_or_default(), models: plan.models, count, samples })
}

/// An audit of these samples, or of those that the plan names, compared with a baseline if there is one.
pub(super) async fn of(
    session: &mut Session,
    plan: &Plan,
    data: Option<Dataset>,
    baseline: Option<&Baseline>,
) -> Result<Order, ClientError> {
    let model = plan.models.first().ok_or_else(|| ClientError::Usage("the plan names no model".to_owned()))?;
    let handed = match data {
        Some(data) => Some(handed(session, model, data).await?),
        None => None,
    };
    let count = handed.as_ref().map(|handed| handed.count);
    let (uploaded, samples) = handed.map(|handed| (handed.uploaded, handed.bytes)).unzip();
    let text = toml::to_string(plan).map_err(|error| ClientError::Usage(format!("the plan: {error}")))?;
    let baseline = baseline.map(serde_json::to_string).transpose();
    let baseline = baseline.map_err(|error| ClientError::Usage(format!("the baseline: {error}")))?.unwrap_or_default();
    let audit = AuditRequest { plan: text, uploaded, baseline, ..AuditRequest::default() };
    Ok(Order { audit, key: String::new(), models: plan.models.clone(), count, samples })
}

/// What the accepted report says of the plan's model, as the server reads it; empty where there is no such report. Says here already where a gate has nothing
/// to compare.
fn baseline(command: &Audit, plan: &Plan, text: &str) -> Result<String, ClientError> {
    plan.check_compared(command.baseline.is_some()).map_err(|error| match &command.plan {
        Some(file) => plan_file::wrong(file, &PlanFileError::at(text, error)),
        None => ClientError::Usage(error.to_string()),
    })?;
    let (Some(file), Some(model)) = (&command.baseline, plan.models.first()) else { return Ok(String::new()) };
    let wrong = |error: String| ClientError::Usage(format!("--baseline {}: {error}", file.display()));
    let baseline = Baseline::of(&report::read(file)?, &model.name).map_err(|error| wrong(error.to_string()))?;
    serde_json::to_string(&baseline).map_err(|error| wrong(error.to_string()))
}

/// An error with the line of the plan's file that names what the server does not have.
pub(super) fn located(command: &Audit, error: ClientError) -> ClientError {
    if let ClientError::At { server, error } = error {
        return ClientError::At { server, error: Box::new(located(command, *error)) };
    }
    let (Some(file), ClientError::Rpc(status)) = (&command.plan, &error) else { return error };
    let Ok((plan, text)) = plan_file::read(file) else { return error };
    let models = plan.models.iter().enumerate().map(|(i, model)| (format!("models[{i}].name"), model.name.as_str()));
    let dataset = plan.data.iter().filter_map(|data| data.dataset.as_deref());
    let mut named = models.chain(dataset.map(|name| ("data.dataset".to_owned(), name)));
    let is_told = |name: &str| status.message().contains(&format!("`{name}`"));
    let line = named.find(|(_, name)| is_told(name)).and_then(|(field, _)| line_of(&text, &field));
    match line {
        Some(line) if status.code() == tonic::Code::NotFound => {
            ClientError::Usage(format!("{}:{line}: {}", file.display(), status.message()))
        }
        _ => error,
    }
}

/// A name for what the command orders: the same for the same command, for no other.
pub(super) fn name(command: &Audit) -> Result<String, ClientError> {
    let Written { plan, text, path } = written(command)?;
    let baseline = baseline(command, &plan, &text)?;
    let path = match path {
        Some(path) => Some(path.canonicalize().map_err(|e| ClientError::Usage(format!("{}: {e}", path.display())))?),
        None => None,
    };
    let all = format!("{:?}", (plan, path, command.data.severity, command.shard, baseline));
    Ok(hexadecimal(&Sha256::digest(all)[..8]))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A plan as it was written, which is what is sent: errors name its lines, and it is the same plan wherever it is used from.
struct Written {
    plan: Plan,
    text: String,
    /// Its data, seen from here.
    path: Option<PathBuf>,
}

/// The plan of a file; or what the options say.
fn written(command: &Audit) -> Result<Written, ClientError> {
    if let Some(file) = &command.plan {
        let (plan, text) = plan_file::read(file)?;
        if plan.data.is_none() {
            return Err(ClientError::Usage(format!(
                "{}: has no [data]; say in it where the samples are",
                file.display()
            )));
        }
        let path = plan.data.as_ref().and_then(|data| data.path.as_ref());
        let path = path.map(|path| file.parent().unwrap_or(Path::new("")).join(path));
        return Ok(Written { plan, text, path });
    }
    let data = PlanData {
        dataset: command.dataset.clone(),
        path: command.data.data.clone(),
        samples: command.data.samples,
        draw: command.draw,
    };
    if data.dataset.is_none() && data.path.is_none() {
        return Err(ClientError::Usage("name the samples: --data PATH, or --dataset NAME on the server".into()));
    }
    let attacks: Vec<_> = command.attacks.iter().map(spec::AttackArg::planned).collect();
    let evaluation = |threat: &spec::ThreatArg| {
        let (norm, eps) = threat.parts();
        let order = if command.separate { PlanOrder::Separate } else { PlanOrder::Sequence };
        Evaluation { name: None, norm, eps: vec![eps], attacks: attacks.clone(), order }
    };
    let model = |text: &String| {
        let v1::ModelRef { model, version } = spec::model(text);
        ModelRef { name: model, version }
    };
    let plan = Plan {
        schema: PLAN_SCHEMA,
        models: command.models.iter().map(model).collect(),
        data: Some(data),
        evaluations: command.threats.iter().map(evaluation).collect(),
        certification: command.certifying.planned(),
        gates: gates(command)?,
        transfer: command.transfer,
        seed: command.seed,
    };
    plan.check().map_err(|error| ClientError::Usage(error.to_string()))?;
    let text = toml::to_string(&plan).map_err(|error| ClientError::Usage(format!("the plan: {error}")))?;
    Ok(Written { plan, text, path: command.data.data.clone() })
}

async fn data(
    session: &mut Session,
    command: &Audit,
    plan: &Plan,
    path: Option<&Path>,
) -> Result<Option<Handed>, ClientError> {
    let (Some(data), Some(model), Some(path)) = (&plan.data, plan.models.first(), path) else {
        return Ok(None);
    };
    let wrong = |error: assay_data::DataError| ClientError::Usage(error.to_string());
    let samples = data.samples.map(|samples| usize::try_from(samples).unwrap_or(usize::MAX));
    // Those that are drawn are drawn from all.
    let read = samples.filter(|_| data.draw == Draw::First);
    let source = DataSource::new(path).with_severity(command.data.severity);
    let mut dataset = Dataset::open(&source, read).map_err(wrong)?;
    if let Some(samples) = samples {
        dataset = data.draw.take(&dataset, samples, plan.seed).map_err(wrong)?;
    }
    handed(session, model, dataset).await.map(Some)
}

/// A data set as it is handed to a server.
struct Handed {
    /// What the audit calls it.
    uploaded: UploadedData,
    /// What is uploaded of it.
    bytes: Bytes,
    /// Samples in it.
    count: u64,
}

/// A data set for an audit of `model`.
async fn handed(session: &mut Session, model: &ModelRef, data: Dataset) -> Result<Handed, ClientError> {
    let (info, input) =
        session.model(&v1::ModelRef { model: model.name.clone(), version: model.version.clone() }).await?;
    let mut samples = Samples::from(data);
    samples.fit(&info.name, &input)?;
    let tensor = samples.tensor(0..samples.len(), &input);
    let count = samples.len() as u64;
    // What is in the tensor now may be much.
    let Samples { name, labels, digest, positions, values, .. } = samples;
    drop(values);
    let bytes = Bytes::from(SampleData { input: Some(tensor), labels }.encode_to_vec());
    let content = hexadecimal(&Sha256::digest(&bytes));
    Ok(Handed { uploaded: UploadedData { content, name, digest, positions }, bytes, count })
}

fn gates(command: &Audit) -> Result<Vec<Gate>, ClientError> {
    let kind = |name: &String| {
        let known = FlagKind::ALL.into_iter().find(|kind| kind.name() == name);
        let names = || FlagKind::ALL.map(FlagKind::name).join(", ");
        known.ok_or_else(|| ClientError::Usage(format!("--forbid-flags {name}: expected one of {}", names())))
    };
    let flags = command.forbid_flags.iter().map(kind).collect::<Result<Vec<_>, _>>()?;
    let conditions = [
        command.min_clean_accuracy.map(Condition::MinCleanAccuracy),
        command.min_robust_accuracy.map(Condition::MinRobustAccuracy),
        command.min_certified.map(Condition::MinCertified),
        command.max_drop.map(Condition::MaxDrop),
        command.max_clean_drop.map(Condition::MaxCleanDrop),
        command.max_corruption_error.map(Condition::MaxCorruptionError),
        command.max_latency_ratio.map(Condition::MaxLatencyRatio),
        (!flags.is_empty()).then_some(Condition::ForbidFlags(flags)),
    ];
    Ok(conditions.into_iter().flatten().map(|condition| Gate { condition, threat: None }).collect())
}
