//! `(x - mean) / σ` over axes, by default all but the channels. The batch is among them by default.
//! <https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html>
//!
//! The product is `(w - mean(w) - y mean(w y)) / σ`.

use super::class::unary;
use super::inputs::{axis, int};
use super::{Class, Operator};
use crate::{Channels, Emit, Node, Rule, Value};

pub(super) struct MeanVarianceNormalization;

impl Operator for MeanVarianceNormalization {
    fn name(&self) -> &'static str {
        "MeanVarianceNormalization"
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
        unary(node, cotangents, wanted, |x, y, w| {
            let rank = e.dims(x)?.len();
            let axes = node.ints("axes")?.unwrap_or(&[0, 2, 3]);
            let axes: Vec<i64> = axes.iter().map(|&a| axis(a, rank).map(int)).collect::<Rule<_>>()?;
            let axes = e.ints(&axes);
            let mean = |v: &Value, e: &mut Emit<'_>| e.op("ReduceMean", &[v, &axes]);
            let mu = mean(x, e);
            let centred = e.op("Sub", &[x, &mu]);
            let squares = e.op("Mul", &[&centred, &centred]);
            let variance = mean(&squares, e);
            let sigma = e.op("Sqrt", &[&variance]);

            let mean_w = mean(w, e);
            let weighted = e.op("Mul", &[w, y]);
            let along = mean(&weighted, e);
            let along = e.op("Mul", &[y, &along]);
            let flat = e.op("Sub", &[w, &mean_w]);
            let free = e.op("Sub", &[&flat, &along]);
            Ok(e.op("Div", &[&free, &sigma]))
        })
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let rank = c.dims(node.required(0)?)?.len();
        let stated = node.ints("axes")?.unwrap_or(&[0, 2, 3]);
        let axes: Vec<usize> = stated.iter().map(|&a| axis(a, rank)).collect::<Rule<_>>()?;
        c.all_but(node, |axis| axes.contains(&axis), "it normalises over it")
    }
}
