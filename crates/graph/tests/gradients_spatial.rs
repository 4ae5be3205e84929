//! Gradients of the operators over images and of those that move elements, for the combinations of their attributes.
//!
//! Every case is checked against central difference quotients in f64 and by the dot-product test, see [`check_vjp`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_reference::{Array, Case, Values, check_refused, check_vjp, vjp_at};

fn data() -> Values {
    Values::uniform(-1.0, 1.0)
}

/// Size of a window's side before `dilation` and `stride`, and what of `size` and its padding is left for it.
fn fits(size: i64, kernel: i64, dilation: i64, pads: (i64, i64)) -> bool {
    size + pads.0 + pads.1 > dilation * (kernel - 1)
}

/// The rule for a constant kernel depends on the channels: below eight, as in an image, it is the one for any other kernel.
fn conv_1d(size: usize, kernel: usize, group: i64, constant: bool) -> Case {
    let (group_size, groups) = (if constant { 8 } else { 2 }, usize::try_from(group).unwrap());
    let case = Case::op("Conv").named(&format!("{size} by {kernel}")).batched(&[group_size * groups, size], data());
    let dims = [3 * groups, group_size, kernel];
    let case = if constant { case.weights(&dims, &data()) } else { case.fixed(&dims, data()) };
    case.set("group", group)
}

