//! Where the channels of a sample are.

use ndarray::{ArrayView2, CowArray, Ix2};

/// Samples of shape `from`, one in each row, as a model that takes samples of shape `to` wants them; `None` if they do not fit.
///
/// They fit as they are where the shapes are equal once dimensions of size 1 are left out, or where `to` is a flat vector of as
/// many elements. Images of three channels are reordered between `[3, h, w]` and `[h, w, 3]`, where the shapes say so.
#[must_use]
pub fn laid_out<'a>(samples: &ArrayView2<'a, f32>, from: &[usize], to: &[usize]) -> Option<CowArray<'a, f32, Ix2>> {
    let Layout::Permuted { shape, axes } = layout(from, to)? else { return Some((*samples).into()) };
    let n = samples.nrows();
    let images = samples.to_shape((n, shape[0], shape[1], shape[2])).ok()?;
    let images = images.permuted_axes([0, axes[0] + 1, axes[1] + 1, axes[2] + 1]);
    let rows = images.as_standard_layout().into_owned().into_shape_with_order((n, samples.ncols())).ok()?;
    Some(rows.into())
}

/// How elements move from one shape to another.
pub(crate) enum Layout {
    Same,
    /// Samples of `shape` with its dimensions in the order `axes`.
    Permuted {
        shape: [usize; 3],
        axes: [usize; 3],
    },
}

pub(crate) fn layout(from: &[usize], to: &[usize]) -> Option<Layout> {
    let (ours, theirs) = (squeezed(from), squeezed(to));
    let flat = theirs.len() <= 1 && to.iter().product::<usize>() == from.iter().product::<usize>();
    match (from, to) {
        _ if ours == theirs || flat => Some(Layout::Same),
        (&[3, h, w], &[a, b, 3]) if (h, w) == (a, b) => Some(Layout::Permuted { shape: [3, h, w], axes: [1, 2, 0] }),
        (&[h, w, 3], &[3, a, b]) if (h, w) == (a, b) => Some(Layout::Permuted { shape: [h, w, 3], axes: [2, 0, 1] }),
        _ => None,
    }
}

/// A shape without its dimensions of size 1.
pub(crate) fn squeezed(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&d| d != 1).collect()
}
