//! Sliding windows: how the positions of a convolution or a pool on its two sides belong together.

use super::class::output;
use super::inputs::int;
use crate::{Cause, Channels, Node, Rule};

/// No kernel, stride, dilation or pad of a real model is larger; below it no product of two overflows.
const LARGEST: i64 = i32::MAX as i64;

/// Windows along one spatial axis. Tap `k` of window `n` is at position `n * stride + k * dilation - begin` of the wide
/// side.
///
/// A convolution or a pool reads the wide side and writes one element per window, a transposed convolution the reverse.
/// The padding behind the wide side follows from the sizes and is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Size of the side that windows slide over.
    pub wide: i64,
    /// Number of windows.
    pub narrow: i64,
    pub kernel: i64,
    pub stride: i64,
    pub dilation: i64,
    /// Padding before the wide side.
    pub begin: i64,
}

impl Window {
    /// Positions from the first tap of a window to its last, both included.
    pub(super) fn reach(&self) -> i64 {
        self.dilation * (self.kernel - 1) + 1
    }

    /// Positions from the first tap of the first window to the last tap of the last.
    pub(super) fn extent(&self) -> i64 {
        self.stride * (self.narrow - 1) + self.reach()
    }

    /// What the windows reach beyond the wide side's end; negative where elements at the end are in no window.
    pub(super) fn overhang(&self) -> i64 {
        self.extent() - self.begin - self.wide
    }

    /// The least number of windows from one to the next that has no element in common with it, if there are so many.
    pub(super) fn apart(&self) -> i64 {
        ((self.reach() + self.stride - 1) / self.stride).clamp(1, self.narrow.max(1))
    }

    /// How many taps of window `n` lie before position `end` of the wide side, without those before position `start`.
    pub(super) fn taps_within(&self, n: i64, start: i64, end: i64) -> i64 {
        let inside = |k: &i64| (start..end).contains(&(n * self.stride + k * self.dilation - self.begin));
        int((0..self.kernel).filter(inside).count())
    }
}

/// Strides, dilations and pads that a node states for its spatial axes.
#[derive(Debug)]
pub(super) struct Stated<'n> {
    pub kernel: Vec<i64>,
    pub strides: Vec<i64>,
    pub dilations: Vec<i64>,
    pub begins: Vec<i64>,
    pub ends: Vec<i64>,
    pub auto_pad: &'n str,
}

impl<'n> Stated<'n> {
    /// Reads the attributes of `node` for windows of size `kernel`.
    ///
    /// # Errors
    /// An attribute has the wrong length or is out of range.
    pub(super) fn of(node: &'n Node, kernel: Vec<i64>) -> Rule<Self> {
        let axes = kernel.len();
        let list = |name: &str, len: usize, default: i64, least: i64| -> Rule<Vec<i64>> {
            let values = node.ints(name)?.map_or_else(|| vec![default; len], <[i64]>::to_vec);
            if values.len() != len || values.iter().any(|v| !(least..=LARGEST).contains(v)) {
                return Err(Cause::Malformed(format!(
                    "attribute \"{name}\" must have {len} values of at least {least}, this is {values:?}"
                )));
            }
            Ok(values)
        };
        if kernel.iter().any(|k| !(1..=LARGEST).contains(k)) {
            return Err(Cause::Malformed(format!("the kernel has sizes of at least 1, this is {kernel:?}")));
        }
        let mut begins = list("pads", 2 * axes, 0, 0)?;
        let ends = begins.split_off(axes);
        let strides = list("strides", axes, 1, 1)?;
        let dilations = list("dilations", axes, 1, 1)?;
        Ok(Self { kernel, strides, dilations, begins, ends, auto_pad: node.text("auto_pad", "NOTSET")? })
    }

    /// The windows of an operator that reads the wide side, a convolution or a pool.
    ///
    /// # Errors
    /// `auto_pad` is unknown, or a case of `SAME_*` on which ONNX Runtime and the specification do not agree.
    pub(super) fn reading(&self, wide: &[usize], narrow: &[usize]) -> Rule<Vec<Window>> {
        self.windows(wide, narrow, |stated, axis, window| {
            if stated.auto_pad == "NOTSET" {
                return Ok(stated.begins[axis]);
            }
            if window.dilation > 1 {
                return Err(Cause::Unsupported(format!(
                    "auto_pad {} with dilations other than 1; write the pads out",
                    stated.auto_pad
                )));
            }
            let total = window.overhang();
            if total < -1 {
                return Err(Cause::Unsupported(format!(
                    "auto_pad {} with strides that skip more than one element at the end; write the pads out",
                    stated.auto_pad
                )));
            }
            // One element that is skipped, as by a kernel of 1 at a stride of 2, is no reason to pad or to crop.
            let total = total.max(0);
            Ok(if stated.auto_pad == "SAME_UPPER" { total / 2 } else { total - total / 2 })
        })
    }

    /// The windows of an operator that writes the wide side, a transposed convolution with these `output_padding`.
    /// With `fitted`, the pads follow from a stated output size.
    ///
    /// # Errors
    /// `auto_pad` is unknown.
    pub(super) fn writing(
        &self,
        wide: &[usize],
        narrow: &[usize],
        output_padding: &[i64],
        fitted: bool,
    ) -> Rule<Vec<Window>> {
        self.windows(wide, narrow, |stated, axis, window| {
            if stated.auto_pad == "NOTSET" && !fitted {
                return Ok(stated.begins[axis]);
            }
            let total = (window.overhang() + output_padding[axis]).max(0);
            Ok(if stated.auto_pad == "SAME_UPPER" { total / 2 } else { total - total / 2 })
        })
    }

    fn windows(
        &self,
        wide: &[usize],
        narrow: &[usize],
        begin: impl Fn(&Self, usize, &Window) -> Rule<i64>,
    ) -> Rule<Vec<Window>> {
        if wide.len() != self.kernel.len() || narrow.len() != self.kernel.len() {
            return Err(Cause::Malformed(format!(
                "a kernel with {} axes over a tensor with {} spatial axes",
                self.kernel.len(),
                wide.len()
            )));
        }
        if !matches!(self.auto_pad, "NOTSET" | "VALID" | "SAME_UPPER" | "SAME_LOWER") {
            return Err(Cause::Malformed(format!("attribute \"auto_pad\" is \"{}\"", self.auto_pad)));
        }
        let axes = 0..self.kernel.len();
        axes.map(|axis| {
            let (kernel, stride, dilation) = (self.kernel[axis], self.strides[axis], self.dilations[axis]);
            let window =
                Window { wide: int(wide[axis]), narrow: int(narrow[axis]), kernel, stride, dilation, begin: 0 };
            let begin = if self.auto_pad == "VALID" { 0 } else { begin(self, axis, &window)? };
            Ok(Window { begin, ..window })
        })
        .collect()
    }
}

/// Channels through what treats each of them alone: samples first, channels second, windows or all positions behind them.
pub(super) fn channel_by_channel(node: &Node, c: &mut Channels<'_>) -> Rule<()> {
    let (x, y) = (node.required(0)?, output(node)?);
    c.carry(x, 0, y, 0);
    c.carry(x, 1, y, 1);
    for value in [x, y] {
        c.fix_from(value, 2, "it combines neighbouring positions");
    }
    Ok(())
}
