//! The nets of the literature: their sizes, their costs, and that they compute something.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::{
    Canonical, DataType, Dim, Dimension, Facts, Model, Normalization, Shaped, Shapes, ValueInfo, inspect,
};
use assay_harden::{Task, architecture};
use assay_reference::{Array, run};

const CIFAR: Task = Task { channels: 3, height: 32, width: 32, classes: 10, normalization: None };

fn model(name: &str, strides: Option<&str>, task: &Task) -> Model {
    let net = architecture(name).unwrap();
    let net = strides.map_or_else(|| architecture(name), |strides| net.with_strides(strides)).unwrap();
    net.model(task, 1).unwrap()
}

/// Elements of what is trained: all initializers but running statistics and the bounds of clips.
fn parameters(model: &Model) -> usize {
    let trained = model
        .graph
        .initializers
        .iter()
        .filter(|(name, tensor)| !name.as_str().contains(".running_") && !tensor.dims().is_empty());
    trained.map(|(_, tensor)| tensor.len()).sum()
}

/// The model with the shapes that it states.
fn shaped(model: Model) -> Shaped {
    let graph = &model.graph;
    let size = |dimension: &Dimension| match dimension {
        Dimension::Known(size) => Dim::Fixed(*size),
        _ => Dim::Batch(1),
    };
    let facts = |info: &ValueInfo| {
        let dims = info.shape.iter().flatten().map(size).collect();
        (info.value.clone(), Facts { dtype: DataType::Float, dims, constant: None })
    };
    let stated = graph.inputs.iter().chain(&graph.value_info).chain(&graph.outputs).map(facts).collect();
    Shaped::new(Canonical::new(model).unwrap(), Shapes(stated)).unwrap()
}

