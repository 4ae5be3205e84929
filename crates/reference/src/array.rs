//! Arrays of the interpreter: every number as f64, i64 or bool, with the element type that the graph gives it.

use assay_graph::{DataType, Tensor};
use ndarray::{ArrayD, IxDyn};

/// An n-dimensional array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Element type in the graph. It does not round: f16, f32 and f64 are all computed in f64.
    pub dtype: DataType,
    /// Content.
    pub data: Data,
}

/// Content of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Any floating-point type.
    Float(ArrayD<f64>),
    /// Any integer type.
    Int(ArrayD<i64>),
    /// Booleans.
    Bool(ArrayD<bool>),
}

/// Applies one generic expression to whichever content there is.
macro_rules! each {
    ($data:expr, $array:ident => $body:expr) => {
        match $data {
            $crate::array::Data::Float($array) => $crate::array::Data::Float($body),
            $crate::array::Data::Int($array) => $crate::array::Data::Int($body),
            $crate::array::Data::Bool($array) => $crate::array::Data::Bool($body),
        }
    };
}
pub(crate) use each;

impl Array {
    /// f32 in the graph.
    ///
    /// # Panics
    /// If `values` has not `product(dims)` elements.
    #[must_use]
    pub fn floats(dims: &[usize], values: Vec<f64>) -> Self {
        Self::of(DataType::Float, Data::Float(shaped(dims, values)))
    }

    /// i64 in the graph.
    ///
    /// # Panics
    /// As [`Array::floats`].
    #[must_use]
    pub fn ints(dims: &[usize], values: Vec<i64>) -> Self {
        Self::of(DataType::Int64, Data::Int(shaped(dims, values)))
    }

    /// Booleans.
    ///
    /// # Panics
    /// As [`Array::floats`].
    #[must_use]
    pub fn bools(dims: &[usize], values: Vec<bool>) -> Self {
        Self::of(DataType::Bool, Data::Bool(shaped(dims, values)))
    }

    /// Content with the element type it has in the graph.
    ///
    /// # Panics
    /// If they do not fit.
    #[must_use]
    pub fn of(dtype: DataType, data: Data) -> Self {
        let fits = match data {
            Data::Float(_) => dtype.is_float(),
            Data::Bool(_) => dtype == DataType::Bool,
            Data::Int(_) => !dtype.is_float() && dtype != DataType::Bool,
        };
        assert!(fits, "content {data:?} of type {dtype:?}");
        Self { dtype, data }
    }

    /// Shape.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        match &self.data {
            Data::Float(a) => a.shape(),
            Data::Int(a) => a.shape(),
            Data::Bool(a) => a.shape(),
        }
    }

    /// The numbers of a floating-point array.
    ///
    /// # Panics
    /// If it is not one.
    #[must_use]
    #[track_caller]
    pub fn f64(&self) -> &ArrayD<f64> {
        match &self.data {
            Data::Float(a) => a,
            other => panic!("expected floating-point numbers, found {other:?}"),
        }
    }

    /// The numbers of an integer array, in row-major order.
    ///
    /// # Panics
    /// If it is not one.
    #[must_use]
    #[track_caller]
    pub fn i64s(&self) -> Vec<i64> {
        match &self.data {
            Data::Int(a) => a.iter().copied().collect(),
            other => panic!("expected integers, found {other:?}"),
        }
    }

    /// The same content in row-major order as a tensor of the element type, rounded to it.
    ///
    /// # Panics
    /// If the element type is neither f32, f64, bool nor a signed integer or u8 or u16.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn to_tensor(&self) -> Tensor {
        let bytes: Vec<u8> = match (&self.data, self.dtype) {
            (Data::Float(a), DataType::Float) => a.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect(),
            (Data::Float(a), DataType::Double) => a.iter().flat_map(|v| v.to_le_bytes()).collect(),
            (Data::Int(a), DataType::Int64) => a.iter().flat_map(|v| v.to_le_bytes()).collect(),
            (Data::Int(a), DataType::Int32) => a.iter().flat_map(|&v| (v as i32).to_le_bytes()).collect(),
            (Data::Int(a), DataType::Uint8) => a.iter().map(|&v| v as u8).collect(),
            (Data::Int(a), DataType::Int8) => a.iter().flat_map(|&v| (v as i8).to_le_bytes()).collect(),
            (Data::Int(a), DataType::Uint16) => a.iter().flat_map(|&v| (v as u16).to_le_bytes()).collect(),
            (Data::Int(a), DataType::Int16) => a.iter().flat_map(|&v| (v as i16).to_le_bytes()).collect(),
            (Data::Bool(a), _) => a.iter().map(|&v| u8::from(v)).collect(),
            (_, dtype) => panic!("a tensor of type {dtype:?}"),
        };
        let Some(tensor) = Tensor::new(self.dtype, self.dims().to_vec(), bytes.into()) else {
            unreachable!("a byte for every element")
        };
        tensor
    }

    /// A tensor of a graph; `None` for strings and types that are not read.
    #[must_use]
    pub fn from_tensor(tensor: &Tensor) -> Option<Self> {
        let dims = tensor.dims();
        let data = match tensor.dtype() {
            DataType::Bool => Data::Bool(shaped(dims, tensor.to_i64()?.into_iter().map(|v| v != 0).collect())),
            dtype if dtype.is_float() => Data::Float(shaped(dims, tensor.to_f64()?)),
            _ => Data::Int(shaped(dims, tensor.to_i64()?)),
        };
        Some(Self::of(tensor.dtype(), data))
    }
}

/// `values` in the shape `dims`.
fn shaped<T>(dims: &[usize], values: Vec<T>) -> ArrayD<T> {
    let count = values.len();
    ArrayD::from_shape_vec(IxDyn(dims), values)
        .unwrap_or_else(|_| panic!("{count} values do not fill an array of shape {dims:?}"))
}
