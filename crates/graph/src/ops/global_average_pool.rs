//! `GlobalAveragePool`: the mean of each channel. <https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html>

use super::class::increasing;
use super::window;
use super::{Class, Operator};
use crate::{Channels, Dim, Emit, Interval, Node, Rule, Value};

#[derive(Debug)]
pub(super) struct GlobalAveragePool;

impl Operator for GlobalAveragePool {
    fn name(&self) -> &'static str {
        "GlobalAveragePool"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let x = node.required(0)?;
        let spatial = e.fixed(x, 2)?;
        #[allow(clippy::cast_precision_loss)]
        let share = 1.0 / spatial.iter().product::<usize>() as f64;
        let pooled: Vec<Dim> =
            e.dims(x)?.iter().take(2).copied().chain(spatial.iter().map(|_| Dim::Fixed(1))).collect();
        e.expand_scaled(y, share, &pooled, x)
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
