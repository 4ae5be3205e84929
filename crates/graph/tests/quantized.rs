//! Gradients of quantized models: the clipped straight-through estimator, against difference quotients of what the model
//! computes when its roundings stay as they are; and what each quantized operator is written out as.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::{Attribute, Canonical, DataType, Model, Tensor, vjp};
use assay_reference::{Array, Case, Sketch, Values, check_first, check_refused, probe, vjp_at};

/// How the nodes between a number and its estimate are called by results.
fn estimators(model: &Model, dims: &[usize]) -> Vec<String> {
    let x = Array::floats(&[&[1], dims].concat(), vec![0.3; dims.iter().product()]);
    let source = probe(Canonical::new(model.clone()).unwrap(), &[("x", x)]);
    let derived = vjp(&source, &["y".into()], &["x".into()]).unwrap();
    derived.straight_through.iter().map(ToString::to_string).collect()
}

#[test]
fn the_derivative_is_one_where_a_number_is_rounded_and_zero_where_it_saturates() {
    let sketch = Sketch::new(&[4]).quantize().node("DequantizeLinear", "q s z -> y", &[]);
    // -29.25 and 34.5 are the ends; up to half a step beyond, a number is rounded to them.
    let at = [-29.5, -29.37, -29.25, -29.24, 34.49, 34.5, 34.62, 34.75];
    let x = Array::floats(&[2, 4], at.to_vec());
    let w = Array::floats(&[2, 4], vec![1.0; 8]);
    let found = vjp_at(&sketch.case("pair"), &[("x", x)], &[w]);
    assert_eq!(found[0].iter().copied().collect::<Vec<_>>(), [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
    assert_eq!(estimators(&sketch.model(), &[4]), ["node \"the QuantizeLinear\" (QuantizeLinear)"]);
}

#[test]
fn pairs_of_every_type_and_axis() {
    for (dtype, zero) in
        [(DataType::Uint8, 117), (DataType::Int8, -7), (DataType::Uint16, 32_000), (DataType::Int16, -900)]
    {
        for domain in ["", "."] {
            if domain.is_empty() && matches!(dtype, DataType::Uint16 | DataType::Int16) {
                continue;
            }
            let (q, d) = (format!("{domain}QuantizeLinear"), format!("{domain}DequantizeLinear"));
            let one = Sketch::new(&[3, 2]).integers("zero", dtype, &[], &[zero]);
            check_first(&one.node(&q, "x s zero -> q", &[]).node(&d, "q s zero -> y", &[]).case(&format!("{dtype:?}")));
            for axis in [1, -2] {
                let each = Sketch::new(&[3, 2]).floats("scales", &[3], &[0.25, 0.1, 0.01]).integers(
                    "zeros",
                    dtype,
                    &[3],
                    &[zero, zero + 3, zero - 2],
                );
                let axis = [("axis", axis.into())];
                let each = each.node(&q, "x scales zeros -> q", &axis).node(&d, "q scales zeros -> y", &axis);
                check_first(&each.case(&format!("{dtype:?} along an axis")));
            }
        }
    }
    let unsigned = Sketch::new(&[3]).node("QuantizeLinear", "x s -> q", &[]).node("DequantizeLinear", "q s -> y", &[]);
    check_first(&unsigned.case("no zero point"));
}

#[test]
fn a_model_between_pairs() {
    let sketch = Sketch::new(&[3]).quantize().weights("w", &[3, 3]).floats("each", &[3], &[0.1, 0.2, 0.05]);
    let sketch = sketch
        .integers("bias", DataType::Int32, &[3], &[1000, -200, 30])
        .float("bs", 0.002)
        .node("DequantizeLinear", "q s z -> a", &[])
        .node("DequantizeLinear", "w each -> b", &[("axis", 1.into())])
        .node("DequantizeLinear", "bias bs -> c", &[])
        .node("Gemm", "a b c -> d", &[])
        .node("Tanh", "d -> e", &[])
        .node("QuantizeLinear", "e ws wz -> f", &[])
        .node("DequantizeLinear", "f ws wz -> y", &[]);
    check_first(&sketch.case("dense layer"));
}

#[test]
fn a_reader_with_another_scale() {
    let sketch = Sketch::new(&[3]).quantize();
    check_first(&sketch.node("DequantizeLinear", "q t z -> y", &[]).case("another scale"));
}

/// Between `q` (scale `s`, zero point `z`) and `p` (scale `t`, zero point `u`).
fn check_operator(dims: &[usize], build: impl FnOnce(Sketch) -> Sketch) {
    let sketch = build(Sketch::new(dims).quantize()).end("p");
    let label = sketch.model().graph.nodes[1].label().to_owned();
    check_first(&sketch.case(&label));
    let names = estimators(&sketch.model(), dims);
    assert_eq!(names[1..], [format!("node \"{label}\" (QuantizeLinear)")]);
}

#[test]
fn convolutions() {
    let padded = [("pads", vec![1i64, 0, 1, 1].into()), ("strides", vec![2i64, 1].into())];
    for domain in ["", "."] {
        let name = format!("{domain}QLinearConv");
        check_operator(&[2, 5, 4], |s| s.weights("w", &[3, 2, 3, 2]).node(&name, "q s z w ws wz t u -> p", &padded));
        check_operator(&[2, 5, 4], |s| {
            s.weights("w", &[3, 2, 3, 2])
                .floats("each", &[3], &[0.1, 0.2, 0.05])
                .signed("zeros", &[3], &[0, 1, -1])
                .integers("bias", DataType::Int32, &[3], &[500, -200, 30])
                .node(&name, "q s z w each zeros t u bias -> p", &padded)
        });
    }
    check_operator(&[4, 5], |s| {
        s.weights("w", &[4, 1, 3]).node("QLinearConv", "q s z w ws wz t u -> p", &[("group", 4.into())])
    });
}

#[test]
fn products() {
    let each = |s: Sketch| s.floats("each", &[2], &[0.1, 0.2]).signed("zeros", &[2], &[0, 3]);
    check_operator(&[3], |s| s.weights("w", &[3, 2]).node("QLinearMatMul", "q s z w ws wz t u -> p", &[]));
    check_operator(&[4, 3], |s| {
        each(s).weights("w", &[3, 2]).node("QLinearMatMul", "q s z w each zeros t u -> p", &[])
    });
    for transposed in [0, 1] {
        let dims: &[usize] = if transposed == 0 { &[3, 2] } else { &[2, 3] };
        let set = [("transB", transposed.into()), ("alpha", 0.5.into())];
        check_operator(&[3], |s| {
            each(s).weights("w", dims).integers("bias", DataType::Int32, &[2], &[40, -70]).node(
                ".QGemm",
                "q s z w each zeros bias t u -> p",
                &set,
            )
        });
        let numbers = Sketch::new(&[3]).quantize().weights("w", dims);
        check_first(&numbers.node(".QGemm", "q s z w ws wz -> y", &set).case("QGemm to numbers"));
    }
}

#[test]
fn sums_and_products_of_two() {
    for operator in [".QLinearAdd", ".QLinearMul"] {
        check_operator(&[2, 3], |s| s.node(operator, "q s z q s z t u -> p", &[]));
        check_operator(&[2, 3], |s| s.weights("w", &[3]).node(operator, "q s z w ws wz t u -> p", &[]));
    }
}

#[test]
fn functions_of_one() {
    check_operator(&[6], |s| s.node(".QLinearLeakyRelu", "q s z t u -> p", &[("alpha", 0.2.into())]));
    let fine = |s: Sketch| s.float("fine", 1.0 / 256.0).byte("none", 0);
    for (operator, set) in [
        (".QLinearSigmoid", vec![]),
        (".QLinearSoftmax", vec![("opset", Attribute::from(13)), ("axis", (-1).into())]),
        (".QLinearSoftmax", vec![("opset", 11.into()), ("axis", 1.into())]),
    ] {
        let sketch = fine(Sketch::new(&[4]).quantize()).node(operator, "q s z fine none -> p", &set);
        check_first(&sketch.node("DequantizeLinear", "p fine none -> y", &[]).case(operator));
    }
}

#[test]
fn averages() {
    let window = [("kernel_shape", vec![2i64, 3].into()), ("pads", vec![0i64, 1, 1, 0].into())];
    check_operator(&[2, 4, 5], |s| s.node(".QLinearAveragePool", "q s z t u -> p", &window));
    check_operator(&[2, 4, 5], |s| {
        s.node(".QLinearGlobalAveragePool", "q s z t u -> p", &[("channels_last", 0.into())])
    });
    let axes = [("axes", vec![2i64].into()), ("keepdims", 0.into())];
    check_operator(&[2, 4], |s| s.node(".QLinearReduceMean", "q s z t u -> p", &axes));
}

#[test]
fn choices() {
    check_operator(&[2, 3], |s| {
        s.weights("w", &[3]).node(".QLinearConcat", "t u q s z q s z -> p", &[("axis", 1.into())])
    });
    check_operator(&[3], |s| {
        let mask = Tensor::new(DataType::Bool, vec![3], vec![1, 0, 1].into()).unwrap();
        let s = s.integers("w8", DataType::Uint8, &[3], &[9, 80, 200]).tensor("mask", mask);
        s.node(".QLinearWhere", "mask q s z w8 s z t u -> p", &[])
    });
}

#[test]
fn integers_that_are_moved() {
    let ints = |s: Sketch, name: &str, list: &[i64]| s.integers(name, DataType::Int64, &[list.len()], list);
    let cases: Vec<(&str, Sketch)> = vec![
        (
            "Transpose",
            Sketch::new(&[2, 3, 4]).quantize().node("Transpose", "q -> p", &[("perm", vec![0i64, 3, 1, 2].into())]),
        ),
        ("Reshape", ints(Sketch::new(&[2, 3, 4]).quantize(), "shape", &[0, -1]).node("Reshape", "q shape -> p", &[])),
        ("Flatten", Sketch::new(&[2, 3, 4]).quantize().node("Flatten", "q -> p", &[])),
        (
            "MaxPool",
            Sketch::new(&[2, 3, 4]).quantize().node("MaxPool", "q -> p", &[("kernel_shape", vec![2i64, 2].into())]),
        ),
        (
            "Slice",
            ints(ints(ints(Sketch::new(&[5, 3]).quantize(), "a", &[1]), "b", &[4]), "c", &[1]).node(
                "Slice",
                "q a b c -> p",
                &[],
            ),
        ),
        ("Pad", ints(Sketch::new(&[3]).quantize(), "pads", &[0, 1, 0, 2]).node("Pad", "q pads z -> p", &[])),
        (
            "Gather",
            ints(Sketch::new(&[3, 2]).quantize(), "which", &[2, 0, 2]).node(
                "Gather",
                "q which -> p",
                &[("axis", 1.into())],
            ),
        ),
    ];
    for (name, sketch) in cases {
        // No two numbers are quantized to the same integer, so that no maximum is shared.
        let dims = sketch.dims();
        let case = Case::graph(name, sketch.node("DequantizeLinear", "p s z -> y", &[]).model());
        check_first(&case.feed("x", &dims, Values::distinct(-25.0, 30.0)));
    }
    let split =
        ints(Sketch::new(&[5]).quantize(), "parts", &[2, 3]).node("Split", "q parts -> p r", &[("axis", 1.into())]);
    let split = split.node("DequantizeLinear", "p s z -> a", &[]).node("DequantizeLinear", "r s z -> b", &[]);
    check_first(&split.node("Concat", "b a -> y", &[("axis", 1.into())]).case("Split"));
}

#[test]
fn dynamic_quantization() {
    for per_column in [false, true] {
        let s =
            Sketch::new(&[4, 3]).weights("w", &[3, 2]).floats("each", &[2], &[0.1, 0.2]).signed("zeros", &[2], &[0, 3]);
        let (scale, zero) = if per_column { ("each", "zeros") } else { ("ws", "wz") };
        let s = s
            .node("DynamicQuantizeLinear", "x -> q qs qz", &[])
            .node("MatMulInteger", &format!("q w qz {zero} -> i"), &[])
            .node("Cast", "i -> f", &[("to", 1.into())])
            .node("Mul", &format!("qs {scale} -> both"), &[])
            .node("Mul", "f both -> y", &[]);
        check_first(&s.case("MatMulInteger"));
        assert_eq!(estimators(&s.model(), &[4, 3]), ["node \"the DynamicQuantizeLinear\" (DynamicQuantizeLinear)"]);
    }
    let s = Sketch::new(&[2, 5, 4]).weights("w", &[3, 2, 3, 2]);
    let s = s
        .node("DynamicQuantizeLinear", "x -> q qs qz", &[])
        .node("ConvInteger", "q w qz wz -> i", &[("pads", vec![1i64, 0, 1, 1].into())])
        .node("Cast", "i -> f", &[("to", 1.into())])
        .node("Mul", "qs ws -> both", &[])
        .node("Mul", "f both -> y", &[]);
    check_first(&s.case("ConvInteger"));
}

#[test]
fn bytes_that_become_numbers_by_a_cast() {
    let s = Sketch::new(&[2, 3]).float("one", 1.0).byte("none", 0).node("QuantizeLinear", "x one none -> q", &[]);
    let s =
        s.node("Transpose", "q -> p", &[("perm", vec![0i64, 2, 1].into())]).node("Cast", "p -> y", &[("to", 1.into())]);
    check_first(&s.case("bytes"));
    let zeroed = Sketch::new(&[3]).quantize().node("Cast", "q -> y", &[("to", 1.into())]);
    check_first(&zeroed.case("scale and zero point"));
}

#[test]
fn what_has_no_estimator_is_refused() {
    let refused = |sketch: Sketch, parts: &[&str]| check_refused(&sketch.case("refused"), parts);
    let image = || Sketch::new(&[2, 4, 4]).quantize();
    let last = [("channels_last", 1.into())];
    refused(
        image().node(".QLinearGlobalAveragePool", "q s z t u -> p", &last).end("p"),
        &["\"the QLinearGlobalAveragePool\" (QLinearGlobalAveragePool)", "channels_last"],
    );
    refused(
        image().node(".QLinearAdd", "q s z q t z t u -> p", &[]).end("p"),
        &["(QLinearAdd)", "another scale or zero point"],
    );
    let rounded = image().node("Cast", "q -> i", &[("to", 7.into())]).node("Cast", "i -> y", &[("to", 1.into())]);
    refused(rounded, &["\"i\" holds integers computed from the input by node \"the Cast\" (Cast)"]);
    let computed = Sketch::new(&[3]).node("ReduceMax", "x -> top", &[("keepdims", 0.into())]);
    let computed = computed.node("QuantizeLinear", "x top z -> q", &[]).node("DequantizeLinear", "q top z -> y", &[]);
    refused(computed, &["a scale that is computed from the model's input"]);
    let coarse = [("opset", 11.into()), ("axis", 1.into())];
    refused(image().node(".QLinearSoftmax", "q s z t u -> p", &coarse).end("p"), &["several axes"]);
}

#[test]
fn constants_are_dequantized_once_and_rounded_as_the_runtime_rounds() {
    let sketch = Sketch::new(&[3]).signed("w", &[3], &[-128, 7, 127]).float("fine", 0.1);
    let sketch = sketch.quantize().node(".QLinearMul", "q s z w fine wz t u -> p", &[]).end("p");
    let x = Array::floats(&[1, 3], vec![0.3; 3]);
    let source = probe(Canonical::new(sketch.model()).unwrap(), &[("x", x)]);
    let derived = vjp(&source, &["y".into()], &["x".into()]).unwrap();
    let folded = derived.model.graph.initializers.iter().find(|(name, _)| name.as_str() == "w/numbers").unwrap().1;
    assert_eq!(folded.to_f64().unwrap(), [-128.0f32, 7.0, 127.0].map(|q| f64::from(q * 0.1f32)));
    assert!(derived.model.graph.nodes.iter().all(|n| !n.operator.starts_with("QLinear")));
}
