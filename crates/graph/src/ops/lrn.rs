//! `LRN`: each element divided by a power of the squares in the channels around it.
//! <https://onnx.ai/onnx/operators/onnx__LRN.html>
//!
//! With `s = bias + alpha / size Σ x²` over the window of channels and `y = x s^-beta`, the product is
//! `w s^-beta - 2 alpha beta / size x Σ (w x s^(-beta-1))`, the sum over the windows that hold the element.

use super::class::unary;
use super::inputs::{int, product};
use super::{Class, Operator};
use crate::{Cause, Dim, Emit, Node, Rule, Value};

/// The operator `LRN`.
pub(super) struct Lrn;

impl Operator for Lrn {
    fn name(&self) -> &'static str {
        "LRN"
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
        let size = node.int("size", 0)?;
        if size < 1 {
            return Err(Cause::Malformed(format!("attribute \"size\" is {size}; a window has at least 1 channel")));
        }
        let alpha = f64::from(node.float("alpha", 1e-4)?);
        let beta = f64::from(node.float("beta", 0.75)?);
        let bias = f64::from(node.float("bias", 1.0)?);
        // An even window reaches one channel further behind.
        let (before, behind) = ((size - 1) / 2, size / 2);
        unary(node, cotangents, wanted, |x, _, w| {
            let facts = e.facts(x)?;
            let dims = Channels::of(&facts.dims)?;
            let [alpha_, bias, power, twice] =
                [alpha, bias, -beta, 2.0 * alpha * beta].map(|v| e.scalar(v, facts.dtype));
            let squares = e.op("Mul", &[x, x]);
            let mean = dims.mean(&squares, size, before, behind, e)?;
            let scaled = e.op("Mul", &[&mean, &alpha_]);
            let s = e.op("Add", &[&scaled, &bias]);
            let factor = e.op("Pow", &[&s, &power]);
            let direct = e.op("Mul", &[w, &factor]);

            let weighted = e.op("Mul", &[&direct, x]);
            let shares = e.op("Div", &[&weighted, &s]);
            let from_all = dims.mean(&shares, size, behind, before, e)?;
            let scaled = e.op("Mul", &[&from_all, &twice]);
            let through = e.op("Mul", &[x, &scaled]);
            Ok(e.op("Sub", &[&direct, &through]))
        })
    }

    fn channels(&self, node: &Node, c: &mut crate::Channels<'_>) -> Rule<()> {
        c.all_but(node, |axis| axis == 1, "it normalises over neighbouring channels")
    }
}

/// A tensor `[n, c, …]` as one image of `c` rows for each sample.
struct Channels<'a> {
    dims: &'a [Dim],
    image: [Dim; 4],
}

impl<'a> Channels<'a> {
    fn of(dims: &'a [Dim]) -> Rule<Self> {
        let &[n, c, ref spatial @ ..] = dims else {
            return Err(Cause::Malformed("the data has at least two dimensions".into()));
        };
        Ok(Self { dims, image: [n, Dim::Fixed(1), c, product(spatial)?] })
    }

    /// `1 / size` of the sum over `before` channels before each, itself, and `behind` behind it; what is not there counts 0.
    fn mean(&self, v: &Value, size: i64, before: i64, behind: i64, e: &mut Emit<'_>) -> Rule<Value> {
        let image = e.reshape(v, &self.image)?;
        let mean = e.op_with(
            "AveragePool",
            &[&image],
            [
                ("kernel_shape", vec![size, 1].into()),
                ("pads", vec![before, 0, behind, 0].into()),
                ("count_include_pad", int(1).into()),
            ],
        );
        e.reshape(&mean, self.dims)
    }
}
