//! Gradients of the operators that move, copy, drop or resample elements, for the combinations of their attributes.
//!
//! Every case is checked against central difference quotients in f64 and by the dot-product test, see [`check_vjp`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::DataType;
use assay_reference::{Array, Case, Values, check_refused, check_vjp};

fn data() -> Values {
    Values::uniform(-1.0, 1.0)
}

#[test]
fn reshapes() {
    for axis in [0, 1, 2, 3, -1, -2] {
        check_vjp(&Case::op("Flatten").batched(&[3, 2], data()).set("axis", axis));
    }
    for shape in [&[0, -1][..], &[-1, 2, 3], &[-1], &[0, 0, 2, 1], &[-1, 0, 1, 2], &[3, -1]] {
        let case = Case::op("Reshape").named(&format!("{shape:?}")).batched(&[3, 2], data()).ints(shape);
        check_vjp(&case);
    }
    check_vjp(&Case::op("Reshape").batched(&[3, 2], data()).ints(&[-1, 6]).set("allowzero", 1));
    for axes in [&[1][..], &[-1], &[1, 3]] {
        check_vjp(&Case::op("Squeeze").named(&format!("{axes:?}")).batched(&[1, 3, 1], data()).ints(axes));
    }
    check_vjp(&Case::op("Squeeze").batched(&[1, 3, 1], data()));
    for axes in [&[1][..], &[0, -1], &[2, 3]] {
        check_vjp(&Case::op("Unsqueeze").named(&format!("{axes:?}")).batched(&[2, 3], data()).ints(axes));
    }
}

#[test]
fn transposes() {
    check_vjp(&Case::op("Transpose").batched(&[2, 3], data()));
    for perm in [[0, 2, 1], [1, 0, 2], [2, 0, 1], [1, 2, 0]] {
        check_vjp(&Case::op("Transpose").batched(&[2, 3], data()).set("perm", perm.to_vec()));
    }
}

#[test]
fn identities() {
    check_vjp(&Case::op("Identity").batched(&[3], data()));
    check_vjp(&Case::op("Dropout").batched(&[3], data()));
    let with_mode =
        |training| Case::op("Dropout").batched(&[3], data()).scalar(0.5).constant(Array::bools(&[], vec![training]));
    check_vjp(&with_mode(false));
}

#[test]
fn casts_between_floating_point_types() {
    for to in [DataType::Float, DataType::Double] {
        check_vjp(&Case::op("Cast").batched(&[3], data()).set("to", i64::from(to.number())));
    }
    check_vjp(&Case::op("CastLike").batched(&[3], data()).scalar(0.0));
}

#[test]
fn concat_and_split() {
    for axis in [1, 2, -1] {
        check_vjp(&Case::op("Concat").batched(&[2, 3], data()).batched(&[2, 3], data()).set("axis", axis));
    }
    let uneven = Case::op("Concat").batched(&[2, 1], data()).batched(&[2, 3], data()).batched(&[2, 2], data());
    check_vjp(&uneven.set("axis", 2));
    check_vjp(&Case::op("Concat").batched(&[2], data()).set("axis", 0));
    let across = Case::op("Concat").batched(&[2], data()).batched(&[2], data()).set("axis", 0);
    check_refused(&across, &["(Concat)", "axis 0 depends on the batch size"]);

    for axis in [1, -1] {
        check_vjp(&Case::op("Split").batched(&[4, 6], data()).set("axis", axis).outputs(2));
        check_vjp(&Case::op("Split").batched(&[6, 6], data()).ints(&[1, 2, 3]).set("axis", axis).outputs(3));
    }
}

#[test]
fn slices() {
    let far = i64::MAX;
    for (starts, ends, axes, steps) in [
        (&[1][..], &[3][..], Some(&[1][..]), None),
        (&[1], &[far], Some(&[-1]), None),
        (&[-3], &[-1], Some(&[1]), Some(&[1][..])),
        (&[0], &[far], Some(&[1]), Some(&[2])),
        (&[1], &[5], Some(&[2]), Some(&[3])),
        (&[-1], &[i64::MIN], Some(&[1]), Some(&[-1])),
        (&[far], &[-far], Some(&[2]), Some(&[-2])),
        (&[3], &[0], Some(&[1]), Some(&[-1])),
        (&[-2], &[-5], Some(&[2]), Some(&[-2])),
        (&[1, -2], &[4, i64::MIN], Some(&[1, 2]), Some(&[2, -1])),
        (&[0, 1], &[far, 3], None, None),
        (&[0, -9, 2], &[far, 9, 4], None, Some(&[1, 1, 1])),
        (&[1], &[3], Some(&[2]), Some(&[1])),
    ] {
        let case = Case::op("Slice").named(&format!("{starts:?} {ends:?} {axes:?} {steps:?}"));
        let case = case.batched(&[5, 6], data()).ints(starts).ints(ends);
        let case = match (axes, steps) {
            (None, None) => case,
            (None, Some(steps)) => case.absent().ints(steps),
            (Some(axes), None) => case.ints(axes),
            (Some(axes), Some(steps)) => case.ints(axes).ints(steps),
        };
        check_vjp(&case);
    }
    let batch = Case::op("Slice").batched(&[2], data()).ints(&[1]).ints(&[far]).ints(&[0]);
    check_refused_or_shapeless(&batch);
    let computed = Case::op("Slice").batched(&[4], data()).fixed(&[1], Values::integers(0, 1)).ints(&[2]).ints(&[1]);
    check_refused(&computed, &["(Slice)", "input 1 (starts, \"x1\") must be a constant"]);
}

