//! One contender of the comparison of certificates: a process that certifies the same instances each time it is told.
//!
//! `certifier MODEL BOXES THREADS` hosts the ONNX file `MODEL` with one session of `THREADS` threads. `BOXES` holds numbers of binary32 in the machine's order:
//! of each instance its lower ends and then its upper ends. For each line `METHOD LABEL,…` on its input it certifies the instances with these labels, one label
//! for each of the first ones, and prints a JSON object: `seconds`, `peak` (the most memory that the process had, in bytes) and `margins`, a list for each
//! instance. Of the method `forward`, which is no method, the centres are classified. It ends with its input.

use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use assay_certify::{Certifier, CertifierOptions, Job, Method, Neighbourhood, Until};
use assay_runtime::{
    Cancel, Class, Classifier, ClassifierOptions, EngineOptions, Library, OnnxClassifier, OnnxRuntime,
};
use ndarray::{Array2, s};

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
    let &[model, boxes, threads] = arguments else {
        return Err("usage: certifier MODEL BOXES THREADS".into());
    };
    let engine = EngineOptions { intra_threads: Some(threads.parse()?), spinning: true, ..EngineOptions::default() };
    let options = ClassifierOptions { engine: engine.clone(), ..ClassifierOptions::default() };
    let runtime = OnnxRuntime::load(&Library::default())?;
    let classifier = Arc::new(OnnxClassifier::load(&runtime, Path::new(model), &options)?);
    let mut contest = Contest {
        ends: read(Path::new(boxes), classifier.spec().features())?,
        certifier: Certifier::new(&runtime, classifier, &CertifierOptions { engine })?,
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (method, labels) = line.split_once(' ').ok_or("expected METHOD LABEL,…")?;
        let labels: Vec<Class> = labels.split(',').map(|label| label.parse().map(Class)).collect::<Result<_, _>>()?;
        writeln!(out, "{}", contest.run(method, &labels)?)?;
    }
    Ok(())
}

/// Lower and upper ends, `[n, features]` each.
fn read(file: &Path, features: usize) -> Result<[Array2<f32>; 2], Box<dyn Error>> {
    let bytes = std::fs::read(file)?;
    let numbers: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect();
    let both = Array2::from_shape_vec((numbers.len() / (2 * features), 2 * features), numbers)?;
    Ok([both.slice(s![.., ..features]).to_owned(), both.slice(s![.., features..]).to_owned()])
}

struct Contest {
    ends: [Array2<f32>; 2],
    certifier: Certifier,
}

impl Contest {
    fn run(&mut self, method: &str, labels: &[Class]) -> Result<String, Box<dyn Error>> {
        let [lower, upper] = self.ends.each_ref().map(|ends| ends.slice(s![..labels.len(), ..]));
        let images = (&lower + &upper) * 0.5;
        let (seconds, margins) = if method == "forward" {
            let began = Instant::now();
            self.certifier.classifier().logits(images.view())?;
            (began.elapsed(), Vec::new())
        } else {
            let methods: [Method; 1] = [method.parse()?];
            let job = Job {
                images: images.view(),
                labels,
                neighbourhood: Neighbourhood::Boxes { lower, upper },
                methods: &methods,
                until: Until::All,
            };
            let began = Instant::now();
            let certificates = self.certifier.certify(&job, &mut |_| {}, &Cancel::default())?;
            let seconds = began.elapsed();
            (seconds, certificates.iter().map(|found| format!("{:?}", found.best())).collect())
        };
        Ok(format!(
            r#"{{"seconds": {:.6}, "peak": {}, "margins": [{}]}}"#,
            seconds.as_secs_f64(),
            peak()?,
            margins.join(", ")
        ))
    }
}

/// The most memory that this process had, in bytes.
fn peak() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("/proc/self/status has no VmHWM")?;
    Ok(1024 * line.trim().trim_end_matches("kB").trim().parse::<u64>()?)
}
