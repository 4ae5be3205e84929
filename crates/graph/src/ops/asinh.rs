//! `arsinh x`, whose derivative is `1 / √(x² + 1)`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Asinh`.
pub(super) struct Asinh;

impl Operator for Asinh {
    fn name(&self) -> &'static str {
        "Asinh"
    }

    fn class(&self) -> Class {
        Class::Monotone
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        unary(node, cotangents, wanted, |x, _, w| {
            let one = e.scalar(1.0, e.dtype(x)?);
            let square = e.op("Mul", &[x, x]);
            let sum = e.op("Add", &[&square, &one]);
            let root = e.op("Sqrt", &[&sum]);
            Ok(e.op("Div", &[w, &root]))
        })
    }
}
