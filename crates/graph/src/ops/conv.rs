//! `Conv`: a convolution over any number of spatial axes. <https://onnx.ai/onnx/operators/onnx__Conv.html>

use super::class::output;
use super::convolve::{Kernel, correlate, for_own_kernel, spread};
use super::grouped;
use super::inputs::int;
use super::window::{Stated, Window};
use super::{Class, Operator};
use crate::{Cause, Channels, Dependence, Emit, KERNELS, Node, Pruned, Rule, Tensor, Value};

/// The axis of the kernel that counts the channels that are read.
const READ: usize = 1;

/// Inputs: data `[n, c, …]`, kernel `[m, c / group, k…]`, bias `[m]`.
#[derive(Debug)]
pub(super) struct Conv;

impl Operator for Conv {
    fn name(&self) -> &'static str {
        "Conv"
    }

    fn class(&self) -> Class {
        Class::Bilinear
    }

    fn refused(&self) -> &'static str {
        "`auto_pad` `SAME_*` with dilations, or with strides that skip several elements at the end"
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let (x, kernel) = (node.required(0)?, node.required(1)?);
        let group = groups(node)?;
        match input {
            0 => {
                let windows = windows(node, e)?;
                if let (Some(content), Some((unscaled, factors))) = (e.constant(kernel), e.unscaled(y))
                    && let Some(scaled) = scale_rows(content, &factors)
                {
                    let value = e.tensor(scaled.clone());
                    return spread(&unscaled, Kernel { value: &value, content: Some(&scaled) }, &windows, group, e);
                }
                spread(y, Kernel { value: kernel, content: e.constant(kernel) }, &windows, group, e)
            }
            1 => {
                let dims = e.dims(x)?;
                correlate(x, y, dims, &windows(node, e)?, group, e)
            }
            2 => Ok(sum_per_channel(y, e.dims(x)?.len(), e)),
            _ => Err(Cause::NoRule),
        }
    }

    fn dependence(&self, _: &Node, data: &[bool], _: &Emit<'_>) -> Rule<Dependence> {
        Ok(grouped::dependence(data))
    }

    fn radius(&self, node: &Node, r: &[Option<Value>], e: &mut Emit<'_>) -> Rule<Value> {
        grouped::radius(node, r, e)
    }

    fn own_kernel(&self, node: &Node, e: &Emit<'_>) -> Option<Node> {
        let kernel = node.required(1).ok()?;
        let windows = windows(node, e).ok()?;
        let kernel = Kernel { value: kernel, content: e.constant(kernel) };
        let attributes = for_own_kernel(kernel, &windows, groups(node).ok()?, e)?;
        let count: Vec<i64> = windows.iter().map(|w| w.narrow).collect();
        let attributes = attributes.into_iter().chain([("windows".to_owned(), count.into())]).collect();
        Some(Node { attributes, domain: KERNELS.to_owned(), ..node.clone() })
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        grouped::channels(node, READ, c)
    }

    fn pruned(&self, node: &mut Node, p: &mut Pruned<'_>) -> Rule<()> {
        grouped::pruned(node, READ, p)
    }

    fn uniform(&self, node: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        grouped::uniform(node, inputs)
    }
}

fn windows(node: &Node, e: &Emit<'_>) -> Rule<Vec<Window>> {
    let output = output(node)?;
    let kernel = e.fixed(node.required(1)?, 2)?.into_iter().map(int).collect();
    Stated::of(node, kernel)?.reading(&e.fixed(node.required(0)?, 2)?, &e.fixed(output, 2)?)
}

/// `kernel`, `[m, …]`, with row `i` times factor `i`: what a normalisation behind the convolution comes to. `None` where there
/// is not one factor for each row.
fn scale_rows(kernel: &Tensor, factors: &Tensor) -> Option<Tensor> {
    let (mut values, factors) = (kernel.to_f64()?, factors.to_f64()?);
    let rows = *kernel.dims().first()?;
    if factors.len() != rows || values.is_empty() {
        return None;
    }
    let row_size = values.len() / rows;
    for (row, factor) in values.chunks_exact_mut(row_size).zip(factors) {
        row.iter_mut().for_each(|v| *v *= factor);
    }
    Some(Tensor::rounded(kernel.dtype(), kernel.dims(), &values))
}

/// Attribute `group`.
pub(super) fn groups(node: &Node) -> Rule<usize> {
    let group = node.int("group", 1)?;
    usize::try_from(group)
        .ok()
        .filter(|&g| g > 0)
        .ok_or_else(|| Cause::Malformed(format!("attribute \"group\" is {group}")))
}

/// The transpose of a bias: `y`, of rank `rank`, summed over everything but the channels.
pub(super) fn sum_per_channel(y: &Value, rank: usize, e: &mut Emit<'_>) -> Value {
    let axes: Vec<i64> = (0..int(rank)).filter(|&a| a != 1).collect();
    let axes = e.ints(&axes);
    e.op_with("ReduceSum", &[y, &axes], [("keepdims", 0.into())])
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn a_stride_leaves_elements_over_that_output_padding_restores() {
        // Windows at 0 and 3 of 8 elements: with 3 taps each they reach 6, and two elements are in no window.
        let text = vjp_text("Conv", "x[n,2,8] k[4,2,3] -> y[n,4,2]", &[("strides", vec![3].into())]);
        assert_snapshot!(text, @"
        ConvTranspose.0 = ConvTranspose(w, k) pads=[0, 0] strides=[3] dilations=[1] group=1 output_padding=[2]
        Reshape.1 = Reshape(x, [-1, 1, 2, 8]) allowzero=0
        Transpose.2 = Transpose(Reshape.1) perm=[2, 1, 0, 3]
        Reshape.3 = Reshape(Transpose.2, [2, -1, 8]) allowzero=0
        Transpose.4 = Transpose(w) perm=[1, 0, 2]
        Pad.5 = Pad(Reshape.3, [0, 0, 0, 0, 0, -2])
        Conv.6 = Conv(Pad.5, Transpose.4) pads=[0, 0] strides=[1] dilations=[3] group=1
        Transpose.7 = Transpose(Conv.6) perm=[1, 0, 2]
        x' = ConvTranspose.0
        k' = Transpose.7
        ");
    }
}
