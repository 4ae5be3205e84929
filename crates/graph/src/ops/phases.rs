//! A strided transposed convolution as one convolution per phase.
//!
//! With stride `s`, the wide elements `s m + p` of one phase `p` depend only on the taps that differ by `s`: each phase is a
//! convolution at unit stride with its share of the kernel, and `DepthToSpace` interleaves the phases.

use bytes::Bytes;

use super::convolve::{Kernel, attributes, flip, one};
use super::window::Window;
use crate::{Cause, Emit, Lowering, Rule, Tensor, Value};

/// The taps of one phase along one axis, and the padding of its convolution.
struct Phase {
    taps: Vec<usize>,
    window: Window,
    end: i64,
}

/// `spread` by phases where that is faster, and otherwise `None`.
///
/// ONNX Runtime's `ConvTranspose` multiplies matrices group by group and scatters every tap, which costs more than it computes
/// for one channel per group, on small maps and with large kernels; elsewhere the interleaving costs more. `n²` windows of `k²`
/// taps count as small up to `n² = k³`. (`make bench-forms`; `docs/performance.md` has the times.)
pub(super) fn spread(
    y: &Value,
    kernel: Kernel<'_>,
    windows: &[Window],
    group: usize,
    e: &mut Emit<'_>,
) -> Rule<Option<Value>> {
    let (Some(content), [rows, columns]) = (kernel.content, windows) else { return Ok(None) };
    let depthwise = content.dims().first() == Some(&group) && content.dims().get(1) == Some(&1);
    // The square of `n² <= k³`, so that it is meant for oblong kernels too.
    let small = (rows.narrow * columns.narrow).saturating_pow(2) <= (rows.kernel * columns.kernel).saturating_pow(3);
    if e.lowering() != Lowering::Cpu || !depthwise || !small || rows.stride != columns.stride {
        return Ok(None);
    }
    let (Some(down), Some(across)) = (phases(rows), phases(columns)) else { return Ok(None) };
    let mut parts = Vec::new();
    for row in &down {
        for column in &across {
            let part = e.tensor(flip(&taps(content, row, column)?, group)?);
            let attributes =
                attributes(&[row.window, column.window], &[row.end, column.end], group, |w| (w.stride, w.dilation));
            parts.push(one(e, "Conv", y, &part, attributes));
        }
    }
    let parts: Vec<&Value> = parts.iter().collect();
    let all = e.op_with("Concat", &parts, [("axis", 1.into())]);
    Ok(Some(e.op_with("DepthToSpace", &[&all], [("blocksize", rows.stride.into())])))
}

/// The phases along one axis; `None` where they are not all alike in size, or one has no tap.
fn phases(w: &Window) -> Option<Vec<Phase>> {
    if w.stride == 1 || w.dilation != 1 || w.wide % w.stride != 0 {
        return None;
    }
    let phase = |p: i64| {
        let first = (w.begin + p) % w.stride;
        let taps: Vec<i64> = (0..w.kernel).filter(|k| k % w.stride == first).collect();
        let count = i64::try_from(taps.len()).ok()?;
        // Tap `k` reads element `m - (k - begin - p) / stride`: the last tap the earliest one.
        let begin = (taps.last()? - w.begin - p) / w.stride;
        let end = w.wide / w.stride - w.narrow - begin + count - 1;
        let window = Window { kernel: count, stride: 1, begin, ..*w };
        let taps = taps.into_iter().map(usize::try_from).collect::<Result<_, _>>().ok()?;
        (begin >= 0 && end >= 0).then_some(Phase { taps, window, end })
    };
    (0..w.stride).map(phase).collect()
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
    fn uneven_phases_are_left_to_conv_transpose() {
        assert!(phases(&window(5, 2, 3, 0)).is_none());
        assert!(phases(&window(4, 2, 1, 0)).is_none(), "no tap reaches the odd elements");
    }

    #[test]
    fn a_phase_takes_its_taps_of_each_plane() {
        let kernel = Tensor::floats(&[2, 1, 1, 3], &[1., 2., 3., 4., 5., 6.]);
        let row = Phase { taps: vec![0], window: window(1, 1, 1, 0), end: 0 };
        let odd = &phases(&window(4, 2, 3, 1)).unwrap()[1];
        assert_eq!(taps(&kernel, &row, odd).unwrap(), Tensor::floats(&[2, 1, 1, 2], &[1., 3., 4., 6.]));
    }
}
