//! The options that sessions are opened with, against those that assay uses.

use std::error::Error;
use std::fmt::Write as _;

use assay_benches::{images, model_file, runtime};
use assay_graph::{Canonical, Limits, Loss, Model, gradient};
use assay_runtime::shapes;
use ndarray::Array1;

use crate::race::{Contender, Content, Level, Settings, Tensors, quartiles, race};

/// The options, each of which is the only one that differs.
fn options() -> [(&'static str, Settings); 4] {
    let usual = Settings::default();
    [
        ("memory pattern on", Settings { memory_pattern: true, ..usual }),
        ("no memory arena", Settings { arena: false, ..usual }),
        ("prepacking off", Settings { prepacking: false, ..usual }),
        ("graph optimisation \"extended\"", Settings { level: Level::Extended, ..usual }),
    ]
}

/// Gradient steps of one of the demo's models.
pub(crate) struct Trial {
    name: String,
    model: Model,
    inputs: Tensors,
    /// Seconds: `[usual, then each option][round]`.
    times: Vec<Vec<f64>>,
}

/// The models and batch sizes that the options are tried with.
pub(crate) fn trials() -> Result<Vec<Trial>, Box<dyn Error>> {
    let mut trials = Vec::new();
    for name in ["fashion-robust", "fashion-filter-pruned"] {
        for batch in [1, 16] {
            trials.push(Trial::new(name, batch)?);
        }
    }
    Ok(trials)
}

impl Trial {
    fn new(name: &str, batch: usize) -> Result<Self, Box<dyn Error>> {
        let model = Canonical::new(Model::load(&model_file(name), &Limits::default())?)?;
        let derived = gradient(&shapes(&runtime(), model, None)?, Loss::CrossEntropy)?;
        let data = images(batch);
        let sample = data.samples();
        let dims = derived.model.graph.inputs.iter().find(|i| i.value == derived.input).and_then(|i| i.shape.clone());
        let sizes = dims.iter().flatten().skip(1).filter_map(|d| match d {
            assay_graph::Dimension::Known(size) => Some(*size),
            _ => None,
        });
        let dims: Vec<usize> = std::iter::once(batch).chain(sizes).collect();
        let pixels = Content::Floats(sample.to_owned().into_shape_with_order(dims)?);
        let labels: Array1<i64> = data.labels().iter().map(|class| i64::from(class.0)).collect();
        let inputs =
            vec![(derived.input.to_string(), pixels), (derived.labels.to_string(), Content::Ints(labels.into_dyn()))];
        let times = vec![Vec::new(); options().len() + 1];
        Ok(Self { name: format!("{name} at {batch}"), model: derived.model, inputs, times })
    }

    /// Measures each option `rounds` times, with new sessions.
    pub(crate) fn turn(&mut self, rounds: usize) -> Result<(), Box<dyn Error>> {
        let settings = std::iter::once(Settings::default()).chain(options().map(|(_, settings)| settings));
        let open = |settings| Contender::open(&self.model, settings, &self.inputs);
        let mut contenders = settings.map(open).collect::<Result<Vec<_>, _>>()?;
        for (times, new) in self.times.iter_mut().zip(race(&mut contenders, rounds)?) {
            times.extend(new);
        }
        Ok(())
    }
}

/// A line for each option, a column for each trial: ratios to the options that assay uses.
pub(crate) fn table(trials: &[Trial]) -> String {
    let names: Vec<&str> = trials.iter().map(|trial| trial.name.as_str()).collect();
    let mut text = format!("| option | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for (i, (option, _)) in options().iter().enumerate() {
        let ratio = |trial: &Trial| {
            let ratios = trial.times[i + 1].iter().zip(&trial.times[0]).map(|(other, usual)| other / usual);
            format!("{:.2}", quartiles(ratios.collect())[1])
        };
        let ratios: Vec<String> = trials.iter().map(ratio).collect();
        let _ = writeln!(text, "| {option} | {} |", ratios.join(" | "));
    }
    text
}
