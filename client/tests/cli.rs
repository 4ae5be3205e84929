//! The built `assay` as its users meet it: output, files and exit codes, without a server (`--embed`) and with one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod server;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use ndarray::{Array1, Array4};
use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Server, repository};

/// `assay` in the root of the repository, where the demo's paths are short.
fn assay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assay"))
        .current_dir(repository())
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
fn succeeds(arguments: &[&str]) -> String {
    let output = assay(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeeds(&[&["--output", "json"], arguments].concat())).unwrap()
}

#[track_caller]
fn fails(code: i32, says: &str, arguments: &[&str]) {
    let output = assay(arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(message.contains(says), "{arguments:?}: expected \"{says}\" in: {message}");
}

const EMBED: [&str; 2] = ["--embed", "deploy/models"];
const DATA: [&str; 2] = ["--data", "deploy/data/fashion-mnist"];

fn embedded<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&EMBED, arguments].concat()
}

#[test]
fn lists_and_shows_models() {
    let list = json(&embedded(&["models"]));
    let names: Vec<&str> = list["models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    let all = ["dense", "filter-pruned", "layer-pruned", "restrided", "robust", "upsampled"];
    assert_eq!(names, all.map(|name| format!("fashion-{name}")));
    assert!(list["models"].as_array().unwrap().iter().all(|m| m["ready"] == true), "{list}");

    let model = json(&embedded(&["models", "fashion-filter-pruned"]));
    assert_eq!(model["parent"], "fashion-dense");
    assert_eq!(model["input"]["shape"], serde_json::json!([1, 28, 28]));
    assert_eq!(model["gradients"]["kind"], "exact");
    assert_eq!(model["digest"].as_str().unwrap().len(), 64);
    assert!(succeeds(&embedded(&["models", "fashion-filter-pruned"])).contains("Ankle boot"));
}

#[test]
fn shows_which_models_were_made_from_which() {
    let tree = succeeds(&embedded(&["models", "lineage"]));
    for line in ["│ fashion-dense/1", "│ └─ fashion-filter-pruned/1", "fashion-dense/1 "] {
        assert!(tree.contains(line), "{line:?} is not in\n{tree}");
    }
    let names = |answer: &Value| -> Vec<String> {
        answer["models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap().to_owned()).collect()
    };
    let pruned = json(&embedded(&["models", "lineage", "fashion-layer-pruned/1"]));
    assert_eq!(names(&pruned), ["fashion-robust", "fashion-layer-pruned"]);
    assert_eq!(pruned["models"][1]["parent"]["by"], "digest");

    // Of files that say nothing of their making, model.toml does.
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in [("whole", "qdq"), ("part", "qoperator")] {
        let version = folder.path().join(name).join("1");
        std::fs::create_dir_all(&version).unwrap();
        let file = format!("{}/../crates/runtime/tests/quantized/{file}.onnx", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(file, version.join("model.onnx")).unwrap();
    }
    std::fs::write(folder.path().join("part/model.toml"), "parent = \"whole\"\n").unwrap();
    let lineage = ["--embed", folder.path().to_str().unwrap(), "models", "lineage"];
    assert!(succeeds(&lineage).contains("whole, as model.toml says"));
    let whole = json(&lineage);
    assert_eq!(names(&whole), ["whole", "part"]);
    assert_eq!(whole["models"][1]["parent"]["by"], "model.toml");
    fails(2, "there is no model `fashion-rubust`", &embedded(&["models", "lineage", "fashion-rubust"]));
}

#[test]
fn lists_and_shows_attacks() {
    let table = succeeds(&embedded(&["attacks"]));
    for name in ["apgd", "apgd-t", "autoattack-standard", "ddn", "fab-t", "fgsm", "fmn", "pgd", "square"] {
        assert!(table.contains(name), "{table}");
    }
    let pgd = json(&embedded(&["attacks", "pgd"]));
    let parameters = pgd["attacks"][0]["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|p| p["name"] == "steps" && p["default"] == "40"), "{pgd}");
}

#[test]
fn predicts_a_data_set_with_its_accuracy() {
    let answer = json(&embedded(&[&["predict", "fashion-dense"], &DATA[..], &["--samples", "100"]].concat()));
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 100);
    let correct = answer["correct"].as_u64().unwrap();
    assert!(correct >= 80, "{correct} of 100");
    let probability = answer["predictions"][0]["classes"][0]["probability"].as_f64().unwrap();
    assert!((0.1..=1.0).contains(&probability));
}

#[test]
fn predicts_images_of_every_format_alike() {
    let folder = tempfile::tempdir().unwrap();
    let pixels: Vec<u8> = (0..784u32).map(|i| (i * 7 % 256) as u8).collect();
    let png = folder.path().join("a.png");
    image::save_buffer(&png, &pixels, 28, 28, image::ExtendedColorType::L8).unwrap();
    let npy = folder.path().join("a.npy");
    let values = ndarray::Array3::from_shape_vec((1, 28, 28), pixels).unwrap();
    ndarray_npy::write_npy(&npy, &values).unwrap();

    let (png, npy) = (png.to_str().unwrap(), npy.to_str().unwrap());
    let answer = json(&embedded(&["predict", "fashion-dense", "--image", png, npy, "--top-k", "10"]));
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!(predictions[0]["classes"].as_array().unwrap().len(), 10);
    assert_eq!(predictions[0]["classes"], predictions[1]["classes"]);
    assert_eq!(predictions[0]["sample"], png);
}

#[test]
fn measures_how_fast_a_model_answers() {
    let short = ["--duration", "0.5", "--warm-up", "0.1"];
    let closed =
        json(&embedded(&[&["bench", "fashion-dense", "--concurrency", "1,4", "--batch", "3"], &short[..]].concat()));
    let runs = closed["runs"].as_array().unwrap();
    assert_eq!(runs.iter().map(|run| run["concurrency"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 4]);
    for run in runs {
        let (answered, times) = (run["answered"].as_u64().unwrap(), &run["latency_seconds"]);
        assert!(answered > 0 && run["failed"].as_object().unwrap().is_empty(), "{run}");
        let ordered = ["p50", "p90", "p99", "p99.9", "max"].map(|name| times[name].as_f64().unwrap());
        assert!(ordered[0] > 0.0 && ordered.is_sorted(), "{run}");
        let (requests, samples) =
            (run["requests_per_second"].as_f64().unwrap(), run["samples_per_second"].as_f64().unwrap());
        assert_eq!((requests * 0.5).round() as u64, answered);
        assert_eq!((samples / requests).round(), 3.0);
    }
    let open = json(&embedded(&[&["bench", "fashion-dense", "--rate", "20", DATA[0], DATA[1]], &short[..]].concat()));
    let run = &open["runs"][0];
    assert_eq!((run["answered"].as_u64(), run["rate"].as_f64()), (Some(10), Some(20.0)));
    let shown = succeeds(&embedded(&[&["bench", "fashion-dense", "--concurrency", "1"], &short[..]].concat()));
    assert!(shown.contains("1 caller") && shown.contains("p99.9"), "{shown}");
    fails(2, "takes at most 1024 samples", &embedded(&["bench", "fashion-dense", "--batch", "1025"]));
    fails(2, "cannot be used with", &embedded(&["bench", "fashion-dense", "--rate", "9", "--concurrency", "1"]));
}

#[test]
fn differentiates_a_data_set_and_saves_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (archive, maps, cotangent) = (file("gradient.npz"), file("maps"), file("cotangent.npy"));
    let data = [&["gradient", "fashion-robust"], &DATA[..], &["--samples", "30"]].concat();
    let answer = json(&embedded(&[&data[..], &["--save", &archive, "--saliency", &maps]].concat()));
    assert_eq!(answer["gradients"]["kind"], "exact");
    let samples = answer["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 30);
    let mut read = ndarray_npy::NpzReader::new(std::fs::File::open(&archive).unwrap()).unwrap();
    let gradient: ndarray::ArrayD<f32> = read.by_name("gradient").unwrap();
    let logits: ndarray::Array2<f32> = read.by_name("logits").unwrap();
    let loss: ndarray::Array1<f32> = read.by_name("loss").unwrap();
    let labels: ndarray::Array1<u32> = read.by_name("labels").unwrap();
    assert_eq!(gradient.shape(), [30, 1, 28, 28]);
    for (i, sample) in samples.iter().enumerate() {
        let g = gradient.index_axis(ndarray::Axis(0), i);
        let l2 = g.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        assert!((sample["l2"].as_f64().unwrap() - l2).abs() < 1e-9 && l2 > 0.0);
        assert_eq!(sample["label"], labels[i]);
        let z = logits.row(i);
        let expected = z.iter().map(|z| z.exp()).sum::<f32>().ln() - z[labels[i] as usize];
        assert!((loss[i] - expected).abs() < 1e-4, "{} {expected}", loss[i]);
        // The brightest pixel of the map is where the gradient is largest.
        let map = image::open(folder.path().join(format!("maps/{i}.png"))).unwrap().into_luma8();
        let largest = g.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
        let at = g.iter().position(|v| v.abs() == largest).unwrap();
        assert_eq!((map.dimensions(), map.as_raw()[at]), ((28, 28), 255));
    }

    // A cotangent that picks the label's logit from cross-entropy's own derivative gives its gradient.
    let mut weights = logits.mapv(f32::exp);
    for (mut row, &label) in weights.rows_mut().into_iter().zip(&labels) {
        row /= row.sum();
        row[label as usize] -= 1.0;
    }
    ndarray_npy::write_npy(&cotangent, &weights).unwrap();
    let product = json(&embedded(&[&data[..], &["--cotangent", &cotangent]].concat()));
    for (by_loss, by_cotangent) in samples.iter().zip(product["samples"].as_array().unwrap()) {
        let [a, b] = [by_loss, by_cotangent].map(|sample| sample["l2"].as_f64().unwrap());
        assert!((a - b).abs() < 1e-3 * a + 1e-5, "{a} {b}");
        assert!(by_cotangent["loss"].is_null() && by_cotangent["label"].is_null());
    }
}

#[test]
fn an_image_without_a_label_is_differentiated_at_its_prediction() {
    let folder = tempfile::tempdir().unwrap();
    let png = folder.path().join("a.png");
    let pixels: Vec<u8> = (0..784u32).map(|i| (i * 7 % 256) as u8).collect();
    image::save_buffer(&png, &pixels, 28, 28, image::ExtendedColorType::L8).unwrap();
    let arguments = embedded(&["gradient", "fashion-dense", "--image", png.to_str().unwrap(), "--loss", "margin"]);
    let answer = json(&arguments);
    assert_eq!(answer["samples"][0]["label"], answer["samples"][0]["predicted"]);
    // The margin of the predicted class is negative.
    assert!(answer["samples"][0]["loss"].as_f64().unwrap() < 0.0);
    let labelled = json(&[&arguments[..], &["--label", "3"]].concat());
    assert_eq!(labelled["samples"][0]["label"], 3);
    assert!(succeeds(&arguments).contains("gradient: exact"));
}

#[test]
fn inspects_what_a_model_is_made_of() {
    let model = json(&embedded(&["models", "inspect", "fashion-filter-pruned"]));
    let structure = &model["structure"];
    let layers = structure["layers"].as_array().unwrap();
    let sum: u64 = layers.iter().map(|layer| layer["macs"].as_u64().unwrap()).sum();
    assert_eq!(structure["macs"], sum);
    assert!(structure["operators"]["Conv"].as_u64().unwrap() >= 2, "{structure}");
    assert_eq!(model["gradients"]["kind"], "exact");
    let dense = json(&embedded(&["models", "inspect", "fashion-dense"]));
    assert!(dense["structure"]["macs"].as_u64() > structure["macs"].as_u64());
    let table = succeeds(&embedded(&["models", "inspect", "fashion-filter-pruned/1"]));
    for part in ["multiply-accumulates", "zeros among them", "opset", "Conv", "exact"] {
        assert!(table.contains(part), "{part} is not in {table}");
    }
}

#[test]
fn attacks_and_saves_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("adversarial.npy");
    let arguments = [
        &["attack", "fashion-dense"],
        &DATA[..],
        &["--samples", "40", "--threat", "Linf:0.1", "--attack", "pgd:steps=10", "--save", file.to_str().unwrap()],
    ]
    .concat();
    let answer = json(&embedded(&arguments));
    let count = |name: &str| answer[name].as_u64().unwrap();
    assert_eq!(count("misclassified") + count("broken") + count("robust") + count("unstable") + count("errors"), 40);
    assert!(count("broken") > 20, "{answer}");
    let outcomes = answer["outcomes"].as_array().unwrap();
    for outcome in outcomes.iter().filter(|o| o["outcome"] == "broken") {
        assert!(outcome["distance_linf"].as_f64().unwrap() <= 0.1);
        assert_ne!(outcome["adversarial_prediction"], outcome["label"]);
    }
    let saved: ndarray::ArrayD<f32> = ndarray_npy::read_npy(&file).unwrap();
    assert_eq!(saved.shape(), [40, 1, 28, 28]);
    assert!(saved.iter().all(|v| (0.0..=1.0).contains(v)));
}

#[test]
fn one_perturbation_is_made_from_some_samples_and_judged_on_the_others() {
    let arguments = [
        &["attack", "fashion-dense"],
        &DATA[..],
        &["--samples", "40", "--threat", "Linf:0.1", "--attack", "universal:fit=0.25"],
    ]
    .concat();
    let answer = json(&embedded(&arguments));
    let count = |name: &str| answer[name].as_u64().unwrap();
    assert_eq!((count("samples"), count("fitted")), (30, 10));
    assert_eq!(count("misclassified") + count("broken") + count("robust") + count("unstable") + count("errors"), 30);
    let outcomes = answer["outcomes"].as_array().unwrap();
    assert!(outcomes.iter().enumerate().all(|(i, outcome)| (outcome["outcome"] == "fitted") == (i < 10)), "{answer}");
    let table = succeeds(&embedded(&arguments));
    assert!(table.contains("10 samples are what the attack was made from, and not counted"), "{table}");
    assert!(table.contains(&format!("({}/30)", count("broken"))), "{table}");
}

#[test]
fn an_attack_is_aimed_at_a_class_and_leaves_out_its_samples() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("adversarial.npy");
    let attack = [
        &["attack", "fashion-dense"],
        &DATA[..],
        &["--samples", "40", "--threat", "Linf:0.1", "--attack", "pgd:steps=20", "--seed", "1"],
    ]
    .concat();
    let answer = json(&embedded(&[&attack[..], &["--target", "0", "--save", file.to_str().unwrap()]].concat()));
    let outcomes = answer["outcomes"].as_array().unwrap();
    let left_out = answer["left_out"].as_u64().unwrap();
    assert_eq!((left_out > 0, left_out + outcomes.len() as u64), (true, 40));
    let mut broken = 0;
    for outcome in outcomes {
        assert!(outcome["label"] != 0 && outcome["target"] == 0, "{outcome}");
        if outcome["outcome"] == "broken" {
            assert_eq!(outcome["adversarial_prediction"], 0);
            broken += 1;
        }
    }
    assert!(broken > 5, "{answer}");
    let kept: Vec<_> = outcomes.iter().map(|outcome| outcome["sample"].as_u64().unwrap()).collect();
    let saved: ndarray::ArrayD<f32> = ndarray_npy::read_npy(&file).unwrap();
    assert_eq!(saved.shape(), [40, 1, 28, 28]);
    assert!(kept.is_sorted() && kept.last() == Some(&39), "samples keep their numbers: {kept:?}");

    let all = json(&embedded(&[&attack[..], &["--target", "least-likely"]].concat()));
    assert_eq!((all["left_out"].as_u64(), all["samples"].as_u64()), (Some(0), Some(40)));
    let table = succeeds(&embedded(&[&attack[..], &["--target", "0"]].concat()));
    assert!(table.contains("samples are labelled with the target and left out"), "{table}");
    fails(2, "expected a class", &embedded(&[&attack[..], &["--target", "shirt"]].concat()));
    fails(2, "10 classes", &embedded(&[&attack[..], &["--target", "rank:10"]].concat()));
}

/// Five severities of two images each, as CIFAR-10-C has them: the images of the third are white.
fn corrupted_images() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let images = Array4::from_shape_fn((10, 28, 28, 1), |(i, ..)| if i / 2 == 2 { 255_u8 } else { 0 });
    ndarray_npy::write_npy(folder.path().join("fog.npy"), &images).unwrap();
    let labels = Array1::from_shape_fn(10, |i| (i % 2) as u8);
    ndarray_npy::write_npy(folder.path().join("labels.npy"), &labels).unwrap();
    folder
}

#[test]
fn a_severity_of_corrupted_images_is_data_and_said_to_be_the_users() {
    let folder = corrupted_images();
    let file = folder.path().join("fog.npy");
    let file = file.to_str().unwrap();
    let words = "fog.npy, severity 3, supplied by the user";
    let predict = embedded(&["predict", "fashion-dense", "--data", file, "--severity"]);
    let [white, black] = ["3", "2"].map(|severity| json(&[&predict[..], &[severity]].concat()));
    assert!(white["data"].as_str().unwrap().ends_with(words), "{white}");
    assert_eq!(white["predictions"].as_array().unwrap().len(), 2);
    assert_eq!(white["predictions"][1]["label"], 1);
    assert_ne!(white["predictions"][0]["classes"], black["predictions"][0]["classes"]);
    assert!(succeeds(&[&predict[..], &["3"]].concat()).contains(words));

    let threat = ["--data", file, "--severity", "3", "--threat", "L2:inf", "--attack", "negative"];
    let attacked = embedded(&[&["attack", "fashion-dense"][..], &threat].concat());
    assert!(json(&attacked)["data"].as_str().unwrap().ends_with(words));
    assert!(succeeds(&attacked).contains(words));
    let report = json(&embedded(&[&["audit", "fashion-dense"][..], &threat].concat()));
    assert!(report["setup"]["data"]["name"].as_str().unwrap().ends_with(words), "{}", report["setup"]);

    fails(2, "name one of them (--severity 1 to 5)", &embedded(&["predict", "fashion-dense", "--data", file]));
    fails(2, "expected a severity from 1 to 5", &[&predict[..], &["6"]].concat());
    fails(2, "--data", &embedded(&["predict", "fashion-dense", "--severity", "1"]));
    fails(
        2,
        "a severity is one of five parts of an .npy file",
        &embedded(&[&["predict", "fashion-dense", "--severity", "1"][..], &DATA].concat()),
    );
}

#[test]
fn an_audit_writes_its_reports_and_its_exit_code_is_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (html, markdown, data) = (file("r.html"), file("r.md"), file("r.json"));
    let arguments = [
        &["audit", "fashion-robust", "fashion-layer-pruned"],
        &DATA[..],
        &["--samples", "50", "--threat", "Linf:0.1", "--attack", "fgsm"],
        &["--report", &html, "--report", &markdown, "--report", &data],
    ]
    .concat();
    let table = succeeds(&embedded(&[&arguments[..], &["--min-robust-accuracy", "0.5"]].concat()));
    assert!(table.contains("verdict: pass"), "{table}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&data).unwrap()).unwrap();
    assert_eq!(report["models"].as_array().unwrap().len(), 2);
    assert_eq!(report["models"][0]["clean"]["of"], 50);
    assert!(std::fs::read_to_string(&html).unwrap().starts_with("<!doctype html>"));
    assert!(std::fs::read_to_string(&markdown).unwrap().contains("fashion-layer-pruned"));

    std::fs::remove_file(&html).unwrap();
    let output = assay(&embedded(&[&arguments[..], &["--min-robust-accuracy", "1"]].concat()));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(Path::new(&html).exists(), "the report is there when a gate fails");

    // Fifty samples cannot show that two models are within 1 point.
    std::fs::remove_file(&html).unwrap();
    let output = assay(&embedded(&[&arguments[..], &["--max-drop", "0.01"]].concat()));
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("verdict: inconclusive"), "{}", text(&output.stdout));
    assert!(Path::new(&html).exists(), "the report is there when a gate is open");
    fails(2, "expected one of randomized-output", &embedded(&[&arguments[..], &["--forbid-flags", "masked"]].concat()));
}

