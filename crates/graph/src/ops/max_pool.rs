//! `MaxPool`: the largest element of each window. <https://onnx.ai/onnx/operators/onnx__MaxPool.html>
//!
//! At a tie the gradient goes to the first element in row-major order, the one that ONNX Runtime reports in the `Indices`
//! output; PyTorch does the same.

use super::class::{output, unary};
use super::inputs::{int, zeros_like};
use super::window::{self, Stated, Window};
use super::{Class, Operator};
use crate::{Cause, Channels, Emit, Lowering, Node, Rule, Value};

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
    /// that several windows took gets the sum. On CUDA these sums would be added up in an order that changes from run to run, so
    /// that windows which overlap come one after the other.
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
            let windows = pool_windows(node, e)?;
            for window in &windows {
                if (0..window.narrow).any(|n| window.taps_within(n, 0, window.wide) == 0) {
                    return Err(Cause::Unsupported("a window without any element, in the padding altogether".into()));
                }
            }
            let flat = e.ints(&[-1]);
            let indices = e.forward_output(output(node)?, 1);
            let zeros = zeros_like(x, e)?;
            let mut sums = e.op("Reshape", &[&zeros, &flat]);
            let steps = match e.lowering() {
                Lowering::Cpu | Lowering::CpuKernels => vec![1; windows.len()],
                Lowering::Cuda => windows.iter().map(Window::apart).collect(),
            };
            for starts in positions(&steps) {
                let [indices, updates] = [&indices, y].map(|all| {
                    let part = every(all, &starts, &steps, e);
                    e.op("Reshape", &[&part, &flat])
                });
                sums = e.op_with(
                    "ScatterElements",
                    &[&sums, &indices, &updates],
                    [("axis", 0.into()), ("reduction", "add".into())],
                );
            }
            let dims = e.dims(x)?;
            e.reshape(&sums, dims)
        })
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        if node.output(1).is_some() {
            return Err(Cause::Unsupported("its output of indices counts through all channels".into()));
        }
        window::channel_by_channel(node, c)
    }

    /// Padding is never the largest.
    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        inputs.first().copied()?
    }
}

/// All positions in a grid of these sizes.
fn positions(sizes: &[i64]) -> Vec<Vec<i64>> {
    sizes.iter().fold(vec![Vec::new()], |all, &size| {
        all.iter().flat_map(|at| (0..size).map(move |i| [&at[..], &[i]].concat())).collect()
    })
}

/// Every so many elements of `value` along its spatial axes.
fn every(value: &Value, starts: &[i64], steps: &[i64], e: &mut Emit<'_>) -> Value {
    if steps.iter().all(|&step| step == 1) {
        return value.clone();
    }
    let axes: Vec<i64> = (2..2 + int(steps.len())).collect();
    let [starts, ends, axes, steps] = [starts, &vec![i64::MAX; steps.len()], &axes, steps].map(|list| e.ints(list));
    e.op("Slice", &[value, &starts, &ends, &axes, &steps])
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
