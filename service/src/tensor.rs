//! Tensors of the wire to batches, and back.

use std::fmt;

use assay_proto::v1::{DataType, Tensor};
use bytes::Bytes;
use ndarray::{Array2, ArrayView2};

use crate::status::CallError;

/// What a batch must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    /// Shape of one sample.
    pub(crate) sample_shape: &'a [usize],
    /// Range of valid values.
    pub(crate) range: [f32; 2],
    /// Most samples.
    pub(crate) max_batch: usize,
    /// Configuration key of `max_batch`.
    pub(crate) limit: &'static str,
}

/// The batch `[n, features]` of the tensor in `field`.
///
/// Shape, type and length are checked before anything is allocated.
pub(crate) fn decode(field: &str, tensor: Option<&Tensor>, expected: Expected<'_>) -> Result<Array2<f32>, CallError> {
    let tensor = tensor.ok_or_else(|| CallError::field(field, "missing; a batch is required"))?;
    let features: usize = expected.sample_shape.iter().product();
    let n = batch_size(field, &tensor.shape, expected)?;
    let datatype = tensor.datatype();
    let size = match datatype {
        DataType::Fp32 => size_of::<f32>(),
        DataType::Uint8 => 1,
        DataType::Unspecified => {
            return Err(CallError::field(
                format!("{field}.datatype"),
                format!("expected DATA_TYPE_FP32 or DATA_TYPE_UINT8, got {}", tensor.datatype),
            ));
        }
    };
    check_length(field, tensor, n.checked_mul(features).and_then(|elements| elements.checked_mul(size)))?;
    let values = match datatype {
        DataType::Uint8 => tensor.data.iter().map(|&level| grey(f32::from(level), expected.range)).collect(),
        _ => floats(&tensor.data),
    };
    check_values(&format_args!("{field}.data"), &values, features, expected.range)?;
    Array2::from_shape_vec((n, features), values).map_err(|e| CallError::Internal(e.to_string()))
}

/// The finite FP32 tensor of shape `[rows, columns]` in `field`. What its dimensions are is `meaning`: "[n, classes]".
///
/// Shape, type and length are checked before anything is allocated.
pub(crate) fn decode_floats(
    field: &str,
    tensor: &Tensor,
    (rows, columns): (usize, usize),
    meaning: &str,
) -> Result<Array2<f32>, CallError> {
    if tensor.shape != [rows as u64, columns as u64] {
        let problem = format!("expected {meaning}, here [{rows}, {columns}], got {:?}", tensor.shape);
        return Err(CallError::field(format!("{field}.shape"), problem));
    }
    if tensor.datatype() != DataType::Fp32 {
        let problem = format!("expected DATA_TYPE_FP32, got {}", tensor.datatype);
        return Err(CallError::field(format!("{field}.datatype"), problem));
    }
    check_length(field, tensor, rows.checked_mul(columns).and_then(|n| n.checked_mul(size_of::<f32>())))?;
    let values = floats(&tensor.data);
    check_values(&format_args!("{field}.data"), &values, columns, [f32::MIN, f32::MAX])?;
    Array2::from_shape_vec((rows, columns), values).map_err(|e| CallError::Internal(e.to_string()))
}

/// A `[rows, columns]` batch as a tensor of shape `[rows, shape...]`.
pub(crate) fn encode(batch: &ArrayView2<'_, f32>, shape: &[usize]) -> Tensor {
    let mut data = Vec::with_capacity(size_of::<f32>() * batch.len());
    data.extend(batch.iter().flat_map(|value| value.to_le_bytes()));
    let shape = std::iter::once(batch.nrows()).chain(shape.iter().copied()).map(|size| size as u64).collect();
    Tensor { shape, datatype: DataType::Fp32.into(), data: Bytes::from(data) }
}

/// The grey level of a byte, 0 to 255, as a number in a range.
pub(crate) fn grey(level: f32, [low, high]: [f32; 2]) -> f32 {
    (low + (high - low) * level / 255.0).clamp(low, high)
}

