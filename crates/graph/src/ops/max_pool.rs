//! `MaxPool`: the largest element of each window. <https://onnx.ai/onnx/operators/onnx__MaxPool.html>
//!
//! At a tie the gradient goes to the first element in row-major order, the one that ONNX Runtime reports in the `Indices`
//! output; PyTorch does the same.

use super::class::{output, unary};
use super::inputs::zeros_like;
use super::window::{Stated, Window};
use super::{Class, Operator};
use crate::{Cause, Emit, Node, Rule, Value};

#[derive(Debug)]
pub(super) struct MaxPool;

impl Operator for MaxPool {
    fn name(&self) -> &'static str {
        "MaxPool"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn refused(&self) -> &'static str {
        "`auto_pad` `SAME_*` with dilations, or with strides that skip several elements at the end; `storage_order` 1; a window that lies in the padding altogether"
    }

    /// Adds each cotangent to the element that its window took: `Indices` counts through the whole tensor, and an element
    /// that several windows took gets the sum.
    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        unary(node, cotangents, wanted, |x, _, y| {
            if node.int("storage_order", 0)? != 0 {
                return Err(Cause::Unsupported("storage_order 1 (column-major indices); use 0".into()));
            }
            for window in pool_windows(node, e)? {
                if (0..window.narrow).any(|n| window.taps_within(n, 0, window.wide) == 0) {
                    return Err(Cause::Unsupported("a window without any element, in the padding altogether".into()));
                }
            }
            let flat = e.ints(&[-1]);
            let indices = e.forward_output(output(node)?, 1);
            let indices = e.op("Reshape", &[&indices, &flat]);
            let updates = e.op("Reshape", &[y, &flat]);
            let zeros = zeros_like(x, e)?;
            let zeros = e.op("Reshape", &[&zeros, &flat]);
            let sums = e.op_with(
                "ScatterElements",
                &[&zeros, &indices, &updates],
                [("axis", 0.into()), ("reduction", "add".into())],
            );
            let dims = e.dims(x)?;
            e.reshape(&sums, dims)
        })
    }
}

/// Windows of a pool, one per spatial axis. The number of windows is the runtime's, so `ceil_mode` is in it.
pub(super) fn pool_windows(node: &Node, e: &Emit<'_>) -> Rule<Vec<Window>> {
    let kernel = node
        .ints("kernel_shape")?
        .ok_or_else(|| Cause::Malformed("attribute \"kernel_shape\" is required".into()))?
        .to_vec();
    Stated::of(node, kernel)?.reading(&e.fixed(node.required(0)?, 2)?, &e.fixed(output(node)?, 2)?)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn refuses_a_window_that_lies_in_the_padding() {
        let attributes = [("kernel_shape", vec![2].into()), ("dilations", vec![3].into()), ("pads", vec![1, 1].into())];
        assert_snapshot!(vjp_text("MaxPool", "x[n,2,2] -> y[n,2,1]", &attributes), @r#"vjp: node "node" (MaxPool): unsupported: a window without any element, in the padding altogether"#);
    }
}
