//! Writes the gradient graph of a model to a file, to look at it or to profile it node by node.
//!
//! `derive MODEL OUT [LOSS]`: the ONNX file `OUT` takes a batch and labels and gives logits, loss and gradient.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use assay_graph::{Canonical, Limits, Loss, Model, gradient};
use assay_runtime::{Library, OnnxRuntime, shapes};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [model, out] => derive(Path::new(model), Path::new(out), "cross-entropy"),
        [model, out, loss] => derive(Path::new(model), Path::new(out), loss),
        _ => Err("usage: derive MODEL OUT [LOSS]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

#[allow(clippy::print_stderr, reason = "a program's way to say what went wrong")]
fn failed(error: &dyn Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

fn derive(model: &Path, out: &Path, loss: &str) -> Result<(), Box<dyn Error>> {
    let runtime = OnnxRuntime::load(&Library::default())?;
    let canonical = Canonical::new(Model::load(model, &Limits::default())?)?;
    let shaped = shapes(&runtime, canonical, None)?;
    let derived = gradient(&shaped, loss.parse::<Loss>()?)?;
    std::fs::write(out, derived.model.to_bytes())?;
    Ok(())
}
