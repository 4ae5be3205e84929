//! `assay certify`, and certificates in audits, on a net whose margins are known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod server;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use assay_graph::{DataType, Dimension, Graph, Model, Node, Tensor, Value as Edge, ValueInfo};
use ndarray::{Array1, Array4};
use serde_json::Value;
use tempfile::TempDir;

use crate::server::Server;

/// Class 1 where the mean of four values is above one half: `z = (-s, s)` with `s = mean - 0.5`, computed as `2a - b - 1.5` of two hidden values that are
/// the same. Lines know that, and certify within less than `|s|`. Intervals do not: to them a threat is three times as large.
fn twins(function: &str) -> Model {
    let node = |operator: &str, inputs: &[&str], output: &str| {
        let edges = inputs.iter().map(|input| Some(Edge::new(*input))).collect();
        let mut node = Node::new(operator, edges, vec![Some(Edge::new(output))]);
        node.name = format!("the {output}");
        node
    };
    let shape = [Dimension::Symbol("batch".into()), Dimension::Known(1), Dimension::Known(2), Dimension::Known(2)];
    let mut graph = Graph::default();
    graph.inputs.push(ValueInfo::new("x", DataType::Float, shape.to_vec()));
    graph.outputs.push(ValueInfo::untyped("z".into()));
    for (name, dims, numbers) in [
        ("w", &[4, 2][..], &[0.25; 8][..]),
        ("b", &[2], &[1.0, 1.0]),
        ("v", &[2, 2], &[-2.0, 2.0, 1.0, -1.0]),
        ("c", &[2], &[1.5, -1.5]),
    ] {
        graph.initializers.insert(Edge::new(name), Tensor::floats(dims, numbers));
    }
    graph.nodes = vec![
        node("Flatten", &["x"], "flat"),
        node("Gemm", &["flat", "w", "b"], "hidden"),
        node(function, &["hidden"], "bent"),
        node("Gemm", &["bent", "v", "c"], "z"),
    ];
    Model::new(17, graph)
}

/// A repository of the net, of the same under another name, and of one whose function has no lines; and twenty samples, constant at 0.025, 0.075, ..., 0.975, as they are classified.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, function) in [("twins", "Relu"), ("copy", "Relu"), ("smooth", "Softplus")] {
        let version = folder.path().join("models").join(name).join("1");
        fs::create_dir_all(&version).unwrap();
        fs::write(version.join("model.onnx"), twins(function).to_bytes()).unwrap();
    }
    let value = |i: usize| 0.025 + 0.05 * i as f32;
    let mut archive = ndarray_npy::NpzWriter::new(fs::File::create(folder.path().join("ramp.npz")).unwrap());
    archive.add_array("images", &Array4::from_shape_fn((20, 1, 2, 2), |(i, ..)| value(i))).unwrap();
    archive.add_array("labels", &Array1::from_shape_fn(20, |i| i64::from(value(i) > 0.5))).unwrap();
    archive.finish().unwrap();
    folder
}

