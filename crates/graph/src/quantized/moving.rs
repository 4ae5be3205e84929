//! Operators that only move or select elements, applied to quantized integers: the same operator gives the numbers beside them.

use super::written::Written;
use crate::{Cause, Node, Rule, Tensor, Value};

/// Those whose first input alone is moved, and whose other inputs say how.
const MOVING: [&str; 17] = [
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "Identity",
    "MaxPool",
    "Pad",
    "Reshape",
    "Resize",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// Puts the operator of `node` on the numbers beside it, if it moves quantized integers.
pub(super) fn beside(node: &Node, written: &mut Written) -> Rule<()> {
    let Some((q, meaning)) = node.input(0).and_then(|q| written.meaning(q).map(|meaning| (q, meaning))) else {
        return Ok(());
    };
    if !MOVING.contains(&node.operator.as_str()) {
        return Ok(());
    }
    let name = node.operator.as_str();
    if !matches!(written.dims(&meaning.scale)?.as_slice(), [] | [crate::Dim::Fixed(1)]) {
        return Err(Cause::Unsupported(format!("\"{q}\" is quantized axis by axis and moved; quantize it as a whole")));
    }
    if name == "Resize" && node.text("mode", "nearest")? != "nearest" {
        return Err(Cause::Unsupported("interpolation between integers; resize the numbers, or mode nearest".into()));
    }
    if name == "MaxPool" && node.output(1).is_some() {
        return Err(Cause::Unsupported("the indices of a maximum of integers".into()));
    }
    let numbers = written.numbers(node, q)?;
    let mut inputs = node.inputs.clone();
    inputs[0] = Some(numbers.clone());
    if name == "Pad" && node.text("mode", "constant")? == "constant" {
        let value = filling(node, (&meaning.scale, meaning.zero_point.as_ref()), written)?;
        inputs.resize(inputs.len().max(3), None);
        inputs[2] = Some(value);
    }
    let dtype = written.dtype(&numbers)?;
    for (y, moved) in written.again(node, inputs, dtype)? {
        written.means(y, moved, &meaning);
    }
    Ok(())
}

/// The number that `Pad` fills with: what its integer stands for; 0 if none is stated.
fn filling(node: &Node, (scale, zero_point): (&Value, Option<&Value>), written: &mut Written) -> Rule<Value> {
    let one = |value: Option<&Value>| match value {
        None => Ok(0.0),
        Some(value) => match written.constant(value).and_then(Tensor::to_f64).as_deref() {
            Some([number]) => Ok(*number),
            _ => Err(Cause::Unsupported(format!("\"{value}\" must be one constant number"))),
        },
    };
    let number = (one(node.input(2))? - one(zero_point)?) * one(Some(scale))?;
    let dtype = written.dtype(scale)?;
    Ok(written.tensor(node, "value", Tensor::scalar(dtype, number)))
}
