//! Shapes of all values of a model, seen rather than derived: the model is run with two batch sizes.

use std::collections::HashMap;

use assay_graph::{
    Canonical, DataType, Dimension, Model, Probe, Probed, ShapeError, Shaped, Shapes, Tensor, Value, ValueInfo,
};
use ndarray::ArrayD;
use ort::value::{DynValue, PrimitiveTensorElementType, TensorElementType, ValueType};

use crate::native::Session;
use crate::session::{self, Array, SessionError, SessionSettings, Source, Tensors};
use crate::{OnnxRuntime, RunError};

/// The batch sizes of the two runs. Neither is 1, which broadcasts, and no dimension `k * n` is the same for both.
const BATCHES: [usize; 2] = [2, 3];

/// Most numbers of a batch that a model is looked at with: a file may state any size.
const MOST_ELEMENTS: usize = 1 << 28;

/// A model whose shapes could not be found out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The file leaves the shape of an input open.
    #[error("input \"{input}\" has the shape {declared}: say which shape one sample has, with `sample_shape`")]
    Open {
        /// The input.
        input: String,
        /// What the file says.
        declared: String,
    },
    /// The shape that was given is not the model's.
    #[error("input \"{input}\" has the shape {declared}: samples of shape {given:?} do not fit")]
    Unfit {
        /// The input.
        input: String,
        /// What the file says.
        declared: String,
        /// What was given.
        given: Vec<usize>,
    },
    /// A batch of the stated shape would fill the memory.
    #[error(
        "input \"{input}\": a batch of shape {shape:?} has more than {MOST_ELEMENTS} numbers, the most that a model is tried with"
    )]
    TooLarge {
        /// The input.
        input: String,
        /// Shape of the batch.
        shape: Vec<usize>,
    },
    /// An input is not a tensor of floating-point numbers.
    #[error("input \"{input}\" has the type {dtype:?}: a classifier's input holds floating-point numbers")]
    Type {
        /// The input.
        input: String,
        /// Its type.
        dtype: Option<DataType>,
    },
    /// ONNX Runtime refused the model.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The model failed with a batch.
    #[error("the model does not run with a batch of {batch} samples in [0, 1]: {cause}")]
    Run {
        /// Size of the batch.
        batch: usize,
        /// Why.
        cause: RunError,
    },
    /// The two runs do not show one shape for every batch size.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

/// Runs `model` with two batch sizes to learn the shapes of all its values; with one, if the model fixes it.
///
/// `sample_shape` is the shape of one sample, for inputs whose file leaves dimensions other than the batch open.
///
/// # Errors
/// An input's shape stays open or is contradicted, the model does not run, or its shapes depend on the batch size in
/// another way than by a factor.
pub fn shapes(runtime: &OnnxRuntime, model: Canonical, sample_shape: Option<&[usize]>) -> Result<Shaped, ProbeError> {
    let probe = model.probe();
    let mut session = session::open(runtime, Source::Model(&probe), &SessionSettings::plain())?;
    if let Some(batch) = model.fixed_batch() {
        let seen = observe(&mut session, &probe, batch, sample_shape)?;
        return Ok(Shaped::new(model, Shapes::fixed(&seen))?);
    }
    let [a, b] = BATCHES.map(|batch| observe(&mut session, &probe, batch, sample_shape));
    Ok(Shaped::new(model, Shapes::infer(&a?, &b?)?)?)
}

/// What one run shows.
fn observe(
    session: &mut Session,
    model: &Model,
    batch: usize,
    sample_shape: Option<&[usize]>,
) -> Result<Probe, ProbeError> {
    let mut inputs = Tensors::new();
    let mut values = HashMap::new();
    for input in &model.graph.inputs {
        let dtype = input
            .dtype
            .filter(|dtype| dtype.is_float())
            .ok_or_else(|| ProbeError::Type { input: input.value.to_string(), dtype: input.dtype })?;
        let mut dims = vec![batch];
        dims.extend(sample_dims(input, sample_shape)?);
        inputs.insert(input.value.to_string(), Array::Float(scattered(&input.value, &dims)?));
        values.insert(input.value.clone(), Probed { dtype, dims, content: None });
    }
    let outputs = session::outputs(session, &inputs).map_err(|cause| ProbeError::Run { batch, cause })?;
    for (name, value) in &outputs {
        if let Some(probed) = probed(&value) {
            values.insert(Value::new(name), probed);
        }
    }
    Ok(Probe { batch, values })
}

