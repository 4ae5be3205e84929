//! The rules that follow from an operator's class alone.

use super::{Class, Operator};
use crate::{Cause, Channels, DataType, Emit, Node, Rule, Value};

/// The gradient of an operator that is linear in each input: its transpose, input by input.
pub(super) fn vjp<O: Operator + ?Sized>(
    operator: &O,
    node: &Node,
    cotangents: &[Option<Value>],
    wanted: &[bool],
    e: &mut Emit<'_>,
) -> Rule<Vec<Option<Value>>> {
    if !matches!(operator.class(), Class::ShapeOnly | Class::Linear | Class::Bilinear) {
        return Err(Cause::NoRule);
    }
    let Some(y) = cotangents.first().and_then(Option::as_ref) else {
        return Ok(vec![None; wanted.len()]);
    };
    wanted
        .iter()
        .enumerate()
        .map(|(input, &wanted)| if wanted { operator.transpose(node, input, y, e).map(Some) } else { Ok(None) })
        .collect()
}

/// How channels go through an operator, as far as its class tells.
pub(super) fn channels<O: Operator + ?Sized>(operator: &O, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
    match operator.class() {
        Class::Monotone | Class::Elementwise => c.elementwise(node),
        Class::ShapeOnly | Class::Linear | Class::Bilinear | Class::Opaque => Err(Cause::NoRule),
    }
}

/// The gradient of an element-wise operator of one input: `rule(x, y, w)` makes the product from the input, the output and
/// the output's cotangent.
pub(super) fn unary(
    node: &Node,
    cotangents: &[Option<Value>],
    wanted: &[bool],
    rule: impl FnOnce(&Value, &Value, &Value) -> Rule<Value>,
) -> Rule<Vec<Option<Value>>> {
    let mut products = vec![None; wanted.len()];
    if let (Some(w), Some(y), Some(true)) =
        (cotangents.first().and_then(Option::as_ref), node.output(0), wanted.first())
    {
        products[0] = Some(rule(node.required(0)?, y, w)?);
    }
    Ok(products)
}

/// The gradient of an element-wise operator whose inputs are broadcast: `rule(i, w, e)` makes the product for input `i`, in
/// the output's shape, from the output's cotangent.
pub(super) fn broadcast(
    node: &Node,
    cotangents: &[Option<Value>],
    wanted: &[bool],
    e: &mut Emit<'_>,
    mut rule: impl FnMut(usize, &Value, &mut Emit<'_>) -> Rule<Value>,
) -> Rule<Vec<Option<Value>>> {
    let mut products = vec![None; wanted.len()];
    if let Some(w) = cotangents.first().and_then(Option::as_ref) {
        for (i, product) in products.iter_mut().enumerate().filter(|(i, _)| wanted[*i]) {
            let full = rule(i, w, e)?;
            *product = Some(unbroadcast(node, i, &full, e)?);
        }
    }
    Ok(products)
}

/// `value`, in the shape of the node's output, summed to the shape of its input `i`.
pub(super) fn unbroadcast(node: &Node, i: usize, value: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    let from = e.dims(output(node)?)?;
    let to = e.dims(node.required(i)?)?;
    e.sum_to(value, from, to)
}

/// The first output of a node.
pub(super) fn output(node: &Node) -> Rule<&Value> {
    node.output(0).ok_or_else(|| Cause::Malformed("output 0 is required".into()))
}

/// 1 where `x > 0`, else 0, in the type of `x`.
///
/// For f32 it is one operator that ONNX Runtime also has in its blocked convolution layout, a steep `HardSigmoid`: exact but
/// for denormal numbers, where it lies between. The other types have no finite slope that is steep enough.
pub(super) fn positive(x: &Value, dtype: DataType, e: &mut Emit<'_>) -> Value {
    if dtype == DataType::Float {
        return e.op_with("HardSigmoid", &[x], [("alpha", f32::MAX.into()), ("beta", 0.0.into())]);
    }
    let zero = e.scalar(0.0, dtype);
    let mask = e.op("Greater", &[x, &zero]);
    e.cast(&mask, DataType::Bool, dtype)
}

/// 1 where `x > 0`, -1 where `x < 0`, else 0, in the type of `x`. Unlike the operator `Sign` it has a derivative, of 0.
pub(super) fn sign(x: &Value, dtype: DataType, e: &mut Emit<'_>) -> Value {
    let above = positive(x, dtype, e);
    let minus = e.op("Neg", &[x]);
    let below = positive(&minus, dtype, e);
    e.op("Sub", &[&above, &below])
}

/// `a / b`, and 0 where `b` is 0, both of one shape.
pub(super) fn divided_where_not_zero(a: &Value, b: &Value, dtype: DataType, e: &mut Emit<'_>) -> Value {
    let (zero, one) = (e.scalar(0.0, dtype), e.scalar(1.0, dtype));
    let is_zero = e.op("Equal", &[b, &zero]);
    let divisor = e.op("Where", &[&is_zero, &one, b]);
    let dividend = e.op("Where", &[&is_zero, &zero, a]);
    e.op("Div", &[&dividend, &divisor])
}
