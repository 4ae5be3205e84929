//! `a * b`, broadcast.

use super::class::{output, product, unbroadcast};
use super::{Class, Operator};
use crate::emit::trailing_copies;
use crate::{Cause, Channels, Dependence, Emit, Node, Rule, Value};

/// The operator `Mul`.
pub(super) struct Mul;

impl Operator for Mul {
    fn name(&self) -> &'static str {
        "Mul"
    }

    fn class(&self) -> Class {
        Class::Bilinear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let other = node.required(1 - input.min(1))?;
        let other = repeated(other, output(node)?, e)?;
        let product = e.op("Mul", &[y, &other]);
        unbroadcast(node, input, &product, e)
    }

    fn dependence(&self, _: &Node, data: &[bool], _: &Emit<'_>) -> Rule<Dependence> {
        Ok(product(data))
    }

    fn radius(&self, node: &Node, r: &[Option<Value>], e: &mut Emit<'_>) -> Rule<Value> {
        let (r, factor) = match r {
            [Some(r), None] => (r, node.required(1)?),
            [None, Some(r)] => (r, node.required(0)?),
            _ => return Err(Cause::NoRule),
        };
        let size = e.op("Abs", &[factor]);
        Ok(e.op("Mul", &[r, &size]))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        c.elementwise(node)
    }

    /// One factor of zero is enough.
    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        if inputs.contains(&Some(0.0)) { Some(0.0) } else { inputs.iter().copied().product() }
    }
}

/// Copies of each element up to which repeating a factor and multiplying element by element is faster than broadcasting, on
/// ONNX Runtime's CPU kernels, which broadcast in runs as long as a map. (`make bench-forms`; `docs/performance.md` has the
/// times.)
const REPEATED: usize = 49;

/// `factor` in the shape of `like` where that is faster; otherwise as it is.
fn repeated(factor: &Value, like: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    let (from, to) = (e.dims(factor)?, e.dims(like)?);
    let few = trailing_copies(from, to).is_some_and(|copies| copies <= REPEATED);
    if few && e.lowering().is_cpu() { e.expand(factor, from, like) } else { Ok(factor.clone()) }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn repeats_the_factor_of_a_small_map() {
        let text = vjp_text("Mul", "x[n,3,2] s=[2.0] -> y[n,3,2]", &[]);
        assert_snapshot!(text, @"
        Mul.0 = Mul(w, s)
        x' = Mul.0
        ");
        let text = vjp_text("Mul", "x[n,3,2] s[n,3,1] -> y[n,3,2]", &[]);
        assert_snapshot!(text, @"
        Reshape.0 = Reshape(s, [-1, 1])
        MatMul.1 = MatMul(Reshape.0, [1, 1])
        Reshape.2 = Reshape(MatMul.1, [-1, 3, 2]) allowzero=0
        Mul.3 = Mul(w, Reshape.2)
        Mul.4 = Mul(w, x)
        ReduceSum.5 = ReduceSum(Mul.4, [2]) keepdims=1
        x' = Mul.3
        s' = ReduceSum.5
        ");
    }

    #[test]
    fn multiplies_by_the_other() {
        let text = vjp_text("Mul", "a[n,3] b[3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Mul.0 = Mul(w, b)
        Mul.1 = Mul(w, a)
        ReduceSum.2 = ReduceSum(Mul.1, [0]) keepdims=1
        Reshape.3 = Reshape(ReduceSum.2, [3]) allowzero=0
        a' = Mul.0
        b' = Reshape.3
        ");
    }
}
