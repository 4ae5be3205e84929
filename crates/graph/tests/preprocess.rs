//! Normalisation inside the model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::{Canonical, DataType, Dimension, Graph, Model, Node, Normalization, ValueInfo, preprocess};
use assay_reference::{Random, Values, compare, run};
use ndarray::Axis;

/// `y = |x|` on `[batch, dims..]`.
fn model(dtype: DataType, dims: &[usize]) -> Canonical {
    let mut graph = Graph::default();
    let batch = Dimension::Symbol("batch".into());
    let shape = std::iter::once(batch).chain(dims.iter().map(|&d| Dimension::Known(d))).collect();
    graph.inputs.push(ValueInfo::new("x", dtype, shape));
    graph.nodes.push(Node::new("Abs", vec![Some("x".into())], vec![Some("y".into())]));
    graph.outputs.push(ValueInfo::untyped("y".into()));
    Canonical::new(Model::new(17, graph)).unwrap()
}

fn normalization(axis: usize) -> Normalization {
    Normalization { mean: vec![0.5, 0.25, -1.0], std: vec![0.5, 2.0, 0.25], axis: Some(axis) }
}

#[test]
fn every_channel_has_its_own_scale() {
    for (axis, dims) in [(1, [3, 2, 2]), (3, [2, 2, 3])] {
        let derived = preprocess(&model(DataType::Float, &dims), &normalization(axis)).unwrap();
        assert_eq!(derived.graph.inputs[0].value.as_str(), "x");
        let x = Random::new(3).array(&[2, dims[0], dims[1], dims[2]], &Values::Uniform { low: 0.0, high: 1.0 });
        let mut expected = x.f64().clone();
        let Normalization { mean, std, .. } = normalization(axis);
        for ((mut channel, mean), std) in expected.axis_iter_mut(Axis(axis)).zip(mean).zip(std) {
            channel.mapv_inplace(|x| ((x - f64::from(mean)) / f64::from(std)).abs());
        }
        let values = run(&derived, &[("x", x)]).unwrap();
        compare("normalised", values["y"].f64(), &expected, 1e-12);
    }
}

#[test]
fn channels_are_found_where_the_shape_says() {
    for (found, dims) in
        [(1, vec![3, 8, 8]), (3, vec![8, 8, 3]), (1, vec![3, 8, 3]), (1, vec![8, 4]), (3, vec![8, 8, 1])]
    {
        let each = |axis| Normalization { mean: vec![0.5; dims[found - 1]], std: vec![0.25], axis };
        let model = model(DataType::Float, &dims);
        assert_eq!(preprocess(&model, &each(None)).unwrap(), preprocess(&model, &each(Some(found))).unwrap());
    }
}

#[test]
fn the_derived_model() {
    let one = Normalization { mean: vec![0.5], std: vec![0.25], axis: Some(1) };
    insta::assert_snapshot!(preprocess(&model(DataType::Double, &[3, 2, 2]), &one).unwrap());
}

#[test]
fn what_does_not_fit_is_refused() {
    let image = model(DataType::Float, &[3, 2, 2]);
    let refused = |normalization: Normalization, message: &str| {
        let error = preprocess(&image, &normalization).unwrap_err().to_string();
        assert!(error.starts_with("preprocess: ") && error.contains(message), "{error}");
    };
    refused(Normalization { mean: vec![0.5; 2], ..normalization(1) }, "2 values of mean for 3 channels");
    refused(normalization(2), "3 values of mean for 2 channels");
    refused(normalization(0), "channels in dimension 0");
    refused(normalization(4), "channels in dimension 4");
    refused(Normalization { std: vec![1.0, 0.0, 1.0], ..normalization(1) }, "std = 0");
    refused(Normalization { mean: vec![f32::NAN], ..normalization(1) }, "mean = NaN");
    let integers = model(DataType::Int32, &[3, 2, 2]);
    assert!(preprocess(&integers, &normalization(1)).unwrap_err().to_string().contains("not floating-point"));
}
