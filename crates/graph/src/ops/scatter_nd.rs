//! `ScatterND`: slices written where tuples of indices say. <https://onnx.ai/onnx/operators/onnx__ScatterND.html>
//!
//! Without a reduction no two updates may go to one place, as the specification demands.

use super::inputs::zeros_like;
use super::scatter_elements::{Scattering, scattering};
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// Inputs: data, indices, updates.
pub(super) struct ScatterNd;

impl Operator for ScatterNd {
    fn name(&self) -> &'static str {
        "ScatterND"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn refused(&self) -> &'static str {
        "`reduction` mul, max and min"
    }

    /// As of `ScatterElements`.
    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let indices = node.required(1)?;
        match (scattering(node)?, input) {
            (_, 2) => Ok(e.op("GatherND", &[y, indices])),
            (Scattering::Add, _) => Ok(y.clone()),
            (Scattering::Replace, _) => {
                let zeros = zeros_like(node.required(2)?, e)?;
                Ok(e.op("ScatterND", &[y, indices, &zeros]))
            }
        }
    }
}
