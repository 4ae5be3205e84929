//! Variants made by recipes: larger maps, single weights pruned, dead channels removed; with training and without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::fs;
use std::path::Path;

use assay_attack::Cancel;
use assay_graph::{Attribute, Limits, Model, Tensor, Value};
use assay_harden::{Change, Hardened, Place, Recipe, RunEvent, Task, TrainError, architecture, finish, harden};
use assay_reference::{Net, Random, Values};
use assay_runtime::{Classifier, ClassifierOptions, Library, OnnxClassifier, OnnxRuntime};
use image::{GrayImage, Luma};
use ndarray::Array2;
use tempfile::TempDir;

const SIZE: usize = 8;
const TASK: Task = Task { channels: 1, height: SIZE, width: SIZE, classes: 2, normalization: None };

fn runtime() -> Option<OnnxRuntime> {
    OnnxRuntime::load(&Library::default()).inspect_err(|e| println!("skipped: {e}")).ok()
}

/// A folder with pictures of two classes: one brighter at the top, one at the bottom.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(4);
    for class in 0..2 {
        let to = folder.path().join("data").join(class.to_string());
        fs::create_dir_all(&to).unwrap();
        for i in 0..24 {
            let noise = random.array(&[SIZE, SIZE], &Values::uniform(0.0, 100.0));
            let picture = GrayImage::from_fn(SIZE as u32, SIZE as u32, |x, y| {
                let bright = if (y < SIZE as u32 / 2) == (class == 0) { 100 } else { 0 };
                Luma([noise.f64()[[y as usize, x as usize]] as u8 + bright])
            });
            picture.save(to.join(format!("{i:02}.png"))).unwrap();
        }
    }
    folder
}

/// What training needs besides the net.
const TRAINING: &str = r#"
    data = { path = "data" }
    objective = { kind = "standard" }
    optimizer = { kind = "sgd", rate = 0.05, momentum = 0.9, nesterov = true, decay = 1e-2 }
"#;

fn recipe(more: &str) -> Recipe {
    Recipe::parse(&format!("schema = 1\nname = \"variant\"\nseed = 7\nbatch = 12\n{more}"))
        .unwrap_or_else(|e| panic!("{e}"))
}

fn wrong(more: &str, expected: &str) {
    let error = Recipe::parse(&format!("schema = 1\nname = \"variant\"\n{more}")).unwrap_err().to_string();
    assert!(error.contains(expected), "{more}\n{error}");
}

fn carry_out(
    runtime: &OnnxRuntime,
    folder: &Path,
    recipe: &Recipe,
    mut stop: impl FnMut(&RunEvent) -> bool,
) -> (Result<Hardened, TrainError>, Vec<RunEvent>) {
    let (cancel, mut events) = (Cancel::default(), Vec::new());
    let place = Place { folder, state: folder, runtime, model: ClassifierOptions::default(), parent: None, gate: None };
    let mut observe = |event: &RunEvent| {
        if stop(event) {
            cancel.cancel();
        }
        events.push(event.clone());
    };
    (harden(recipe, &place, &mut observe, &cancel), events)
}

/// The model that comes out, and what was changed.
#[track_caller]
fn made(runtime: &OnnxRuntime, folder: &Path, recipe: &Recipe) -> (Model, Vec<RunEvent>) {
    let (result, events) = carry_out(runtime, folder, recipe, |_| false);
    finish(folder).unwrap();
    (result.unwrap_or_else(|e| panic!("{e}")).model, events)
}

/// How a net was changed as a whole, and how many times the work it is.
fn costs(events: &[RunEvent]) -> Vec<(Change, f64)> {
    let changed = events.iter().filter_map(|event| match event {
        RunEvent::Changed { change, macs: [before, after], .. } => Some((*change, *after as f64 / *before as f64)),
        _ => None,
    });
    changed.collect()
}

