//! Training steps: weights as inputs, their gradients against difference quotients of the interpreted step itself, and the
//! statistics of the batch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::{
    Attribute, BatchNorm, Canonical, DataType, Dimension, Graph, Loss, Model, Node, Shaped, Tensor, Training, Value,
    ValueInfo, Wrt, trainable, training, vjp, weights,
};
use assay_reference::{Array, Data, Random, Values, probe, run};
use ndarray::ArrayD;

/// A model from `x [batch, dims..]` to `z`, built node after node; weights are random.
struct Net {
    graph: Graph,
    dims: Vec<usize>,
    random: Random,
}

impl Net {
    fn new(dims: &[usize]) -> Self {
        let shape = std::iter::once(Dimension::Symbol("batch".into())).chain(dims.iter().map(|&d| Dimension::Known(d)));
        let mut graph = Graph::default();
        graph.inputs.push(ValueInfo::new("x", DataType::Float, shape.collect()));
        graph.outputs.push(ValueInfo::untyped("z".into()));
        Self { graph, dims: dims.to_vec(), random: Random::new(9) }
    }

    fn weight(mut self, name: &str, dims: &[usize], low: f64, high: f64) -> Self {
        let array = self.random.array(dims, &Values::uniform(low, high));
        self.graph.initializers.insert(name.into(), array.to_tensor());
        self
    }

    fn ints(mut self, name: &str, values: &[i64]) -> Self {
        self.graph.initializers.insert(name.into(), Tensor::ints(values));
        self
    }

    fn node(mut self, operator: &str, inputs: &str, output: &str, attributes: &[(&str, Attribute)]) -> Self {
        let inputs = inputs.split(' ').map(|i| (i != "_").then(|| i.into())).collect();
        let mut node = Node::new(operator, inputs, vec![Some(output.into())]);
        node.name = format!("the {output}");
        node.attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.graph.nodes.push(node);
        self
    }

    fn x(&self, batch: usize) -> Array {
        Random::new(batch as u64).array(&[&[batch], &self.dims[..]].concat(), &Values::uniform(-1.0, 1.0))
    }

    fn shaped(&self) -> Shaped {
        probe(Canonical::new(Model::new(18, self.graph.clone())).unwrap(), &[("x", self.x(2))])
    }

    /// Content of the weights, under their names.
    fn contents(&self, step: &Training) -> Vec<(String, Array)> {
        let content = |w: &Value| (w.to_string(), Array::from_tensor(&self.graph.initializers[w]).unwrap());
        step.weights.iter().map(|w| content(&w.value)).collect()
    }
}

fn all() -> Wrt {
    Wrt { weights: None, input: true }
}

fn evaluate(model: &Model, inputs: &[(String, Array)]) -> std::collections::HashMap<Value, Array> {
    let named: Vec<_> = inputs.iter().map(|(n, a)| (n.as_str(), a.clone())).collect();
    run(model, &named).unwrap()
}

/// The gradient of the sum of the losses by every weight and by the input, element by element.
#[track_caller]
fn check_training(net: &Net, batch_norm: BatchNorm) -> Training {
    let step = training(&net.shaped(), &Loss::CrossEntropy, &all(), batch_norm).unwrap();
    let batch = 4;
    let mut inputs = net.contents(&step);
    inputs.push(("x".into(), net.x(batch)));
    inputs.push((step.labels.to_string(), Array::ints(&[batch], vec![0, 2, 1, 1])));
    let values = evaluate(&step.model, &inputs);
    let gradients = step.weights.iter().map(|w| (&w.value, &w.gradient));
    let x: Value = "x".into();
    for (value, gradient) in gradients.chain(step.gradient.iter().map(|g| (&x, g))) {
        let slot = inputs.iter().position(|(n, _)| n == value.as_str()).unwrap();
        let original = inputs[slot].1.f64().clone();
        assert_eq!(values[gradient].dims(), original.shape(), "{value}");
        for (at, found) in values[gradient].f64().indexed_iter() {
            let mut loss = |step_size: f64| {
                let mut moved: ArrayD<f64> = original.clone();
                moved[&at] += step_size;
                inputs[slot].1.data = Data::Float(moved);
                evaluate(&step.model, &inputs)[&step.loss].f64().sum()
            };
            let quotient = (loss(1e-6) - loss(-1e-6)) / 2e-6;
            assert!(
                (found - quotient).abs() < 1e-6 * quotient.abs().max(1.0),
                "{value}{at:?}: {found}, not {quotient}"
            );
        }
        inputs[slot].1.data = Data::Float(original);
    }
    step
}

