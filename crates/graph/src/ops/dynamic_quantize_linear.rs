//! `DynamicQuantizeLinear`: 8 bits, with scale and zero point from the smallest and the largest number of the whole tensor.
//! <https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>
//!
//! The straight-through estimator of `quantize_linear`, with scale and zero point taken as given, as an observer in
//! quantization-aware training is. Nothing saturates, because the scale covers every number.

use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `DynamicQuantizeLinear`.
pub(super) struct DynamicQuantizeLinear;

impl Operator for DynamicQuantizeLinear {
    fn name(&self) -> &'static str {
        "DynamicQuantizeLinear"
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
        let mut products = vec![None; wanted.len()];
        if let (Some(Some(w)), Some(true)) = (cotangents.first(), wanted.first()) {
            products[0] = Some(w.clone());
            e.estimates(node);
        }
        Ok(products)
    }
}