fn logits(runtime: &OnnxRuntime, model: &Model) -> Array2<f32> {
    let hosted = OnnxClassifier::of_model(runtime, model, &ClassifierOptions::default()).unwrap();
    let mut random = Random::new(5);
    let x = random.array(&[6, SIZE * SIZE], &Values::uniform(0.0, 1.0));
    let x = Array2::from_shape_fn((6, SIZE * SIZE), |(i, j)| x.f64()[[i, j]] as f32);
    hosted.logits(x.view()).unwrap()
}

fn numbers(model: &Model, weight: &str) -> Vec<f32> {
    model.graph.initializers[&Value::from(weight)].to_f64().unwrap().into_iter().map(|v| v as f32).collect()
}

/// Kernels and matrices, by name.
fn layers(model: &Model) -> Vec<&str> {
    let all = model.graph.initializers.iter().filter(|(_, tensor)| tensor.dims().len() > 1);
    all.map(|(value, _)| value.as_str()).collect()
}

fn zeros(numbers: &[f32]) -> usize {
    numbers.iter().filter(|v| **v == 0.0).count()
}

#[test]
fn a_larger_input_inside_the_net() {
    let Some(runtime) = runtime() else { return };
    let folder = folder();
    fs::write(folder.path().join("net.onnx"), architecture("cnn-4-6").unwrap().model(&TASK, 1).unwrap().to_bytes())
        .unwrap();
    for mode in ["nearest", "linear"] {
        let change = format!("model = \"net.onnx\"\nupsample = {{ factor = 2, mode = \"{mode}\" }}");
        // Nothing of it needs data, nor what training needs.
        let (model, events) = made(&runtime, folder.path(), &recipe(&format!("epochs = 0\n{change}")));
        let [(Change::Upsampled, cost)] = costs(&events)[..] else { panic!("{events:?}") };
        assert!((3.5..=4.0).contains(&cost), "{cost}");
        assert_eq!((&*model.metadata["assay.kind"], &*model.metadata["assay.epoch"]), ("upsampled", "0"));
        assert!(!model.metadata.contains_key("assay.data"));
        let resize = model.graph.nodes.iter().find(|node| node.operator == "Resize").unwrap();
        assert_eq!(resize.attributes["mode"], Attribute::from(mode));
        // It is trained on images of the size that they have.
        let (trained, events) = made(&runtime, folder.path(), &recipe(&format!("epochs = 2\n{change}\n{TRAINING}")));
        assert_eq!(trained.graph.inputs, model.graph.inputs);
        assert_ne!(numbers(&trained, "conv1.weight"), numbers(&model, "conv1.weight"));
        let losses = events.iter().filter_map(|e| if let RunEvent::Epoch(epoch) = e { Some(epoch.loss) } else { None });
        assert!(losses.is_sorted_by(|a, b| a > b), "{events:?}");
    }
    wrong("model = \"net.onnx\"\nepochs = 0\nupsample = { factor = 1 }", "upsample.factor");
    let flat = Net::new(&[1, SIZE, SIZE]).conv("x -> a", &[3, 1, 3, 3], &[]).node("Flatten", "a -> f", &[]);
    let flat = flat.dense("f -> z", [2, 3 * SIZE * SIZE]).shaped();
    fs::write(folder.path().join("net.onnx"), flat.model().to_bytes()).unwrap();
    let refused = recipe("model = \"net.onnx\"\nepochs = 0\nupsample = { factor = 2 }");
    let error = carry_out(&runtime, folder.path(), &refused, |_| false).0.unwrap_err().to_string();
    assert!(error.contains("global average pool"), "{error}");
}

