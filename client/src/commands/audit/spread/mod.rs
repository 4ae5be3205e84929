//! `assay audit --spread URL`: one audit on several servers.
//!
//! The audit is cut into shards, each of which is a job of one server, with a key that follows from what is measured. So a command that is given again finds
//! the jobs of the one before, and a shard whose server is gone is simply asked of another. [`Board`] decides which shard is measured where, [`Server`]
//! does what is done at one of them, and what `assay report merge` does with files makes the report.

mod board;
mod server;

use std::collections::BTreeSet;

use assay_audit::{Event, MergeError, Shard, merge};
use assay_proto::v1::{AuditJob, AuditState};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::order::{self, Order};
use super::quote;
use super::shown::{self, Made, Target};
use crate::args::{Args, Audit};
use crate::commands::interruptible;
use crate::error::ClientError;
use crate::output::Verdict;
use crate::progress::Several;
use board::{At, Board};
use server::{Hosted, Server, key, measured};

/// Shards for each server: enough that one which is slower, or goes away, leaves little for the others to wait for.
const SHARDS: u32 = 4;

/// What became of a shard at a server: its record, if it has one.
type Measured = (Shard, At, Result<Vec<Event>, ClientError>);

/// An audit that is spread over servers.
struct Spread {
    servers: Vec<Server>,
    order: Order,
    /// What the keys of the shards' jobs begin with.
    name: String,
    /// Seconds to wait for a server that went away.
    reconnect: u64,
    lines: Several,
}

