//! Reductions that are not linear, each with its derivative as a formula in `x` and `y`.

use super::class::{divided_where_not_zero, sign, unary};
use super::reduction::{self, Reduction};
use super::{Class, Operator};
use crate::{Cause, Channels, DataType, Emit, Node, Rule, Value};

/// The operator that makes one number of the elements along some axes.
pub(super) struct NonlinearReduction {
    name: &'static str,
    product: Product,
}

/// The cotangent of `x`, in its shape.
type Product = fn(&Reduced<'_>, &mut Emit<'_>) -> Rule<Value>;

/// What the derivative is made from: the input `x`, and the output `y` and its cotangent `w` with the reduced axes of size 1.
struct Reduced<'a> {
    x: &'a Value,
    y: Value,
    w: Value,
    reduction: Reduction,
}

impl Operator for NonlinearReduction {
    fn name(&self) -> &'static str {
        self.name
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn refused(&self) -> &'static str {
        "axes that are computed; `noop_with_empty_axes` without axes"
    }

    /// Refuses to reduce no axis, on which the specification and runtimes do not agree: a copy, or the function of each element.
    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        let reduction = Reduction::of(node, e)?;
        unary(node, cotangents, wanted, |x, y, w| {
            if reduction.axes.is_empty() {
                return Err(Cause::Unsupported("noop_with_empty_axes without axes; name the axes".into()));
            }
            let (y, w) = (reduction.keep(y, e), reduction.keep(w, e));
            (self.product)(&Reduced { x, y, w, reduction }, e)
        })
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        reduction::channels(node, c)
    }
}

/// The sum of magnitudes. At 0 the derivative is 0.
pub(super) static REDUCE_L1: NonlinearReduction = NonlinearReduction {
    name: "ReduceL1",
    product: |Reduced { x, w, .. }, e| {
        let sign = sign(x, e.dtype(x)?, e);
        Ok(e.op("Mul", &[&sign, w]))
    },
};

/// The Euclidean norm. Where all elements are 0 the derivative is 0.
pub(super) static REDUCE_L2: NonlinearReduction = NonlinearReduction {
    name: "ReduceL2",
    product: |Reduced { x, y, w, .. }, e| {
        let rate = divided_where_not_zero(w, y, e.dtype(x)?, e);
        Ok(e.op("Mul", &[x, &rate]))
    },
};

/// The logarithm of the sum, whose derivative is `1 / Σ x = exp(-y)`.
pub(super) static REDUCE_LOG_SUM: NonlinearReduction = NonlinearReduction {
    name: "ReduceLogSum",
    product: |Reduced { x, y, w, reduction }, e| {
        let minus = e.op("Neg", &[y]);
        let rate = e.op("Exp", &[&minus]);
        let share = e.op("Mul", &[w, &rate]);
        e.expand(&share, &reduction.kept, x)
    },
};

/// `log Σ exp(x)`, whose derivative is the softmax `exp(x - y)`.
pub(super) static REDUCE_LOG_SUM_EXP: NonlinearReduction = NonlinearReduction {
    name: "ReduceLogSumExp",
    product: |Reduced { x, y, w, .. }, e| {
        let lower = e.op("Sub", &[x, y]);
        let share = e.op("Exp", &[&lower]);
        Ok(e.op("Mul", &[&share, w]))
    },
};

/// The product.
///
/// The derivative by an element is the product of the others: `y / x`, but for zeros. If one element is 0, only the derivative
/// by it is not 0; if two are, all derivatives are 0. Second derivatives by pairs of elements of which one is 0 are taken
/// as 0.
pub(super) static REDUCE_PROD: NonlinearReduction = NonlinearReduction {
    name: "ReduceProd",
    product: |Reduced { x, w, reduction, .. }, e| {
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
    },
};

/// The sum of squares.
pub(super) static REDUCE_SUM_SQUARE: NonlinearReduction = NonlinearReduction {
    name: "ReduceSumSquare",
    product: |Reduced { x, w, .. }, e| {
        let two = e.scalar(2.0, e.dtype(x)?);
        let doubled = e.op("Mul", &[w, &two]);
        Ok(e.op("Mul", &[x, &doubled]))
    },
};
