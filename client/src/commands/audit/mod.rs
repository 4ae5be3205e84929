//! `assay audit`: a job of a server, or of a repository that is hosted here.

mod compare;
mod job;
mod left;
mod order;
mod quote;
mod shown;
mod spread;
mod verify;

use std::path::{Path, PathBuf};

use assay_audit::{Baseline, Plan, Report};
use assay_data::Dataset;
use assay_proto::v1::{AuditJob, AuditQuote};

use super::{Session, interruptible};
use crate::args::{Args, Audit};
use crate::connection::{Connection, Jobs};
use crate::error::ClientError;
use crate::output::Verdict;
use order::Order;
use shown::{Made, Target};

pub(crate) use compare::run as compare;
pub(crate) use verify::run as verify;

/// Where a hosted repository keeps the jobs that it is not told another folder for. Folders with a dot are no models.
const STATE: &str = ".audits";

/// Seconds that a command which cannot be told otherwise waits for a server that went away.
const RECONNECT: u64 = 60;

/// Carries the command out, and ends it on Ctrl-C: what is measured here goes on with the same command, what a server measures goes on by itself.
pub(crate) async fn run(args: &Args, command: &Audit) -> Result<Verdict, ClientError> {
    let targets = command.reports.iter().map(|path| Target::new(path)).collect::<Result<Vec<_>, _>>()?;
    match &args.target.embed {
        Some(_) if !command.spread.is_empty() => Err(ClientError::Usage(
            "--spread is for servers, and with --embed DIR this process measures; give one of the two".into(),
        )),
        Some(repository) => here(args, repository, command, &targets).await,
        None if command.state.is_some() => Err(ClientError::Usage(
            "--state is for what is measured here, with --embed DIR; a server has its own (audits.state)".into(),
        )),
        None if !command.spread.is_empty() => spread::run(args, command, &targets).await,
        None => there(args, command, &targets).await,
    }
}

/// At a server.
async fn there(args: &Args, command: &Audit, targets: &[Target<'_>]) -> Result<Verdict, ClientError> {
    let (_connection, mut session) = open(args, None).await?;
    let session = &mut session;
    if command.list {
        return interruptible(job::list(session)).await;
    }
    if let Some(id) = &command.cancel {
        return interruptible(job::cancel(session, id)).await;
    }
    if let Some(id) = &command.delete {
        return interruptible(job::delete(session, id)).await;
    }
    if command.quote {
        return quoted(session, command).await;
    }
    let (started, quote) = match &command.follow {
        Some(id) => (interruptible(job::start(session, job::What::Job(id.clone()))).await?, None),
        None => begin(session, command).await?,
    };
    if command.detach {
        return job::detached(session, &started);
    }
    let followed = job::Followed { formats: shown::formats(targets), here: false, reconnect: command.reconnect, quote };
    let report = job::follow(session, started, &followed).await?;
    shown::deliver(&Made::answered(report)?, targets, &command.reports, session.output)
}

/// In this process. What is measured lies in a folder of its own for each order, so that two audits of one repository do not meet.
async fn here(args: &Args, repository: &Path, command: &Audit, targets: &[Target<'_>]) -> Result<Verdict, ClientError> {
    if (command.models.is_empty() && command.plan.is_none()) || command.detach || command.key.is_some() {
        return Err(ClientError::Usage(
            "--list, --follow, --cancel, --delete, --detach and --key are about the jobs of a server; with --embed DIR give the command again, and what was cut off goes on".into(),
        ));
    }
    if command.quote {
        // No job is made, so none needs a folder.
        let (connection, mut session) = open(args, None).await?;
        let outcome = quoted(&mut session, command).await;
        drop(session);
        connection.close().await;
        return outcome;
    }
    let folder = command.state.clone().unwrap_or_else(|| repository.join(STATE));
    let state = folder.join(order::name(command)?);
    let is_new = !state.exists();
    let (connection, mut session) = open(args, Some(Jobs::Audits(state.clone()))).await?;
    let begun = begin(&mut session, command).await;
    let has_begun = begun.is_ok();
    let outcome = match begun {
        Ok((started, quote)) => {
            let followed = job::Followed { formats: shown::formats(targets), here: true, reconnect: 0, quote };
            job::follow(&mut session, started, &followed).await
        }
        Err(error) => Err(error),
    };
    drop(session);
    connection.close().await;
    if outcome.is_ok() || (is_new && !has_begun) {
        tidy(&folder, &state);
    }
    shown::deliver(&Made::answered(outcome?)?, targets, &command.reports, args.output)
}

/// Prints what the audit may cost.
async fn quoted(session: &mut Session, command: &Audit) -> Result<Verdict, ClientError> {
    let quote = interruptible(async {
        let order = order::read(session, command).await?;
        quote::ask(session, &order).await
    });
    quote::show(&quote.await.map_err(|error| order::located(command, error))?, session.output)?;
    Ok(Verdict::Pass)
}

/// Starts the job, and says before what it may cost; or finds it again.
async fn begin(session: &mut Session, command: &Audit) -> Result<(AuditJob, Option<AuditQuote>), ClientError> {
    interruptible(async {
        let order = order::read(session, command).await?;
        let quote = quote::announced(session, &order).await;
        Ok((ordered(session, order).await?, quote))
    })
    .await
    .map_err(|error| order::located(command, error))
}

/// Hands over what the server needs for it, and starts the job or finds it again.
async fn ordered(session: &mut Session, mut order: Order) -> Result<AuditJob, ClientError> {
    order.upload(session).await?;
    job::start(session, job::What::Order(Box::new(order))).await
}

/// The report of an audit of these samples, or of those that the plan names, which is followed to its end.
async fn measured(
    session: &mut Session,
    args: &Args,
    plan: &Plan,
    data: Option<Dataset>,
    baseline: Option<&Baseline>,
) -> Result<Report, ClientError> {
    let started = interruptible(async {
        let order = order::of(session, plan, data, baseline).await?;
        ordered(session, order).await
    })
    .await?;
    let here = args.target.embed.is_some();
    let followed = job::Followed { formats: Vec::new(), here, reconnect: RECONNECT, quote: None };
    let report = job::follow(session, started, &followed).await?;
    serde_json::from_str(&report.json).map_err(|error| ClientError::Protocol(format!("the report's JSON: {error}")))
}

async fn open(args: &Args, jobs: Option<Jobs>) -> Result<(Connection, Session), ClientError> {
    let connection = Connection::open(&args.target, jobs.as_ref()).await?;
    let session = connection.session(args);
    Ok((connection, session))
}

/// Removes what nobody needs any more. What cannot be removed is in the way of nobody.
fn tidy(folder: &Path, state: &PathBuf) {
    let _ = std::fs::remove_dir_all(state);
    // Only where no other audit is in it.
    let _ = std::fs::remove_dir(folder);
}
