//! `Upsample` and `Resize`.

use super::scope::Scope;
use crate::{Cause, Node, Rule, Tensor};

/// `Upsample` at 10: it is `Resize` from then on.
pub(super) fn upsample(node: &mut Node, _scope: &mut Scope<'_>) -> Rule<()> {
    node.operator = "Resize".into();
    Ok(())
}

/// `Resize` at 11: which pixel an output pixel comes from became attributes, and a region of interest came in between.
///
/// Before, coordinates were divided by the scale, and the nearest pixel was the one below when enlarging. When shrinking,
/// the specification left it open and ONNX Runtime took the one above, so shrinking by non-integers is refused.
pub(super) fn coordinates(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    if node.text("mode", "nearest")? == "nearest" {
        let scales = scope.tensor(node.input(1)).and_then(|t| t.to_f64());
        // Dividing by a scale whose inverse is an integer gives whole coordinates.
        let exact = |s: f64| s >= 1.0 || (s > 0.0 && (1.0 / s).fract() == 0.0);
        if !scales.is_some_and(|scales| scales.iter().all(|&s| exact(s))) {
            return Err(Cause::Unsupported(
                "before operator set 11, nearest-neighbour resizing is only defined for constant scales of at least 1; export \
                 the model with operator set 11 or later"
                    .into(),
            ));
        }
    }
    node.inputs.insert(1.min(node.inputs.len()), None);
    node.attributes.insert("coordinate_transformation_mode".into(), "asymmetric".into());
    node.attributes.insert("nearest_mode".into(), "floor".into());
    Ok(())
}

/// `Resize` at 13: `tf_half_pixel_for_nn` went.
pub(super) fn modes(node: &mut Node, _scope: &mut Scope<'_>) -> Rule<()> {
    if node.text("coordinate_transformation_mode", "half_pixel")? == "tf_half_pixel_for_nn" {
        return Err(Cause::Unsupported(
            "coordinate mode tf_half_pixel_for_nn, which later operator sets do not have".into(),
        ));
    }
    Ok(())
}

/// `Resize` at 19, backwards: the mode that came. It is `half_pixel` where the output's size is the input's times the scale,
/// without rounding.
pub(super) fn symmetric(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    if node.text("coordinate_transformation_mode", "half_pixel")? != "half_pixel_symmetric" {
        return Ok(());
    }
    let by_sizes = node.input(2).is_none_or(|scales| scope.tensor(Some(scales)).is_some_and(Tensor::is_empty));
    let exact = if by_sizes {
        // The scale is the quotient, but in f32, which decides between two nearest elements.
        node.text("keep_aspect_ratio_policy", "stretch")? == "stretch" && node.text("mode", "nearest")? != "nearest"
    } else {
        let scales = scope.tensor(node.input(2)).and_then(Tensor::to_f64);
        scales.is_some_and(|scales| scales.iter().all(|s| s.fract() == 0.0))
    };
    if !exact {
        return Err(Cause::Unsupported(
            "coordinate mode half_pixel_symmetric other than by whole scales or, in mode linear or cubic, by sizes; use half_pixel"
                .into(),
        ));
    }
    node.attributes.insert("coordinate_transformation_mode".into(), "half_pixel".into());
    Ok(())
}

/// Always: inputs that have no effect are absent. The region is only read by `tf_crop_and_resize`, and before operator set
/// 13 an unused input was an empty tensor.
pub(super) fn normal(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    if node.text("coordinate_transformation_mode", "half_pixel")? != "tf_crop_and_resize" && node.inputs.len() > 1 {
        node.inputs[1] = None;
    }
    for position in 2..node.inputs.len() {
        if scope.tensor(node.input(position)).is_some_and(|t| t.is_empty()) {
            node.inputs[position] = None;
        }
    }
    while node.inputs.last().is_some_and(Option::is_none) {
        node.inputs.pop();
    }
    Ok(())
}