/// Shape of one sample of `input`.
fn sample_dims(input: &ValueInfo, given: Option<&[usize]>) -> Result<Vec<usize>, ProbeError> {
    let open = || ProbeError::Open { input: input.value.to_string(), declared: declared(input) };
    let unfit = |given: &[usize]| ProbeError::Unfit {
        input: input.value.to_string(),
        declared: declared(input),
        given: given.to_vec(),
    };
    let Some(shape) = &input.shape else { return given.map(<[usize]>::to_vec).ok_or_else(open) };
    let stated: Vec<Option<usize>> =
        shape.iter().skip(1).map(|d| if let Dimension::Known(size) = d { Some(*size) } else { None }).collect();
    match given {
        None => stated.into_iter().collect::<Option<_>>().ok_or_else(open),
        Some(given) => {
            let fits = given.len() == stated.len() && stated.iter().zip(given).all(|(s, g)| s.is_none_or(|s| s == *g));
            if fits { Ok(given.to_vec()) } else { Err(unfit(given)) }
        }
    }
}

/// A declared shape, for people: `[batch, 3, ?, ?]`.
fn declared(input: &ValueInfo) -> String {
    let Some(shape) = &input.shape else { return "?".into() };
    let dims = shape.iter().map(|d| match d {
        Dimension::Known(size) => size.to_string(),
        Dimension::Symbol(name) => name.clone(),
        Dimension::Unknown => "?".into(),
    });
    format!("[{}]", dims.collect::<Vec<_>>().join(", "))
}

/// A batch of shape `dims` for looking at a model through its `input`: numbers in `[0, 1]`, which is inside the range of every image model, scattered so that
/// no two neighbours are alike, and the same on every call.
///
/// # Errors
/// It would be too large.
pub(crate) fn scattered(input: &Value, dims: &[usize]) -> Result<ArrayD<f32>, ProbeError> {
    // As ndarray counts: a dimension of size 0 does not make the others free.
    let elements = dims.iter().filter(|&&d| d != 0).try_fold(1_usize, |product, &d| product.checked_mul(d));
    if elements.is_none_or(|elements| elements > MOST_ELEMENTS) {
        return Err(ProbeError::TooLarge { input: input.to_string(), shape: dims.to_vec() });
    }
    let mut state = 0_u32;
    Ok(ArrayD::from_shape_simple_fn(dims, || {
        // Multiples of the golden ratio, modulo 1.
        state = state.wrapping_add(0x9e37_79b9);
        f32::from((state >> 16) as u16) / f32::from(u16::MAX)
    }))
}

/// What is seen of one value; `None` if it is not a tensor or of a type that is not read.
fn probed(value: &DynValue) -> Option<Probed> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else { return None };
    let dims = session::sizes(shape);
    let small = dims.iter().product::<usize>() <= Probe::MAX_CONTENT;
    let read = |bytes: Option<Vec<u8>>, dtype| bytes.and_then(|b| Tensor::new(dtype, dims.clone(), b.into()));
    let (dtype, content) = match ty {
        TensorElementType::Float32 => (DataType::Float, little_endian(value, small, f32::to_le_bytes)),
        TensorElementType::Float64 => (DataType::Double, little_endian(value, small, f64::to_le_bytes)),
        TensorElementType::Float16 => (DataType::Float16, little_endian(value, small, half::f16::to_le_bytes)),
        TensorElementType::Bfloat16 => (DataType::BFloat16, little_endian(value, small, half::bf16::to_le_bytes)),
        TensorElementType::String => (DataType::String, None),
        TensorElementType::Int64 => (DataType::Int64, little_endian(value, small, i64::to_le_bytes)),
        TensorElementType::Int32 => (DataType::Int32, little_endian(value, small, i32::to_le_bytes)),
        TensorElementType::Int16 => (DataType::Int16, little_endian(value, small, i16::to_le_bytes)),
        TensorElementType::Int8 => (DataType::Int8, little_endian(value, small, i8::to_le_bytes)),
        TensorElementType::Uint64 => (DataType::Uint64, little_endian(value, small, u64::to_le_bytes)),
        TensorElementType::Uint32 => (DataType::Uint32, little_endian(value, small, u32::to_le_bytes)),
        TensorElementType::Uint16 => (DataType::Uint16, little_endian(value, small, u16::to_le_bytes)),
        TensorElementType::Uint8 => (DataType::Uint8, little_endian(value, small, u8::to_le_bytes)),
        TensorElementType::Bool => (DataType::Bool, little_endian(value, small, |b: bool| [u8::from(b)])),
        _ => return None,
    };
    let content = read(content, dtype);
    Some(Probed { dtype, dims, content })
}

fn little_endian<T: PrimitiveTensorElementType + Copy, const N: usize>(
    value: &DynValue,
    small: bool,
    bytes: impl Fn(T) -> [u8; N],
) -> Option<Vec<u8>> {
    let (_, data) = value.try_extract_tensor::<T>().ok().filter(|_| small)?;
    Some(data.iter().flat_map(|&v| bytes(v)).collect())
}
