//! `InstanceNormalization`: each channel of each sample normalised by its own mean and variance.
//! <https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html>

use super::batch_normalization::per_channel;
use super::class::output;
use super::conv::sum_per_channel;
use super::inputs::int;
use super::window;
use super::{Class, Operator};
use crate::{Channels, Emit, Node, Rule, Value};

/// Inputs: data `[n, c, …]`, scale `[c]`, bias `[c]`.
#[derive(Debug)]
pub(super) struct InstanceNormalization;

impl Operator for InstanceNormalization {
    fn name(&self) -> &'static str {
        "InstanceNormalization"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    /// With `x̂ = (x − μ) / σ`: `x' = scale / σ · (y − mean(y) − x̂ mean(y x̂))`, `scale' = Σ y x̂`, `bias' = Σ y`.
    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        let mut products = vec![None; wanted.len()];
        let Some(y) = cotangents.first().and_then(Option::as_ref) else { return Ok(products) };
        let x = node.required(0)?;
        let (rank, dtype) = (e.dims(x)?.len(), e.dtype(x)?);
        let axes: Vec<i64> = (2..int(rank)).collect();
        let axes = e.ints(&axes);
        let mean = |v: &Value, e: &mut Emit<'_>| e.op_with("ReduceMean", &[v, &axes], [("keepdims", 1.into())]);

        let mu = mean(x, e);
        let centred = e.op("Sub", &[x, &mu]);
        let squares = e.op("Mul", &[&centred, &centred]);
        let variance = mean(&squares, e);
        let epsilon = e.scalar(f64::from(node.float("epsilon", 1e-5)?), dtype);
        let shifted = e.op("Add", &[&variance, &epsilon]);
        let sigma = e.op("Sqrt", &[&shifted]);
        let normalised = e.op("Div", &[&centred, &sigma]);
        let weighted = e.op("Mul", &[y, &normalised]);

        for (input, product) in products.iter_mut().enumerate().filter(|(input, _)| wanted[*input]) {
            *product = Some(match input {
                0 => {
                    let mean_y = mean(y, e);
                    let along = mean(&weighted, e);
                    let along = e.op("Mul", &[&normalised, &along]);
                    let flat = e.op("Sub", &[y, &mean_y]);
                    let free = e.op("Sub", &[&flat, &along]);
                    let scale = per_channel(node.required(1)?, rank, e);
                    let factor = e.op("Div", &[&scale, &sigma]);
                    e.op("Mul", &[&free, &factor])
                }
                1 => sum_per_channel(&weighted, rank, e),
                _ => sum_per_channel(y, rank, e),
            });
        }
        Ok(products)
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let y = output(node)?;
        window::channel_by_channel(node, c)?;
        c.carry(node.required(1)?, 0, y, 1);
        c.carry(node.required(2)?, 0, y, 1);
        Ok(())
    }
}