/// Measures at all servers, and delivers the one report.
pub(super) async fn run(args: &Args, command: &Audit, targets: &[Target<'_>]) -> Result<Verdict, ClientError> {
    let addresses = addresses(&args.target.server, &command.spread)?;
    let (spread, most) = interruptible(Spread::open(args, command, &addresses)).await?;
    // Not of those that answered: the same command cuts the audit in the same way whatever has become of its servers.
    let wanted = SHARDS.saturating_mul(u32::try_from(addresses.len()).unwrap_or(u32::MAX));
    let of = wanted.min(most).max(1);
    let events = spread.events(of).await.map_err(|error| order::located(command, error))?;
    let verdict = shown::deliver(&Made::of(&events)?, targets, &command.reports, args.output)?;
    // What has no name of its own is measured anew when it is asked for again, as it is at one server.
    if command.key.is_none() {
        spread.clear(of).await;
    }
    Ok(verdict)
}

impl Spread {
    /// The servers that can be reached, and what is ordered of them; beside it the most shards that it can have.
    async fn open(args: &Args, command: &Audit, addresses: &[String]) -> Result<(Self, u32), ClientError> {
        let lines = Several::new();
        let (mut servers, mut last) = (Vec::new(), None);
        for address in addresses {
            match Server::open(address, args).await {
                Ok(server) => servers.push(server),
                Err(error) if let Some(cause) = error.away() => {
                    lines.say(&format!("{address} cannot be reached ({cause}): it is left out"));
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        let Some(first) = servers.first() else {
            return Err(last.unwrap_or_else(|| ClientError::Usage("no server is named".to_owned())));
        };
        let order = order::read(&mut first.session(), command).await;
        let order = order.map_err(|error| order::located(command, first.at(error)))?;
        let models = same_models(&servers, &order).await;
        let (models, features) = models.map_err(|error| order::located(command, error))?;
        let name = match order.key() {
            "" => name(&order, &models),
            key => key.to_owned(),
        };
        let samples = match order.count() {
            Some(count) => count,
            // Data that the server has by name: it counts what it would measure.
            None => {
                let quoted = quote::ask(&mut first.session(), &order).await;
                quoted.map_err(|error| order::located(command, first.at(error)))?.samples
            }
        };
        let most = Shard::most(samples, features);
        Ok((Self { servers, order, name, reconnect: command.reconnect, lines }, most))
    }

    /// The events of the audit, measured in so many shards.
    async fn events(&self, of: u32) -> Result<Vec<Event>, ClientError> {
        let mut board = Board::new(of, self.servers.len());
        let found = interruptible(self.find(&mut board, of)).await?;
        self.lines.say(&format!(
            "{of} shards on {} servers: each is a job that goes on without this command, and the same command comes back to them",
            board.servers().len()
        ));
        let mut running = JoinSet::new();
        let ended = tokio::select! {
            ended = self.measure(&mut board, &mut running, of) => Some(ended),
            _ = tokio::signal::ctrl_c() => None,
        };
        // Nothing is begun and no bar is drawn any more behind what is said now.
        running.shutdown().await;
        let ended = ended.ok_or_else(|| {
            let counted = board.counted();
            let goes_on = "and the servers go on with what they measure; the same command goes on behind it";
            ClientError::Environment(format!("stopped: {counted}, {goes_on}"))
        })?;
        if ended.is_err() {
            // Nobody would look at them any more.
            for &at in board.servers() {
                let begun_here = |job: &AuditJob| !found.contains(&(at.0, job.id.clone()));
                let goes_on = |job: &AuditJob| matches!(job.state(), AuditState::Queued | AuditState::Running);
                self.server(at).clear(&self.name, of, |job| goes_on(job) && begun_here(job)).await;
            }
        }
        ended
    }

    /// Finds the shards that servers have jobs of already, and says which jobs these are.
    async fn find(&self, board: &mut Board, of: u32) -> Result<BTreeSet<(usize, String)>, ClientError> {
        let mut found = Vec::new();
        let cancelled = |job: &AuditJob| job.state() == AuditState::Cancelled;
        for at in board.servers().to_vec() {
            let server = self.server(at);
            let jobs = match server.shards(&self.name, of).await {
                Ok(jobs) => jobs,
                Err(error) => {
                    self.lost(board, at, None, error)?;
                    continue;
                }
            };
            if jobs.iter().any(|(_, job)| cancelled(job)) {
                // Such a job never goes on, and its key would bring it back.
                server.clear(&self.name, of, cancelled).await;
            }
            let jobs = jobs.into_iter().filter(|(_, job)| !cancelled(job));
            found.extend(jobs.map(|(shard, job)| (shard, at, job)));
        }
        // Of two jobs of one shard the one that is done counts.
        found.sort_by_key(|(_, _, job)| job.state() == AuditState::Done);
        for (shard, at, _) in &found {
            board.found(*shard, *at);
        }
        Ok(found.into_iter().map(|(_, at, job)| (at.0, job.id)).collect())
    }

    /// Measures what the board has, and puts the shards together.
    async fn measure(
        &self,
        board: &mut Board,
        running: &mut JoinSet<Measured>,
        of: u32,
    ) -> Result<Vec<Event>, ClientError> {
        let mut records: Vec<Vec<Event>> = Vec::new();
        loop {
            while let Some((shard, at)) = board.next() {
                let work = self.begin(shard, at);
                running.spawn(async move { (shard, at, work.await) });
            }
            let Some(ended) = running.join_next().await else {
                return Err(ClientError::Environment(format!(
                    "no server is left: {}. Give the same command again when they are back; what they keep of the shards is not measured again",
                    board.counted()
                )));
            };
            let (shard, at, ended) = ended
                .map_err(|error| ClientError::Environment(format!("what followed a shard ended early: {error}")))?;
            match ended {
                Ok(record) => records.push(record),
                Err(error) => {
                    self.lost(board, at, Some(shard), error)?;
                    continue;
                }
            }
            board.done(shard);
            match merge(&records) {
                Ok(whole) => return Ok(whole),
                Err(MergeError::Count { times: 0, .. }) => {}
                Err(error) => {
                    // Which of them is the wrong one is not known, so that the next command begins anew.
                    self.clear(of).await;
                    return Err(self.server(at).at(unlike(shard, &error)));
                }
            }
        }
    }

    /// Measures a shard at a server.
    fn begin(&self, shard: Shard, at: At) -> impl Future<Output = Result<Vec<Event>, ClientError>> + Send + use<> {
        let server = self.server(at);
        let order = self.order.part(shard, key(&self.name, shard));
        let title = format!("shard {shard}, {}", server.address);
        measured(server.session(), order, self.reconnect, title, self.lines.one())
    }

    /// Goes on without a server that is away; any other error is the end.
    fn lost(&self, board: &mut Board, at: At, shard: Option<Shard>, error: ClientError) -> Result<(), ClientError> {
        let server = self.server(at);
        let Some(cause) = error.away() else { return Err(server.at(error)) };
        board.leave(at);
        let goes = match shard {
            Some(shard) if !board.servers().is_empty() => format!(", and shard {shard} goes to another"),
            _ => String::new(),
        };
        self.lines.say(&format!("{} went away ({cause}): it is not used any more{goes}", server.address));
        Ok(())
    }

    /// Stops and forgets all jobs of the audit's shards.
    async fn clear(&self, of: u32) {
        for server in &self.servers {
            server.clear(&self.name, of, |_| true).await;
        }
    }

    fn server(&self, At(at): At) -> &Server {
        &self.servers[at]
    }
}

/// The addresses of all servers, each once: the same one twice would measure two shards at the same time.
fn addresses(first: &str, more: &[String]) -> Result<Vec<String>, ClientError> {
    let bare = |address: &str| address.trim_end_matches('/').trim_start_matches("http://").to_lowercase();
    let mut all: Vec<String> = Vec::new();
    for address in std::iter::once(first).chain(more.iter().map(String::as_str)) {
        if all.iter().any(|other| bare(other) == bare(address)) {
            return Err(ClientError::Usage(format!(
                "--spread {address}: this server is named twice, and that of --server is one of them; name each once"
            )));
        }
        all.push(address.to_owned());
    }
    Ok(all)
}

/// What all of the servers host of the models, and the elements of one sample.
async fn same_models(servers: &[Server], order: &Order) -> Result<(Vec<Hosted>, usize), ClientError> {
    let mut first: Option<(&Server, (Vec<Hosted>, usize))> = None;
    for server in servers {
        let hosted = match server.hosted(order.models()).await {
            Ok(hosted) => hosted,
            // What has become of it is seen when it is to measure.
            Err(error) if error.away().is_some() => continue,
            Err(error) => return Err(server.at(error)),
        };
        let Some((other, (theirs, _))) = &first else {
            first = Some((server, hosted));
            continue;
        };
        if let Some(what) = hosted.0.iter().zip(theirs).find_map(|(ours, theirs)| ours.differs_from(theirs)) {
            return Err(ClientError::Usage(format!(
                "{}: {what} as at {}; an audit is shared among servers that host the same",
                server.address, other.address
            )));
        }
    }
    first.map(|(_, hosted)| hosted).ok_or_else(|| ClientError::Environment("no server answers any more".to_owned()))
}

/// What the keys begin with where the command has none: another name for another request, and where other models are hosted.
fn name(order: &Order, models: &[Hosted]) -> String {
    let all = format!("{} {models:?}", order.digest());
    Sha256::digest(all).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// A shard that is not of the same audit as those before it.
fn unlike(shard: Shard, error: &MergeError) -> ClientError {
    let what = match error {
        MergeError::Other { what, .. } => format!("{what} differs"),
        other => other.to_string(),
    };
    ClientError::Environment(format!(
        "shard {shard} does not fit those that were measured before: {what}. An audit is shared among servers with the same models, data and versions of assay and ONNX Runtime; make them the same, and give the command again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_once() {
        let more = ["http://b:1".to_owned(), "c:1".to_owned()];
        assert_eq!(addresses("http://a:1", &more).unwrap(), ["http://a:1", "http://b:1", "c:1"]);
        for again in ["http://a:1", "a:1", "http://A:1/"] {
            let error = addresses("http://a:1", &[again.to_owned()]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--spread {again}: this server is named twice")), "{error}");
        }
    }
}
