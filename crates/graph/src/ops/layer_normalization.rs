//! `scale (x - mean) / √(variance + epsilon) + bias`, with mean and variance over the last dimensions from an axis on.
//!
//! With `x̂ = (x - mean) / σ` and `g = w scale` the product for `x` is `(g - mean(g) - x̂ mean(g x̂)) / σ`. Mean and `1 / σ`
//! are further outputs of the forward node.

use super::class::{output, unbroadcast};
use super::inputs::{axis, int, zeros_like};
use super::{Class, Operator};
use crate::{Cause, Channels, DataType, Emit, Node, Rule, Value};

/// The operator `LayerNormalization`.
pub(super) struct LayerNormalization;

impl Operator for LayerNormalization {
    fn name(&self) -> &'static str {
        "LayerNormalization"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn refused(&self) -> &'static str {
        "`stash_type` other than 1"
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        let mut products = vec![None; wanted.len()];
        if cotangents.iter().all(Option::is_none) {
            return Ok(products);
        }
        let statistics = Statistics::of(node, e)?;
        let w = cotangents.first().and_then(Option::as_ref);
        if wanted[0] {
            products[0] = of_input(node, cotangents, &statistics, e)?;
        }
        if let (Some(w), Some(true)) = (w, wanted.get(1)) {
            let product = e.op("Mul", &[w, &statistics.normal]);
            products[1] = Some(unbroadcast(node, 1, &product, e)?);
        }
        if let (Some(w), Some(true)) = (w, wanted.get(2)) {
            products[2] = Some(unbroadcast(node, 2, w, e)?);
        }
        Ok(products)
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let first = axis(node.int("axis", -1)?, c.dims(node.required(0)?)?.len())?;
        c.all_but(node, |axis| axis >= first, "it normalises over it")?;
        for vector in node.inputs.iter().skip(1).flatten() {
            c.broadcast(vector, output(node)?)?;
        }
        Ok(())
    }
}

struct Statistics {
    /// `1 / σ`.
    rate: Value,
    /// `x̂`.
    normal: Value,
    /// The normalised axes.
    axes: Value,
}

impl Statistics {
    fn of(node: &Node, e: &mut Emit<'_>) -> Rule<Self> {
        if node.int("stash_type", 1)? != 1 {
            return Err(Cause::Unsupported("attribute \"stash_type\" other than 1 (f32)".into()));
        }
        let x = node.required(0)?;
        let (rank, dtype) = (e.dims(x)?.len(), e.dtype(x)?);
        let axes: Vec<i64> = (axis(node.int("axis", -1)?, rank)?..rank).map(int).collect();
        let [mean, rate] = [1, 2].map(|index| {
            let value = e.forward_output(output(node)?, index);
            Ok(e.cast(&value, DataType::Float, dtype))
        });
        let (mean, rate) = (mean?, rate?);
        let centred = e.op("Sub", &[x, &mean]);
        Ok(Self { normal: e.op("Mul", &[&centred, &rate]), rate, axes: e.ints(&axes) })
    }
}

/// From the three outputs: `(g - mean(g) - x̂ mean(g x̂)) / σ`, and in each of `D` normalised elements `w_mean / D` and
/// `-w_rate x̂ / (σ² D)`.
fn of_input(node: &Node, cotangents: &[Option<Value>], s: &Statistics, e: &mut Emit<'_>) -> Rule<Option<Value>> {
    let x = node.required(0)?;
    let mut parts = Vec::new();
    if let Some(w) = cotangents.first().and_then(Option::as_ref) {
        let g = e.op("Mul", &[w, node.required(1)?]);
        let mean = e.op("ReduceMean", &[&g, &s.axes]);
        let weighted = e.op("Mul", &[&g, &s.normal]);
        let weighted_mean = e.op("ReduceMean", &[&weighted, &s.axes]);
        let along = e.op("Mul", &[&s.normal, &weighted_mean]);
        let centred = e.op("Sub", &[&g, &mean]);
        let rest = e.op("Sub", &[&centred, &along]);
        parts.push(e.op("Mul", &[&rest, &s.rate]));
    }
    let dtype = e.dtype(x)?;
    for (index, w) in cotangents.iter().enumerate().skip(1) {
        let Some(w) = w else { continue };
        let w = e.cast(w, DataType::Float, dtype);
        let first = axis(node.int("axis", -1)?, e.dims(x)?.len())?;
        #[allow(clippy::cast_precision_loss)]
        let share = e.scalar(1.0 / e.fixed(x, first)?.iter().product::<usize>() as f64, dtype);
        let mut part = e.op("Mul", &[&w, &share]);
        part = if index == 1 {
            let zeros = zeros_like(x, e)?;
            e.op("Add", &[&zeros, &part])
        } else {
            let square = e.op("Mul", &[&s.rate, &s.rate]);
            let scaled = e.op("Mul", &[&part, &square]);
            let minus = e.op("Neg", &[&scaled]);
            e.op("Mul", &[&s.normal, &minus])
        };
        parts.push(part);
    }
    let sum = parts.into_iter().reduce(|sum, part| e.op("Add", &[&sum, &part]));
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn uses_the_forward_statistics() {
        let text = vjp_text("LayerNormalization", "x[n,3] scale[3] bias[3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        y, y:1, y:2 = LayerNormalization(x, scale, bias)
        Sub.0 = Sub(x, y:1)
        Mul.1 = Mul(Sub.0, y:2)
        Mul.2 = Mul(w, scale)
        ReduceMean.3 = ReduceMean(Mul.2, [1])
        Mul.4 = Mul(Mul.2, Mul.1)
        ReduceMean.5 = ReduceMean(Mul.4, [1])
        Mul.6 = Mul(Mul.1, ReduceMean.5)
        Sub.7 = Sub(Mul.2, ReduceMean.3)
        Sub.8 = Sub(Sub.7, Mul.6)
        Mul.9 = Mul(Sub.8, y:2)
        Mul.10 = Mul(w, Mul.1)
        ReduceSum.11 = ReduceSum(Mul.10, [0]) keepdims=1
        Reshape.12 = Reshape(ReduceSum.11, [3]) allowzero=0
        ReduceSum.13 = ReduceSum(w, [0]) keepdims=1
        Reshape.14 = Reshape(ReduceSum.13, [3]) allowzero=0
        x' = Mul.9
        scale' = Reshape.12
        bias' = Reshape.14
        ");
    }
}
