//! Batches as the protocol's tensors, and its tensors as logits.

use assay_proto::inference::InferTensorContents;
use assay_proto::inference::model_infer_response::InferOutputTensor;
use half::{bf16, f16};
use ndarray::{Array2, ArrayView2};

/// What the elements of an input are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    Fp32,
    /// Numbers are rounded to the nearest.
    Fp16,
    /// Numbers are rounded to the nearest, of two the even one.
    Uint8,
}

impl Element {
    pub(crate) fn parse(datatype: &str) -> Option<Self> {
        match datatype {
            "FP32" => Some(Self::Fp32),
            "FP16" => Some(Self::Fp16),
            "UINT8" => Some(Self::Uint8),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "FP32",
            Self::Fp16 => "FP16",
            Self::Uint8 => "UINT8",
        }
    }

    /// In bytes.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Fp32 => 4,
            Self::Fp16 => 2,
            Self::Uint8 => 1,
        }
    }

    /// The rows one behind the other, raw.
    pub(super) fn encode(self, rows: &ArrayView2<'_, f32>) -> Vec<u8> {
        let values = rows.iter().copied();
        match self {
            Self::Fp32 => values.flat_map(f32::to_le_bytes).collect(),
            Self::Fp16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Self::Uint8 => values.map(|value| value.round_ties_even() as u8).collect(),
        }
    }
}

/// Logits, `[n, classes]`, of an output: its numbers, or 1 at the class that it names.
///
/// `raw` is its entry of `raw_output_contents`. An error says what was expected.
pub(super) fn logits(
    tensor: &InferOutputTensor,
    raw: Option<&[u8]>,
    n: usize,
    classes: usize,
) -> Result<Array2<f32>, String> {
    let (name, shape) = (&tensor.name, &tensor.shape);
    let fits = |width: usize| {
        let (batch, rest) = shape.split_first()?;
        // [n, classes, 1, 1], as fully convolutional nets have it, is as good as [n, classes].
        let mut wide = rest.iter().filter(|&&size| size != 1).map(|&size| usize::try_from(size).ok());
        let found = wide.next().unwrap_or(Some(1))?;
        (usize::try_from(*batch).ok()? == n && found == width && wide.next().is_none()).then_some(())
    };
    if let Some(numbers) = numbers(tensor, raw, n * classes) {
        fits(classes).ok_or_else(|| {
            format!(
                "output \"{name}\" has shape {shape:?}; expected [{n}, {classes}]: a number for each sample and class"
            )
        })?;
        return Array2::from_shape_vec((n, classes), numbers?).map_err(|error| error.to_string());
    }
    let Some(labels) = integers(tensor, raw, n) else {
        return Err(format!(
            "output \"{name}\" is {}; expected numbers (FP32, FP16, BF16, FP64), or classes (INT64, INT32)",
            tensor.datatype
        ));
    };
    fits(1).ok_or_else(|| {
        format!("output \"{name}\" has shape {shape:?}; expected [{n}] or [{n}, 1]: a class for each sample")
    })?;
    let mut logits = Array2::zeros((n, classes));
    for (i, label) in labels?.into_iter().enumerate() {
        let class = usize::try_from(label).ok().filter(|class| *class < classes).ok_or_else(|| {
            format!("output \"{name}\" names class {label}; expected 0 to {}: see --classes", classes - 1)
        })?;
        logits[[i, class]] = 1.0;
    }
    Ok(logits)
}

/// The elements of a tensor of numbers; `None`: it is of another type.
#[allow(clippy::cast_possible_truncation)]
fn numbers(tensor: &InferOutputTensor, raw: Option<&[u8]>, count: usize) -> Option<Result<Vec<f32>, String>> {
    Some(match tensor.datatype.as_str() {
        "FP32" => elements(tensor, raw, count, |contents| &contents.fp32_contents, f32::from_le_bytes),
        "FP64" => elements(tensor, raw, count, |contents| &contents.fp64_contents, f64::from_le_bytes)
            .map(|numbers| numbers.into_iter().map(|number| number as f32).collect()),
        "FP16" => elements(tensor, raw, count, |_| &[], |bytes| f16::from_le_bytes(bytes).to_f32()),
        "BF16" => elements(tensor, raw, count, |_| &[], |bytes| bf16::from_le_bytes(bytes).to_f32()),
        _ => return None,
    })
}

/// The elements of a tensor of classes; `None`: it is of another type.
fn integers(tensor: &InferOutputTensor, raw: Option<&[u8]>, count: usize) -> Option<Result<Vec<i64>, String>> {
    Some(match tensor.datatype.as_str() {
        "INT64" => elements(tensor, raw, count, |contents| &contents.int64_contents, i64::from_le_bytes),
        "INT32" => elements(tensor, raw, count, |contents| &contents.int_contents, i32::from_le_bytes)
            .map(|classes| classes.into_iter().map(i64::from).collect()),
        _ => return None,
    })
}

