//! A recipe carried out in this process, for a file.

use std::fmt;
use std::path::{Path, PathBuf};

use assay_attack::Cancel;
use assay_harden::{Hardened, Place, Recipe, RunEvent, TrainError};
use assay_proto::v1::harden_response::Event;
use assay_runtime::{ClassifierOptions, EngineOptions, Library, OnnxRuntime};
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use super::shown::Shown;
use crate::args::{Harden, Output};
use crate::error::ClientError;
use crate::output::{Verdict, must_be_writable, print, print_json};

/// Carries the recipe out. On Ctrl-C the step that is being made ends, and the run goes on from its last epoch when it is started again.
pub(super) async fn run(output: Output, command: &Harden, recipe: &Path) -> Result<Verdict, ClientError> {
    let out = command.out.clone().unwrap_or_default();
    must_be_writable("--out", &out)?;
    let usage = |what: &Path, e: &dyn std::fmt::Display| ClientError::Usage(format!("{}: {e}", what.display()));
    let parsed = Recipe::parse(&super::read(recipe)?).map_err(|e| usage(recipe, &e))?;
    let state = command.state.clone().unwrap_or_else(|| out.with_extension("run"));
    std::fs::create_dir_all(&state).map_err(|e| usage(&state, &e))?;

    let (cancel, (tell, mut told)) = (Cancel::default(), unbounded_channel());
    let (stop, threads, run) = (cancel.clone(), command.threads, state.clone());
    let folder = recipe.parent().map_or_else(PathBuf::new, Path::to_owned);
    let mut work = tokio::task::spawn_blocking(move || {
        let engine = EngineOptions { intra_threads: threads, spinning: true, ..EngineOptions::default() };
        // Nobody listens any more only if this command has ended.
        let mut observe = |event: &RunEvent| Event::of(event).into_iter().for_each(|event| drop(tell.send(event)));
        carry_out(&parsed, [&folder, &run], engine, &mut observe, &stop)
    });
    let mut shown = Shown::new();
    let hardened = loop {
        tokio::select! {
            biased;
            Some(event) = told.recv() => shown.event(event),
            done = &mut work => break done,
            _ = tokio::signal::ctrl_c() => cancel.cancel(),
        }
    };
    while let Ok(event) = told.try_recv() {
        shown.event(event);
    }
    shown.finish();
    let hardened =
        hardened.map_err(|e| ClientError::Environment(format!("the training ended unexpectedly: {e}")))??;
    let content = hardened.to_bytes();
    std::fs::write(&out, &content).map_err(|e| usage(&out, &e))?;
    let dense = hardened.sparse.then(|| hardened.model.to_bytes().len());
    let size = Size { bytes: content.len(), dense };
    assay_harden::finish(&state).map_err(|e| usage(&state, &e))?;
    // What else may lie there is not ours.
    drop(std::fs::remove_dir(&state));
    match output {
        Output::Json => print_json(&as_json(&out, size, &hardened, &shown))?,
        Output::Human => {
            shown.print()?;
            let weights = match hardened.epoch {
                0 => String::new(),
                epoch => format!("the weights of epoch {epoch}, "),
            };
            print(&format!("{}: {weights}{size}", out.display()))?;
        }
    }
    Ok(Verdict::Pass)
}

fn carry_out(
    recipe: &Recipe,
    [folder, state]: [&Path; 2],
    engine: EngineOptions,
    observe: &mut dyn FnMut(&RunEvent),
    cancel: &Cancel,
) -> Result<Hardened, ClientError> {
    let environment = |e: &dyn std::fmt::Display| ClientError::Environment(e.to_string());
    let runtime = OnnxRuntime::load(&Library::default()).map_err(|e| environment(&e))?;
    let model = ClassifierOptions { engine, ..ClassifierOptions::default() };
    let place = Place { folder, state, runtime: &runtime, model, parent: None, gate: None };
    assay_harden::harden(recipe, &place, observe, cancel).map_err(|error| match error {
        TrainError::Stopped { .. } | TrainError::Run(_) | TrainError::Session(_) => environment(&error),
        other => ClientError::Usage(other.to_string()),
    })
}

/// How large the file is.
#[derive(Clone, Copy)]
struct Size {
    bytes: usize,
    /// What it would be without sparse tensors, if it may have some.
    dense: Option<usize>,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes)?;
        self.dense.map_or(Ok(()), |dense| write!(f, " ({dense} without sparse tensors)"))
    }
}

fn as_json(file: &Path, size: Size, hardened: &Hardened, shown: &Shown) -> serde_json::Value {
    let lineage: serde_json::Map<_, _> = hardened
        .model
        .metadata
        .iter()
        .filter(|(key, _)| key.starts_with("assay."))
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    json!({ "file": file.display().to_string(), "bytes": size.bytes, "dense_bytes": size.dense, "epoch": hardened.epoch, "changes": shown.changes(),
            "epochs": shown.epochs(), "lineage": lineage })
}
