//! One gradient step of one model, through files: what comparisons with other programs are made with.
//!
//! `step MODEL SAMPLES LABELS FOLDER` evaluates the cross-entropy of the ONNX file `MODEL` on one batch and writes
//! `FOLDER/logits`, `FOLDER/loss` and `FOLDER/gradient`, and to `FOLDER/estimated` the nodes whose derivative is an
//! estimate, one in each line. Numbers are raw and little-endian: f32 for samples (row-major, in
//! the model's shape) and results, u32 for labels, whose number is the size of the batch.
//!
//! `step --weights MODEL SAMPLES LABELS FOLDER` derives the sum of the batch's losses by the weights, with the statistics of
//! the batch in every batch normalisation. `FOLDER/names` has a line for each weight, its name and its dimensions between
//! tabs; `FOLDER/weights` and `FOLDER/gradients` have the contents and the gradients of all, one after the other.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use assay_graph::{
    BatchNorm, Canonical, DataType, Dim, Folded, Graph, Limits, Loss, Model, Shaped, Tensor, Value, Wrt, training,
};
use assay_runtime::{
    Array, Class, Classifier, ClassifierOptions, Engine, EngineOptions, Gradients, Library, OnnxClassifier,
    OnnxRuntime, Tensors, shapes,
};
use ndarray::{Array2, ArrayD};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["--weights", model, samples, labels, folder] => {
            by_weights(Path::new(model), Path::new(samples), Path::new(labels), Path::new(folder))
        }
        [model, samples, labels, folder] => {
            step(Path::new(model), Path::new(samples), Path::new(labels), Path::new(folder))
        }
        _ => Err("usage: step [--weights] MODEL SAMPLES LABELS FOLDER".into()),
    };
    match result {
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
    let samples = numbers(samples)?;
    let features = samples.len() / labels.len().max(1);
    let samples = Array2::from_shape_vec((labels.len(), features), samples)?;

    let options = ClassifierOptions { max_batch: labels.len().try_into()?, ..ClassifierOptions::default() };
    let classifier = OnnxClassifier::load(&runtime, model, &options)?;
    let found = classifier.gradient(samples.view(), Loss::CrossEntropy, &labels, None)?;
    let estimated = match &classifier.spec().gradients {
        Gradients::StraightThrough(nodes) => nodes.iter().map(|node| format!("{node}\n")).collect(),
        Gradients::Exact | Gradients::Unavailable(_) => String::new(),
    };
    std::fs::write(folder.join("estimated"), estimated)?;
    write(&folder.join("logits"), found.logits.iter().copied())?;
    write(&folder.join("loss"), found.loss.iter().copied())?;
    write(&folder.join("gradient"), found.gradient.iter().copied())
}

fn by_weights(model: &Path, samples: &Path, labels: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let runtime = OnnxRuntime::load(&Library::default())?;
    let source = shaped(&runtime, model)?;
    let wrt = Wrt { weights: None, input: false };
    let step = training(&source, &Loss::CrossEntropy, &wrt, BatchNorm::OfBatch)?;

    let labels: Vec<i64> = words(labels)?.into_iter().map(|word| u32::from_le_bytes(word).into()).collect();
    let mut dims = vec![labels.len()];
    let input = source.facts(&step.inputs[0]).map(|facts| facts.dims.as_slice()).unwrap_or_default();
    dims.extend(input.iter().filter_map(|dim| if let Dim::Fixed(size) = dim { Some(*size) } else { None }));
    let mut inputs = Tensors::new();
    inputs.insert(step.inputs[0].to_string(), Array::Float(ArrayD::from_shape_vec(dims, numbers(samples)?)?));
    inputs.insert(step.labels.to_string(), Array::Int(ArrayD::from_shape_vec(vec![labels.len()], labels)?));
    let (mut names, mut weights) = (String::new(), Vec::new());
    for weight in &step.weights {
        let tensor = content(&source.model().graph, &weight.value)
            .ok_or_else(|| format!("weight \"{}\": the model holds no such tensor", weight.value))?;
        let numbers = floats(tensor).ok_or_else(|| format!("weight \"{}\" is not of f32", weight.value))?;
        let dims: Vec<String> = tensor.dims().iter().map(ToString::to_string).collect();
        names += &format!("{}\t{}\n", weight.value, dims.join("\t"));
        weights.extend_from_slice(&numbers);
        let array = ArrayD::from_shape_vec(tensor.dims().to_vec(), numbers)?;
        inputs.insert(weight.value.to_string(), Array::Float(array));
    }

    let outputs = Engine::start(&runtime, &step.model.to_bytes(), &EngineOptions::default())?.run(inputs)?;
    let mut gradients = Vec::with_capacity(weights.len());
    for weight in &step.weights {
        let Some(Array::Float(gradient)) = outputs.get(weight.gradient.as_str()) else {
            return Err(format!("weight \"{}\" has no gradient", weight.value).into());
        };
        gradients.extend(gradient.iter().copied());
    }
    std::fs::write(folder.join("names"), names)?;
    write(&folder.join("weights"), weights.into_iter())?;
    write(&folder.join("gradients"), gradients.into_iter())
}

/// The model in `file`, without the arithmetic on shapes that exporters write.
fn shaped(runtime: &OnnxRuntime, file: &Path) -> Result<Shaped, Box<dyn Error>> {
    let mut model = Canonical::new(Model::load(file, &Limits::default())?)?;
    loop {
        match shapes(runtime, model, None)?.folded()? {
            Folded::Done(shaped) => return Ok(shaped),
            Folded::Again { model: again, .. } => model = again,
        }
    }
}

/// What `weight` starts out as: an initializer, or a copy of one.
fn content<'a>(graph: &'a Graph, weight: &Value) -> Option<&'a Tensor> {
    graph.initializers.get(weight).or_else(|| {
        let copy = graph.nodes.iter().find(|node| node.output(0) == Some(weight))?;
        graph.initializers.get(copy.input(0)?)
    })
}

fn floats(tensor: &Tensor) -> Option<Vec<f32>> {
    let (words, rest) = tensor.bytes().as_chunks::<4>();
    let whole = tensor.dtype() == DataType::Float && rest.is_empty();
    whole.then(|| words.iter().copied().map(f32::from_le_bytes).collect())
}

fn write(file: &Path, numbers: impl Iterator<Item = f32>) -> Result<(), Box<dyn Error>> {
    Ok(std::fs::write(file, numbers.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())?)
}

fn numbers(file: &Path) -> Result<Vec<f32>, Box<dyn Error>> {
    Ok(words(file)?.into_iter().map(f32::from_le_bytes).collect())
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
