//! `assay attack oip://...` against assay itself, which speaks the protocol too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod server;

use std::process::Command;

use serde_json::Value;

use crate::server::{Server, folder, repository};

const MODEL: &str = "fashion-robust";

/// What `assay ARGUMENTS attack ...` prints.
#[track_caller]
fn attack(to: &[&str], model: &str, arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.env_remove("ASSAY_SERVER").args(["--output", "json"]).args(to).args(["attack", model, "--data"]);
    command.arg(repository().join("deploy/data/fashion-mnist")).args(["--samples", "20", "--threat", "Linf:0.3"]);
    let output = command.args(["--attack", "square:queries=60", "--seed", "3"]).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_attack_over_the_protocol_is_that_over_our_own() {
    let folder = folder(&[("fashion-robust/1", MODEL)]);
    let server = Server::start(folder.path(), "models", &["runtime.threads=1"]);
    let own = attack(&["--server", &server.address], MODEL, &[]);
    let url = format!("oip://{}/{MODEL}", server.address.trim_start_matches("http://"));
    let foreign = attack(&[], &url, &[]);
    assert!(own["broken"].as_u64().unwrap() > 0, "{own}");
    assert_eq!((&foreign["target"], &foreign["version"]), (&url.as_str().into(), &"1".into()));
    let outcomes = |result: &Value| {
        let outcomes = result["outcomes"].as_array().unwrap().iter();
        outcomes.map(|of| (of["sample"].clone(), of["outcome"].clone(), of["queries"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(outcomes(&foreign), outcomes(&own));
    // What the client says that it sent is what the server counted.
    let sent = foreign["samples_sent"].as_u64().unwrap();
    #[allow(clippy::cast_precision_loss)]
    let counted = |count: f64| count == sent as f64;
    server.wait_until("nv_inference_count{model=\"fashion-robust\",version=\"1\"}", counted);
    assert_eq!(server.stop(), Some(0));
}
