//! The operators: one file each with everything that is known about it, and the table that lists them.
//!
//! To add an operator, write its file and its line in [`OPERATORS`]; nothing else changes. An operator that is not in the
//! table, or an attribute that its file does not handle, is refused by name.

mod class;

use crate::error::no_rule;
use crate::{Emit, Node, Rule, Value};

/// What kind of function an operator is in its differentiable inputs. It decides which rules have provable defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Moves, copies or drops elements.
    ShapeOnly,
    /// Linear in each differentiable input, and in all of them together.
    Linear,
    /// Linear in each differentiable input while the others are fixed.
    Bilinear,
    /// Element-wise and non-decreasing.
    Monotone,
    /// Element-wise.
    Elementwise,
    /// Anything else.
    Opaque,
}

/// Everything assay knows about one operator of the canonical opset.
pub trait Operator: Sync {
    /// Its ONNX name, in the standard domain.
    fn name(&self) -> &'static str;

    /// What kind of function it is.
    fn class(&self) -> Class;

    /// `Aᵀ y` for the linear map `A` from input `input` to the only output, the other inputs held fixed.
    ///
    /// `y` has the output's shape, the result has the input's. Operators of class [`Class::ShapeOnly`], [`Class::Linear`] and
    /// [`Class::Bilinear`] implement it; their gradient is this graph.
    ///
    /// # Errors
    /// An attribute without a rule.
    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let _ = (input, y, e);
        Err(no_rule(node))
    }

    /// The vector–Jacobian product: from the cotangents of the outputs (`None`: zero) those of the inputs.
    ///
    /// The result has one entry per input of the node; entries whose `wanted` is false are ignored, so a rule may return
    /// `None` there. `None` where `wanted` is true means that the derivative is zero.
    ///
    /// # Errors
    /// An attribute without a rule.
    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        class::vjp(self, node, cotangents, wanted, e)
    }
}

/// The table, sorted by name.
pub static OPERATORS: &[&dyn Operator] = &[];

/// The operator called `name` in the standard domain.
#[must_use]
pub fn operator(name: &str) -> Option<&'static dyn Operator> {
    OPERATORS.binary_search_by(|o| o.name().cmp(name)).ok().map(|i| OPERATORS[i])
}
