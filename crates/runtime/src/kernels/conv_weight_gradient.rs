//! The gradient of a convolution by its kernel: `dw[m, c, k] = Σ dy[n, m, o] x[n, c, o * stride + k * dilation - begin]`.
//!
//! A task has some of the samples and some of the input channels, and sums of its own, which are added up in their order: nothing depends
//! on the number of threads.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::Float32;

use super::blocked::{Layout, Maps};
use super::depthwise;
use super::sweep::even;
use super::tile::{LANES, Run, Sides, Target};
use super::windows::Windows;
use super::{dims, input, parallel};

/// Windows whose products are summed in registers: what is read of them for one tap after the other stays in the nearest cache.
const WINDOWS: usize = 128;

/// Input channels of a task at most.
const CHANNELS: usize = 4 * LANES;

/// Tasks at least: where there are not as many by the channels, the samples are shared out.
const TASKS: usize = 8;

/// Inputs `x [n, c, h, w]` and `dy [n, m, h', w']`, both f32; output `[m, c / group, kernel_shape…]`. Attributes as those of
/// the convolution; of `pads` only the two before an axis count.
pub(super) struct ConvWeightGradient;

impl Operator for ConvWeightGradient {
    type Kernel<'attr> = ByWeights;

    fn name(&self) -> &'static str {
        "ConvWeightGradient"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::required(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, node: &KernelContext<'attr>) -> ort::Result<ByWeights> {
        Windows::of(node).map(ByWeights)
    }
}

pub(super) struct ByWeights(Windows);

impl Kernel for ByWeights {
    fn compute(&mut self, ctx: &ComputeContext) -> ort::Result<()> {
        input(ctx, 0, |shape, x| {
            let x = Maps::new(shape, x)?;
            input(ctx, 1, |shape, dy| self.gradient(ctx, x, Maps::new(shape, dy)?))
        })
    }
}

impl ByWeights {
    fn gradient(&self, ctx: &ComputeContext, x: Maps<'_>, dy: Maps<'_>) -> ort::Result<()> {
        let w = &self.0;
        if x.samples != dy.samples || !x.channels.is_multiple_of(w.group) || !dy.channels.is_multiple_of(w.group) {
            let (c, m, group) = (x.channels, dy.channels, w.group);
            return Err(ort::Error::new(format!("{c} and {m} channels in {group} groups, or batches that differ")));
        }
        let (inputs, outputs) = (x.channels / w.group, dy.channels / w.group);
        let mut output =
            ctx.output(0, dims([dy.channels, inputs, w.kernel[0], w.kernel[1]]))?.ok_or_else(super::no_output)?;
        let (_, output) = output.try_extract_tensor_mut::<f32>()?;
        if output.is_empty() {
            return Ok(());
        }
        if depthwise::is_faster(inputs, outputs) {
            return depthwise::gradient(w, x, dy, output, &parallel(ctx));
        }
        let parts: Vec<Part<'_>> = (0..w.group)
            .flat_map(|group| {
                let parts = (0..inputs).step_by(CHANNELS);
                parts.map(move |first| Part { w, x, dy, group, outputs, first, channels: CHANNELS.min(inputs - first) })
            })
            .collect();
        let ranges = TASKS.div_ceil(parts.len()).clamp(1, x.samples.max(1));
        let sums: Vec<Mutex<Vec<f32>>> = (0..parts.len() * ranges).map(|_| Mutex::default()).collect();
        ctx.par_for(sums.len(), 0, |task| {
            let (part, range) = (&parts[task / ranges], task % ranges);
            let samples = range * x.samples / ranges..(range + 1) * x.samples / ranges;
            let sum = SCRATCH.with_borrow_mut(|scratch| part.sum(samples, scratch));
            *sums[task].lock().unwrap_or_else(PoisonError::into_inner) = sum;
        })?;
        let mut sums = sums.into_iter().map(|sum| sum.into_inner().unwrap_or_else(PoisonError::into_inner));
        for part in parts {
            let total = sums.by_ref().take(ranges).reduce(|mut total, sum| {
                total.iter_mut().zip(sum).for_each(|(total, sum)| *total += sum);
                total
            });
            part.write(&total.unwrap_or_default(), inputs, output);
        }
        Ok(())
    }
}

/// The gradient for some of the input channels of a group, and all of its output channels.
struct Part<'a> {
    w: &'a Windows,
    x: Maps<'a>,
    dy: Maps<'a>,
    group: usize,
    /// Output channels of the group.
    outputs: usize,
    /// The first of the input channels, within the group.
    first: usize,
    channels: usize,
}

