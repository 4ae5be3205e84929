//! Tensors of the Open Inference Protocol: their data types, and their elements, raw or in the field of their type.

use std::fmt;

use half::{bf16, f16};

use crate::inference::InferTensorContents;

/// What the elements of a tensor are: the types that images, logits and classes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the protocol")]
pub enum Datatype {
    Fp32,
    Fp64,
    /// Has no field in `contents`: it is always raw.
    Fp16,
    /// Has no field in `contents`: it is always raw.
    Bf16,
    Uint8,
    Int8,
    Int32,
    Int64,
}

/// Where a message keeps the elements of a tensor. With neither there are none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Content<'m> {
    /// Its entry of `raw_input_contents` or `raw_output_contents`, which goes before `typed`.
    pub raw: Option<&'m [u8]>,
    /// Its `contents`.
    pub typed: Option<&'m InferTensorContents>,
}

/// Elements that are not those of the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// There are more or fewer.
    #[error("has {found} elements in {place}; expected {expected}")]
    Count {
        /// Elements that are there: whole ones.
        found: usize,
        /// Elements that its shape has.
        expected: usize,
        /// Where they were looked for.
        place: Place,
    },
    /// `contents` has no field for the type.
    #[error("is {0}, which has no field in `contents`; send it raw")]
    NoField(Datatype),
    /// A number is none of the type.
    #[error("has the element {value} at {at}, which is no {datatype}")]
    Range {
        /// Its place, counted from 0.
        at: usize,
        /// What is there.
        value: i64,
        /// The type.
        datatype: Datatype,
    },
}

/// Where elements were looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In so many raw bytes.
    Raw(usize),
    /// In this field of `contents`.
    Field(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw(bytes) => write!(f, "{bytes} bytes"),
            Self::Field(name) => write!(f, "`contents.{name}`"),
        }
    }
}

impl Datatype {
    /// Every type.
    pub const ALL: [Self; 8] =
        [Self::Fp32, Self::Fp64, Self::Fp16, Self::Bf16, Self::Uint8, Self::Int8, Self::Int32, Self::Int64];

