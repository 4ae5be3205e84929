//! Properties of the verification competitions, written out from the stored instances, and answers to them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use assay_certify::{Answer, Certifier, CertifierOptions, CertifyError, Deciding, Method, Property};
use assay_reference::{Material, Net, material};
use assay_runtime::{Cancel, Classifier, ClassifierOptions, RunError};
use ndarray::{Array2, ArrayView1, Axis};
use support::compared::flat;
use support::{certifier, runtime};

/// A file as the competitions have them: a box, and that some class (or the target) is at least as likely as the label.
fn file(lower: &ArrayView1<'_, f32>, upper: &ArrayView1<'_, f32>, classes: usize, label: usize, target: i64) -> String {
    let mut text = String::from("; A property.\n\n");
    (0..lower.len()).for_each(|i| writeln!(text, "(declare-const X_{i} Real)").unwrap());
    (0..classes).for_each(|i| writeln!(text, "(declare-const Y_{i} Real)").unwrap());
    for (i, (low, high)) in lower.iter().zip(upper).enumerate() {
        writeln!(text, "(assert (<= X_{i} {high}))\n(assert (>= X_{i} {low}))").unwrap();
    }
    let rivals = (0..classes).filter(|&class| class != label);
    let cases: Vec<String> = match usize::try_from(target) {
        Ok(target) => {
            let others = rivals.filter(|&class| class != target).map(|class| format!("(>= Y_{target} Y_{class})"));
            vec![format!("(and (>= Y_{target} Y_{label}) {})", others.collect::<Vec<_>>().join(" "))]
        }
        Err(_) => rivals.map(|class| format!("    (and (>= Y_{class} Y_{label}))")).collect(),
    };
    writeln!(text, "(assert (or\n{}\n))", cases.join("\n")).unwrap();
    text
}

/// An instance of a benchmark: its property, and what is known of it.
struct Instance {
    property: Property,
    truth: String,
    lower: Vec<f32>,
    upper: Vec<f32>,
}

fn instances(material: &Material, folder: &str, model: &str) -> Vec<Instance> {
    let stored = material.npz(&format!("vnncomp/{folder}/instances.npz"));
    let truth = std::fs::read_to_string(material.path(&format!("vnncomp/{folder}/truth.csv"))).unwrap();
    let [lower, upper] = ["lower", "upper"].map(|end| flat(stored.get(end)));
    let mut found = Vec::new();
    for (row, line) in truth.lines().skip(1).enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        if fields[1] != model {
            continue;
        }
        let [label, target] = [3, 4].map(|at: usize| fields[at].parse::<i64>().unwrap());
        let (low, high) = (lower.row(row), upper.row(row));
        let text = file(&low, &high, 10, usize::try_from(label).unwrap(), target);
        let property = Property::parse(&text).unwrap();
        found.push(Instance { property, truth: fields[6].to_owned(), lower: low.to_vec(), upper: high.to_vec() });
    }
    found
}

fn load(material: &Material, model: &str) -> Option<Certifier> {
    let runtime = runtime()?;
    let file = material.path(&format!("vnncomp/{model}"));
    Some(Certifier::load(&runtime, &file, &ClassifierOptions::default(), &CertifierOptions::default()).unwrap())
}

