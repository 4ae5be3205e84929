//! Quantization and the operators on quantized numbers.

use assay_graph::{Attribute, DataType};
use assay_reference::Sketch;

use super::agree;

/// Between `q` (scale `s`, zero point `z`) and `p` (scale `t`, zero point `u`).
fn check(dims: &[usize], build: impl FnOnce(Sketch) -> Sketch) {
    let sketch = build(Sketch::new(dims).quantize()).end("p");
    let name = sketch.model().graph.nodes[1].operator.clone();
    agree(&sketch.case(&name));
}

#[test]
fn pairs() {
    agree(&Sketch::new(&[3]).quantize().node("DequantizeLinear", "q s z -> y", &[]).case("pair"));
    for (dtype, zero) in [(DataType::Int8, -7), (DataType::Uint16, 32_000), (DataType::Int16, -900)] {
        let axis = [("axis", 1.into())];
        let each = Sketch::new(&[3, 2])
            .floats("scales", &[3], &[0.25, 0.1, 0.01])
            .integers("zeros", dtype, &[3], &[zero, zero + 3, zero - 2])
            .node(".QuantizeLinear", "x scales zeros -> q", &axis)
            .node(".DequantizeLinear", "q scales zeros -> y", &axis);
        agree(&each.case("along an axis"));
    }
    let dynamic = Sketch::new(&[4, 3]).node("DynamicQuantizeLinear", "x -> q qs qz", &[]);
    agree(&dynamic.node("DequantizeLinear", "q qs qz -> y", &[]).case("dynamic"));
}

#[test]
fn operators_with_scales() {
    let each = |s: Sketch, n: usize| {
        s.floats("each", &[n], &[0.1, 0.2, 0.05][..n]).integers("zeros", DataType::Int8, &[n], &vec![0; n])
    };
    let padded = [("pads", vec![1i64, 0, 1, 1].into()), ("strides", vec![2i64, 1].into())];
    check(&[2, 5, 4], |s| {
        each(s.weights("w", &[3, 2, 3, 2]), 3).integers("bias", DataType::Int32, &[3], &[500, -200, 30]).node(
            "QLinearConv",
            "q s z w each zeros t u bias -> p",
            &padded,
        )
    });
    check(&[3], |s| s.weights("w", &[3, 2]).node("QLinearMatMul", "q s z w ws wz t u -> p", &[]));
    let set = [("transB", 1.into()), ("alpha", 0.5.into())];
    check(&[3], |s| {
        each(s.weights("w", &[2, 3]), 2).integers("bias", DataType::Int32, &[2], &[400, -700]).node(
            ".QGemm",
            "q s z w each zeros bias t u -> p",
            &set,
        )
    });
    for operator in [".QLinearAdd", ".QLinearMul"] {
        check(&[2, 3], |s| s.node(operator, "q s z q s z t u -> p", &[]));
    }
    check(&[6], |s| s.node(".QLinearLeakyRelu", "q s z t u -> p", &[("alpha", 0.2.into())]));
    let window = [("kernel_shape", vec![2i64, 3].into()), ("pads", vec![0i64, 1, 1, 0].into())];
    check(&[2, 4, 5], |s| s.node(".QLinearAveragePool", "q s z t u -> p", &window));
    check(&[2, 4, 5], |s| s.node(".QLinearGlobalAveragePool", "q s z t u -> p", &[]));
    let concat = [("axis", 1.into())];
    check(&[2, 3], |s| s.node(".QLinearConcat", "t u q s z q s z -> p", &concat));
    for (operator, set) in
        [(".QLinearSigmoid", vec![]), (".QLinearSoftmax", vec![("opset", Attribute::from(13)), ("axis", (-1).into())])]
    {
        let fine = Sketch::new(&[4]).quantize().float("fine", 1.0 / 256.0).byte("none", 0);
        let fine = fine.node(operator, "q s z fine none -> p", &set);
        agree(&fine.node("DequantizeLinear", "p fine none -> y", &[]).case(operator));
    }
}

#[test]
fn products_of_integers() {
    let s = Sketch::new(&[4, 3]).weights("w", &[3, 2]).node("DynamicQuantizeLinear", "x -> q qs qz", &[]);
    let s = s.node("MatMulInteger", "q w qz wz -> i", &[]).node("Cast", "i -> f", &[("to", 1.into())]);
    agree(&s.node("Mul", "f qs -> y", &[]).case("MatMulInteger"));
    let s = Sketch::new(&[2, 5, 4]).weights("w", &[3, 2, 3, 2]).node("DynamicQuantizeLinear", "x -> q qs qz", &[]);
    let s = s.node("ConvInteger", "q w qz wz -> i", &[("pads", vec![1i64, 0, 1, 1].into())]);
    agree(&s.node("Cast", "i -> f", &[("to", 1.into())]).node("Mul", "f qs -> y", &[]).case("ConvInteger"));
}
