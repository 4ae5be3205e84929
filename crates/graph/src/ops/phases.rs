//! A strided transposed convolution as one convolution per phase.
//!
//! With stride `s`, the wide elements `s m + p` of one phase `p` depend only on the taps that differ by `s`: each phase is a
//! convolution at unit stride with its share of the kernel, and `DepthToSpace` interleaves the phases.

use bytes::Bytes;

use super::convolve::{Kernel, attributes, flip, one};
use super::inputs::{int, pad};
use super::window::Window;
use crate::{Cause, Emit, Rule, Tensor, Value};

/// The taps of one phase along one axis, and the padding of its convolution, which crops where it is negative.
struct Phase {
    taps: Vec<usize>,
    window: Window,
    end: i64,
}

/// `spread` by phases where that pays, and otherwise `None`.
///
/// ONNX Runtime's `ConvTranspose` on the processor multiplies matrices group by group and scatters every tap, which costs more
/// than it computes for one channel per group, on small maps and with large kernels; elsewhere the interleaving costs more. `n²`
/// windows of `k²` taps count as small up to `n² = k³`. (`make bench-forms`; `docs/performance.md` has the times.)
///
/// On CUDA it adds in an order that changes from run to run; convolutions do not, and take as long.
pub(super) fn spread(
    y: &Value,
    kernel: Kernel<'_>,
    windows: &[Window],
    group: usize,
    e: &mut Emit<'_>,
) -> Rule<Option<Value>> {
    let (Some(content), [rows, columns]) = (kernel.content, windows) else { return Ok(None) };
    if rows.stride != columns.stride || rows.stride == 1 {
        return Ok(None);
    }
    let (Some(down), Some(across)) = (phases(rows), phases(columns)) else { return Ok(None) };
    if e.lowering().is_cpu() {
        let depthwise = content.dims().first() == Some(&group) && content.dims().get(1) == Some(&1);
        // The square of `n² <= k³`, so that it is meant for oblong kernels too.
        let small =
            (rows.narrow * columns.narrow).saturating_pow(2) <= (rows.kernel * columns.kernel).saturating_pow(3);
        let even = [rows, columns].iter().all(|w| w.wide % w.stride == 0);
        let plain = down.iter().chain(&across).all(|p| !p.taps.is_empty() && p.window.begin >= 0 && p.end >= 0);
        if !depthwise || !small || !even || !plain {
            return Ok(None);
        }
    }
    let channels = content.dims().get(1).map_or(0, |wide| int(wide * group));
    let mut parts = Vec::new();
    // Phases that no tap reaches are zeros, which the parts beside them bring along.
    let mut missing = 0;
    for row in &down {
        for column in &across {
            if row.taps.is_empty() || column.taps.is_empty() {
                missing += channels;
                continue;
            }
            let part = convolved(y, content, [row, column], group, e)?;
            parts.push(pad(&part, &[(0, 0), (missing, 0), (0, 0), (0, 0)], e));
            missing = 0;
        }
    }
    if let Some(last) = parts.pop() {
        parts.push(pad(&last, &[(0, 0), (0, missing), (0, 0), (0, 0)], e));
    }
    let all = match parts.as_slice() {
        [only] => only.clone(),
        _ => e.op_with("Concat", &parts.iter().collect::<Vec<_>>(), [("axis", 1.into())]),
    };
    let wide = e.op_with("DepthToSpace", &[&all], [("blocksize", rows.stride.into())]);
    let beyond = |w: &Window| (0, w.wide - w.stride * ceil(w.wide, w.stride));
    Ok(Some(pad(&wide, &[(0, 0), (0, 0), beyond(rows), beyond(columns)], e)))
}

/// The elements of one phase.
fn convolved(y: &Value, kernel: &Tensor, [row, column]: [&Phase; 2], group: usize, e: &mut Emit<'_>) -> Rule<Value> {
    let crop = |p: &Phase| (p.window.begin.min(0), p.end.min(0));
    let y = pad(y, &[(0, 0), (0, 0), crop(row), crop(column)], e);
    let part = e.tensor(flip(&taps(kernel, row, column)?, group)?);
    let [down, across] = [row, column].map(|p| Window { begin: p.window.begin.max(0), ..p.window });
    let ends = [row.end.max(0), column.end.max(0)];
    Ok(one(e, "Conv", &y, &part, attributes(&[down, across], &ends, group, |w| (w.stride, w.dilation))))
}

