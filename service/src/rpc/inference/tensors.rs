//! Tensors of requests to batches, and logits to tensors of responses.

use assay_proto::{
    Content, Datatype, Place, TensorError,
    inference::{
        InferTensorContents, ModelInferRequest, ModelInferResponse, model_infer_request::InferInputTensor,
        model_infer_response::InferOutputTensor,
    },
};
use bytes::Bytes;
use ndarray::Array2;

use super::{metadata, parameters};
use crate::{
    repository::Hosted,
    rpc::predict::ranked,
    status::CallError,
    tensor::{Expected, batch_size, check_values, grey},
};

/// What is asked for, in order.
pub(super) struct Wanted {
    outputs: Vec<Output>,
    /// Whether the answer is raw: where the request is.
    raw: bool,
}

/// One tensor that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// The logits.
    Logits,
    /// So many classes of the largest logits, as texts.
    Classes(usize),
}

/// The batch `[n, features]` of the request's one input, which is called what the file calls it: numbers in the model's range, of any type that can hold
/// them, or grey levels, UINT8, as `Predict` takes both.
pub(super) fn decode(
    request: &ModelInferRequest,
    hosted: &Hosted,
    expected: Expected<'_>,
) -> Result<Array2<f32>, CallError> {
    let input = only_input(request, &hosted.info().input)?;
    let field = "inputs[0]";
    parameters::in_message(field, &input.parameters)?;
    let own = metadata::input_type(hosted);
    let datatype = Datatype::parse(&input.datatype).filter(|datatype| match datatype {
        Datatype::Fp32 | Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp64 | Datatype::Uint8 => true,
        // Signed bytes are not grey levels: only a model that takes them can.
        Datatype::Int8 => own == Datatype::Int8,
        Datatype::Int32 | Datatype::Int64 => false,
    });
    let datatype = datatype.ok_or_else(|| {
        let problem = format!(
            "expected {own}, as ModelMetadata says, or FP32, FP16, BF16, FP64 or UINT8, got {:?}",
            input.datatype
        );
        CallError::field(format!("{field}.datatype"), problem)
    })?;
    let features: usize = expected.sample_shape.iter().product();
    let n = batch_size(field, &input.shape, expected)?;
    let content = content(request, input)?;
    let place = if content.raw.is_some() { "raw_input_contents[0]" } else { field };
    let count = n.saturating_mul(features);
    let mut values = datatype.numbers(content, count).map_err(|error| odd(place, datatype, &input.shape, error))?;
    if datatype == Datatype::Uint8 {
        values.iter_mut().for_each(|level| *level = grey(*level, expected.range));
    }
    check_values(&place, &values, features, expected.range)?;
    Array2::from_shape_vec((n, features), values).map_err(|e| CallError::Internal(e.to_string()))
}

fn only_input<'r>(request: &'r ModelInferRequest, name: &str) -> Result<&'r InferInputTensor, CallError> {
    match request.inputs.as_slice() {
        [input] if input.name == name => Ok(input),
        [input] => Err(CallError::field(
            "inputs[0].name",
            format!("expected {name:?}, the model's input, got {:?}", input.name),
        )),
        inputs => {
            Err(CallError::field("inputs", format!("expected one, {name:?}, the model's input, got {}", inputs.len())))
        }
    }
}

/// Where the elements of the one input are: in one place, and nothing besides.
fn content<'r>(request: &'r ModelInferRequest, input: &'r InferInputTensor) -> Result<Content<'r>, CallError> {
    let (raw, typed) = (&request.raw_input_contents, input.contents.as_ref());
    match (raw.as_slice(), typed) {
        ([], typed) => Ok(Content { raw: None, typed }),
        ([raw], None) => Ok(Content { raw: Some(raw), typed: None }),
        (_, Some(_)) => Err(CallError::field(
            "inputs[0].contents",
            "the request has raw_input_contents too; put the elements of all inputs into one of the two",
        )),
        (raw, None) => Err(CallError::field(
            "raw_input_contents",
            format!("expected 1 entry, one for each input, got {}", raw.len()),
        )),
    }
}

fn odd(place: &str, datatype: Datatype, shape: &[i64], error: TensorError) -> CallError {
    let place = match error {
        TensorError::Count { place: Place::Raw(_), .. } => place.to_owned(),
        _ => format!("{place}.contents"),
    };
    CallError::field(place, format!("the tensor, {datatype} of shape {shape:?}, {error}"))
}

impl Wanted {
    /// What a request asks for of a model with this output and so many classes: the logits where it names nothing.
    pub(super) fn read(request: &ModelInferRequest, output: &str, classes: usize) -> Result<Self, CallError> {
        let raw = !request.raw_input_contents.is_empty();
        let mut outputs = Vec::new();
        for (i, asked) in request.outputs.iter().enumerate() {
            let field = format!("outputs[{i}]");
            if asked.name != output {
                let problem = format!("expected {output:?}, the model's output, got {:?}", asked.name);
                return Err(CallError::field(format!("{field}.name"), problem));
            }
            parameters::in_message(&field, &asked.parameters)?;
            let field = format!("{field}.parameters");
            outputs.push(match parameters::whole(&field, &asked.parameters, "classification")? {
                None | Some(0) => Output::Logits,
                Some(k) => match usize::try_from(k) {
                    Ok(k) if k <= classes => Output::Classes(k),
                    _ => {
                        let problem = format!("expected 1 to {classes} (the model's classes), got {k}");
                        return Err(CallError::field(format!("{field}.classification"), problem));
                    }
                },
            });
        }
        if outputs.len() > 1 {
            return Err(CallError::field(
                "outputs",
                format!("{output:?} is asked for {} times; expected once", outputs.len()),
            ));
        }
        if outputs.is_empty() {
            outputs.push(Output::Logits);
        }
        Ok(Self { outputs, raw })
    }

