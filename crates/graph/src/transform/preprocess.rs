//! The model with its normalisation inside: it takes pixels, so that a perturbation is one of pixels.

use super::checked;
use crate::names::Names;
use crate::order::rename_reads;
use crate::{Canonical, Cause, DataType, Dimension, Model, Node, Rule, Tensor, TransformError, Value};

const PASS: &str = "preprocess";

/// `(x - mean) / std`, channel by channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    /// Mean of each channel, in units of the pixels; or one for all channels.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, positive; or one for all channels.
    pub std: Vec<f32>,
    /// The dimension that counts the channels, for example 1 of `[batch, channels, height, width]`. Without it: 3 where the last of
    /// four dimensions is 1 or 3 and the second is known to be neither (channels last), else 1.
    pub axis: Option<usize>,
}

/// `model` behind `normalization`. The input keeps its name, type and shape, and takes what is normalised.
///
/// # Errors
/// The model has not one floating-point input of a known rank; `mean` or `std` does not fit its channels; a number is not
/// finite, or a standard deviation not positive.
pub fn preprocess(model: &Canonical, normalization: &Normalization) -> Result<Model, TransformError> {
    let mut model = model.model().clone();
    prepend(&mut model, normalization).map_err(|cause| TransformError::of_model(PASS, cause))?;
    checked(PASS, model)
}

fn prepend(model: &mut Model, normalization: &Normalization) -> Rule<()> {
    let graph = &mut model.graph;
    let [input] = graph.inputs.as_slice() else {
        return Err(Cause::Unsupported(format!("{} inputs; a classifier has one", graph.inputs.len())));
    };
    let pixels = input.value.clone();
    let dtype = input.dtype.filter(|dtype| dtype.is_float());
    let dtype = dtype.ok_or_else(|| Cause::Unsupported(format!("input \"{pixels}\" is not floating-point")))?;
    let dims = input.shape.as_deref().unwrap_or_default();
    let axis = normalization.axis.unwrap_or_else(|| channels(dims));
    let constants = [("mean", &normalization.mean), ("std", &normalization.std)]
        .map(|(what, values)| per_channel(what, values, axis, dims, dtype));
    let [mean, std] = constants;
    let (mean, std) = (mean?, std?);

    let mut names = Names::of(graph);
    let mut step = |operator: &str, x: &Value, role: &str, constant: Tensor| {
        let by = names.fresh(&format!("{PASS}/{role}"));
        graph.initializers.insert(by.clone(), constant);
        let y = names.fresh(&format!("{PASS}/{operator}"));
        let node = Node::new(operator, vec![Some(x.clone()), Some(by)], vec![Some(y.clone())]);
        (Node { name: y.to_string(), ..node }, y)
    };
    let (subtract, centred) = step("Sub", &pixels, "mean", mean);
    let (divide, normalized) = step("Div", &centred, "std", std);
    for node in &mut graph.nodes {
        rename_reads(node, &pixels, &normalized);
    }
    graph.nodes.splice(0..0, [subtract, divide]);
    Ok(())
}

/// The dimension that counts the channels of images of shape `dims`, the batch among them.
fn channels(dims: &[Dimension]) -> usize {
    match dims {
        [_, Dimension::Known(second), _, Dimension::Known(1 | 3)] if !matches!(second, 1 | 3) => 3,
        _ => 1,
    }
}

/// `values` as a tensor that broadcasts along `axis` of the input's shape `dims`.
fn per_channel(what: &str, values: &[f32], axis: usize, dims: &[Dimension], dtype: DataType) -> Rule<Tensor> {
    if axis == 0 || axis >= dims.len() {
        let rank = dims.len();
        return Err(Cause::Unsupported(format!(
            "channels in dimension {axis}; the input has {rank}, and the first is the batch"
        )));
    }
    let fits = match &dims[axis] {
        Dimension::Known(channels) => values.len() == 1 || values.len() == *channels,
        Dimension::Symbol(_) | Dimension::Unknown => !values.is_empty(),
    };
    if !fits {
        let (given, channels) = (values.len(), &dims[axis]);
        return Err(Cause::Unsupported(format!(
            "{given} values of {what} for {channels} channels; give one, or one for each"
        )));
    }
    if let Some(value) = values.iter().find(|v| !v.is_finite() || (what == "std" && **v <= 0.0)) {
        return Err(Cause::Unsupported(format!(
            "{what} = {value}; it must be finite, and a standard deviation positive"
        )));
    }
    let mut shape = vec![1; dims.len() - axis];
    shape[0] = values.len();
    Ok(Tensor::rounded(dtype, &shape, &values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>()))
}
