//! What a model takes and gives: what its metadata says, and what the user adds where it says nothing.

use assay_attack::Bounds;
use assay_proto::Datatype;
use assay_proto::inference::ModelMetadataResponse;
use assay_proto::inference::model_metadata_response::TensorMetadata;

use super::tensor;

/// What the user says of a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hints {
    /// Name of the input, of numbers.
    pub(crate) input: Option<String>,
    /// Range of valid inputs.
    pub(crate) range: Option<Bounds>,
    /// Shape of one sample.
    pub(crate) shape: Option<Vec<usize>>,
    pub(crate) classes: Option<usize>,
    /// The output that holds the logits.
    pub(crate) logits: Option<String>,
}

/// What a model takes and gives.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Signature {
    /// Name of its input.
    pub(crate) input: String,
    pub(crate) element: Datatype,
    /// Shape of one sample.
    pub(crate) shape: Vec<usize>,
    /// The one batch size that it takes; `None`: any.
    pub(crate) batch: Option<usize>,
    /// Range of valid inputs.
    pub(crate) range: Bounds,
    /// Name of the output that holds the logits; `None`: the only one of the answer.
    pub(crate) output: Option<String>,
    pub(crate) classes: usize,
}

impl Signature {
    /// Reads the metadata. An error says what is missing, or what contradicts what.
    pub(crate) fn of(metadata: &ModelMetadataResponse, hints: &Hints) -> Result<Self, String> {
        let input = &input(&metadata.inputs, hints.input.as_deref())?;
        let element = tensor::element(&input.datatype).ok_or_else(|| {
            format!("its input \"{}\" is {}; expected FP32, FP16 or UINT8", input.name, input.datatype)
        })?;
        let output = output(&metadata.outputs, hints.logits.as_deref())?;
        Ok(Self {
            input: input.name.clone(),
            element,
            shape: sample_shape(input, hints.shape.as_deref())?,
            batch: input.shape.first().and_then(|&size| usize::try_from(size).ok()).filter(|&size| size > 0),
            range: range(element, hints.range)?,
            output: output.map(|output| output.name.clone()).or_else(|| hints.logits.clone()),
            classes: classes(output, hints.classes)?,
        })
    }

    /// Bytes of one sample in a request.
    pub(crate) fn sample_bytes(&self) -> usize {
        self.shape.iter().fold(self.element.size(), |bytes, &size| bytes.saturating_mul(size))
    }
}

fn names(tensors: &[TensorMetadata]) -> String {
    tensors.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The input; where the metadata names none, what the user says of it.
fn input(inputs: &[TensorMetadata], named: Option<&str>) -> Result<TensorMetadata, String> {
    match (inputs, named) {
        ([input], None) => Ok(input.clone()),
        ([input], Some(named)) if input.name == named => Ok(input.clone()),
        ([input], Some(named)) => Err(format!("--input {named}: its input is \"{}\"", input.name)),
        ([], Some(named)) => {
            Ok(TensorMetadata { name: named.to_owned(), datatype: Datatype::Fp32.name().to_owned(), shape: Vec::new() })
        }
        ([], None) => {
            Err("its metadata names no input; say its name with --input NAME, and it is sent FP32".to_owned())
        }
        (inputs, _) => Err(format!("it takes {} inputs ({}); expected one", inputs.len(), names(inputs))),
    }
}

/// The output that is asked for; `None` where the metadata names none.
fn output<'m>(outputs: &'m [TensorMetadata], wanted: Option<&str>) -> Result<Option<&'m TensorMetadata>, String> {
    match (outputs, wanted) {
        ([], _) => Ok(None),
        ([output], None) => Ok(Some(output)),
        (outputs, None) => Err(format!(
            "it gives {} outputs ({}); say which holds the logits with --logits NAME",
            outputs.len(),
            names(outputs)
        )),
        (outputs, Some(wanted)) => match outputs.iter().find(|output| output.name == wanted) {
            Some(output) => Ok(Some(output)),
            None => Err(format!("--logits {wanted}: its outputs are {}", names(outputs))),
        },
    }
}

