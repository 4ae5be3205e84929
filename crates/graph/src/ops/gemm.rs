//! `alpha A' B' + beta C`, where `A'` and `B'` are transposed as the attributes say and `C` is broadcast.

use super::class::{output, unbroadcast};
use super::{Class, Operator};
use crate::{Cause, Channels, Dependence, Emit, Node, Rule, Value};

/// The operator `Gemm`.
pub(super) struct Gemm;

impl Operator for Gemm {
    fn name(&self) -> &'static str {
        "Gemm"
    }

    fn class(&self) -> Class {
        Class::Bilinear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let (a, b) = (node.required(0)?, node.required(1)?);
        let (trans_a, trans_b) = (node.int("transA", 0)? != 0, node.int("transB", 0)? != 0);
        let (alpha, beta) = (node.float("alpha", 1.0)?, node.float("beta", 1.0)?);
        let mut product = |left: &Value, left_transposed: bool, right: &Value, right_transposed: bool| {
            let flag = |on: bool| i64::from(on).into();
            let transposed = [("transA", flag(left_transposed)), ("transB", flag(right_transposed))];
            let [first, second] = transposed;
            e.op_with("Gemm", &[left, right], [("alpha", alpha.into()), first, second])
        };
        Ok(match (input, trans_a, trans_b) {
            (0, false, _) => product(y, false, b, !trans_b),
            (0, true, _) => product(b, trans_b, y, true),
            (1, _, false) => product(a, !trans_a, y, false),
            (1, _, true) => product(y, true, a, trans_a),
            _ => {
                let summed = unbroadcast(node, input, y, e)?;
                if beta == 1.0 {
                    return Ok(summed);
                }
                let beta = e.scalar(f64::from(beta), e.dtype(node.required(input)?)?);
                e.op("Mul", &[&summed, &beta])
            }
        })
    }

    fn dependence(&self, _: &Node, data: &[bool], _: &Emit<'_>) -> Rule<Dependence> {
        Ok(match data {
            [true, true, ..] => Dependence::Other,
            [_, _] | [_, _, true] => Dependence::Linear,
            _ => Dependence::Affine,
        })
    }

    /// Factors by their size, and no summand.
    fn radius(&self, node: &Node, r: &[Option<Value>], e: &mut Emit<'_>) -> Rule<Value> {
        let factors = match r {
            [Some(r), None] | [Some(r), None, None] => [r.clone(), e.op("Abs", &[node.required(1)?])],
            [None, Some(r)] | [None, Some(r), None] => [e.op("Abs", &[node.required(0)?]), r.clone()],
            _ => return Err(Cause::Unsupported("a summand that depends on the sample; write it as an Add".into())),
        };
        let alpha = node.float("alpha", 1.0)?.abs();
        let flags = ["transA", "transB"].map(|flag| Ok((flag, node.int(flag, 0)?.into())));
        let [trans_a, trans_b] = flags;
        Ok(e.op_with("Gemm", &[&factors[0], &factors[1]], [("alpha", alpha.into()), trans_a?, trans_b?]))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let (a, b, y) = (node.required(0)?, node.required(1)?, output(node)?);
        let (row, inner) = if node.int("transA", 0)? == 0 { (0, 1) } else { (1, 0) };
        let (inner_b, column) = if node.int("transB", 0)? == 0 { (0, 1) } else { (1, 0) };
        c.carry(a, row, y, 0);
        c.carry(b, column, y, 1);
        c.carry(a, inner, b, inner_b);
        if let Some(bias) = node.input(2) {
            c.broadcast(bias, y)?;
        }
        c.sums_products(node, [inner, inner_b]);
        c.makes(node, 0, row);
        c.makes(node, 1, column);
        Ok(())
    }

    /// Weights of zeros make the bias.
    fn uniform(&self, node: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        let bias = if node.input(2).is_some() { inputs[2] } else { Some(0.0) };
        let beta = f64::from(node.float("beta", 1.0).ok()?);
        bias.filter(|_| inputs.iter().take(2).any(|factor| *factor == Some(0.0))).map(|bias| beta * bias)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn transposes_weights() {
        let text = vjp_text("Gemm", "a[n,3] b[4,3] c[4] -> y[n,4]", &[("transB", 1.into()), ("beta", 0.5.into())]);
        assert_snapshot!(text, @"
        Gemm.0 = Gemm(w, b) alpha=1 transA=0 transB=0
        Gemm.1 = Gemm(w, a) alpha=1 transA=1 transB=0
        ReduceSum.2 = ReduceSum(w, [0]) keepdims=1
        Reshape.3 = Reshape(ReduceSum.2, [4]) allowzero=0
        Mul.4 = Mul(Reshape.3, 0.5)
        a' = Gemm.0
        b' = Gemm.1
        c' = Mul.4
        ");
    }
}