/// A slice of the batch has sizes that are no multiple of it, so even its shapes cannot be learned.
fn check_refused_or_shapeless(case: &Case) {
    let refused = std::panic::catch_unwind(|| check_refused(case, &["batch"]));
    let message = refused.err().and_then(|e| e.downcast_ref::<String>().cloned()).unwrap_or_default();
    assert!(message.is_empty() || message.contains("batch size"), "{message}");
}

#[test]
fn pads_of_every_mode() {
    for mode in ["constant", "reflect", "edge"] {
        for pads in [(0, 0), (2, 1), (0, 3), (-1, 2), (2, -1), (-2, -1)] {
            let case = Case::op("Pad")
                .named(&format!("{pads:?}"))
                .opset(18)
                .batched(&[2, 5], data())
                .ints(&[0, 0, pads.0, 0, 0, pads.1])
                .set("mode", mode);
            check_vjp(&case);
        }
        let both = Case::op("Pad")
            .named("two axes")
            .opset(18)
            .batched(&[4, 5], data())
            .ints(&[1, -1, 2, 3])
            .absent()
            .ints(&[-1, 1])
            .set("mode", mode);
        check_vjp(&both);
    }
    check_vjp(&Case::op("Pad").named("far").batched(&[5], data()).ints(&[0, 7, 0, 6]).set("mode", "edge"));
    check_vjp(&Case::op("Pad").named("value").batched(&[3], data()).ints(&[0, 1, 0, 2]).scalar(0.5));
}

#[test]
fn copies() {
    for shape in [&[1, 1, 1][..], &[1, 2, 4], &[3, 1, 2, 4], &[2, 1]] {
        check_vjp(&Case::op("Expand").named(&format!("{shape:?}")).batched(&[2, 1], data()).ints(shape));
    }
    for repeats in [[1, 1, 1], [1, 2, 1], [1, 1, 3], [1, 3, 2], [2, 1, 1]] {
        check_vjp(&Case::op("Tile").named(&format!("{repeats:?}")).batched(&[2, 3], data()).ints(&repeats));
    }
}

#[test]
fn gathers() {
    for (axis, dims, indices) in [
        (1, &[][..], &[2][..]),
        (1, &[1], &[-1]),
        (1, &[2], &[1, 2]),
        (1, &[4], &[3, 2, 1, 0]),
        (1, &[5], &[0, 0, -1, 2, 0]),
        (2, &[2, 3], &[4, 1, 1, -5, 0, 2]),
        (-1, &[2, 1], &[3, 3]),
    ] {
        let case = Case::op("Gather")
            .named(&format!("{dims:?} {indices:?}"))
            .batched(&[4, 5], data())
            .constant(Array::ints(dims, indices.to_vec()))
            .set("axis", axis);
        check_vjp(&case);
    }
    for (axis, dims, indices) in [
        (0, &[4, 3][..], &[5][..]), // an embedding
        (1, &[4, 3], &[]),
        (-1, &[4, 3], &[2, 2]),
    ] {
        let low = if axis == 1 { 0 } else { -3 };
        let table = || Case::op("Gather").set("axis", axis).fixed(dims, data());
        check_vjp(&table().fixed(indices, Values::integers(low, 3)).named(&format!("computed {indices:?}")));
        check_vjp(&table().batched(indices, Values::integers(low, 3)).named(&format!("for each sample {indices:?}")));
    }
    let picture = || Case::op("Gather").batched(&[4, 2], data()).fixed(&[2, 1], Values::integers(-2, 2));
    check_vjp(&picture().set("axis", 1).named("of a picture"));
    check_vjp(&picture().set("axis", 2).named("of a picture"));

    for axis in [1, -1] {
        let case = Case::op("GatherElements")
            .batched(&[4, 5], data())
            .batched(&[4, 5], Values::integers(-4, 4))
            .set("axis", axis);
        check_vjp(&case);
    }
}

#[test]
fn depth_and_space() {
    for block in [1, 2] {
        for mode in ["DCR", "CRD"] {
            let case = Case::op("DepthToSpace").batched(&[8, 2, 3], data());
            check_vjp(&case.set("blocksize", block).set("mode", mode));
        }
        check_vjp(&Case::op("SpaceToDepth").batched(&[2, 4, 6], data()).set("blocksize", block));
    }
}

