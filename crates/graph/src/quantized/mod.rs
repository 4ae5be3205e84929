//! Quantized operators written out, for derivatives: `QLinearConv` and its like become the operator on floating-point numbers
//! between `DequantizeLinear` and `QuantizeLinear`, which have rules.
//!
//! Integers have no derivative, but the numbers that they stand for have an estimated one (see `ops/quantize_linear.rs`). So
//! every tensor of integers between a quantization and its end gets a floating-point tensor beside it, of the numbers that its
//! elements stand for: by `DequantizeLinear` behind what quantizes, and by the same operator again behind what only moves or
//! selects elements. Constants are dequantized here, once.
//!
//! What is written out computes what the file's operators compute, but for rounding: their kernels add up integers and
//! round once at the end, which differs from sums of f32 where a number lies between two steps. The forward pass of a
//! derived model can therefore differ from the hosted model's in some quantized numbers by one step. What an attack finds is
//! verified by the hosted model.

mod integer;
mod linear;
mod moving;
mod written;

use std::borrow::Cow;
use std::collections::HashSet;

use crate::order::reads;
use crate::{Node, Rule, Shaped, TransformError, Value};
use written::Written;

/// `source` with every quantized operator that its inputs reach written out; itself if there is none. `pass` is named in
/// errors.
///
/// # Errors
/// A quantized operator has no rule, or not for one of its attributes.
pub(crate) fn written_out<'s>(pass: &'static str, source: &'s Shaped) -> Result<Cow<'s, Shaped>, TransformError> {
    let graph = &source.model().graph;
    if !graph.nodes.iter().any(is_quantized) {
        return Ok(Cow::Borrowed(source));
    }
    let mut varying: HashSet<&Value> = graph.inputs.iter().map(|i| &i.value).collect();
    let mut written = Written::new(source);
    for node in &graph.nodes {
        let reached = reads(node).iter().any(|v| varying.contains(*v));
        if reached {
            varying.extend(node.outputs.iter().flatten());
        }
        let done = if reached {
            write_out(node, &mut written).map_err(|cause| TransformError::at(pass, node, cause))?
        } else {
            written.fold(node)
        };
        if !done {
            written.keep(node);
        }
    }
    Ok(Cow::Owned(written.finish()))
}

/// Whether `node` computes with quantized numbers, or makes or ends them.
fn is_quantized(node: &Node) -> bool {
    let name = node.operator.as_str();
    name.starts_with("QLinear")
        || matches!(
            name,
            "QuantizeLinear" | "DequantizeLinear" | "DynamicQuantizeLinear" | "ConvInteger" | "MatMulInteger" | "QGemm"
        )
}

/// Writes `node` out; whether it was, or stays as it is.
fn write_out(node: &Node, written: &mut Written) -> Rule<bool> {
    match (node.domain.as_str(), node.operator.as_str()) {
        ("" | "com.microsoft", "QuantizeLinear") | ("", "DynamicQuantizeLinear") => {
            written.quantizes(node)?;
            Ok(false)
        }
        ("" | "com.microsoft", "DequantizeLinear") => written.ends(node),
        ("", "ConvInteger" | "MatMulInteger") => integer::product(node, written).map(|()| true),
        ("", "Cast") => integer::cast(node, written),
        ("" | "com.microsoft", _) if linear::find(node).is_some() => linear::write_out(node, written).map(|()| true),
        ("", _) => {
            moving::beside(node, written)?;
            Ok(false)
        }
        _ => Ok(false),
    }
}
