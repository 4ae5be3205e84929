use assay_reference::{Case, Values};

use crate::{agree, agree_and_refuse};

fn wide() -> Values {
    Values::uniform(-2.0, 2.0)
}

#[test]
fn convolutions() {
    for groups in [1, 2, 4] {
        for strides in [vec![1, 1], vec![2, 1], vec![3, 2]] {
            for dilations in [vec![1, 1], vec![1, 2]] {
                for pads in [vec![0, 0, 0, 0], vec![1, 2, 0, 1]] {
                    let case = Case::op("Conv")
                        .set("group", groups)
                        .set("strides", strides.clone())
                        .set("dilations", dilations.clone())
                        .set("pads", pads)
                        .batched(&[4, 7, 8], wide())
                        .weights(&[8, 4 / usize::try_from(groups).unwrap(), 3, 2], &wide());
                    agree(&case);
                    agree(&case.weights(&[8], &wide()));
                }
            }
        }
    }
}

#[test]
fn convolutions_in_one_and_three_dimensions() {
    let one = Case::op("Conv").set("strides", vec![2]).set("pads", vec![1, 0]).set("dilations", vec![2]);
    agree(&one.batched(&[2, 9], wide()).weights(&[3, 2, 3], &wide()));
    let three = Case::op("Conv").set("strides", vec![1, 2, 1]).set("kernel_shape", vec![2, 3, 1]);
    agree(&three.batched(&[2, 4, 5, 3], wide()).weights(&[3, 2, 2, 3, 1], &wide()));
}

#[test]
fn automatic_padding() {
    for auto in ["VALID", "SAME_UPPER", "SAME_LOWER"] {
        for strides in [vec![1, 1], vec![2, 3]] {
            let case = |op: &str| Case::op(op).set("auto_pad", auto).set("strides", strides.clone());
            agree(&case("Conv").batched(&[2, 7, 8], wide()).weights(&[3, 2, 3, 2], &wide()));
            agree(&case("MaxPool").set("kernel_shape", vec![3, 2]).batched(&[2, 7, 8], wide()));
            agree(&case("AveragePool").set("kernel_shape", vec![3, 2]).batched(&[2, 7, 8], wide()));
        }
        // One element at the end is skipped.
        let point = Case::op("Conv").set("auto_pad", auto).set("strides", vec![2, 2]).batched(&[2, 8, 7], wide());
        agree(&point.weights(&[3, 2, 1, 1], &wide()));
    }
}

#[test]
fn blocks_added_up_to_an_image() {
    let case = |image: &[i64], block: &[i64], dims: &[usize]| {
        Case::op("Col2Im").opset(18).batched(dims, wide()).ints(image).ints(block).named(&format!("{image:?}"))
    };
    agree(&case(&[4, 5], &[2, 2], &[8, 12]));
    agree(&case(&[4, 6], &[2, 3], &[6, 4]).set("strides", vec![2, 3]));
    let odd = case(&[5, 5], &[3, 2], &[12, 6]).set("strides", vec![2, 2]).set("dilations", vec![1, 2]);
    agree(&odd.set("pads", vec![1, 0, 0, 2]));
    agree(&case(&[6, 5], &[2, 2], &[4, 4]).set("strides", vec![4, 3]).set("pads", vec![0, 1, 0, 0]));
}

#[test]
fn transposed_convolutions() {
    for groups in [1usize, 2] {
        for strides in [vec![1, 1], vec![2, 3]] {
            for dilations in [vec![1, 1], vec![2, 1]] {
                for (pads, extra) in [(vec![0, 0, 0, 0], vec![0, 0]), (vec![1, 0, 0, 1], vec![0, 1])] {
                    if extra == [0, 1] && strides == [1, 1] {
                        continue;
                    }
                    let case = Case::op("ConvTranspose")
                        .set("group", i64::try_from(groups).unwrap())
                        .set("strides", strides.clone())
                        .set("dilations", dilations.clone())
                        .set("pads", pads)
                        .set("output_padding", extra)
                        .batched(&[4, 3, 4], wide())
                        .weights(&[4, 3, 3, 2], &wide());
                    agree(&case);
                    agree(&case.weights(&[3 * groups], &wide()));
                }
            }
        }
    }
    let one = Case::op("ConvTranspose").set("strides", vec![2]).batched(&[2, 5], wide());
    agree(&one.weights(&[2, 3, 3], &wide()));
}

#[test]
fn transposed_convolutions_with_automatic_padding() {
    let case = || Case::op("ConvTranspose").set("strides", vec![2, 2]).batched(&[2, 3, 4], wide());
    for auto in ["VALID", "SAME_UPPER", "SAME_LOWER"] {
        agree(&case().set("auto_pad", auto).weights(&[2, 3, 3, 3], &wide()));
    }
    for auto in ["NOTSET", "SAME_UPPER", "SAME_LOWER"] {
        agree(&case().set("auto_pad", auto).set("output_shape", vec![6, 8]).weights(&[2, 3, 3, 3], &wide()));
    }
}

#[test]
fn pooling() {
    for operator in ["MaxPool", "AveragePool"] {
        for (kernel, strides) in [(vec![2, 2], vec![2, 2]), (vec![3, 3], vec![2, 2]), (vec![3, 2], vec![1, 3])] {
            for pads in [vec![0, 0, 0, 0], vec![1, 1, 1, 1], vec![1, 0, 0, 1]] {
                for ceil in [0, 1] {
                    let case = Case::op(operator)
                        .set("kernel_shape", kernel.clone())
                        .set("strides", strides.clone())
                        .set("pads", pads.clone())
                        .set("ceil_mode", ceil)
                        .batched(&[2, 6, 7], Values::distinct(-2.0, 2.0));
                    if operator == "MaxPool" {
                        agree(&case.clone().outputs(2));
                        agree(&case.outputs(2).set("storage_order", 1));
                    } else {
                        agree(&case.clone());
                        agree(&case.opset(19).set("count_include_pad", 1));
                    }
                }
            }
        }
    }
}

#[test]
fn pooling_in_one_dimension_with_dilation_and_ties() {
    agree(&Case::op("MaxPool").set("kernel_shape", vec![3]).set("dilations", vec![2]).batched(&[2, 9], wide()));
    let average = Case::op("AveragePool").opset(19).set("kernel_shape", vec![3]).set("dilations", vec![2]);
    agree_and_refuse(&average.set("pads", vec![2, 1]).batched(&[2, 9], wide()), "dilations of an average");
    let ties = Case::op("MaxPool").outputs(2).set("kernel_shape", vec![2, 2]).set("pads", vec![1, 1, 0, 0]);
    agree(&ties.batched(&[1, 4, 4], Values::Exactly(-1.0)));
}

#[test]
fn global_pooling() {
    for operator in ["GlobalAveragePool", "GlobalMaxPool"] {
        agree(&Case::op(operator).batched(&[3, 4, 5], wide()));
        agree(&Case::op(operator).batched(&[3, 4], wide()));
    }
}
