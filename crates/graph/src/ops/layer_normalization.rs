//! `scale (x - mean) / √(variance + epsilon) + bias`, with mean and variance over the last dimensions from an axis on.
//!
//! With `x̂ = (x - mean) / σ` and `g = w scale` the product for `x` is `(g - mean(g) - x̂ mean(g x̂)) / σ`. Mean and `1 / σ`
//! are further outputs of the forward node.

use super::class::{output, unbroadcast};
use super::inputs::{axis, int};
use super::{Class, Operator};
use crate::{Cause, DataType, Emit, Node, Rule, Value};

/// The operator `LayerNormalization`.
pub(super) struct LayerNormalization;

impl Operator for LayerNormalization {
    fn name(&self) -> &'static str {
        "LayerNormalization"
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
        let (Some(w), x) = (cotangents.first().and_then(Option::as_ref), node.required(0)?) else {
            return Ok(vec![None; wanted.len()]);
        };
        if cotangents.iter().skip(1).any(Option::is_some) {
            return Err(Cause::Unsupported(
                "an output that depends on the statistics; only the first output may be used".into(),
            ));
        }
        let statistics = statistics(node, x, e)?;
        let mut products = vec![None; wanted.len()];
        if wanted[0] {
            products[0] = Some(of_input(node, w, &statistics, e)?);
        }
        if wanted.get(1) == Some(&true) {
            let product = e.op("Mul", &[w, &statistics.normal]);
            products[1] = Some(unbroadcast(node, 1, &product, e)?);
        }
        if wanted.get(2) == Some(&true) {
            products[2] = Some(unbroadcast(node, 2, w, e)?);
        }
        Ok(products)
    }
}

struct Statistics {
    /// `1 / σ`.
    rate: Value,
    /// `x̂`.
    normal: Value,
}

fn statistics(node: &Node, x: &Value, e: &mut Emit<'_>) -> Rule<Statistics> {
    if node.int("stash_type", 1)? != 1 {
        return Err(Cause::Unsupported("attribute \"stash_type\" other than 1 (f32)".into()));
    }
    let dtype = e.dtype(x)?;
    let [mean, rate] = [1, 2].map(|index| {
        let value = e.forward_output(output(node)?, index);
        Ok(e.cast(&value, DataType::Float, dtype))
    });
    let (mean, rate) = (mean?, rate?);
    let centred = e.op("Sub", &[x, &mean]);
    Ok(Statistics { normal: e.op("Mul", &[&centred, &rate]), rate })
}

fn of_input(node: &Node, w: &Value, s: &Statistics, e: &mut Emit<'_>) -> Rule<Value> {
    let rank = e.dims(node.required(0)?)?.len();
    let axes: Vec<i64> = (axis(node.int("axis", -1)?, rank)?..rank).map(int).collect();
    let axes = e.ints(&axes);
    let g = e.op("Mul", &[w, node.required(1)?]);
    let mean = e.op("ReduceMean", &[&g, &axes]);
    let weighted = e.op("Mul", &[&g, &s.normal]);
    let weighted_mean = e.op("ReduceMean", &[&weighted, &axes]);
    let along = e.op("Mul", &[&s.normal, &weighted_mean]);
    let centred = e.op("Sub", &[&g, &mean]);
    let rest = e.op("Sub", &[&centred, &along]);
    Ok(e.op("Mul", &[&rest, &s.rate]))
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
