//! `assay harden`: a recipe carried out in this process.

use std::fmt;
use std::path::{Path, PathBuf};

use assay_attack::Cancel;
use assay_harden::{Change, EpochResult, Hardened, Place, Recipe, Removed, RunEvent, TrainError, Validated};
use assay_runtime::{ClassifierOptions, EngineOptions, Library, OnnxRuntime};
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use crate::args::{Harden, Output};
use crate::error::ClientError;
use crate::output::{Verdict, must_be_writable, print, print_json, rate, table};
use crate::progress::Progress;

/// Carries the recipe out. On Ctrl-C the step that is being made ends, and the run goes on from its last epoch when it is started again.
pub(crate) async fn run(output: Output, command: Harden) -> Result<Verdict, ClientError> {
    must_be_writable("--out", &command.out)?;
    let usage = |what: &Path, e: &dyn std::fmt::Display| ClientError::Usage(format!("{}: {e}", what.display()));
    let text = std::fs::read_to_string(&command.recipe).map_err(|e| usage(&command.recipe, &e))?;
    let recipe = Recipe::parse(&text).map_err(|e| usage(&command.recipe, &e))?;
    let state = command.state.clone().unwrap_or_else(|| command.out.with_extension("run"));
    std::fs::create_dir_all(&state).map_err(|e| usage(&state, &e))?;

    let (cancel, (tell, mut told)) = (Cancel::default(), unbounded_channel());
    let (stop, job, folder) = (cancel.clone(), command.clone(), state.clone());
    let mut work = tokio::task::spawn_blocking(move || {
        // Nobody listens any more only if this command has ended.
        carry_out(&recipe, &job, &folder, &mut |event| drop(tell.send(event.clone())), &stop)
    });
    let (mut progress, mut story) = (Progress::new(), Story::default());
    let hardened = loop {
        tokio::select! {
            biased;
            Some(event) = told.recv() => story.tell(&mut progress, event),
            done = &mut work => break done,
            _ = tokio::signal::ctrl_c() => cancel.cancel(),
        }
    };
    while let Ok(event) = told.try_recv() {
        story.tell(&mut progress, event);
    }
    progress.finish();
    let hardened =
        hardened.map_err(|e| ClientError::Environment(format!("the training ended unexpectedly: {e}")))??;
    let content = hardened.to_bytes();
    std::fs::write(&command.out, &content).map_err(|e| usage(&command.out, &e))?;
    let dense = hardened.sparse.then(|| hardened.model.to_bytes().len());
    let size = Size { bytes: content.len(), dense };
    assay_harden::finish(&state).map_err(|e| usage(&state, &e))?;
    // What else may lie there is not ours.
    drop(std::fs::remove_dir(&state));
    match output {
        Output::Json => print_json(&as_json(&command.out, size, &hardened, &story))?,
        Output::Human => summary(&command.out, size, &hardened, &story)?,
    }
    Ok(Verdict::Pass)
}