fn resize(dims: &[usize]) -> Case {
    Case::op("Resize").opset(18).batched(dims, data())
}

#[test]
fn resizes_of_every_mode_by_scales_and_by_sizes() {
    let coordinates = [
        "half_pixel",
        "half_pixel_symmetric",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_crop_and_resize",
    ];
    let modes = [
        ("nearest", "round_prefer_floor"),
        ("nearest", "round_prefer_ceil"),
        ("nearest", "floor"),
        ("nearest", "ceil"),
        ("linear", "floor"),
    ];
    for transformation in coordinates {
        for (mode, rounding) in modes {
            let finish = |case: Case| {
                case.set("mode", mode)
                    .set("nearest_mode", rounding)
                    .set("coordinate_transformation_mode", transformation)
            };
            let roi = |case: Case| match transformation {
                "tf_crop_and_resize" => {
                    case.constant(Array::floats(&[8], vec![0.0, 0.0, 0.1, -0.2, 1.0, 1.0, 1.2, 0.7]))
                }
                _ => case.absent(),
            };
            // Sizes name no batch: they are for the last two axes.
            for output in [[6, 5], [2, 5], [1, 3], [4, 7]] {
                let case = resize(&[1, 3, 4]).named(&format!("{output:?}")).absent().absent();
                if transformation != "tf_crop_and_resize" {
                    check_vjp(&finish(case.ints(&output).set("axes", vec![2, 3])));
                }
            }
            for scales in [[2.0, 2.0], [3.0, 1.0], [0.5, 0.8], [1.5, 1.2]] {
                let case = roi(resize(&[1, 3, 4]).named(&format!("{scales:?}")));
                let case = case.constant(Array::floats(&[4], vec![1.0, 1.0, scales[0], scales[1]]));
                check_vjp(&finish(case));
            }
        }
    }
}

#[test]
fn resizes_in_other_ranks_and_along_other_axes() {
    for mode in ["nearest", "linear"] {
        for (dims, scales) in [
            (&[4][..], &[1.0, 1.5][..]),
            (&[2, 4], &[1.0, 1.0, 2.0]),
            (&[2, 3, 2, 2], &[1.0, 1.0, 2.0, 1.0, 2.0]),
            (&[2, 3, 2, 2], &[1.0, 1.0, 1.4, 2.0, 1.0]),
            (&[3, 2], &[1.0, 1.7, 1.0]),
        ] {
            let scales = Array::floats(&[scales.len()], scales.to_vec());
            let case = resize(dims).named(&format!("{dims:?}")).absent().constant(scales).set("mode", mode);
            check_vjp(&case.set("coordinate_transformation_mode", "asymmetric").set("nearest_mode", "floor"));
        }
    }
}

#[test]
fn resizes_that_are_refused_say_why() {
    let policy = resize(&[2, 3, 4]).absent().absent().ints(&[5, 6]).set("axes", vec![2, 3]);
    let policy = policy.set("keep_aspect_ratio_policy", "not_larger");
    check_refused(&policy, &["(Resize)", "keep_aspect_ratio_policy not_larger"]);
}

#[test]
fn cubic_resizes() {
    for transformation in ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"] {
        for (a, exclude) in [(-0.75f32, 0), (-0.5, 1)] {
            for scales in [[2.0, 2.0], [1.0, 1.5], [0.5, 0.8], [3.0, 1.0]] {
                let case = resize(&[1, 4, 5]).named(&format!("{scales:?}")).absent();
                let case =
                    case.constant(Array::floats(&[4], vec![1.0, 1.0, scales[0], scales[1]])).set("mode", "cubic");
                let case = case.set("cubic_coeff_a", a).set("exclude_outside", exclude);
                check_vjp(&case.set("coordinate_transformation_mode", transformation));
            }
        }
    }
    let sizes = resize(&[2, 4, 5]).absent().absent().ints(&[7, 3]).set("axes", vec![2, 3]);
    check_vjp(&sizes.set("mode", "cubic"));
}

#[test]
fn antialiased_resizes() {
    for mode in ["linear", "cubic"] {
        for transformation in ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"] {
            for exclude in [0, 1] {
                let case = || {
                    let case = resize(&[1, 6, 7]).absent().set("antialias", 1).set("mode", mode);
                    case.set("coordinate_transformation_mode", transformation).set("exclude_outside", exclude)
                };
                for scales in [[0.5, 0.5], [1.0, 0.4], [1.5, 0.3]] {
                    let scales = Array::floats(&[4], vec![1.0, 1.0, scales[0], scales[1]]);
                    check_vjp(&case().named(&format!("{scales:?}")).constant(scales));
                }
                check_vjp(&case().absent().ints(&[4, 3]).set("axes", vec![2, 3]));
            }
        }
    }
}
