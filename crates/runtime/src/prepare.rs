//! From a file to a model that can be hosted: canonical, of known shapes, and shown to compute what the file says.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use assay_graph::{Canonical, Dim, Model, Shaped, Value};
use sha2::{Digest, Sha256};

use crate::session::Source;
use crate::{ClassifierOptions, LoadCause, ModelInfo, OnnxRuntime, fidelity, probe};

/// A model that is ready to be hosted.
pub(crate) struct Prepared {
    /// Hexadecimal SHA-256 of the file.
    pub(crate) digest: String,
    pub(crate) info: ModelInfo,
    pub(crate) model: Shaped,
    /// Shape of one sample.
    pub(crate) sample_shape: Vec<usize>,
    pub(crate) classes: usize,
}

/// Reads `source` and makes it ready.
///
/// # Errors
/// Whatever stands in the way of hosting it, but for the provider.
pub(crate) fn prepare(
    runtime: &OnnxRuntime,
    source: Source<'_>,
    options: &ClassifierOptions,
) -> Result<Prepared, LoadCause> {
    let (model, digest) = match source {
        Source::Bytes(bytes) => {
            (Model::from_bytes(bytes.to_vec().into(), &options.limits)?, hex(&Sha256::digest(bytes)))
        }
        Source::File(path) => {
            let unreadable = |source| assay_graph::LoadError::Io { path: path.to_owned(), source };
            (Model::load(path, &options.limits)?, digest_of(path).map_err(unreadable)?)
        }
    };
    let about = model.clone();
    let sample_shape = options.sample_shape.as_deref();
    let mut canonical = Canonical::new(model)?;
    let mut model = probe::shapes(runtime, canonical.clone(), sample_shape)?;
    let (input, output) = (model.input()?.clone(), model.logits()?.clone());
    let shape = sample_dims(&model, &input);
    fidelity::check(runtime, source, &about, model.model(), (&input, &output), &shape)?;

    let outputs = canonical.model().graph.outputs.len();
    if outputs > 1 {
        // Nobody asks for the others: they need not be computed.
        let mut single = canonical.model().clone();
        single.graph.outputs.retain(|o| o.value == output);
        canonical = Canonical::new(single)?;
    }
    if let Some(normalization) = &options.normalization {
        canonical = Canonical::new(assay_graph::preprocess(&canonical, normalization)?)?;
    }
    if outputs > 1 || options.normalization.is_some() {
        model = probe::shapes(runtime, canonical, sample_shape)?;
    }
    let classes = sample_dims(&model, &output).iter().product();
    Ok(Prepared { digest, info: describe(&about, &input, &output), model, sample_shape: shape, classes })
}

/// What the file says about its model.
fn describe(model: &Model, input: &Value, output: &Value) -> ModelInfo {
    let weights = model.graph.initializers.values().filter(|tensor| tensor.dtype().is_float());
    ModelInfo {
        opset: model.opsets.get("").copied().unwrap_or(0),
        producer: model.producer.clone(),
        parameters: weights.map(|tensor| tensor.len() as u64).sum(),
        metadata: model.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        input: input.to_string(),
        output: output.to_string(),
    }
}

/// Shape of a value without the batch dimension.
fn sample_dims(model: &Shaped, value: &Value) -> Vec<usize> {
    let dims = model.facts(value).map_or(&[][..], |facts| &facts.dims);
    dims.iter().skip(1).map(|dim| if let Dim::Fixed(size) = dim { *size } else { 0 }).collect()
}

/// SHA-256 of a file, without holding it in memory.
fn digest_of(file: &Path) -> io::Result<String> {
    let (mut file, mut digest, mut buffer) = (File::open(file)?, Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&digest.finalize())),
            n => digest.update(&buffer[..n]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
