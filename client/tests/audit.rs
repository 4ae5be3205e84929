//! `assay audit` as a job: what kills do to it, and how one comes back to it.
#![cfg(feature = "embedded")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod server;

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::server::{Server, repository};

/// A folder with one small model.
fn folder() -> tempfile::TempDir {
    server::folder(&[("net/1", "fashion-robust")])
}

/// Starts a server that keeps its audits in the folder.
fn start(folder: &Path) -> Server {
    Server::start(folder, "models", &["audits.state=state", "runtime.sessions=1", "runtime.threads=1"])
}

/// An audit that takes a second or two.
const AUDIT: [&str; 11] = [
    "audit",
    "net",
    "--samples",
    "24",
    "--threat",
    "Linf:0.1",
    "--attack",
    "fgsm",
    "--attack",
    "pgd:steps=20",
    "--min-clean-accuracy=0.5",
];

fn assay(folder: &Path, to: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.env_remove("ASSAY_SERVER").current_dir(folder).args(["--output", "json"]).args(to).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The audit of the demo's images.
fn audit(folder: &Path, to: &[&str], more: &[&str]) -> Command {
    let mut command = assay(folder, to, &AUDIT);
    command.arg("--data").arg(repository().join("deploy/data/fashion-mnist")).args(more);
    command
}

/// The report of an audit, without what measures time.
#[track_caller]
fn report(output: &Output) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| name != "seconds" && name != "date");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut value = serde_json::from_slice(&output.stdout).unwrap();
    strip(&mut value);
    assert_eq!(value["models"][0]["clean"]["of"], 24, "{value}");
    value
}

