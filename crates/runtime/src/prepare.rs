//! From a file to a model that can be hosted: canonical, of known shapes, and shown to compute what the file says.

use assay_graph::{Adaptation, Canonical, DataType, Dim, Folded, Model, ModelFile, Shaped, Value};
use sha2::{Digest, Sha256};

use crate::fidelity::{self, Batches};
use crate::session::Source;
use crate::{ClassifierOptions, LoadCause, ModelInfo, OnnxRuntime, ProbeError, SessionError, probe};

/// A model that is ready to be hosted.
pub(crate) struct Prepared {
    /// Hexadecimal SHA-256 of the file, and of the files that it keeps tensors in.
    pub(crate) digest: String,
    pub(crate) info: ModelInfo,
    pub(crate) model: Shaped,
    /// The model that gradients are derived from: `model` in f32, if that has numbers of 16 bits.
    pub(crate) derivable: Shaped,
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
    let ModelFile { model: about, content, external } = match source {
        Source::Bytes(bytes) => ModelFile::from_bytes(bytes.to_vec().into(), &options.limits)?,
        Source::File(path) => ModelFile::load(path, &options.limits)?,
        Source::Model(model) => ModelFile::from_bytes(model.to_bytes(), &options.limits)?,
    };
    let digest = digest_of(&content, &external);
    if let Some(pinned) = options.digest.as_ref().filter(|pinned| !digest.eq_ignore_ascii_case(pinned)) {
        return Err(LoadCause::Digest { found: digest, pinned: pinned.clone() });
    }
    let bytes = content.len() + external.iter().map(|(_, file)| AsRef::<[u8]>::as_ref(file).len()).sum::<usize>();
    // A file is only read again by ONNX Runtime, to compare with, and only where its tensors are in other files.
    let source = if external.is_empty() { Source::Bytes(&content) } else { source };
    let sample_shape = options.sample_shape.as_deref();

    let Known { model, runs, mut adaptations } = known(runtime, about.clone(), sample_shape)?;
    let input = model.input()?.clone();
    let output = model.logits_in_file(options.logits.as_deref())?.clone();
    let file = File {
        runtime,
        source: runs.then_some(source),
        input: &input,
        dtype: about.graph.inputs.iter().find(|i| i.value == input).and_then(|i| i.dtype),
        output: &output,
        sample_shape: sample_dims(&model, &input),
    };
    let model = batched(&file, model, sample_shape, &mut adaptations)?;

    let (mut model, changes) = assay_graph::logits(model, &output)?;
    adaptations.extend(changes);
    if let Some(normalization) = &options.normalization {
        let pixels = Canonical::new(assay_graph::preprocess(model.canonical(), normalization)?)?;
        model = folded(runtime, pixels, sample_shape, &mut adaptations)?;
    }
    let wide = model.widened();
    adaptations.extend(wide.iter().map(|&(_, from)| Adaptation::DerivativesWidened { from }));
    let derivable = wide.map_or_else(|| model.clone(), |(wide, _)| wide);
    let classes = sample_dims(&model, &output).iter().product();
    let sample_shape = file.sample_shape;
    let info = ModelInfo { bytes: bytes as u64, ..describe(&about, &input, &output, adaptations) };
    Ok(Prepared { digest, info, model, derivable, sample_shape, classes })
}

/// A file's model in canonical form and of known shapes.
struct Known {
    model: Shaped,
    /// Whether ONNX Runtime runs the file as it is.
    runs: bool,
    adaptations: Vec<Adaptation>,
}

fn known(runtime: &OnnxRuntime, model: Model, sample_shape: Option<&[usize]>) -> Result<Known, LoadCause> {
    let canonical = Canonical::new(model)?;
    let mut adaptations = canonical.adaptations().to_vec();
    let wide = canonical.widened();
    match (folded(runtime, canonical, sample_shape, &mut adaptations), wide) {
        (Err(LoadCause::Probe(ProbeError::Session(SessionError::Refused(_)))), Some((wide, from))) => {
            // ONNX Runtime's processor kernels for bf16 are few, so the file itself cannot be run to compare with.
            adaptations.push(Adaptation::Widened { from });
            let model = folded(runtime, wide, sample_shape, &mut adaptations)?;
            Ok(Known { model, runs: false, adaptations })
        }
        (model, _) => Ok(Known { model: model?, runs: true, adaptations }),
    }
}