/// Shape of one sample: what follows the batch.
fn sample_shape(input: &TensorMetadata, given: Option<&[usize]>) -> Result<Vec<usize>, String> {
    let (name, shape) = (&input.name, &input.shape);
    let told: Vec<Option<usize>> =
        shape.iter().skip(1).map(|&size| usize::try_from(size).ok().filter(|&size| size > 0)).collect();
    let Some(given) = given else {
        return match told.iter().copied().collect() {
            Some(shape) if !told.is_empty() => Ok(shape),
            _ => Err(format!(
                "its input \"{name}\" has shape {shape:?}; say which shape a sample has, without the batch, as in --shape 3,224,224"
            )),
        };
    };
    let fits = |(told, given): (&Option<usize>, &usize)| told.is_none_or(|told| told == *given);
    if shape.is_empty() || (told.len() == given.len() && told.iter().zip(given).all(fits)) {
        return Ok(given.to_vec());
    }
    Err(format!("--shape {given:?}: its input \"{name}\" has shape {shape:?}, the batch first"))
}

fn range(element: Datatype, given: Option<Bounds>) -> Result<Bounds, String> {
    let usual = if element == Datatype::Uint8 { 255.0 } else { 1.0 };
    let range = given.map_or_else(|| Bounds::new(0.0, usual).map_err(|error| error.to_string()), Ok)?;
    if element == Datatype::Uint8 && (range.low() < 0.0 || range.high() > 255.0) {
        return Err(format!("--range {},{}: its input is bytes, 0 to 255", range.low(), range.high()));
    }
    Ok(range)
}

/// Number of classes.
fn classes(output: Option<&TensorMetadata>, given: Option<usize>) -> Result<usize, String> {
    let told = output.map(told_classes).transpose()?.flatten();
    match (told, given) {
        (Some(told), Some(given)) if told != given => Err(format!("--classes {given}: its output has {told} classes")),
        (Some(classes), _) | (None, Some(classes)) => Ok(classes),
        (None, None) => {
            Err("its metadata does not tell how many classes there are; say it with --classes K".to_owned())
        }
    }
}

