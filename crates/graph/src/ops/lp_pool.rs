//! `LpPool`: the p-norm of each window. <https://onnx.ai/onnx/operators/onnx__LpPool.html>
//!
//! With `y = (Σ |x|^p)^(1/p)` the derivative by an element is `|x|^(p-1) sign(x) y^(1-p)`. Where a window holds only zeros it
//! is 0, as of `torch.norm`.

use super::class::{divided_where_not_zero, sign, unary};
use super::convolve::{Kernel, spread};
use super::inputs::size;
use super::max_pool::pool_windows;
use super::window;
use super::{Class, Operator};
use crate::{Cause, Channels, DataType, Emit, Node, Rule, Tensor, Value};

pub(super) struct LpPool;

impl Operator for LpPool {
    fn name(&self) -> &'static str {
        "LpPool"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn refused(&self) -> &'static str {
        "`auto_pad` `SAME_*` with dilations, or with strides that skip several elements at the end"
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
            let facts = e.facts(x)?;
            let channels = size(&facts.dims, 1)?;
            let windows = pool_windows(node, e)?;
            let share = of_norm(y, w, p, facts.dtype, e);
            let taps = windows.iter().map(|w| usize::try_from(w.kernel).unwrap_or(0));
            let shape: Vec<usize> = [channels, 1].into_iter().chain(taps).collect();
            let ones = Tensor::rounded(facts.dtype, &shape, &vec![1.0; shape.iter().product()]);
            let value = e.tensor(ones.clone());
            let shares = spread(&share, Kernel { value: &value, content: Some(&ones) }, &windows, channels, e)?;
            let element = of_elements(x, p, facts.dtype, e);
            Ok(e.op("Mul", &[&element, &shares]))
        })
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        window::channel_by_channel(node, c)
    }
}

/// Attribute `p`.
pub(super) fn exponent(node: &Node) -> Rule<i64> {
    let p = node.int("p", 2)?;
    if (1..=i64::from(i16::MAX)).contains(&p) {
        return Ok(p);
    }
    Err(Cause::Malformed(format!("attribute \"p\" is {p}; a norm has at least 1")))
}

/// `w y^(1-p)`, 0 where `y` is 0.
pub(super) fn of_norm(y: &Value, w: &Value, p: i64, dtype: DataType, e: &mut Emit<'_>) -> Value {
    let power = match p {
        1 => return w.clone(),
        2 => y.clone(),
        _ => power(y, p - 1, dtype, e),
    };
    divided_where_not_zero(w, &power, dtype, e)
}

/// `|x|^(p-1) sign(x)`.
pub(super) fn of_elements(x: &Value, p: i64, dtype: DataType, e: &mut Emit<'_>) -> Value {
    match p {
        1 => sign(x, dtype, e),
        2 => x.clone(),
        _ if p % 2 == 0 => power(x, p - 1, dtype, e),
        _ => {
            let magnitude = e.op("Abs", &[x]);
            let power = power(&magnitude, p - 2, dtype, e);
            e.op("Mul", &[x, &power])
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn power(x: &Value, exponent: i64, dtype: DataType, e: &mut Emit<'_>) -> Value {
    let exponent = e.scalar(exponent as f64, dtype);
    e.op("Pow", &[x, &exponent])
}
