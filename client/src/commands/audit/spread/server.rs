//! One of the servers that an audit is spread over: what it hosts, which shards it has, and what it measures.

use std::time::Duration;

use assay_audit::{Event, ModelRef, Shard, from_lines};
use assay_proto::v1::{
    self, AuditJob, AuditProgress, AuditState, CancelAuditRequest, DeleteAuditRequest, GetModelResponse, ReportFormat,
};

use crate::args::{Args, Output};
use crate::commands::Session;
use crate::commands::audit::job::{self, Followed, Patience, counted};
use crate::commands::audit::order::Order;
use crate::commands::audit::ordered;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::progress::Progress;

/// Seconds that a server may take to stop and forget its jobs when nobody waits for them any more.
const CLEARING: Duration = Duration::from_secs(10);

/// Parts of a stage that a bar tells apart.
const PARTS: u64 = 1000;

/// A server.
pub(super) struct Server {
    pub(super) address: String,
    connection: Connection,
    output: Output,
    timeout: Option<Duration>,
}

/// What a server hosts under a name, as far as a report depends on it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hosted {
    name: String,
    version: String,
    digest: String,
    provider: String,
    kind: String,
    labels: Vec<String>,
}

impl Server {
    /// Connects.
    pub(super) async fn open(address: &str, args: &Args) -> Result<Self, ClientError> {
        let connection = Connection::to(address, &args.target).await?;
        Ok(Self { address: address.to_owned(), connection, output: args.output, timeout: args.timeout })
    }

    pub(super) fn session(&self) -> Session {
        self.connection.session_of(self.output, self.timeout)
    }

    /// An error with the server that it is of, unless it says so or is not about a server.
    pub(super) fn at(&self, error: ClientError) -> ClientError {
        match error {
            ClientError::Usage(_) | ClientError::Unreachable { .. } | ClientError::At { .. } => error,
            error => ClientError::At { server: self.address.clone(), error: Box::new(error) },
        }
    }

    /// What it hosts of these models, and the elements of one sample of the first.
    pub(super) async fn hosted(&self, models: &[ModelRef]) -> Result<(Vec<Hosted>, usize), ClientError> {
        let mut session = self.session();
        let (mut all, mut features) = (Vec::new(), None);
        for ModelRef { name, version } in models {
            let named = v1::ModelRef { model: name.clone(), version: version.clone() };
            let (found, input) = session.model(&named).await?;
            let sizes = input.shape.iter().map(|&size| usize::try_from(size).unwrap_or(usize::MAX));
            features.get_or_insert(sizes.fold(1, usize::saturating_mul));
            let GetModelResponse { name, version, digest, provider, kind, labels, .. } = found;
            all.push(Hosted { name, version, digest, provider, kind, labels });
        }
        Ok((all, features.unwrap_or(0)))
    }

    /// The jobs that it has of the shards of an audit, by the name that their keys begin with.
    pub(super) async fn shards(&self, name: &str, of: u32) -> Result<Vec<(Shard, AuditJob)>, ClientError> {
        let jobs = job::all(&mut self.session()).await?.into_iter();
        Ok(jobs.filter_map(|job| Some((shard_of(&job.idempotency_key, name, of)?, job))).collect())
    }

    /// Stops and forgets jobs of an audit's shards, as well as that can be done: what is left is in nobody's way.
    pub(super) async fn clear(&self, name: &str, of: u32, unwanted: impl Fn(&AuditJob) -> bool) {
        let cleared = async {
            let mut session = self.session();
            for (_, job) in self.shards(name, of).await?.into_iter().filter(|(_, job)| unwanted(job)) {
                if matches!(job.state(), AuditState::Queued | AuditState::Running) {
                    let request = session.request(CancelAuditRequest { job: job.id.clone() });
                    // It may have ended by now.
                    let _ = session.client.cancel_audit(request).await;
                }
                let request = session.request(DeleteAuditRequest { job: job.id });
                session.client.delete_audit(request).await?;
            }
            Ok::<(), ClientError>(())
        };
        let _ = tokio::time::timeout(CLEARING, cleared).await;
    }
}