/// A plan beside its data, on 100 samples: two chunks.
#[test]
fn an_audit_shows_what_is_found_on_one_model_to_the_other() {
    let models = ["audit", "fashion-dense", "fashion-filter-pruned", "--samples", "40", "--transfer"];
    let shown = succeeds(&embedded(&[&models, &DATA[..], &["--threat", "Linf:0.05", "--attack", "fgsm"]].concat()));
    let row = shown.lines().skip_while(|line| !line.contains("and what was found")).take(2).collect::<Vec<_>>();
    assert!(
        row.len() == 2 && row[1].contains("on the other model") && row[1].matches("mislead it").count() == 2,
        "{shown}"
    );
}

fn planned(folder: &Path, gates: &str) -> String {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/data/fashion-mnist");
    std::os::unix::fs::symlink(data.canonicalize().unwrap(), folder.join("images")).unwrap();
    let plan = format!(
        "schema = 1\nseed = 3\nmodels = [{{ name = \"fashion-robust\" }}, {{ name = \"fashion-layer-pruned\" }}]\ngates = [{gates}]\n\
         [data]\npath = \"images\"\nsamples = 100\n\
         [[evaluations]]\nnorm = \"Linf\"\neps = [\"0.05\", \"0.1\"]\nattacks = [{{ name = \"pgd\", parameters = {{ steps = 3 }} }}]\n"
    );
    let file = folder.join("audit.toml");
    std::fs::write(&file, plan).unwrap();
    file.display().to_string()
}

