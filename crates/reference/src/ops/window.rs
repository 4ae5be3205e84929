//! The windows of convolutions and pooling: where along one spatial axis a window reads.

use crate::interpret::Call;

/// How a window moves along one spatial axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) input: i64,
    pub(super) output: i64,
    pub(super) kernel: i64,
    pub(super) stride: i64,
    pub(super) dilation: i64,
    pub(super) begin: i64,
    pub(super) end: i64,
}

impl Axis {
    /// Where tap `k` of window `o` reads; it may lie in the padding or beyond.
    pub(super) fn position(&self, o: i64, k: i64) -> i64 {
        o * self.stride + k * self.dilation - self.begin
    }

    /// The same as an index, if it lies in the input.
    pub(super) fn index(&self, o: i64, k: i64) -> Option<usize> {
        usize::try_from(self.position(o, k)).ok().filter(|_| self.position(o, k) < self.input)
    }
}

/// The axes of a convolution or of pooling over an input with spatial sizes `input`.
pub(super) fn axes(c: &Call<'_>, input: &[usize], kernel: &[i64]) -> Result<Vec<Axis>, String> {
    let n = input.len();
    let (strides, dilations) = (c.sizes("strides", n, 1)?, c.sizes("dilations", n, 1)?);
    let pads = c.sizes("pads", 2 * n, 0)?;
    let auto = c.text("auto_pad", "NOTSET")?;
    let ceil = c.flag("ceil_mode", false)?;
    if kernel.len() != n {
        return Err(format!("a kernel {kernel:?} for {n} spatial axes"));
    }
    (0..n)
        .map(|i| {
            let input = i64::try_from(input[i]).map_err(|e| e.to_string())?;
            let mut axis = Axis {
                input,
                output: 0,
                kernel: kernel[i],
                stride: strides[i],
                dilation: dilations[i],
                begin: pads[i],
                end: pads[n + i],
            };
            let span = axis.dilation * (axis.kernel - 1) + 1;
            match auto {
                "NOTSET" => {}
                "VALID" => (axis.begin, axis.end) = (0, 0),
                "SAME_UPPER" | "SAME_LOWER" => {
                    axis.output = input.div_ceil_of(axis.stride);
                    let total = ((axis.output - 1) * axis.stride + span - input).max(0);
                    let (small, large) = (total / 2, total - total / 2);
                    (axis.begin, axis.end) = if auto == "SAME_UPPER" { (small, large) } else { (large, small) };
                    return Ok(axis);
                }
                other => return Err(format!("auto_pad \"{other}\" is not known")),
            }
            let room = input + axis.begin + axis.end - span;
            if room < 0 {
                return Err(format!("a window of {span} does not fit into {input} with its padding"));
            }
            axis.output = if ceil { room.div_ceil_of(axis.stride) } else { room / axis.stride } + 1;
            // The last window must start inside the input or the padding before it.
            if ceil && (axis.output - 1) * axis.stride >= input + axis.begin {
                axis.output -= 1;
            }
            Ok(axis)
        })
        .collect()
}

trait DivCeil {
    fn div_ceil_of(self, divisor: Self) -> Self;
}

impl DivCeil for i64 {
    fn div_ceil_of(self, divisor: Self) -> Self {
        (self + divisor - 1) / divisor
    }
}

/// All positions of a grid with the given sizes, in row-major order.
pub(super) fn grid(sizes: impl IntoIterator<Item = i64>) -> Vec<Vec<i64>> {
    sizes.into_iter().fold(vec![Vec::new()], |positions, size| {
        positions.iter().flat_map(|p| (0..size).map(move |i| [&p[..], &[i]].concat())).collect()
    })
}

/// Offset of the position `at` in a row-major array with the sizes `dims`.
pub(super) fn offset(at: impl IntoIterator<Item = usize>, dims: &[usize]) -> usize {
    at.into_iter().zip(dims).fold(0, |offset, (i, size)| offset * size + i)
}
