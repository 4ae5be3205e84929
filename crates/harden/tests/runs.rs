//! Recipes carried out: what they learn, that they go on where they were cut off, and what they refuse.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::fs;
use std::path::Path;

use assay_attack::Cancel;
use assay_graph::{DataType, Dimension, Graph, Limits, Model, Node, Tensor, ValueInfo};
use assay_harden::{
    EpochResult, FreshSpec, Gate, Hardened, ModelSpec, Place, Recipe, RunEvent, TrainError, finish, harden,
};
use assay_reference::{Random, Values};
use assay_runtime::{ClassifierOptions, Library, OnnxRuntime};
use image::{GrayImage, Luma};
use tempfile::TempDir;

fn runtime() -> Option<OnnxRuntime> {
    OnnxRuntime::load(&Library::default()).inspect_err(|e| println!("skipped: {e}")).ok()
}

/// A folder with a net, pictures of three classes and a recipe.
struct Fixture {
    folder: TempDir,
}

const SIZE: u32 = 8;
const CLASSES: usize = 3;

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("net.onnx"), net().to_bytes()).unwrap();
        // A bright bar, at a place that tells the class, on noise.
        let mut random = Random::new(8);
        for class in 0..CLASSES {
            let to = folder.path().join("data").join(class.to_string());
            fs::create_dir_all(&to).unwrap();
            for i in 0..40 {
                let noise = random.array(&[SIZE as usize, SIZE as usize], &Values::uniform(0.0, 120.0));
                let picture = GrayImage::from_fn(SIZE, SIZE, |x, y| {
                    let bar = if y as usize / 3 == class { 130 } else { 0 };
                    Luma([noise.f64()[[y as usize, x as usize]] as u8 + bar])
                });
                picture.save(to.join(format!("{i:02}.png"))).unwrap();
            }
        }
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn recipe(&self, objective: &str, more: &str) -> Recipe {
        Recipe::parse(&format!(
            r#"
            schema = 1
            name = "bars"
            seed = 5
            model = "net.onnx"
            epochs = 3
            batch = 16
            {more}
            [data]
            path = "data"
            validation = 15
            augment = {{ pad = 1, flip = true }}
            [objective]
            {objective}
            [optimizer]
            kind = "sgd"
            rate = 0.1
            momentum = 0.9
            decay = 5e-4
            "#
        ))
        .unwrap()
    }

    /// Carries the recipe out; `stop` is asked at each event.
    fn run(
        &self,
        runtime: &OnnxRuntime,
        recipe: &Recipe,
        mut stop: impl FnMut(&RunEvent) -> bool,
    ) -> (Result<Hardened, TrainError>, Vec<EpochResult>) {
        let (cancel, mut epochs) = (Cancel::default(), Vec::new());
        let place = Place {
            folder: self.path(),
            state: self.path(),
            runtime,
            model: ClassifierOptions::default(),
            parent: None,
            gate: None,
        };
        let result = harden(
            recipe,
            &place,
            &mut |event| {
                if stop(event) {
                    cancel.cancel();
                }
                if let RunEvent::Epoch(epoch) = event {
                    epochs.push(epoch.clone());
                }
            },
            &cancel,
        );
        (result, epochs)
    }
}

/// A convolution, a batch norm and a product.
fn net() -> Model {
    let mut graph = Graph::default();
    let size = Dimension::Known(SIZE as usize);
    let dims = vec![Dimension::Symbol("batch".into()), Dimension::Known(1), size.clone(), size];
    graph.inputs.push(ValueInfo::new("x", DataType::Float, dims));
    graph.outputs.push(ValueInfo::untyped("z".into()));
    let mut random = Random::new(1);
    let mut weight = |name: &str, dims: &[usize], size: f64| {
        let array = random.array(dims, &Values::uniform(-size, size));
        graph.initializers.insert(name.into(), array.to_tensor());
    };
    weight("conv.w", &[6, 1, 3, 3], 0.5);
    weight("fc.w", &[CLASSES, 6 * 64], 0.05);
    weight("fc.b", &[CLASSES], 0.05);
    for (name, value) in [("bn.scale", 1.0), ("bn.bias", 0.0), ("bn.mean", 0.0), ("bn.var", 1.0)] {
        graph.initializers.insert(name.into(), Tensor::floats(&[6], &[value; 6]));
    }
    let nodes = [
        ("Conv", "x conv.w", "a"),
        ("BatchNormalization", "a bn.scale bn.bias bn.mean bn.var", "b"),
        ("Relu", "b", "c"),
        ("Flatten", "c", "d"),
        ("Gemm", "d fc.w fc.b", "z"),
    ];
    for (operator, inputs, output) in nodes {
        let inputs = inputs.split(' ').map(|i| Some(i.into())).collect();
        let mut node = Node::new(operator, inputs, vec![Some(output.into())]);
        match operator {
            "Conv" => drop(node.attributes.insert("pads".into(), vec![1, 1, 1, 1].into())),
            "Gemm" => drop(node.attributes.insert("transB".into(), 1.into())),
            _ => {}
        }
        graph.nodes.push(node);
    }
    Model::new(18, graph)
}

