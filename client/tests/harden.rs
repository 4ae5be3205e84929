//! `assay harden`, the built program: what it writes, that a killed run goes on, and the jobs of a server.
#![cfg(feature = "embedded")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod server;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use assay_runtime::{Library, OnnxRuntime};
use image::{GrayImage, Luma};

use crate::server::Server;

fn assay() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.env_remove("ASSAY_SERVER").env_remove("ASSAY_API_KEY");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Whether ONNX Runtime is there; without it a test says so and passes.
fn has_runtime() -> bool {
    OnnxRuntime::load(&Library::default()).inspect_err(|e| println!("skipped: {e}")).is_ok()
}

/// Pictures of two classes, and a recipe of so many epochs on them.
fn write(folder: &Path, epochs: u32) {
    for class in 0..2_u32 {
        let to = folder.join("data").join(["dark", "light"][class as usize]);
        fs::create_dir_all(&to).unwrap();
        for i in 0..40_u32 {
            let picture = GrayImage::from_fn(8, 8, |x, y| Luma([(100 * class + (7 * x + 5 * y + 13 * i) % 90) as u8]));
            picture.save(to.join(format!("{i:02}.png"))).unwrap();
        }
    }
    let recipe = format!(
        r#"
        schema = 1
        name = "light"
        seed = 3
        epochs = {epochs}
        batch = 16
        model = {{ architecture = "cnn-8-8" }}
        data = {{ path = "data", validation = 16, augment = {{ flip = true }} }}
        objective = {{ kind = "adversarial", perturbation = {{ norm = "Linf", eps = "0.05", steps = 3, step = 0.5 }} }}
        optimizer = {{ kind = "sgd", rate = 0.05, momentum = 0.9 }}
        "#
    );
    fs::write(folder.join("recipe.toml"), recipe).unwrap();
}

fn harden(folder: &Path, out: &str) -> Command {
    let mut command = assay();
    command.args(["harden", "recipe.toml", "--threads", "1", "--output", "json", "--out", out]).current_dir(folder);
    command
}

#[track_caller]
fn succeeded(output: &Output) -> serde_json::Value {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_model_comes_out_that_predicts() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 4);
    let models = folder.path().join("models/light/1");
    fs::create_dir_all(&models).unwrap();
    let said = succeeded(&harden(folder.path(), "models/light/1/model.onnx").output().unwrap());
    assert_eq!(said["epoch"], 4);
    assert_eq!(said["epochs"].as_array().unwrap().len(), 4);
    assert_eq!(said["epochs"][3]["validation"]["clean"], 16, "{said}");
    assert_eq!(said["lineage"]["assay.kind"], "trained");
    assert_eq!(fs::read_dir(&models).unwrap().count(), 1, "the folder of the run is gone");
    let predicted = assay()
        .args(["--embed", "models", "--output", "json", "predict", "light", "--data", "data"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = succeeded(&predicted);
    assert_eq!(said["correct"], 80, "{said}");
}

/// Killed in the middle, and started again: the same file as without the interruption.
#[test]
fn a_killed_run_goes_on() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 60);
    succeeded(&harden(folder.path(), "whole.onnx").output().unwrap());
    let mut killed = harden(folder.path(), "parts.onnx").spawn().unwrap();
    let (checkpoint, began) = (folder.path().join("parts.run/checkpoint.safetensors"), Instant::now());
    while !checkpoint.exists() && killed.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(120), "no checkpoint");
        std::thread::yield_now();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let said = succeeded(&harden(folder.path(), "parts.onnx").output().unwrap());
    assert!(said["epochs"].as_array().unwrap().len() < 60, "it began anew");
    let [whole, parts] = ["whole.onnx", "parts.onnx"].map(|file| fs::read(folder.path().join(file)).unwrap());
    assert!(whole == parts);
}

