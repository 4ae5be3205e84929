//! Whole classifiers on real images: correct to the sample.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use std::path::{Path, PathBuf};

use assay_graph::{Canonical, Limits, Model, Normalization, preprocess};
use assay_reference::{Npz, fashion_mnist, material};
use assay_runtime::{Classifier, ClassifierOptions, Gradients, OnnxClassifier, OnnxRuntime};
use ndarray::Array2;

/// 1,000 test images of Fashion-MNIST and their labels.
fn fashion() -> (Array2<f32>, Vec<usize>) {
    let (images, labels) = fashion_mnist(1000);
    (images, labels.into_iter().map(|label| label as usize).collect())
}

/// Which rows of logits have their largest entry at the label.
fn correct(logits: &Array2<f32>, labels: &[usize]) -> Vec<bool> {
    let best = |row: ndarray::ArrayView1<'_, f32>| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    logits.rows().into_iter().zip(labels).map(|(row, &label)| best(row) == Some(label)).collect()
}

fn load(runtime: &OnnxRuntime, file: &Path) -> OnnxClassifier {
    OnnxClassifier::load(runtime, file, &ClassifierOptions::default())
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn fashion_models_classify_as_measured() {
    let (Some(material), Some(runtime)) = (material(), support::runtime()) else { return };
    let results = material.json("models_results.json");
    let (x, labels) = fashion();
    assert_eq!(labels.len(), 1000);
    for name in ["fashion-dense", "fashion-pruned", "fashion-robust", "fashion-robust-pruned"] {
        let logits = load(&runtime, &material.path(&format!("models/{name}.onnx"))).logits(x.view()).unwrap();
        let expected = &results[name];
        let right = correct(&logits, &labels).into_iter().filter(|&c| c).count();
        assert_eq!(Some(right as u64), expected["clean_correct"].as_u64(), "{name}: correct of 1000");
        for (i, row) in expected["logits_first_4"].as_array().unwrap().iter().enumerate() {
            for (j, logit) in row.as_array().unwrap().iter().enumerate() {
                let (found, expected) = (f64::from(logits[[i, j]]), logit.as_f64().unwrap());
                assert!((found - expected).abs() < 1e-4, "{name}: logit {j} of image {i} is {found}, not {expected}");
            }
        }
    }
}

/// Networks that were trained on normalised pixels take pixels once the normalisation is inside.
#[test]
fn cifar_models_with_their_normalisation_inside_classify_as_measured() {
    let (Some(material), Some(runtime)) = (material(), support::runtime()) else { return };
    let images = material.npz("images/cifar10-first100.npz");
    #[allow(clippy::cast_precision_loss)]
    let pixels: Vec<f32> = images.get("pixels_u8").i64s().into_iter().map(|p| p as f32 / 255.0).collect();
    let x = Array2::from_shape_vec((100, 3072), pixels).unwrap();
    let labels: Vec<usize> = images.get("label").i64s().into_iter().map(|l| usize::try_from(l).unwrap()).collect();
    let runs = material.json("attacks.json");
    for (file, run, mean, std) in [
        ("vnncomp/oval21/cifar_base_kw.onnx", "cifar_base_kw|eps8/255|n100", [0.485, 0.456, 0.406], [0.225; 3]),
        (
            "vnncomp/cifar10_resnet/resnet_2b.onnx",
            "resnet_2b|eps8/255|n100",
            [0.4914, 0.4822, 0.4465],
            [0.2471, 0.2435, 0.2616],
        ),
        (
            "certified-trained/convexadv_cifar_small_8px.onnx",
            "convexadv_cifar_small_8px|eps8/255|n100",
            [0.485, 0.456, 0.406],
            [0.225; 3],
        ),
    ] {
        let source = Model::load(&material.path(file), &Limits::default()).unwrap();
        let inside = Normalization { mean: mean.to_vec(), std: std.to_vec(), axis: Some(1) };
        let model = preprocess(&Canonical::new(source).unwrap(), &inside).unwrap();
        let model = OnnxClassifier::from_bytes(&runtime, &model.to_bytes(), &ClassifierOptions::default())
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        let found = correct(&model.logits(x.view()).unwrap(), &labels);
        let flags = runs["runs"][run]["clean_flags"].as_array().unwrap();
        let expected: Vec<bool> = flags.iter().map(|flag| flag.as_u64() == Some(1)).collect();
        assert_eq!(found, expected, "{file}");
    }
}

/// Instances of the verification competitions are about images that their network classifies correctly, so each image's
/// label is what the network must say.
#[test]
fn verification_networks_classify_the_images_of_their_instances() {
    let (Some(material), Some(runtime)) = (material(), support::runtime()) else { return };
    for file in networks(&material.path("vnncomp")) {
        let data = Npz::read(&file.with_file_name("instances.npz"));
        let model = load(&runtime, &file);
        match &model.spec().gradients {
            Gradients::Exact => {}
            // Binary networks are flat almost everywhere: they have no gradient to attack with, and the operator is named.
            Gradients::Unavailable(why) => assert!(why.contains("(Sign)"), "{}: {why}", file.display()),
            Gradients::StraightThrough(nodes) => panic!("{}: nothing is quantised: {nodes:?}", file.display()),
        }
        #[allow(clippy::cast_possible_truncation)]
        let images = data.get("images").f64().mapv(|v| v as f32);
        let rows = images.shape()[0];
        let logits = model.logits(images.to_shape((rows, model.spec().features())).unwrap().view()).unwrap();
        let mut labels = vec![None; rows];
        for (image, label) in data.get("image_index").i64s().into_iter().zip(data.get("label").i64s()) {
            labels[usize::try_from(image).unwrap()] = Some(usize::try_from(label).unwrap());
        }
        let labels: Vec<usize> = labels.into_iter().map(|label| label.expect("an instance for every image")).collect();
        let wrong: Vec<usize> =
            correct(&logits, &labels).iter().enumerate().filter(|(_, ok)| !**ok).map(|(image, _)| image).collect();
        assert!(wrong.is_empty(), "{}: images {wrong:?} are classified wrongly", file.display());
    }
}

fn networks(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .flat_map(|benchmark| std::fs::read_dir(benchmark.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|file| file.extension().is_some_and(|e| e == "onnx"))
        .collect();
    files.sort();
    files
}
