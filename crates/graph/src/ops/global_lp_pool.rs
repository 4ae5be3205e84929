//! `GlobalLpPool`: the p-norm of each channel. <https://onnx.ai/onnx/operators/onnx__GlobalLpPool.html>

use super::class::unary;
use super::lp_pool::{exponent, of_elements, of_norm};
use super::window;
use super::{Class, Operator};
use crate::{Channels, Emit, Node, Rule, Value};

pub(super) struct GlobalLpPool;

impl Operator for GlobalLpPool {
    fn name(&self) -> &'static str {
        "GlobalLpPool"
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
        let p = exponent(node)?;
        unary(node, cotangents, wanted, |x, y, w| {
            let dtype = e.dtype(x)?;
            let share = of_norm(y, w, p, dtype, e);
            let element = of_elements(x, p, dtype, e);
            Ok(e.op("Mul", &[&element, &share]))
        })
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        window::channel_by_channel(node, c)
    }
}