const PGD: &str = r#"
    kind = "adversarial"
    perturbation = { norm = "Linf", eps = "0.1", steps = 3, step = 0.5 }
"#;

#[test]
fn every_objective_learns() {
    let Some(runtime) = runtime() else { return };
    let fixture = Fixture::new();
    let perturbation = r#"perturbation = { norm = "Linf", eps = "0.05", steps = 2, step = 0.6, begin = { normal = 0.001 }, climb = "divergence" }"#;
    let objectives = [
        "kind = \"standard\"".to_owned(),
        PGD.to_owned(),
        "kind = \"free\"\nnorm = \"L2\"\neps = \"0.3\"\nreplays = 2".to_owned(),
        format!("kind = \"trades\"\nbeta = 6\n{perturbation}"),
        format!("kind = \"mart\"\nweight = 5\n{perturbation}"),
        format!("kind = \"alp\"\nweight = 0.5\n{perturbation}"),
    ];
    for objective in objectives {
        let recipe = fixture.recipe(&objective, "");
        let (result, epochs) = fixture.run(&runtime, &recipe, |_| false);
        let Hardened { model, epoch, .. } = result.unwrap_or_else(|e| panic!("{objective}: {e}"));
        assert_eq!((epochs.len(), epoch), (3, 3));
        let last = epochs[2].validation.unwrap();
        assert!(last.clean * 10 >= last.of * 9, "{objective}: {epochs:?}");
        assert!(epochs[2].loss < epochs[0].loss, "{objective}: {epochs:?}");
        assert_eq!(model.metadata["assay.recipe"], recipe.digest().unwrap());
        assert_eq!(model.metadata["assay.seed"], "5");
        assert!(model.metadata["assay.parent"].len() == 64 && model.metadata["assay.data"].len() == 64);
        finish(fixture.path()).unwrap();
    }
}

/// Cut off in the middle of an epoch, and between two: the same bytes.
#[test]
fn a_run_that_was_cut_off_goes_on_to_the_same_bits() {
    let Some(runtime) = runtime() else { return };
    let more = "average = 0.9\nweights = { gamma = 0.01 }\nvalidation = { keep = \"best\", perturbation = { norm = \"Linf\", eps = \"0.1\", steps = 3, step = 0.5 } }";
    let fixture = Fixture::new();
    let recipe = fixture.recipe(PGD, more);
    let whole = fixture.run(&runtime, &recipe, |_| false).0.unwrap();
    assert!(fixture.path().join("checkpoint.safetensors").exists());
    finish(fixture.path()).unwrap();

    let (stopped, epochs) = fixture.run(&runtime, &recipe, |event| matches!(event, RunEvent::Epoch(e) if e.epoch == 1));
    assert!(matches!(stopped, Err(TrainError::Stopped { epochs: 1 })), "{stopped:?}");
    assert_eq!(epochs.len(), 1);
    let mut seen = 0;
    let (stopped, _) = fixture.run(&runtime, &recipe, |event| {
        seen += usize::from(matches!(event, RunEvent::Steps { epoch: 2, .. }));
        seen > 0
    });
    let (gone_on, epochs) = match stopped {
        // The steps of an epoch may be done before anybody is told of them.
        Ok(hardened) => (hardened, Vec::new()),
        Err(_) => {
            let (result, epochs) = fixture.run(&runtime, &recipe, |_| false);
            (result.unwrap(), epochs)
        }
    };
    assert!(epochs.len() <= 2, "what was done is not done again");
    assert_eq!(gone_on.epoch, whole.epoch);
    assert!(gone_on.model.to_bytes() == whole.model.to_bytes());
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let Some(runtime) = runtime() else { return };
    let fixture = Fixture::new();
    fixture.run(&runtime, &fixture.recipe("kind = \"standard\"", ""), |_| false).0.unwrap();
    let error = fixture.run(&runtime, &fixture.recipe(PGD, ""), |_| false).0.unwrap_err().to_string();
    assert!(error.contains("checkpoint.safetensors") && error.contains("another recipe"), "{error}");
}

