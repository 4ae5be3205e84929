//! `assay audit --spread`: one audit on several servers, some of which are killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod server;

use std::fs;
use std::process::{Child, Command, Output, Stdio};

use ndarray::{Array1, Array3};
use ndarray_npy::NpzWriter;
use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Server, repository};

const RUNNING: &str = "assay_audits{state=\"running\"}";

/// A folder with one small model.
fn folder(model: &str) -> TempDir {
    server::folder(&[(model, "fashion-robust")])
}

/// Servers that keep their audits, each in a folder of its own.
fn servers<const N: usize>(folders: &[TempDir; N], settings: &[&str]) -> [Server; N] {
    let settings = [&["audits.state=state", "runtime.sessions=1", "runtime.threads=1"], settings].concat();
    std::array::from_fn(|i| Server::start(folders[i].path(), "models", &settings))
}

/// An audit of four chunks; with 20 steps a chunk takes a second or more.
fn audit(servers: &[&str], steps: u32, more: &[&str]) -> Command {
    let data = repository().join("deploy/data/fashion-mnist");
    let mut command = assay(servers, &["audit", "net", "--threat", "Linf:0.1", "--min-clean-accuracy=0.5"]);
    command.arg(format!("--attack=pgd:steps={steps}")).arg("--data").arg(data).args(["--samples", "200"]).args(more);
    command
}