/// A fresh net gets the strides that its architecture gives it, with the weights that it has without them.
#[test]
fn strides_of_an_architecture() {
    let Some(runtime) = runtime() else { return };
    let folder = folder();
    let change = "epochs = 0\nmodel = { architecture = \"resnet-8\" }\ndata = { path = \"data\" }\n[restride]\nstrides = \"112\"";
    let (model, events) = made(&runtime, folder.path(), &recipe(change));
    let [(Change::Restrided, cost)] = costs(&events)[..] else { panic!("{events:?}") };
    assert!(cost > 1.5, "{cost}");
    assert_eq!(model.metadata["assay.kind"], "restrided");
    let expected = architecture("resnet-8").unwrap().with_strides("112").unwrap().model(&TASK, 7).unwrap();
    assert_eq!(model.graph.nodes, expected.graph.nodes);
    assert_eq!(model.graph.initializers, expected.graph.initializers);
    // Of a file, the places where maps shrink are the slots.
    let plain = architecture("resnet-8").unwrap().model(&TASK, 7).unwrap();
    fs::write(folder.path().join("net.onnx"), plain.to_bytes()).unwrap();
    for strides in ["112", "12"] {
        let change = format!("epochs = 0\nmodel = \"net.onnx\"\nrestride = {{ strides = \"{strides}\" }}");
        let (of_file, _) = made(&runtime, folder.path(), &recipe(&change));
        assert_eq!(logits(&runtime, &of_file), logits(&runtime, &model));
    }
}

#[test]
fn strides_of_nodes_and_what_becomes_of_pools() {
    let Some(runtime) = runtime() else { return };
    let folder = folder();
    let pool = [("kernel_shape", vec![2, 2].into()), ("strides", vec![2, 2].into())];
    let net = Net::new(&[1, SIZE, SIZE])
        .conv("x -> a", &[3, 1, 3, 3], &[("strides", vec![2, 2].into())])
        .node("Relu", "a -> ar", &[])
        .node("MaxPool", "ar -> p", &pool)
        .conv("p -> b", &[3, 3, 1, 1], &[])
        .head("b", 3);
    fs::write(folder.path().join("net.onnx"), net.shaped().model().to_bytes()).unwrap();
    let make = |restride: &str| {
        let recipe = recipe(&format!("epochs = 0\nmodel = \"net.onnx\"\nrestride = {restride}"));
        carry_out(&runtime, folder.path(), &recipe, |_| false)
    };
    let pools = |restride: &str| {
        let model = make(restride).0.unwrap().model;
        model.graph.nodes.iter().filter(|node| node.operator == "MaxPool").count()
    };
    assert_eq!(pools("{ strides = \"21\", pools = \"removed\" }"), 0);
    assert_eq!(pools("{ strides = \"11\", pools = \"kept\" }"), 1);
    assert_eq!(pools("{ strides = \"12\" }"), 1);
    assert_eq!(pools("{ nodes = { p = 1 }, pools = \"removed\" }"), 0);
    let (_, events) = make("{ nodes = { a = 1 } }");
    let [(Change::Restrided, cost)] = costs(&events)[..] else { panic!("{events:?}") };
    assert!((3.0..=4.5).contains(&cost), "{cost}");
    for (restride, expected) in [
        ("{ strides = \"21\" }", "restride.pools"),
        ("{ nodes = { p = 1 } }", "restride.pools"),
        ("{ nodes = { q = 1 } }", "one of"),
        ("{ strides = \"2121\" }", "a digit for each place"),
    ] {
        let error = make(restride).0.unwrap_err().to_string();
        assert!(error.contains(expected), "{restride}: {error}");
    }
    let fresh = "epochs = 0\nmodel = { architecture = \"alexnet\" }\ndata = { path = \"data\" }\n";
    wrong(&format!("{fresh}restride = {{ strides = \"1122\", pools = \"kept\" }}"), "restride.pools");
    wrong(&format!("{fresh}restride = {{ strides = \"1122\", nodes = {{ a = 1 }} }}"), "`restride`");
    wrong(&format!("{fresh}restride = {{}}"), "`restride`");
}

