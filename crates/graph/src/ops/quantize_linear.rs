//! `QuantizeLinear`: `q = saturate(round(x / scale) + zero_point)`.
//! <https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>
//!
//! Its derivative is zero almost everywhere. What is given instead is the clipped straight-through estimator (Bengio, Léonard
//! and Courville, 2013, "Estimating or propagating gradients through stochastic neurons"): 1 where the number is only
//! rounded, 0 where it saturates. As in PyTorch's `fake_quantize`, a number saturates when the integer that it is rounded to
//! is out of range, so the derivative is 1 for `x` in `[(qmin - zero_point - 1/2) scale, (qmax - zero_point + 1/2) scale]`.
//!
//! The cotangent of `q` is that of the number which `q` stands for, `(q - zero_point) scale`, so that a pair of
//! `QuantizeLinear` and `DequantizeLinear` costs one mask.

use super::class::output;
use super::inputs::{axis, constant, floats};
use super::{Class, Operator};
use crate::{Cause, Channels, DataType, Emit, Node, Rule, Tensor, Value};

/// The operator `QuantizeLinear`.
pub(super) struct QuantizeLinear;

impl Operator for QuantizeLinear {
    fn name(&self) -> &'static str {
        "QuantizeLinear"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        let mut products = vec![None; wanted.len()];
        if wanted.iter().skip(1).any(|&w| w) {
            return Err(Cause::Unsupported(
                "a scale that is computed from the model's input; quantize with constant scales, or dynamically by \
                 DynamicQuantizeLinear"
                    .into(),
            ));
        }
        if let (Some(w), Some(true)) = (cotangents.first().and_then(Option::as_ref), wanted.first()) {
            products[0] = Some(mask_saturated(node, w, e)?);
            e.estimates(node);
        }
        Ok(products)
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        scaled(node, c)
    }
}

/// `w` where `x` is not saturated, else 0.
fn mask_saturated(node: &Node, w: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    let x = node.required(0)?;
    let facts = e.facts(x)?;
    let dtype = facts.dtype;
    let [low, high] = bounds(node, facts.dims.len(), dtype, e)?;
    let scalar = low.dims().is_empty();
    let (low, high) = (e.tensor(low), e.tensor(high));
    let clipped = if scalar {
        e.op("Clip", &[x, &low, &high])
    } else {
        let raised = e.op("Max", &[x, &low]);
        e.op("Min", &[&raised, &high])
    };
    let kept = e.op("Equal", &[x, &clipped]);
    let mask = e.cast(&kept, DataType::Bool, dtype);
    Ok(e.op("Mul", &[w, &mask]))
}

/// The smallest and the largest number that is not saturated: scalars, or one for each slice along the axis, in a shape that
/// broadcasts to `x` of rank `rank`.
fn bounds(node: &Node, rank: usize, dtype: DataType, e: &Emit<'_>) -> Rule<[Tensor; 2]> {
    let q = node.output(0).ok_or_else(|| Cause::Malformed("output 0 is required".into()))?;
    let (least, most) = match e.dtype(q)? {
        DataType::Uint8 => (0.0, 255.0),
        DataType::Int8 => (-128.0, 127.0),
        DataType::Uint16 => (0.0, 65_535.0),
        DataType::Int16 => (-32_768.0, 32_767.0),
        other => return Err(Cause::Unsupported(format!("quantization to {other:?}; 8 and 16 bits are supported"))),
    };
    let missing = || Cause::Malformed("input 1 (scale) is required".into());
    let dims = constant(node, 1, "scale", e)?.ok_or_else(missing)?.dims().to_vec();
    let scales = floats(node, 1, "scale", e)?.ok_or_else(missing)?;
    let zeros = floats(node, 2, "zero point", e)?.unwrap_or_else(|| vec![0.0; scales.len()]);
    if zeros.len() != scales.len() || dims.len() > 1 {
        let (s, z) = (scales.len(), zeros.len());
        return Err(Cause::Unsupported(format!(
            "{s} scales of shape {dims:?} and {z} zero points; quantize per tensor or per axis"
        )));
    }
    let shape = if scales.len() == 1 {
        Vec::new()
    } else {
        let axis = axis(node.int("axis", 1)?, rank)?;
        let mut shape = vec![1; rank - axis];
        shape[0] = scales.len();
        shape
    };
    let bound = |end: f64| {
        let values: Vec<f64> = scales.iter().zip(&zeros).map(|(scale, zero)| (end - zero) * scale).collect();
        Tensor::rounded(dtype, &shape, &values)
    };
    Ok([bound(least - 0.5), bound(most + 0.5)])
}

/// Channels through a node with one scale and zero point, or one for each position of an axis.
pub(super) fn scaled(node: &Node, c: &mut Channels<'_>) -> Rule<()> {
    let (x, y) = (node.required(0)?, output(node)?);
    if node.int("block_size", 0)? != 0 {
        return Err(Cause::Unsupported("scales of blocks".into()));
    }
    c.all_but(node, |_| false, "")?;
    let rank = c.dims(x)?.len();
    for scale in node.inputs.iter().skip(1).flatten().filter(|_| rank > 0) {
        if c.dims(scale)?.len() == 1 && c.size(scale, 0)? > 1 {
            c.carry(scale, 0, y, axis(node.int("axis", 1)?, rank)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn refuses_what_cannot_hold_a_quantized_number() {
        let text = vjp_text("QuantizeLinear", "x[n,3] s=0.5 -> y[n,3]", &[]);
        assert_snapshot!(text, @r#"vjp: node "node" (QuantizeLinear): unsupported: quantization to Float; 8 and 16 bits are supported"#);
    }
}