fn names(step: &Training) -> Vec<&str> {
    step.weights.iter().map(|w| w.value.as_str()).collect()
}

/// Convolution, normalisation and a pool, as classifiers have them.
fn convolutional() -> Net {
    Net::new(&[2, 5, 4])
        .weight("conv.w", &[4, 1, 3, 2], -1.0, 1.0)
        .weight("conv.b", &[4], -1.0, 1.0)
        .weight("bn.scale", &[4], 0.5, 1.5)
        .weight("bn.bias", &[4], -0.5, 0.5)
        .weight("bn.mean", &[4], -0.5, 0.5)
        .weight("bn.var", &[4], 0.5, 1.5)
        .weight("slope", &[4, 1, 1], 0.1, 0.3)
        .weight("up.w", &[4, 2, 2, 2], -1.0, 1.0)
        .weight("fc.w", &[3, 2], -1.0, 1.0)
        .weight("fc.b", &[3], -1.0, 1.0)
        .node(
            "Conv",
            "x conv.w conv.b",
            "a",
            &[("group", 2.into()), ("pads", vec![1, 0, 1, 1].into()), ("strides", vec![2, 1].into())],
        )
        .node("BatchNormalization", "a bn.scale bn.bias bn.mean bn.var", "b", &[("epsilon", 0.01.into())])
        .node("PRelu", "b slope", "c", &[])
        .node("ConvTranspose", "c up.w", "d", &[("strides", vec![1, 2].into())])
        .node("GlobalAveragePool", "d", "e", &[])
        .node("Flatten", "e", "f", &[])
        .node("Gemm", "f fc.w fc.b", "z", &[("transB", 1.into())])
}

#[test]
fn batch_normalization_with_the_statistics_of_the_batch() {
    let net = convolutional();
    let step = check_training(&net, BatchNorm::OfBatch);
    assert_eq!(
        names(&step),
        ["conv.w", "conv.b", "bn.scale", "bn.bias", "slope", "up.w", "fc.w", "fc.b"],
        "all but the running statistics"
    );
    let [statistics] = &step.statistics[..] else { panic!("{:?}", step.statistics) };
    assert_eq!((statistics.running_mean.as_str(), statistics.running_variance.as_str()), ("bn.mean", "bn.var"));
    assert_eq!(statistics.elements, 3 * 4);

    // The statistics are those of what goes into the layer.
    let mut inputs = net.contents(&step);
    inputs.push(("x".into(), net.x(4)));
    inputs.push((step.labels.to_string(), Array::ints(&[4], vec![0, 2, 1, 1])));
    let values = evaluate(&step.model, &inputs);
    let a = values[&Value::from("a")].f64();
    for channel in 0..4 {
        let of: Vec<f64> = a.indexed_iter().filter(|(at, _)| at[1] == channel).map(|(_, &v)| v).collect();
        assert_eq!(of.len(), 4 * statistics.elements);
        let mean = of.iter().sum::<f64>() / of.len() as f64;
        let variance = of.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / of.len() as f64;
        assert!((values[&statistics.mean].f64()[[channel]] - mean).abs() < 1e-12);
        assert!((values[&statistics.variance].f64()[[channel]] - variance).abs() < 1e-12);
    }
}

#[test]
fn frozen_batch_normalization() {
    let step = check_training(&convolutional(), BatchNorm::Running);
    assert!(step.statistics.is_empty());
    assert!(names(&step).contains(&"bn.scale"));
}

