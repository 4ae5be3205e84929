//! Convolutions: one multiplication after the other.

use ndarray::{ArrayD, IxDyn};

use super::window::{Axis, axes, grid, offset};
use crate::interpret::{Call, Outputs, float_output};

/// `Conv`: `y[n, m, o] = b[m] + Σ_c Σ_k x[n, group(m) + c, position(o, k)] · w[m, c, k]`.
pub(super) fn conv(c: &Call<'_>) -> Outputs {
    let dtype = c.one_type(&[0, 1, 2])?;
    let (x, w) = (c.floats(0)?, c.floats(1)?);
    if x.ndim() < 3 || w.ndim() != x.ndim() {
        return Err(format!("shapes {:?} and {:?} do not fit", x.shape(), w.shape()));
    }
    let (xs, ws) = (&x.shape()[2..], &w.shape()[2..]);
    let groups = usize::try_from(c.int("group", 1)?).map_err(|e| e.to_string())?;
    let (n, channels, maps) = (x.shape()[0], w.shape()[1], w.shape()[0]);
    if x.shape()[1] != channels * groups || maps % groups != 0 {
        return Err(format!("{groups} groups of shapes {:?} and {:?} do not fit", x.shape(), w.shape()));
    }
    let kernel = kernel(c, ws)?;
    let axes = axes(c, xs, &kernel)?;
    let outputs = grid(axes.iter().map(|a| a.output));
    let taps = reads(&axes, &outputs, xs);
    let (image, kernel_size) = (xs.iter().product::<usize>(), ws.iter().product::<usize>());
    let (x, w) = (flat(x), flat(w));
    let bias = c.optional_floats(2)?.map(flat);
    let mut y = Vec::with_capacity(n * maps * outputs.len());
    for sample in 0..n {
        for map in 0..maps {
            let first = map / (maps / groups) * channels;
            for taps in &taps {
                let mut sum = bias.as_ref().map_or(0.0, |b| b[map]);
                for channel in 0..channels {
                    let image = &x[(sample * channels * groups + first + channel) * image..][..image];
                    let weights = &w[(map * channels + channel) * kernel_size..][..kernel_size];
                    sum += taps.iter().map(|&(k, at)| weights[k] * image[at]).sum::<f64>();
                }
                y.push(sum);
            }
        }
    }
    let dims: Vec<usize> = [n, maps].into_iter().chain(axes.iter().map(output)).collect();
    float_output(dtype, ArrayD::from_shape_vec(IxDyn(&dims), y).map_err(|e| e.to_string())?)
}

/// `ConvTranspose`: `y[n, group(m) + m, position(i, k)] += x[n, c, i] · w[c, m, k]`, the adjoint of a convolution.
pub(super) fn conv_transpose(c: &Call<'_>) -> Outputs {
    let dtype = c.one_type(&[0, 1, 2])?;
    let (x, w) = (c.floats(0)?, c.floats(1)?);
    if x.ndim() < 3 || w.ndim() != x.ndim() || w.shape()[0] != x.shape()[1] {
        return Err(format!("shapes {:?} and {:?} do not fit", x.shape(), w.shape()));
    }
    let (xs, ws) = (&x.shape()[2..], &w.shape()[2..]);
    let groups = usize::try_from(c.int("group", 1)?).map_err(|e| e.to_string())?;
    let (n, channels, maps) = (x.shape()[0], w.shape()[0], w.shape()[1]);
    // Seen from the output, these are the windows of the convolution whose adjoint this is.
    let axes = transposed_axes(c, xs, &kernel(c, ws)?)?;
    let ys: Vec<usize> =
        axes.iter().map(|a| usize::try_from(a.input)).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    let writes = reads(&axes, &grid(axes.iter().map(|a| a.output)), &ys);
    let (image, kernel_size, x_image) =
        (ys.iter().product::<usize>(), ws.iter().product::<usize>(), xs.iter().product::<usize>());
    let (x, w) = (flat(x), flat(w));
    let mut y = vec![0.0; n * maps * groups * image];
    for sample in 0..n {
        for channel in 0..channels {
            let group = channel / (channels / groups);
            for map in 0..maps {
                let y = &mut y[(sample * maps * groups + group * maps + map) * image..][..image];
                for (i, taps) in writes.iter().enumerate() {
                    for &(k, at) in taps {
                        y[at] += x[(sample * channels + channel) * x_image + i]
                            * w[(channel * maps + map) * kernel_size + k];
                    }
                }
            }
        }
    }
    if let Some(bias) = c.optional_floats(2)?.map(flat) {
        for (i, value) in y.iter_mut().enumerate() {
            *value += bias[i / image % (maps * groups)];
        }
    }
    let dims: Vec<usize> = [n, maps * groups].into_iter().chain(ys).collect();
    float_output(dtype, ArrayD::from_shape_vec(IxDyn(&dims), y).map_err(|e| e.to_string())?)
}

