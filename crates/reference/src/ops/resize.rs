//! `Resize` and `Upsample`.

use ndarray::{ArrayD, IxDyn};

use super::window::grid;
use crate::interpret::{Call, Outputs, float_output};

/// Input positions along one axis and the weights they have in a sum.
type Weights = Vec<(usize, f64)>;

/// `Resize`: each output element is a weighted sum of input elements, and the weights are a product over the axes.
pub(super) fn resize(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    let axes = axes(c, x.shape())?;
    let mode = c.text("mode", "nearest")?;
    let outside = c.float("extrapolation_value", 0.0)?;
    // For each axis and output position: the input positions and their weights, `None` outside the crop.
    let weights: Vec<Vec<Option<Weights>>> = axes
        .iter()
        .map(|axis| (0..axis.output).map(|o| axis.weights(c, mode, o)).collect::<Result<_, _>>())
        .collect::<Result<_, String>>()?;
    let dims: Vec<usize> = axes.iter().map(|a| a.output).collect();
    let y = ArrayD::from_shape_fn(IxDyn(&dims), |at| {
        let parts: Option<Vec<&Weights>> = weights.iter().enumerate().map(|(a, w)| w[at[a]].as_ref()).collect();
        let Some(parts) = parts else { return outside };
        grid(parts.iter().map(|p| i64::try_from(p.len()).unwrap_or(0)))
            .iter()
            .map(|pick| {
                let terms = || pick.iter().zip(&parts).map(|(&i, part)| part[usize::try_from(i).unwrap_or(0)]);
                let from: Vec<usize> = terms().map(|(position, _)| position).collect();
                x[IxDyn(&from)] * terms().map(|(_, weight)| weight).product::<f64>()
            })
            .sum()
    });
    float_output(c.input(0)?.dtype, y)
}

/// How one axis is resized.
struct Axis {
    input: usize,
    output: usize,
    scale: f64,
    /// Crop, as fractions of the input, that `tf_crop_and_resize` reads.
    crop: (f64, f64),
}