#[test]
fn batch_normalization_without_spatial_axes() {
    let net = Net::new(&[3])
        .weight("scale", &[3], 0.5, 1.5)
        .weight("bias", &[3], -0.5, 0.5)
        .weight("mean", &[3], -0.5, 0.5)
        .weight("var", &[3], 0.5, 1.5)
        .node("BatchNormalization", "x scale bias mean var", "z", &[]);
    assert_eq!(check_training(&net, BatchNorm::OfBatch).statistics[0].elements, 1);
}

/// The statistics have derivatives too: a penalty on them, or a second derivative, needs those.
#[test]
fn derivatives_of_the_statistics_of_a_batch() {
    let net = convolutional();
    let prepared = trainable(&net.shaped(), &["conv.w".into()], BatchNorm::OfBatch).unwrap();
    let outputs = [prepared.statistics[0].mean.clone(), prepared.statistics[0].variance.clone()];
    let derived = vjp(&prepared.model, &outputs, &["conv.w".into()]).unwrap();
    let w = Array::from_tensor(&net.graph.initializers[&Value::from("conv.w")]).unwrap();
    let seeds = [1.0, -0.5, 2.0, 0.25];
    let at = |w: Array| {
        let mut inputs = vec![("x".to_owned(), net.x(3)), ("conv.w".to_owned(), w)];
        for cotangent in &derived.cotangents {
            inputs.push((cotangent.to_string(), Array::floats(&[4], seeds.to_vec())));
        }
        evaluate(&derived.model, &inputs)
    };
    let found = at(w.clone())[&derived.products[0]].f64().clone();
    for (position, found) in found.indexed_iter() {
        let objective = |step: f64| -> f64 {
            let mut moved = w.clone();
            if let Data::Float(data) = &mut moved.data {
                data[&position] += step;
            }
            let values = at(moved);
            outputs.iter().map(|o| values[o].f64().iter().zip(seeds).map(|(v, s)| v * s).sum::<f64>()).sum()
        };
        let quotient = (objective(1e-6) - objective(-1e-6)) / 2e-6;
        assert!((found - quotient).abs() < 1e-6, "{position:?}: {found}, not {quotient}");
    }
}

/// A layer of a transformer: projections, attention by equation and by products, normalisation, a table of positions.
#[test]
fn attention_and_layer_normalization() {
    let net = Net::new(&[4, 6])
        .weight("table", &[4, 6], -1.0, 1.0)
        .ints("order", &[3, 0, 2, 2])
        .weight("ln.scale", &[6], 0.5, 1.5)
        .weight("ln.bias", &[6], -0.5, 0.5)
        .weight("q", &[6, 6], -1.0, 1.0)
        .weight("k", &[6, 6], -1.0, 1.0)
        .weight("gamma", &[6], 0.5, 1.0)
        .weight("head", &[6, 3], -1.0, 1.0)
        .weight("in.scale", &[4], 0.5, 1.5)
        .weight("in.bias", &[4], -0.5, 0.5)
        .ints("axis", &[1])
        .node("Gather", "table order", "positions", &[])
        .node("Add", "x positions", "a", &[])
        .node("LayerNormalization", "a ln.scale ln.bias", "b", &[])
        .node("MatMul", "b q", "queries", &[])
        .node("Einsum", "b k", "keys", &[("equation", "ntd,de->nte".into())])
        .node("Einsum", "queries keys", "scores", &[("equation", "nqd,nkd->nqk".into())])
        .node("Softmax", "scores", "p", &[])
        .node("MatMul", "p b", "mixed", &[])
        .node("Mul", "mixed gamma", "scaled", &[])
        .node("InstanceNormalization", "scaled in.scale in.bias", "normal", &[])
        .node("Add", "normal x", "sum", &[])
        .node("ReduceMax", "sum axis", "pooled", &[("keepdims", 0.into())])
        .node("MatMul", "pooled head", "z", &[]);
    let step = check_training(&net, BatchNorm::OfBatch);
    assert_eq!(step.weights.len(), 9);
    assert!(step.statistics.is_empty());
}

