//! Assay's own kernels against the same derivatives in standard operators, which the interpreter computes in f64.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use assay_graph::{
    Attribute, BatchNorm, Canonical, DataType, Dimension, Graph, KERNELS, Lowering, Model, Node, Shaped, Value,
    ValueInfo, Vjp, trainable, vjp,
};
use assay_reference::{Array, Random, Values, probe, relative_error, run};
use assay_runtime::{ArrayRef, EngineOptions, OnnxRuntime, Program};
use ndarray::ArrayD;

/// One operator from `x` to `y`, with weights.
fn net(x: &[usize], weights: &[(&str, &[usize])], operator: &str, attributes: &[(&str, Attribute)]) -> Shaped {
    let mut graph = Graph::default();
    let dims = std::iter::once(Dimension::Symbol("batch".into())).chain(x.iter().map(|&d| Dimension::Known(d)));
    graph.inputs.push(ValueInfo::new("x", DataType::Float, dims.collect()));
    graph.outputs.push(ValueInfo::untyped("y".into()));
    let mut random = Random::new(3);
    for (name, dims) in weights {
        graph.initializers.insert((*name).into(), random.array(dims, &Values::uniform(0.5, 1.5)).to_tensor());
    }
    let inputs = std::iter::once("x").chain(weights.iter().map(|w| w.0)).map(|name| Some(name.into())).collect();
    let mut node = Node::new(operator, inputs, vec![Some("y".into())]);
    node.attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    graph.nodes.push(node);
    probe(Canonical::new(Model::new(18, graph)).unwrap(), &[("x", sample(x, 2))])
}

fn sample(x: &[usize], batch: usize) -> Array {
    Random::new(5).array(&[&[batch], x].concat(), &Values::uniform(-1.0, 1.0))
}

/// `y` and the products by `by`, for `batch` samples: those of the kernels, and those of the interpreter.
fn products(runtime: &OnnxRuntime, net: &Shaped, by: &[&str], x: &[usize], batch: usize) -> Vec<[ArrayD<f64>; 2]> {
    let by: Vec<Value> = by.iter().map(|&name| name.into()).collect();
    let weights: Vec<Value> = net.model().graph.initializers.keys().take(2).cloned().collect();
    let derive = |lowering: Lowering| -> Vjp {
        let prepared = trainable(&net.clone().lowered_for(lowering), &weights, BatchNorm::OfBatch).unwrap();
        vjp(&prepared.model, &["y".into()], &by).unwrap()
    };
    let (kernels, plain) = (derive(Lowering::CpuKernels), derive(Lowering::Cpu));
    let of_kernels: Vec<&Node> = kernels.model.graph.nodes.iter().filter(|n| n.domain == KERNELS).collect();
    assert!(!of_kernels.is_empty(), "no kernel");
    if let [_, _, _, _] = net.model().graph.initializers[0].dims()
        && let "Conv" = net.model().graph.nodes[0].operator.as_str()
    {
        let depthwise = net.model().graph.initializers[0].dims()[1] == 1;
        assert_eq!(of_kernels.len(), if depthwise { 1 } else { 3 }, "the convolution and both gradients");
    }
    assert!(plain.model.graph.nodes.iter().all(|n| n.domain.is_empty()));

    let mut inputs = vec![("x".to_owned(), sample(x, batch))];
    let content = |w: &Value| Array::from_tensor(&net.model().graph.initializers[w]).unwrap();
    inputs.extend(weights.iter().map(|w| (w.to_string(), content(w))));
    let named: Vec<_> = inputs.iter().map(|(n, a)| (n.as_str(), a.clone())).collect();
    let y = run(net.model(), &named[..1]).unwrap()[&Value::from("y")].dims().to_vec();
    let cotangent = Random::new(6).array(&y, &Values::uniform(-1.0, 1.0));
    inputs.push((kernels.cotangents[0].to_string(), cotangent));

    let named: Vec<_> = inputs.iter().map(|(n, a)| (n.as_str(), a.clone())).collect();
    let expected = run(&plain.model, &named).unwrap();
    let narrow: Vec<(&str, ArrayD<f32>)> =
        inputs.iter().map(|(n, a)| (n.as_str(), a.f64().mapv(|v| v as f32))).collect();
    let mut program = Program::open(runtime, &kernels.model, &EngineOptions::default()).unwrap();
    let found = program.run(narrow.iter().map(|(n, a)| (*n, ArrayRef::Float(a)))).unwrap();
    let y = Value::from("y");
    let pairs = std::iter::once((&y, &y)).chain(kernels.products.iter().zip(&plain.products));
    pairs
        .map(|(of_kernels, plain)| {
            let assay_runtime::Array::Float(found) = &found[of_kernels.as_str()] else { panic!() };
            [found.mapv(f64::from), expected[plain].f64().clone()]
        })
        .collect()
}

#[track_caller]
fn check(products: Vec<[ArrayD<f64>; 2]>, what: &str) {
    for [found, expected] in products {
        assert_eq!(found.shape(), expected.shape(), "{what}");
        let error = relative_error(&found, &expected);
        // One number alone may be a small difference of large ones.
        let allowed = if found.len() == 1 { 2e-5 } else { 2e-6 };
        assert!(error < allowed, "{what}: {error:e}");
    }
}

