//! Batches as the protocol's tensors, and its tensors as logits.

use assay_proto::inference::model_infer_response::InferOutputTensor;
use assay_proto::{Content, Datatype, TensorError};
use ndarray::Array2;

/// The type of inputs of this name, if batches can be sent as it: numbers are rounded to the nearest of it, of two the even one.
pub(super) fn element(name: &str) -> Option<Datatype> {
    Datatype::parse(name).filter(|datatype| matches!(datatype, Datatype::Fp32 | Datatype::Fp16 | Datatype::Uint8))
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
    let content = Content { raw, typed: tensor.contents.as_ref() };
    let miscounted = |error: TensorError| format!("output \"{name}\", {} of shape {shape:?}, {error}", tensor.datatype);
    let Some(datatype) = Datatype::parse(&tensor.datatype) else {
        return Err(format!(
            "output \"{name}\" is {}; expected numbers (FP32, FP16, BF16, FP64, UINT8, INT8), or classes (INT64, INT32)",
            tensor.datatype
        ));
    };
    if !matches!(datatype, Datatype::Int64 | Datatype::Int32) {
        fits(classes).ok_or_else(|| {
            format!(
                "output \"{name}\" has shape {shape:?}; expected [{n}, {classes}]: a number for each sample and class"
            )
        })?;
        let numbers = datatype.numbers(content, n * classes).map_err(miscounted)?;
        return Array2::from_shape_vec((n, classes), numbers).map_err(|error| error.to_string());
    }
    fits(1).ok_or_else(|| {
        format!("output \"{name}\" has shape {shape:?}; expected [{n}] or [{n}, 1]: a class for each sample")
    })?;
    let mut logits = Array2::zeros((n, classes));
    for (i, label) in datatype.integers(content, n).map_err(miscounted)?.into_iter().enumerate() {
        let class = usize::try_from(label).ok().filter(|class| *class < classes).ok_or_else(|| {
            format!("output \"{name}\" names class {label}; expected 0 to {}: see --classes", classes - 1)
        })?;
        logits[[i, class]] = 1.0;
    }
    Ok(logits)
}

#[cfg(test)]
mod tests {
    use assay_proto::inference::InferTensorContents;
    use half::{bf16, f16};
    use ndarray::array;

    use super::*;

    fn tensor(datatype: &str, shape: &[i64]) -> InferOutputTensor {
        InferOutputTensor { name: "y".into(), datatype: datatype.into(), shape: shape.to_vec(), ..Default::default() }
    }

    #[test]
    fn batches_are_sent_as_one_of_three_types() {
        let known = ["FP32", "FP16", "UINT8"].map(|name| element(name).map(Datatype::name));
        assert_eq!(known, [Some("FP32"), Some("FP16"), Some("UINT8")]);
        assert_eq!([element("FP64"), element("INT8"), element("BYTES")], [None; 3]);
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
        assert!(refused("FP32", &[2, 3], &raw[1..]).contains("has 5 elements in 23 bytes; expected 6"));
        assert!(refused("FP32", &[2, 3], &raw[..20]).contains("has 5 elements in 20 bytes"));
        assert!(refused("BYTES", &[2, 3], &raw).contains("is BYTES; expected numbers"));
        assert!(refused("INT64", &[2, 3], &raw[..16]).contains("expected [2] or [2, 1]"));
        for label in [3, -1_i64] {
            let raw = [0, label].map(i64::to_le_bytes).concat();
            assert!(refused("INT64", &[2], &raw).contains(&format!("names class {label}; expected 0 to 2")));
        }
        assert!(logits(&tensor("FP16", &[2, 3]), None, 2, 3).unwrap_err().contains("send it raw"));
        assert!(logits(&tensor("FP32", &[2, 3]), None, 2, 3).unwrap_err().contains("has 0 elements in `contents"));
    }
}
