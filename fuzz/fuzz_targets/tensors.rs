//! Requests of the Open Inference Protocol: their messages, and the elements of their tensors.

#![no_main]

use assay_proto::{
    Content, Datatype,
    inference::{InferTensorContents, ModelInferRequest},
};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = ModelInferRequest::decode(bytes) {
        for (i, input) in request.inputs.iter().enumerate() {
            let raw = request.raw_input_contents.get(i).map(|raw| &raw[..]);
            let count = input.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?));
            let (Some(count), Some(datatype)) = (count, Datatype::parse(&input.datatype)) else { continue };
            check(datatype, Content { raw, typed: input.contents.as_ref() }, count);
        }
    }
    let Some((&[kind, low, high], rest)) = bytes.split_first_chunk::<3>() else { return };
    let datatype = Datatype::ALL[usize::from(kind) % Datatype::ALL.len()];
    let count = usize::from(u16::from_le_bytes([low, high]));
    check(datatype, Content { raw: Some(rest), typed: None }, count);
    if let Ok(contents) = InferTensorContents::decode(rest) {
        check(datatype, Content { raw: None, typed: Some(&contents) }, count);
    }
});

/// What is read has as many elements as were asked for, and what was raw is the same when it is written again.
fn check(datatype: Datatype, content: Content<'_>, count: usize) {
    if let Ok(numbers) = datatype.numbers(content, count) {
        assert_eq!(numbers.len(), count);
        let written = datatype.encode(numbers.iter().copied());
        assert_eq!(written.len(), count * datatype.size());
        if matches!(datatype, Datatype::Fp32 | Datatype::Uint8 | Datatype::Int8)
            && let Some(raw) = content.raw
            && numbers.iter().all(|number| !number.is_nan())
        {
            assert_eq!(written, raw);
        }
    }
    if let Ok(integers) = datatype.integers(content, count) {
        assert_eq!(integers.len(), count);
    }
}