#[test]
fn a_weight_that_is_read_twice_has_one_gradient() {
    let net =
        Net::new(&[3]).weight("w", &[3, 3], -1.0, 1.0).node("MatMul", "x w", "a", &[]).node("Tanh", "a", "b", &[]);
    let step = check_training(&net.node("MatMul", "b w", "z", &[]), BatchNorm::OfBatch);
    assert_eq!(names(&step), ["w"]);
}

/// PyTorch's exporter writes weights that start out equal as copies of one.
#[test]
fn copies_are_weights_of_their_own() {
    let mut net = Net::new(&[3])
        .weight("w", &[3, 3], -1.0, 1.0)
        .node("Identity", "w", "v", &[])
        .node("MatMul", "x w", "a", &[])
        .node("Tanh", "a", "b", &[])
        .node("MatMul", "b v", "z", &[]);
    let copy = net.graph.initializers[&Value::from("w")].clone();
    let source = net.shaped();
    net.graph.initializers.insert("v".into(), copy);
    let step = training(&source, &Loss::CrossEntropy, &all(), BatchNorm::OfBatch).unwrap();
    assert_eq!(names(&step), ["w", "v"]);
    let mut inputs = net.contents(&step);
    inputs.push(("x".into(), net.x(1)));
    inputs.push((step.labels.to_string(), Array::ints(&[1], vec![0])));
    let values = evaluate(&step.model, &inputs);
    assert_ne!(values[&step.weights[0].gradient], values[&step.weights[1].gradient]);
}

#[test]
fn what_is_no_weight() {
    let net = Net::new(&[3])
        .weight("w", &[3, 3], -1.0, 1.0)
        .weight("number", &[], -1.0, 1.0)
        .weight("low", &[1], -9.0, -8.0)
        .weight("threshold", &[3], -1.0, 1.0)
        .node("Mul", "x number", "a", &[])
        .node("Clip", "a low", "b", &[])
        .node("Greater", "b threshold", "above", &[])
        .node("Cast", "above", "mask", &[("to", 1.into())])
        .node("Mul", "b mask", "masked", &[])
        .node("MatMul", "masked w", "z", &[]);
    let source = net.shaped();
    assert_eq!(weights(&source), [Value::from("w"), "threshold".into()]);
    let step =
        training(&source, &Loss::CrossEntropy, &Wrt { weights: None, input: false }, BatchNorm::OfBatch).unwrap();
    assert_eq!(names(&step), ["w"]);
    assert!(step.gradient.is_none());

    let refused = |weight: &str| {
        let wrt = Wrt { weights: Some(vec![weight.into()]), input: false };
        training(&source, &Loss::CrossEntropy, &wrt, BatchNorm::OfBatch).unwrap_err().to_string()
    };
    assert!(refused("nothing").contains("\"nothing\" is no floating-point initializer"), "{}", refused("nothing"));
    assert!(
        refused("threshold").contains("no differentiable path leads from \"threshold\""),
        "{}",
        refused("threshold")
    );
    let number = Wrt { weights: Some(vec!["number".into()]), input: false };
    assert!(training(&source, &Loss::CrossEntropy, &number, BatchNorm::OfBatch).is_ok(), "a choice is a choice");
}

/// The sum over a batch is that over its parts.
#[test]
fn parts_of_a_batch_add_up() {
    let net = convolutional();
    let step = training(&net.shaped(), &Loss::CrossEntropy, &all(), BatchNorm::Running).unwrap();
    let labels = [0, 2, 1, 1];
    let x = net.x(4);
    let gradient = |from: usize, to: usize| {
        let part = x.f64().slice_axis(ndarray::Axis(0), (from..to).into()).to_owned();
        let mut inputs = net.contents(&step);
        inputs.push(("x".into(), Array::of(DataType::Float, Data::Float(part))));
        inputs.push((step.labels.to_string(), Array::ints(&[to - from], labels[from..to].to_vec())));
        evaluate(&step.model, &inputs)[&step.weights[0].gradient].f64().clone()
    };
    let difference = gradient(0, 4) - gradient(0, 1) - gradient(1, 4);
    assert!(difference.iter().all(|d| d.abs() < 1e-12), "{difference}");
}
