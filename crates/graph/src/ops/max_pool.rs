//! `MaxPool`: the largest element of each window. <https://onnx.ai/onnx/operators/onnx__MaxPool.html>
//!
//! At a tie the gradient goes to the first element in row-major order, the one that ONNX Runtime reports in the `Indices`
//! output; PyTorch does the same.

use super::class::{increasing, output, unary};
use super::inputs::{int, zeros_like};
use super::relax::{Pull, Rows, as_column, as_row, features, parts};
use super::window::{self, Stated, Window};
use super::{Class, Operator};
use crate::{Attribute, Cause, Channels, DataType, Emit, Interval, Lowering, Node, Rule, Tensor, Value};

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
            let windows = checked_windows(node, e)?;
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

    fn interval(&self, node: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Rule<Interval> {
        Ok(increasing(node, x, e))
    }

    /// Below lies the element of the window whose lower end is the largest. If that is at least every other upper end, the window is
    /// this element; else the largest upper end lies above.
    fn pull(&self, node: &Node, x: &Interval, _: Option<&Value>, y: &Rows, e: &mut Emit<'_>) -> Rule<Pull> {
        let (input, output) = (node.required(0)?, output(node)?);
        let (wide, narrow) = (features(input, e)?, features(output, e)?);
        let windows = checked_windows(node, e)?;
        let ends = e.node(&node.operator, vec![Some(x.lower.clone())], node.attributes.clone(), 2);
        let [floor, indices] = &ends[..] else { return Err(Cause::NoRule) };
        let size = e.tensor(Tensor::ints(&[int(wide)]));
        let chosen = e.op("Mod", &[indices, &size]);

        let positions = Tensor::ints(&(0..int(wide)).collect::<Vec<i64>>());
        let positions = e.tensor(positions);
        let shape: Vec<i64> = [1].into_iter().chain(e.fixed(input, 1)?.into_iter().map(int)).collect();
        let shape = e.ints(&shape);
        let positions = e.op("Reshape", &[&positions, &shape]);
        let nowhere = Tensor::ints(&[-1]);
        let (lowest, nowhere) = (
            e.scalar(f64::NEG_INFINITY, DataType::Float),
            e.tensor(nowhere.clone().reshaped(Vec::new()).unwrap_or(nowhere)),
        );
        let uppers = taps(&x.upper, &lowest, &windows, e);
        let places = taps(&positions, &nowhere, &windows, e);
        let mut settled: Option<Value> = None;
        for (upper, place) in uppers.iter().zip(&places) {
            let below = e.op("LessOrEqual", &[upper, floor]);
            let itself = e.op("Equal", &[place, &chosen]);
            let fine = e.op("Or", &[&below, &itself]);
            settled = Some(settled.map_or_else(|| fine.clone(), |others| e.op("And", &[&others, &fine])));
        }
        let settled = settled.ok_or_else(|| Cause::Malformed("a window without elements".into()))?;
        let settled = e.cast(&settled, DataType::Bool, DataType::Float);
        let one = e.scalar(1.0, DataType::Float);
        let open = e.op("Sub", &[&one, &settled]);
        let ceiling = e.again(node, vec![Some(x.upper.clone())]);
        let offset = e.op("Mul", &[&open, &ceiling]);
        let (settled, offset) = (as_row(&settled, narrow, e), as_column(&offset, narrow, e));

        let flat = y.flat(narrow, e);
        let (positive, negative) = parts(&flat, e);
        let known = e.op("Mul", &[&negative, &settled]);
        let updates = e.op("Add", &[&positive, &known]);
        let added = e.op("MatMul", &[&negative, &offset]);
        let of = |features: usize, e: &mut Emit<'_>| {
            let features = e.ints(&[int(features)]);
            e.op_with("Concat", &[&y.counts, &features], [("axis", 0.into())])
        };
        let (from, to) = (of(narrow, e), of(wide, e));
        let chosen = as_row(&chosen, narrow, e);
        let chosen = e.op("Expand", &[&chosen, &from]);
        let zeros = e.op_with("ConstantOfShape", &[&to], [("value", Attribute::Tensor(Tensor::floats(&[1], &[0.0])))]);
        let rows = e.op_with(
            "ScatterElements",
            &[&zeros, &chosen, &updates],
            [("axis", 2.into()), ("reduction", "add".into())],
        );
        let dims = e.dims(input)?;
        Ok(Pull { rows: e.reshape(&rows, dims)?, added: vec![added] })
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

/// Windows whose indices count in row-major order and that each have an element.
fn checked_windows(node: &Node, e: &Emit<'_>) -> Rule<Vec<Window>> {
    if node.int("storage_order", 0)? != 0 {
        return Err(Cause::Unsupported("storage_order 1 (column-major indices); use 0".into()));
    }
    let windows = pool_windows(node, e)?;
    for window in &windows {
        if (0..window.narrow).any(|n| window.taps_within(n, 0, window.wide) == 0) {
            return Err(Cause::Unsupported("a window without any element, in the padding altogether".into()));
        }
    }
    Ok(windows)
}

/// What each tap of the windows reads of `value`, each of the output's shape, with `outside` in the padding.
fn taps(value: &Value, outside: &Value, windows: &[Window], e: &mut Emit<'_>) -> Vec<Value> {
    let begins = windows.iter().map(|w| w.begin);
    let ends = windows.iter().map(|w| w.overhang().max(0));
    let pads: Vec<i64> = [0, 0].into_iter().chain(begins).chain([0, 0]).chain(ends).collect();
    let padded = if pads.iter().all(|&pad| pad == 0) {
        value.clone()
    } else {
        let pads = e.ints(&pads);
        e.op("Pad", &[value, &pads, outside])
    };
    let axes: Vec<i64> = (2..2 + int(windows.len())).collect();
    let steps: Vec<i64> = windows.iter().map(|w| w.stride).collect();
    let kernel: Vec<i64> = windows.iter().map(|w| w.kernel).collect();
    let tap = |at: Vec<i64>| {
        let starts: Vec<i64> = at.iter().zip(windows).map(|(tap, w)| tap * w.dilation).collect();
        let ends: Vec<i64> =
            starts.iter().zip(windows).map(|(start, w)| start + w.stride * (w.narrow - 1) + 1).collect();
        let [starts, ends, axes, steps] = [&starts, &ends, &axes, &steps].map(|list| e.ints(list));
        e.op("Slice", &[&padded, &starts, &ends, &axes, &steps])
    };
    positions(&kernel).into_iter().map(tap).collect()
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
