//! `BatchNormalization`: at inference an affine map per channel, in training mode with the statistics of the batch.
//! <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>

use super::class::output;
use super::conv::sum_per_channel;
use super::inputs::int;
use super::{Class, Operator, batch_statistics, class};
use crate::{Cause, Channels, DataType, Dependence, Emit, Node, Rule, Tensor, Value};

/// Inputs: data `[n, c, …]`; scale, bias, mean and variance, each `[c]`.
#[derive(Debug)]
pub(super) struct BatchNormalization;

impl Operator for BatchNormalization {
    fn name(&self) -> &'static str {
        "BatchNormalization"
    }

    fn class(&self) -> Class {
        Class::Bilinear
    }

    fn refused(&self) -> &'static str {
        "by running mean and variance; `training_mode` with a `momentum`"
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        match node.int("training_mode", 0)? {
            0 => class::vjp(self, node, cotangents, wanted, e),
            _ => batch_statistics::vjp(node, cotangents, wanted, e),
        }
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let x = node.required(0)?;
        let rank = e.dims(x)?.len();
        match input {
            0 => {
                let factor = factor(node, rank, e)?;
                let product = e.op("Mul", &[y, &factor]);
                e.note_scaled(&product, y, &factor);
                Ok(product)
            }
            1 => {
                let mean = per_channel(node.required(3)?, rank, e);
                let deviation = deviation(node, rank, e)?;
                let centred = e.op("Sub", &[x, &mean]);
                let normalised = e.op("Div", &[&centred, &deviation]);
                let product = e.op("Mul", &[y, &normalised]);
                Ok(sum_per_channel(&product, rank, e))
            }
            2 => Ok(sum_per_channel(y, rank, e)),
            _ => Err(Cause::Unsupported("the derivative with respect to the running mean and variance".into())),
        }
    }

    fn dependence(&self, node: &Node, data: &[bool], _: &Emit<'_>) -> Rule<Dependence> {
        let fixed = node.int("training_mode", 0)? == 0 && data.iter().skip(1).all(|data| !data);
        Ok(if fixed { Dependence::Affine } else { Dependence::Other })
    }

    fn radius(&self, node: &Node, r: &[Option<Value>], e: &mut Emit<'_>) -> Rule<Value> {
        let Some(Some(r)) = r.first() else { return Err(Cause::NoRule) };
        let factor = factor(node, e.dims(node.required(0)?)?.len(), e)?;
        let size = e.op("Abs", &[&factor]);
        Ok(e.op("Mul", &[r, &size]))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let (x, y) = (node.required(0)?, output(node)?);
        for input in 1..5 {
            c.carry(node.required(input)?, 0, y, 1);
        }
        if node.int("training_mode", 0)? == 0 {
            return c.broadcast(x, y);
        }
        c.carry(x, 0, y, 0);
        c.carry(x, 1, y, 1);
        c.fix_from(x, 2, "statistics are taken over it");
        c.fix_from(y, 2, "statistics are taken over it");
        node.outputs.iter().skip(1).flatten().for_each(|statistic| c.carry(statistic, 0, y, 1));
        Ok(())
    }

    fn uniform(&self, node: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        let &[x, scale, bias, mean, variance] = inputs else { return None };
        if node.int("training_mode", 0) != Ok(0) {
            return None;
        }
        if scale == Some(0.0) {
            return bias;
        }
        let deviation = (variance? + f64::from(node.float("epsilon", 1e-5).ok()?)).sqrt();
        Some((x? - mean?) / deviation * scale? + bias?)
    }
}

/// `scale / sqrt(variance + epsilon)`, broadcasting over a tensor of rank `rank`; computed here where both are constant.
fn factor(node: &Node, rank: usize, e: &mut Emit<'_>) -> Rule<Value> {
    let (scale, variance) = (node.required(1)?, node.required(4)?);
    let content = |v: &Value| e.constant(v).and_then(Tensor::to_f64);
    if let (Some(scales), Some(variances)) = (content(scale), content(variance)) {
        let epsilon = f64::from(node.float("epsilon", 1e-5)?);
        let factors: Vec<f64> = scales.iter().zip(&variances).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
        let dims: Vec<usize> =
            [factors.len()].into_iter().chain(std::iter::repeat_n(1, rank.saturating_sub(2))).collect();
        let dtype = e.dtype(node.required(0)?)?;
        return Ok(e.tensor(Tensor::rounded(dtype, &dims, &factors)));
    }
    let scale = per_channel(scale, rank, e);
    let deviation = deviation(node, rank, e)?;
    Ok(e.op("Div", &[&scale, &deviation]))
}

/// `sqrt(variance + epsilon)`, broadcasting over a tensor of rank `rank`.
fn deviation(node: &Node, rank: usize, e: &mut Emit<'_>) -> Rule<Value> {
    let variance = node.required(4)?;
    let dtype: DataType = e.dtype(variance)?;
    let epsilon = e.scalar(f64::from(node.float("epsilon", 1e-5)?), dtype);
    let shifted = e.op("Add", &[variance, &epsilon]);
    let root = e.op("Sqrt", &[&shifted]);
    Ok(per_channel(&root, rank, e))
}

/// A vector over the channels, as `[c, 1, …]` to broadcast over a tensor of rank `rank`.
pub(super) fn per_channel(vector: &Value, rank: usize, e: &mut Emit<'_>) -> Value {
    if rank <= 2 {
        return vector.clone();
    }
    let axes: Vec<i64> = (1..int(rank) - 1).collect();
    let axes = e.ints(&axes);
    e.op("Unsqueeze", &[vector, &axes])
}