fn carry_out(
    recipe: &Recipe,
    command: &Harden,
    state: &Path,
    observe: &mut dyn FnMut(&RunEvent),
    cancel: &Cancel,
) -> Result<Hardened, ClientError> {
    let environment = |e: &dyn std::fmt::Display| ClientError::Environment(e.to_string());
    let runtime = OnnxRuntime::load(&Library::default()).map_err(|e| environment(&e))?;
    let engine = EngineOptions { intra_threads: command.threads, spinning: true, ..EngineOptions::default() };
    let folder = command.recipe.parent().map_or_else(PathBuf::new, Path::to_owned);
    let model = ClassifierOptions { engine, ..ClassifierOptions::default() };
    let place = Place { folder: &folder, state, runtime: &runtime, model, parent: None, gate: None };
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

/// What happened, in the order in which it did.
#[derive(Default)]
struct Story {
    epochs: Vec<EpochResult>,
    /// What was changed of the net besides its weights, as JSON and in words.
    changes: Vec<(serde_json::Value, String)>,
}

impl Story {
    fn tell(&mut self, progress: &mut Progress, event: RunEvent) {
        match event {
            RunEvent::Steps { epoch, done, of, loss, rate, left } => {
                let minutes = left.as_secs().div_ceil(60);
                let message = format!("loss {loss:.3}, {rate:.0} images/s, the run {minutes} min");
                progress.update(&format!("epoch {epoch}"), done, of, &message);
            }
            RunEvent::Epoch(result) => self.epochs.push(result),
            RunEvent::Changed { change, macs, parameters } => {
                let words = match change {
                    Change::Compacted => format!("{}: {}, {}", change.name(), work(macs), counts(parameters)),
                    _ => format!("{}: {}", change.name(), work(macs)),
                };
                let entry =
                    json!({ "change": change.name(), "macs": macs, "parameters": parameters, "cost": cost(macs) });
                self.changes.push((entry, words));
            }
            RunEvent::Pruned { iteration, iterations, removed, macs, parameters, zeros } => {
                let Removed { channels, blocks, weights } = removed;
                let gone = match (channels, blocks, weights) {
                    (0, 0, weights) => {
                        let share = rate(zeros, parameters[1]);
                        format!("{weights} weights are zero now, {share} of all")
                    }
                    (0, blocks, _) => format!("{blocks} blocks removed, {}, {}", work(macs), counts(parameters)),
                    (filters, _, _) => {
                        format!("{filters} filters removed, {}, {}", work(macs), counts(parameters))
                    }
                };
                progress.update(&format!("pruning {iteration} of {iterations}"), 1, 1, &gone);
                let entry = json!({ "change": "pruned", "iteration": iteration, "filters": channels, "blocks": blocks,
                    "weights": weights, "macs": macs, "parameters": parameters, "zeros": zeros, "cost": cost(macs) });
                self.changes.push((entry, format!("pruning {iteration} of {iterations}: {gone}")));
            }
            _ => {}
        }
    }
}

/// How many times the work a sample takes.
#[allow(clippy::cast_precision_loss, reason = "a ratio")]
fn cost([before, after]: [u64; 2]) -> f64 {
    after as f64 / before.max(1) as f64
}

fn work(macs: [u64; 2]) -> String {
    let [before, after] = macs;
    format!("{:.2} times the multiplications of a sample ({before} → {after})", cost(macs))
}

fn counts([before, after]: [u64; 2]) -> String {
    format!("{before} → {after} weights")
}

fn summary(file: &Path, size: Size, hardened: &Hardened, story: &Story) -> Result<(), ClientError> {
    for (_, words) in &story.changes {
        print(words)?;
    }
    if story.epochs.is_empty() {
        return print(&format!("{}: {size}", file.display()));
    }
    let mut shown =
        table(&["epoch", "loss", "accuracy", "validation", "under attack", "images/s"], &[0, 1, 2, 3, 4, 5]);
    for epoch in &story.epochs {
        let share = |hits: Option<u64>, of: u64| hits.map_or_else(|| "–".to_owned(), |hits| rate(hits, of));
        let (clean, robust) =
            epoch.validation.map_or(("–".to_owned(), "–".to_owned()), |Validated { of, clean, robust }| {
                (rate(clean, of), share(robust, of))
            });
        let accuracy = format!("{:.1} %", 100.0 * epoch.accuracy);
        shown.add_row([
            epoch.epoch.to_string(),
            format!("{:.4}", epoch.loss),
            accuracy,
            clean,
            robust,
            format!("{:.0}", epoch.rate),
        ]);
    }
    print(&shown)?;
    print(&format!("{}: the weights of epoch {}, {size}", file.display(), hardened.epoch))
}

fn as_json(file: &Path, size: Size, hardened: &Hardened, story: &Story) -> serde_json::Value {
    let changes: Vec<_> = story.changes.iter().map(|(entry, _)| entry).collect();
    let epochs: Vec<_> = story
        .epochs
        .iter()
        .map(|epoch| {
            let validation = epoch.validation.map(|v| json!({ "samples": v.of, "clean": v.clean, "robust": v.robust }));
            json!({ "epoch": epoch.epoch, "loss": epoch.loss, "accuracy": epoch.accuracy, "validation": validation,
                    "seconds": epoch.steps.as_secs_f64(), "images_per_second": epoch.rate })
        })
        .collect();
    let lineage: serde_json::Map<_, _> = hardened
        .model
        .metadata
        .iter()
        .filter(|(key, _)| key.starts_with("assay."))
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    json!({ "file": file.display().to_string(), "bytes": size.bytes, "dense_bytes": size.dense, "epoch": hardened.epoch, "changes": changes, "epochs": epochs, "lineage": lineage })
}