/// A command to the first server, spread over the others.
fn assay(servers: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.env_remove("ASSAY_SERVER").env_remove("ASSAY_API_KEY").args(["--output", "json"]);
    let (first, others) = servers.split_first().unwrap();
    command.args(["--server", first]).args(arguments).args(others.iter().flat_map(|other| ["--spread", other]));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The report as text, without what only a run knows.
#[track_caller]
fn report(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    let mut report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report.as_object_mut().unwrap().remove("run").is_some());
    report.to_string()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn fails(output: &Output, code: i32, says: &[&str]) {
    let error = said(output);
    assert_eq!(output.status.code(), Some(code), "{error}");
    for part in says {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
}

/// The keys of a server's jobs, in order.
fn keys(server: &Server) -> Vec<String> {
    let listed = assay(&[&server.address], &["audit", "--list"]).output().unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let jobs = listed["jobs"].as_array().unwrap().iter();
    let mut keys: Vec<String> = jobs.map(|job| job["key"].as_str().unwrap().to_owned()).collect();
    keys.sort();
    keys
}

#[track_caller]
fn stop<const N: usize>(servers: [Server; N]) {
    for server in servers {
        assert_eq!(server.stop(), Some(0));
    }
}

fn interrupt(process: &Child) {
    assert!(Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap().success());
}

#[test]
fn the_report_of_three_servers_is_that_of_one() {
    let folders = [(); 3].map(|()| folder("net/1"));
    let [a, b, c] = servers(&folders, &[]);
    let all = [a.address.as_str(), &b.address, &c.address];
    let file = |name: &str| folders[0].path().join(name).display().to_string();
    let files =
        |stem: &str| [file(&format!("{stem}.json")), file(&format!("{stem}.csv")), file(&format!("{stem}.jsonl"))];
    let with = |files: &[String; 3]| -> Vec<String> {
        files.iter().flat_map(|file| ["--report".to_owned(), file.clone()]).collect()
    };
    let run = |servers: &[&str], files: &[String; 3], more: &[&str]| {
        let output = audit(servers, 3, more).args(with(files)).output().unwrap();
        (report(&output), said(&output))
    };
    let (whole, spread) = (files("whole"), files("spread"));
    let (expected, _) = run(&all[..1], &whole, &[]);
    let (found, said) = run(&all, &spread, &[]);
    assert_eq!(found, expected);
    assert!(said.contains("4 shards on 3 servers"), "{said}");
    for (shard, server) in all.iter().enumerate() {
        assert!(said.contains(&format!("shard {shard}/4, {server}")), "{said}");
    }
    // A table of all samples has no times in it.
    assert_eq!(fs::read(&spread[1]).unwrap(), fs::read(&whole[1]).unwrap());
    let lines = |file: &str| fs::read_to_string(file).unwrap().lines().count();
    assert_eq!(lines(&spread[2]), lines(&whole[2]));
    // What is done is not kept, as the next command of the same is to measure anew.
    assert_eq!([&a, &b, &c].map(|server| keys(server).len()), [1, 0, 0]);

    let compared = ["--baseline", &whole[0], "--max-drop", "0.2"];
    let (expected, _) = run(&all[..1], &whole, &compared);
    let (found, _) = run(&all, &spread, &compared);
    assert_eq!(found, expected);
    assert!(found.contains("\"comparison\""));
    stop([a, b, c]);
}

#[test]
fn a_shard_of_a_server_that_is_killed_is_measured_by_another() {
    let folders = [(); 3].map(|()| folder("net/1"));
    let [a, b, c] = servers(&folders, &[]);
    let expected = report(&audit(&[&a.address], 20, &[]).output().unwrap());
    let (lost, all) = (b.address.clone(), [a.address.as_str(), &b.address, &c.address]);
    let client = audit(&all, 20, &["--reconnect", "1"]).spawn().unwrap();
    b.wait_until(RUNNING, |count| count == 1.0);
    let gone = b.killed();
    let output = client.wait_with_output().unwrap();
    assert_eq!(report(&output), expected);
    let line = said(&output).lines().find(|line| line.starts_with(&lost)).unwrap_or_default().to_owned();
    for part in ["went away", "is not used any more", "and shard 1/4 goes to another"] {
        assert!(line.contains(part), "{line}");
    }
    // A server that cannot be reached from the start is left out too.
    let output = audit(&[&lost, &a.address, &c.address], 20, &[]).output().unwrap();
    assert_eq!(report(&output), expected);
    assert!(said(&output).contains(&format!("{lost} cannot be reached")), "{}", said(&output));
    let b = gone.started_again();
    stop([a, b, c]);
}

#[test]
fn the_same_command_goes_on_after_all_servers_died_and_after_ctrl_c() {
    let folders = [(); 2].map(|()| folder("net/1"));
    let [a, b] = servers(&folders, &[]);
    let expected = report(&audit(&[&a.address], 20, &[]).output().unwrap());
    let addresses = [a.address.clone(), b.address.clone()];
    let again = || audit(&[&addresses[0], &addresses[1]], 20, &["--reconnect", "1", "--key", "release"]);
    let client = again().spawn().unwrap();
    for server in [&a, &b] {
        server.wait_until(RUNNING, |count| count == 1.0);
    }
    let killed = [a, b].map(Server::killed);
    let left = ["no server is left", "of 4 shards are done", "Give the same command again"];
    fails(&client.wait_with_output().unwrap(), 3, &left);
    fails(&again().output().unwrap(), 3, &["cannot reach a server at"]);

    let [a, b] = killed.map(server::Killed::started_again);
    let client = again().spawn().unwrap();
    for server in [&a, &b] {
        server.wait_until("assay_requests_in_flight{rpc=\"WatchAudit\"}", |count| count == 1.0);
    }
    interrupt(&client);
    fails(&client.wait_with_output().unwrap(), 3, &["stopped: ", "of 4 shards are done", "the same command goes on"]);
    assert_eq!(report(&again().output().unwrap()), expected);
    // With a key they are kept; each shard was a job of one server.
    let made = || {
        let mut keys = [keys(&a), keys(&b)].concat();
        keys.sort();
        keys.into_iter().filter(|key| !key.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(made(), ["release:0/4", "release:1/4", "release:2/4", "release:3/4"]);
    assert_eq!(report(&again().output().unwrap()), expected);
    assert_eq!(made().len(), 4, "asked for again, it is made once");
    stop([a, b]);
}

#[test]
fn a_shard_that_ends_without_a_record_ends_the_others() {
    let folders = [(); 2].map(|()| folder("net/1"));
    let [a, b] = servers(&folders, &[]);
    let client = audit(&[&a.address, &b.address], 10_000, &[]).spawn().unwrap();
    for server in [&a, &b] {
        server.wait_until(RUNNING, |count| count == 1.0);
    }
    let cancel = assay(&[&b.address], &["audit", "--cancel", "1"]).output().unwrap();
    assert!(cancel.status.success(), "{}", said(&cancel));
    fails(&client.wait_with_output().unwrap(), 3, &[&format!("{}: audit 1 was cancelled", b.address)]);
    assert_eq!((keys(&a).len(), keys(&b).len()), (0, 1), "what was begun elsewhere is gone");
    // The one that was cancelled is in nobody's way.
    let client = audit(&[&a.address, &b.address], 10_000, &[]).spawn().unwrap();
    b.wait_until(RUNNING, |count| count == 1.0);
    assert_eq!(keys(&b).len(), 1);
    interrupt(&client);
    fails(&client.wait_with_output().unwrap(), 3, &["0 of 4 shards are done"]);
    stop([a, b]);
}

#[test]
fn data_of_the_servers_have_as_many_shards_as_their_chunks() {
    let folders = [(); 2].map(|()| folder("net/1"));
    for folder in &folders {
        let mut file = NpzWriter::new(fs::File::create(folder.path().join("small.npz")).unwrap());
        let image = |(sample, row, column): (usize, usize, usize)| ((sample * 31 + row * 7 + column) % 256) as u8;
        file.add_array("x", &Array3::from_shape_fn((70, 28, 28), image)).unwrap();
        file.add_array("y", &Array1::from_shape_fn(70, |sample| (sample % 10) as i64)).unwrap();
        file.finish().unwrap();
    }
    let [a, b] = servers(&folders, &["datasets.small=small.npz"]);
    let plan = folders[0].path().join("audit.toml");
    let models = "schema = 1\nmodels = [{ name = \"net\" }]\n[data]\n";
    let threat = "[[evaluations]]\nnorm = \"Linf\"\neps = [\"0.1\"]\nattacks = [{ name = \"fgsm\" }]\n";
    fs::write(&plan, format!("{models}dataset = \"small\"\n{threat}")).unwrap();
    let planned = ["audit", "--plan", plan.to_str().unwrap()];
    let expected = report(&assay(&[&a.address], &planned).output().unwrap());
    let all = [a.address.as_str(), &b.address];
    let output = assay(&all, &planned).output().unwrap();
    assert_eq!(report(&output), expected);
    assert!(said(&output).contains("2 shards on 2 servers"), "{}", said(&output));
    assert_eq!((keys(&a).len(), keys(&b).len()), (1, 0), "nothing is left of what was refused");

    fs::write(&plan, format!("{models}dataset = \"smal\"\n{threat}")).unwrap();
    fails(&assay(&all, &planned).output().unwrap(), 2, &["audit.toml:4: ", "did you mean `small`"]);
    stop([a, b]);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_measured() {
    let refused = ["--shard=0/2", "--detach", "--follow=1", "--cancel=1", "--delete=1", "--list"];
    for option in refused {
        let output = audit(&["http://127.0.0.1:1", "http://127.0.0.1:2"], 1, &[option]).output().unwrap();
        fails(&output, 2, &["--spread <URL>", option.split('=').next().unwrap()]);
    }
    let output = audit(&["http://127.0.0.1:1", "127.0.0.1:1/"], 1, &[]).output().unwrap();
    fails(&output, 2, &["--spread 127.0.0.1:1/: this server is named twice"]);
    let output = audit(&["http://127.0.0.1:1", "http://127.0.0.1:2"], 1, &["--embed", "models"]).output().unwrap();
    fails(&output, 2, &["--spread is for servers"]);
    let output = audit(&["http://127.0.0.1:1", "http://no host"], 1, &[]).output().unwrap();
    fails(&output, 2, &["server http://no host: ", "expected http://HOST:PORT"]);

    let folders = ["net/1", "net/2", "other/1"].map(folder);
    let [a, b, c] = servers(&folders, &[]);
    let output = audit(&[&a.address, &b.address], 1, &[]).output().unwrap();
    fails(&output, 2, &[&b.address, "version of net is \"2\", not \"1\" as at", &a.address]);
    let output = audit(&[&a.address, &c.address], 1, &[]).output().unwrap();
    fails(&output, 2, &[&format!("{}: ", c.address), "`net`"]);
    assert_eq!([&a, &b, &c].map(|server| keys(server).len()), [0; 3]);
    stop([a, b, c]);
}
