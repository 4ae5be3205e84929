//! What a run of training shows, wherever it is.

use assay_proto::v1::{HardenChanged, HardenEpoch, HardenPruned, HardenSteps, harden_response::Event};
use serde_json::json;

use crate::error::ClientError;
use crate::output::{print, rate, table};
use crate::progress::Progress;

/// What happened in a run, in the order in which it did, and its progress.
pub(super) struct Shown {
    progress: Progress,
    epochs: Vec<HardenEpoch>,
    /// What was changed of the net besides its weights, as JSON and in words.
    changes: Vec<(serde_json::Value, String)>,
}

impl Shown {
    pub(super) fn new() -> Self {
        Self { progress: Progress::new(), epochs: Vec::new(), changes: Vec::new() }
    }

    /// Something happened.
    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Steps(HardenSteps { epoch, done, of, loss, rate, seconds_left }) => {
                let minutes = (seconds_left / 60.0).ceil();
                let message = format!("loss {loss:.3}, {rate:.0} images/s, the run {minutes} min");
                self.progress.update(&format!("epoch {epoch}"), done, of, &message);
            }
            Event::Epoch(epoch) => self.epochs.push(epoch),
            Event::Changed(changed) => self.changed(&changed),
            Event::Pruned(pruned) => self.pruned(&pruned),
            _ => {}
        }
    }

    fn changed(&mut self, changed: &HardenChanged) {
        let HardenChanged { change, macs_before, macs_after, parameters_before, parameters_after } = changed;
        let (macs, parameters) = ([*macs_before, *macs_after], [*parameters_before, *parameters_after]);
        let entry = json!({ "change": change, "macs": macs, "parameters": parameters, "cost": cost(macs) });
        let words = match change.as_str() {
            "compacted" => format!("{change}: {}, {}", work(macs), counts(parameters)),
            _ => format!("{change}: {}", work(macs)),
        };
        self.changes.push((entry, words));
    }

    fn pruned(&mut self, pruned: &HardenPruned) {
        let HardenPruned { iteration, iterations, channels, blocks, weights, zeros, .. } = pruned;
        let macs = [pruned.macs_before, pruned.macs_after];
        let parameters = [pruned.parameters_before, pruned.parameters_after];
        let gone = match (channels, blocks) {
            (0, 0) => format!("{weights} weights are zero now, {} of all", rate(*zeros, parameters[1])),
            (0, blocks) => format!("{blocks} blocks removed, {}, {}", work(macs), counts(parameters)),
            (filters, _) => format!("{filters} filters removed, {}, {}", work(macs), counts(parameters)),
        };
        let stage = format!("pruning {iteration} of {iterations}");
        self.progress.update(&stage, 1, 1, &gone);
        let entry = json!({ "change": "pruned", "iteration": iteration, "filters": channels, "blocks": blocks,
                            "weights": weights, "macs": macs, "parameters": parameters, "zeros": zeros, "cost": cost(macs) });
        self.changes.push((entry, format!("{stage}: {gone}")));
    }

    /// The run has ended.
    pub(super) fn finish(&mut self) {
        self.progress.finish();
    }

    /// Forgets what happened: it is told again.
    pub(super) fn restart(&mut self) {
        self.epochs.clear();
        self.changes.clear();
    }

    /// What was changed, and the table of the epochs if there were any.
    pub(super) fn print(&self) -> Result<(), ClientError> {
        self.changes.iter().try_for_each(|(_, words)| print(words))?;
        if self.epochs.is_empty() {
            return Ok(());
        }
        let mut rows =
            table(&["epoch", "loss", "accuracy", "validation", "under attack", "images/s"], &[0, 1, 2, 3, 4, 5]);
        for epoch in &self.epochs {
            let share = |hits: Option<u64>, of: u64| hits.map_or_else(|| "–".to_owned(), |hits| rate(hits, of));
            let (clean, robust) = epoch.validation.as_ref().map_or(("–".to_owned(), "–".to_owned()), |v| {
                (rate(v.clean, v.samples), share(v.robust, v.samples))
            });
            rows.add_row([
                epoch.epoch.to_string(),
                format!("{:.4}", epoch.loss),
                format!("{:.1} %", 100.0 * epoch.accuracy),
                clean,
                robust,
                format!("{:.0}", epoch.rate),
            ]);
        }
        print(&rows)
    }

    /// What was changed, for machines.
    pub(super) fn changes(&self) -> serde_json::Value {
        self.changes.iter().map(|(entry, _)| entry.clone()).collect()
    }

    /// The epochs, for machines.
    pub(super) fn epochs(&self) -> serde_json::Value {
        let epochs = self.epochs.iter().map(|epoch| {
            let validation = epoch
                .validation
                .as_ref()
                .map(|v| json!({ "samples": v.samples, "clean": v.clean, "robust": v.robust }));
            json!({ "epoch": epoch.epoch, "loss": epoch.loss, "accuracy": epoch.accuracy, "validation": validation,
                    "seconds": epoch.seconds, "images_per_second": epoch.rate })
        });
        epochs.collect()
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
