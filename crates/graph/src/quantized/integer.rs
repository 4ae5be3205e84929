//! Products of integers, as dynamic quantization writes them: `ConvInteger` and `MatMulInteger` give 32-bit integers, which a
//! `Cast` and a `Mul` by the scales make numbers.

use indexmap::IndexMap;

use super::written::{Meaning, Written, output};
use crate::{Cause, DataType, Node, Rule, Tensor, Value};

/// `ConvInteger` or `MatMulInteger`: the product of what is left of the operands without their zero points, in f32. Its integers
/// stand for themselves. f32 holds them exactly up to 2^24.
pub(super) fn product(node: &Node, written: &mut Written) -> Rule<()> {
    let (operator, [left, right]) = match node.operator.as_str() {
        "ConvInteger" => ("Conv", [0, 0]),
        _ => ("MatMul", [-2, -1]),
    };
    let one = written.themselves(node);
    let operands = [(0, left), (1, right)].map(|(i, along)| {
        let zero_point = node.input(i + 2).cloned();
        let q = node.required(i)?.clone();
        let steps = match written.meaning(&q) {
            None => written.operand(node, (&q, &one.scale, zero_point.as_ref()), along)?,
            Some(meaning) => steps(node, &q, &meaning, zero_point.as_ref(), written)?,
        };
        Ok(Some(steps))
    });
    let [a, b] = operands;
    let y = output(node)?;
    let facts = (DataType::Float, written.dims(y)?);
    let numbers = written.op(node, operator, vec![a?, b?], node.attributes.clone(), facts);
    written.means(y.clone(), numbers, &one);
    Ok(())
}

/// `q - zero_point` for computed integers `q`: their numbers divided by the scale.
fn steps(node: &Node, q: &Value, meaning: &Meaning, zero_point: Option<&Value>, written: &mut Written) -> Rule<Value> {
    if !written.is_same(meaning.zero_point.as_ref(), zero_point) {
        return Err(Cause::Unsupported(format!(
            "\"{q}\" is read with another zero point than it was quantized with; use the same"
        )));
    }
    let numbers = written.numbers(node, q)?;
    if written.constant(&meaning.scale).and_then(Tensor::to_f64).is_some_and(|s| s == [1.0]) {
        return Ok(numbers);
    }
    if !matches!(written.dims(&meaning.scale)?.as_slice(), [] | [crate::Dim::Fixed(1)]) {
        return Err(Cause::Unsupported(format!("\"{q}\" is quantized axis by axis; quantize it as a whole")));
    }
    let facts = (written.dtype(&numbers)?, written.dims(&numbers)?);
    Ok(written.op(node, "Div", vec![Some(numbers), Some(meaning.scale.clone())], IndexMap::new(), facts))
}

/// `Cast` of integers that stand for numbers, to floating-point: whether it is written out.
pub(super) fn cast(node: &Node, written: &mut Written) -> Rule<bool> {
    let (q, y) = (node.required(0)?.clone(), output(node)?.clone());
    let to = written.dtype(&y)?;
    let Some(meaning) = written.meaning(&q).filter(|_| to.is_float()) else { return Ok(false) };
    let zero_point = meaning.zero_point.clone();
    let mut numbers = steps(node, &q, &meaning, zero_point.as_ref(), written)?;
    let from = written.dtype(&numbers)?;
    let zeros = zero_point.map(|z| written.constant(&z).and_then(Tensor::to_f64));
    match zeros.as_ref().map(|z| z.as_deref()) {
        None | Some(Some([0.0])) => {}
        Some(Some([zero])) => {
            let zero = written.tensor(node, "zero_point", Tensor::scalar(from, *zero));
            let facts = (from, written.dims(&numbers)?);
            numbers = written.op(node, "Add", vec![Some(numbers), Some(zero)], IndexMap::new(), facts);
        }
        _ => {
            return Err(Cause::Unsupported(format!(
                "a cast of \"{q}\", whose zero point is computed or not a single one; use DequantizeLinear"
            )));
        }
    }
    if from == to {
        written.instead(node, "Identity", vec![Some(numbers)], IndexMap::new())?;
    } else {
        written.instead(node, "Cast", vec![Some(numbers)], node.attributes.clone())?;
    }
    Ok(true)
}
