//! Sessions: a model as ONNX Runtime holds it, and one run of it.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;

use assay_graph::{DataType, Model};
use half::{bf16, f16};
use indexmap::IndexMap;
use ndarray::{ArrayD, IxDyn};
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{SessionInputValue, SessionOutputs};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor, TensorElementType, TensorRef, ValueType};

use crate::native::Session;
use crate::{OnnxRuntime, Provider, RunError, kernels};

/// How far ONNX Runtime rewrites the graphs of models that are evaluated, in its own word.
pub const OPTIMIZATION: &str = "all";

/// A tensor that goes into a session or comes out of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Array {
    /// Numbers. A model whose tensors are f16, bf16 or f64 gets and gives them converted; one that takes bytes gets whole ones.
    Float(ArrayD<f32>),
    /// Integers, as labels are.
    Int(ArrayD<i64>),
}

/// A tensor that goes into a session, where its owner keeps it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ArrayRef<'a> {
    /// As [`Array::Float`].
    Float(&'a ArrayD<f32>),
    /// As [`Array::Int`].
    Int(&'a ArrayD<i64>),
    /// Numbers in row-major order.
    Rows {
        /// Dimensions; their product is the number of elements.
        shape: &'a [usize],
        /// Elements.
        data: &'a [f32],
    },
}

impl Array {
    /// Dimensions.
    pub(crate) fn shape(&self) -> &[usize] {
        match self {
            Self::Float(a) => a.shape(),
            Self::Int(a) => a.shape(),
        }
    }
}

impl<'a> From<&'a Array> for ArrayRef<'a> {
    fn from(array: &'a Array) -> Self {
        match array {
            Array::Float(a) => Self::Float(a),
            Array::Int(a) => Self::Int(a),
        }
    }
}

/// Tensors by name.
pub type Tensors = IndexMap<String, Array>;

/// A model that ONNX Runtime did not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The execution provider is not there.
    #[error(
        "the provider {provider} is not available: {reason}. Choose another one, or allow the fallback to the processor"
    )]
    Provider {
        /// What was asked for.
        provider: Provider,
        /// Why it is not available.
        reason: String,
    },
    /// ONNX Runtime refused the model.
    #[error("ONNX Runtime refused the model: {0}")]
    Refused(String),
}

/// How a session runs.
pub(crate) struct SessionSettings {
    pub(crate) provider: Provider,
    pub(crate) intra_threads: NonZeroUsize,
    pub(crate) spinning: bool,
    /// Whether the graph is optimised, at the highest level.
    pub(crate) optimized: bool,
}

impl SessionSettings {
    /// For looking at a model as it is: on the processor, with one thread, nothing optimised.
    pub(crate) fn plain() -> Self {
        Self { provider: Provider::Cpu, intra_threads: NonZeroUsize::MIN, spinning: false, optimized: false }
    }
}