    /// The type of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|datatype| datatype.name() == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Uint8 => "UINT8",
            Self::Int8 => "INT8",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
        }
    }

    /// Bytes of a raw element.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::Fp64 | Self::Int64 => 8,
            Self::Fp32 | Self::Int32 => 4,
            Self::Fp16 | Self::Bf16 => 2,
            Self::Uint8 | Self::Int8 => 1,
        }
    }

    /// Numbers as raw elements, little-endian: rounded to the nearest, of two the even one, and to the ends of an integer type. NaN is 0 of an integer type.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, as promised")]
    pub fn encode(self, numbers: impl Iterator<Item = f32>) -> Vec<u8> {
        match self {
            Self::Fp32 => numbers.flat_map(f32::to_le_bytes).collect(),
            Self::Fp64 => numbers.flat_map(|number| f64::from(number).to_le_bytes()).collect(),
            Self::Fp16 => numbers.flat_map(|number| f16::from_f32(number).to_le_bytes()).collect(),
            Self::Bf16 => numbers.flat_map(|number| bf16::from_f32(number).to_le_bytes()).collect(),
            Self::Uint8 => numbers.map(|number| number.round_ties_even() as u8).collect(),
            Self::Int8 => numbers.flat_map(|number| (number.round_ties_even() as i8).to_le_bytes()).collect(),
            Self::Int32 => numbers.flat_map(|number| (number.round_ties_even() as i32).to_le_bytes()).collect(),
            Self::Int64 => numbers.flat_map(|number| (number.round_ties_even() as i64).to_le_bytes()).collect(),
        }
    }

    /// The `count` elements as numbers: exact but for FP64, which is rounded, and INT32 and INT64 beyond 2²⁴. Nothing is allocated before they were counted.
    ///
    /// # Errors
    /// There is another number of elements, or `contents` cannot hold them.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "rounded, as promised")]
    pub fn numbers(self, content: Content<'_>, count: usize) -> Result<Vec<f32>, TensorError> {
        match self.find(content, count)? {
            Found::Raw(bytes) => Ok(match self {
                // The buffer of a message may start at any address: it is copied at once where it is aligned.
                Self::Fp32 => match bytemuck::try_cast_slice::<u8, f32>(bytes) {
                    Ok(numbers) if cfg!(target_endian = "little") => numbers.to_vec(),
                    _ => each(bytes, f32::from_le_bytes),
                },
                Self::Fp64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
                Self::Fp16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
                Self::Bf16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
                Self::Uint8 => each(bytes, |[b]| f32::from(b)),
                Self::Int8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
                Self::Int32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
                Self::Int64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
            }),
            Found::Typed(Typed::Fp32(values)) => Ok(values.to_vec()),
            Found::Typed(Typed::Fp64(values)) => Ok(values.iter().map(|value| *value as f32).collect()),
            Found::Typed(integers) => Ok(integers.within(self)?.into_iter().map(|value| value as f32).collect()),
        }
    }

    /// The `count` elements as integers; those of the types of numbers are cut to integers. Nothing is allocated before they were counted.
    ///
    /// # Errors
    /// As [`Datatype::numbers`].
    #[allow(clippy::cast_possible_truncation, reason = "cut, as promised")]
    pub fn integers(self, content: Content<'_>, count: usize) -> Result<Vec<i64>, TensorError> {
        match (self, self.find(content, count)?) {
            (Self::Int64, Found::Raw(bytes)) => Ok(each(bytes, i64::from_le_bytes)),
            (Self::Int32, Found::Raw(bytes)) => Ok(each(bytes, |b| i64::from(i32::from_le_bytes(b)))),
            (Self::Int64 | Self::Int32, Found::Typed(integers)) => integers.within(self),
            _ => Ok(self.numbers(content, count)?.into_iter().map(|number| number as i64).collect()),
        }
    }

    /// The elements, counted.
    fn find(self, content: Content<'_>, count: usize) -> Result<Found<'_>, TensorError> {
        if let Some(bytes) = content.raw {
            return if count.checked_mul(self.size()) == Some(bytes.len()) {
                Ok(Found::Raw(bytes))
            } else {
                let found = bytes.len() / self.size();
                Err(TensorError::Count { found, expected: count, place: Place::Raw(bytes.len()) })
            };
        }
        let contents = content.typed;
        let (field, found) = match self {
            Self::Fp16 | Self::Bf16 => return Err(TensorError::NoField(self)),
            Self::Fp32 => ("fp32_contents", contents.map_or(Typed::Fp32(&[]), |c| Typed::Fp32(&c.fp32_contents))),
            Self::Fp64 => ("fp64_contents", contents.map_or(Typed::Fp64(&[]), |c| Typed::Fp64(&c.fp64_contents))),
            Self::Uint8 => ("uint_contents", contents.map_or(Typed::Uint32(&[]), |c| Typed::Uint32(&c.uint_contents))),
            Self::Int8 | Self::Int32 => {
                ("int_contents", contents.map_or(Typed::Int32(&[]), |c| Typed::Int32(&c.int_contents)))
            }
            Self::Int64 => ("int64_contents", contents.map_or(Typed::Int64(&[]), |c| Typed::Int64(&c.int64_contents))),
        };
        if found.len() == count {
            return Ok(Found::Typed(found));
        }
        Err(TensorError::Count { found: found.len(), expected: count, place: Place::Field(field) })
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Elements of the right number.
enum Found<'m> {
    Raw(&'m [u8]),
    Typed(Typed<'m>),
}

/// A field of `contents`.
#[derive(Clone, Copy)]
enum Typed<'m> {
    Fp32(&'m [f32]),
    Fp64(&'m [f64]),
    Int32(&'m [i32]),
    Uint32(&'m [u32]),
    Int64(&'m [i64]),
}

impl Typed<'_> {
    fn len(self) -> usize {
        match self {
            Self::Fp32(values) => values.len(),
            Self::Fp64(values) => values.len(),
            Self::Int32(values) => values.len(),
            Self::Uint32(values) => values.len(),
            Self::Int64(values) => values.len(),
        }
    }

    /// The integers, each one of `datatype`: several types share a field. Of a field of numbers there are none.
    fn within(self, datatype: Datatype) -> Result<Vec<i64>, TensorError> {
        let values: Vec<i64> = match self {
            Self::Int32(values) => values.iter().copied().map(i64::from).collect(),
            Self::Uint32(values) => values.iter().copied().map(i64::from).collect(),
            Self::Int64(values) => values.to_vec(),
            Self::Fp32(_) | Self::Fp64(_) => Vec::new(),
        };
        let range = match datatype {
            Datatype::Uint8 => 0..=255,
            Datatype::Int8 => -128..=127,
            _ => i64::MIN..=i64::MAX,
        };
        match values.iter().position(|value| !range.contains(value)) {
            Some(at) => Err(TensorError::Range { at, value: values[at], datatype }),
            None => Ok(values),
        }
    }
}

/// Each raw element.
fn each<T, const SIZE: usize>(bytes: &[u8], read: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|bytes| read(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(bytes: &[u8]) -> Content<'_> {
        Content { raw: Some(bytes), typed: None }
    }

    fn typed(contents: &InferTensorContents) -> Content<'_> {
        Content { raw: None, typed: Some(contents) }
    }

    #[test]
    fn what_is_encoded_is_read_again() {
        let numbers = [0.0_f32, 1.0, 127.0, 3.0];
        for datatype in Datatype::ALL {
            let bytes = datatype.encode(numbers.into_iter());
            assert_eq!(bytes.len(), 4 * datatype.size());
            assert_eq!(datatype.numbers(raw(&bytes), 4).unwrap(), numbers, "{datatype}");
            // A buffer that begins at an odd address.
            let moved = [&[7], &bytes[..]].concat();
            assert_eq!(datatype.numbers(raw(&moved[1..]), 4).unwrap(), numbers, "{datatype}");
            assert_eq!(datatype.integers(raw(&bytes), 4).unwrap(), [0, 1, 127, 3], "{datatype}");
            assert_eq!(Datatype::parse(datatype.name()), Some(datatype));
        }
        assert_eq!(Datatype::parse("fp32"), None);
    }

    #[test]
    fn numbers_are_rounded_to_their_type() {
        let bytes = |datatype: Datatype, number: f32| datatype.encode(std::iter::once(number));
        assert_eq!(bytes(Datatype::Fp32, 0.1), 0.1_f32.to_le_bytes());
        assert_eq!(bytes(Datatype::Fp16, 0.1), f16::from_f32(0.1).to_le_bytes());
        assert_eq!(bytes(Datatype::Bf16, 0.1), bf16::from_f32(0.1).to_le_bytes());
        assert_eq!([bytes(Datatype::Uint8, 254.5), bytes(Datatype::Uint8, 300.0)], [[254], [255]]);
        assert_eq!([bytes(Datatype::Int8, -129.0), bytes(Datatype::Int8, f32::NAN)], [[128], [0]]);
    }

    #[test]
    fn each_type_is_read_from_its_field() {
        let contents = InferTensorContents {
            fp32_contents: vec![0.5],
            fp64_contents: vec![1.5],
            int_contents: vec![-2],
            int64_contents: vec![1 << 40],
            uint_contents: vec![3],
            ..Default::default()
        };
        for (datatype, number) in
            [(Datatype::Fp32, 0.5), (Datatype::Fp64, 1.5), (Datatype::Int8, -2.0), (Datatype::Uint8, 3.0)]
        {
            assert_eq!(datatype.numbers(typed(&contents), 1).unwrap(), [number], "{datatype}");
        }
        for (datatype, number) in [(Datatype::Int32, -2), (Datatype::Int64, 1 << 40)] {
            assert_eq!(datatype.integers(typed(&contents), 1).unwrap(), [number], "{datatype}");
        }
    }

    #[test]
    fn what_is_missing_or_none_of_the_type_is_said() {
        let contents = InferTensorContents { uint_contents: vec![0, 256], ..Default::default() };
        for (datatype, content, says) in [
            (Datatype::Fp32, raw(&[0; 7]), "has 1 elements in 7 bytes; expected 2"),
            (Datatype::Fp32, raw(&[]), "has 0 elements in 0 bytes; expected 2"),
            (Datatype::Fp32, typed(&contents), "has 0 elements in `contents.fp32_contents`; expected 2"),
            (Datatype::Int64, Content::default(), "has 0 elements in `contents.int64_contents`; expected 2"),
            (Datatype::Uint8, typed(&contents), "has the element 256 at 1, which is no UINT8"),
            (Datatype::Fp16, typed(&contents), "is FP16, which has no field in `contents`; send it raw"),
            (Datatype::Bf16, Content::default(), "is BF16, which has no field in `contents`; send it raw"),
        ] {
            assert_eq!(datatype.numbers(content, 2).unwrap_err().to_string(), says);
            assert_eq!(datatype.integers(content, 2).unwrap_err().to_string(), says);
        }
        assert!(Datatype::Fp64.numbers(raw(&[0; 8]), usize::MAX).is_err(), "more than can be counted");
    }
}
