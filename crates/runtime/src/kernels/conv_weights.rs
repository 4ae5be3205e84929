//! The gradient of a convolution's kernel: `dw[m, c, k] = Σ dy[n, m, o] x[n, c, o * stride + k * dilation - begin]`.
//!
//! The windows of a few rows are laid out side by side (`im2col`), and one product of matrices gives the sum over them. A task
//! is a block of channels, which no other task writes, so that nothing depends on the number of threads.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};
use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::Float32;

/// Columns of a product, taps times channels: what is laid out of one channel is read for all of them.
const COLUMNS: usize = 256;

/// Windows of a product: with [`COLUMNS`], what is laid out stays in a processor's cache.
const WINDOWS: usize = 512;

/// Products of channels of a group up to which laying out costs more than the sums.
const FEW: usize = 4;

/// Inputs `x [n, c, h, w]` and `dy [n, m, h', w']`, both f32; output `[m, c / group, kernel_shape…]`. Attributes as those of
/// the convolution; of `pads` only the two before an axis count.
pub(super) struct ConvWeightGradient;

impl Operator for ConvWeightGradient {
    type Kernel<'attr> = Geometry;

    fn name(&self) -> &'static str {
        "ConvWeightGradient"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::required(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, node: &KernelContext<'attr>) -> ort::Result<Geometry> {
        let missing = |name: &str| ort::Error::new(format!("attribute \"{name}\" is missing or of another form"));
        let pair = |name: &str| {
            let values: Option<Vec<i64>> = node.get(name);
            let [rows, columns, ..] = values.ok_or_else(|| missing(name))?[..] else { return Err(missing(name)) };
            Ok([rows, columns])
        };
        let sizes = |name: &str| {
            let [rows, columns] = pair(name)?.map(usize::try_from);
            Ok::<_, ort::Error>([rows.map_err(|_| missing(name))?, columns.map_err(|_| missing(name))?])
        };
        let [top, left] = pair("pads")?.map(isize::try_from);
        let group: i64 = node.get("group").ok_or_else(|| missing("group"))?;
        Ok(Geometry {
            kernel: sizes("kernel_shape")?,
            strides: sizes("strides")?,
            dilations: sizes("dilations")?,
            begins: [top.map_err(|_| missing("pads"))?, left.map_err(|_| missing("pads"))?],
            group: usize::try_from(group).ok().filter(|&g| g > 0).ok_or_else(|| missing("group"))?,
        })
    }
}

/// How windows lie on a map, axis by axis.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    begins: [isize; 2],
    group: usize,
}

/// Maps of a batch: `[samples, channels, height, width]`.
#[derive(Clone, Copy)]
struct Maps<'a> {
    data: &'a [f32],
    samples: usize,
    channels: usize,
    height: usize,
    width: usize,
}

impl<'a> Maps<'a> {
    fn new(shape: &[usize], data: &'a [f32]) -> ort::Result<Self> {
        let &[samples, channels, height, width] = shape else {
            return Err(ort::Error::new(format!("maps [n, c, h, w] are needed, not of shape {shape:?}")));
        };
        Ok(Self { data, samples, channels, height, width })
    }

    /// Row `y` of one channel of a sample.
    fn row(&self, sample: usize, channel: usize, y: usize) -> &'a [f32] {
        let start = ((sample * self.channels + channel) * self.height + y) * self.width;
        &self.data[start..start + self.width]
    }
}

impl Kernel for Geometry {
    fn compute(&mut self, ctx: &ComputeContext) -> ort::Result<()> {
        super::input(ctx, 0, |shape, data| {
            let wide = Maps::new(shape, data)?;
            super::input(ctx, 1, |shape, data| self.gradient(ctx, wide, Maps::new(shape, data)?))
        })
    }
}

