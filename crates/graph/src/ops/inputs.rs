//! What rules ask of a node before they start: constant inputs, axes, sizes, and a zero of the right shape.

use crate::{Attribute, Cause, Dim, Emit, Node, Rule, Tensor, Value};

/// A size as ONNX writes it.
pub(super) fn int(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Content of input `i` of `node`, called `name` in the specification; `None` if it is absent.
///
/// # Errors
/// The content is not the same for every input of the model.
pub(super) fn constant<'m>(node: &Node, i: usize, name: &str, e: &Emit<'m>) -> Rule<Option<&'m Tensor>> {
    let Some(value) = node.input(i) else { return Ok(None) };
    e.constant(value).map(Some).ok_or_else(|| {
        Cause::Unsupported(format!(
            "input {i} ({name}, \"{value}\") must be a constant; here it is computed from the model's input"
        ))
    })
}

/// Integers of the constant input `i`; `None` if it is absent.
///
/// # Errors
/// As [`constant`], or the content is not integers.
pub(super) fn ints(node: &Node, i: usize, name: &str, e: &Emit<'_>) -> Rule<Option<Vec<i64>>> {
    constant(node, i, name, e)?
        .map(|t| t.to_i64().ok_or_else(|| Cause::Malformed(format!("input {i} ({name}) must hold integers"))))
        .transpose()
}

/// Numbers of the constant input `i`; `None` if it is absent.
///
/// # Errors
/// As [`constant`], or the content is not numbers.
pub(super) fn floats(node: &Node, i: usize, name: &str, e: &Emit<'_>) -> Rule<Option<Vec<f64>>> {
    constant(node, i, name, e)?
        .map(|t| t.to_f64().ok_or_else(|| Cause::Malformed(format!("input {i} ({name}) must hold numbers"))))
        .transpose()
}

/// `axis`, counted from the end if negative, as a position in `0..rank`.
///
/// # Errors
/// It lies outside.
pub(crate) fn axis(axis: i64, rank: usize) -> Rule<usize> {
    let counted = if axis < 0 { axis.checked_add(int(rank)) } else { Some(axis) };
    counted
        .and_then(|a| usize::try_from(a).ok())
        .filter(|&a| a < rank)
        .ok_or_else(|| Cause::Malformed(format!("axis {axis} of a tensor with {rank} dimensions")))
}

/// Dimension `axis` of the shape `dims`, which must not depend on the batch.
///
/// # Errors
/// It does.
pub(super) fn size(dims: &[Dim], axis: usize) -> Rule<usize> {
    match dims.get(axis) {
        Some(Dim::Fixed(size)) => Ok(*size),
        Some(Dim::Batch(_)) => {
            Err(Cause::Unsupported(format!("axis {axis} depends on the batch size; its elements must stay in place")))
        }
        None => Err(Cause::Malformed(format!("axis {axis} of a tensor with {} dimensions", dims.len()))),
    }
}

/// Zeros of the shape and type of `value`, a value of the source model.
pub(super) fn zeros_like(value: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    let facts = e.facts(value)?;
    let zero = Tensor::scalar(facts.dtype, 0.0)
        .reshaped(vec![1])
        .ok_or_else(|| Cause::Malformed(format!("zeros of type {:?}", facts.dtype)))?;
    let fixed: Option<Vec<i64>> =
        facts.dims.iter().map(|d| if let Dim::Fixed(size) = d { Some(int(*size)) } else { None }).collect();
    let shape = match fixed {
        Some(shape) => e.ints(&shape),
        None => e.op("Shape", &[value]),
    };
    Ok(e.op_with("ConstantOfShape", &[&shape], [("value", Attribute::Tensor(zero))]))
}

/// `y` with `amounts[axis] = (begin, end)` zeros added at each side of each axis, or elements removed where negative.
pub(super) fn pad(y: &Value, amounts: &[(i64, i64)], e: &mut Emit<'_>) -> Value {
    if amounts.iter().all(|&a| a == (0, 0)) {
        return y.clone();
    }
    let pads: Vec<i64> = amounts.iter().map(|a| a.0).chain(amounts.iter().map(|a| a.1)).collect();
    let pads = e.ints(&pads);
    e.op("Pad", &[y, &pads])
}

/// The transpose of an operator that only changes its first input's shape: `y` in that shape again.
pub(super) fn restore_shape(node: &Node, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    let x = node.required(0)?;
    let dims = e.dims(x)?;
    e.reshape(y, dims)
}

/// The product of dimensions, of which one may depend on the batch.
///
/// # Errors
/// More than one does.
pub(super) fn product(dims: &[Dim]) -> Rule<Dim> {
    dims.iter().try_fold(Dim::Fixed(1), |product, &dim| match (product, dim) {
        (Dim::Fixed(a), Dim::Fixed(b)) => Ok(Dim::Fixed(a * b)),
        (Dim::Fixed(a), Dim::Batch(b)) | (Dim::Batch(a), Dim::Fixed(b)) => Ok(Dim::Batch(a * b)),
        (Dim::Batch(_), Dim::Batch(_)) => {
            Err(Cause::Unsupported("two dimensions that depend on the batch size".into()))
        }
    })
}
