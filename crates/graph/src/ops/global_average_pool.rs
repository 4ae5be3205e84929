//! `GlobalAveragePool`: the mean of each channel. <https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html>

use super::inputs::int;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

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
        let share = e.scalar(1.0 / spatial.iter().product::<usize>() as f64, e.dtype(x)?);
        let shares = e.op("Mul", &[y, &share]);
        // Expand broadcasts both ways: the ones keep batch and channels as they are.
        let shape: Vec<i64> = [1, 1].into_iter().chain(spatial.into_iter().map(int)).collect();
        let shape = e.ints(&shape);
        Ok(e.op("Expand", &[&shares, &shape]))
    }
}