/// One recipe for each variant, of a net that a recipe made: nothing but its line changes.
#[test]
fn variants_of_a_model() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1);
    succeeded(&harden(folder.path(), "parent.onnx").output().unwrap());
    let make = |change: &str| {
        let recipe = format!("schema = 1\nname = \"variant\"\nmodel = \"parent.onnx\"\nepochs = 0\n{change}");
        fs::write(folder.path().join("recipe.toml"), recipe).unwrap();
        succeeded(&harden(folder.path(), "variant.onnx").output().unwrap())
    };
    for (change, kind) in [
        ("upsample = { factor = 2 }", "upsampled"),
        ("restride = { strides = \"1\" }", "restrided"),
        ("restride = { nodes = { conv2 = 1 } }\nupsample = { factor = 2, mode = \"linear\" }", "restrided+upsampled"),
        ("prune = { structure = \"filters\", importance = \"l1\", rate = 0.25 }", "filter-pruned"),
        ("prune = { structure = \"weights\", importance = \"magnitude\", rate = 0.9 }", "weight-pruned"),
        (
            "compact = true\nprune = { structure = \"weights\", importance = \"magnitude\", rate = 0.95, scope = \"global\" }",
            "weight-pruned+compacted",
        ),
    ] {
        let said = make(change);
        assert_eq!(said["lineage"]["assay.kind"], kind, "{said}");
        assert_eq!((&said["epoch"], said["epochs"].as_array().unwrap().len()), (&serde_json::json!(0), 0));
        let changes = said["changes"].as_array().unwrap();
        assert_eq!(changes.len(), kind.split('+').count(), "{said}");
        let cost = changes[0]["cost"].as_f64().unwrap();
        match kind.split('+').next().unwrap() {
            "upsampled" | "restrided" => assert!(cost > 1.5, "{said}"),
            "filter-pruned" => assert!(cost < 0.9, "{said}"),
            // Zeros are multiplied with as anything else is.
            _ => assert!(cost == 1.0 && changes[0]["zeros"].as_u64() > Some(500), "{said}"),
        }
    }
    let sparse = make("sparse = true\nprune = { structure = \"weights\", importance = \"magnitude\", rate = 0.95 }");
    assert!(sparse["bytes"].as_u64() < sparse["dense_bytes"].as_u64(), "{sparse}");
    assert_eq!(sparse["bytes"].as_u64(), Some(fs::metadata(folder.path().join("variant.onnx")).unwrap().len()));
    // In words.
    let mut command = assay();
    command.args(["harden", "recipe.toml", "--threads", "1", "--out", "variant.onnx"]).current_dir(folder.path());
    let human = command.output().unwrap();
    let text = String::from_utf8(human.stdout).unwrap();
    assert!(
        text.contains("pruning 1 of 1: ") && text.contains(" without sparse tensors)") && text.contains("variant.onnx"),
        "{text}"
    );
}

#[test]
fn what_is_wrong_is_said_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1);
    let failed = |arguments: &[&str]| {
        let output = assay().arg("harden").args(arguments).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(failed(&["nothing.toml", "--out", "a.onnx"]).contains("nothing.toml"));
    assert!(failed(&["recipe.toml", "--out", "nowhere/a.onnx"]).contains("nowhere"));
    fs::write(folder.path().join("odd.toml"), "schema = 1\nepoch = 2").unwrap();
    assert!(failed(&["odd.toml", "--out", "a.onnx"]).contains("odd.toml"));
    assert!(!folder.path().join("a.onnx").exists());
}

/// The repository gets the very model that `--out` writes, and what is made from it afterwards stands below it.
#[test]
fn a_repository_that_is_hosted_here_gets_the_model() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 2);
    fs::create_dir(folder.path().join("models")).unwrap();
    succeeded(&harden(folder.path(), "alone.onnx").output().unwrap());
    let run = |arguments: &[&str]| {
        let embedded = ["--embed", "models", "--output", "json"];
        succeeded(&assay().args(embedded).args(arguments).current_dir(folder.path()).output().unwrap())
    };
    let said = run(&["harden", "recipe.toml", "--threads", "1"]);
    assert_eq!((&said["model"], &said["version"]), (&"light".into(), &"1".into()), "{said}");
    assert_eq!(said["epochs"].as_array().unwrap().len(), 2, "{said}");
    let [alone, hosted] =
        ["alone.onnx", "models/light/1/model.onnx"].map(|file| fs::read(folder.path().join(file)).unwrap());
    assert!(alone == hosted);

    let recipe = fs::read_to_string(folder.path().join("recipe.toml")).unwrap();
    let further = recipe.replace(r#"{ architecture = "cnn-8-8" }"#, "\"light/1\"").replace("\"light\"", "\"lighter\"");
    fs::write(folder.path().join("further.toml"), further).unwrap();
    assert_eq!(run(&["harden", "further.toml"])["model"], "lighter");
    let tree = run(&["models", "lineage", "light"]);
    let models = tree["models"].as_array().unwrap();
    let names: Vec<&str> = models.iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["light", "lighter"], "{tree}");
    assert_eq!(models[1]["parent"]["by"], "digest", "{tree}");
    assert_eq!(models[1]["lineage"]["parent_model"]["name"], "light", "{tree}");
}