fn assay(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assay"))
        .current_dir(folder)
        .env_remove("ASSAY_SERVER")
        .env_remove("ASSAY_API_KEY")
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn ends(folder: &Path, code: i32, arguments: &[&str]) -> String {
    let output = assay(folder, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(if code == 0 || code == 1 { &output.stdout } else { &output.stderr })
}

#[track_caller]
fn json(folder: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&ends(folder, 0, &[&["--output", "json"], arguments].concat())).unwrap()
}

const EMBED: [&str; 2] = ["--embed", "models"];
const CERTIFY: [&str; 6] = ["certify", "twins", "--data", "ramp.npz", "--threat", "Linf:0.1"];

#[test]
fn certificates_are_counted_by_method_with_their_interval() {
    let folder = folder();
    let with = |more: &[&'static str]| [&EMBED[..], &CERTIFY, more].concat();
    // Eight samples are farther than 0.3 from one half, and sixteen farther than 0.1.
    let both = json(folder.path(), &with(&["--method", "crown,ibp"]));
    assert_eq!(
        (both["samples"].as_u64(), both["certified"].as_u64(), both["unknown"].as_u64()),
        (Some(20), Some(16), Some(4))
    );
    assert_eq!((both["threat"].as_str(), both["version"].as_str()), (Some("Linf:0.1"), Some("1")));
    let by: Vec<_> = both["by_method"].as_array().unwrap().iter().collect();
    let counted = |i: usize| (by[i]["method"].as_str().unwrap(), by[i]["certified"].as_u64().unwrap());
    assert_eq!((counted(0), counted(1)), (("ibp", 8), ("crown", 8)));
    assert_eq!(by[1]["together"]["certified"], 16);
    assert!(by[1]["together"]["low"].as_f64().unwrap() > 0.56 && by[1]["together"]["high"].as_f64().unwrap() < 0.95);
    let certificate = |i: usize| &both["certificates"][i];
    assert_eq!(
        (certificate(0)["verdict"].as_str(), certificate(0)["certified_by"].as_str()),
        (Some("certified"), Some("ibp"))
    );
    assert_eq!((certificate(9)["verdict"].as_str(), &certificate(9)["certified_by"]), (Some("unknown"), &Value::Null));
    assert!(certificate(0)["bounds"].as_array().unwrap().is_empty());

    let all = json(folder.path(), &with(&["--method", "ibp,crown", "--all"]));
    let own: Vec<_> = all["by_method"].as_array().unwrap().iter().map(|of| of["certified"].as_u64().unwrap()).collect();
    assert_eq!((own, all["certificates"][0]["bounds"].as_array().unwrap().len()), (vec![8, 16], 2));

    let table = ends(folder.path(), 0, &with(&[]));
    for words in [
        "crown",
        "80.0 % (16/20)",
        "56.3 to 94.3 %",
        "0 misclassified, 4 that the bounds are too loose for",
        "binary32",
    ] {
        assert!(table.contains(words), "{words:?} is not in\n{table}");
    }
    let none = [&EMBED[..], &CERTIFY[..5], &["Linf:0.3", "--method", "ibp"]].concat();
    let table = ends(folder.path(), 0, &none);
    assert!(table.contains("0.0 % (0/20)") && table.contains("--method crown is tighter"), "{table}");
    let late = json(folder.path(), &with(&["--max-seconds", "0.000000001"]));
    assert_eq!((late["stopped"].as_bool(), late["not_finished"].as_u64()), (Some(true), Some(20)));
}

#[test]
fn what_cannot_be_certified_is_told() {
    let folder = folder();
    let with = |change: &[&'static str]| [&EMBED[..], change].concat();
    for (code, says, arguments) in [
        (3, "\"the bent\" (Softplus)", &["certify", "smooth", "--data", "ramp.npz", "--threat", "Linf:0.1"][..]),
        (2, "there are no certificates in L0", &["certify", "twins", "--data", "ramp.npz", "--threat", "L0:1"]),
        (2, "expected a finite radius", &["certify", "twins", "--data", "ramp.npz", "--threat", "L2:inf"]),
        (
            2,
            "unknown method \"crwn\"",
            &["certify", "twins", "--data", "ramp.npz", "--threat", "L2:1", "--method", "crwn"],
        ),
        (2, "--data PATH is required", &["certify", "twins", "--threat", "L2:1"]),
    ] {
        let message = ends(folder.path(), code, &with(arguments));
        assert!(message.contains(says), "expected {says:?} in {message}");
    }
    let intervals = json(
        folder.path(),
        &with(&["certify", "smooth", "--data", "ramp.npz", "--threat", "Linf:0.1", "--method", "ibp"]),
    );
    assert_eq!(intervals["samples"], 20);
}

#[test]
fn a_server_says_the_same() {
    let folder = folder();
    let here = json(folder.path(), &[&EMBED[..], &CERTIFY].concat());
    let server = Server::start(folder.path(), "models", &[]);
    let there = json(folder.path(), &[&["--server", &server.address][..], &CERTIFY].concat());
    for field in ["certified", "certificates", "methods", "by_method"] {
        assert_eq!(here[field], there[field], "{field}");
    }
    let proved = "assay_certify_samples_total{rpc=\"Certify\",model=\"twins\",method=\"crown\",verdict=\"certified\"}";
    server.wait_until(proved, |samples| samples == 16.0);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn an_audit_has_the_verified_accuracy_beside_the_robust_one() {
    let folder = folder();
    let audit = ["audit", "twins", "--data", "ramp.npz", "--threat", "Linf:0.1", "--attack", "fgsm"];
    let with = |more: &[&'static str]| [&EMBED[..], &audit, more].concat();
    let shown = ends(
        folder.path(),
        0,
        &with(&["--certify=ibp,crown", "--min-certified", "0.5", "--report", "r.md", "--report", "r.csv"]),
    );
    for words in [
        "verified, Linf 0.1",
        "16/20, 56.3 to 94.3 %",
        "certified: twins, Linf 0.1: by ibp 8, crown 8; 4 bounds too loose, 0 failed",
        "pass verified accuracy of at least 50.0 %",
        "pass no flag certificate-violated",
        "verdict: pass",
    ] {
        assert!(shown.contains(words), "{words:?} is not in\n{shown}");
    }
    let markdown = fs::read_to_string(folder.path().join("r.md")).unwrap();
    assert!(markdown.contains("| twins | verified accuracy, Linf 0.1 | 80.0 % | 16 of 20 |"), "{markdown}");
    let csv = fs::read_to_string(folder.path().join("r.csv")).unwrap();
    assert_eq!(csv.lines().filter(|line| line.ends_with(",certified,crown")).count(), 8);
    let failed = ends(folder.path(), 1, &with(&["--certify", "--min-certified", "0.99"]));
    assert!(failed.contains("FAIL verified accuracy of at least 99.0 %"), "{failed}");

    // A plan says the same; what the samples cannot decide is known before.
    let plan = "schema = 1\nmodels = [{ name = \"twins\" }]\ngates = [{ min_certified = 0.5 }]\n[data]\npath = \"ramp.npz\"\n\
        [[evaluations]]\nnorm = \"Linf\"\neps = \"0.1\"\nattacks = [{ name = \"fgsm\" }]\n[certification]\nmethods = [\"ibp\", \"crown\"]\n";
    fs::write(folder.path().join("audit.toml"), plan).unwrap();
    let checked = ends(folder.path(), 0, &["plan", "check", "audit.toml", "--samples", "3"]);
    assert!(checked.contains("gates[0].min_certified cannot pass on 3 samples"), "{checked}");
    let planned = ends(folder.path(), 0, &[&EMBED[..], &["audit", "--plan", "audit.toml"]].concat());
    assert!(planned.contains("verified, Linf 0.1") && planned.contains("16/20"), "{planned}");
    let quoted = ends(folder.path(), 0, &[&EMBED[..], &["audit", "--plan", "audit.toml", "--quote"]].concat());
    assert!(quoted.contains("certify Linf 0.1 (40 certificates)") && quoted.contains("unknown"), "{quoted}");
    let smooth = plan.replace("twins", "smooth");
    fs::write(folder.path().join("smooth.toml"), smooth).unwrap();
    let refused = ends(folder.path(), 3, &[&EMBED[..], &["audit", "--plan", "smooth.toml"]].concat());
    assert!(refused.contains("\"the bent\" (Softplus)"), "{refused}");
    let message = ends(folder.path(), 2, &with(&["--min-certified", "0.5"]));
    assert!(message.contains("--certify"), "{message}");
}

#[test]
fn a_comparison_has_a_column_of_verified_accuracies_where_they_were_measured() {
    let folder = folder();
    let compare = ["compare", "twins", "copy", "--data", "ramp.npz", "--threat", "Linf:0.1", "--attack", "fgsm"];
    let with = |more: &[&'static str]| ends(folder.path(), 0, &[&EMBED[..], &compare, more].concat());
    let shown = with(&["--certify", "--report", "c.md", "--report", "c.json", "--report", "c.html"]);
    assert!(shown.contains("verified, Linf 0.1") && shown.matches("80.0 %").count() >= 4, "{shown}");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let (markdown, family): (_, Value) = (read("c.md"), serde_json::from_str(&read("c.json")).unwrap());
    let cells = |line: &str| line.matches('|').count();
    let table: Vec<&str> = markdown.lines().filter(|line| line.starts_with('|')).collect();
    assert!(table[0].contains("| verified, Linf 0.1 |") && table.iter().all(|line| cells(line) == cells(table[0])));
    assert_eq!(family["members"][1]["threats"][0]["verified"]["hits"], 16);
    assert!(read("c.html").contains("<small>verified 80.0 %</small>"));
    assert!(!with(&[]).contains("verified"));
}

/// That class 0 is not preferred where all four values are in an interval.
fn property(low: f64, high: f64) -> String {
    let inputs =
        (0..4).map(|i| format!("(declare-const X_{i} Real)\n(assert (>= X_{i} {low}))\n(assert (<= X_{i} {high}))\n"));
    let outputs = "(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n(assert (>= Y_0 Y_1))\n";
    inputs.collect::<String>() + outputs
}

#[test]
fn a_property_is_answered_as_the_competitions_want_it() {
    let folder = folder();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("holds.vnnlib", &property(0.51, 1.0));
    write("violated.vnnlib", &property(0.4, 0.6));
    write("wrong.vnnlib", &property(0.4, 0.6).replace("X_3 0.6", "X_4 0.6"));
    write("other.vnnlib", "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 1))(assert (>= X_0 0))");
    let with = |file: &'static str| [&EMBED[..], &["certify", "twins", "--vnnlib", file]].concat();
    assert_eq!(ends(folder.path(), 0, &with("holds.vnnlib")), "unsat\n");

    let found = ends(folder.path(), 1, &with("violated.vnnlib"));
    let numbers: Vec<f64> = found
        .lines()
        .skip(1)
        .map(|line| line.trim_matches(['(', ')']).split_once(' ').unwrap().1.parse().unwrap())
        .collect();
    let [inputs @ .., first, second] = numbers.as_slice() else { panic!("{found}") };
    assert!(found.starts_with("sat\n((X_0 ") && found.ends_with("))\n") && inputs.len() == 4, "{found}");
    assert!(inputs.iter().all(|x| (0.4..=0.6).contains(x)) && first >= second, "{found}");
    let mean = inputs.iter().sum::<f64>() / 4.0;
    assert!((second - (mean - 0.5)).abs() < 1e-5, "{found}");

    // Time that is over before there was a proof is no answer.
    let late = assay(folder.path(), &[&with("holds.vnnlib")[..], &["--max-seconds", "0.000000001"]].concat());
    assert_eq!((late.status.code(), text(&late.stdout).as_str()), (Some(4), "unknown\n"), "{}", text(&late.stderr));
    for (file, says) in [
        ("wrong.vnnlib", "property: line 12: X_4 is not declared"),
        ("other.vnnlib", "the property is about 1 inputs and 1 outputs"),
        ("none.vnnlib", "none.vnnlib: "),
    ] {
        let message = ends(folder.path(), 2, &with(file));
        assert!(message.contains(says), "expected {says:?} in {message}");
    }
    let both = [&with("holds.vnnlib")[..], &["--threat", "Linf:0.1"]].concat();
    assert!(ends(folder.path(), 2, &both).contains("cannot be used with"));
    let smooth = [&EMBED[..], &["certify", "smooth", "--vnnlib", "holds.vnnlib"]].concat();
    assert!(ends(folder.path(), 3, &smooth).contains("\"the bent\" (Softplus)"));
}