#[test]
fn shards_of_a_plan_make_the_report_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let plan = planned(folder.path(), "{ min_robust_accuracy = 0.3 }");
    let whole = [file("whole.json"), file("whole.jsonl")];
    succeeds(&embedded(&["audit", "--plan", &plan, "--report", &whole[0], "--report", &whole[1]]));
    // Another machine has the plan and its data in another folder.
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = planned(elsewhere.path(), "{ min_robust_accuracy = 0.3 }");
    for (shard, plan) in [("0/2", &plan), ("1/2", &copy)] {
        let record = file(&format!("{}.part.jsonl", &shard[..1]));
        let told = succeeds(&embedded(&["audit", "--plan", plan, "--shard", shard, "--report", &record]));
        assert!(told.contains(&format!("part {shard}: its gates are decided when")), "{told}");
    }
    let merged = [file("merged.json"), file("merged.xml"), file("merged.sarif"), file("merged.csv")];
    let parts = [file("0.part.jsonl"), file("1.part.jsonl")];
    let reports: Vec<&str> = merged.iter().flat_map(|file| ["--report", file]).collect();
    succeeds(&[&["report", "merge", &parts[1], &parts[0]][..], &reports].concat());
    succeeds(&["report", "render", &whole[1], "--report", &file("again.json")]);
    let read = |name: &str| -> Value {
        let mut report: Value = serde_json::from_str(&std::fs::read_to_string(file(name)).unwrap()).unwrap();
        assert!(report.as_object_mut().unwrap().remove("run").unwrap()["seconds"].as_f64().unwrap() > 0.0);
        report
    };
    let report = read("whole.json");
    assert_eq!(report["samples"]["labels"].as_array().unwrap().len(), 100);
    assert_eq!(report["models"][0]["threats"].as_array().unwrap().len(), 2);
    // To the byte: a value is printed in the order of its file.
    assert_eq!(read("merged.json").to_string(), report.to_string());
    assert_eq!(read("again.json").to_string(), report.to_string());
    assert_eq!(std::fs::read_to_string(file("merged.csv")).unwrap().lines().count(), 1 + 100 * 2 * 2);
    assert!(std::fs::read_to_string(file("merged.xml")).unwrap().contains("<testsuites"));
    let sarif: Value = serde_json::from_str(&std::fs::read_to_string(file("merged.sarif")).unwrap()).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    fails(2, "shard 1/2 is missing", &["report", "merge", &parts[0], "--report", &file("half.json")]);
    fails(2, "holds no record", &["report", "merge", "deploy/recipes", "--report", &file("x.json")]);
    fails(2, "the ending must be one of .json, .html", &["report", "render", &whole[1], "--report", &file("x.pdf")]);
    let told = succeeds(&["report", "annotate", &whole[0]]);
    assert!(told.starts_with("::notice title=Robustness audit"), "{told}");
}

