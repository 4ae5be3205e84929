//! `DequantizeLinear`: `y = (q - zero_point) scale`, the number that `q` stands for.
//! <https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html>
//!
//! The cotangent of `q` is defined as that of the number it was quantized from (see `quantize_linear`), so it passes where both
//! ends agree on the scale, and is multiplied by the quotient of the scales where they do not. A constant `q` has no cotangent.

use super::inputs::constant;
use super::quantize_linear::scaled;
use super::{Class, Operator};
use crate::{Cause, Channels, Emit, Node, Rule, Value};

/// The operator `DequantizeLinear`.
pub(super) struct DequantizeLinear;

impl Operator for DequantizeLinear {
    fn name(&self) -> &'static str {
        "DequantizeLinear"
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
        let (Some(w), Some(true)) = (cotangents.first().and_then(Option::as_ref), wanted.first()) else {
            return match wanted.get(1) {
                Some(true) => Err(computed_scale()),
                _ => Ok(products),
            };
        };
        let (q, scale) = (node.required(0)?, node.required(1)?);
        let writer = e.producer(q).ok_or(Cause::NoRule)?;
        let written = match writer.operator.as_str() {
            "QuantizeLinear" => writer.required(1)?,
            // Its scale follows the batch, and the estimator takes it as given.
            "DynamicQuantizeLinear" => {
                writer.output(1).ok_or_else(|| Cause::Unsupported("its scale is not an output".into()))?
            }
            other => return Err(Cause::Unsupported(format!("\"{q}\", integers that {other} computes from the input"))),
        };
        if wanted.get(1) == Some(&true) && scale != written {
            return Err(computed_scale());
        }
        products[0] = Some(if e.same(scale, written) {
            w.clone()
        } else {
            for scale in [scale, written] {
                if !e.dims(scale)?.is_empty() && e.fixed(scale, 0)? != [1] {
                    return Err(Cause::Unsupported(format!(
                        "\"{q}\" is quantized with other scales than it is read with, axis by axis; use the same scales"
                    )));
                }
            }
            constant(node, 1, "scale", e)?;
            let quotient = e.op("Div", &[scale, written]);
            e.op("Mul", &[w, &quotient])
        });
        Ok(products)
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        scaled(node, c)
    }
}

fn computed_scale() -> Cause {
    Cause::Unsupported(
        "a scale that is computed from the model's input; quantize with constant scales, or dynamically by \
         DynamicQuantizeLinear"
            .into(),
    )
}
