//! The largest of any number of inputs, broadcast. Equal ones share the derivative evenly.

use super::class::{broadcast, output};
use super::{Class, Operator};
use crate::{DataType, Emit, Node, Rule, Value};

/// The operator `Max`.
pub(super) struct Max;

impl Operator for Max {
    fn name(&self) -> &'static str {
        "Max"
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
        extremum(node, cotangents, wanted, e)
    }
}

/// The gradient of `Max` and of `Min`: to the inputs that equal the output, in even shares.
pub(super) fn extremum(
    node: &Node,
    cotangents: &[Option<Value>],
    wanted: &[bool],
    e: &mut Emit<'_>,
) -> Rule<Vec<Option<Value>>> {
    let y = output(node)?;
    let dtype = e.dtype(y)?;
    let mut masks = Vec::with_capacity(node.inputs.len());
    for input in 0..node.inputs.len() {
        let equal = e.op("Equal", &[node.required(input)?, y]);
        masks.push(e.cast(&equal, DataType::Bool, dtype));
    }
    let ties = e.op("Sum", &masks.iter().collect::<Vec<_>>());
    broadcast(node, cotangents, wanted, e, |input, w, e| {
        let mask = e.op("Mul", &[w, &masks[input]]);
        Ok(e.op("Div", &[&mask, &ties]))
    })
}