/// The elements that are raw, or in their field, if there are `count` of them.
fn elements<T: Copy, const SIZE: usize>(
    tensor: &InferOutputTensor,
    raw: Option<&[u8]>,
    count: usize,
    field: impl Fn(&InferTensorContents) -> &[T],
    read: impl Fn([u8; SIZE]) -> T,
) -> Result<Vec<T>, String> {
    let found = match (raw, &tensor.contents) {
        (Some(bytes), _) => {
            let (elements, rest) = bytes.as_chunks();
            if rest.is_empty() { elements.iter().map(|bytes| read(*bytes)).collect() } else { Vec::new() }
        }
        (None, Some(contents)) => field(contents).to_vec(),
        (None, None) => Vec::new(),
    };
    if found.len() == count {
        return Ok(found);
    }
    let bytes = raw.map_or_else(String::new, |bytes| format!(" in {} bytes", bytes.len()));
    Err(format!(
        "output \"{}\", {} of shape {:?}, has {} elements{bytes}; expected {count}",
        tensor.name,
        tensor.datatype,
        tensor.shape,
        found.len()
    ))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn tensor(datatype: &str, shape: &[i64]) -> InferOutputTensor {
        InferOutputTensor { name: "y".into(), datatype: datatype.into(), shape: shape.to_vec(), ..Default::default() }
    }

    #[test]
    fn inputs_are_little_endian_and_rounded_to_their_type() {
        let rows = array![[0.0, 1.0], [0.1, 254.5]];
        let bytes = |element: Element| element.encode(&rows.view());
        assert_eq!(bytes(Element::Fp32)[8..12], 0.1_f32.to_le_bytes());
        assert_eq!(bytes(Element::Fp16)[4..6], f16::from_f32(0.1).to_le_bytes());
        assert_eq!(bytes(Element::Uint8), [0, 1, 0, 254]);
        for element in [Element::Fp32, Element::Fp16, Element::Uint8] {
            assert_eq!(bytes(element).len(), 4 * element.size());
            assert_eq!(Element::parse(element.name()), Some(element));
        }
    }

    #[test]
    fn numbers_of_every_type_are_logits_raw_or_in_their_field() {
        let expected = array![[0.5, -1.0, 2.0], [f32::INFINITY, 0.0, 1.0]];
        let flat: Vec<f32> = expected.iter().copied().collect();
        let raw: [(&str, Vec<u8>); 4] = [
            ("FP32", flat.iter().flat_map(|v| v.to_le_bytes()).collect()),
            ("FP64", flat.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect()),
            ("FP16", flat.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect()),
            ("BF16", flat.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect()),
        ];
        for (datatype, bytes) in &raw {
            for shape in [&[2, 3][..], &[2, 3, 1, 1], &[2, 1, 1, 3]] {
                assert_eq!(logits(&tensor(datatype, shape), Some(bytes), 2, 3).as_ref(), Ok(&expected), "{datatype}");
            }
        }
        let fp32 = InferTensorContents { fp32_contents: flat.clone(), ..Default::default() };
        let fp64 =
            InferTensorContents { fp64_contents: flat.iter().map(|v| f64::from(*v)).collect(), ..Default::default() };
        for (datatype, contents) in [("FP32", fp32), ("FP64", fp64)] {
            let typed = InferOutputTensor { contents: Some(contents), ..tensor(datatype, &[2, 3]) };
            assert_eq!(logits(&typed, None, 2, 3).as_ref(), Ok(&expected), "{datatype}");
        }
    }

    #[test]
    fn a_class_for_each_sample_is_one_at_its_place() {
        let expected = array![[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]];
        let raw = [2_i64, 0].map(i64::to_le_bytes).concat();
        assert_eq!(logits(&tensor("INT64", &[2]), Some(&raw), 2, 3).as_ref(), Ok(&expected));
        assert_eq!(logits(&tensor("INT64", &[2, 1]), Some(&raw), 2, 3).as_ref(), Ok(&expected));
        let contents = Some(InferTensorContents { int_contents: vec![2, 0], ..Default::default() });
        let typed = InferOutputTensor { contents, ..tensor("INT32", &[2]) };
        assert_eq!(logits(&typed, None, 2, 3).as_ref(), Ok(&expected));
    }

    #[test]
    fn what_is_neither_is_refused_in_words() {
        let raw = [0_u8; 24];
        let refused = |datatype: &str, shape: &[i64], bytes: &[u8]| {
            logits(&tensor(datatype, shape), Some(bytes), 2, 3).unwrap_err()
        };
        for shape in [&[3, 3][..], &[2, 2], &[6], &[2], &[2, 3, 2], &[], &[-2, 3]] {
            assert!(refused("FP32", shape, &raw).contains("expected [2, 3]"), "{shape:?}");
        }
        assert!(refused("FP32", &[2, 3], &raw[1..]).contains("in 23 bytes; expected 6"));
        assert!(refused("FP32", &[2, 3], &raw[..20]).contains("has 5 elements in 20 bytes"));
        assert!(refused("BYTES", &[2, 3], &raw).contains("is BYTES; expected numbers"));
        assert!(refused("INT64", &[2, 3], &raw[..16]).contains("expected [2] or [2, 1]"));
        for label in [3, -1_i64] {
            let raw = [0, label].map(i64::to_le_bytes).concat();
            assert!(refused("INT64", &[2], &raw).contains(&format!("names class {label}; expected 0 to 2")));
        }
        assert!(logits(&tensor("FP16", &[2, 3]), None, 2, 3).unwrap_err().contains("has 0 elements; expected 6"));
    }
}
