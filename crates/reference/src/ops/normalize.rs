//! Normalisations.

use ndarray::{ArrayD, IxDyn};

use super::elementwise::broadcast;
use super::reduce::along;
use crate::array::{Array, Data};
use crate::interpret::{Call, Outputs, float_output};

/// `BatchNormalization`: with the given statistics, or in training mode with those of the batch, which then enter the
/// running ones.
pub(super) fn batch(c: &Call<'_>) -> Outputs {
    let dtype = c.input(0)?.dtype;
    let x = c.floats(0)?;
    let epsilon = c.float("epsilon", 1e-5)?;
    let [scale, bias] = [1, 2].map(|i| c.floats(i).and_then(|p| per_channel(p, x)));
    let (scale, bias) = (scale?, bias?);
    let (mean, variance) = (c.floats(3)?, c.floats(4)?);
    if !c.flag("training_mode", false)? {
        let (mean, variance) = (per_channel(mean, x)?, per_channel(variance, x)?);
        return float_output(dtype, (x - &mean) / (variance + epsilon).sqrt() * scale + bias);
    }
    let axes: Vec<usize> = (0..x.ndim()).filter(|&a| a != 1).collect();
    let (normal, ..) = standardize(x, &axes, epsilon);
    #[allow(clippy::cast_precision_loss)]
    let average = |a: &ArrayD<f64>| along(a, &axes, false, |v| v.iter().sum::<f64>() / v.len() as f64);
    let of_batch = average(x);
    let centered = x - &per_channel(&of_batch, x)?;
    let spread = average(&(&centered * &centered));
    let momentum = c.float("momentum", 0.9)?;
    let running = |old: &ArrayD<f64>, new: ArrayD<f64>| old * momentum + new * (1.0 - momentum);
    let outputs = [normal * scale + bias, running(mean, of_batch), running(variance, spread)];
    Ok(outputs.into_iter().map(|a| Array::of(dtype, Data::Float(a))).collect())
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

/// `LRN`: divides by a power of the mean square of the channels around.
pub(super) fn local_response(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    let size = usize::try_from(c.int("size", 0)?).map_err(|e| e.to_string())?;
    let (alpha, beta, bias) = (c.float("alpha", 1e-4)?, c.float("beta", 0.75)?, c.float("bias", 1.0)?);
    if x.ndim() < 2 || size == 0 {
        return Err(format!("windows of {size} channels over shape {:?}", x.shape()));
    }
    #[allow(clippy::cast_precision_loss)]
    let y = ArrayD::from_shape_fn(x.raw_dim(), |at| {
        let (first, last) = (at[1].saturating_sub((size - 1) / 2), (at[1] + size / 2).min(x.shape()[1] - 1));
        let mut from = at.clone();
        let mut sum = 0.0;
        for channel in first..=last {
            from[1] = channel;
            sum += x[&from] * x[&from];
        }
        x[&at] / (bias + alpha / size as f64 * sum).powf(beta)
    });
    float_output(c.input(0)?.dtype, y)
}

/// `MeanVarianceNormalization`.
pub(super) fn mean_variance(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    let axes = c.node.ints("axes").map_err(|e| e.to_string())?.unwrap_or(&[0, 2, 3]);
    let axes: Vec<usize> = axes.iter().map(|&a| Call::axis(a, x.ndim())).collect::<Result<_, _>>()?;
    float_output(c.input(0)?.dtype, standardize(x, &axes, 0.0).0)
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