/// Decides instances, and checks every answer: counterexamples by a run of their own, proofs by what is known. Counts `unsat`, `sat` and `unknown`.
#[track_caller]
fn decide(certifier: &mut Certifier, instances: &[Instance], deciding: impl Fn() -> Deciding) -> [usize; 3] {
    let mut counts = [0; 3];
    for (i, instance) in instances.iter().enumerate() {
        let started = Instant::now();
        let answer = certifier.decide(&instance.property, &deciding(), &Cancel::default()).unwrap();
        match &answer {
            Answer::Holds => assert!(!instance.truth.starts_with("sat"), "instance {i} is {}", instance.truth),
            Answer::Violated(found) => {
                assert_ne!(instance.truth, "unsat", "instance {i}");
                let ends = instance.lower.iter().zip(&instance.upper);
                assert!(found.inputs.iter().zip(ends).all(|(x, (low, high))| low <= x && x <= high), "instance {i}");
                let x = Array2::from_shape_vec((1, found.inputs.len()), found.inputs.clone()).unwrap();
                let outputs = certifier.classifier().logits(x.view()).unwrap().index_axis(Axis(0), 0).to_vec();
                assert_eq!(outputs, found.outputs, "instance {i}");
                assert!(instance.property.cases[found.case].holds(&outputs), "instance {i}: {outputs:?}");
            }
            Answer::Unknown(_) => {}
        }
        counts[["unsat", "sat", "unknown"].iter().position(|word| *word == answer.word()).unwrap()] += 1;
        println!("{i}: {} (known: {}), {:.1} s", answer.word(), instance.truth, started.elapsed().as_secs_f64());
    }
    counts
}

#[test]
fn instances_of_the_competition_are_answered_as_is_known() {
    let Some(material) = material() else { return };
    let Some(mut certifier) = load(&material, "mnistfc/mnist-net_256x2.onnx") else { return };
    let mut all = instances(&material, "mnistfc", "mnist-net_256x2.onnx");
    all.truncate(15);
    let counts = decide(&mut certifier, &all, || Deciding {
        deadline: Some(Instant::now() + Duration::from_secs(20)),
        ..Deciding::default()
    });
    println!("unsat, sat, unknown: {counts:?}");
    // 12 unsat and 3 sat are known: one counterexample is not found.
    assert!(counts[0] >= 11 && counts[1] >= 2, "{counts:?}");

    let Some(mut certifier) = load(&material, "verivital/Convnet_avgpool.onnx") else { return };
    let mut all = instances(&material, "verivital", "Convnet_avgpool.onnx");
    all.truncate(4);
    assert_eq!(decide(&mut certifier, &all, Deciding::default), [4, 0, 0]);
}

#[test]
#[ignore = "slow: all instances of some benchmarks; `make test-all`"]
fn no_instance_is_answered_against_what_is_known() {
    let Some(material) = material() else { return };
    for (folder, model) in [
        ("mnistfc", "mnist-net_256x2.onnx"),
        ("verivital", "Convnet_avgpool.onnx"),
        ("oval21", "cifar_base_kw.onnx"),
        ("marabou-cifar10", "cifar10_small.onnx"),
    ] {
        let Some(mut certifier) = load(&material, &format!("{folder}/{model}")) else { return };
        let all = instances(&material, folder, model);
        let deadline = || Instant::now() + Duration::from_secs(10);
        let counts = decide(&mut certifier, &all, || Deciding { deadline: Some(deadline()), ..Deciding::default() });
        println!("{folder}, {model}: unsat, sat, unknown: {counts:?} of {}", all.len());
    }
}

/// A net with two inputs and three outputs.
fn small() -> Net {
    Net::new(&[2])
        .floats("w", &[2, 2], &[1.0, 1.0, 1.0, -1.0])
        .node("MatMul", "x w -> a", &[])
        .node("Relu", "a -> b", &[])
        .floats("v", &[2, 3], &[1.0, 0.0, 1.0, 1.0, -1.0, 2.0])
        .node("MatMul", "b v -> z", &[])
}

const HEAD: &str = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)(declare-const Y_2 Real)
(assert (>= X_0 0.5))(assert (<= X_0 1))(assert (>= X_1 0))(assert (<= X_1 0.25))";

fn answer(certifier: &mut Certifier, rest: &str) -> Answer {
    let property = Property::parse(&format!("{HEAD}\n{rest}")).unwrap();
    certifier.decide(&property, &Deciding::default(), &Cancel::default()).unwrap()
}

