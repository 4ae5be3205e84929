//! `assay`: predict with, differentiate, attack, certify and audit ONNX classifiers, from a terminal or a CI job.
//!
//! Results go to standard output, progress and errors to standard error. The exit code is 0 when the command did what it
//! was asked, 1 when a gate of an audit failed, 2 for a usage error (flags, files, names, parameters), 3 when the server
//! could not be reached or could not evaluate, and 4 when an audit's gates are inconclusive or unreliable. Start with [`args::Args`] and the folder `commands`.

#![deny(unsafe_code)]

mod args;
mod commands;
mod connection;
mod credentials;
mod error;
mod oip;
mod output;
mod progress;
mod saliency;
mod samples;
mod spec;
mod tls;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::error::ClientError;
use crate::output::Verdict;

fn main() -> ExitCode {
    let args = Args::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => fail(&ClientError::Environment(format!("cannot start the async runtime: {error}"))),
    }
}

async fn run(args: Args) -> ExitCode {
    let (server, trust) = (args.target.server.clone(), tls::Trust::of(&args.target));
    let outcome = match &args.command {
        // It runs in this process, and says on Ctrl-C what it found until then.
        Command::Attack(command) if oip::Address::is_meant(&command.model) => {
            commands::attack_oip::run(&args, command).await
        }
        Command::Attack(command) if let Some(option) = command.oip.given() => Err(ClientError::Usage(format!(
            "{option} is for models on other servers: MODEL must be oip://HOST:PORT/NAME"
        ))),
        // They ask nobody, or on their own account.
        Command::Plan { command } => commands::plan::run(command, args.output),
        Command::Report { command } => commands::report::run(&args, command).await,
        Command::Errors(command) => commands::errors::run(command, args.output),
        // What trains here ends with a step, and what trains on a server does not end.
        Command::Harden(command) => commands::harden::run(&args, command).await,
        // What is measured here can go on later, and what a server measures does not end.
        Command::Audit(command) => commands::audit::run(&args, command).await,
        Command::Compare(command) => commands::audit::compare(&args, command).await,
        // It has connections of its own.
        Command::Bench(command) => commands::interruptible(commands::bench::run(&args, command)).await,
        // Dropping a command closes its stream, and the server stops working on it.
        _ => commands::interruptible(dispatch(args)).await,
    };
    match outcome {
        Ok(Verdict::Pass) => ExitCode::SUCCESS,
        Ok(Verdict::Fail) => ExitCode::from(1),
        Ok(Verdict::Open) => ExitCode::from(4),
        Err(ClientError::Lost(_)) if tls::is_spoken_at(&server).await => {
            let problem = "it speaks TLS; its address begins with https://".to_owned();
            fail(&ClientError::Insecure { address: server, problem })
        }
        Err(ClientError::Lost(cause)) if server.starts_with("https://") => {
            let problem = trust.why_lost(&cause);
            fail(&ClientError::Insecure { address: server, problem })
        }
        Err(error) => fail(&error),
    }
}

async fn dispatch(args: Args) -> Result<Verdict, ClientError> {
    let connection = connection::Connection::open(&args.target, None).await?;
    let mut session = connection.session(&args);
    let outcome = match &args.command {
        Command::Predict(command) => commands::predict::run(&mut session, command).await,
        Command::Gradient(command) => commands::gradient::run(&mut session, command).await,
        Command::Attack(command) => commands::attack::run(&mut session, command).await,
        Command::Transfer(command) => commands::transfer::run(&mut session, command).await,
        Command::Certify(command) => commands::certify::run(&mut session, command).await,
        Command::Weights(command) => commands::weights::run(&mut session, command).await,
        Command::Audit(command) => commands::audit::run(&args, command).await,
        Command::Compare(command) => commands::audit::compare(&args, command).await,
        Command::Bench(command) => commands::bench::run(&args, command).await,
        Command::Models(command) => commands::models::run(&mut session, command).await,
        Command::Attacks(command) => commands::attacks::run(&mut session, command).await,
        Command::Harden(command) => commands::harden::run(&args, command).await,
        Command::Plan { command } => commands::plan::run(command, args.output),
        Command::Report { command } => commands::report::run(&args, command).await,
        Command::Errors(command) => commands::errors::run(command, args.output),
    };
    drop(session);
    connection.close().await;
    outcome
}

#[allow(clippy::print_stderr)]
fn fail(error: &ClientError) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(error.exit_code())
}