/// What a rewritten model is compared with.
struct File<'a> {
    runtime: &'a OnnxRuntime,
    /// The file; `None` if ONNX Runtime does not run it.
    source: Option<Source<'a>>,
    input: &'a Value,
    /// Element type of the input.
    dtype: Option<DataType>,
    /// The logits.
    output: &'a Value,
    sample_shape: Vec<usize>,
}

impl File<'_> {
    /// Whether `model` in batches of the sizes `rewritten` computes what the file does in batches of `batch`.
    fn agrees(&self, model: &Shaped, batch: usize, rewritten: &[usize]) -> Result<(), LoadCause> {
        let Some(source) = self.source else { return Ok(()) };
        let batches = Batches { dtype: self.dtype, file: batch, rewritten };
        let values = (self.input, self.output);
        fidelity::check(self.runtime, source, model.model(), values, &self.sample_shape, &batches)
    }
}

/// `model`, shown to compute what its file does, for batches of any size; of the file's size, if that cannot be opened.
fn batched(
    file: &File<'_>,
    model: Shaped,
    sample_shape: Option<&[usize]>,
    adaptations: &mut Vec<Adaptation>,
) -> Result<Shaped, LoadCause> {
    let Some(fixed) = model.canonical().fixed_batch() else {
        file.agrees(&model, 2, &[2])?;
        return Ok(model);
    };
    let open = || {
        let opened = probe::shapes(file.runtime, assay_graph::open_batch(&model)?, sample_shape)?;
        // As many samples as batches of 1, 2 and 3 hold, in whole batches of the file.
        let mut rewritten = vec![1, 2, 3];
        rewritten.push(6_usize.next_multiple_of(fixed) - 6);
        rewritten.retain(|&batch| batch > 0);
        file.agrees(&opened, fixed, &rewritten)?;
        Ok::<_, LoadCause>(opened)
    };
    match open() {
        Ok(opened) => {
            adaptations.push(Adaptation::BatchOpened { fixed });
            Ok(opened)
        }
        Err(cause) => {
            file.agrees(&model, fixed, &[fixed])?;
            adaptations.push(Adaptation::BatchKept { fixed, reason: cause.to_string() });
            Ok(model)
        }
    }
}

/// `model` with the shapes of its values, and without arithmetic on shapes.
fn folded(
    runtime: &OnnxRuntime,
    mut model: Canonical,
    sample_shape: Option<&[usize]>,
    adaptations: &mut Vec<Adaptation>,
) -> Result<Shaped, LoadCause> {
    loop {
        match probe::shapes(runtime, model, sample_shape)?.folded()? {
            Folded::Done(shaped) => return Ok(shaped),
            // A branch was taken, of which there are fewer each time.
            Folded::Again { model: again, taken } => {
                adaptations.push(taken);
                model = again;
            }
        }
    }
}

/// What the file says about its model.
fn describe(model: &Model, input: &Value, output: &Value, adaptations: Vec<Adaptation>) -> ModelInfo {
    let weights = model.graph.initializers.values().filter(|tensor| tensor.dtype().is_float());
    let whole_numbers = match model.graph.inputs.iter().find(|i| i.value == *input).and_then(|i| i.dtype) {
        Some(DataType::Uint8) => Some([0, 255]),
        Some(DataType::Int8) => Some([-128, 127]),
        _ => None,
    };
    ModelInfo {
        opset: model.opsets.get("").copied().unwrap_or(0),
        producer: model.producer.clone(),
        parameters: weights.map(|tensor| tensor.len() as u64).sum(),
        bytes: 0,
        metadata: model.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        input: input.to_string(),
        whole_numbers,
        output: output.to_string(),
        adaptations,
    }
}

/// Shape of a value without the batch dimension.
fn sample_dims(model: &Shaped, value: &Value) -> Vec<usize> {
    let dims = model.facts(value).map_or(&[][..], |facts| &facts.dims);
    dims.iter().skip(1).map(|dim| if let Dim::Fixed(size) = dim { *size } else { 0 }).collect()
}

/// SHA-256 of a model's file; of that and those of its other files, if it keeps tensors in some.
fn digest_of(content: &[u8], external: &[(String, impl AsRef<[u8]>)]) -> String {
    let digest = Sha256::digest(content);
    if external.is_empty() {
        return hex(&digest);
    }
    let mut all = Sha256::new();
    all.update(digest);
    for (_, file) in external {
        all.update(Sha256::digest(file));
    }
    hex(&all.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
