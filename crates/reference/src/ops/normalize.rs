//! Normalisations.

use ndarray::{ArrayD, IxDyn};

use super::elementwise::broadcast;
use super::reduce::along;
use crate::array::{Array, Data};
use crate::interpret::{Call, Outputs, float_output};

/// `BatchNormalization` in inference: with the given statistics.
pub(super) fn batch(c: &Call<'_>) -> Outputs {
    let dtype = c.input(0)?.dtype;
    if c.flag("training_mode", false)? {
        return Err("training mode is not interpreted".into());
    }
    let x = c.floats(0)?;
    let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|i| c.floats(i).and_then(|p| per_channel(p, x)));
    let epsilon = c.float("epsilon", 1e-5)?;
    float_output(dtype, (x - &mean?) / (variance? + epsilon).sqrt() * scale? + bias?)
}

/// `InstanceNormalization`: each channel of each sample.
pub(super) fn instance(c: &Call<'_>) -> Outputs {
    let dtype = c.one_type(&[0, 1, 2])?;
    let x = c.floats(0)?;
    let (normal, ..) = standardize(x, &(2..x.ndim()).collect::<Vec<_>>(), c.float("epsilon", 1e-5)?);
    float_output(dtype, normal * per_channel(c.floats(1)?, x)? + per_channel(c.floats(2)?, x)?)
}

/// `GroupNormalization`: scale and bias per group in opset 18, per channel from 21 on.
pub(super) fn group(c: &Call<'_>) -> Outputs {
    let dtype = c.one_type(&[0, 1, 2])?;
    let x = c.floats(0)?;
    let groups = usize::try_from(c.int("num_groups", 0)?).map_err(|e| e.to_string())?;
    let channels = x.shape()[1];
    if groups == 0 || channels % groups != 0 {
        return Err(format!("{groups} groups of {channels} channels"));
    }
    let split = [&[x.shape()[0], groups, channels / groups], &x.shape()[2..]].concat();
    let grouped = x.to_shape(IxDyn(&split)).map_err(|e| e.to_string())?.to_owned();
    let (normal, ..) = standardize(&grouped, &(2..grouped.ndim()).collect::<Vec<_>>(), c.float("epsilon", 1e-5)?);
    let normal = normal.to_shape(x.raw_dim()).map_err(|e| e.to_string())?.to_owned();
    let parameter = |i: usize| {
        let p = c.floats(i)?;
        let repeat = channels / p.len().max(1);
        let each: Vec<f64> = p.iter().flat_map(|&v| vec![v; repeat]).collect();
        per_channel(&ArrayD::from_shape_vec(IxDyn(&[each.len()]), each).map_err(|e| e.to_string())?, x)
    };
    float_output(dtype, normal * parameter(1)? + parameter(2)?)
}

/// `LayerNormalization`: over all axes from one on; also returns the mean and the inverse standard deviation.
pub(super) fn layer(c: &Call<'_>) -> Outputs {
    let dtype = c.one_type(&[0, 1, 2])?;
    let x = c.floats(0)?;
    let axes: Vec<usize> = (Call::axis(c.int("axis", -1)?, x.ndim())?..x.ndim()).collect();
    let (normal, mean, inverse) = standardize(x, &axes, c.float("epsilon", 1e-5)?);
    let mut y = normal * broadcast(c.floats(1)?, x.shape())?;
    if let Some(bias) = c.optional_floats(2)? {
        y += &broadcast(bias, x.shape())?;
    }
    Ok([y, mean, inverse].into_iter().map(|a| Array::of(dtype, Data::Float(a))).collect())
}

/// `LpNormalization`: divides by the 1- or 2-norm along one axis.
pub(super) fn lp(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    let axis = Call::axis(c.int("axis", -1)?, x.ndim())?;
    let norm = match c.int("p", 2)? {
        1 => along(x, &[axis], true, |v| v.iter().map(|x| x.abs()).sum()),
        2 => along(x, &[axis], true, |v| v.iter().map(|x| x * x).sum::<f64>().sqrt()),
        p => return Err(format!("norm {p} is not interpreted")),
    };
    float_output(c.input(0)?.dtype, x / &norm)
}

/// `(x - mean) / sqrt(variance + epsilon)` over `axes`, the mean, and the factor.
fn standardize(x: &ArrayD<f64>, axes: &[usize], epsilon: f64) -> (ArrayD<f64>, ArrayD<f64>, ArrayD<f64>) {
    #[allow(clippy::cast_precision_loss)]
    let average = |a: &ArrayD<f64>| along(a, axes, true, |v| v.iter().sum::<f64>() / v.len() as f64);
    let mean = average(x);
    let centered = x - &mean;
    let inverse = (average(&(&centered * &centered)) + epsilon).sqrt().recip();
    (centered * &inverse, mean, inverse)
}

/// One number per channel, repeated to the shape of `x`.
fn per_channel(p: &ArrayD<f64>, x: &ArrayD<f64>) -> Result<ArrayD<f64>, String> {
    let mut dims = vec![1; x.ndim()];
    dims[1] = p.len();
    broadcast(&p.to_shape(IxDyn(&dims)).map_err(|e| e.to_string())?.to_owned(), x.shape())
}
