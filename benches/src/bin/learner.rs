//! One contender of the comparisons of training: a process that makes steps of training whenever it is told.
//!
//! `learner MODEL DATA BATCH OBJECTIVE THREADS [RATE]` trains the ONNX file `MODEL` on the data set `DATA`, batches of `BATCH` samples in the data's order, over
//! and over: by SGD with the rate 0.01, or `RATE`, momentum 0.9 and weight decay 5e-4. `OBJECTIVE` is `standard`, or `pgd:EPS:STEPS` for PGD
//! training in Linf from the samples themselves, with steps of `2.5 EPS / STEPS`. On its input `step N` makes `N` steps and prints a JSON object with
//! `seconds` and the last `loss`; `save FOLDER` writes `FOLDER/names`, a line for each weight and running statistic with its dimensions between
//! tabs, and `FOLDER/weights`, their contents one after the other, little-endian f32. It ends with its input.

use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use assay_attack::{Bounds, Norm, SampleId, Threat};
use assay_data::{DataSource, Dataset};
use assay_harden::{
    Adversarial, Batch, Begin, Climb, Method, Objective, Optimizer, Perturbation, Standard, Trainer, TrainerOptions,
};
use assay_runtime::{ClassifierOptions, EngineOptions, Library, OnnxClassifier, OnnxRuntime};
use ndarray::s;

const RATE: f32 = 0.01;
const MOMENTUM: f32 = 0.9;
const DECAY: f32 = 5e-4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match compete(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

#[allow(clippy::print_stderr, reason = "a program's way to say what went wrong")]
fn failed(error: &dyn Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

fn compete(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let &[model, data, batch, objective, threads, ref rate @ ..] = arguments else {
        return Err("usage: learner MODEL DATA BATCH OBJECTIVE THREADS [RATE]".into());
    };
    let runtime = OnnxRuntime::load(&Library::default())?;
    let engine = EngineOptions { intra_threads: Some(threads.parse()?), spinning: true, ..EngineOptions::default() };
    let model_options = ClassifierOptions { engine, max_batch: batch.parse()?, ..ClassifierOptions::default() };
    let base = OnnxClassifier::load(&runtime, Path::new(model), &model_options)?;
    let optimizer = Optimizer::new(Method::Sgd { momentum: MOMENTUM, nesterov: false }, DECAY, None);
    let options = TrainerOptions { seed: 0, weights: None, average: None, model: model_options };
    let mut learner = Learner {
        trainer: Trainer::new(&runtime, &base, parse(objective)?, optimizer, options)?,
        data: Dataset::open(&DataSource::new(data), None)?,
        batch: batch.parse()?,
        next: 0,
        rate: rate.first().map_or(Ok(RATE), |rate| rate.parse())?,
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        match line?.split_once(' ') {
            Some(("step", count)) => {
                let began = Instant::now();
                let loss = learner.steps(count.parse()?)?;
                writeln!(out, r#"{{"seconds": {:.6}, "loss": {loss}}}"#, began.elapsed().as_secs_f64())?;
            }
            Some(("save", folder)) => {
                learner.save(Path::new(folder))?;
                writeln!(out, "{{}}")?;
            }
            _ => return Err("expected step N or save FOLDER".into()),
        }
    }
    Ok(())
}

/// `standard` or `pgd:EPS:STEPS`.
fn parse(text: &str) -> Result<Box<dyn Objective>, Box<dyn Error>> {
    let parts: Vec<&str> = text.split(':').collect();
    Ok(match parts.as_slice() {
        ["standard"] => Box::new(Standard),
        ["pgd", eps, steps] => {
            let threat = Threat { norm: Norm::Linf, eps: eps.parse()?, bounds: Bounds::new(0.0, 1.0)? };
            let steps: u16 = steps.parse()?;
            let length = 2.5 * threat.eps.down() / f32::from(steps);
            let perturbation =
                Perturbation { threat, steps: steps.into(), length, begin: Begin::Sample, climb: Climb::CrossEntropy };
            Box::new(Adversarial { perturbation })
        }
        _ => return Err("expected the objective standard or pgd:EPS:STEPS".into()),
    })
}

struct Learner {
    trainer: Trainer,
    data: Dataset,
    batch: usize,
    /// Where the next batch begins.
    next: usize,
    rate: f32,
}

impl Learner {
    /// The loss of the last step.
    fn steps(&mut self, count: usize) -> Result<f64, Box<dyn Error>> {
        let mut loss = f64::NAN;
        for _ in 0..count {
            if self.next + self.batch > self.data.len() {
                self.next = 0;
            }
            let range = self.next..self.next + self.batch;
            let ids: Vec<SampleId> = range.clone().map(|i| SampleId(i as u64)).collect();
            let samples = self.data.samples().slice(s![range.clone(), ..]);
            let batch = Batch { ids: &ids, samples, labels: &self.data.labels()[range] };
            loss = self.trainer.learn(&batch, 0, self.rate)?.loss;
            self.next += self.batch;
        }
        Ok(loss)
    }

    fn save(&self, folder: &Path) -> Result<(), Box<dyn Error>> {
        let (mut names, mut content) = (String::new(), Vec::new());
        for (value, tensor) in self.trainer.net().tensors() {
            let dims: Vec<String> = tensor.dims().iter().map(ToString::to_string).collect();
            names.push_str(&format!("{value}\t{}\n", dims.join("\t")));
            content.extend_from_slice(tensor.bytes());
        }
        std::fs::write(folder.join("names"), names)?;
        std::fs::write(folder.join("weights"), content)?;
        Ok(())
    }
}