/// Samples of the batch whose shape is in `field`.
pub(crate) fn batch_size<T>(field: &str, shape: &[T], expected: Expected<'_>) -> Result<usize, CallError>
where
    T: Copy + fmt::Debug,
    u64: TryFrom<T>,
{
    let wrong = || {
        let sample: String = expected.sample_shape.iter().map(|size| format!(", {size}")).collect();
        CallError::field(format!("{field}.shape"), format!("expected [n{sample}] with n >= 1, got {shape:?}"))
    };
    let sizes: Option<Vec<u64>> = shape.iter().map(|&size| u64::try_from(size).ok()).collect();
    let sizes = sizes.ok_or_else(wrong)?;
    let (&n, sample) = sizes.split_first().ok_or_else(wrong)?;
    if n == 0 || !sample.iter().copied().eq(expected.sample_shape.iter().map(|&size| size as u64)) {
        return Err(wrong());
    }
    match usize::try_from(n) {
        Ok(n) if n <= expected.max_batch => Ok(n),
        _ => Err(CallError::Limit {
            what: format!("{field}.shape: batch"),
            asked: n,
            limit: expected.max_batch as u64,
            key: expected.limit,
            remedy: "send smaller batches",
        }),
    }
}

/// Whether `tensor` has so many bytes; `None`: more than can be counted.
fn check_length(field: &str, tensor: &Tensor, bytes: Option<usize>) -> Result<(), CallError> {
    if bytes == Some(tensor.data.len()) {
        return Ok(());
    }
    Err(CallError::field(
        format!("{field}.data"),
        format!(
            "expected {} bytes for shape {:?} of {}, got {}",
            bytes.map_or_else(|| "more than any".to_owned(), |bytes| bytes.to_string()),
            tensor.shape,
            tensor.datatype().as_str_name(),
            tensor.data.len()
        ),
    ))
}

/// The bytes as floats; the buffer of a message may start at any address, so they are copied where it is not aligned.
fn floats(data: &[u8]) -> Vec<f32> {
    match bytemuck::try_cast_slice::<u8, f32>(data) {
        Ok(values) if cfg!(target_endian = "little") => values.to_vec(),
        _ => data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
    }
}

/// Whether all values are in a range; that of all finite floats is not shown. `place` is where they are.
pub(crate) fn check_values(
    place: &dyn fmt::Display,
    values: &[f32],
    features: usize,
    [low, high]: [f32; 2],
) -> Result<(), CallError> {
    // NaN is in no range, so one comparison finds everything.
    let Some(at) = values.iter().position(|value| !(low..=high).contains(value)) else { return Ok(()) };
    let (value, sample, element) = (values[at], at / features, at % features);
    let found = format!("sample {sample}, element {element} is {value}");
    let expected = match [low, high] {
        [f32::MIN, f32::MAX] => "expected finite values".to_owned(),
        _ if value.is_finite() => format!("the model takes values in [{low}, {high}]"),
        _ => format!("expected finite values in [{low}, {high}]"),
    };
    Err(CallError::field(place.to_string(), format!("{found}; {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Expected<'static> =
        Expected { sample_shape: &[2], range: [0.0, 1.0], max_batch: 3, limit: "limits.max_batch" };

    fn tensor(shape: &[u64], datatype: DataType, data: impl Into<Vec<u8>>) -> Tensor {
        Tensor { shape: shape.to_vec(), datatype: datatype.into(), data: data.into().into() }
    }

    fn fp32(shape: &[u64], values: &[f32]) -> Tensor {
        tensor(shape, DataType::Fp32, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
    }

    #[track_caller]
    fn refused(tensor: &Tensor, message: &str) {
        assert_eq!(decode("input", Some(tensor), PAIR).unwrap_err().to_string(), message);
    }

    #[test]
    fn floats_come_back_as_they_were_sent() {
        let batch = ndarray::array![[0.25, 1.0], [0.5, 0.0]];
        let sent = encode(&batch.view(), &[2]);
        assert_eq!(sent.shape, [2, 2]);
        assert_eq!(decode("input", Some(&sent), PAIR).unwrap(), batch);
    }

    #[test]
    fn floats_may_start_at_any_address() {
        let mut bytes = vec![0];
        bytes.extend([0.25_f32, 1.0].iter().flat_map(|v| v.to_le_bytes()));
        let message = Bytes::from(bytes);
        for start in [1, 0] {
            let data = if start == 1 { message.slice(1..) } else { Bytes::copy_from_slice(&message[1..]) };
            let sent = Tensor { shape: vec![1, 2], datatype: DataType::Fp32.into(), data };
            assert_eq!(decode("input", Some(&sent), PAIR).unwrap(), ndarray::array![[0.25, 1.0]]);
        }
    }

    #[test]
    fn pixels_span_the_range() {
        let expected = Expected { range: [-1.0, 1.0], ..PAIR };
        let batch = decode("input", Some(&tensor(&[1, 2], DataType::Uint8, [0, 255])), expected).unwrap();
        assert_eq!(batch, ndarray::array![[-1.0, 1.0]]);
    }

    #[test]
    fn a_wrong_shape_is_shown_beside_the_right_one() {
        for shape in [&[][..], &[2], &[0, 2], &[1, 3], &[1, 1, 2]] {
            refused(&fp32(shape, &[]), &format!("input.shape: expected [n, 2] with n >= 1, got {shape:?}"));
        }
    }

    #[test]
    fn a_batch_beyond_the_limit_is_refused_before_its_data_is_read() {
        let error = decode("input", Some(&fp32(&[u64::MAX, 2], &[])), PAIR).unwrap_err();
        assert_eq!(error.code(), tonic::Code::ResourceExhausted);
        assert!(error.to_string().contains("limit of 3; send smaller batches, or raise limits.max_batch"), "{error}");
    }

    #[test]
    fn a_wrong_length_is_shown_in_bytes() {
        refused(
            &tensor(&[1, 2], DataType::Fp32, [0; 7]),
            "input.data: expected 8 bytes for shape [1, 2] of DATA_TYPE_FP32, got 7",
        );
    }

    #[test]
    fn a_type_that_is_none_is_refused() {
        refused(
            &tensor(&[1, 2], DataType::Unspecified, []),
            "input.datatype: expected DATA_TYPE_FP32 or DATA_TYPE_UINT8, got 0",
        );
    }

    #[test]
    fn the_first_offending_value_is_named() {
        refused(
            &fp32(&[2, 2], &[0.0, 1.0, 0.0, 1.5]),
            "input.data: sample 1, element 1 is 1.5; the model takes values in [0, 1]",
        );
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            refused(
                &fp32(&[1, 2], &[value, 7.0]),
                &format!("input.data: sample 0, element 0 is {value}; expected finite values in [0, 1]"),
            );
        }
    }

    #[test]
    fn plain_floats_have_one_shape_and_one_type() {
        let decode = |tensor: &Tensor| decode_floats("cotangent", tensor, (2, 1), "[n, classes]");
        assert_eq!(decode(&fp32(&[2, 1], &[-3.0, 7.5])).unwrap(), ndarray::array![[-3.0], [7.5]]);
        for (tensor, message) in [
            (fp32(&[1, 2], &[0.0, 0.0]), "cotangent.shape: expected [n, classes], here [2, 1], got [1, 2]"),
            (tensor(&[2, 1], DataType::Uint8, [0, 0]), "cotangent.datatype: expected DATA_TYPE_FP32, got 2"),
            (
                tensor(&[2, 1], DataType::Fp32, [0; 5]),
                "cotangent.data: expected 8 bytes for shape [2, 1] of DATA_TYPE_FP32, got 5",
            ),
            (fp32(&[2, 1], &[0.0, f32::NAN]), "cotangent.data: sample 1, element 0 is NaN; expected finite values"),
        ] {
            assert_eq!(decode(&tensor).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_missing_tensor_is_named() {
        let error = decode("inline.input", None, PAIR).unwrap_err();
        assert_eq!(error.to_string(), "inline.input: missing; a batch is required");
    }
}
