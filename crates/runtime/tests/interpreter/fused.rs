//! What ONNX Runtime's optimiser writes: the runtime on the fused operator, the interpreter on what it is taken apart into.

use assay_graph::{Attribute, Canonical, DataType, Dimension, Graph, Model, Node, Value, ValueInfo};
use assay_reference::{Array, Random, Values, compare, run};
use assay_runtime::{Engine, EngineOptions, Tensors};

use crate::{TOLERANCE, support, to_runtime};

/// One fused node: inputs of these shapes (`None`: absent), and the number of its outputs.
struct Fused {
    model: Model,
    dims: Vec<Option<Vec<usize>>>,
}

/// An operator of the runtime's own set; `SimplifiedLayerNormalization` is in the standard one.
fn fused(operator: &str, dims: &[Option<&[usize]>], outputs: usize, attributes: &[(&str, Attribute)]) -> Fused {
    one(operator, 17, dims, outputs, attributes)
}

fn one(
    operator: &str,
    opset: i64,
    dims: &[Option<&[usize]>],
    outputs: usize,
    attributes: &[(&str, Attribute)],
) -> Fused {
    let mut graph = Graph::default();
    let name = |i: usize| Value::new(format!("x{i}"));
    for (i, dims) in dims.iter().enumerate() {
        if let Some(dims) = dims {
            let shape = dims.iter().map(|&d| Dimension::Known(d)).collect();
            graph.inputs.push(ValueInfo::new(name(i), DataType::Float, shape));
        }
    }
    let inputs = dims.iter().enumerate().map(|(i, d)| d.map(|_| name(i))).collect();
    // Only the first and the last output are read.
    let read = |i: usize| i == 0 || i + 1 == outputs;
    let outputs: Vec<_> = (0..outputs).map(|i| read(i).then(|| Value::new(format!("y{i}")))).collect();
    for value in outputs.iter().flatten() {
        let mut info = ValueInfo::new(value.clone(), DataType::Float, Vec::new());
        info.shape = None;
        graph.outputs.push(info);
    }
    let mut node = Node::new(operator, inputs, outputs);
    node.name = "node".into();
    if opset == 17 && operator != "SimplifiedLayerNormalization" {
        node.domain = "com.microsoft".into();
    }
    node.attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    graph.nodes.push(node);
    let mut model = Model::new(opset, graph);
    model.opsets.insert("com.microsoft".into(), 1);
    Fused { model, dims: dims.iter().map(|d| d.map(<[usize]>::to_vec)).collect() }
}