#[test]
fn what_a_recipe_without_training_needs() {
    let model = "model = \"net.onnx\"\n";
    wrong(&format!("{model}epochs = 0"), "`epochs`");
    wrong(&format!("{model}epochs = 3\ndata = {{ path = \"data\" }}"), "`objective`");
    wrong(&format!("{model}epochs = 3\nobjective = {{ kind = \"standard\" }}"), "`data`");
    wrong(
        &format!("{model}epochs = 3\ndata = {{ path = \"data\" }}\nobjective = {{ kind = \"standard\" }}"),
        "`optimizer`",
    );
    wrong(&format!("{model}epochs = 0\nprune = {{ structure = \"filters\", importance = \"kl\" }}"), "`data`");
    wrong("model = { architecture = \"cnn-4-4\" }\nepochs = 0\ncompact = true", "`data`");
    recipe(&format!("{model}epochs = 0\nprune = {{ structure = \"filters\", importance = \"l1\" }}"));
}

/// `cnn-4-6` without training: 36, 216 and 12 weights.
fn magnitude(runtime: &OnnxRuntime, folder: &Path, prune: &str) -> (Model, Vec<RunEvent>) {
    let prune = format!("prune = {{ structure = \"weights\", {prune} }}");
    made(runtime, folder, &recipe(&format!("epochs = 0\nmodel = \"net.onnx\"\n{prune}")))
}

