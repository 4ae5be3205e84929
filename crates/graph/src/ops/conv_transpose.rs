//! `ConvTranspose`: the transpose of a convolution, as a layer. <https://onnx.ai/onnx/operators/onnx__ConvTranspose.html>

use super::class::output;
use super::conv::{groups, sum_per_channel};
use super::convolve::{correlate, gather};
use super::grouped;
use super::inputs::int;
use super::window::{Stated, Window};
use super::{Class, Operator};
use crate::{Cause, Channels, Dependence, Emit, Node, Pruned, Rule, Value};

/// The axis of the kernel that counts the channels that are read.
const READ: usize = 0;

/// Inputs: data `[n, c, …]`, kernel `[c, m / group, k…]`, bias `[m]`.
#[derive(Debug)]
pub(super) struct ConvTranspose;

impl Operator for ConvTranspose {
    fn name(&self) -> &'static str {
        "ConvTranspose"
    }

    fn class(&self) -> Class {
        Class::Bilinear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let (x, kernel) = (node.required(0)?, node.required(1)?);
        let output = output(node)?;
        let group = groups(node)?;
        match input {
            0 => Ok(gather(y, kernel, &windows(node, output, e)?, group, e)),
            1 => correlate(y, x, e.dims(output)?, &windows(node, output, e)?, group, e),
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

fn windows(node: &Node, output: &Value, e: &Emit<'_>) -> Rule<Vec<Window>> {
    let kernel: Vec<i64> = e.fixed(node.required(1)?, 2)?.into_iter().map(int).collect();
    let output_padding = node.ints("output_padding")?.map_or_else(|| vec![0; kernel.len()], <[i64]>::to_vec);
    if output_padding.len() != kernel.len() {
        return Err(Cause::Malformed(format!("attribute \"output_padding\" must have {} values", kernel.len())));
    }
    let fitted = node.ints("output_shape")?.is_some_and(|shape| !shape.is_empty());
    let (wide, narrow) = (e.fixed(output, 2)?, e.fixed(node.required(0)?, 2)?);
    Stated::of(node, kernel)?.writing(&wide, &narrow, &output_padding, fitted)
}