impl Hosted {
    /// The first thing in which two servers differ, and what each has.
    pub(super) fn differs_from(&self, other: &Self) -> Option<String> {
        let whole = |labels: &[String]| labels.join(", ");
        let all = [
            ("version", self.version.clone(), other.version.clone()),
            ("SHA-256", self.digest.clone(), other.digest.clone()),
            ("provider", self.provider.clone(), other.provider.clone()),
            ("kind", self.kind.clone(), other.kind.clone()),
            ("labels", whole(&self.labels), whole(&other.labels)),
        ];
        let different = all.into_iter().find(|(_, ours, theirs)| ours != theirs);
        different.map(|(what, ours, theirs)| format!("{what} of {} is \"{ours}\", not \"{theirs}\"", self.name))
    }
}

/// The record of a shard, which a server measures in a job. Where the server comes back without its jobs, the shard is begun again.
pub(super) async fn measured(
    mut session: Session,
    order: Order,
    reconnect: u64,
    title: String,
    mut progress: Progress,
) -> Result<Vec<Event>, ClientError> {
    let followed = Followed { formats: vec![ReportFormat::Record.into()], here: false, reconnect, quote: None };
    let mut advance = |p: &AuditProgress, _| {
        let (stages, before) = (u64::from(p.stages.max(1)), u64::from(p.stage_number.saturating_sub(1)));
        let part = PARTS.saturating_mul(p.steps_done) / p.steps_total.max(1);
        let message = format!("{} {}: {}/{} {}", p.model, p.stage, p.correct, p.samples, counted(p));
        progress.update(&title, before * PARTS + part.min(PARTS), stages * PARTS, &message);
    };
    let mut patience = Patience::new(reconnect);
    let answer = loop {
        let job = match ordered(&mut session, order.clone()).await {
            Ok(job) => job,
            Err(error) => {
                patience.bear(error, "").await?;
                continue;
            }
        };
        match job::report(&mut session, &job, &followed, &mut advance).await {
            Err(ClientError::Forgotten { .. }) => {}
            ended => break ended?,
        }
    };
    progress.finish();
    let record = answer.rendered.iter().find(|rendered| rendered.format() == ReportFormat::Record);
    let record = record.ok_or_else(|| ClientError::Protocol("no record of the shard".to_owned()))?;
    from_lines(&record.text).map_err(|error| ClientError::Protocol(format!("the record of the shard: {error}")))
}

/// The key of a shard's job.
pub(super) fn key(name: &str, shard: Shard) -> String {
    format!("{name}:{shard}")
}

/// Of which shard a job of this key is; `None`: of none of this audit.
fn shard_of(key: &str, name: &str, of: u32) -> Option<Shard> {
    let shard: Shard = key.strip_prefix(name)?.strip_prefix(':')?.parse().ok()?;
    (shard.of() == of).then_some(shard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_job_tells_its_shard() {
        let shard = Shard::new(3, 8).unwrap();
        assert_eq!(key("release:7", shard), "release:7:3/8");
        assert_eq!(shard_of("release:7:3/8", "release:7", 8), Some(shard));
        for (key, name, of) in [
            ("", "release", 8),
            ("release", "release", 8),
            ("release:3/4", "release", 8),
            ("release:3/8", "other", 8),
            ("release:7:3/8", "release", 8),
            ("release:8/8", "release", 8),
        ] {
            assert_eq!(shard_of(key, name, of), None, "{key} of {name}");
        }
    }

    #[test]
    fn servers_with_other_models_are_told_apart() {
        let hosted = |version: &str, provider: &str| Hosted {
            name: "net".to_owned(),
            version: version.to_owned(),
            digest: "ab".to_owned(),
            provider: provider.to_owned(),
            kind: String::new(),
            labels: Vec::new(),
        };
        let (one, two) = (hosted("1", "cpu"), hosted("2", "cpu"));
        assert_eq!(one.differs_from(&hosted("1", "cpu")), None);
        assert_eq!(two.differs_from(&one).unwrap(), "version of net is \"2\", not \"1\"");
        assert_eq!(hosted("1", "cuda:0").differs_from(&one).unwrap(), "provider of net is \"cuda:0\", not \"cpu\"");
    }
}
