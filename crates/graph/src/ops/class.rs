//! The rules that follow from an operator's class alone.

use super::relax::only_data;
use super::{Class, Operator};
use crate::{Cause, Channels, DataType, Dependence, Emit, Interval, Node, Rule, Value};

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

/// How an operator depends on some of its inputs, as far as its class tells. A map that is linear in each input while the others are
/// fixed is linear in one of them alone; any other number that it reads may be an offset.
pub(super) fn dependence(class: Class, node: &Node, data: &[bool], e: &Emit<'_>) -> Rule<Dependence> {
    let several = data.iter().filter(|data| **data).count() > 1;
    match class {
        Class::Bilinear if !several => {}
        Class::ShapeOnly | Class::Linear => {}
        Class::Bilinear | Class::Monotone | Class::Elementwise | Class::Opaque => return Ok(Dependence::Other),
    }
    for (input, _) in node.inputs.iter().zip(data).filter(|(_, data)| !**data) {
        if input.as_ref().is_some_and(|input| e.dtype(input).is_ok_and(DataType::is_float)) {
            return Ok(Dependence::Affine);
        }
    }
    Ok(Dependence::Linear)
}

/// Bounds of the output, as far as the class tells: what only moves elements, and what does not fall anywhere, maps bounds to
/// bounds; an affine map takes the middle of its inputs to the middle of its output, which moves as its [`Operator::radius`] says.
pub(super) fn interval<O: Operator + ?Sized>(
    operator: &O,
    node: &Node,
    x: &[Option<Interval>],
    e: &mut Emit<'_>,
) -> Rule<Interval> {
    if matches!(operator.class(), Class::ShapeOnly | Class::Monotone) {
        return Ok(increasing(node, x, e));
    }
    let data: Vec<bool> = x.iter().map(Option::is_some).collect();
    if operator.dependence(node, &data, e)? == Dependence::Other {
        let product_of_several = operator.class() == Class::Bilinear;
        return Err(if product_of_several { only_data(node, &data).err() } else { None }.unwrap_or(Cause::NoRule));
    }
    let (mut middles, mut radii) = (Vec::with_capacity(x.len()), Vec::with_capacity(x.len()));
    for (x, input) in x.iter().zip(&node.inputs) {
        let (middle, radius) = x.as_ref().map(|x| middle(x, e)).unzip();
        middles.push(middle.or_else(|| input.clone()));
        radii.push(radius);
    }
    let radius = operator.radius(node, &radii, e)?;
    let middle = e.again(node, middles);
    Ok(Interval { lower: e.op("Sub", &[&middle, &radius]), upper: e.op("Add", &[&middle, &radius]) })
}

/// Middle and radius of an interval.
fn middle(x: &Interval, e: &mut Emit<'_>) -> (Value, Value) {
    let half = e.scalar(0.5, DataType::Float);
    let (sum, width) = (e.op("Add", &[&x.lower, &x.upper]), e.op("Sub", &[&x.upper, &x.lower]));
    (e.op("Mul", &[&sum, &half]), e.op("Mul", &[&width, &half]))
}

/// Bounds of the output of an operator that does not fall in any of the inputs which have bounds: what it makes of the lower ones and of
/// the upper ones.
pub(super) fn increasing(node: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Interval {
    let mut ends = |end: fn(&Interval) -> &Value| {
        let inputs = x.iter().zip(&node.inputs).map(|(x, input)| x.as_ref().map(end).or(input.as_ref()).cloned());
        e.again(node, inputs.collect())
    };
    Interval { lower: ends(|x| &x.lower), upper: ends(|x| &x.upper) }
}

/// The dependence of a product of data with something fixed, without an offset.
pub(super) fn product(data: &[bool]) -> Dependence {
    if data.iter().filter(|data| **data).count() == 1 { Dependence::Linear } else { Dependence::Other }
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
pub(crate) fn output(node: &Node) -> Rule<&Value> {
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
