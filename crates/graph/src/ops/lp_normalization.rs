//! `LpNormalization`: divided by the 1-norm or the 2-norm along an axis.
//! <https://onnx.ai/onnx/operators/onnx__LpNormalization.html>
//!
//! The product is `(w - d Σ w y) / norm`, where `d` is the derivative of the norm: `y` or the sign of `x`. Where all elements
//! are 0 it is 0, as the output is there.

use super::class::{divided_where_not_zero, sign, unary};
use super::inputs::axis;
use super::{Class, Operator};
use crate::{Cause, Channels, Emit, Node, Rule, Value};

pub(super) struct LpNormalization;

impl Operator for LpNormalization {
    fn name(&self) -> &'static str {
        "LpNormalization"
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
        let p = node.int("p", 2)?;
        let norm = match p {
            1 => "ReduceL1",
            2 => "ReduceL2",
            _ => return Err(Cause::Malformed(format!("attribute \"p\" is {p}; 1 and 2 are norms of this operator"))),
        };
        let axis = node.int("axis", -1)?;
        unary(node, cotangents, wanted, |x, y, w| {
            let (dtype, axes) = (e.dtype(x)?, e.ints(&[axis]));
            let norm = e.op(norm, &[x, &axes]);
            let derivative = if p == 2 { y.clone() } else { sign(x, dtype, e) };
            let product = e.op("Mul", &[w, y]);
            let along = e.op("ReduceSum", &[&product, &axes]);
            let along = e.op("Mul", &[&derivative, &along]);
            let free = e.op("Sub", &[w, &along]);
            Ok(divided_where_not_zero(&free, &norm, dtype, e))
        })
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let along = axis(node.int("axis", -1)?, c.dims(node.required(0)?)?.len())?;
        c.all_but(node, |axis| axis == along, "it normalises over it")
    }
}
