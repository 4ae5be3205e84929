//! One contender of the comparisons of attacks: a process that runs the same attack each time it is told.
//!
//! `attacker MODEL DATA NORM ATTACK THREADS [MEAN STD]` hosts the ONNX file `MODEL`, behind a normalization of one mean and one
//! deviation for each channel (separated by commas), with one session of `THREADS` threads. `ATTACK` is a name with parameters:
//! `pgd:steps=40,step=0.1*eps`. For each line `EPS SAMPLES SEED` on its input it attacks the first `SAMPLES` samples of `DATA` with the radius
//! `EPS` and prints a JSON object: `seconds`, `in_model` (those of them in calls of the model), `correct`, `robust`, `queries`,
//! `gradients` and `distances`, of each sample that was classified correctly: how far its adversarial sample is in the norm, or `null` where
//! there is none. It ends with its input.

use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use assay_attack::{Attack, Bounds, Budget, Cancel, Goal, Job, Norm, Outcome, SampleId, SampleOutcome, Threat};
use assay_data::{DataSource, Dataset};
use assay_graph::{Loss, Normalization};
use assay_runtime::{
    Class, Classifier, ClassifierOptions, ClassifierSpec, EngineOptions, Evaluated, Library, OnnxClassifier,
    OnnxRuntime, RunError,
};
use ndarray::{Array2, ArrayView2, s};

/// Samples in one call of the model, as the service has it by default.
const BATCH: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

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
    let &[model, data, norm, attack, threads, ref normalization @ ..] = arguments else {
        return Err("usage: attacker MODEL DATA NORM ATTACK THREADS [MEAN STD]".into());
    };
    let contest = Contest {
        classifier: Timed { model: host(model, threads, normalization)?, nanoseconds: AtomicU64::new(0) },
        data: Dataset::open(&DataSource::new(data), None)?,
        norm: norm.parse()?,
        attack: parse(attack)?,
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let &[eps, samples, seed] = line.split(' ').collect::<Vec<_>>().as_slice() else {
            return Err("expected EPS SAMPLES SEED".into());
        };
        writeln!(out, "{}", contest.run(eps, samples.parse()?, seed.parse()?)?)?;
    }
    Ok(())
}

fn host(model: &str, threads: &str, normalization: &[&str]) -> Result<OnnxClassifier, Box<dyn Error>> {
    let numbers = |list: &str| list.split(',').map(str::parse).collect::<Result<Vec<f32>, _>>();
    let normalization = match normalization {
        [] => None,
        [mean, std] => Some(Normalization { mean: numbers(mean)?, std: numbers(std)?, axis: None }),
        _ => return Err("expected MEAN STD".into()),
    };
    let engine = EngineOptions { intra_threads: Some(threads.parse()?), spinning: true, ..EngineOptions::default() };
    let options = ClassifierOptions { engine, max_batch: BATCH, normalization, ..ClassifierOptions::default() };
    Ok(OnnxClassifier::load(&OnnxRuntime::load(&Library::default())?, Path::new(model), &options)?)
}

/// `NAME` or `NAME:PARAMETER=VALUE,…`.
fn parse(text: &str) -> Result<Box<dyn Attack>, Box<dyn Error>> {
    let (name, settings) = text.split_once(':').unwrap_or((text, ""));
    let parameters: Option<Vec<_>> = settings
        .split(',')
        .filter(|setting| !setting.is_empty())
        .map(|setting| setting.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect();
    Ok(assay_attack::parse(name, &parameters.ok_or("expected PARAMETER=VALUE")?)?)
}

struct Contest {
    classifier: Timed,
    data: Dataset,
    norm: Norm,
    attack: Box<dyn Attack>,
}

impl Contest {
    fn run(&self, eps: &str, samples: usize, seed: u64) -> Result<String, Box<dyn Error>> {
        let samples = samples.min(self.data.len());
        let ids: Vec<SampleId> = (0..samples as u64).map(SampleId).collect();
        let threat = Threat { norm: self.norm, eps: eps.parse()?, bounds: Bounds::new(0.0, 1.0)? };
        let job = Job {
            classifier: &self.classifier,
            attack: &*self.attack,
            threat: &threat,
            goal: &Goal::Untargeted,
            images: self.data.samples().slice(s![..samples, ..]),
            labels: &self.data.labels()[..samples],
            ids: &ids,
            seed,
            batch: BATCH,
            budget: Budget::default(),
            eight_bit: false,
            checks: false,
        };
        self.classifier.nanoseconds.store(0, Ordering::Relaxed);
        let began = Instant::now();
        let attacked = assay_attack::run(&job, &mut |_| {}, &Cancel::default())?;
        let seconds = began.elapsed().as_secs_f64();
        if let Some(error) = attacked.outcomes.iter().find_map(|sample| sample.error.as_ref()) {
            return Err(error.as_str().into());
        }
        let correct = attacked.outcomes.iter().filter(|sample| sample.outcome != Outcome::Misclassified);
        let distances: Vec<String> = correct.map(|sample| self.distance(sample)).collect();
        Ok(format!(
            r#"{{"seconds": {seconds:.6}, "in_model": {:.6}, "correct": {}, "robust": {}, "queries": {}, "gradients": {}, "distances": [{}]}}"#,
            self.classifier.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9,
            distances.len(),
            attacked.count(Outcome::Robust),
            attacked.cost.queries,
            attacked.cost.gradients,
            distances.join(", "),
        ))
    }

    fn distance(&self, sample: &SampleOutcome) -> String {
        match sample.outcome {
            Outcome::Broken => sample.distance.of(self.norm).to_string(),
            _ => "null".to_owned(),
        }
    }
}

/// A classifier that adds up how long its calls take.
struct Timed {
    model: OnnxClassifier,
    nanoseconds: AtomicU64,
}

impl Timed {
    fn time<T>(&self, call: impl FnOnce(&OnnxClassifier) -> T) -> T {
        let began = Instant::now();
        let answer = call(&self.model);
        self.nanoseconds.fetch_add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(0), Ordering::Relaxed);
        answer
    }
}

impl Classifier for Timed {
    fn spec(&self) -> &ClassifierSpec {
        self.model.spec()
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        self.time(|model| model.logits(x))
    }

    fn gradient(
        &self,
        x: ArrayView2<'_, f32>,
        loss: Loss,
        labels: &[Class],
        targets: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        self.time(|model| model.gradient(x, loss, labels, targets))
    }

    fn vjp(&self, x: ArrayView2<'_, f32>, cotangent: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        self.time(|model| model.vjp(x, cotangent))
    }
}