#[test]
fn a_model_is_compared_with_the_last_accepted_report() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let two = planned(folder.path(), "{ max_drop = 0.5 }");
    succeeds(&embedded(&["audit", "--plan", &two, "--report", &file("both.json")]));
    let text = std::fs::read_to_string(&two).unwrap();
    let changed = |name: &str, changes: &[[&str; 2]]| -> String {
        let text = changes.iter().fold(text.clone(), |text, [from, to]| text.replace(from, to));
        std::fs::write(file(name), text).unwrap();
        file(name)
    };
    let [parent, variant] = [["{ name = \"fashion-robust\" }, ", ""], [", { name = \"fashion-layer-pruned\" }", ""]];
    let alone = changed("alone.toml", &[variant]);
    fails(2, "alone.toml:4: gates[0].max_drop: compares two models", &embedded(&["audit", "--plan", &alone]));
    let told = succeeds(&["plan", "check", &alone]);
    assert!(told.contains("--baseline REPORT"), "{told}");
    let alone = changed("alone.toml", &[variant, ["max_drop = 0.5", "min_clean_accuracy = 0.1"]]);
    let accepted = file("accepted.json");
    succeeds(&embedded(&["audit", "--plan", &alone, "--report", &accepted]));
    let later = changed("later.toml", &[parent]);
    let report = file("later.json");
    let told = succeeds(&embedded(&["audit", "--plan", &later, "--baseline", &accepted, "--report", &report]));
    assert!(told.contains("difference from accepted fashion-"), "{told}");
    let read = |name: &str| -> Value { serde_json::from_str(&std::fs::read_to_string(file(name)).unwrap()).unwrap() };
    assert_eq!(read("later.json")["comparison"], read("both.json")["comparison"]);
    assert_eq!(read("later.json")["gates"], read("both.json")["gates"]);
    // What a report says can be looked at again, and a report that was changed is found out.
    let told = succeeds(&embedded(&["report", "verify", &accepted, "--data", &file("images"), "--samples", "30"]));
    assert!(told.contains("30 of 100 samples were measured again: 0 of 91 findings differ"), "{told}");
    let mut forged = read("accepted.json");
    for threat in forged["models"][0]["threats"].as_array_mut().unwrap() {
        threat["outcomes"] = serde_json::json!([]);
    }
    std::fs::write(file("forged.json"), forged.to_string()).unwrap();
    let told =
        assay(&embedded(&["report", "verify", &file("forged.json"), "--data", &file("images"), "--samples", "30"]));
    assert_eq!(told.status.code(), Some(1));
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("held") && told.contains("by pgd"), "{told}");
    fails(2, "say with --data where the samples are", &embedded(&["report", "verify", &accepted]));
    // Other samples are no baseline.
    let fewer = changed("fewer.toml", &[parent, ["samples = 100", "samples = 90"]]);
    let words = "the accepted report is on other samples (100 there, 90 here)";
    fails(3, words, &embedded(&["audit", "--plan", &fewer, "--baseline", &accepted]));
    fails(2, "names two", &embedded(&["audit", "--plan", &two, "--baseline", &accepted]));
    // What only the server knows is told with its line, too.
    let wrong = ["fashion-layer-pruned", "fashion-layer-prunde"];
    let alone = changed("wrong-alone.toml", &[parent, wrong, ["max_drop = 0.5", "min_clean_accuracy = 0.1"]]);
    for plan in [alone, changed("wrong-second.toml", &[wrong])] {
        fails(2, &format!("{plan}:3: "), &embedded(&["audit", "--plan", &plan]));
    }
}