/// `Col2Im`: `y[n, c, position(o, k)] += x[n, c K + k, o]`, with the `K` elements `k` of a block.
pub(super) fn col2im(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    let image =
        c.ints(1)?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    let block = c.ints(2)?;
    let axes = axes(c, &image, &block)?;
    let blocks = grid(axes.iter().map(|a| a.output));
    let elements = grid(block.iter().copied()).len();
    let &[n, columns, count] = x.shape() else { return Err(format!("shape {:?}", x.shape())) };
    if columns % elements != 0 || count != blocks.len() {
        return Err(format!("{} blocks of {elements} elements from shape {:?}", blocks.len(), x.shape()));
    }
    let dims = [&[n, columns / elements], &image[..]].concat();
    let size: usize = image.iter().product();
    let mut y = vec![0.0; dims.iter().product()];
    for (plane, y) in y.chunks_mut(size).enumerate() {
        let (sample, channel) = (plane / dims[1], plane % dims[1]);
        for (o, taps) in reads(&axes, &blocks, &image).into_iter().enumerate() {
            for (k, at) in taps {
                y[at] += x[[sample, channel * elements + k, o]];
            }
        }
    }
    float_output(c.input(0)?.dtype, ArrayD::from_shape_vec(IxDyn(&dims), y).map_err(|e| e.to_string())?)
}

/// The axes of a transposed convolution over an input with spatial sizes `input`.
fn transposed_axes(c: &Call<'_>, input: &[usize], kernel: &[i64]) -> Result<Vec<Axis>, String> {
    let n = input.len();
    let (strides, dilations) = (c.sizes("strides", n, 1)?, c.sizes("dilations", n, 1)?);
    let (pads, extra) = (c.sizes("pads", 2 * n, 0)?, c.sizes("output_padding", n, 0)?);
    let shape = match c.node.attributes.contains_key("output_shape") {
        true => Some(c.sizes("output_shape", n, 0)?),
        false => None,
    };
    let auto = c.text("auto_pad", "NOTSET")?;
    (0..n)
        .map(|i| {
            let size = i64::try_from(input[i]).map_err(|e| e.to_string())?;
            let full = strides[i] * (size - 1) + extra[i] + dilations[i] * (kernel[i] - 1) + 1;
            let same = matches!(auto, "SAME_UPPER" | "SAME_LOWER").then(|| size * strides[i]);
            let (begin, end) = match shape.as_ref().map(|s| s[i]).or(same) {
                Some(wanted) => {
                    let total = (full - wanted).max(0);
                    let (small, large) = (total / 2, total - total / 2);
                    if auto == "SAME_UPPER" { (small, large) } else { (large, small) }
                }
                None if auto == "VALID" => (0, 0),
                None => (pads[i], pads[n + i]),
            };
            Ok(Axis {
                input: full - begin - end,
                output: size,
                kernel: kernel[i],
                stride: strides[i],
                dilation: dilations[i],
                begin,
                end,
            })
        })
        .collect()
}

/// For each window the taps that read inside the image: position in the kernel and in the image.
fn reads(axes: &[Axis], windows: &[Vec<i64>], image: &[usize]) -> Vec<Vec<(usize, usize)>> {
    let kernel = grid(axes.iter().map(|a| a.kernel));
    let read = |o: &[i64], k: &[i64]| {
        let at: Option<Vec<usize>> = axes.iter().zip(o.iter().zip(k)).map(|(a, (&o, &k))| a.index(o, k)).collect();
        Some(offset(at?, image))
    };
    windows
        .iter()
        .map(|o| kernel.iter().enumerate().filter_map(|(k, taps)| Some((k, read(o, taps)?))).collect())
        .collect()
}

/// Sizes of the kernel, which the attribute must repeat correctly if it is there.
fn kernel(c: &Call<'_>, weights: &[usize]) -> Result<Vec<i64>, String> {
    let sizes: Vec<i64> =
        weights.iter().map(|&s| i64::try_from(s)).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    match c.node.ints("kernel_shape") {
        Ok(Some(stated)) if stated != sizes => Err(format!("kernel_shape {stated:?}, but weights {sizes:?}")),
        _ => Ok(sizes),
    }
}

fn output(axis: &Axis) -> usize {
    usize::try_from(axis.output).unwrap_or(0)
}

fn flat(a: &ArrayD<f64>) -> Vec<f64> {
    a.iter().copied().collect()
}