#[test]
fn convolutions_and_their_gradients_by_their_kernels() {
    let Some(runtime) = support::runtime() else { return };
    let mut cases = 0;
    for (channels, outputs, group) in [(3, 5, 1), (4, 6, 2), (6, 6, 6), (4, 8, 4), (40, 3, 1), (1, 1, 1), (70, 36, 2)] {
        for (kernel, pads) in
            [([3, 3], [1, 1, 1, 1]), ([1, 1], [0, 0, 0, 0]), ([3, 2], [0, 1, 2, 0]), ([5, 4], [4, 3, 0, 2])]
        {
            for (strides, dilations) in [([1, 1], [1, 1]), ([2, 3], [1, 1]), ([1, 2], [2, 1]), ([3, 1], [1, 3])] {
                for map in [[9, 8], [4, 13], [31, 5]] {
                    let extent = |axis: usize| dilations[axis] * (kernel[axis] - 1) + 1;
                    let reach = |axis: usize| map[axis] + pads[axis] + pads[axis + 2];
                    if (0..2).any(|axis| extent(axis) > reach(axis)) {
                        continue;
                    }
                    let x = [channels, map[0], map[1]];
                    let ints = |values: &[usize]| Attribute::from(values.iter().map(|&v| v as i64).collect::<Vec<_>>());
                    let attributes = [
                        ("group", (group as i64).into()),
                        ("pads", ints(&pads)),
                        ("strides", ints(&strides)),
                        ("dilations", ints(&dilations)),
                    ];
                    let w = [outputs, channels / group, kernel[0], kernel[1]];
                    let net = net(&x, &[("w", &w)], "Conv", &attributes);
                    let what = format!("{x:?} {w:?} {group} {pads:?} {strides:?} {dilations:?}");
                    check(products(&runtime, &net, &["x", "w"], &x, 3), &what);
                    cases += 1;
                }
            }
        }
    }
    assert!(cases > 150, "{cases}");
}

#[test]
fn gradients_of_transposed_convolutions_by_their_kernels() {
    let Some(runtime) = support::runtime() else { return };
    let attributes = [("strides", vec![2, 1].into()), ("pads", vec![1, 0, 1, 2].into())];
    let net = net(&[4, 6, 5], &[("w", &[4, 3, 3, 4])], "ConvTranspose", &attributes);
    check(products(&runtime, &net, &["w"], &[4, 6, 5], 3), "ConvTranspose");
}

/// More windows, channels and taps than one product holds.
#[test]
fn what_is_too_large_for_one_product_is_added_up() {
    let Some(runtime) = support::runtime() else { return };
    let attributes = [("pads", vec![1, 1, 1, 1].into())];
    let net = net(&[70, 33, 33], &[("w", &[9, 70, 3, 3])], "Conv", &attributes);
    check(products(&runtime, &net, &["x", "w"], &[70, 33, 33], 2), "large");
}

#[test]
fn gradients_of_batch_normalization_with_the_statistics_of_the_batch() {
    let Some(runtime) = support::runtime() else { return };
    for x in [vec![3], vec![5, 7], vec![4, 9, 33], vec![2, 3, 4, 5]] {
        let c: &[usize] = &x[..1];
        let weights = [("scale", c), ("bias", c), ("mean", c), ("variance", c)];
        let net = net(&x, &weights, "BatchNormalization", &[("epsilon", 0.01.into())]);
        check(products(&runtime, &net, &["x", "scale", "bias"], &x, 4), &format!("{x:?}"));
    }
}

/// The same bits, however many threads share the work.
#[test]
fn the_number_of_threads_changes_nothing() {
    let Some(runtime) = support::runtime() else { return };
    let x = [24, 16, 16];
    let net = net(&x, &[("w", &[16, 24, 3, 3])], "Conv", &[("pads", vec![1, 1, 1, 1].into())]);
    let prepared = trainable(&net.lowered_for(Lowering::CpuKernels), &["w".into()], BatchNorm::OfBatch).unwrap();
    let derived = vjp(&prepared.model, &["y".into()], &["x".into(), "w".into()]).unwrap();
    let numbers =
        |dims: &[usize], seed| Random::new(seed).array(dims, &Values::uniform(-1.0, 1.0)).f64().mapv(|v| v as f32);
    let inputs = [
        ("x", numbers(&[5, 24, 16, 16], 1)),
        ("w", numbers(&[16, 24, 3, 3], 2)),
        (derived.cotangents[0].as_str(), numbers(&[5, 16, 16, 16], 3)),
    ];
    let mut all = [1, 2, 3].map(|threads: usize| {
        let options = EngineOptions { intra_threads: threads.try_into().ok(), ..EngineOptions::default() };
        let mut program = Program::open(&runtime, &derived.model, &options).unwrap();
        program.run(inputs.iter().map(|(n, a)| (*n, ArrayRef::Float(a)))).unwrap()
    });
    let first = all[0].clone();
    assert!(all.iter_mut().all(|found| *found == first));
}