impl Geometry {
    fn gradient(&self, ctx: &ComputeContext, wide: Maps<'_>, narrow: Maps<'_>) -> ort::Result<()> {
        let fits = wide.samples == narrow.samples
            && wide.channels.is_multiple_of(self.group)
            && narrow.channels.is_multiple_of(self.group);
        if !fits {
            let (c, m, group) = (wide.channels, narrow.channels, self.group);
            return Err(ort::Error::new(format!("{c} and {m} channels in {group} groups, or batches that differ")));
        }
        let (per_group, outputs) = (wide.channels / self.group, narrow.channels / self.group);
        let taps: usize = self.kernel.iter().product();
        let shape = [narrow.channels, per_group, self.kernel[0], self.kernel[1]].map(|d| d as i64);
        let mut output = ctx.output(0, shape)?.ok_or_else(|| ort::Error::new("the output is missing"))?;
        let (_, output) = output.try_extract_tensor_mut::<f32>()?;
        if output.is_empty() {
            return Ok(());
        }

        let block = (COLUMNS / taps.max(1)).clamp(1, per_group.max(1));
        let blocks = per_group.div_ceil(block);
        let output = Mutex::new(output);
        ctx.par_for(self.group * blocks, 0, |task| {
            let (group, first) = (task / blocks, task % blocks * block);
            let part = Part { group, first, count: block.min(per_group - first), outputs, per_group };
            SCRATCH.with_borrow_mut(|scratch| {
                let columns = part.count * taps;
                scratch.sum.clear();
                scratch.sum.resize(outputs * columns, 0.0);
                if outputs * per_group <= FEW {
                    self.directly(wide, narrow, &part, &mut scratch.sum);
                } else {
                    self.by_products(wide, narrow, &part, scratch);
                }
                let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
                for (m, row) in scratch.sum.chunks_exact(columns).enumerate() {
                    let start = ((group * outputs + m) * per_group + first) * taps;
                    output[start..start + columns].copy_from_slice(row);
                }
            });
        })
    }

    /// Sums for one tap after the other.
    fn directly(&self, wide: Maps<'_>, narrow: Maps<'_>, part: &Part, sum: &mut [f32]) {
        for sample in 0..wide.samples {
            for (at, total) in sum.iter_mut().enumerate() {
                let (m, c, row, column) = part.position(at, self.kernel);
                for y in 0..narrow.height {
                    let Some(from) = self.source(0, y, row, wide.height) else { continue };
                    let x = wide.row(sample, part.wide(c), from);
                    let w = narrow.row(sample, part.narrow(m), y);
                    *total += self.dot(x, w, column);
                }
            }
        }
    }

    /// `Σ w[o] x[o * stride + k * dilation - begin]` along one row.
    fn dot(&self, x: &[f32], w: &[f32], tap: usize) -> f32 {
        let (first, end) = self.inside(tap, x.len(), w.len());
        let Some(start) = self.source(1, first, tap, x.len()).filter(|_| first < end) else { return 0.0 };
        // Eight sums at a time: one after the other each addition would wait for the one before.
        let (mut lanes, w) = ([0.0_f32; 8], &w[first..end]);
        if self.strides[1] == 1 {
            let x = &x[start..start + w.len()];
            let (x, w) = (x.chunks_exact(8), w.chunks_exact(8));
            let rest: f32 = x.remainder().iter().zip(w.remainder()).map(|(x, w)| x * w).sum();
            for (x, w) in x.zip(w) {
                lanes.iter_mut().zip(x.iter().zip(w)).for_each(|(lane, (x, w))| *lane += x * w);
            }
            return lanes.iter().sum::<f32>() + rest;
        }
        x[start..].iter().step_by(self.strides[1]).zip(w).map(|(x, w)| x * w).sum()
    }

