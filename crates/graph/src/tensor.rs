//! Constant tensors of a model: element type, shape and content.

// Sizes in a file are hostile until checked: no conversion may lose anything.
#![deny(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

use std::sync::Arc;

use bytes::Bytes;

use crate::proto::Rest;

/// Element type of a tensor, with ONNX's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum DataType {
    Float,
    Uint8,
    Int8,
    Uint16,
    Int16,
    Int32,
    Int64,
    String,
    Bool,
    Float16,
    Double,
    Uint32,
    Uint64,
    BFloat16,
    /// A type that assay carries along without reading: its ONNX number.
    Other(i32),
}

impl DataType {
    /// Whether values of this type can have derivatives.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float | Self::Double | Self::Float16 | Self::BFloat16)
    }

    /// Bytes per element; `None` for strings and types that are not read.
    #[must_use]
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Uint8 | Self::Int8 | Self::Bool => Some(1),
            Self::Uint16 | Self::Int16 | Self::Float16 | Self::BFloat16 => Some(2),
            Self::Float | Self::Int32 | Self::Uint32 => Some(4),
            Self::Double | Self::Int64 | Self::Uint64 => Some(8),
            Self::String | Self::Other(_) => None,
        }
    }

    /// Its number in ONNX's `TensorProto.DataType`.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Float => 1,
            Self::Uint8 => 2,
            Self::Int8 => 3,
            Self::Uint16 => 4,
            Self::Int16 => 5,
            Self::Int32 => 6,
            Self::Int64 => 7,
            Self::String => 8,
            Self::Bool => 9,
            Self::Float16 => 10,
            Self::Double => 11,
            Self::Uint32 => 12,
            Self::Uint64 => 13,
            Self::BFloat16 => 16,
            Self::Other(number) => number,
        }
    }

    /// The type with this ONNX number.
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Float,
            2 => Self::Uint8,
            3 => Self::Int8,
            4 => Self::Uint16,
            5 => Self::Int16,
            6 => Self::Int32,
            7 => Self::Int64,
            8 => Self::String,
            9 => Self::Bool,
            10 => Self::Float16,
            11 => Self::Double,
            12 => Self::Uint32,
            13 => Self::Uint64,
            16 => Self::BFloat16,
            other => Self::Other(other),
        }
    }
}

/// A constant tensor. Its content is little-endian and row-major, and shared: cloning is cheap.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dtype: DataType,
    dims: Vec<usize>,
    data: Bytes,
    /// Elements of a tensor of strings.
    strings: Option<Arc<[Bytes]>>,
    /// Documentation and properties; the content too, if its type is not read.
    pub(crate) rest: Rest,
}

impl Tensor {
    /// A tensor from its bytes; `None` if their number is not `product(dims) * size`, or the type has no size.
    #[must_use]
    pub fn new(dtype: DataType, dims: Vec<usize>, data: Bytes) -> Option<Self> {
        let elements = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        (elements.checked_mul(dtype.size()?)? == data.len()).then(|| Self::raw(dtype, dims, data))
    }

    /// A tensor of strings; `None` if there are not `product(dims)` of them.
    #[must_use]
    pub fn text(dims: Vec<usize>, values: Vec<Bytes>) -> Option<Self> {
        let elements = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        let strings = (elements == values.len()).then(|| values.into())?;
        Some(Self { strings: Some(strings), ..Self::raw(DataType::String, dims, Bytes::new()) })
    }

    /// A tensor of a type that is not read: its content stays in `rest`.
    pub(crate) fn unread(dtype: DataType, dims: Vec<usize>, rest: Rest) -> Self {
        Self { rest, ..Self::raw(dtype, dims, Bytes::new()) }
    }

    fn raw(dtype: DataType, dims: Vec<usize>, data: Bytes) -> Self {
        Self { dtype, dims, data, strings: None, rest: Rest::default() }
    }