/// Where a model comes from.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// The content of an ONNX file.
    Bytes(&'a [u8]),
    /// An ONNX file, which may keep tensors in other files beside it.
    File(&'a Path),
    /// A model, whose large initializers the session reads where they lie.
    Model(&'a Model),
}

/// Bytes from which on an initializer is lent to a session. Small ones stay in the file: shapes and axes among them are read
/// there, before the session has what it is lent.
const LENT: usize = 4096;

/// A session of the model `source`, on exactly the provider that was asked for.
pub(crate) fn open(
    runtime: &OnnxRuntime,
    source: Source<'_>,
    settings: &SessionSettings,
) -> Result<Session, SessionError> {
    let level = if settings.optimized { GraphOptimizationLevel::All } else { GraphOptimizationLevel::Disable };
    let configured = || -> ort::Result<_> {
        Ok(SessionBuilder::new(runtime.environment())?
            .with_optimization_level(level)?
            .with_intra_threads(settings.intra_threads.get())?
            .with_inter_threads(1)?
            .with_intra_op_spinning(settings.spinning)?
            // A pattern is remembered for every batch size that occurs, and never given back.
            .with_memory_pattern(false)?)
    };
    let builder = configured().map_err(|e| SessionError::Refused(e.to_string()))?;
    let unavailable = |reason: String| SessionError::Provider { provider: settings.provider, reason };
    let provider = dispatch(settings.provider).map_err(unavailable)?;
    let mut builder = builder.with_execution_providers([provider]).map_err(|e| unavailable(e.to_string()))?;
    if let Source::Model(model) = source
        && let Some(operators) = kernels::for_model(model).map_err(|e| SessionError::Refused(e.to_string()))?
    {
        builder = builder.with_operators(operators).map_err(|e| SessionError::Refused(e.to_string()))?;
    }
    let session = match source {
        Source::Bytes(bytes) => builder.commit_from_memory(bytes).map_err(|e| e.to_string()).and_then(Session::new),
        Source::File(file) => builder.commit_from_file(file).map_err(|e| e.to_string()).and_then(Session::new),
        Source::Model(model) => lend(builder, model, LENT),
    };
    session.map_err(SessionError::Refused)
}

/// A session of `model` that reads its initializers of `least` bytes or more where they lie.
fn lend(builder: SessionBuilder, model: &Model, least: usize) -> Result<Session, String> {
    let (content, large) = model.to_bytes_apart(least);
    let lent = large.into_iter().map(|(name, tensor)| {
        let element = element(tensor.dtype()).ok_or_else(|| format!("\"{name}\" holds no numbers"))?;
        Ok::<_, String>((name, tensor, element))
    });
    Session::lend(builder, &content, lent.collect::<Result<_, _>>()?)
}

/// An element type in `ort`'s words; `None` for those that have no bytes.
fn element(dtype: DataType) -> Option<TensorElementType> {
    Some(match dtype {
        DataType::Float => TensorElementType::Float32,
        DataType::Double => TensorElementType::Float64,
        DataType::Float16 => TensorElementType::Float16,
        DataType::BFloat16 => TensorElementType::Bfloat16,
        DataType::Int64 => TensorElementType::Int64,
        DataType::Int32 => TensorElementType::Int32,
        DataType::Int16 => TensorElementType::Int16,
        DataType::Int8 => TensorElementType::Int8,
        DataType::Uint64 => TensorElementType::Uint64,
        DataType::Uint32 => TensorElementType::Uint32,
        DataType::Uint16 => TensorElementType::Uint16,
        DataType::Uint8 => TensorElementType::Uint8,
        DataType::Bool => TensorElementType::Bool,
        _ => return None,
    })
}

/// The provider in `ort`'s words. Registering it fails rather than falling back.
fn dispatch(provider: Provider) -> Result<ExecutionProviderDispatch, String> {
    let dispatch = match provider {
        // `ort` turns the arena off unless it is told, and each run would ask the system for its memory.
        Provider::Cpu => ep::CPU::default().with_arena_allocator(true).build(),
        Provider::Cuda { device } => {
            if !ep::CUDA::is_available().map_err(|e| e.to_string())? {
                return Err("this build of ONNX Runtime was made without CUDA".into());
            }
            ep::CUDA::default()
                .with_device_id(i32::try_from(device).map_err(|e| e.to_string())?)
                // An exhaustive search takes several times as long for every new size of a run.
                .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic)
                // Many sessions share the memory, and none takes more than its runs need.
                .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
                // 10 bits of mantissa are too few to audit with.
                .with_tf32(false)
                .build()
        }
    };
    Ok(dispatch.error_on_failure())
}

/// One run. Inputs of the model's own type are read where they lie; each output is copied out once. Numbers of other
/// floating-point types are converted on the way in and out.
pub(crate) fn run(session: &mut Session, inputs: &Tensors) -> Result<Tensors, RunError> {
    run_on(session, by_name(inputs))
}

/// [`run`] on inputs that somebody else owns.
pub(crate) fn run_on<'a>(
    session: &mut Session,
    inputs: impl IntoIterator<Item = (&'a str, ArrayRef<'a>)>,
) -> Result<Tensors, RunError> {
    outputs_on(session, inputs)?.iter().map(|(name, value)| Ok((name.to_owned(), extract(name, &value)?))).collect()
}

/// One run of which only the output `name` is read.
pub(crate) fn run_for(session: &mut Session, inputs: &Tensors, name: &str) -> Result<Array, RunError> {
    run_on_for(session, by_name(inputs), name)
}

/// [`run_for`] on inputs that somebody else owns.
pub(crate) fn run_on_for<'a>(
    session: &mut Session,
    inputs: impl IntoIterator<Item = (&'a str, ArrayRef<'a>)>,
    name: &str,
) -> Result<Array, RunError> {
    let outputs = outputs_on(session, inputs)?;
    let value = outputs.get(name).ok_or_else(|| RunError::Runtime(format!("there is no output \"{name}\"")))?;
    extract(name, value)
}

