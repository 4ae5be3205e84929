//! One gradient step of one model, through files: what comparisons with other programs are made with.
//!
//! `step MODEL SAMPLES LABELS FOLDER` evaluates the cross-entropy of the ONNX file `MODEL` on one batch and writes
//! `FOLDER/logits`, `FOLDER/loss` and `FOLDER/gradient`. Numbers are raw and little-endian: f32 for samples (row-major, in
//! the model's shape) and results, u32 for labels, whose number is the size of the batch.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use assay_graph::Loss;
use assay_runtime::{Class, Classifier, ClassifierOptions, Library, OnnxClassifier, OnnxRuntime};
use ndarray::Array2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, samples, labels, folder] = arguments.as_slice() else {
        return failed("usage: step MODEL SAMPLES LABELS FOLDER");
    };
    match step(Path::new(model), Path::new(samples), Path::new(labels), Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

#[allow(clippy::print_stderr, reason = "a program's way to say what went wrong")]
fn failed(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}

fn step(model: &Path, samples: &Path, labels: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let runtime = OnnxRuntime::load(&Library::default())?;
    let labels: Vec<Class> = words(labels)?.into_iter().map(|word| Class(u32::from_le_bytes(word))).collect();
    let samples: Vec<f32> = words(samples)?.into_iter().map(f32::from_le_bytes).collect();
    let features = samples.len() / labels.len().max(1);
    let samples = Array2::from_shape_vec((labels.len(), features), samples)?;

    let options = ClassifierOptions { max_batch: labels.len().try_into()?, ..ClassifierOptions::default() };
    let classifier = OnnxClassifier::load(&runtime, model, &options)?;
    let found = classifier.gradient(samples.view(), Loss::CrossEntropy, &labels, None)?;
    let write = |name: &str, numbers: &mut dyn Iterator<Item = f32>| {
        std::fs::write(folder.join(name), numbers.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())
    };
    write("logits", &mut found.logits.iter().copied())?;
    write("loss", &mut found.loss.iter().copied())?;
    write("gradient", &mut found.gradient.iter().copied())?;
    Ok(())
}

/// The content of `file` as numbers of four bytes.
fn words(file: &Path) -> Result<Vec<[u8; 4]>, Box<dyn Error>> {
    let bytes = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let (words, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(
            format!("{}: {} bytes are no whole number of four-byte numbers", file.display(), bytes.len()).into()
        );
    }
    Ok(words.to_vec())
}
