//! Reductions, `Softmax` and `CumSum`: functions of the elements along some axes.

use assay_graph::DataType;
use ndarray::{ArrayD, Axis, IxDyn};

use crate::array::{Array, Data};
use crate::interpret::{Call, Outputs, float_output};

/// All operators called `Reduce…`.
pub(super) fn reduce(c: &Call<'_>) -> Outputs {
    let x = c.input(0)?;
    let axes = match c.ints_at("axes", 1)?.filter(|axes| !axes.is_empty()) {
        Some(axes) => axes.into_iter().map(|a| Call::axis(a, x.dims().len())).collect::<Result<Vec<_>, _>>()?,
        None if c.flag("noop_with_empty_axes", false)? => return Ok(vec![x.clone()]),
        None => (0..x.dims().len()).collect(),
    };
    let keep = c.flag("keepdims", true)?;
    #[allow(clippy::cast_precision_loss)]
    let f: fn(&[f64]) -> f64 = match c.node.operator.as_str() {
        "ReduceL1" => |v| v.iter().map(|x| x.abs()).sum(),
        "ReduceL2" => |v| v.iter().map(|x| x * x).sum::<f64>().sqrt(),
        "ReduceLogSum" => |v| v.iter().sum::<f64>().ln(),
        "ReduceLogSumExp" => log_sum_exp,
        "ReduceMax" => |v| v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "ReduceMean" => |v| v.iter().sum::<f64>() / v.len() as f64,
        "ReduceMin" => |v| v.iter().copied().fold(f64::INFINITY, f64::min),
        "ReduceProd" => |v| v.iter().product(),
        "ReduceSum" => |v| v.iter().sum(),
        "ReduceSumSquare" => |v| v.iter().map(|x| x * x).sum(),
        other => return Err(format!("reduction {other} is not interpreted")),
    };
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    let data = match &x.data {
        Data::Float(x) => Data::Float(along(x, &axes, keep, f)),
        // Shapes are far below 2^53, so f64 holds them exactly.
        Data::Int(x) => Data::Int(along(&x.mapv(|v| v as f64), &axes, keep, f).mapv(|v| v as i64)),
        Data::Bool(_) => return Err("booleans are not reduced".into()),
    };
    Ok(vec![Array::of(x.dtype, data)])
}

/// `f` of the elements along `axes`, for each position on the other axes.
pub(super) fn along(x: &ArrayD<f64>, axes: &[usize], keep: bool, f: impl Fn(&[f64]) -> f64) -> ArrayD<f64> {
    let kept: Vec<usize> = x.shape().iter().enumerate().map(|(a, &d)| if axes.contains(&a) { 1 } else { d }).collect();
    let result = ArrayD::from_shape_fn(IxDyn(&kept), |at| {
        let mut part = x.view();
        for axis in (0..kept.len()).filter(|a| !axes.contains(a)) {
            part.collapse_axis(Axis(axis), at[axis]);
        }
        f(&part.iter().copied().collect::<Vec<_>>())
    });
    if keep {
        return result;
    }
    (0..kept.len()).rev().filter(|a| axes.contains(a)).fold(result, |r, axis| r.index_axis_move(Axis(axis), 0))
}

fn log_sum_exp(v: &[f64]) -> f64 {
    let max = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max.is_infinite() { max } else { max + v.iter().map(|x| (x - max).exp()).sum::<f64>().ln() }
}

/// `ArgMax` and `ArgMin`.
pub(super) fn arg(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    let axis = Call::axis(c.int("axis", 0)?, x.ndim())?;
    let (last, max) = (c.flag("select_last_index", false)?, c.node.operator == "ArgMax");
    let best = along(x, &[axis], c.flag("keepdims", true)?, |v| {
        let mut best = 0;
        for (i, &value) in v.iter().enumerate() {
            let better = if max { value > v[best] } else { value < v[best] };
            if better || (last && value == v[best]) {
                best = i;
            }
        }
        #[allow(clippy::cast_precision_loss)]
        let best = best as f64;
        best
    });
    #[allow(clippy::cast_possible_truncation)]
    let best = best.mapv(|i| i as i64);
    Ok(vec![Array::of(DataType::Int64, Data::Int(best))])
}

/// `Softmax` and `LogSoftmax`: along one axis, or before opset 13 over all axes from one on.
pub(super) fn softmax(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    let axes: Vec<usize> = match c.opset {
        ..13 => (Call::axis(c.int("axis", 1)?, x.ndim())?..x.ndim()).collect(),
        _ => vec![Call::axis(c.int("axis", -1)?, x.ndim())?],
    };
    let total = along(x, &axes, true, log_sum_exp);
    let log = x - &total;
    let y = if c.node.operator == "Softmax" { log.exp() } else { log };
    float_output(c.input(0)?.dtype, y)
}

/// `CumSum`.
pub(super) fn cumsum(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    #[allow(clippy::cast_possible_truncation)]
    let axis = Call::axis(c.number(1)? as i64, x.ndim())?;
    let (exclusive, reverse) = (c.flag("exclusive", false)?, c.flag("reverse", false)?);
    let y = ArrayD::from_shape_fn(x.raw_dim(), |at| {
        let counts = |i: usize| match (reverse, exclusive) {
            (false, false) => i <= at[axis],
            (false, true) => i < at[axis],
            (true, false) => i >= at[axis],
            (true, true) => i > at[axis],
        };
        let mut from = at.clone();
        let mut sum = 0.0;
        for i in (0..x.shape()[axis]).filter(|&i| counts(i)) {
            from[axis] = i;
            sum += x[&from];
        }
        sum
    });
    float_output(c.input(0)?.dtype, y)
}
