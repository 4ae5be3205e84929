//! `assay harden`: a recipe carried out by a server, by a repository that is hosted here, or in this process for a file alone.

mod job;
#[cfg(feature = "embedded")]
mod local;
mod shown;

use std::path::{Path, PathBuf};

use assay_proto::v1::harden_request::What;

use super::interruptible;
use crate::args::{Args, Harden};
use crate::connection::{Connection, Jobs, Training};
use crate::error::ClientError;
use crate::output::Verdict;

/// Where a hosted repository keeps the jobs that it is not told another folder for. Folders with a dot are no models.
const STATE: &str = ".harden";

/// Carries the command out, and ends it on Ctrl-C: what trains here stops with its step, what trains on a server goes on.
pub(crate) async fn run(args: &Args, command: &Harden) -> Result<Verdict, ClientError> {
    if let (Some(_), Some(recipe)) = (&command.out, &command.recipe) {
        return alone(args, command, recipe).await;
    }
    let training = match &args.target.embed {
        Some(repository) => Some(Jobs::Training(training(repository, command)?)),
        None if command.state.is_some() || command.threads.is_some() => {
            return Err(ClientError::Usage(
                "--state and --threads are for what trains here, with --out FILE or --embed DIR; a server has its own (harden.state, \
                 harden.threads)"
                    .into(),
            ));
        }
        None => None,
    };
    let text = command.recipe.as_deref().map(read).transpose()?;
    let connection = Connection::open(&args.target, training.as_ref()).await?;
    let mut session = connection.session(args);
    let here = training.is_some();
    let outcome = match (text, &command.follow, &command.cancel) {
        (Some(recipe), ..) => job::follow(&mut session, What::Recipe(recipe), here).await,
        (None, Some(id), _) => job::follow(&mut session, What::Job(id.clone()), here).await,
        (None, None, Some(id)) => interruptible(job::cancel(&mut session, id)).await,
        (None, None, None) => interruptible(job::list(&mut session)).await,
    };
    drop(session);
    connection.close().await;
    outcome
}

/// Trains without a repository.
#[cfg(feature = "embedded")]
async fn alone(args: &Args, command: &Harden, recipe: &Path) -> Result<Verdict, ClientError> {
    if let Some(folder) = &args.target.embed {
        return Err(ClientError::Usage(format!(
            "--out writes a file, and --embed {} puts the model into that repository: give one of them",
            folder.display()
        )));
    }
    local::run(args.output, command, recipe).await
}

#[cfg(not(feature = "embedded"))]
#[allow(clippy::unused_async)]
async fn alone(_: &Args, _: &Harden, _: &Path) -> Result<Verdict, ClientError> {
    Err(ClientError::Usage(
        "--out is not in this build; build assay with the feature \"embedded\", or let a server train".into(),
    ))
}

/// How a repository that is hosted here trains: paths in the recipe are relative to its folder, as where a file is made.
fn training(repository: &Path, command: &Harden) -> Result<Training, ClientError> {
    let Some(recipe) = &command.recipe else {
        return Err(ClientError::Usage(
            "--list, --follow and --cancel are about the jobs of a server; with --embed DIR give the recipe again, and its job goes on".into(),
        ));
    };
    let data = recipe.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok(Training {
        state: command.state.clone().unwrap_or_else(|| repository.join(STATE)),
        data: data.map_or_else(|| PathBuf::from("."), Path::to_owned),
        threads: command.threads,
    })
}

/// The text of a recipe.
fn read(recipe: &Path) -> Result<String, ClientError> {
    std::fs::read_to_string(recipe).map_err(|e| ClientError::Usage(format!("{}: {e}", recipe.display())))
}