/// In this box the net is affine: Y_0 = 2 X_0, Y_1 = X_1 - X_0, Y_2 = 3 X_0 - X_1.
#[test]
fn any_linear_constraints_are_decided() {
    let Some(runtime) = runtime() else { return };
    let mut certifier = certifier(&runtime, &small()).unwrap();
    for (rest, expected) in [
        ("(assert (<= Y_0 0.99))", "unsat"),
        ("(assert (<= Y_0 1.01))", "sat"),
        ("(assert (>= (+ Y_0 (* 2 Y_1)) 0.51))", "unsat"),
        ("(assert (>= (+ Y_0 (* 2 Y_1)) 0.49))", "sat"),
        // Both at once: only where X_0 is at most 0.6 and at least 0.7.
        ("(assert (<= Y_0 1.2))(assert (>= (- Y_2 (- Y_1)) 1.4))", "unknown"),
        ("(assert (<= Y_0 1.2))(assert (>= (- Y_2 (- Y_1)) 1.1))", "sat"),
        ("(assert (or (<= Y_0 0.5) (and (>= Y_1 0) (<= Y_0 9)) (<= Y_2 1)))", "unsat"),
        ("(assert (or (<= Y_0 0.5) (and (>= X_0 0.75) (<= Y_2 2.05)) (>= Y_1 0)))", "sat"),
        ("(assert (or (<= Y_0 0.5) (and (>= X_0 0.75) (<= Y_2 1.99)) (>= Y_1 0)))", "unsat"),
        ("(assert (<= X_0 0.2))", "unsat"),
        ("", "sat"),
    ] {
        assert_eq!(answer(&mut certifier, rest).word(), expected, "{rest}");
    }
}

#[test]
fn a_softmax_at_the_end_is_part_of_the_network() {
    let Some(runtime) = runtime() else { return };
    let net = small();
    let mut graph = net.graph.clone();
    let last = graph.nodes.last_mut().unwrap();
    last.outputs = vec![Some("y".into())];
    graph.nodes.push(assay_graph::Node::new("Softmax", vec![Some("y".into())], vec![Some("z".into())]));
    let mut with = net;
    with.graph = graph;
    let mut certifier = certifier(&runtime, &with).unwrap();
    let Answer::Violated(found) = answer(&mut certifier, "(assert (>= Y_2 Y_0))") else { panic!("no counterexample") };
    assert!((found.outputs.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{:?}", found.outputs);
    assert_eq!(answer(&mut certifier, "(assert (>= Y_1 Y_0))").word(), "unsat");
    let property = Property::parse(&format!("{HEAD}(assert (>= Y_0 0.3))")).unwrap();
    let refused = certifier.decide(&property, &Deciding::default(), &Cancel::default()).unwrap_err().to_string();
    assert!(refused.contains("ends in a softmax"), "{refused}");
}

#[test]
fn what_does_not_fit_the_model_is_refused_and_a_search_can_be_stopped() {
    let Some(runtime) = runtime() else { return };
    let mut certifier = certifier(&runtime, &small()).unwrap();
    let text = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 0))(assert (<= X_0 1))";
    let property = Property::parse(text).unwrap();
    let refused = certifier.decide(&property, &Deciding::default(), &Cancel::default()).unwrap_err().to_string();
    assert!(refused.contains("1 inputs and 1 outputs: the model has 2 and 3"), "{refused}");

    let property = Property::parse(&format!("{HEAD}(assert (<= Y_0 0.99))")).unwrap();
    let cancel = Cancel::default();
    cancel.cancel();
    let stopped = certifier.decide(&property, &Deciding::default(), &cancel);
    assert!(matches!(stopped, Err(CertifyError::Run(RunError::Cancelled))), "{stopped:?}");
    let late = Deciding { deadline: Some(Instant::now()), methods: Method::ALL.to_vec(), ..Deciding::default() };
    let answer = certifier.decide(&property, &late, &Cancel::default()).unwrap();
    assert_eq!(answer, Answer::Unknown("the deadline passed".into()));
}