impl Fused {
    #[track_caller]
    fn agrees(&self) {
        let name = &self.model.graph.nodes[0].operator;
        let canonical = Canonical::new(self.model.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(canonical.model().graph.nodes.iter().all(|n| n.domain.is_empty() && n.operator != *name), "{name}");
        let Some(runtime) = support::runtime() else { return };
        let mut random = Random::new(3);
        let inputs: Vec<(String, Array)> = (self.dims.iter().enumerate())
            .filter_map(|(i, dims)| Some((format!("x{i}"), random.array(dims.as_ref()?, &Values::uniform(-2.0, 2.0)))))
            .map(|(name, array)| (name, Array::from_tensor(&array.to_tensor()).unwrap()))
            .collect();
        let named: Vec<_> = inputs.iter().map(|(name, array)| (name.as_str(), array.clone())).collect();
        let expected = run(canonical.model(), &named).unwrap_or_else(|error| panic!("{name}: {error}"));
        let engine = Engine::start(&runtime, &self.model.to_bytes(), &EngineOptions::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let tensors: Tensors = inputs.iter().map(|(name, array)| (name.clone(), to_runtime(array))).collect();
        let found = engine.run(tensors).unwrap_or_else(|error| panic!("{name}: {error}"));
        for info in &self.model.graph.outputs {
            let assay_runtime::Array::Float(found) = &found[info.value.as_str()] else { panic!("{name}") };
            let what = format!("{name}: output \"{}\"", info.value);
            compare(&what, expected[&info.value].f64(), &found.mapv(f64::from), TOLERANCE);
        }
    }
}

#[test]
fn activations_behind_convolutions() {
    let x: &[usize] = &[2, 3, 5, 4];
    for (activation, parameters) in [
        ("Relu", None),
        ("Sigmoid", None),
        ("Tanh", None),
        ("LeakyRelu", Some(vec![0.2])),
        ("Clip", Some(vec![-0.5, 1.5])),
        ("HardSigmoid", Some(vec![0.3, 0.4])),
    ] {
        let mut attributes: Vec<(&str, Attribute)> =
            vec![("activation", activation.into()), ("pads", vec![1, 0, 1, 1].into()), ("strides", vec![2, 1].into())];
        attributes.extend(parameters.map(|p| ("activation_params", Attribute::Floats(p))));
        fused("FusedConv", &[Some(x), Some(&[4, 3, 3, 2]), Some(&[4])], 1, &attributes).agrees();
    }
    let sum = [Some(x), Some(&[4, 3, 1, 1][..]), Some(&[4]), Some(&[2, 4, 5, 4])];
    fused("FusedConv", &sum, 1, &[("activation", "Relu".into())]).agrees();
}

#[test]
fn products() {
    for (activation, alpha) in [("Relu", None), ("LeakyRelu", Some(0.1f32))] {
        let mut attributes: Vec<(&str, Attribute)> =
            vec![("activation", activation.into()), ("transB", 1.into()), ("alpha", 0.5f32.into())];
        attributes.extend(alpha.map(|a| ("activation_alpha", a.into())));
        fused("FusedGemm", &[Some(&[2, 3]), Some(&[4, 3]), Some(&[4])], 1, &attributes).agrees();
    }
    let flags = |a: i64, b: i64| [("transA", a.into()), ("transB", b.into()), ("alpha", 0.25f32.into())];
    fused("FusedMatMul", &[Some(&[2, 4, 3]), Some(&[2, 3, 5])], 1, &flags(0, 0)).agrees();
    fused("FusedMatMul", &[Some(&[2, 3, 4]), Some(&[2, 5, 3])], 1, &flags(1, 1)).agrees();
    fused("FusedMatMul", &[Some(&[2, 4, 3]), Some(&[5, 3])], 1, &flags(0, 1)).agrees();
}

#[test]
fn gates() {
    let x: Option<&[usize]> = Some(&[2, 3, 4]);
    fused("Gelu", &[x], 1, &[]).agrees();
    fused("BiasGelu", &[x, Some(&[4])], 1, &[]).agrees();
    fused("FastGelu", &[x], 1, &[]).agrees();
    fused("FastGelu", &[x, Some(&[4])], 1, &[]).agrees();
    fused("QuickGelu", &[x], 1, &[]).agrees();
    fused("QuickGelu", &[x], 1, &[("alpha", 0.8f32.into())]).agrees();
}

#[test]
fn normalisations() {
    let (x, vector): (Option<&[usize]>, Option<&[usize]>) = (Some(&[2, 3, 4]), Some(&[4]));
    let epsilon = [("epsilon", 0.01f32.into())];
    fused("SkipLayerNormalization", &[x, x, vector, vector], 1, &epsilon).agrees();
    fused("SkipLayerNormalization", &[x, x, vector, vector, vector], 4, &epsilon).agrees();
    fused("SkipLayerNormalization", &[x, x, vector], 1, &[]).agrees();
    fused("SimplifiedLayerNormalization", &[x, vector], 1, &epsilon).agrees();
    fused("SkipSimplifiedLayerNormalization", &[x, x, vector], 1, &epsilon).agrees();
    fused("SkipSimplifiedLayerNormalization", &[x, x, vector, vector], 4, &epsilon).agrees();
}

#[test]
fn what_is_not_taken_apart_is_named() {
    let batches = fused("FusedMatMul", &[Some(&[2, 4, 3]), Some(&[2, 3, 5])], 1, &[("transBatchA", 1.into())]);
    let error = Canonical::new(batches.model).unwrap_err().to_string();
    assert!(error.contains("(FusedMatMul)") && error.contains("transBatchA"), "{error}");
    let attributes = [("activation", "Erf".into())];
    let strange = fused("FusedConv", &[Some(&[1, 1, 3]), Some(&[1, 1, 1])], 1, &attributes);
    let error = Canonical::new(strange.model).unwrap_err().to_string();
    assert!(error.contains("activation \"Erf\""), "{error}");
}

#[test]
fn composite_operators_of_later_sets() {
    let rms = |dims: &[usize], axis: i64| {
        let attributes = [("axis", axis.into()), ("epsilon", 0.01f32.into())];
        one("RMSNormalization", 23, &[Some(&[2, 3, 4]), Some(dims)], 1, &attributes).agrees();
    };
    rms(&[4], -1);
    rms(&[3, 4], -2);
    rms(&[3, 4], 1);

    let images = |length: usize| [2, 3, length, 4];
    let (q, kv) = (images(5), images(6));
    let attention = |inputs: &[Option<&[usize]>], attributes: &[(&str, Attribute)]| {
        one("Attention", 23, inputs, 1, attributes).agrees();
    };
    attention(&[Some(&q), Some(&kv), Some(&kv)], &[]);
    attention(&[Some(&q), Some(&kv), Some(&kv)], &[("scale", 0.3f32.into())]);
    attention(&[Some(&q), Some(&kv), Some(&kv), Some(&[5, 6])], &[]);
    let heads = [("q_num_heads", 3.into()), ("kv_num_heads", 3.into())];
    attention(&[Some(&[2, 5, 12]), Some(&[2, 6, 12]), Some(&[2, 6, 12])], &heads);
    attention(&[Some(&q), Some(&q), Some(&q)], &[("is_causal", 1.into())]);
}
