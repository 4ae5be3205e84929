//! `Split`: parts of a tensor along an axis. <https://onnx.ai/onnx/operators/onnx__Split.html>

use super::inputs::{axis, int, zeros_like};
use super::{Class, Operator};
use crate::{Cause, Channels, Emit, Node, Pruned, Rule, Value};

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
            parts.push(match cotangent {
                Some(y) => y.clone(),
                None => zeros_like(named(node, part)?, e)?,
            });
        }
        let axis = node.int("axis", 0)?;
        let parts: Vec<&Value> = parts.iter().collect();
        if let Some(product) = products.first_mut() {
            *product = Some(e.op_with("Concat", &parts, [("axis", axis.into())]));
        }
        Ok(products)
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let x = node.required(0)?;
        let rank = c.dims(x)?.len();
        let split = axis(node.int("axis", 0)?, rank)?;
        let mut start = 0;
        for part in 0..node.outputs.len() {
            let y = named(node, part)?;
            for axis in (0..rank).filter(|&axis| axis != split) {
                c.carry(x, axis, y, axis);
            }
            let size = c.size(y, split)?;
            (0..size).for_each(|i| c.tie((x, split, start + i), (y, split, i)));
            start += size;
        }
        Ok(())
    }

    fn pruned(&self, node: &mut Node, p: &mut Pruned<'_>) -> Rule<()> {
        let x = node.required(0)?;
        let split = axis(node.int("axis", 0)?, p.dims(x)?.len())?;
        if p.kept(x, split).is_none() {
            return Ok(());
        }
        let sizes = (0..node.outputs.len()).map(|part| Ok(int(p.size(named(node, part)?, split)?.unwrap_or(0))));
        let sizes: Vec<i64> = sizes.collect::<Rule<_>>()?;
        node.attributes.shift_remove("num_outputs");
        p.set_ints(node, 1, &sizes)
    }
}

/// Output `part`.
fn named(node: &Node, part: usize) -> Rule<&Value> {
    let unnamed = || Cause::Unsupported(format!("output {part} has no name; give every part one"));
    node.output(part).ok_or_else(unnamed)
}
