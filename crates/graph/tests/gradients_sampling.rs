//! Gradients of images read at the places that a grid names, for every combination of attributes, against difference quotients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_reference::{Array, Case, Random, Values, check_refused, check_vjp, vjp_at};

fn data() -> Values {
    Values::uniform(-1.0, 1.0)
}

fn places() -> Values {
    Values::uniform(-1.7, 1.7)
}

fn sampling(mode: &str, padding: &str, align_corners: i64) -> Case {
    Case::op("GridSample").set("mode", mode).set("padding_mode", padding).set("align_corners", align_corners)
}

#[test]
fn bilinear_by_the_image_and_by_the_grid() {
    for padding in ["zeros", "border", "reflection"] {
        for align_corners in [0, 1] {
            for image in [&[2, 3, 4][..], &[1, 1, 5], &[3, 2, 1], &[1, 1, 1]] {
                let case = sampling("bilinear", padding, align_corners).batched(image, data());
                check_vjp(&case.batched(&[3, 2, 2], places()).named(&format!("{image:?}")));
            }
            let far = sampling("bilinear", padding, align_corners).batched(&[1, 3, 2], data());
            check_vjp(&far.batched(&[4, 1, 2], Values::uniform(-9.0, 9.0)).named("far outside"));
            let double = sampling("bilinear", padding, align_corners).batched(&[1, 3, 2], data());
            check_vjp(&double.batched(&[2, 2, 2], places()).double());
        }
    }
    let defaults = Case::op("GridSample").batched(&[1, 3, 3], data());
    check_vjp(&defaults.batched(&[2, 2, 2], places()).named("defaults"));
    let renamed = Case::op("GridSample").opset(20).set("mode", "linear").batched(&[1, 3, 3], data());
    check_vjp(&renamed.batched(&[2, 2, 2], places()));
}

#[test]
fn nearest_by_the_image() {
    for padding in ["zeros", "border", "reflection"] {
        for align_corners in [0, 1] {
            let grid = Random::new(5).array(&[2, 4, 3, 2], &places());
            check_vjp(&sampling("nearest", padding, align_corners).fixed(&[2, 2, 3, 4], data()).constant(grid));
        }
    }
    let case = sampling("nearest", "zeros", 0).batched(&[1, 3, 3], data()).batched(&[2, 2, 2], places());
    check_refused(&case, &["GridSample", "mode nearest", "use mode bilinear"]);
}

#[test]
fn what_is_half_way_goes_to_the_even_element() {
    // Four places on one row of four elements: 0.5, 1.5, 2.5 and 3.5, of which the last is outside.
    let places: Vec<f64> = [0.5, 1.5, 2.5, 3.5].iter().flat_map(|p| [(p + 0.5) / 2.0 - 1.0, 0.0]).collect();
    let case = |padding: &str| {
        let grid = Array::floats(&[1, 1, 4, 2], places.clone());
        sampling("nearest", padding, 0).fixed(&[1, 1, 1, 4], data()).constant(grid)
    };
    let image = [("x0", Array::floats(&[1, 1, 1, 4], vec![0.0; 4]))];
    let cotangent = [Array::floats(&[1, 1, 1, 4], vec![1.0, 10.0, 100.0, 1000.0])];
    let found = |padding: &str| vjp_at(&case(padding), &image, &cotangent)[0].iter().copied().collect::<Vec<_>>();
    assert_eq!(found("zeros"), [1.0, 0.0, 110.0, 0.0]);
    assert_eq!(found("border"), [1.0, 0.0, 110.0, 1000.0]);
}