/// Asked as often as there are steps; the third time it is waited for, and somebody cancels.
#[derive(Debug, Default)]
struct Turnstile {
    passed: std::sync::atomic::AtomicUsize,
    closes_at: Option<usize>,
}

impl Gate for Turnstile {
    fn pass(&self, cancel: &Cancel) {
        let passed = self.passed.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        if self.closes_at == Some(passed) {
            cancel.cancel();
        }
    }
}

#[test]
fn a_gate_is_asked_before_each_step_and_the_parent_may_be_given_by_its_file() {
    let Some(runtime) = runtime() else { return };
    let fixture = Fixture::new();
    let named = ModelSpec::File("bars-parent".into());
    let recipe = Recipe { model: named, ..fixture.recipe("kind = \"standard\"", "") };
    let (net, state) = (fixture.path().join("net.onnx"), fixture.path());
    for (closes_at, steps) in [(Some(3), 3), (None, 3 * (105 / 16))] {
        let gate = Turnstile { closes_at, ..Turnstile::default() };
        let model = ClassifierOptions::default();
        let place = Place { folder: state, state, runtime: &runtime, model, parent: Some(&net), gate: Some(&gate) };
        let result = harden(&recipe, &place, &mut |_| {}, &Cancel::default());
        assert_eq!(matches!(result, Err(TrainError::Stopped { epochs: 0 })), closes_at.is_some(), "{result:?}");
        assert_eq!(gate.passed.into_inner(), steps);
    }
}

/// What is made is a file like any other: it loads, and is trained further.
#[test]
fn what_is_made_is_a_model() {
    let Some(runtime) = runtime() else { return };
    let fixture = Fixture::new();
    let recipe = fixture.recipe("kind = \"standard\"", "");
    let made = fixture.run(&runtime, &recipe, |_| false).0.unwrap();
    finish(fixture.path()).unwrap();
    fs::write(fixture.path().join("net.onnx"), made.model.to_bytes()).unwrap();
    let read = Model::load(&fixture.path().join("net.onnx"), &Limits::default()).unwrap();
    assert_eq!(read.metadata, made.model.metadata);
    let (result, epochs) = fixture.run(&runtime, &recipe, |_| false);
    result.unwrap();
    assert!(epochs[0].loss < 0.5, "{epochs:?}");
}

/// `model` with its batch norm in its convolution, as exporters write it.
fn folded(mut model: Model) -> Model {
    let graph = &mut model.graph;
    let numbers = |name: &str| graph.initializers[name].to_f64().unwrap();
    let [scale, bias, mean, variance] = ["bn.scale", "bn.bias", "bn.mean", "bn.var"].map(numbers);
    let factors: Vec<f64> = std::iter::zip(scale, variance).map(|(scale, v)| scale / (v + 1e-5).sqrt()).collect();
    let kernels: Vec<f64> =
        numbers("conv.w").chunks(9).zip(&factors).flat_map(|(w, f)| w.iter().map(move |w| w * f)).collect();
    let biases: Vec<f64> = (0..6).map(|i| bias[i] - mean[i] * factors[i]).collect();
    graph.initializers.insert("conv.w".into(), Tensor::rounded(DataType::Float, &[6, 1, 3, 3], &kernels));
    graph.initializers.insert("conv.b".into(), Tensor::rounded(DataType::Float, &[6], &biases));
    graph.initializers.retain(|value, _| !value.as_str().starts_with("bn."));
    let norm = graph.nodes.remove(1);
    graph.nodes[0].inputs.push(Some("conv.b".into()));
    graph.nodes[0].outputs = norm.outputs;
    model
}

/// Without norms of its own it goes on where it was: kernels and biases are weights like any other.
#[test]
fn a_net_whose_batch_norms_are_folded_is_trained_on() {
    let Some(runtime) = runtime() else { return };
    let fixture = Fixture::new();
    let first = Recipe { epochs: 1, ..fixture.recipe("kind = \"standard\"", "") };
    let (made, began) = fixture.run(&runtime, &first, |_| false);
    finish(fixture.path()).unwrap();
    let folded = folded(made.unwrap().model);
    fs::write(fixture.path().join("net.onnx"), folded.to_bytes()).unwrap();
    let mut gently = Recipe { epochs: 3, ..first };
    if let Some(assay_harden::OptimizerSpec::Sgd { rate, .. }) = &mut gently.optimizer {
        *rate = 0.01;
    }
    let (made, epochs) = fixture.run(&runtime, &gently, |_| false);
    let model = made.unwrap().model;
    assert!(epochs[0].loss < began[0].loss && epochs[2].loss < epochs[0].loss, "{began:?} {epochs:?}");
    assert!(model.graph.nodes.iter().all(|node| node.operator != "BatchNormalization"));
    for weight in ["conv.w", "conv.b", "fc.w", "fc.b"] {
        assert_ne!(model.graph.initializers[weight], folded.graph.initializers[weight], "{weight}");
    }
}