    /// Products of matrices, a few rows of windows at a time.
    fn by_products(&self, wide: Maps<'_>, narrow: Maps<'_>, part: &Part, scratch: &mut Scratch) {
        let taps: usize = self.kernel.iter().product();
        let columns = part.count * taps;
        let rows = wide.samples * narrow.height;
        let step = (WINDOWS / narrow.width.max(1)).max(1);
        for start in (0..rows).step_by(step) {
            let rows = start..rows.min(start + step);
            let windows = rows.len() * narrow.width;
            scratch.wide.resize(columns * windows, 0.0);
            scratch.narrow.resize(part.outputs * windows, 0.0);
            for (m, line) in scratch.narrow.chunks_exact_mut(windows).enumerate() {
                for (row, to) in rows.clone().zip(line.chunks_exact_mut(narrow.width)) {
                    to.copy_from_slice(narrow.row(row / narrow.height, part.narrow(m), row % narrow.height));
                }
            }
            for (at, line) in scratch.wide.chunks_exact_mut(windows).enumerate() {
                let (_, c, tap, column) = part.position(at, self.kernel);
                for (row, to) in rows.clone().zip(line.chunks_exact_mut(narrow.width)) {
                    match self.source(0, row % narrow.height, tap, wide.height) {
                        Some(y) => self.lay_out(wide.row(row / narrow.height, part.wide(c), y), column, to),
                        None => to.fill(0.0),
                    }
                }
            }
            let views = (
                ArrayView2::from_shape((part.outputs, windows), &scratch.narrow[..]),
                ArrayView2::from_shape((columns, windows), &scratch.wide[..]),
                ArrayViewMut2::from_shape((part.outputs, columns), &mut scratch.sum[..]),
            );
            if let (Ok(narrow), Ok(wide), Ok(mut sum)) = views {
                general_mat_mul(1.0, &narrow, &wide.t(), 1.0, &mut sum);
            }
        }
    }

    /// What tap `tap` of each window along a row of the wide side reads: zeros in the padding.
    fn lay_out(&self, x: &[f32], tap: usize, to: &mut [f32]) {
        let (first, end) = self.inside(tap, x.len(), to.len());
        let Some(start) = self.source(1, first, tap, x.len()).filter(|_| first < end) else { return to.fill(0.0) };
        to[..first].fill(0.0);
        to[end..].fill(0.0);
        if self.strides[1] == 1 {
            to[first..end].copy_from_slice(&x[start..start + end - first]);
        } else {
            let x = x[start..].iter().step_by(self.strides[1]);
            to[first..end].iter_mut().zip(x).for_each(|(to, x)| *to = *x);
        }
    }

    /// Where tap `tap` of window `window` lies along an axis of `size` elements; `None` in the padding.
    fn source(&self, axis: usize, window: usize, tap: usize, size: usize) -> Option<usize> {
        let forward = window * self.strides[axis] + tap * self.dilations[axis];
        forward.checked_add_signed(-self.begins[axis]).filter(|&at| at < size)
    }

    /// The windows along a row, of `windows`, whose tap `tap` is not in the padding of `size` elements.
    fn inside(&self, tap: usize, size: usize, windows: usize) -> (usize, usize) {
        let (stride, offset) = (self.strides[1].max(1), tap * self.dilations[1]);
        let before = usize::try_from(self.begins[1]).unwrap_or(0);
        let first = before.saturating_sub(offset).div_ceil(stride);
        // Windows whose tap lies before `size`.
        let end = size.saturating_add_signed(self.begins[1]).saturating_sub(offset).div_ceil(stride);
        (first.min(windows), end.min(windows))
    }
}

/// What one task computes: the gradient for some of the wide channels of a group, and all the narrow ones.
struct Part {
    group: usize,
    /// The first of the wide channels, within the group.
    first: usize,
    count: usize,
    /// Narrow channels of a group.
    outputs: usize,
    /// Wide channels of a group.
    per_group: usize,
}

impl Part {
    fn narrow(&self, m: usize) -> usize {
        self.group * self.outputs + m
    }

    fn wide(&self, c: usize) -> usize {
        self.group * self.per_group + self.first + c
    }

    /// Narrow channel, wide channel and tap of element `at` of the part's sums.
    fn position(&self, at: usize, kernel: [usize; 2]) -> (usize, usize, usize, usize) {
        let taps = kernel[0] * kernel[1];
        let (m, within) = (at / (self.count * taps), at % (self.count * taps));
        (m, within / taps, within % taps / kernel[1], within % kernel[1])
    }
}

/// Memory of one thread, kept from call to call.
#[derive(Default)]
struct Scratch {
    wide: Vec<f32>,
    narrow: Vec<f32>,
    sum: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}