    /// An f32 tensor of `product(dims)` values.
    ///
    /// # Panics
    /// If there are more or fewer: a defect of the caller, never of a file.
    #[must_use]
    pub fn floats(dims: &[usize], values: &[f32]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), values.len(), "elements of a tensor");
        Self::raw(DataType::Float, dims.to_vec(), little_endian(values, |v| v.to_le_bytes()))
    }

    /// A vector of i64, as ONNX wants shapes and axes.
    #[must_use]
    pub fn ints(values: &[i64]) -> Self {
        Self::raw(DataType::Int64, vec![values.len()], little_endian(values, |v| v.to_le_bytes()))
    }

    /// A scalar of a floating-point type, rounded to it.
    ///
    /// # Panics
    /// If `dtype` is not a floating-point type: a defect of the caller.
    #[must_use]
    pub fn scalar(dtype: DataType, value: f64) -> Self {
        Self::rounded(dtype, &[], &[value])
    }

    /// A tensor of `product(dims)` values, rounded to a floating-point type.
    ///
    /// # Panics
    /// If `dtype` is not a floating-point type, or the number of values is another: a defect of the caller.
    #[must_use]
    pub fn rounded(dtype: DataType, dims: &[usize], values: &[f64]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), values.len(), "elements of a tensor");
        #[allow(clippy::cast_possible_truncation)]
        let data = match dtype {
            DataType::Float => little_endian(values, |&v| (v as f32).to_le_bytes()),
            DataType::Double => little_endian(values, |v| v.to_le_bytes()),
            DataType::Float16 => little_endian(values, |&v| half::f16::from_f64(v).to_le_bytes()),
            DataType::BFloat16 => little_endian(values, |&v| half::bf16::from_f64(v).to_le_bytes()),
            other => unreachable!("a number of type {other:?}"),
        };
        Self::raw(dtype, dims.to_vec(), data)
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    /// Shape; empty for a scalar.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Little-endian, row-major content; empty for strings and types that are not read.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.data
    }

    /// Elements of a tensor of strings.
    #[must_use]
    pub fn strings(&self) -> Option<&[Bytes]> {
        self.strings.as_deref()
    }

    /// The same content in another shape; `None` if the number of elements differs.
    #[must_use]
    pub fn reshaped(&self, dims: Vec<usize>) -> Option<Self> {
        Self::new(self.dtype, dims, self.data.clone())
    }

    /// Content as f64, whatever the number type; `None` for strings and types that are not read.
    #[must_use]
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        Some(match self.dtype {
            DataType::Float => self.elements().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
            DataType::Double => self.elements().map(|&b| f64::from_le_bytes(b)).collect(),
            DataType::Float16 => self.elements().map(|&b| half::f16::from_le_bytes(b).to_f64()).collect(),
            DataType::BFloat16 => self.elements().map(|&b| half::bf16::from_le_bytes(b).to_f64()).collect(),
            #[allow(clippy::cast_precision_loss)]
            _ => self.to_i64()?.into_iter().map(|v| v as f64).collect(),
        })
    }

    /// Content as i64, for integers and booleans; `None` for other types and for u64 beyond i64.
    #[must_use]
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        Some(match self.dtype {
            DataType::Int64 => self.elements().map(|&b| i64::from_le_bytes(b)).collect(),
            DataType::Int32 => self.elements().map(|&b| i64::from(i32::from_le_bytes(b))).collect(),
            DataType::Int16 => self.elements().map(|&b| i64::from(i16::from_le_bytes(b))).collect(),
            DataType::Int8 => self.elements().map(|&b| i64::from(i8::from_le_bytes(b))).collect(),
            DataType::Uint32 => self.elements().map(|&b| i64::from(u32::from_le_bytes(b))).collect(),
            DataType::Uint16 => self.elements().map(|&b| i64::from(u16::from_le_bytes(b))).collect(),
            DataType::Uint8 | DataType::Bool => self.elements().map(|&[b]| i64::from(b)).collect(),
            DataType::Uint64 => {
                self.elements().map(|&b| i64::try_from(u64::from_le_bytes(b)).ok()).collect::<Option<_>>()?
            }
            _ => return None,
        })
    }

    /// The bytes of each element, of which a type of this tensor has `N`.
    fn elements<const N: usize>(&self) -> impl ExactSizeIterator<Item = &[u8; N]> {
        self.data.as_chunks().0.iter()
    }
}

/// The bytes of `values`, one after the other. Weights have tens of millions of them, and are written anew for each step of adversarial training.
fn little_endian<T, const N: usize>(values: &[T], bytes: impl Fn(&T) -> [u8; N]) -> Bytes {
    let mut data = vec![0; N * values.len()];
    for (slot, value) in data.as_chunks_mut().0.iter_mut().zip(values) {
        *slot = bytes(value);
    }
    data.into()
}