    /// Writes what is asked for, of finite logits.
    pub(super) fn write(&self, logits: &Array2<f32>, hosted: &Hosted, response: &mut ModelInferResponse) {
        for output in &self.outputs {
            let (datatype, columns, content) = match *output {
                Output::Logits => (Datatype::Fp32.name(), logits.ncols(), self.floats(logits)),
                Output::Classes(k) => ("BYTES", k, self.texts(&classes(logits, k, &hosted.manifest.labels))),
            };
            let shape = [logits.nrows(), columns].map(|size| i64::try_from(size).unwrap_or(i64::MAX)).to_vec();
            let (contents, raw) = match content {
                Written::Raw(bytes) => (None, Some(bytes)),
                Written::Typed(contents) => (Some(contents), None),
            };
            response.outputs.push(InferOutputTensor {
                name: hosted.info().output.clone(),
                datatype: datatype.to_owned(),
                shape,
                contents,
                ..InferOutputTensor::default()
            });
            response.raw_output_contents.extend(raw);
        }
    }

    fn floats(&self, logits: &Array2<f32>) -> Written {
        let values = logits.iter().copied();
        if self.raw {
            return Written::Raw(Datatype::Fp32.encode(values).into());
        }
        Written::Typed(InferTensorContents { fp32_contents: values.collect(), ..InferTensorContents::default() })
    }

    /// Raw, each text has 4 bytes of length before it.
    fn texts(&self, texts: &[String]) -> Written {
        let bytes = texts.iter().map(|text| text.as_bytes());
        if self.raw {
            let length = |text: &[u8]| u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
            let raw: Vec<u8> = bytes.flat_map(|text| length(text).into_iter().chain(text.iter().copied())).collect();
            return Written::Raw(raw.into());
        }
        let bytes_contents = bytes.map(Bytes::copy_from_slice).collect();
        Written::Typed(InferTensorContents { bytes_contents, ..InferTensorContents::default() })
    }
}

/// The elements of an output.
enum Written {
    Raw(Bytes),
    Typed(InferTensorContents),
}

/// `value:index`, or `value:index:label`, of the `k` largest logits of each sample.
fn classes(logits: &Array2<f32>, k: usize, labels: &[String]) -> Vec<String> {
    let text = |value: f32, class: usize| match labels.get(class) {
        Some(label) => format!("{value}:{class}:{label}"),
        None => format!("{value}:{class}"),
    };
    let rows = logits.rows().into_iter();
    rows.flat_map(|row| ranked(&row).into_iter().take(k).map(|class| text(row[class], class)).collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use assay_proto::inference::{
        InferParameter, infer_parameter::ParameterChoice, model_infer_request::InferRequestedOutputTensor,
    };
    use ndarray::array;

    use super::*;

    fn asking(name: &str, k: Option<i64>) -> InferRequestedOutputTensor {
        let value = |k| InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(k)) };
        let parameters = k.map(|k| ("classification".to_owned(), value(k))).into_iter().collect();
        InferRequestedOutputTensor { name: name.to_owned(), parameters }
    }

    fn read(outputs: &[InferRequestedOutputTensor]) -> Result<Vec<Output>, String> {
        let request = ModelInferRequest { outputs: outputs.to_vec(), ..Default::default() };
        Wanted::read(&request, "y", 3).map(|wanted| wanted.outputs).map_err(|error| error.to_string())
    }

    #[test]
    fn logits_are_answered_where_nothing_else_is_asked_for() {
        assert_eq!(read(&[]), Ok(vec![Output::Logits]));
        assert_eq!(read(&[asking("y", None)]), Ok(vec![Output::Logits]));
        assert_eq!(read(&[asking("y", Some(0))]), Ok(vec![Output::Logits]));
        assert_eq!(read(&[asking("y", Some(3))]), Ok(vec![Output::Classes(3)]));
    }

    #[test]
    fn what_the_model_does_not_give_is_refused() {
        for (outputs, says) in [
            (vec![asking("z", None)], "outputs[0].name: expected \"y\", the model's output, got \"z\""),
            (
                vec![asking("y", Some(4))],
                "outputs[0].parameters.classification: expected 1 to 3 (the model's classes), got 4",
            ),
            (vec![asking("y", None), asking("y", Some(1))], "outputs: \"y\" is asked for 2 times; expected once"),
        ] {
            assert_eq!(read(&outputs).unwrap_err(), says);
        }
        assert!(read(&[asking("y", Some(-1))]).unwrap_err().contains("expected a whole number"));
    }

    #[test]
    fn a_class_is_its_value_index_and_label() {
        let logits = array![[0.5, -1.25, 2.0], [0.0, 0.0, -3.5]];
        let labels = ["cat".to_owned(), "a:b".to_owned(), "dog".to_owned()];
        assert_eq!(classes(&logits, 2, &labels), ["2:2:dog", "0.5:0:cat", "0:0:cat", "0:1:a:b"]);
        assert_eq!(classes(&logits, 1, &[]), ["2:2", "0:0"]);
    }

    #[test]
    fn a_raw_text_has_its_length_before_it() {
        let wanted = |raw| Wanted { outputs: Vec::new(), raw };
        let texts = ["1:0".to_owned(), String::new()];
        let Written::Raw(bytes) = wanted(true).texts(&texts) else { panic!("not raw") };
        assert_eq!(bytes[..], *b"\x03\0\0\x001:0\0\0\0\0");
        let Written::Typed(contents) = wanted(false).texts(&texts) else { panic!("raw") };
        assert_eq!(contents.bytes_contents, ["1:0", ""]);
    }
}
