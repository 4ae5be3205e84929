//! `ScatterElements`: one element written for each position of the updates.
//! <https://onnx.ai/onnx/operators/onnx__ScatterElements.html>
//!
//! Without a reduction no two updates may go to one place, as the specification demands.

use super::{Class, Operator};
use crate::{Attribute, Cause, Emit, Node, Rule, Value};

/// Inputs: data, indices, updates.
pub(super) struct ScatterElements;

impl Operator for ScatterElements {
    fn name(&self) -> &'static str {
        "ScatterElements"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn refused(&self) -> &'static str {
        "`reduction` mul, max and min"
    }

    /// To the updates what lies where they went; to the data everything, but for what was overwritten.
    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let indices = node.required(1)?;
        let axis: Attribute = node.int("axis", 0)?.into();
        match (scattering(node)?, input) {
            (_, 2) => Ok(e.op_with("GatherElements", &[y, indices], [("axis", axis)])),
            (Scattering::Add, _) => Ok(y.clone()),
            (Scattering::Replace, _) => {
                let zeros = super::inputs::zeros_like(node.required(2)?, e)?;
                Ok(e.op_with("ScatterElements", &[y, indices, &zeros], [("axis", axis)]))
            }
        }
    }
}

/// How updates meet the data.
pub(super) enum Scattering {
    Replace,
    Add,
}

/// Attribute `reduction` of a scattering operator.
///
/// # Errors
/// It has no rule.
pub(super) fn scattering(node: &Node) -> Rule<Scattering> {
    match node.text("reduction", "none")? {
        "none" => Ok(Scattering::Replace),
        "add" => Ok(Scattering::Add),
        other @ ("mul" | "max" | "min") => {
            Err(Cause::Unsupported(format!("reduction {other}; none and add are supported")))
        }
        other => Err(Cause::Malformed(format!("attribute \"reduction\" is \"{other}\""))),
    }
}