/// Ctrl-C stops what trains here, and the same command goes on with it.
#[test]
fn an_interrupted_run_of_a_repository_goes_on_with_the_same_command() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 40);
    fs::create_dir(folder.path().join("models")).unwrap();
    let start = || {
        let mut command = assay();
        command.args(["--embed", "models", "--output", "json", "harden", "recipe.toml"]).current_dir(folder.path());
        command.spawn().unwrap()
    };
    let mut interrupted = start();
    let (checkpoint, began) = (folder.path().join("models/.harden/1/run/checkpoint.safetensors"), Instant::now());
    while !checkpoint.exists() && interrupted.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(120), "no checkpoint");
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &interrupted.id().to_string()]).status().unwrap().success());
    let output = interrupted.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("the same command goes on"), "{error}");
    assert!(!folder.path().join("models/light").exists());
    let said = succeeded(&start().wait_with_output().unwrap());
    assert_eq!((&said["job"], &said["version"]), (&"1".into(), &"1".into()), "{said}");
    assert!(said["epochs"].as_array().unwrap().len() < 40, "it began anew");
}

#[test]
fn a_job_of_a_server_goes_on_without_its_client() {
    if !has_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1_000_000);
    fs::create_dir(folder.path().join("models")).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/models/fashion-dense/1");
    fs::create_dir_all(folder.path().join("models/dense/1")).unwrap();
    fs::copy(model.join("model.onnx"), folder.path().join("models/dense/1/model.onnx")).unwrap();
    let server = Server::start(folder.path(), "models", &["harden.state=state", "harden.data=."]);
    let command = |arguments: &[&str]| {
        let mut command = assay();
        command.args(["--server", &server.address, "--output", "json"]).args(arguments).current_dir(folder.path());
        command
    };
    let run = |arguments: &[&str]| succeeded(&command(arguments).output().unwrap());

    let mut following = command(&["harden", "recipe.toml"]).spawn().unwrap();
    let mut told = BufReader::new(following.stderr.take().unwrap()).lines();
    assert!(told.next().unwrap().unwrap().contains("assay harden --follow 1"));
    let interrupted = Command::new("kill").args(["-INT", &following.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert_eq!(following.wait().unwrap().code(), Some(3));
    let last = told.map(Result::unwrap).last().unwrap();
    assert!(last.contains("goes on at the server") && last.contains("assay harden --cancel 1"), "{last}");

    server.wait_until("assay_harden_epochs_total", |epochs| epochs >= 1.0);
    assert_eq!(run(&["harden", "--list"])["jobs"][0]["state"], "running");
    assert_eq!(run(&["harden", "--cancel", "1"])["state"], "stopped");
    let short = fs::read_to_string(folder.path().join("recipe.toml")).unwrap().replace("1000000", "1");
    fs::write(folder.path().join("short.toml"), short).unwrap();
    let made = run(&["harden", "short.toml"]);
    assert_eq!((&made["job"], &made["state"], &made["version"]), (&"2".into(), &"done".into(), &"1".into()), "{made}");
    assert_eq!(run(&["harden", "--follow", "2"])["digest"], made["digest"]);
    assert_eq!(run(&["models", "light"])["lineage"]["recipe"], made["recipe"]);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn flags_that_make_no_sense_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1);
    for (arguments, says) in [
        (&["harden"][..], "RECIPE"),
        (&["harden", "recipe.toml", "--list"], "--list"),
        (&["harden", "recipe.toml", "--state", "s"], "harden.state"),
        (&["harden", "recipe.toml", "--threads", "2"], "harden.threads"),
        (&["--embed", "models", "harden", "recipe.toml", "--out", "a.onnx"], "give one of them"),
        (&["--embed", "models", "harden", "--list"], "give the recipe again"),
    ] {
        let output = assay().args(arguments).current_dir(folder.path()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
}
