//! `GridSample`.

use ndarray::{ArrayD, IxDyn};

use crate::interpret::{Call, Outputs, float_output};

/// An element along one axis, if it is one of the image's, and its weight.
type Tap = (Option<usize>, f64);

/// `GridSample` of images: each point is a weighted sum of elements, and padding says which element one outside is.
pub(super) fn grid_sample(c: &Call<'_>) -> Outputs {
    let (x, grid) = (c.floats(0)?, c.floats(1)?);
    let (&[n, channels, height, width], &[m, rows, columns, 2]) = (x.shape(), grid.shape()) else {
        return Err(format!("shapes {:?} and {:?}", x.shape(), grid.shape()));
    };
    if n != m {
        return Err(format!("{n} images and {m} grids"));
    }
    let mut y = ArrayD::zeros(IxDyn(&[n, channels, rows, columns]));
    for at in ndarray::indices([n, rows, columns]) {
        let (sample, row, column) = at;
        let along_x = taps(c, grid[[sample, row, column, 0]], width)?;
        let along_y = taps(c, grid[[sample, row, column, 1]], height)?;
        for channel in 0..channels {
            for &(i, of_row) in &along_y {
                for &(j, of_column) in &along_x {
                    if let (Some(i), Some(j)) = (i, j) {
                        y[[sample, channel, row, column]] += of_row * of_column * x[[sample, channel, i, j]];
                    }
                }
            }
        }
    }
    float_output(c.input(0)?.dtype, y)
}

/// What the coordinate `g` in `[-1, 1]` reads of `size` elements.
#[allow(clippy::cast_precision_loss)]
fn taps(c: &Call<'_>, g: f64, size: usize) -> Result<Vec<Tap>, String> {
    let align = c.flag("align_corners", false)?;
    let padding = c.text("padding_mode", "zeros")?;
    let last = size as f64 - 1.0;
    let position = if align { (g + 1.0) / 2.0 * last } else { ((g + 1.0) * size as f64 - 1.0) / 2.0 };
    let (low, high) = if align { (0.0, last) } else { (-0.5, last + 0.5) };
    let element = |position: f64| -> Result<Option<usize>, String> {
        let mut inside = position;
        match padding {
            "zeros" if !(0.0..=last).contains(&position) => return Ok(None),
            "zeros" => {}
            "border" => inside = position.clamp(0.0, last),
            "reflection" if low == high => inside = 0.0,
            "reflection" => {
                while !(low..=high).contains(&inside) {
                    inside = if inside < low { 2.0 * low - inside } else { 2.0 * high - inside };
                }
            }
            other => return Err(format!("padding_mode \"{other}\" is not known")),
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let inside = inside as usize;
        Ok(Some(inside))
    };
    match c.text("mode", "bilinear")? {
        "nearest" => Ok(vec![(element(position.round_ties_even())?, 1.0)]),
        "linear" | "bilinear" => {
            let below = position.floor();
            let t = position - below;
            Ok(vec![(element(below)?, 1.0 - t), (element(below + 1.0)?, t)])
        }
        other => Err(format!("mode \"{other}\" is not interpreted")),
    }
}