/// Memory of one thread, kept from call to call.
#[derive(Default)]
struct Scratch {
    x: Vec<f32>,
    dy: Vec<f32>,
    runs: Vec<Run>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Part<'_> {
    /// How a sample of each side is laid out: every window lies within a row.
    fn layouts(&self) -> [Layout; 2] {
        let last = self.w.position(1, self.dy.width.saturating_sub(1), self.w.kernel[1] - 1);
        let sides = [self.w.begins[1], last + 1 - self.x.width as isize].map(|side| usize::try_from(side).unwrap_or(0));
        let layout =
            |maps: &Maps<'_>, channels, sides| Layout { channels, height: maps.height, width: maps.width, sides };
        [layout(&self.x, self.channels, sides), layout(&self.dy, self.outputs, [0, 0])]
    }

    /// `[tap, block of output channels, input channel, lane]`, over some samples.
    fn sum(&self, samples: Range<usize>, scratch: &mut Scratch) -> Vec<f32> {
        let (w, x, dy) = (self.w, self.x, self.dy);
        let [of_x, of_dy] = self.layouts();
        let of_tap = of_dy.blocks() * self.channels * LANES;
        let mut sums = vec![0.0; w.taps() * of_tap];
        if dy.height * dy.width == 0 {
            return sums;
        }
        let together = WINDOWS.div_ceil(dy.height * dy.width).min(samples.len());
        scratch.x.resize(together * of_x.size(), 0.0);
        scratch.dy.resize(together * of_dy.size(), 0.0);
        let rows_together = (WINDOWS / dy.width).max(1);
        for start in samples.clone().step_by(together) {
            let count = together.min(samples.end - start);
            for i in 0..count {
                let (x_i, dy_i) = (i * of_x.size()..(i + 1) * of_x.size(), i * of_dy.size()..(i + 1) * of_dy.size());
                of_x.fill(&x, start + i, self.group * x.channels / w.group + self.first, &mut scratch.x[x_i]);
                of_dy.fill(&dy, start + i, self.group * self.outputs, &mut scratch.dy[dy_i]);
            }
            let rows = count * dy.height;
            for start in (0..rows).step_by(rows_together) {
                for (tap, sum) in sums.chunks_exact_mut(of_tap).enumerate() {
                    let column = w.position(1, 0, tap % w.kernel[1]);
                    let runs = (start..rows.min(start + rows_together)).filter_map(|row| {
                        let (sample, n) = (row / dy.height, row % dy.height);
                        let y = usize::try_from(w.position(0, n, tap / w.kernel[1])).ok().filter(|&y| y < x.height)?;
                        let left = sample * of_x.size() + of_x.at(y, column);
                        Some(Run { left, right: sample * of_dy.size() + of_dy.at(n, 0), len: dy.width })
                    });
                    scratch.runs.clear();
                    scratch.runs.extend(runs);
                    self.add(scratch, &of_x, &of_dy, sum);
                }
            }
        }
        sums
    }

    /// Adds the products of the runs to the sums of a tap.
    fn add(&self, scratch: &Scratch, of_x: &Layout, of_dy: &Layout, sum: &mut [f32]) {
        let sides = Sides {
            left: &scratch.x,
            row: 1,
            step: self.w.strides[1] * LANES,
            right: &scratch.dy,
            block: of_dy.block_size(),
        };
        for m in (0..of_dy.blocks()).step_by(2) {
            for block in 0..of_x.blocks() {
                for tile in even(of_x.lanes(block)) {
                    let target = Target {
                        sum,
                        start: (m * self.channels + block * LANES + tile.start) * LANES,
                        rows: tile.len(),
                        row: LANES,
                        blocks: 2.min(of_dy.blocks() - m),
                        block: self.channels * LANES,
                    };
                    sides.add(&scratch.runs, block * of_x.block_size() + tile.start, m * of_dy.block_size(), target);
                }
            }
        }
    }

    /// Writes what [`Part::sum`] gave where it belongs; a group has `inputs` input channels.
    fn write(&self, sum: &[f32], inputs: usize, to: &mut [f32]) {
        let (taps, blocks) = (self.w.taps(), self.outputs.div_ceil(LANES));
        for (at, row) in sum.chunks_exact(LANES).enumerate() {
            let (channel, block, tap) = (at % self.channels, at / self.channels % blocks, at / self.channels / blocks);
            for (m, value) in (block * LANES..self.outputs).zip(row) {
                to[((self.group * self.outputs + m) * inputs + self.first + channel) * taps + tap] = *value;
            }
        }
    }
}
