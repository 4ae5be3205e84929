//! Pooling.

use assay_graph::DataType;
use ndarray::{ArrayD, IxDyn};

use super::reduce::along;
use super::window::{axes, grid, offset};
use crate::array::{Array, Data};
use crate::interpret::{Call, Outputs, float_output};

/// `MaxPool` with its indices, `AveragePool` and `LpPool`.
pub(super) fn pool(c: &Call<'_>) -> Outputs {
    // Maxima of integers too.
    let x = if c.node.operator == "MaxPool" { c.numbers(0)? } else { c.floats(0)?.clone() };
    if x.ndim() < 3 {
        return Err(format!("shape {:?} has no spatial axes", x.shape()));
    }
    let image = &x.shape()[2..];
    let kernel = c.node.ints("kernel_shape").ok().flatten().ok_or("attribute \"kernel_shape\" is required")?;
    let axes = axes(c, image, kernel)?;
    let (windows, taps) = (grid(axes.iter().map(|a| a.output)), grid(axes.iter().map(|a| a.kernel)));
    let size = image.iter().product::<usize>();
    let planes: Vec<f64> = x.iter().copied().collect();
    let include_pad = c.flag("count_include_pad", false)?;
    let column_major = c.flag("storage_order", false)?;
    let (mut values, mut indices) = (Vec::new(), Vec::new());
    for plane in 0..x.shape()[0] * x.shape()[1] {
        for o in &windows {
            // What the window sees, and where.
            let seen: Vec<(f64, Vec<usize>)> = taps
                .iter()
                .filter_map(|k| {
                    let at: Option<Vec<_>> =
                        axes.iter().zip(o.iter().zip(k)).map(|(a, (&o, &k))| a.index(o, k)).collect();
                    let at = at?;
                    Some((planes[plane * size + offset(at.iter().copied(), image)], at))
                })
                .collect();
            if c.node.operator == "LpPool" {
                values.push(norm(seen.iter().map(|(v, _)| *v), c.int("p", 2)?));
                continue;
            }
            if c.node.operator == "AveragePool" {
                // Taps beyond the padding after the input, where only ceil_mode leads, do not count.
                let padded = |k: &[i64]| {
                    axes.iter().zip(o.iter().zip(k)).all(|(a, (&o, &k))| a.position(o, k) < a.input + a.end)
                };
                let count = if include_pad { taps.iter().filter(|k| padded(k)).count() } else { seen.len() };
                #[allow(clippy::cast_precision_loss)]
                values.push(seen.iter().map(|(v, _)| v).sum::<f64>() / count as f64);
                continue;
            }
            // The first of the largest.
            let (best, at) = seen
                .iter()
                .fold(None, |best: Option<&(f64, Vec<usize>)>, this| match best {
                    Some(best) if this.0 <= best.0 => Some(best),
                    _ => Some(this),
                })
                .ok_or("a window lies in the padding")?;
            values.push(*best);
            let within = match column_major {
                true => offset(at.iter().rev().copied(), &image.iter().rev().copied().collect::<Vec<_>>()),
                false => offset(at.iter().copied(), image),
            };
            indices.push(i64::try_from(plane * size + within).map_err(|e| e.to_string())?);
        }
    }
    let dims: Vec<usize> =
        x.shape()[..2].iter().copied().chain(axes.iter().map(|a| usize::try_from(a.output).unwrap_or(0))).collect();
    let values = ArrayD::from_shape_vec(IxDyn(&dims), values).map_err(|e| e.to_string())?;
    let input = c.input(0)?;
    #[allow(clippy::cast_possible_truncation)]
    let data = match input.data {
        Data::Float(_) => Data::Float(values),
        _ => Data::Int(values.mapv(|v| v as i64)),
    };
    let mut outputs = vec![Array::of(input.dtype, data)];
    if c.node.operator == "MaxPool" {
        let indices = ArrayD::from_shape_vec(IxDyn(&dims), indices).map_err(|e| e.to_string())?;
        outputs.push(Array::of(DataType::Int64, Data::Int(indices)));
    }
    Ok(outputs)
}

/// `GlobalAveragePool`, `GlobalMaxPool` and `GlobalLpPool`.
pub(super) fn global(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    let spatial: Vec<usize> = (2..x.ndim()).collect();
    let p = c.int("p", 2)?;
    #[allow(clippy::cast_precision_loss)]
    let f = |v: &[f64]| match c.node.operator.as_str() {
        "GlobalAveragePool" => v.iter().sum::<f64>() / v.len() as f64,
        "GlobalLpPool" => norm(v.iter().copied(), p),
        _ => v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    float_output(c.input(0)?.dtype, along(x, &spatial, true, f))
}

/// The p-norm.
#[allow(clippy::cast_precision_loss)]
fn norm(v: impl Iterator<Item = f64>, p: i64) -> f64 {
    v.map(|v| v.abs().powf(p as f64)).sum::<f64>().powf(1.0 / p as f64)
}
