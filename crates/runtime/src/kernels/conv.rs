//! A convolution whose kernel is not known beforehand, as a weight in training is not: ONNX Runtime has its blocked layout only for constants.

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::Float32;

use super::blocked::Maps;
use super::sweep::{Read, Sweep, Weights};
use super::windows::{Windows, odd, pair};
use super::{dims, input, parallel};

/// Inputs `x [n, c, h, w]`, kernel `[m, c / group, kernel_shape…]` and, if there is one, bias `[m]`, all f32; output `[n, m, h', w']`.
/// Attributes as those of ONNX's `Conv`, and `windows`, `[h', w']`; of `pads` only the two before an axis count.
pub(super) struct Conv;

impl Operator for Conv {
    type Kernel<'attr> = Forward;

    fn name(&self) -> &'static str {
        "Conv"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::required(Float32), OperatorInput::optional(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, node: &KernelContext<'attr>) -> ort::Result<Forward> {
        let [rows, columns] = pair(node, "windows")?.map(|size| usize::try_from(size).map_err(|_| odd("windows")));
        Ok(Forward { windows: Windows::of(node)?, count: [rows?, columns?] })
    }
}

pub(super) struct Forward {
    windows: Windows,
    /// Windows along each axis.
    count: [usize; 2],
}

impl Kernel for Forward {
    fn compute(&mut self, ctx: &ComputeContext) -> ort::Result<()> {
        input(ctx, 0, |shape, x| {
            let x = Maps::new(shape, x)?;
            input(ctx, 1, |shape, kernel| {
                if ctx.num_inputs()? < 3 {
                    return self.convolve(ctx, x, shape, kernel, None);
                }
                input(ctx, 2, |_, bias| self.convolve(ctx, x, shape, kernel, Some(bias)))
            })
        })
    }
}

impl Forward {
    fn convolve(
        &self,
        ctx: &ComputeContext,
        x: Maps<'_>,
        shape: &[usize],
        kernel: &[f32],
        bias: Option<&[f32]>,
    ) -> ort::Result<()> {
        let (w, [height, width]) = (&self.windows, self.count);
        let fits = x.channels.is_multiple_of(w.group)
            && matches!(*shape, [m, c, rows, columns] if m.is_multiple_of(w.group) && c * w.group == x.channels && [rows, columns] == w.kernel);
        if !fits || bias.is_some_and(|bias| bias.len() != shape[0]) {
            return Err(ort::Error::new(format!(
                "a kernel {shape:?} in {} groups for {} channels",
                w.group, x.channels
            )));
        }
        let (read, written) = (shape[1], shape[0]);
        let mut output = ctx.output(0, dims([x.samples, written, height, width]))?.ok_or_else(super::no_output)?;
        let (_, output) = output.try_extract_tensor_mut::<f32>()?;
        let last = w.position(1, width.saturating_sub(1), w.kernel[1] - 1);
        let reads = |n: usize, _: usize, to: &mut Vec<Read>| {
            for tap in 0..w.taps() {
                let row = usize::try_from(w.position(0, n, tap / w.kernel[1])).ok().filter(|&row| row < x.height);
                to.extend(row.map(|row| Read { tap, row, column: w.position(1, 0, tap % w.kernel[1]) }));
            }
        };
        let sweep = Sweep {
            source: x,
            group: w.group,
            sides: [w.begins[1], last + 1 - x.width as isize].map(|side| usize::try_from(side).unwrap_or(0)),
            result: [written, height, width],
            phases: 1,
            step: w.strides[1],
            weights: Weights { data: kernel, taps: w.taps(), result: read * w.taps(), source: w.taps() },
            reads: &reads,
            bias,
        };
        sweep.run(output, &parallel(ctx))
    }
}