#[test]
fn conv_of_every_size_kernel_stride_dilation_and_padding() {
    for size in [4, 5, 7] {
        for kernel in [1, 2, 3] {
            for stride in [1, 2, 3] {
                for dilation in [1, 2] {
                    for pads in [(0, 0), (1, 0), (0, 2), (2, 1), (4, 5)] {
                        if !fits(size, kernel, dilation, pads) {
                            continue;
                        }
                        let [n, k] = [size, kernel].map(|v| usize::try_from(v).unwrap());
                        for constant in [true, false] {
                            let case = conv_1d(n, k, 1, constant)
                                .set("strides", vec![stride])
                                .set("dilations", vec![dilation])
                                .set("pads", vec![pads.0, pads.1]);
                            check_vjp(&case);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn conv_with_groups_and_depthwise() {
    for group in [1, 2, 3] {
        for stride in [1, 2] {
            for constant in [true, false] {
                let case = conv_1d(6, 3, group, constant).set("strides", vec![stride]).set("pads", vec![1, 0]);
                check_vjp(&case);
            }
        }
    }
    for stride in [1, 2] {
        let case = Case::op("Conv")
            .named("depthwise")
            .batched(&[3, 4, 5], data())
            .weights(&[3, 1, 3, 2], &data())
            .weights(&[3], &data())
            .set("group", 3)
            .set("strides", vec![stride, 1])
            .set("pads", vec![1, 0, 1, 1]);
        check_vjp(&case);
    }
}

/// Small strided depthwise convolutions go back phase by phase: every kernel, stride, padding and remainder of the size.
#[test]
fn conv_depthwise_with_strides_over_small_maps() {
    for size in [4usize, 5, 6] {
        for kernel in [2usize, 3, 5] {
            for stride in [2, 3] {
                for pads in [(0, 0), (1, 1), (2, 1), (1, 2), (2, 2)] {
                    if !fits(size.try_into().unwrap(), kernel.try_into().unwrap(), 1, pads) {
                        continue;
                    }
                    let case = Case::op("Conv")
                        .named(&format!("{size} by {kernel}"))
                        .batched(&[2, size, size], data())
                        .weights(&[2, 1, kernel, kernel], &data())
                        .set("group", 2)
                        .set("strides", vec![stride, stride])
                        .set("pads", vec![pads.0, pads.0, pads.1, pads.1]);
                    check_vjp(&case);
                }
            }
        }
    }
}

#[test]
fn conv_in_two_and_three_dimensions_with_bias() {
    for strides in [[1, 1], [2, 1], [2, 3]] {
        let case = Case::op("Conv")
            .batched(&[2, 5, 6], data())
            .fixed(&[4, 1, 3, 2], data())
            .fixed(&[4], data())
            .set("group", 2)
            .set("kernel_shape", vec![3, 2])
            .set("strides", strides.to_vec())
            .set("dilations", vec![1, 2])
            .set("pads", vec![2, 0, 1, 1]);
        check_vjp(&case);
    }
    for strides in [[1, 1, 1], [2, 1, 2]] {
        let case = Case::op("Conv")
            .batched(&[2, 3, 4, 3], data())
            .weights(&[2, 2, 2, 3, 1], &data())
            .set("strides", strides.to_vec())
            .set("pads", vec![1, 0, 0, 0, 2, 1]);
        check_vjp(&case);
    }
}

#[test]
fn conv_with_auto_pad() {
    for size in [4, 5, 6, 7] {
        for kernel in [1, 2, 3, 4] {
            for stride in [1, 2, 3] {
                for mode in ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"] {
                    let case = conv_1d(size, kernel, 1, true).set("strides", vec![stride]).set("auto_pad", mode);
                    // The last window of SAME begins at most `kernel` before the end, or else elements are left over.
                    let windows = size.div_ceil(usize::try_from(stride).unwrap());
                    let covered = (windows - 1) * usize::try_from(stride).unwrap() + kernel;
                    if mode.starts_with("SAME") && covered + 1 < size {
                        check_refused(&case, &["auto_pad", mode, "pads"]);
                    } else {
                        check_vjp(&case);
                    }
                }
            }
        }
    }
    let dilated = conv_1d(7, 2, 1, true).set("auto_pad", "SAME_UPPER").set("dilations", vec![2]);
    check_refused(&dilated, &["auto_pad SAME_UPPER", "dilations"]);
}

#[test]
fn conv_in_double_precision() {
    for stride in [1, 2] {
        check_vjp(&conv_1d(5, 3, 1, true).set("strides", vec![stride]).double());
    }
    let pool = Case::op("AveragePool").batched(&[2, 5], data()).set("kernel_shape", vec![2]).set("pads", vec![1, 0]);
    check_vjp(&pool.double());
}

fn conv_transpose_1d(size: usize, kernel: usize, constant: bool) -> Case {
    let case = Case::op("ConvTranspose").named(&format!("{size} by {kernel}")).batched(&[2, size], data());
    if constant { case.weights(&[2, 3, kernel], &data()) } else { case.fixed(&[2, 3, kernel], data()) }
}

#[test]
fn conv_transpose_of_every_size_kernel_stride_dilation_and_padding() {
    for (size, kernel) in [(1, 3), (3, 1), (3, 2), (4, 3)] {
        for stride in [1, 2, 3] {
            for dilation in [1, 2] {
                for pads in [(0, 0), (1, 0), (0, 1), (1, 2)] {
                    for output_padding in 0..stride {
                        let [n, k] = [size, kernel].map(|v| i64::try_from(v).unwrap());
                        let full = (n - 1) * stride + dilation * (k - 1) + 1 + output_padding;
                        if full - pads.0 - pads.1 < 1 {
                            continue;
                        }
                        for constant in [true, false] {
                            let case = conv_transpose_1d(size, kernel, constant)
                                .set("strides", vec![stride])
                                .set("dilations", vec![dilation])
                                .set("pads", vec![pads.0, pads.1])
                                .set("output_padding", vec![output_padding]);
                            check_vjp(&case);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn conv_transpose_with_stated_output_and_auto_pad() {
    for size in [2, 3] {
        for kernel in [2, 3, 4] {
            for stride in [1, 2, 3] {
                for mode in ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"] {
                    let n = i64::try_from(size).unwrap();
                    let full = (n - 1) * stride + i64::try_from(kernel).unwrap();
                    let base = conv_transpose_1d(size, kernel, true).set("strides", vec![stride]).set("auto_pad", mode);
                    // SAME states n · stride elements, which a kernel shorter than the stride does not reach.
                    if !(mode.starts_with("SAME") && n * stride > full) {
                        check_vjp(&base);
                    }
                    if mode == "VALID" {
                        continue;
                    }
                    for output in full - 2..=full {
                        if output > 0 {
                            check_vjp(&base.clone().set("output_shape", vec![output]));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn conv_transpose_with_groups_in_two_and_three_dimensions() {
    for group in [1, 2] {
        let case = Case::op("ConvTranspose")
            .batched(&[4, 3, 2], data())
            .fixed(&[4, 2, 2, 3], data())
            .fixed(&[2 * usize::try_from(group).unwrap()], data())
            .set("group", group)
            .set("strides", vec![2, 1])
            .set("pads", vec![1, 0, 0, 2])
            .set("output_padding", vec![1, 0]);
        check_vjp(&case);
    }
    let case = Case::op("ConvTranspose")
        .batched(&[2, 2, 2, 1], data())
        .weights(&[2, 1, 2, 1, 3], &data())
        .set("strides", vec![1, 2, 2]);
    check_vjp(&case);
}

/// Pools in one dimension with every kernel, stride, dilation, padding and rounding that fit.
fn pools_1d(operator: &str, dilations: &[i64], check: impl Fn(Case)) {
    for size in [4, 5, 6, 7] {
        for kernel in [1, 2, 3] {
            for stride in [1, 2, 3] {
                for &dilation in dilations {
                    for pads in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1)] {
                        // Pads are smaller than the kernel, and a window in the padding altogether is refused.
                        if pads.0.max(pads.1) >= kernel || !fits(size, kernel, dilation, pads) {
                            continue;
                        }
                        for ceil_mode in [0, 1] {
                            check(
                                Case::op(operator)
                                    .named(&size.to_string())
                                    .batched(&[2, usize::try_from(size).unwrap()], Values::distinct(-1.0, 1.0))
                                    .set("kernel_shape", vec![kernel])
                                    .set("strides", vec![stride])
                                    .set("dilations", vec![dilation])
                                    .set("pads", vec![pads.0, pads.1])
                                    .set("ceil_mode", ceil_mode),
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn max_pool_of_every_size_kernel_stride_dilation_and_padding() {
    pools_1d("MaxPool", &[1, 2], |case| check_vjp(&case));
}

#[test]
fn average_pool_of_every_size_kernel_stride_dilation_and_padding() {
    pools_1d("AveragePool", &[1], |case| check_vjp(&case.set("count_include_pad", 0)));
    pools_1d("AveragePool", &[1], |case| check_vjp(&case.set("count_include_pad", 1)));
}

#[test]
fn pools_with_auto_pad() {
    for size in [4, 5, 6, 7] {
        for kernel in [2, 3, 4] {
            for stride in [1, 2] {
                for mode in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
                    let base = |operator: &str| {
                        Case::op(operator)
                            .named(&size.to_string())
                            .batched(&[2, size], Values::distinct(-1.0, 1.0))
                            .set("kernel_shape", vec![kernel])
                            .set("strides", vec![stride])
                            .set("auto_pad", mode)
                    };
                    check_vjp(&base("MaxPool"));
                    check_vjp(&base("AveragePool"));
                    check_vjp(&base("AveragePool").set("count_include_pad", 1));
                }
            }
        }
    }
}

#[test]
fn pools_in_two_and_three_dimensions() {
    for operator in ["MaxPool", "AveragePool"] {
        for ceil_mode in [0, 1] {
            for (kernel, strides, pads) in [
                ([2, 2], [2, 2], [0, 0, 0, 0]),
                ([3, 3], [2, 2], [1, 1, 1, 1]),
                ([3, 2], [1, 2], [2, 0, 1, 1]),
                ([2, 3], [3, 1], [0, 1, 0, 2]),
            ] {
                let case = Case::op(operator)
                    .batched(&[2, 5, 6], Values::distinct(-1.0, 1.0))
                    .set("kernel_shape", kernel.to_vec())
                    .set("strides", strides.to_vec())
                    .set("pads", pads.to_vec())
                    .set("ceil_mode", ceil_mode);
                check_vjp(&case);
            }
            let case = Case::op(operator)
                .batched(&[2, 3, 4, 3], Values::distinct(-1.0, 1.0))
                .set("kernel_shape", vec![2, 3, 2])
                .set("strides", vec![1, 2, 2])
                .set("pads", vec![0, 1, 0, 1, 0, 1])
                .set("ceil_mode", ceil_mode);
            check_vjp(&case);
        }
    }
}

#[test]
fn max_pool_whose_indices_are_an_output_already() {
    let case = Case::op("MaxPool")
        .batched(&[2, 5, 4], Values::distinct(-1.0, 1.0))
        .set("kernel_shape", vec![3, 2])
        .set("strides", vec![2, 1])
        .outputs(2);
    check_vjp(&case);
    check_refused(&case.set("storage_order", 1), &["node \"node\" (MaxPool)", "storage_order"]);
}

#[test]
fn ties_go_to_the_first_element_of_a_window() {
    let ties = Values::Exactly(1.0);
    // Windows 0..3 and 2..5, whose firsts are 0 and 2; each window takes its cotangent there.
    let pool = Case::op("MaxPool").batched(&[1, 5], ties.clone()).set("kernel_shape", vec![3]).set("strides", vec![2]);
    let found = vjp_at(&pool, &pool.inputs(1), &[Array::floats(&[1, 1, 2], vec![3.0, 5.0])]);
    assert_eq!(found[0].as_slice().unwrap(), [3.0, 0.0, 5.0, 0.0, 0.0]);

    // Padding is never taken, and an element that several windows take gets the sum.
    let pool = pool.set("strides", vec![1]).set("pads", vec![2, 0]);
    let found = vjp_at(&pool, &pool.inputs(1), &[Array::floats(&[1, 1, 5], vec![1.0, 2.0, 4.0, 8.0, 16.0])]);
    assert_eq!(found[0].as_slice().unwrap(), [7.0, 8.0, 16.0, 0.0, 0.0]);

    let pool = Case::op("GlobalMaxPool").batched(&[2, 2, 2], ties);
    let found = vjp_at(&pool, &pool.inputs(1), &[Array::floats(&[1, 2, 1, 1], vec![3.0, 5.0])]);
    assert_eq!(found[0].as_slice().unwrap(), [3.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0]);
}

#[test]
fn global_pools() {
    for operator in ["GlobalAveragePool", "GlobalMaxPool"] {
        for dims in [&[3, 5][..], &[2, 3, 4], &[2, 2, 3, 2]] {
            check_vjp(&Case::op(operator).named(&format!("{dims:?}")).batched(dims, Values::distinct(-1.0, 1.0)));
        }
    }
}

#[test]
fn batch_normalization_at_inference() {
    let variance = Values::uniform(0.5, 2.0);
    for dims in [&[3][..], &[3, 4], &[3, 2, 2]] {
        let folded = Case::op("BatchNormalization")
            .named(&format!("{dims:?}"))
            .batched(dims, data())
            .weights(&[3], &data())
            .weights(&[3], &data())
            .weights(&[3], &data())
            .weights(&[3], &variance)
            .set("epsilon", 1e-2);
        check_vjp(&folded);
        let trainable = Case::op("BatchNormalization")
            .named(&format!("trainable {dims:?}"))
            .batched(dims, data())
            .fixed(&[3], data())
            .fixed(&[3], data())
            .weights(&[3], &data())
            .weights(&[3], &variance);
        check_vjp(&trainable);
    }
}

#[test]
fn instance_normalization() {
    for dims in [&[3, 4][..], &[2, 3, 2]] {
        let case = Case::op("InstanceNormalization")
            .named(&format!("{dims:?}"))
            .batched(dims, data())
            .fixed(&[dims[0]], data())
            .fixed(&[dims[0]], data())
            .set("epsilon", 1e-2);
        check_vjp(&case);
    }
}

#[test]
fn blocks_added_up_to_an_image() {
    for (image, block, strides, dilations, pads) in [
        ([4, 5], [2, 2], [1, 1], [1, 1], [0, 0, 0, 0]),
        ([4, 6], [2, 3], [2, 3], [1, 1], [0, 0, 0, 0]),
        ([5, 5], [3, 2], [2, 2], [1, 2], [1, 0, 0, 2]),
        ([6, 5], [2, 2], [4, 3], [1, 1], [0, 1, 0, 0]),
        ([3, 4], [1, 3], [3, 1], [1, 1], [2, 1, 0, 1]),
    ] {
        let blocks: i64 = (0..2)
            .map(|i| (image[i] + pads[i] + pads[i + 2] - dilations[i] * (block[i] - 1) - 1) / strides[i] + 1)
            .product();
        let size = |n: i64| usize::try_from(n).unwrap();
        let case = Case::op("Col2Im").opset(18).batched(&[2 * size(block[0] * block[1]), size(blocks)], data());
        let case = case.ints(&image).ints(&block).set("strides", strides.to_vec()).set("pads", pads.to_vec());
        check_vjp(&case.set("dilations", dilations.to_vec()).named(&format!("{block:?} to {image:?}")));
    }
    let line = Case::op("Col2Im").opset(18).batched(&[3, 4], data()).ints(&[6]).ints(&[3]);
    check_vjp(&line.named("defaults, one axis"));
}
