//! Where the batch is in a tensor.

use crate::{Cause, Rule};

/// Dimension `axis` has the size `before * n * after` for a batch of `n`, in this order: the batch dimension itself has
/// `before = after = 1`, and windows or heads that were merged into it are the factors around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) axis: usize,
    pub(super) before: usize,
    pub(super) after: usize,
}

impl Layout {
    /// The first dimension is the batch.
    pub(super) fn first() -> Self {
        Self::at(0)
    }

    /// Dimension `axis` is the batch.
    pub(super) fn at(axis: usize) -> Self {
        Self { axis, before: 1, after: 1 }
    }

    /// The same in another dimension.
    pub(super) fn moved(self, axis: usize) -> Self {
        Self { axis, ..self }
    }

    /// Size of the dimension for a batch of `size`.
    pub(super) fn size(self, size: usize) -> usize {
        self.before * size * self.after
    }

    /// Where the batch can be after a tensor of shape `from` took the shape `to`; the likeliest place first.
    ///
    /// In row-major order what lies before the batch and what lies after it stay what they are.
    pub(super) fn reshaped(self, from: &[usize], to: &[usize], size: usize) -> Vec<Self> {
        let outside: usize = from[..self.axis].iter().product::<usize>() * self.before;
        let mut places = Vec::new();
        let mut prefix = 1_usize;
        for (axis, &dim) in to.iter().enumerate() {
            if prefix > 0 && outside.is_multiple_of(prefix) {
                let before = outside / prefix;
                if before > 0 && dim > 0 && dim % (before * size) == 0 {
                    places.push(Self { axis, before, after: dim / (before * size) });
                }
            }
            prefix *= dim;
        }
        // A dimension of its own, else merged with what follows, else with what comes before; further left first.
        places.sort_by_key(|place| (place.before * place.after > 1, place.before > 1, place.axis));
        places
    }
}

/// A dimension counted from the end if negative.
pub(super) fn axis(axis: i64, rank: usize) -> Rule<usize> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let found = if axis < 0 { axis + signed } else { axis };
    usize::try_from(found)
        .ok()
        .filter(|&axis| axis < rank)
        .ok_or_else(|| Cause::Malformed(format!("axis {axis} of a tensor with {rank} dimensions")))
}
