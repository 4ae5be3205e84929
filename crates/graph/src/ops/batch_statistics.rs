//! The gradient of `BatchNormalization` in training mode, where mean and variance are those of the batch.
//!
//! With `x̂ = (x - μ) / σ` the products are `scale / σ (w - mean(w) - x̂ mean(w x̂))`, `Σ w x̂` for the scale and `Σ w` for the bias.
//! The running statistics, further outputs, are `momentum old + (1 - momentum) batch`; with a momentum of 0 they are those of the
//! batch, and are used here. Written out it is a dozen passes over the memory of `x`, so there is a kernel of our own for it.

use super::batch_normalization::per_channel;
use super::class::output;
use super::conv::sum_per_channel;
use super::inputs::int;
use super::reduction::elements;
use crate::{Cause, Emit, Lowering, Node, Rule, Value};

/// The gradient of `node`, of which the running statistics are outputs 1 and 2.
///
/// # Errors
/// The momentum is not 0.
pub(super) fn vjp(
    node: &Node,
    cotangents: &[Option<Value>],
    wanted: &[bool],
    e: &mut Emit<'_>,
) -> Rule<Vec<Option<Value>>> {
    if node.float("momentum", 0.9)? != 0.0 {
        return Err(Cause::Unsupported(
            "training mode with a momentum; with 0 the running statistics are those of the batch".into(),
        ));
    }
    let mut products = vec![None; wanted.len()];
    let cotangent = |i: usize| cotangents.get(i).and_then(Option::as_ref);
    if let (Lowering::CpuKernels, Some(w), None, None) = (e.lowering(), cotangent(0), cotangent(1), cotangent(2)) {
        let [mean, variance] = [1, 2].map(|i| output(node).map(|y| e.forward_output(y, i)));
        let inputs = [node.required(0)?, w, node.required(1)?, &mean?, &variance?];
        let attributes = [("epsilon".to_owned(), node.float("epsilon", 1e-5)?.into())].into_iter().collect();
        let all = e.kernel("BatchNormalizationGradient", &inputs, attributes, 3);
        for ((product, value), _) in products.iter_mut().zip(all).zip(wanted).filter(|(_, wanted)| **wanted) {
            *product = Some(value);
        }
        return refuse_statistics(wanted).map(|()| products);
    }
    let batch = Batch::of(node, e)?;
    if wanted.first() == Some(&true) {
        let parts = [
            cotangent(0).map(|w| batch.through_output(node, w, e)),
            cotangent(1).map(|w| batch.through_mean(node, w, e)),
            cotangent(2).map(|w| batch.through_variance(node, w, e)),
        ];
        let parts: Vec<Value> = parts.into_iter().flatten().collect::<Rule<_>>()?;
        products[0] = parts.into_iter().reduce(|sum, part| e.op("Add", &[&sum, &part]));
    }
    let Some(w) = cotangent(0) else { return Ok(products) };
    if wanted.get(1) == Some(&true) {
        let product = e.op("Mul", &[w, &batch.normal]);
        products[1] = Some(sum_per_channel(&product, batch.rank, e));
    }
    if wanted.get(2) == Some(&true) {
        products[2] = Some(sum_per_channel(w, batch.rank, e));
    }
    refuse_statistics(wanted).map(|()| products)
}

fn refuse_statistics(wanted: &[bool]) -> Rule<()> {
    if wanted.iter().skip(3).any(|&w| w) {
        return Err(Cause::Unsupported("the derivative with respect to the running mean and variance".into()));
    }
    Ok(())
}

struct Batch {
    rank: usize,
    /// All axes but that of the channels.
    axes: Vec<i64>,
    /// `x - μ`.
    centred: Value,
    /// `x̂`.
    normal: Value,
    /// `1 / σ`, broadcasting.
    rate: Value,
}

impl Batch {
    fn of(node: &Node, e: &mut Emit<'_>) -> Rule<Self> {
        let x = node.required(0)?;
        let (rank, dtype) = (e.dims(x)?.len(), e.dtype(x)?);
        let axes = (0..int(rank)).filter(|&a| a != 1).collect();
        let [mean, variance] = [1, 2].map(|i| output(node).map(|y| e.forward_output(y, i)));
        let epsilon = e.scalar(f64::from(node.float("epsilon", 1e-5)?), dtype);
        let shifted = e.op("Add", &[&variance?, &epsilon]);
        let sigma = e.op("Sqrt", &[&shifted]);
        let rate = e.op("Reciprocal", &[&sigma]);
        let (mean, rate) = (per_channel(&mean?, rank, e), per_channel(&rate, rank, e));
        let centred = e.op("Sub", &[x, &mean]);
        let normal = e.op("Mul", &[&centred, &rate]);
        Ok(Self { rank, axes, centred, normal, rate })
    }

    fn through_output(&self, node: &Node, w: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let axes = e.ints(&self.axes);
        let mean = e.op("ReduceMean", &[w, &axes]);
        let weighted = e.op("Mul", &[w, &self.normal]);
        let along = e.op("ReduceMean", &[&weighted, &axes]);
        let along = e.op("Mul", &[&self.normal, &along]);
        let flat = e.op("Sub", &[w, &mean]);
        let free = e.op("Sub", &[&flat, &along]);
        let scale = per_channel(node.required(1)?, self.rank, e);
        let factor = e.op("Mul", &[&scale, &self.rate]);
        Ok(e.op("Mul", &[&free, &factor]))
    }

    /// `w / k` to each of `k` elements of a channel.
    fn through_mean(&self, node: &Node, w: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let x = node.required(0)?;
        let share = self.share(x, w, e)?;
        let shape = e.op("Shape", &[x]);
        Ok(e.op("Expand", &[&share, &shape]))
    }

    /// `2 w (x - μ) / k`.
    fn through_variance(&self, node: &Node, w: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let x = node.required(0)?;
        let share = self.share(x, w, e)?;
        let two = e.scalar(2.0, e.dtype(x)?);
        let share = e.op("Mul", &[&share, &two]);
        Ok(e.op("Mul", &[&self.centred, &share]))
    }

    fn share(&self, x: &Value, w: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let count = elements(x, &self.axes, e)?;
        let share = e.op("Div", &[w, &count]);
        Ok(per_channel(&share, self.rank, e))
    }
}