#[track_caller]
fn json(mut command: Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn signal(process: &Child, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), process.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A moment in the whole, another one each time.
fn chance(whole: Duration) -> Duration {
    let share = RandomState::new().build_hasher().finish() % 1000;
    whole.mul_f64(share as f64 / 1000.0)
}

/// Kills the server at `moments` of an audit, each in a part of its own of the time that it takes. The server that comes after it goes on by itself, the client
/// that waits finds it again, and the report is that of an audit that nothing happened to.
fn killed_at(moments: u32) {
    let folder = folder();
    let server = start(folder.path());
    let client = audit(folder.path(), &["--server", &server.address], &[]).spawn().unwrap();
    let taken = "assay_requests_total{rpc=\"StartAudit\",model=\"net\",code=\"OK\"}";
    server.wait_until(taken, |count| count == 1.0);
    let began = Instant::now();
    let expected = report(&client.wait_with_output().unwrap());
    let (whole, mut server) = (began.elapsed(), Some(server));
    for moment in 0..moments {
        let running = server.take().unwrap();
        let key = format!("--key=moment-{moment}");
        let client = audit(folder.path(), &["--server", &running.address], &[&key]).spawn().unwrap();
        running.wait_until(taken, |count| count == if moment == 0 { 2.0 } else { 1.0 });
        let part = whole / moments;
        let after = part * moment + chance(part);
        // Not for something to happen: this is when it is killed.
        std::thread::sleep(after);
        server = Some(running.killed_and_started_again());
        let output = client.wait_with_output().unwrap();
        assert_eq!(report(&output), expected, "killed after {after:?} of {whole:?}");
    }
    let server = server.unwrap();
    let jobs = json(assay(folder.path(), &["--server", &server.address], &["audit", "--list"]));
    let states: Vec<_> = jobs["jobs"].as_array().unwrap().iter().map(|job| job["state"].clone()).collect();
    assert_eq!(states, vec![Value::from("done"); moments as usize + 1], "each was made once");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_server_that_is_killed_changes_nothing_of_the_report() {
    killed_at(3);
}

#[test]
#[ignore = "slow"]
fn a_server_that_is_killed_at_twenty_moments_changes_nothing_of_the_report() {
    killed_at(20);
}

#[test]
fn a_client_that_is_killed_finds_its_audit_again() {
    let folder = folder();
    let server = start(folder.path());
    let to = ["--server", server.address.as_str()];
    let mut killed = audit(folder.path(), &to, &[]).spawn().unwrap();
    server.wait_until("assay_audits{state=\"running\"}", |count| count == 1.0);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let expected = report(&audit(folder.path(), &to, &[]).output().unwrap());
    let followed = assay(folder.path(), &to, &["audit", "--follow", "1", "--report", "r.html"]).output().unwrap();
    assert_eq!(report(&followed), expected);
    assert!(fs::read_to_string(folder.path().join("r.html")).unwrap().starts_with("<!doctype html>"));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn jobs_are_listed_followed_stopped_and_deleted() {
    let folder = folder();
    let server = start(folder.path());
    let to = ["--server", server.address.as_str()];
    let run = |arguments: &[&str]| json(assay(folder.path(), &to, arguments));
    let endless = ["--attack", "pgd:steps=10000", "--seed", "1", "--detach"];
    let job = json(audit(folder.path(), &to, &endless));
    assert_eq!((&job["job"], &job["durable"]), (&"1".into(), &true.into()), "{job}");
    server.wait_until("assay_audits{state=\"running\"}", |count| count == 1.0);

    let following = assay(folder.path(), &to, &["audit", "--follow", "1"]).spawn().unwrap();
    server.wait_until("assay_requests_in_flight{rpc=\"WatchAudit\"}", |count| count == 1.0);
    signal(&following, "INT");
    let output = following.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    for part in ["goes on at the server", "assay audit --follow 1", "assay audit --cancel 1"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(run(&["audit", "--list"])["jobs"][0]["state"], "running");
    assert_eq!(run(&["audit", "--cancel", "1"])["state"], "cancelled");
    assert_eq!(run(&["audit", "--delete", "1"])["deleted"], true);
    assert_eq!(run(&["audit", "--list"])["jobs"], serde_json::json!([]));
    let gone = assay(folder.path(), &to, &["audit", "--follow", "1"]).output().unwrap();
    assert_eq!(gone.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("there is no audit `1`"));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn an_audit_here_goes_on_with_the_same_command() {
    let folder = folder();
    let expected = report(&audit(folder.path(), &["--embed", "models"], &[]).output().unwrap());
    assert!(!folder.path().join("models/.audits").exists(), "nothing is left of what is done");
    let state = folder.path().join("kept");
    let here = |more: &[&str]| audit(folder.path(), &["--embed", "models"], &[&["--state", "kept"], more].concat());
    for name in ["KILL", "INT"] {
        let cut = here(&[]).spawn().unwrap();
        let began = Instant::now();
        while events(&state) < 1 {
            assert!(began.elapsed() < Duration::from_secs(60), "nothing is stored");
            std::thread::sleep(Duration::from_millis(5));
        }
        signal(&cut, name);
        let output = cut.wait_with_output().unwrap();
        if name == "INT" {
            let message = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(3) && message.contains("the same command goes on"), "{message}");
        }
        assert!(state.exists(), "it was over before it was cut off");
        assert_eq!(report(&here(&[]).output().unwrap()), expected, "{name}");
        assert!(!state.exists());
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_named_with_its_flag() {
    let folder = folder();
    fs::write(folder.path().join("file"), "").unwrap();
    let output = audit(folder.path(), &["--embed", "models"], &["--state", "file"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("\"file/") && error.contains("name another folder with --state"), "{error}");
}

/// Bytes that the one audit in a folder has written, but for its first page.
fn events(state: &Path) -> u64 {
    let Ok(mut folders) = fs::read_dir(state) else { return 0 };
    let Some(Ok(folder)) = folders.next() else { return 0 };
    let log = fs::metadata(folder.path().join("audits.db-wal")).map_or(0, |file| file.len());
    // Tables, job and the start of the audit take less than that.
    log.saturating_sub(64 << 10)
}

#[test]
fn flags_that_make_no_sense_together_are_refused() {
    let folder = folder();
    for (arguments, says) in [
        (&["audit"][..], "MODEL"),
        (&["audit", "net"], "--threat"),
        (&["audit", "net", "--list"], "--list"),
        (&["audit", "--follow", "1", "--cancel", "1"], "--cancel"),
        (&["audit", "net", "--threat", "Linf:0.1", "--data", "x", "--state", "s"], "audits.state"),
        (&["--embed", "models", "audit", "--list"], "give the command again"),
        (
            &["--embed", "models", "audit", "net", "--threat", "Linf:0.1", "--data", "models", "--detach"],
            "jobs of a server",
        ),
    ] {
        let output = assay(folder.path(), &[], arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
}

#[test]
fn variants_are_compared_on_data_of_the_server() {
    let folder = server::folder(&[("dense/1", "fashion-dense"), ("pruned/1", "fashion-filter-pruned")]);
    let data = repository().join("deploy/data/fashion-mnist").display().to_string();
    let server = Server::start(folder.path(), "models", &[&format!("datasets.fashion={data}")]);
    let compare = |samples: &[&str]| {
        let how = ["compare", "dense", "pruned", "--samples", "20", "--threat", "Linf:0.1", "--attack", "fgsm"];
        let output = assay(folder.path(), &["--server", &server.address], &how).args(samples).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let measured = |samples: &[&str]| {
        let (code, told, said) = compare(samples);
        assert_eq!(code, Some(0), "{said}");
        let family: Value = serde_json::from_str(&told).unwrap();
        let members = family["members"].as_array().unwrap().clone();
        assert!(members.iter().all(|member| member["costs"]["milliseconds"].as_f64().unwrap() > 0.0), "{family}");
        members.iter().map(|member| (member["clean"].clone(), member["threats"].clone())).collect::<Vec<_>>()
    };
    let theirs = measured(&["--dataset", "fashion"]);
    assert_eq!(theirs.len(), 2);
    // Latency decides who is on the front, and is another each time.
    let robust = |all: &[(Value, Value)]| -> Vec<[Value; 3]> {
        all.iter()
            .map(|(clean, threats)| [clean, &threats[0]["robust"], &threats[0]["difference"]].map(Clone::clone))
            .collect()
    };
    assert_eq!(robust(&theirs), robust(&measured(&["--data", &data])));
    for (samples, says) in [
        (&["--dataset", "fashoin"][..], "fashion"),
        (&[], "--dataset NAME"),
        (&["--dataset", "fashion", "--data", &data], "cannot be used with"),
    ] {
        let (code, _, said) = compare(samples);
        assert!(code == Some(2) && said.contains(says), "{code:?}: {said}");
    }
    assert_eq!(server.stop(), Some(0));
}