/// The phases along one axis, all of the same size, which together may be a little more than the axis has. `None` where the
/// taps are dilated, or a phase reads nothing of the narrow side.
fn phases(w: &Window) -> Option<Vec<Phase>> {
    if w.stride == 1 || w.dilation != 1 {
        return None;
    }
    let phase = |p: i64| {
        let first = (w.begin + p) % w.stride;
        let taps: Vec<i64> = (0..w.kernel).filter(|k| k % w.stride == first).collect();
        let count = int(taps.len());
        // Tap `k` reads element `m - (k - begin - p) / stride`: the last tap the earliest one.
        let begin = taps.last().map_or(0, |last| (last - w.begin - p) / w.stride);
        let end = ceil(w.wide, w.stride) - w.narrow - begin + count - 1;
        let window = Window { kernel: count, stride: 1, begin, ..*w };
        let taps: Vec<usize> = taps.into_iter().map(usize::try_from).collect::<Result<_, _>>().ok()?;
        let reads = taps.is_empty() || w.narrow + begin.min(0) + end.min(0) > 0;
        reads.then_some(Phase { taps, window, end })
    };
    (0..w.stride).map(phase).collect()
}

fn ceil(n: i64, of: i64) -> i64 {
    (n + of - 1) / of
}

/// The kernel `[m, w, rows, columns]` with the taps of one phase only.
fn taps(kernel: &Tensor, rows: &Phase, columns: &Phase) -> Rule<Tensor> {
    let defect = || Cause::Malformed(format!("a kernel of shape {:?} for two spatial axes", kernel.dims()));
    let size = kernel.dtype().size().ok_or_else(defect)?;
    let &[m, w, height, width] = kernel.dims() else { return Err(defect()) };
    let mut data = Vec::new();
    for plane in kernel.bytes().chunks_exact((height * width * size).max(1)) {
        for row in &rows.taps {
            for column in &columns.taps {
                let start = (row * width + column) * size;
                data.extend_from_slice(plane.get(start..start + size).ok_or_else(defect)?);
            }
        }
    }
    Tensor::new(kernel.dtype(), vec![m, w, rows.taps.len(), columns.taps.len()], Bytes::from(data)).ok_or_else(defect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(wide: i64, narrow: i64, kernel: i64, begin: i64) -> Window {
        Window { wide, narrow, kernel, stride: 2, dilation: 1, begin }
    }

    #[test]
    fn even_and_odd_elements_share_the_taps() {
        // Taps 0, 1, 2 of window n are at 2 n - 1, 2 n and 2 n + 1.
        let [even, odd] = &phases(&window(4, 2, 3, 1)).unwrap()[..] else { panic!() };
        assert_eq!((&even.taps[..], even.window.begin, even.end), (&[1][..], 0, 0));
        assert_eq!((&odd.taps[..], odd.window.begin, odd.end), (&[0, 2][..], 0, 1));
    }

    #[test]
    fn phases_are_alike_in_size_even_where_no_tap_reaches_them() {
        // Elements 0 to 4, of which the last is in the second window only: even ones from taps 0 and 2, odd ones from tap 1.
        let [even, odd] = &phases(&window(5, 2, 3, 0)).unwrap()[..] else { panic!() };
        assert_eq!((&even.taps[..], even.window.begin, even.end), (&[0, 2][..], 1, 1));
        assert_eq!((&odd.taps[..], odd.window.begin, odd.end), (&[1][..], 0, 1));
        let [even, odd] = &phases(&window(4, 2, 1, 0)).unwrap()[..] else { panic!() };
        assert_eq!((&even.taps[..], even.window.begin, even.end), (&[0][..], 0, 0));
        assert!(odd.taps.is_empty());
    }

    #[test]
    fn padding_that_a_phase_does_not_reach_is_cropped() {
        // Taps 0 and 1 of window n are at 2 n - 1 and 2 n: odd elements are read from the next window on.
        let [even, odd] = &phases(&window(4, 3, 2, 1)).unwrap()[..] else { panic!() };
        assert_eq!((&even.taps[..], even.window.begin, even.end), (&[1][..], 0, -1));
        assert_eq!((&odd.taps[..], odd.window.begin, odd.end), (&[0][..], -1, 0));
    }

    #[test]
    fn dilated_taps_are_left_to_conv_transpose() {
        assert!(phases(&Window { dilation: 2, ..window(6, 2, 2, 0) }).is_none());
    }

    #[test]
    fn a_phase_takes_its_taps_of_each_plane() {
        let kernel = Tensor::floats(&[2, 1, 1, 3], &[1., 2., 3., 4., 5., 6.]);
        let row = Phase { taps: vec![0], window: window(1, 1, 1, 0), end: 0 };
        let odd = &phases(&window(4, 2, 3, 1)).unwrap()[1];
        assert_eq!(taps(&kernel, &row, odd).unwrap(), Tensor::floats(&[2, 1, 1, 2], &[1., 3., 4., 6.]));
    }
}
