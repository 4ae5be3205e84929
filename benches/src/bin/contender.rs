//! One contender of the gradient benchmark: a process that does the same thing over and over for as long as it is told.
//!
//! `contender MODEL forward|step BATCH THREADS SESSIONS [PROVIDER [BYTES]]` hosts the ONNX file `MODEL` on `PROVIDER` with `SESSIONS`
//! sessions of `THREADS` threads, each with at most `BYTES` of memory. For each line on its input, a number of milliseconds, it works for that long and prints the median time of one
//! call in milliseconds; for the line `memory` it prints its peak memory in MiB. It ends with its input.

use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use assay_graph::Loss;
use assay_runtime::{
    Class, Classifier, ClassifierOptions, EngineOptions, Library, OnnxClassifier, OnnxRuntime, RunError,
};
use ndarray::Array2;

/// Calls before the first that counts: sessions allocate their memory in them.
const WARM_UP: usize = 3;

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
    let &[model, what @ ("forward" | "step"), batch, threads, sessions, ref more @ ..] = arguments else {
        return Err("usage: contender MODEL forward|step BATCH THREADS SESSIONS [PROVIDER [BYTES]]".into());
    };
    let batch: usize = batch.parse()?;
    let engine = EngineOptions {
        provider: more.first().copied().unwrap_or("cpu").parse()?,
        intra_threads: Some(threads.parse()?),
        sessions: sessions.parse()?,
        spinning: true,
        ..EngineOptions::default()
    };
    let options = ClassifierOptions {
        engine,
        max_batch: NonZeroUsize::new(batch).ok_or("a batch of no samples")?,
        memory: more.get(1).map(|bytes| bytes.parse()).transpose()?,
        ..ClassifierOptions::default()
    };
    let runtime = OnnxRuntime::load(&Library::default())?;
    let classifier = OnnxClassifier::load(&runtime, Path::new(model), &options)?;
    let spec = classifier.spec();
    let samples = noise(batch, spec.features());
    let classes = spec.classes;
    let labels: Vec<Class> = (0..batch).map(|i| u32::try_from(i % classes).map(Class)).collect::<Result<_, _>>()?;
    let call = || -> Result<(), RunError> {
        match what {
            "forward" => classifier.logits(samples.view()).map(drop),
            _ => classifier.gradient(samples.view(), Loss::CrossEntropy, &labels, None).map(drop),
        }
    };
    for _ in 0..WARM_UP {
        call()?;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        match line?.as_str() {
            "memory" => writeln!(out, "{:.1}", peak_memory()?)?,
            turn => writeln!(out, "{:.6}", median_of(Duration::from_millis(turn.parse()?), &call)?)?,
        }
    }
    Ok(())
}

/// Median time of `call` in milliseconds, called for the time of `turn`, at least three times.
fn median_of(turn: Duration, call: &impl Fn() -> Result<(), RunError>) -> Result<f64, RunError> {
    let (mut times, began) = (Vec::new(), Instant::now());
    while times.len() < 3 || began.elapsed() < turn {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2].as_secs_f64() * 1e3)
}

/// Numbers in [0, 1) that do not repeat soon.
fn noise(rows: usize, columns: usize) -> Array2<f32> {
    let mut state = 1u32;
    Array2::from_shape_simple_fn((rows, columns), || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u16::try_from(state >> 16).unwrap_or(0)) / 65_536.0
    })
}

/// Most memory that this process had at once, in MiB.
fn peak_memory() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no number in VmHWM")?.parse()?;
    Ok(kib / 1024.0)
}
