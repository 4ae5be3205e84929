//! Writes the gradient graph of a model to a file, to look at it or to profile it node by node.
//!
//! `derive MODEL OUT [LOSS [cpu|cuda]]`: the ONNX file `OUT` takes a batch and labels and gives logits, loss and gradient, in the
//! forms that are written for that provider.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use assay_graph::{Canonical, Limits, Loss, Lowering, Model, gradient};
use assay_runtime::{Library, OnnxRuntime, shapes};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match *arguments.as_slice() {
        [model, out] => derive(Path::new(model), Path::new(out), "cross-entropy", Lowering::Cpu),
        [model, out, loss] | [model, out, loss, "cpu"] => derive(Path::new(model), Path::new(out), loss, Lowering::Cpu),
        [model, out, loss, "cuda"] => derive(Path::new(model), Path::new(out), loss, Lowering::Cuda),
        _ => Err("usage: derive MODEL OUT [LOSS [cpu|cuda]]".into()),
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

fn derive(model: &Path, out: &Path, loss: &str, lowering: Lowering) -> Result<(), Box<dyn Error>> {
    let runtime = OnnxRuntime::load(&Library::default())?;
    let canonical = Canonical::new(Model::load(model, &Limits::default())?)?;
    let shaped = shapes(&runtime, canonical, None)?.lowered_for(lowering);
    let derived = gradient(&shaped, loss.parse::<Loss>()?)?;
    std::fs::write(out, derived.model.to_bytes())?;
    Ok(())
}
