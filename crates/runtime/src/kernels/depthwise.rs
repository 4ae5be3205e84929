//! The gradient of a convolution by its kernel where a group has so few channels that tiles would be empty.

use std::sync::{Mutex, PoisonError};

use super::Parallel;
use super::blocked::Maps;
use super::windows::Windows;

/// Whether it is, for groups of so many input and output channels.
pub(super) fn is_faster(inputs: usize, outputs: usize) -> bool {
    inputs * outputs <= 4
}

/// Sums for one tap after the other, along rows. A task has a group.
pub(super) fn gradient(
    w: &Windows,
    x: Maps<'_>,
    dy: Maps<'_>,
    to: &mut [f32],
    parallel: &Parallel<'_>,
) -> ort::Result<()> {
    let (inputs, outputs, taps) = (x.channels / w.group, dy.channels / w.group, w.taps());
    let groups: Vec<Mutex<&mut [f32]>> = to.chunks_exact_mut(outputs * inputs * taps).map(Mutex::new).collect();
    parallel(groups.len(), &|group| {
        let mut sums = groups[group].lock().unwrap_or_else(PoisonError::into_inner);
        sums.fill(0.0);
        for sample in 0..x.samples {
            for (at, sum) in sums.iter_mut().enumerate() {
                let (m, c, tap) = (at / taps / inputs, at / taps % inputs, at % taps);
                for n in 0..dy.height {
                    let y = usize::try_from(w.position(0, n, tap / w.kernel[1])).ok().filter(|&y| y < x.height);
                    let Some(y) = y else { continue };
                    let (x, dy) = (x.row(sample, group * inputs + c, y), dy.row(sample, group * outputs + m, n));
                    *sum += dot(w, x, dy, tap % w.kernel[1]);
                }
            }
        }
    })
}

/// `Σ dy[o] x[o * stride + tap * dilation - begin]` along a row.
fn dot(w: &Windows, x: &[f32], dy: &[f32], tap: usize) -> f32 {
    let stride = w.strides[1];
    let offset = w.position(1, 0, tap);
    // The first window that is not in the padding before the row, and the first that is in the one behind it.
    let first = usize::try_from(-offset).unwrap_or(0).div_ceil(stride);
    let end = usize::try_from(x.len() as isize - offset).unwrap_or(0).div_ceil(stride).min(dy.len());
    if first >= end {
        return 0.0;
    }
    let (x, dy) = (&x[(first * stride).saturating_add_signed(offset)..], &dy[first..end]);
    if stride > 1 {
        return x.iter().step_by(stride).zip(dy).map(|(x, dy)| x * dy).sum();
    }
    // Eight sums side by side: one after the other each addition would wait for the one before.
    let ((x, x_rest), (dy, dy_rest)) = (x[..dy.len()].as_chunks::<8>(), dy.as_chunks::<8>());
    let mut sums = [0.0_f32; 8];
    for (x, dy) in x.iter().zip(dy) {
        sums.iter_mut().zip(x.iter().zip(dy)).for_each(|(sum, (x, dy))| *sum += x * dy);
    }
    sums.iter().sum::<f32>() + x_rest.iter().zip(dy_rest).map(|(x, dy)| x * dy).sum::<f32>()
}