/// The axes from the inputs: `X, scales` in opset 10 (and of `Upsample`), `X, roi, scales, sizes` from 11 on.
fn axes(c: &Call<'_>, dims: &[usize]) -> Result<Vec<Axis>, String> {
    let rank = dims.len();
    let which = match c.node.ints("axes").map_err(|e| e.to_string())? {
        None => (0..rank).collect(),
        Some(axes) => axes.iter().map(|&a| Call::axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
    };
    let old = c.opset < 11 || c.node.operator == "Upsample";
    let list = |i: usize| c.optional(i).filter(|a| !a.dims().contains(&0)).map(|_| c.floats(i)).transpose();
    let scales = match c.node.attributes.get("scales") {
        Some(assay_graph::Attribute::Floats(scales)) => Some(scales.iter().copied().map(f64::from).collect()),
        _ => list(if old { 1 } else { 2 })?.map(|a| a.iter().copied().collect::<Vec<_>>()),
    };
    let roi = if old { None } else { list(1)?.map(|a| a.iter().copied().collect::<Vec<_>>()) };
    let mut axes: Vec<Axis> =
        dims.iter().map(|&d| Axis { input: d, output: d, scale: 1.0, crop: (0.0, 1.0) }).collect();
    for (i, &axis) in which.iter().enumerate() {
        if let Some(roi) = roi.as_ref().filter(|roi| roi.len() == 2 * which.len()) {
            axes[axis].crop = (roi[i], roi[which.len() + i]);
        }
    }
    if let Some(scales) = scales {
        if scales.len() != which.len() {
            return Err(format!("{} scales for {} axes", scales.len(), which.len()));
        }
        for (&axis, &scale) in which.iter().zip(&scales) {
            let axis = &mut axes[axis];
            axis.scale = scale;
            let crop = match c.text("coordinate_transformation_mode", "half_pixel")? {
                "tf_crop_and_resize" => axis.crop.1 - axis.crop.0,
                _ => 1.0,
            };
            // Scales are f32, and so is this product: 10 · 0.7f32 is 7 and not 6.99.
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
            let output = (axis.input as f32 * crop as f32 * scale as f32).floor() as usize;
            axis.output = output;
        }
        return Ok(axes);
    }
    let sizes = c.ints(3)?;
    if sizes.len() != which.len() {
        return Err(format!("{} sizes for {} axes", sizes.len(), which.len()));
    }
    #[allow(clippy::cast_precision_loss)]
    let ratios: Vec<f64> = which.iter().zip(&sizes).map(|(&a, &s)| s as f64 / dims[a] as f64).collect();
    let common = match c.text("keep_aspect_ratio_policy", "stretch")? {
        "stretch" => None,
        "not_larger" => Some(ratios.iter().copied().fold(f64::INFINITY, f64::min)),
        "not_smaller" => Some(ratios.iter().copied().fold(0.0, f64::max)),
        other => return Err(format!("keep_aspect_ratio_policy \"{other}\" is not known")),
    };
    for ((&axis, &size), ratio) in which.iter().zip(&sizes).zip(ratios) {
        let axis = &mut axes[axis];
        axis.scale = common.unwrap_or(ratio);
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
        let output = match common {
            Some(scale) => (scale * axis.input as f64 + 0.5).floor() as usize,
            None => usize::try_from(size).map_err(|e| e.to_string())?,
        };
        axis.output = output;
    }
    Ok(axes)
}

impl Axis {
    /// What output position `o` reads; `None` if it lies outside the crop.
    fn weights(&self, c: &Call<'_>, mode: &str, o: usize) -> Result<Option<Weights>, String> {
        if self.input == self.output && self.scale == 1.0 && self.crop == (0.0, 1.0) {
            return Ok(Some(vec![(o, 1.0)]));
        }
        let default = if c.opset < 11 || c.node.operator == "Upsample" { "asymmetric" } else { "half_pixel" };
        let transform = c.text("coordinate_transformation_mode", default)?;
        let x = self.coordinate(transform, o, mode)?;
        #[allow(clippy::cast_precision_loss)]
        let last = (self.input - 1) as f64;
        if transform == "tf_crop_and_resize" && !(0.0..=last).contains(&x) {
            return Ok(None);
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let clamp = |position: f64| position.clamp(0.0, last) as usize;
        let a = c.float("cubic_coeff_a", -0.75)?;
        // How much an element at the distance `d` counts, and from which distance on it does not.
        let (reach, weight): (f64, &dyn Fn(f64) -> f64) = match mode {
            "nearest" => return Ok(Some(vec![(clamp(self.nearest(c, x)?), 1.0)])),
            "linear" => (1.0, &|d| 1.0 - d),
            "cubic" => (2.0, &|d| match d {
                ..=1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
                _ => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
            }),
            other => return Err(format!("mode \"{other}\" is not known")),
        };
        // When shrinking, antialiasing stretches the weights over all that an output element stands for.
        let stretch = if c.flag("antialias", false)? { (1.0 / self.scale).max(1.0) } else { 1.0 };
        let exclude = mode == "cubic" || stretch > 1.0;
        let exclude = exclude && c.flag("exclude_outside", false)?;
        let mut taps = Vec::new();
        let mut position = (x - reach * stretch).ceil();
        while position <= x + reach * stretch {
            let distance = (position - x).abs() / stretch;
            if distance < reach && (!exclude || (0.0..=last).contains(&position)) {
                taps.push((clamp(position), weight(distance)));
            }
            position += 1.0;
        }
        let total: f64 = taps.iter().map(|(_, w)| w).sum();
        Ok(Some(taps.into_iter().map(|(p, w)| (p, w / total)).collect()))
    }

    /// Where output position `o` lies in the input. For the nearest element the runtime's f32 decides: 1.5 / 0.6 - 0.5 is
    /// 2 in f32 but less with the same scale in f64, and then `floor` differs.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn coordinate(&self, transform: &str, o: usize, mode: &str) -> Result<f64, String> {
        let r = |v: f64| if mode == "nearest" { f64::from(v as f32) } else { v };
        let (input, output, o, scale) = (self.input as f64, self.output as f64, o as f64, r(self.scale));
        Ok(match transform {
            "half_pixel" => r(r((o + 0.5) / scale) - 0.5),
            "half_pixel_symmetric" => {
                let adjustment = r(output / r(scale * input));
                let offset = r(input / 2.0 * r(1.0 - adjustment));
                r(offset + (o + 0.5) / scale - 0.5)
            }
            "pytorch_half_pixel" if self.output > 1 => r(r((o + 0.5) / scale) - 0.5),
            "pytorch_half_pixel" => 0.0,
            "align_corners" if self.output > 1 => r(o * (input - 1.0) / (output - 1.0)),
            "align_corners" => 0.0,
            "asymmetric" => r(o / scale),
            "tf_half_pixel_for_nn" => r((o + 0.5) / scale),
            "tf_crop_and_resize" => {
                let (start, end) = self.crop;
                match self.output {
                    1 => 0.5 * (start + end) * (input - 1.0),
                    _ => start * (input - 1.0) + o * (end - start) * (input - 1.0) / (output - 1.0),
                }
            }
            other => return Err(format!("coordinate_transformation_mode \"{other}\" is not known")),
        })
    }

    /// The nearest position to the coordinate `x`.
    fn nearest(&self, c: &Call<'_>, x: f64) -> Result<f64, String> {
        if c.opset < 11 || c.node.operator == "Upsample" {
            return Ok(if self.scale < 1.0 { x.ceil() } else { x.floor() });
        }
        Ok(match c.text("nearest_mode", "round_prefer_floor")? {
            "round_prefer_floor" => (x - 0.5).ceil(),
            "round_prefer_ceil" => (x + 0.5).floor(),
            "floor" => x.floor(),
            "ceil" => x.ceil(),
            other => return Err(format!("nearest_mode \"{other}\" is not known")),
        })
    }
}