/// Rows of the map that is averaged.
fn side_before_pooling(model: &Model) -> usize {
    let pool = model.graph.nodes.iter().find(|node| node.operator == "GlobalAveragePool").unwrap();
    let value = pool.inputs[0].as_ref().unwrap();
    let info = model.graph.value_info.iter().find(|info| info.value == *value).unwrap();
    match info.shape.as_deref().unwrap() {
        [_, _, Dimension::Known(height), Dimension::Known(width)] if height == width => *height,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nets_have_as_many_parameters_as_pytorch_s() {
    for (name, expected) in [
        ("resnet-8", 78_042),
        ("resnet-20", 272_474),
        ("resnet-32", 466_906),
        ("resnet-56", 855_770),
        ("resnet-18", 11_173_962),
        ("resnet-34", 21_282_122),
        ("preactresnet-18", 11_172_170),
        ("wrn-28-4", 5_849_050),
        ("wrn-28-10", 36_479_194),
        ("vgg-16-bn", 14_918_602),
        ("alexnet", 2_850_634),
        ("mobilenet-v2", 2_236_682),
        ("cnn-16-32-64", 24_346),
    ] {
        assert_eq!(parameters(&model(name, None, &CIFAR)), expected, "{name}");
    }
}

/// Sizes and multiply-accumulates that follow from the code of RCM (Xu et al., 2022).
#[test]
fn strides_and_sizes_have_their_maps_and_their_costs() {
    for (name, side, strides, map, gmacs) in [
        ("resnet-18", 32, "1222", 4, 0.555),
        ("resnet-18", 32, "1122", 8, 1.763),
        ("resnet-18", 64, "1222", 8, 2.222),
        ("preactresnet-18", 32, "1122", 8, 1.763),
        ("vgg-16-bn", 32, "22222", 1, 0.313),
        ("vgg-16-bn", 32, "11222", 4, 3.739),
        ("vgg-16-bn", 64, "22222", 2, 1.253),
        ("alexnet", 32, "2222", 2, 0.0555),
        ("alexnet", 32, "1122", 7, 0.782),
        ("alexnet", 64, "2222", 4, 0.221),
        ("wrn-28-10", 32, "122", 8, 5.24),
        ("wrn-28-10", 32, "112", 16, 15.94),
        ("wrn-28-10", 64, "122", 16, 20.97),
    ] {
        let task = Task { height: side, width: side, ..CIFAR };
        let model = model(name, Some(strides), &task);
        assert_eq!(side_before_pooling(&model), map, "{name} {strides} at {side}");
        let found = inspect(&shaped(model)).macs as f64 / 1e9;
        let half = if gmacs < 4.0 { 0.0005 } else { 0.005 };
        assert!((found - gmacs).abs() <= half * 1.001, "{name} {strides} at {side}: {found}, expected {gmacs}");
    }
}

/// Images `[n, channels, side, side]` of values in [0, 1].
fn images(n: usize, channels: usize, side: usize) -> Array {
    let values = (0..n * channels * side * side).map(|i| (i * 37 % 101) as f64 / 101.0).collect();
    Array::floats(&[n, channels, side, side], values)
}

fn logits(model: &Model, images: Array) -> Vec<f64> {
    let values = run(model, &[("x", images)]).unwrap();
    values["logits"].f64().iter().copied().collect()
}

#[test]
fn every_net_gives_finite_logits_that_differ_between_images() {
    for (name, strides) in [
        ("resnet-8", "122"),
        ("resnet-20", "112"),
        ("resnet-18", "1222"),
        ("preactresnet-18", "1222"),
        ("wrn-10-2", "122"),
        ("vgg-16-bn", "22211"),
        ("alexnet", "1211"),
        ("mobilenet-v2", "11122121"),
        ("cnn-4-8", "12"),
    ] {
        let task = Task { channels: 1, height: 8, width: 8, classes: 3, normalization: None };
        let model = model(name, Some(strides), &task);
        let found = logits(&model, images(2, 1, 8));
        assert!(found.len() == 6 && found.iter().all(|v| v.is_finite()), "{name}: {found:?}");
        assert!((0..3).all(|class| found[class] != found[3 + class]), "{name}: {found:?}");
    }
}

#[test]
fn values_have_the_shapes_that_the_model_states() {
    let task = Task { channels: 1, height: 9, width: 9, ..CIFAR };
    for (name, strides) in [("alexnet", "1212"), ("resnet-8", "132"), ("mobilenet-v2", "21122121")] {
        let model = model(name, Some(strides), &task);
        let values = run(&model, &[("x", images(2, 1, 9))]).unwrap();
        for info in model.graph.value_info.iter().chain(&model.graph.outputs) {
            let stated: Vec<usize> = info
                .shape
                .as_ref()
                .unwrap()
                .iter()
                .map(|dimension| match dimension {
                    Dimension::Known(size) => *size,
                    _ => 2,
                })
                .collect();
            assert_eq!(values[&info.value].dims(), stated, "{name}: {}", info.value);
        }
    }
}

#[test]
fn pixels_are_normalised_inside_the_model() {
    let plain = Task { channels: 1, height: 4, width: 4, classes: 2, normalization: None };
    let normalization = Normalization { mean: vec![0.25], std: vec![0.5], axis: Some(1) };
    let inside = Task { normalization: Some(normalization), ..plain };
    let x = images(2, 1, 4);
    let normalised = Array::floats(&[2, 1, 4, 4], x.f64().iter().map(|v| (v - 0.25) / 0.5).collect());
    assert_eq!(logits(&model("cnn-4-8", None, &inside), x), logits(&model("cnn-4-8", None, &plain), normalised));
    let wrong = Normalization { mean: vec![0.25; 3], std: vec![0.5; 3], axis: Some(1) };
    let task = Task { normalization: Some(wrong), ..plain };
    let error = architecture("cnn-4-8").unwrap().model(&task, 0).unwrap_err().to_string();
    assert!(error.contains("3 values of mean for 1 channels"), "{error}");
}

#[test]
fn the_seed_decides_every_byte() {
    let of = |seed| architecture("resnet-8").unwrap().model(&CIFAR, seed).unwrap().to_bytes();
    assert_eq!(of(3), of(3));
    assert_ne!(of(3), of(4));
}

#[test]
fn weights_are_named_and_shaped_as_in_pytorch() {
    for (name, weight, dims) in [
        ("resnet-20", "conv1.weight", &[16, 3, 3, 3][..]),
        ("resnet-20", "layer1.0.conv1.weight", &[16, 16, 3, 3]),
        ("resnet-20", "layer2.0.downsample.0.weight", &[32, 16, 1, 1]),
        ("resnet-20", "layer3.2.bn2.running_var", &[64]),
        ("resnet-20", "fc.weight", &[10, 64]),
        ("preactresnet-18", "layer2.0.shortcut.0.weight", &[128, 64, 1, 1]),
        ("preactresnet-18", "bn.bias", &[512]),
        ("wrn-28-4", "block1.layer.0.convShortcut.weight", &[64, 16, 1, 1]),
        ("vgg-16-bn", "features.40.weight", &[512, 512, 3, 3]),
        ("vgg-16-bn", "classifier.6.bias", &[10]),
        ("alexnet", "features.10.bias", &[256]),
        ("mobilenet-v2", "features.1.conv.0.0.weight", &[32, 1, 3, 3]),
        ("mobilenet-v2", "features.2.conv.3.running_mean", &[24]),
        ("mobilenet-v2", "features.18.0.weight", &[1280, 320, 1, 1]),
    ] {
        let model = model(name, None, &CIFAR);
        let tensor = model.graph.initializers.get(weight).unwrap_or_else(|| panic!("{name} has no {weight}"));
        assert_eq!(tensor.dims(), dims, "{name} {weight}");
    }
}

#[test]
fn what_is_removed_by_a_stride_of_one_changes_no_names() {
    let names = |strides| {
        let model = model("vgg-16-bn", Some(strides), &CIFAR);
        model.graph.initializers.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names("22222"), names("11222"));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let strides = |strides: &str| architecture("resnet-18").unwrap().with_strides(strides).unwrap_err().to_string();
    for wrong in ["", "122", "12222", "1022", "12a2", "122２"] {
        let error = strides(wrong);
        assert!(
            error.contains(&format!("\"{wrong}\" of resnet-18; expected 4 digits from 1 to 9, as in \"1222\"")),
            "{error}"
        );
    }
    let of = |name: &str, task: &Task| architecture(name).unwrap().model(task, 0).unwrap_err().to_string();
    let small = of("vgg-16-bn", &Task { height: 28, width: 28, ..CIFAR });
    assert!(small.contains("layer \"features.43\" of vgg-16-bn: a window of 2 does not fit 1x1 pixels"), "{small}");
    let huge = Task { classes: 1 << 14, ..CIFAR };
    for task in [Task { classes: 1, ..CIFAR }, Task { height: 0, ..CIFAR }, Task { channels: usize::MAX, ..CIFAR }] {
        assert!(of("resnet-8", &task).contains("expected 1 to 16384 of each, and two classes"));
    }
    assert!(architecture("resnet-8").unwrap().model(&huge, 0).is_ok());
    assert!(of("wrn-100-24", &CIFAR).contains("more than 268435456 weights"));
}