/// The number of classes that the shape of an output tells; `None`: it tells nothing, as where the output is a class.
fn told_classes(output: &TensorMetadata) -> Result<Option<usize>, String> {
    let (name, shape) = (&output.name, &output.shape);
    let wide: Vec<i64> = shape.iter().skip(1).copied().filter(|&size| size != 1).collect();
    let is_class = matches!(output.datatype.as_str(), "INT64" | "INT32");
    match wide[..] {
        [] if is_class || shape.is_empty() => Ok(None),
        [size] if !is_class => Ok(usize::try_from(size).ok()),
        [_, ..] if !is_class && wide.iter().any(|&size| size < 0) => Ok(None),
        _ => Err(format!(
            "its output \"{name}\" is {} of shape {shape:?}; expected numbers [n, classes] of 2 classes or more, or a class for each sample",
            output.datatype
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, datatype: &str, shape: &[i64]) -> TensorMetadata {
        TensorMetadata { name: name.into(), datatype: datatype.into(), shape: shape.to_vec() }
    }

    fn model(input: &[i64], outputs: Vec<TensorMetadata>) -> ModelMetadataResponse {
        ModelMetadataResponse { inputs: vec![tensor("x", "FP32", input)], outputs, ..Default::default() }
    }

    fn logits() -> Vec<TensorMetadata> {
        vec![tensor("y", "FP32", &[-1, 10])]
    }

    #[test]
    fn metadata_that_tells_everything_needs_no_hints() {
        let signature = Signature::of(&model(&[-1, 3, 32, 32], logits()), &Hints::default()).unwrap();
        let expected = Signature {
            input: "x".into(),
            element: Datatype::Fp32,
            shape: vec![3, 32, 32],
            batch: None,
            range: Bounds::new(0.0, 1.0).unwrap(),
            output: Some("y".into()),
            classes: 10,
        };
        assert_eq!(signature, expected);
        assert_eq!(signature.sample_bytes(), 4 * 3 * 32 * 32);
        let fixed = Signature::of(&model(&[1, 32, 32, 3], logits()), &Hints::default()).unwrap();
        assert_eq!((fixed.batch, fixed.shape), (Some(1), vec![32, 32, 3]));
    }

    #[test]
    fn hints_fill_what_metadata_leaves_open() {
        let hints = Hints {
            input: Some("x".into()),
            range: Some(Bounds::new(-1.0, 1.0).unwrap()),
            shape: Some(vec![3, 224, 224]),
            classes: Some(1000),
            logits: Some("b".into()),
        };
        let outputs = vec![tensor("a", "FP32", &[-1, 7]), tensor("b", "FP32", &[-1, -1])];
        let signature = Signature::of(&model(&[-1, 3, -1, -1], outputs), &hints).unwrap();
        assert_eq!((signature.shape, signature.classes, signature.output), (vec![3, 224, 224], 1000, Some("b".into())));
        assert_eq!(signature.range.low(), -1.0);
        // Of a model without a word on its outputs, the one that is named, or the only one, will do.
        let silent = Signature::of(&model(&[], vec![]), &hints).unwrap();
        assert_eq!((silent.classes, silent.output), (1000, Some("b".into())));
        let silent = Signature::of(&ModelMetadataResponse::default(), &hints).unwrap();
        assert_eq!((&*silent.input, silent.element, silent.batch), ("x", Datatype::Fp32, None));
        let labels = Signature::of(
            &model(&[-1, 4], vec![tensor("label", "INT64", &[-1])]),
            &Hints { classes: Some(3), ..Hints::default() },
        );
        assert_eq!(labels.unwrap().classes, 3);
        let bytes = ModelMetadataResponse {
            inputs: vec![tensor("x", "UINT8", &[-1, 4])],
            outputs: logits(),
            ..Default::default()
        };
        assert_eq!(Signature::of(&bytes, &Hints::default()).unwrap().range.high(), 255.0);
    }

    #[test]
    fn what_is_missing_or_contradicts_is_said() {
        let refused = |model: &ModelMetadataResponse, hints: Hints| Signature::of(model, &hints).unwrap_err();
        let good = model(&[-1, 3, 32, 32], logits());
        let says = |model: &ModelMetadataResponse, hints: Hints, part: &str| {
            let error = refused(model, hints);
            assert!(error.contains(part), "{error}");
        };
        says(&model(&[-1, 3, -1, -1], logits()), Hints::default(), "--shape 3,224,224");
        says(&model(&[], logits()), Hints::default(), "--shape");
        says(&good, Hints { shape: Some(vec![3, 32]), ..Hints::default() }, "the batch first");
        says(&good, Hints { classes: Some(9), ..Hints::default() }, "has 10 classes");
        says(&good, Hints { logits: Some("z".into()), ..Hints::default() }, "its outputs are y");
        says(&model(&[-1, 4], vec![tensor("y", "INT64", &[-1])]), Hints::default(), "--classes K");
        says(&model(&[-1, 4], vec![tensor("y", "FP32", &[-1, 1])]), Hints::default(), "2 classes or more");
        says(
            &model(&[-1, 4], vec![tensor("y", "FP32", &[-1, 7, 7])]),
            Hints::default(),
            "expected numbers [n, classes]",
        );
        let two = vec![tensor("a", "FP32", &[-1, 10]), tensor("b", "FP32", &[-1, 10])];
        says(&model(&[-1, 4], two), Hints::default(), "2 outputs (a, b)");
        let inputs = ModelMetadataResponse { inputs: vec![tensor("a", "FP32", &[-1]); 2], ..Default::default() };
        says(&inputs, Hints::default(), "2 inputs (a, a)");
        says(&ModelMetadataResponse::default(), Hints::default(), "names no input; say its name with --input NAME");
        says(&good, Hints { input: Some("z".into()), ..Hints::default() }, "its input is \"x\"");
        let text = ModelMetadataResponse { inputs: vec![tensor("x", "BYTES", &[-1, 1])], ..Default::default() };
        says(&text, Hints::default(), "expected FP32, FP16 or UINT8");
        let bytes = ModelMetadataResponse {
            inputs: vec![tensor("x", "UINT8", &[-1, 4])],
            outputs: logits(),
            ..Default::default()
        };
        says(&bytes, Hints { range: Some(Bounds::new(0.0, 256.0).unwrap()), ..Hints::default() }, "0 to 255");
    }
}