/// One run, its outputs as ONNX Runtime holds them.
pub(crate) fn outputs<'s>(session: &'s mut Session, inputs: &Tensors) -> Result<SessionOutputs<'s>, RunError> {
    outputs_on(session, by_name(inputs))
}

fn by_name(inputs: &Tensors) -> impl Iterator<Item = (&str, ArrayRef<'_>)> {
    inputs.iter().map(|(name, array)| (name.as_str(), array.into()))
}

fn outputs_on<'s, 'a>(
    session: &'s mut Session,
    inputs: impl IntoIterator<Item = (&'a str, ArrayRef<'a>)>,
) -> Result<SessionOutputs<'s>, RunError> {
    let values: Vec<(&str, SessionInputValue<'_>)> = inputs
        .into_iter()
        .map(|(name, array)| Ok((name, feed(array, element_type(session, name))?)))
        .collect::<ort::Result<_>>()
        .map_err(failed)?;
    session.run(values).map_err(failed)
}

#[allow(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn failed(e: ort::Error) -> RunError {
    let text = e.to_string();
    // ONNX Runtime's arenas say it in these words, whatever the device.
    if text.contains("Failed to allocate memory") {
        return RunError::Runtime(format!(
            "{text}. Smaller runs need less: lower `max_batch` or set `memory` (of a server, `runtime.batch` and `runtime.memory_bytes`)"
        ));
    }
    RunError::Runtime(text)
}

/// The type that the model wants for its input `name`.
fn element_type(session: &Session, name: &str) -> Option<TensorElementType> {
    let input = session.inputs().iter().find(|input| input.name() == name)?;
    if let ValueType::Tensor { ty, .. } = input.dtype() { Some(*ty) } else { None }
}

fn feed(array: ArrayRef<'_>, wanted: Option<TensorElementType>) -> ort::Result<SessionInputValue<'_>> {
    match array {
        ArrayRef::Int(a) => match a.as_slice() {
            Some(data) => Ok(TensorRef::from_array_view((a.shape(), data))?.into()),
            None => Ok(Tensor::from_array((a.shape(), a.iter().copied().collect::<Vec<i64>>()))?.into()),
        },
        ArrayRef::Rows { shape, data } => floats(shape, data, wanted),
        ArrayRef::Float(a) => match a.as_slice() {
            Some(data) => floats(a.shape(), data, wanted),
            None => owned(a.shape(), a.iter(), wanted),
        },
    }
}

/// Numbers of the model's own type are lent.
fn floats<'a>(
    shape: &'a [usize],
    data: &'a [f32],
    wanted: Option<TensorElementType>,
) -> ort::Result<SessionInputValue<'a>> {
    match wanted {
        Some(
            TensorElementType::Float16
            | TensorElementType::Bfloat16
            | TensorElementType::Float64
            | TensorElementType::Uint8
            | TensorElementType::Int8,
        ) => owned(shape, data.iter(), wanted),
        _ => Ok(TensorRef::from_array_view((shape, data))?.into()),
    }
}

/// Numbers in the type that the model wants.
fn owned<'a>(
    shape: &[usize],
    data: impl Iterator<Item = &'a f32>,
    wanted: Option<TensorElementType>,
) -> ort::Result<SessionInputValue<'static>> {
    match wanted {
        Some(TensorElementType::Float16) => converted(shape, data, f16::from_f32),
        Some(TensorElementType::Bfloat16) => converted(shape, data, bf16::from_f32),
        Some(TensorElementType::Float64) => converted(shape, data, f64::from),
        // As `Cast` saturates; a hosted model rounds before.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(TensorElementType::Uint8) => converted(shape, data, |v| v as u8),
        #[allow(clippy::cast_possible_truncation)]
        Some(TensorElementType::Int8) => converted(shape, data, |v| v as i8),
        _ => converted(shape, data, |v| v),
    }
}

fn converted<'a, T: PrimitiveTensorElementType + Copy + fmt::Debug + 'static>(
    shape: &[usize],
    data: impl Iterator<Item = &'a f32>,
    convert: impl Fn(f32) -> T,
) -> ort::Result<SessionInputValue<'static>> {
    Ok(Tensor::from_array((shape, data.map(|&v| convert(v)).collect::<Vec<T>>()))?.into())
}

