//! `GlobalMaxPool`: the largest element of each channel. <https://onnx.ai/onnx/operators/onnx__GlobalMaxPool.html>
//!
//! At a tie the gradient goes to the first element in row-major order, as in `MaxPool` and in PyTorch's
//! `adaptive_max_pool2d`, which exports to this operator.

use super::class::{increasing, unary};
use super::inputs::int;
use super::window;
use super::{Class, Operator};
use crate::{Channels, Dim, Emit, Interval, Node, Rule, Tensor, Value};

#[derive(Debug)]
pub(super) struct GlobalMaxPool;

impl Operator for GlobalMaxPool {
    fn name(&self) -> &'static str {
        "GlobalMaxPool"
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
        unary(node, cotangents, wanted, |x, _, y| {
            let facts = e.facts(x)?;
            let elements: usize = e.fixed(x, 2)?.iter().product();
            let lead = facts.dims.iter().take(2).copied();
            let flat: Vec<Dim> = lead.clone().chain([Dim::Fixed(elements)]).collect();
            let one: Vec<Dim> = lead.chain([Dim::Fixed(1)]).collect();
            let flattened = e.reshape(x, &flat)?;
            let y = e.reshape(y, &one)?;
            let first = e.op_with("ArgMax", &[&flattened], [("axis", 2.into()), ("keepdims", 1.into())]);
            let positions: Vec<i64> = (0..int(elements)).collect();
            let positions = e.tensor(Tensor::ints(&positions));
            let taken = e.op("Equal", &[&first, &positions]);
            let zero = e.scalar(0.0, facts.dtype);
            let product = e.op("Where", &[&taken, &y, &zero]);
            e.reshape(&product, &facts.dims)
        })
    }

    fn interval(&self, node: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Rule<Interval> {
        Ok(increasing(node, x, e))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        window::channel_by_channel(node, c)
    }

    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        inputs.first().copied()?
    }
}
