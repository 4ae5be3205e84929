//! `Split`: parts of a tensor along an axis. <https://onnx.ai/onnx/operators/onnx__Split.html>

use super::inputs::zeros_like;
use super::{Class, Operator};
use crate::{Cause, Emit, Node, Rule, Value};

/// Inputs: data, sizes.
#[derive(Debug)]
pub(super) struct Split;

impl Operator for Split {
    fn name(&self) -> &'static str {
        "Split"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    fn refused(&self) -> &'static str {
        "a part without a name"
    }

    /// The cotangents of the parts one after the other, with zeros for parts that nothing depends on.
    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        let mut products = vec![None; wanted.len()];
        if cotangents.iter().all(Option::is_none) {
            return Ok(products);
        }
        let mut parts = Vec::with_capacity(cotangents.len());
        for (part, cotangent) in cotangents.iter().enumerate() {
            parts.push(match (cotangent, node.output(part)) {
                (Some(y), _) => y.clone(),
                (None, Some(output)) => zeros_like(output, e)?,
                (None, None) => {
                    return Err(Cause::Unsupported(format!("output {part} has no name; give every part one")));
                }
            });
        }
        let axis = node.int("axis", 0)?;
        let parts: Vec<&Value> = parts.iter().collect();
        if let Some(product) = products.first_mut() {
            *product = Some(e.op_with("Concat", &parts, [("axis", axis.into())]));
        }
        Ok(products)
    }
}