#[test]
fn a_model_is_compared_with_what_was_made_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let compare = |more: &[&str]| -> Vec<String> {
        let how =
            ["--data", "deploy/data/fashion-mnist", "--samples", "20", "--threat", "Linf:0.1", "--attack", "fgsm"];
        let all = embedded(&[&["compare"], more, &how].concat());
        all.into_iter().map(str::to_owned).collect()
    };
    let [json, page, markdown] = ["family.json", "family.html", "family.md"].map(file);
    let arguments = compare(&[
        "fashion-dense",
        "--report",
        &json,
        "--report",
        &page,
        "--report",
        &markdown,
        "--max-latency-ratio",
        "50",
    ]);
    let told = succeeds(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(told.contains("fashion-filter-pruned") && !told.contains("fashion-robust"), "{told}");
    assert!(told.contains("pass: latency of fashion-filter-pruned is 0."), "{told}");
    let family: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let [parent, variant] = family["members"].as_array().unwrap().as_slice() else { panic!("{family}") };
    assert_eq!((&parent["name"], &variant["name"]), (&"fashion-dense".into(), &"fashion-filter-pruned".into()));
    let macs = |member: &Value| member["costs"]["macs"].as_f64().unwrap();
    assert!(
        macs(variant) < 0.6 * macs(parent) && variant["costs"]["bytes"].as_u64() < parent["costs"]["bytes"].as_u64()
    );
    let together = succeeds(&embedded(&[
        "--output",
        "json",
        "audit",
        "fashion-dense",
        "fashion-filter-pruned",
        "--data",
        "deploy/data/fashion-mnist",
        "--samples",
        "20",
        "--threat",
        "Linf:0.1",
        "--attack",
        "fgsm",
    ]));
    let together: Value = serde_json::from_str(&together).unwrap();
    assert_eq!(variant["threats"][0]["difference"], together["comparison"]["threats"][0]);
    assert_eq!(variant["clean_difference"], together["comparison"]["clean"]);
    assert!(std::fs::read_to_string(&page).unwrap().contains("<svg class=\"plot\""));
    assert!(std::fs::read_to_string(&markdown).unwrap().starts_with("# Variants of fashion-dense"));

    let refused = |code: i32, says: &str, more: &[&str]| {
        let arguments = compare(more);
        fails(code, says, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    };
    refused(1, "", &["fashion-dense", "--max-latency-ratio", "0.001"]);
    refused(2, "no hosted model was made from fashion-upsampled", &["fashion-upsampled"]);
    refused(2, "the ending must be one of .json, .md, .html", &["fashion-dense", "--report", &file("x.pdf")]);
}

#[test]
fn a_plan_is_written_checked_and_refused_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.toml").display().to_string();
    succeeds(&["plan", "init", &file]);
    fails(2, "name another file, or remove this one", &["plan", "init", &file]);
    let told = succeeds(&["plan", "check", &file]);
    assert!(told.contains("1000 samples, 2 models:") && told.contains("makes sense"), "{told}");
    // 20 samples cannot show that a drop is small.
    let told = succeeds(&["plan", "check", &file, "--samples", "20"]);
    assert!(told.contains("gates[1].max_drop cannot pass on 20 samples") && told.contains("audit.toml:"), "{told}");
    let text = std::fs::read_to_string(&file).unwrap();
    let line = 1 + text.lines().position(|line| line.starts_with("attacks = ")).unwrap();
    for (from, to, words) in [
        ("name = \"pgd\"", "name = \"pdg\"", format!("audit.toml:{line}: evaluations[0].attacks[0]: unknown attack")),
        ("seed = 1", "sead = 1", "did you mean `seed`?".to_owned()),
        ("schema = 1\n", "", "missing field `schema`".to_owned()),
    ] {
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        fails(2, &words, &["plan", "check", &file]);
        fails(2, &words, &embedded(&["audit", "--plan", &file]));
    }
    fails(2, "cannot be used with", &embedded(&["audit", "--plan", &file, "fashion-robust"]));
    for schema in [succeeds(&["plan", "schema"]), succeeds(&["report", "schema"])] {
        let schema: Value = serde_json::from_str(&schema).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
}

#[test]
fn usage_errors_say_what_to_do() {
    fails(2, "--threat", &embedded(&["attack", "fashion-dense", "--data", "deploy/data/fashion-mnist"]));
    fails(2, "NORM:EPS", &embedded(&["attack", "fashion-dense", "--data", "x", "--threat", "0.1"]));
    fails(2, "--data", &embedded(&["attack", "fashion-dense", "--threat", "Linf:0.1"]));
    fails(2, "no-such-folder", &embedded(&["predict", "fashion-dense", "--data", "no-such-folder"]));
    fails(2, "fashion-dense", &embedded(&["predict", "fashion-dnse", "--image", "x.png"]));
    fails(2, ".html", &embedded(&["audit", "fashion-dense", "--threat", "Linf:0", "--report", "r.pdf", "--data", "x"]));
    fails(
        2,
        "steps",
        &embedded(
            &[&["attack", "fashion-dense", "--threat", "Linf:0.1"], &DATA[..], &["--attack", "pgd:steps=0"]].concat(),
        ),
    );
    fails(
        2,
        "pgd",
        &embedded(&[&["attack", "fashion-dense", "--threat", "Linf:0.1"], &DATA[..], &["--attack", "pdg"]].concat()),
    );
    fails(2, "unknown attack", &embedded(&["attacks", "nothing"]));
    fails(2, "--image FILE, or --data PATH", &embedded(&["predict", "fashion-dense"]));
    fails(2, "--image FILE, or --data PATH", &embedded(&["gradient", "fashion-dense"]));
    let gradient = [&["gradient", "fashion-dense"], &DATA[..], &["--samples", "2"]].concat();
    fails(2, "--target CLASS", &embedded(&[&gradient[..], &["--loss", "margin-targeted"]].concat()));
    fails(2, "dlr-targeted only", &embedded(&[&gradient[..], &["--target", "1"]].concat()));
    fails(2, "no.npy", &embedded(&[&gradient[..], &["--cotangent", "no.npy"]].concat()));
    fails(2, "0 to 9, got 10", &embedded(&[&gradient[..], &["--label", "10"]].concat()));
    fails(2, "no folder no/such", &embedded(&[&gradient[..], &["--save", "no/such/x.npz"]].concat()));
    fails(2, "NAME/VERSION/model.onnx", &["--embed", "no/such/folder", "models"]);
}

#[test]
fn files_that_cannot_be_written_are_refused_before_the_work() {
    let threat = [&DATA[..], &["--threat", "Linf:0.1", "--attack", "pgd:steps=10000"]].concat();
    let audit = [&["audit", "fashion-dense"], &threat[..]].concat();
    let attack = [&["attack", "fashion-dense"], &threat[..]].concat();
    fails(2, "no folder no/such", &embedded(&[&audit[..], &["--report", "no/such/r.html"]].concat()));
    fails(2, "no folder no/such", &embedded(&[&attack[..], &["--save", "no/such/x.npy"]].concat()));
    fails(2, "name a file", &embedded(&[&attack[..], &["--save", "deploy"]].concat()));
}

#[test]
fn a_repository_without_models_and_one_with_a_broken_model_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    assert!(succeeds(&["--embed", root, "models"]).contains("NAME/VERSION/model.onnx"));
    let version = folder.path().join("broken/1");
    std::fs::create_dir_all(&version).unwrap();
    std::fs::write(version.join("model.onnx"), "no model").unwrap();
    assert!(succeeds(&["--embed", root, "models"]).contains("not an ONNX model"));
    fails(3, "not an ONNX model", &[&["--embed", root, "predict", "broken"], &DATA[..]].concat());
}