fn extract(name: &str, value: &DynValue) -> Result<Array, RunError> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(RunError::Runtime(format!("output \"{name}\" is not a tensor")));
    };
    let shape = IxDyn(&sizes(shape));
    let array = match ty {
        TensorElementType::Float32 => ArrayD::from_shape_vec(shape, elements(value, |v: f32| v)?).map(Array::Float),
        TensorElementType::Float16 => ArrayD::from_shape_vec(shape, elements(value, f16::to_f32)?).map(Array::Float),
        TensorElementType::Bfloat16 => ArrayD::from_shape_vec(shape, elements(value, bf16::to_f32)?).map(Array::Float),
        #[allow(clippy::cast_possible_truncation)]
        TensorElementType::Float64 => {
            ArrayD::from_shape_vec(shape, elements(value, |v: f64| v as f32)?).map(Array::Float)
        }
        TensorElementType::Int64 => ArrayD::from_shape_vec(shape, elements(value, |v: i64| v)?).map(Array::Int),
        other => return Err(RunError::Runtime(format!("output \"{name}\" has type {other}, which is not read"))),
    };
    array.map_err(|e| RunError::Runtime(format!("output \"{name}\": {e}")))
}

fn elements<T: PrimitiveTensorElementType + Copy, U>(
    value: &DynValue,
    convert: impl Fn(T) -> U,
) -> Result<Vec<U>, RunError> {
    let (_, data) = value.try_extract_tensor::<T>().map_err(failed)?;
    Ok(data.iter().map(|&v| convert(v)).collect())
}

/// Dimensions of a tensor that exists: none is negative.
pub(crate) fn sizes(shape: &[i64]) -> Vec<usize> {
    shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect()
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "a test that is skipped says so")]
mod tests {
    use assay_graph::{Canonical, Limits, Loss, gradient};

    use super::*;
    use crate::{Library, probe};

    const FASHION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/models/fashion-robust/1/model.onnx");

    /// Outputs of one run.
    fn outputs_of(session: &mut Session, batch: usize) -> Tensors {
        let x = probe::scattered(&"x".into(), &[batch, 1, 28, 28]).unwrap();
        let mut inputs = Tensors::new();
        for input in session.inputs() {
            let array = match input.dtype() {
                ValueType::Tensor { ty: TensorElementType::Int64, .. } => {
                    Array::Int(ArrayD::from_elem(IxDyn(&[batch]), 3))
                }
                _ => Array::Float(x.clone()),
            };
            inputs.insert(input.name().to_owned(), array);
        }
        run(session, &inputs).unwrap()
    }

    #[test]
    fn weights_that_are_lent_are_those_in_the_file() {
        let Ok(runtime) = OnnxRuntime::load(&Library::default()).inspect_err(|e| println!("skipped: {e}")) else {
            return;
        };
        let model = Model::load(Path::new(FASHION), &Limits::default()).unwrap();
        let shaped = probe::shapes(&runtime, Canonical::new(model).unwrap(), None).unwrap();
        let derived = gradient(&shaped, Loss::CrossEntropy).unwrap().model;
        let settings = SessionSettings { optimized: true, ..SessionSettings::plain() };
        for model in [shaped.model(), &derived] {
            let mut inside = open(&runtime, Source::Bytes(&model.to_bytes()), &settings).unwrap();
            let expected = outputs_of(&mut inside, 3);
            // Fewer bytes than any of its weights has.
            let mut lent = lend(SessionBuilder::new(runtime.environment()).unwrap(), model, 64).unwrap();
            assert_eq!(outputs_of(&mut lent, 3).keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
            for (name, found) in outputs_of(&mut lent, 3) {
                let (Array::Float(found), Array::Float(expected)) = (found, &expected[&name]) else { continue };
                let scale = expected.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
                let difference = found.iter().zip(expected).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(difference <= 1e-5 * scale, "{name}: {difference} of {scale}");
            }
        }
    }

    #[test]
    fn a_model_keeps_its_weights_while_a_session_reads_them() {
        let Ok(runtime) = OnnxRuntime::load(&Library::default()).inspect_err(|e| println!("skipped: {e}")) else {
            return;
        };
        let model = Model::load(Path::new(FASHION), &Limits::default()).unwrap();
        let mut session = open(&runtime, Source::Model(&model), &SessionSettings::plain()).unwrap();
        let before = outputs_of(&mut session, 2);
        drop(model);
        assert_eq!(outputs_of(&mut session, 2), before);
    }
}