#[test]
fn a_net_with_fresh_weights_learns() {
    let Some(runtime) = runtime() else { return };
    let fixture = Fixture::new();
    let recipe = fixture.recipe("kind = \"standard\"", "");
    let fresh = FreshSpec { architecture: "cnn-8-8".into(), strides: None, mean: Some(vec![0.5]), std: None };
    let (result, epochs) =
        fixture.run(&runtime, &Recipe { model: ModelSpec::Fresh(fresh), ..recipe.clone() }, |_| false);
    result.unwrap();
    assert!(epochs[2].loss < epochs[0].loss, "{epochs:?}");
    let unknown = FreshSpec { architecture: "resnet-9".into(), strides: None, mean: None, std: None };
    let error = fixture.run(&runtime, &Recipe { model: ModelSpec::Fresh(unknown), ..recipe }, |_| false).0.unwrap_err();
    assert!(error.to_string().contains("resnet-9"), "{error}");
}

#[test]
fn a_run_that_explodes_stops_with_the_step() {
    let Some(runtime) = runtime() else { return };
    let fixture = Fixture::new();
    let mut recipe = fixture.recipe("kind = \"standard\"", "");
    if let Some(assay_harden::OptimizerSpec::Sgd { rate, .. }) = &mut recipe.optimizer {
        *rate = 1e30;
    }
    let (result, epochs) = fixture.run(&runtime, &recipe, |_| false);
    assert!(matches!(result, Err(TrainError::NotFinite { .. })), "{result:?}");
    assert!(epochs.is_empty() && !fixture.path().join("checkpoint.safetensors").exists());
}

#[test]
fn data_that_do_not_fit_are_refused() {
    let Some(runtime) = runtime() else { return };
    let fixture = Fixture::new();
    let recipe = fixture.recipe("kind = \"standard\"", "");
    fs::create_dir(fixture.path().join("data/3")).unwrap();
    GrayImage::new(SIZE, SIZE).save(fixture.path().join("data/3/a.png")).unwrap();
    let error = fixture.run(&runtime, &recipe, |_| false).0.unwrap_err().to_string();
    assert!(error.contains("class 3"), "{error}");
    let missing = Recipe { model: ModelSpec::File("nothing.onnx".into()), ..recipe };
    let error = fixture.run(&runtime, &missing, |_| false).0.unwrap_err().to_string();
    assert!(error.contains("nothing.onnx"), "{error}");
}

#[test]
fn recipes_say_what_is_wrong_with_them() {
    let text = |replace: (&str, &str)| {
        let good = r#"
schema = 1
name = "n"
model = "m.onnx"
epochs = 2
[data]
path = "d"
[objective]
kind = "standard"
[optimizer]
kind = "adam-w"
rate = 0.001
"#;
        assert!(good.contains(replace.0));
        good.replace(replace.0, replace.1)
    };
    let good = Recipe::parse(&text(("schema", "schema"))).unwrap();
    assert_eq!(Recipe::parse(&good.to_toml().unwrap()).unwrap(), good);
    for (replace, expected) in [
        (("schema = 1", "schema = 2"), "`schema`"),
        (("name = \"n\"", "name = \"../n\""), "`name`"),
        (("epochs = 2", "epochs = 0"), "`epochs`"),
        (("epochs = 2", "epochs = 2\nbatch = 1"), "`batch`"),
        (("epochs = 2", "epochs = 2\nepoch = 3"), "unknown field `epoch`"),
        (("rate = 0.001", "rate = -1"), "`optimizer.rate`"),
        (("rate = 0.001", "rate = 0.001\nbeta1 = 1.0"), "beta1"),
        (("rate = 0.001", "rate = 0.001\nmomentum = 0.9"), "momentum"),
        (("kind = \"standard\"", "kind = \"trades\"\nbeta = 6"), "perturbation"),
        (("path = \"d\"", "paths = \"d\""), "paths"),
        (("[data]", "[validation]\nkeep = \"best\"\n[data]"), "`data.validation`"),
    ] {
        let error = Recipe::parse(&text(replace)).unwrap_err().to_string();
        assert!(error.contains(expected), "{replace:?}: {error}");
    }
}
