//! `AveragePool`: the mean of each window. <https://onnx.ai/onnx/operators/onnx__AveragePool.html>
//!
//! The divisor is the number of taps inside the data or, with `count_include_pad`, inside the data and its stated padding:
//! what a last window of `ceil_mode` reaches beyond that is never counted.

use super::class::increasing;
use super::convolve::{Kernel, spread};
use super::inputs::size;
use super::max_pool::pool_windows;
use super::window::{self, Stated, Window};
use super::{Class, Operator};
use crate::{Cause, Channels, Emit, Interval, Node, Rule, Tensor, Value};

#[derive(Debug)]
pub(super) struct AveragePool;

impl Operator for AveragePool {
    fn name(&self) -> &'static str {
        "AveragePool"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn refused(&self) -> &'static str {
        "`auto_pad` `SAME_*` with dilations, or with strides that skip several elements at the end; a window that lies in the padding altogether"
    }

    /// Each mean goes back to its window in equal parts: a depthwise transposed convolution with equal taps.
    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let facts = e.facts(node.required(0)?)?;
        let channels = size(&facts.dims, 1)?;
        let windows = pool_windows(node, e)?;
        let taps = taps(node, &windows)?;
        let first = taps.first().copied().unwrap_or(1.0);
        let even = taps.iter().all(|&t| t.to_bits() == first.to_bits());
        let y = if even {
            y.clone()
        } else {
            let shape = [1, 1].into_iter().chain(windows.iter().map(|w| usize::try_from(w.narrow).unwrap_or(0)));
            let shares: Vec<f64> = taps.iter().map(|t| t.recip()).collect();
            let shares = e.tensor(Tensor::rounded(facts.dtype, &shape.collect::<Vec<_>>(), &shares));
            e.op("Mul", &[y, &shares])
        };
        let shape: Vec<usize> =
            [channels, 1].into_iter().chain(windows.iter().map(|w| usize::try_from(w.kernel).unwrap_or(0))).collect();
        let share = if even { first.recip() } else { 1.0 };
        let kernel = Tensor::rounded(facts.dtype, &shape, &vec![share; shape.iter().product()]);
        let value = e.tensor(kernel.clone());
        spread(&y, Kernel { value: &value, content: Some(&kernel) }, &windows, channels, e)
    }

    fn interval(&self, node: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Rule<Interval> {
        Ok(increasing(node, x, e))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        window::channel_by_channel(node, c)
    }

    fn uniform(&self, node: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        let x = inputs.first().copied()??;
        (x == 0.0 || node.int("count_include_pad", 0) == Ok(0)).then_some(x)
    }
}

/// The divisor of every window, row-major over the output's spatial axes.
///
/// # Errors
/// A window has no tap to count.
fn taps(node: &Node, windows: &[Window]) -> Rule<Vec<f64>> {
    let include_pad = node.int("count_include_pad", 0)? != 0;
    let stated = Stated::of(node, windows.iter().map(|w| w.kernel).collect())?;
    let mut taps = vec![1.0];
    for (axis, window) in windows.iter().enumerate() {
        let end = match stated.auto_pad {
            "NOTSET" => stated.ends[axis],
            "VALID" => 0,
            _ => window.overhang(),
        };
        let (start, end) = if include_pad { (-window.begin, window.wide + end) } else { (0, window.wide) };
        let along: Vec<i64> = (0..window.narrow).map(|n| window.taps_within(n, start, end)).collect();
        if along.contains(&0) {
            return Err(Cause::Unsupported("a window without any element, in the padding altogether".into()));
        }
        #[allow(clippy::cast_precision_loss)]
        let wider = taps.iter().flat_map(|t| along.iter().map(move |&n| t * n as f64)).collect();
        taps = wider;
    }
    Ok(taps)
}
