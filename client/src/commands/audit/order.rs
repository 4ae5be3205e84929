//! What is to be audited: the models, the samples, the threats.

use assay_proto::v1::audit_request::Data;
use assay_proto::v1::gate::Condition;
use assay_proto::v1::upload_data_request::Part;
use assay_proto::v1::{
    AuditRequest, Evaluation, FindDataRequest, Gate, ModelRef, RegisteredData, SampleData, StartAuditRequest,
    UploadDataRequest, UploadHeader, UploadedData, start_audit_request,
};
use prost::Message;
use prost::bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::args::Audit;
use crate::commands::Session;
use crate::error::ClientError;
use crate::samples::Samples;
use crate::spec;

/// Bytes of one message of an upload: less than the smallest limit that a server is likely to have.
const PART: usize = 256 << 10;

/// What is to be audited.
pub(super) struct Order {
    audit: AuditRequest,
    key: String,
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

    /// Hands the samples over, unless the server has them.
    pub(super) async fn upload(&self, session: &mut Session) -> Result<(), ClientError> {
        let (Some(bytes), Some(Data::Uploaded(data))) = (self.samples.clone(), &self.audit.data) else { return Ok(()) };
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
    let models: Vec<ModelRef> = command.models.iter().map(|name| spec::model(name)).collect();
    let (data, samples) = data(session, command, &models).await?;
    let audit = AuditRequest {
        data: Some(data),
        evaluations: command
            .threats
            .iter()
            .map(|threat| Evaluation {
                threat: Some(threat.message()),
                attacks: command.attacks.iter().map(spec::AttackArg::message).collect(),
            })
            .collect(),
        models,
        gates: gates(command),
        seed: command.seed,
    };
    Ok(Order { audit, key: command.key.clone().unwrap_or_default(), samples })
}

/// A name for what the command orders: the same for the same command, for no other.
pub(super) fn name(command: &Audit) -> Result<String, ClientError> {
    let Audit { models, data, dataset, threats, attacks, seed, .. } = command;
    let path = match &data.data {
        Some(path) => Some(path.canonicalize().map_err(|e| ClientError::Usage(format!("{}: {e}", path.display())))?),
        None => None,
    };
    let threats: Vec<String> = threats.iter().map(ToString::to_string).collect();
    let attacks: Vec<String> = attacks.iter().map(ToString::to_string).collect();
    let (severity, samples, gates) = (data.severity, data.samples, gates(command));
    let all = format!("{:?}", (models, path, dataset, severity, samples, threats, attacks, seed, gates));
    Ok(Sha256::digest(all).iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

async fn data(
    session: &mut Session,
    command: &Audit,
    models: &[ModelRef],
) -> Result<(Data, Option<Bytes>), ClientError> {
    match (&command.dataset, &command.data.data) {
        (Some(name), _) => {
            let samples = command.data.samples.unwrap_or(0);
            Ok((Data::Registered(RegisteredData { name: name.clone(), samples }), None))
        }
        (None, Some(path)) => {
            let Some(model) = models.first() else {
                return Err(ClientError::Usage("name at least one model".into()));
            };
            let (info, input) = session.model(model).await?;
            let mut samples = Samples::open(path, &command.data)?;
            samples.fit(&info.name, &input)?;
            let tensor = samples.tensor(0..samples.len(), &input);
            let bytes = Bytes::from(SampleData { input: Some(tensor), labels: samples.labels }.encode_to_vec());
            let content = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            let data = UploadedData { content, name: samples.name, digest: samples.digest };
            Ok((Data::Uploaded(data), Some(bytes)))
        }
        (None, None) => {
            Err(ClientError::Usage("name the samples: --data PATH, or --dataset NAME on the server".into()))
        }
    }
}

fn gates(command: &Audit) -> Vec<Gate> {
    [
        command.min_clean_accuracy.map(Condition::MinCleanAccuracy),
        command.min_robust_accuracy.map(Condition::MinRobustAccuracy),
        command.max_drop.map(Condition::MaxDrop),
    ]
    .into_iter()
    .flatten()
    .map(|condition| Gate { condition: Some(condition) })
    .collect()
}