#[test]
fn a_missing_library_is_told_with_the_remedy() {
    let output = Command::new(env!("CARGO_BIN_EXE_assay"))
        .env("ORT_DYLIB_PATH", "/no/such/libonnxruntime.so")
        .args(["--embed", "deploy/models", "models"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("make setup"), "{}", text(&output.stderr));
}

#[test]
fn a_server_that_is_not_there_is_an_error_of_its_own() {
    fails(3, "cannot reach a server", &["--server", "http://127.0.0.1:9", "models"]);
    fails(2, "HOST:PORT", &["--server", "http://", "models"]);
}

#[test]
fn a_server_gives_the_same_answers_as_an_embedded_one() {
    let server = Server::start(&repository(), "deploy/models", &[]);
    let at = ["--server", &server.address];
    let predict = [&["predict", "fashion-robust"], &DATA[..], &["--samples", "30"]].concat();
    assert_eq!(json(&[&at, &predict[..]].concat()), json(&embedded(&predict)));

    let attack = [&["attack", "fashion-robust"], &DATA[..], &["--samples", "30", "--threat", "L2:1"]].concat();
    let (mut remote, mut local) = (json(&[&at, &attack[..]].concat()), json(&embedded(&attack)));
    for answer in [&mut remote, &mut local] {
        answer.as_object_mut().unwrap().remove("seconds");
        for outcome in answer["outcomes"].as_array_mut().unwrap() {
            let seconds = outcome.as_object_mut().unwrap().remove("seconds");
            assert!(seconds.unwrap().as_f64().unwrap() > 0.0);
        }
    }
    assert_eq!(remote, local);
    assert_eq!(server.stop(), Some(0));
}

/// An audit at `server` that outlasts every test, once it has begun to attack. Its client waits so many seconds for a server that went away.
fn endless_audit(server: &Server, reconnect: &str) -> std::process::Child {
    let arguments = [
        &["--server", &server.address, "audit", "fashion-robust"],
        &DATA[..],
        &["--samples", "64", "--threat", "Linf:0.1", "--attack", "pgd:steps=10000", "--reconnect", reconnect],
    ]
    .concat();
    let audit = Command::new(env!("CARGO_BIN_EXE_assay"))
        .current_dir(repository())
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    server.wait_until("assay_attack_gradients_total{rpc=\"Audit\",model=\"fashion-robust\"}", |count| count > 0.0);
    audit
}

#[test]
fn an_interrupt_leaves_the_audit_to_the_server() {
    let server = Server::start(&repository(), "deploy/models", &[]);
    let audit = endless_audit(&server, "60");
    assert!(Command::new("kill").args(["-INT", &audit.id().to_string()]).status().unwrap().success());
    let output = audit.wait_with_output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("goes on at the server") && message.contains("as long as the server runs"), "{message}");
    server.wait_until("assay_audits{state=\"running\"}", |count| count == 1.0);
    // It has nothing that waits for it.
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_server_that_dies_is_told_in_words() {
    for (reconnect, words) in [("0", "the connection to the server was lost"), ("1", "did not come back within 1 s")] {
        let server = Server::start(&repository(), "deploy/models", &[]);
        let audit = endless_audit(&server, reconnect);
        drop(server);
        let output = audit.wait_with_output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{message}");
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_deadline_ends_the_work() {
    fails(
        3,
        "DeadlineExceeded",
        &embedded(
            &[
                &["--timeout", "0.3", "attack", "fashion-robust", "--threat", "Linf:0.01"],
                &DATA[..],
                &["--attack", "pgd:steps=5000"],
            ]
            .concat(),
        ),
    );
}

#[test]
fn no_answer_within_the_deadline_is_told_in_words() {
    let arguments = [&["--timeout", "0.001", "predict", "fashion-robust"], &DATA[..]].concat();
    let output = assay(&embedded(&arguments));
    assert_eq!(output.status.code(), Some(3));
    // Whoever is first says it: the client, or the server that it hosts.
    let message = text(&output.stderr);
    let told = ["no answer within the time that --timeout gives", "the deadline of 0.001 s passed"];
    assert!(told.iter().any(|words| message.contains(words)), "{message}");
}

#[test]
fn weights_are_attacked_with_denominators() {
    let arguments =
        [&["weights", "fashion-robust"], &DATA[..], &["--samples", "30", "--eps", "0,0.05", "--steps", "3"]].concat();
    let answer = json(&embedded(&[&arguments[..], &["--radii", "0,0.01,0.5"]].concat()));
    let cells = answer["cells"].as_array().unwrap();
    assert_eq!((cells.len(), answer["samples"].as_u64()), (6, Some(30)));
    let correct: Vec<u64> = cells.iter().map(|cell| cell["correct"].as_u64().unwrap()).collect();
    assert!(correct[0] > 20 && correct[2] < correct[0] && correct[3] <= correct[0], "{answer}");
    assert_eq!(answer["random"][0]["correct"].as_u64(), Some(correct[0]));
    let table = succeeds(&embedded(&arguments));
    assert!(table.contains("weights 0.003") && table.contains("/30)") && table.contains("by chance"), "{table}");
    fails(2, "each larger than the one before", &embedded(&[&arguments[..], &["--radii", "0.1,0.01"]].concat()));
    fails(2, "expected a number from 0", &embedded(&[&arguments[..], &["--radii=-1"]].concat()));
}
