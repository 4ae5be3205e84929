//! How the windows of a convolution lie on a map, as the attributes of its node say.

use ort::operator::KernelContext;

/// Tap `k` of window `n` is at position `n * stride + k * dilation - begin` of an axis.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    pub(super) kernel: [usize; 2],
    pub(super) strides: [usize; 2],
    pub(super) dilations: [usize; 2],
    pub(super) begins: [isize; 2],
    pub(super) group: usize,
}

impl Windows {
    /// Reads `kernel_shape`, `strides`, `dilations`, `group` and, of `pads`, the two before an axis.
    pub(super) fn of(node: &KernelContext<'_>) -> ort::Result<Self> {
        let least_1 = |name: &str| {
            pair(node, name).and_then(|sizes| match sizes.map(usize::try_from) {
                [Ok(rows @ 1..), Ok(columns @ 1..)] => Ok([rows, columns]),
                _ => Err(odd(name)),
            })
        };
        let group: i64 = node.get("group").ok_or_else(|| odd("group"))?;
        let [top, left] = pair(node, "pads")?.map(isize::try_from);
        Ok(Self {
            kernel: least_1("kernel_shape")?,
            strides: least_1("strides")?,
            dilations: least_1("dilations")?,
            begins: [top.map_err(|_| odd("pads"))?, left.map_err(|_| odd("pads"))?],
            group: usize::try_from(group).ok().filter(|&group| group > 0).ok_or_else(|| odd("group"))?,
        })
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Where tap `tap` of window `window` lies along `axis`; in the padding it is before 0, or behind the end.
    pub(super) fn position(&self, axis: usize, window: usize, tap: usize) -> isize {
        (window * self.strides[axis] + tap * self.dilations[axis]) as isize - self.begins[axis]
    }

    /// The window whose tap `tap` lies at `position` of `axis`, which may be before the first or behind the last; `None` where there would be
    /// none however many there were.
    pub(super) fn window(&self, axis: usize, position: usize, tap: usize) -> Option<isize> {
        let way = position as isize + self.begins[axis] - (tap * self.dilations[axis]) as isize;
        let stride = self.strides[axis] as isize;
        (way.rem_euclid(stride) == 0).then(|| way.div_euclid(stride))
    }
}

/// The first two numbers of an attribute.
pub(super) fn pair(node: &KernelContext<'_>, name: &str) -> ort::Result<[i64; 2]> {
    let values: Option<Vec<i64>> = node.get(name);
    match values.as_deref() {
        Some(&[rows, columns, ..]) => Ok([rows, columns]),
        _ => Err(odd(name)),
    }
}

pub(super) fn odd(name: &str) -> ort::Error {
    ort::Error::new(format!("attribute \"{name}\" is missing or of another form"))
}
