//! The product over axes.
//!
//! The derivative by an element is the product of the others: `y / x`, but for zeros. If one element is 0, only the derivative
//! by it is not 0; if two are, all derivatives are 0. Second derivatives by pairs of elements of which one is 0 are taken
//! as 0.

use super::reduction::{Reduced, reduced};
use super::{Class, Operator};
use crate::{DataType, Emit, Node, Rule, Value};

/// The operator `ReduceProd`.
pub(super) struct ReduceProd;

impl Operator for ReduceProd {
    fn name(&self) -> &'static str {
        "ReduceProd"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn refused(&self) -> &'static str {
        "axes that are computed; `noop_with_empty_axes` without axes"
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        reduced(node, cotangents, wanted, e, |Reduced { x, w, reduction, .. }, e| {
            let dtype = e.dtype(x)?;
            let (zero, one, axes) = (e.scalar(0.0, dtype), e.scalar(1.0, dtype), e.ints(&reduction.axes));
            let is_zero = e.op("Equal", &[x, &zero]);
            let factors = e.op("Where", &[&is_zero, &one, x]);
            let product = e.op("ReduceProd", &[&factors, &axes]);
            let counted = e.cast(&is_zero, DataType::Bool, dtype);
            let zeros = e.op("ReduceSum", &[&counted, &axes]);

            let product = e.op("Mul", &[w, &product]);
            let none = e.op("Equal", &[&zeros, &zero]);
            let of_all = e.op("Where", &[&none, &product, &zero]);
            let of_others = e.op("Div", &[&of_all, &factors]);
            let single = e.op("Equal", &[&zeros, &one]);
            let of_rest = e.op("Where", &[&single, &product, &zero]);
            Ok(e.op("Where", &[&is_zero, &of_rest, &of_others]))
        })
    }
}
