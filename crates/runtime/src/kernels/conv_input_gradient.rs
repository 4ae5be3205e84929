//! The gradient of a convolution by its input: `dx[n, c, i] = Σ w[m, c, k] dy[n, m, o]` over the windows `o` with `i = o * stride + k * dilation - begin`.
//!
//! With a stride, columns that are a stride apart are in windows with the same taps: they are computed together.

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::Float32;

use super::blocked::Maps;
use super::sweep::{Read, Sweep, Weights};
use super::windows::{Windows, odd, pair};
use super::{dims, input, parallel};

/// Inputs `dy [n, m, h', w']` and kernel `[m, c / group, kernel_shape…]`, both f32; output `[n, c, h, w]`. Attributes as those of the
/// convolution, and `map`, `[h, w]`; of `pads` only the two before an axis count.
pub(super) struct ConvInputGradient;

impl Operator for ConvInputGradient {
    type Kernel<'attr> = ByInput;

    fn name(&self) -> &'static str {
        "ConvInputGradient"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::required(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, node: &KernelContext<'attr>) -> ort::Result<ByInput> {
        let [height, width] = pair(node, "map")?.map(|size| usize::try_from(size).map_err(|_| odd("map")));
        Ok(ByInput { windows: Windows::of(node)?, map: [height?, width?] })
    }
}

pub(super) struct ByInput {
    windows: Windows,
    /// Height and width of the input.
    map: [usize; 2],
}

impl Kernel for ByInput {
    fn compute(&mut self, ctx: &ComputeContext) -> ort::Result<()> {
        input(ctx, 0, |shape, dy| {
            let dy = Maps::new(shape, dy)?;
            input(ctx, 1, |shape, kernel| self.gradient(ctx, dy, shape, kernel))
        })
    }
}

impl ByInput {
    fn gradient(&self, ctx: &ComputeContext, dy: Maps<'_>, shape: &[usize], kernel: &[f32]) -> ort::Result<()> {
        let (w, [height, width]) = (&self.windows, self.map);
        let fits = dy.channels.is_multiple_of(w.group)
            && matches!(*shape, [m, _, rows, columns] if m == dy.channels && [rows, columns] == w.kernel);
        if !fits {
            return Err(ort::Error::new(format!(
                "a kernel {shape:?} in {} groups for {} channels",
                w.group, dy.channels
            )));
        }
        let written = shape[1];
        let mut output =
            ctx.output(0, dims([dy.samples, written * w.group, height, width]))?.ok_or_else(super::no_output)?;
        let (_, output) = output.try_extract_tensor_mut::<f32>()?;
        let phases = w.strides[1];
        let reads = |y: usize, phase: usize, to: &mut Vec<Read>| {
            for tap in 0..w.taps() {
                let row = w.window(0, y, tap / w.kernel[1]).and_then(|row| usize::try_from(row).ok());
                let read = row.filter(|&row| row < dy.height).zip(w.window(1, phase, tap % w.kernel[1]));
                to.extend(read.map(|(row, column)| Read { tap, row, column }));
            }
        };
        let mut sides = [0, 0];
        for phase in 0..phases.min(width) {
            let columns = (width - phase).div_ceil(phases);
            for first in (0..w.kernel[1]).filter_map(|tap| w.window(1, phase, tap)) {
                let needed = [-first, first + columns as isize - dy.width as isize];
                sides = [0, 1].map(|side| usize::try_from(needed[side]).unwrap_or(0).max(sides[side]));
            }
        }
        let sweep = Sweep {
            source: dy,
            group: w.group,
            sides,
            result: [written * w.group, height, width],
            phases,
            step: 1,
            weights: Weights { data: kernel, taps: w.taps(), result: w.taps(), source: written * w.taps() },
            reads: &reads,
            bias: None,
        };
        sweep.run(output, &parallel(ctx))
    }
}
