//! Gradients of the operators that read, write, sum up or cut out where integers say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_reference::{Array, Case, Values, check_refused, check_vjp};

fn data() -> Values {
    Values::uniform(-1.0, 1.0)
}

#[test]
fn running_sums() {
    for (exclusive, reverse) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for axis in [1, 2, -1] {
            let case = Case::op("CumSum").set("exclusive", exclusive).set("reverse", reverse);
            check_vjp(&case.batched(&[3, 4], data()).constant(Array::ints(&[], vec![axis])));
        }
    }
}

#[test]
fn triangles() {
    for upper in [0, 1] {
        for k in [-2, 0, 1, 5] {
            let case = Case::op("Trilu").set("upper", upper).named(&format!("k={k}"));
            check_vjp(&case.batched(&[3, 4], data()).constant(Array::ints(&[], vec![k])));
        }
        check_vjp(&Case::op("Trilu").set("upper", upper).batched(&[3, 3], data()));
    }
}

#[test]
fn sorted_values() {
    for axis in [1, 2, -1] {
        for (largest, sorted) in [(1, 1), (0, 1), (1, 0), (0, 0)] {
            let case = Case::op("TopK").set("axis", axis).set("largest", largest).set("sorted", sorted).outputs(2);
            check_vjp(&case.batched(&[3, 4], Values::distinct(-1.0, 1.0)).ints(&[2]));
        }
    }
    check_vjp(&Case::op("TopK").batched(&[4], Values::distinct(-1.0, 1.0)).ints(&[4]).named("all, values only"));
}

#[test]
fn elements_written_by_indices() {
    // Without a reduction every index is there once.
    for axis in [1, -1] {
        let case = Case::op("ScatterElements").opset(18).set("axis", axis).fixed(&[3, 4], data());
        check_vjp(&case.constant(Array::ints(&[3, 2], vec![3, 0, 1, 2, -1, -2])).fixed(&[3, 2], data()));
    }
    let rows = Case::op("ScatterElements").opset(18).fixed(&[3, 4], data());
    check_vjp(&rows.constant(Array::ints(&[1, 4], vec![2, 0, -1, 1])).fixed(&[1, 4], data()).named("part of an axis"));
    let add = |axis: i64| Case::op("ScatterElements").opset(18).set("axis", axis).set("reduction", "add");
    check_vjp(&add(1).batched(&[4], data()).batched(&[6], Values::integers(-4, 4)).batched(&[6], data()));
    check_vjp(&add(2).batched(&[2, 4], data()).batched(&[2, 3], Values::integers(0, 4)).batched(&[2, 3], data()));
    for reduction in ["mul", "max", "min"] {
        let case = Case::op("ScatterElements").opset(18).set("axis", 1).set("reduction", reduction);
        let case = case.batched(&[4], data()).batched(&[2], Values::integers(0, 4)).batched(&[2], data());
        check_refused(&case, &["ScatterElements", &format!("reduction {reduction}")]);
    }
    let old = Case::op("Scatter").opset(9).set("axis", 1).fixed(&[2, 3], data());
    check_vjp(&old.constant(Array::ints(&[2, 1], vec![2, 0])).fixed(&[2, 1], data()));
}

#[test]
fn slices_written_by_tuples() {
    let case = |reduction: &str| Case::op("ScatterND").opset(18).set("reduction", reduction).fixed(&[4, 3, 2], data());
    check_vjp(&case("none").constant(Array::ints(&[2, 1], vec![3, 0])).fixed(&[2, 3, 2], data()));
    check_vjp(&case("none").constant(Array::ints(&[2, 2], vec![3, 0, -4, 1])).fixed(&[2, 2], data()));
    check_vjp(&case("none").constant(Array::ints(&[1, 2, 3], vec![3, 0, 1, 2, 2, 0])).fixed(&[1, 2], data()));
    check_vjp(&case("add").fixed(&[5, 2], Values::integers(0, 3)).fixed(&[5, 2], data()));
    check_vjp(&case("add").fixed(&[3, 1], Values::integers(-4, 4)).fixed(&[3, 3, 2], data()));
    let refused = case("max").fixed(&[5, 2], Values::integers(0, 3)).fixed(&[5, 2], data());
    check_refused(&refused, &["ScatterND", "reduction max"]);
}

#[test]
fn slices_read_by_tuples() {
    let case = || Case::op("GatherND").fixed(&[4, 3, 2], data());
    check_vjp(&case().fixed(&[2, 1], Values::integers(-4, 4)));
    check_vjp(&case().fixed(&[5, 2], Values::integers(-3, 3)));
    check_vjp(&case().batched(&[2, 3], Values::integers(0, 2)));
    let batched = |dims: &[usize]| Case::op("GatherND").batched(dims, data());
    check_vjp(&batched(&[4, 3]).batched(&[2], Values::integers(-3, 3)).set("batch_dims", 1));
    check_vjp(&batched(&[4, 3]).batched(&[5, 1], Values::integers(-4, 4)).set("batch_dims", 1));
    check_vjp(&batched(&[2, 4, 3, 2]).batched(&[2, 5, 2], Values::integers(-3, 3)).set("batch_dims", 2));
    check_vjp(&batched(&[2, 4, 3]).batched(&[2, 2], Values::integers(0, 3)).set("batch_dims", 2));
}

#[test]
fn one_of_two_values() {
    for axis in [-1, 0, 1] {
        let case = Case::op("OneHot").set("axis", axis).batched(&[3], Values::integers(-4, 6));
        check_vjp(&case.constant(Array::ints(&[], vec![4])).fixed(&[2], data()));
    }
}
