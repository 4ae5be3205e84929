//! What an audit may cost: `assay audit --quote`, the line before an audit, and the time that is left in all.
#![cfg(feature = "embedded")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod server;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::server::{Server, repository};

/// A folder with two small models.
fn folder() -> tempfile::TempDir {
    server::folder(&[("net/1", "fashion-robust"), ("pruned/1", "fashion-layer-pruned")])
}

/// An audit of the demo's images by PGD.
fn audit(folder: &Path, to: &[&str], models: &[&str], more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.env_remove("ASSAY_SERVER").current_dir(folder).args(to).arg("audit").args(models);
    command.args(["--samples", "24", "--threat", "Linf:0.1", "--attack", "pgd:steps=3"]);
    command.arg("--data").arg(repository().join("deploy/data/fashion-mnist")).args(more).output().unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> (String, String) {
    let [told, said] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    assert_eq!(output.status.code(), Some(0), "{said}");
    (told, said)
}

const HERE: [&str; 2] = ["--embed", "models"];
const BEFORE: &str = "at most 96 queries and 96 gradients: up to about ";

#[test]
fn a_quote_is_printed_and_nothing_is_made() {
    let folder = folder();
    let (told, said) = succeeds(&audit(folder.path(), &HERE, &["net", "pruned"], &["--quote"]));
    for part in
        ["net/1", "pruned/1", "clean", "pgd Linf 0.1", "gradients in a second", "24 samples, at most 192 queries"]
    {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    assert_eq!(said, "", "nothing is measured");
    assert!(!folder.path().join("models/.audits").exists());

    let to = [&HERE[..], &["--output", "json"]].concat();
    let (told, _) = succeeds(&audit(folder.path(), &to, &["net"], &["--quote", "--shard", "0/1"]));
    let quote: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&quote["samples"], &quote["total"]["queries"], &quote["total"]["gradients"]),
        (&24.into(), &96.into(), &96.into())
    );
    assert_eq!(quote["stages"][1]["stage"], "pgd Linf 0.1");
    assert!(quote["stages"][1]["seconds"].as_f64().unwrap() > 0.0 && quote["total"]["seconds"].as_f64().unwrap() > 0.0);
    assert!(quote["models"][0]["gradient_seconds"].as_f64().unwrap() > 0.0, "{quote}");
}

#[test]
fn an_audit_says_before_it_starts_what_it_may_cost_and_on_the_way_what_is_left() {
    let folder = folder();
    let (_, said) = succeeds(&audit(folder.path(), &HERE, &["net"], &[]));
    assert!(said.starts_with(BEFORE), "{said}");
    let (_, said) = succeeds(&audit(folder.path(), &HERE, &["net", "pruned"], &[]));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 5, "the cost, and a line a stage: {said}");
    for (line, is_last) in lines[1..].iter().zip([false, false, false, true]) {
        assert!(line.contains(" correct") && line.contains(" s"), "{said}");
        assert_eq!(!line.ends_with(" left"), is_last, "{said}");
    }
}

#[test]
fn what_goes_on_is_not_quoted_again() {
    let folder = folder();
    let server = Server::start(folder.path(), "models", &["audits.state=state", "runtime.threads=1"]);
    let to = ["--server", server.address.as_str()];
    let (told, _) = succeeds(&audit(folder.path(), &to, &["net"], &["--quote"]));
    assert!(told.contains("24 samples, at most 96 queries"), "{told}");
    assert_eq!(fs::read_dir(folder.path().join("state/data")).unwrap().count(), 0, "samples are not needed for that");
    let endless = ["--attack", "pgd:steps=10000", "--detach"];
    let [first, again] = [(); 2].map(|()| succeeds(&audit(folder.path(), &to, &["net"], &endless)));
    server.wait_until("assay_audits{state=\"running\"}", |count| count == 1.0);
    assert!(first.1.starts_with("at most "), "{}", first.1);
    assert_eq!((again.0, again.1.as_str()), (first.0, ""));
    for flags in [["--quote", "--detach"], ["--quote", "--list"]] {
        let output = audit(folder.path(), &to, &["net"], &flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
    }
    let output = audit(folder.path(), &to, &["none"], &["--quote"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("there is no model `none`"), "{error}");
    assert_eq!(server.stop(), Some(0));
}
