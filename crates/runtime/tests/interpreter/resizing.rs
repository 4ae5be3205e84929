use assay_reference::{Array, Case, Values};

use crate::{agree, agree_and_refuse};

const TRANSFORMS: [&str; 5] =
    ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"];

/// One of these only has a canonical form where it means `half_pixel`: where `exact`, no size is rounded.
#[track_caller]
fn agree_in(transform: &str, exact: bool, case: &Case) {
    if transform == "half_pixel_symmetric" && !exact { agree_and_refuse(case, transform) } else { agree(case) }
}

fn image() -> Values {
    Values::uniform(-2.0, 2.0)
}

fn scales(scales: &[f64]) -> Array {
    Array::floats(&[scales.len()], scales.to_vec())
}

#[test]
fn nearest_with_each_rounding() {
    for transform in TRANSFORMS {
        for rounding in ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] {
            for factors in [[2.0, 3.0], [0.5, 0.5], [1.5, 2.5], [0.6, 0.4]] {
                let case = Case::op("Resize")
                    .opset(19)
                    .set("coordinate_transformation_mode", transform)
                    .set("nearest_mode", rounding)
                    .named(&format!("scales {factors:?}"))
                    .batched(&[2, 5, 8], image())
                    .absent();
                let whole = factors == [2.0, 3.0];
                agree_in(transform, whole, &case.constant(scales(&[1.0, 1.0, factors[0], factors[1]])));
            }
        }
    }
}

#[test]
fn linear_and_cubic_by_scales() {
    for mode in ["linear", "cubic"] {
        for transform in TRANSFORMS {
            for factors in [[2.0, 3.0], [0.5, 0.5], [1.5, 2.5]] {
                let case = Case::op("Resize")
                    .opset(19)
                    .set("mode", mode)
                    .set("coordinate_transformation_mode", transform)
                    .named(&format!("scales {factors:?}"))
                    .batched(&[2, 5, 8], image())
                    .absent();
                let whole = factors == [2.0, 3.0];
                agree_in(transform, whole, &case.constant(scales(&[1.0, 1.0, factors[0], factors[1]])));
            }
        }
    }
    for exclude in [0, 1] {
        let case =
            Case::op("Resize").set("mode", "cubic").set("exclude_outside", exclude).set("cubic_coeff_a", -0.5f32);
        agree(&case.batched(&[2, 5, 6], image()).absent().constant(scales(&[1.0, 1.0, 2.0, 1.5])));
    }
}

#[test]
fn antialiased() {
    for mode in ["linear", "cubic"] {
        for transform in ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"] {
            for exclude in [0, 1] {
                let case = || {
                    let case = Case::op("Resize").opset(18).set("antialias", 1).set("mode", mode);
                    let case = case.set("coordinate_transformation_mode", transform).set("exclude_outside", exclude);
                    case.batched(&[2, 9, 8], image()).absent()
                };
                for factors in [[0.5, 0.25], [0.4, 0.7], [1.5, 0.5], [2.0, 3.0]] {
                    agree(
                        &case()
                            .named(&format!("scales {factors:?}"))
                            .constant(scales(&[1.0, 1.0, factors[0], factors[1]])),
                    );
                }
                agree(&case().set("axes", vec![2, 3]).absent().ints(&[4, 3]));
            }
        }
    }
}

#[test]
fn by_sizes() {
    for mode in ["nearest", "linear"] {
        for transform in TRANSFORMS {
            for sizes in [[10, 24], [3, 5], [7, 1]] {
                // The batch is not resized, so only these axes are named.
                let case = Case::op("Resize")
                    .opset(19)
                    .set("axes", vec![2, 3])
                    .set("mode", mode)
                    .set("coordinate_transformation_mode", transform)
                    .named(&format!("sizes {sizes:?}"));
                let case = case.batched(&[2, 5, 8], image()).absent().absent().ints(&sizes);
                agree_in(transform, mode == "linear", &case);
            }
        }
    }
    for policy in ["not_larger", "not_smaller"] {
        let case = Case::op("Resize").opset(19).set("axes", vec![2, 3]).set("keep_aspect_ratio_policy", policy);
        agree(&case.batched(&[2, 5, 8], image()).absent().absent().ints(&[9, 9]));
    }
}

#[test]
fn crops() {
    for mode in ["nearest", "linear"] {
        let roi = Array::floats(&[4], vec![0.1, 0.2, 1.2, 0.9]);
        let case = Case::op("Resize")
            .opset(19)
            .set("axes", vec![2, 3])
            .set("mode", mode)
            .set("coordinate_transformation_mode", "tf_crop_and_resize")
            .set("extrapolation_value", 9.0f32);
        agree(&case.batched(&[2, 5, 8], image()).constant(roi).absent().ints(&[4, 6]));
    }
}

#[test]
fn before_opset_11() {
    for mode in ["nearest", "linear"] {
        for factors in [[2.0, 3.0], [1.5, 2.5], [0.5, 0.4]] {
            let case = |op: &str| Case::op(op).set("mode", mode).batched(&[2, 5, 8], image());
            let scales = || scales(&[1.0, 1.0, factors[0], factors[1]]);
            let resize = case("Resize").opset(10).constant(scales());
            if factors[0] >= 1.0 {
                agree(&resize);
                agree(&case("Upsample").opset(9).constant(scales()));
            } else if mode == "linear" {
                agree(&resize);
            } else {
                agree_and_refuse(&resize, "scales of at least 1");
            }
        }
    }
}