#[test]
fn the_smallest_weights_become_zero() {
    let Some(runtime) = runtime() else { return };
    let folder = folder();
    let net = architecture("cnn-4-6").unwrap().model(&TASK, 1).unwrap();
    fs::write(folder.path().join("net.onnx"), net.to_bytes()).unwrap();
    let counts = |model: &Model| layers(model).into_iter().map(|name| zeros(&numbers(model, name))).collect::<Vec<_>>();
    let (model, events) = magnitude(&runtime, folder.path(), "importance = \"magnitude\", rate = 0.9");
    // Rounded down: 32.4, 194.4 and 10.8.
    assert_eq!(counts(&model), [32, 194, 10]);
    assert_eq!(model.metadata["assay.kind"], "weight-pruned");
    assert_eq!(model.metadata["assay.sparsity"], format!("{:.6}", 236.0 / 264.0));
    let [RunEvent::Pruned { removed, zeros: all, parameters, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((removed.weights, *all >= 236, parameters[0]), (236, true, parameters[1]));
    for name in layers(&model) {
        let (before, after) = (numbers(&net, name), numbers(&model, name));
        let gone = before.iter().zip(&after).filter(|(_, now)| **now == 0.0).map(|(was, _)| was.abs());
        let least = after.iter().filter(|v| **v != 0.0).fold(f32::INFINITY, |least, v| least.min(v.abs()));
        assert!(gone.fold(0.0, f32::max) <= least, "{name}");
        assert!(before.iter().zip(&after).all(|(was, now)| *now == 0.0 || was == now), "{name}");
    }
    // Each iteration takes its share of what is left: 18 and 9; 108 and 54; 6 and 3.
    let (model, _) = magnitude(&runtime, folder.path(), "importance = \"magnitude\", rate = 0.5, iterations = 2");
    assert_eq!(counts(&model), [27, 162, 9]);
    let (model, _) =
        magnitude(&runtime, folder.path(), "importance = \"magnitude\", rate = 0.5, except = [\"first\", \"last\"]");
    assert_eq!(counts(&model), [0, 108, 0]);
    // Over all layers: the threshold is one.
    let (model, _) = magnitude(&runtime, folder.path(), "importance = \"magnitude\", rate = 0.5, scope = \"global\"");
    assert_eq!(counts(&model).iter().sum::<usize>(), 132);
    let of = |name| (numbers(&net, name), numbers(&model, name));
    let pairs: Vec<(f32, f32)> =
        layers(&model).into_iter().flat_map(|name| std::iter::zip(of(name).0, of(name).1)).collect();
    let most = pairs.iter().filter(|(_, now)| *now == 0.0).fold(0.0_f32, |most, (was, _)| most.max(was.abs()));
    assert!(pairs.iter().all(|(was, now)| *now == 0.0 || was.abs() >= most));
    let (model, _) = magnitude(&runtime, folder.path(), "importance = \"random\", rate = 0.5");
    assert_eq!(counts(&model), [18, 108, 6]);
    for (prune, expected) in [
        ("structure = \"weights\", importance = \"l1\"", "magnitude or random"),
        ("structure = \"filters\", importance = \"magnitude\"", "single weights"),
        ("structure = \"filters\", importance = \"l1\", except = [\"last\"]", "prune.except"),
    ] {
        wrong(&format!("epochs = 0\nmodel = \"net.onnx\"\nprune = {{ {prune} }}"), expected);
    }
}

/// Whatever moves weights: what is pruned is zero, to the bit, and the same weights as without training; everything else moves.
#[test]
fn pruned_weights_stay_zero_in_training() {
    let Some(runtime) = runtime() else { return };
    let folder = folder();
    let net = architecture("cnn-4-6").unwrap().model(&TASK, 1).unwrap();
    fs::write(folder.path().join("net.onnx"), net.to_bytes()).unwrap();
    let prune = "importance = \"magnitude\", rate = 0.7";
    let (pruned, _) = magnitude(&runtime, folder.path(), prune);
    let sgd = "optimizer = { kind = \"sgd\", rate = 0.05, momentum = 0.9, nesterov = true, decay = 1e-2, clip = 1.0 }";
    let adam = "optimizer = { kind = \"adam\", rate = 0.01, decay = 1e-2 }";
    let adam_w = "optimizer = { kind = \"adam-w\", rate = 0.01, decay = 1e-2 }";
    for (optimizer, more) in [(sgd, ""), (adam, ""), (adam_w, "average = 0.9"), (sgd, "weights = { gamma = 0.02 }")] {
        let text = format!(
            "epochs = 2\nmodel = \"net.onnx\"\n{more}\n{optimizer}\ndata = {{ path = \"data\" }}\nobjective = {{ kind = \"standard\" }}\n\
             prune = {{ structure = \"weights\", {prune} }}"
        );
        let (model, _) = made(&runtime, folder.path(), &recipe(&text));
        for name in layers(&model) {
            for (was, now) in std::iter::zip(numbers(&pruned, name), numbers(&model, name)) {
                assert_eq!(was == 0.0, now.to_bits() == 0, "{optimizer} {more}: {name}: {was} {now}");
            }
            assert_ne!(numbers(&pruned, name), numbers(&model, name));
        }
        assert!(numbers(&model, "fc.bias").iter().all(|v| *v != 0.0), "biases began at zero and are free");
    }
}

/// Cut off between two epochs of the second iteration, it goes on with the same mask, to the same bytes.
#[test]
fn a_pruned_net_that_was_cut_off_keeps_its_zeros() {
    let Some(runtime) = runtime() else { return };
    let folder = folder();
    let net = architecture("cnn-4-6").unwrap().model(&TASK, 1).unwrap();
    fs::write(folder.path().join("net.onnx"), net.to_bytes()).unwrap();
    let prune = "prune = { structure = \"weights\", importance = \"magnitude\", rate = 0.5, iterations = 2 }";
    let recipe = recipe(&format!("epochs = 2\nmodel = \"net.onnx\"\n{TRAINING}\n{prune}"));
    let (whole, _) = made(&runtime, folder.path(), &recipe);
    let mut epochs = 0;
    let third = |event: &RunEvent| {
        epochs += usize::from(matches!(event, RunEvent::Epoch(_)));
        epochs == 3
    };
    let (stopped, _) = carry_out(&runtime, folder.path(), &recipe, third);
    assert!(matches!(stopped, Err(TrainError::Stopped { epochs: 1 })), "{stopped:?}");
    let (gone_on, events) = made(&runtime, folder.path(), &recipe);
    assert_eq!(events.iter().filter(|event| matches!(event, RunEvent::Epoch(_))).count(), 1);
    assert!(gone_on.to_bytes() == whole.to_bytes());
    assert_eq!(zeros(&numbers(&whole, "conv2.weight")), 162);
}

/// ONNX Runtime runs the file itself when it is loaded, and what is hosted must answer as that does.
#[test]
fn sparse_files_are_smaller_and_mean_the_same() {
    let Some(runtime) = runtime() else { return };
    let folder = folder();
    let net = architecture("cnn-8-16").unwrap().model(&TASK, 1).unwrap();
    fs::write(folder.path().join("net.onnx"), net.to_bytes()).unwrap();
    for (rate, shares) in [("0.95", 0.0..0.7), ("0.5", 0.9..1.0)] {
        let prune = format!("prune = {{ structure = \"weights\", importance = \"magnitude\", rate = {rate} }}");
        let text = format!("epochs = 0\nsparse = true\nmodel = \"net.onnx\"\n{prune}");
        let made = carry_out(&runtime, folder.path(), &recipe(&text), |_| false).0.unwrap();
        finish(folder.path()).unwrap();
        let (sparse, dense) = (made.to_bytes(), made.model.to_bytes());
        // Of half of the weights, the coordinates are more than the zeros: a few biases of zeros are what is saved.
        let share = sparse.len() as f64 / dense.len() as f64;
        assert!(shares.contains(&share), "{rate}: {share}");
        let file = folder.path().join("sparse.onnx");
        fs::write(&file, &sparse).unwrap();
        assert_eq!(Model::load(&file, &Limits::default()).unwrap().graph, made.model.graph);
        let read = OnnxClassifier::load(&runtime, &file, &ClassifierOptions::default()).unwrap();
        assert_eq!(logits(&runtime, read.model().model()), logits(&runtime, &made.model));
    }
}

/// Filters of zeros: what the norm makes of them is cut off in one, and a constant in the other, which padding keeps in the net.
#[test]
fn channels_that_do_nothing_are_removed() {
    let Some(runtime) = runtime() else { return };
    let folder = folder();
    let mut net = architecture("cnn-4-6").unwrap().model(&TASK, 1).unwrap();
    let mut set = |weight: &str, range: std::ops::Range<usize>, number: f64| {
        let tensor = &mut net.graph.initializers[&Value::from(weight)];
        let mut numbers = tensor.to_f64().unwrap();
        numbers[range].fill(number);
        *tensor = Tensor::rounded(tensor.dtype(), tensor.dims(), &numbers);
    };
    // Of conv1, whose channels a padded layer reads, the first two filters of nine weights; of conv2, which is pooled, the fourth.
    set("conv1.weight", 0..18, 0.0);
    set("bn1.bias", 0..1, -0.4);
    set("bn1.bias", 1..2, 0.4);
    set("conv2.weight", 3 * 36..4 * 36, 0.0);
    set("bn2.bias", 3..4, 0.3);
    fs::write(folder.path().join("net.onnx"), net.to_bytes()).unwrap();
    let (small, events) = made(&runtime, folder.path(), &recipe("epochs = 0\nmodel = \"net.onnx\"\ncompact = true"));
    let [(Change::Compacted, cost)] = costs(&events)[..] else { panic!("{events:?}") };
    assert!(cost < 1.0, "{cost}");
    let widths = |model: &Model| {
        ["conv1.weight", "conv2.weight"].map(|name| model.graph.initializers[&Value::from(name)].dims()[0])
    };
    assert_eq!(widths(&small), [3, 5]);
    assert_eq!(small.metadata["assay.kind"], "compacted");
    let same = |a: &Model, b: &Model| {
        let (a, b) = (logits(&runtime, a), logits(&runtime, b));
        a.iter().zip(&b).for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a} {b}"));
    };
    same(&net, &small);
    // After pruning and training: what the norms learned of a dead filter goes with it.
    let prune = "prune = { structure = \"weights\", importance = \"magnitude\", rate = 0.5, iterations = 2 }";
    let trained = format!("epochs = 2\nmodel = \"net.onnx\"\n{prune}\n{TRAINING}");
    let (whole, _) = made(&runtime, folder.path(), &recipe(&trained));
    let (small, _) = made(&runtime, folder.path(), &recipe(&format!("compact = true\n{trained}")));
    assert_eq!(small.metadata["assay.kind"], "weight-pruned+compacted");
    assert!(widths(&small).iter().sum::<usize>() < 10, "{:?}", widths(&small));
    same(&whole, &small);
}
