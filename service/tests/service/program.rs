//! The built program: start, stop, and what keeps it from starting.

use std::{
    fs,
    io::Read,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::harness::{connect, deploy, endless_attack, get, predict_request};
use assay_server::Addresses;

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay-server"));
    command.env("ASSAY__MODELS", deploy("models")).env("ASSAY__RUNTIME__THREADS", "1");
    command.env("ASSAY__GRPC__LISTEN", "127.0.0.1:0").env("ASSAY__ADMIN__LISTEN", "127.0.0.1:0");
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn start(folder: &Path, arguments: &[&str]) -> (Child, Addresses) {
    let file = folder.join("addresses.json");
    let child = program(arguments).arg("--addresses-file").arg(&file).spawn().unwrap();
    let began = Instant::now();
    while !file.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "no addresses");
        std::thread::sleep(Duration::from_millis(20));
    }
    let addresses: Addresses = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    while get(addresses.admin, "/readyz").0 != 200 {
        assert!(began.elapsed() < Duration::from_secs(60), "not ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    (child, addresses)
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits for a program that should end.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("the program hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    (status.code(), log)
}

fn fails(command: &mut Command, says: &[&str]) {
    let (code, log) = ended(command.spawn().unwrap());
    assert_eq!(code, Some(1), "{log}");
    for part in says {
        assert!(log.contains(part), "{part:?} is not in {log:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_and_logs_and_stops_at_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let (child, addresses) = start(folder.path(), &["--set", "log.format=json"]);
    connect(addresses.grpc).await.predict(predict_request(2)).await.unwrap();
    signal(&child, "TERM");
    let (code, log) = ended(child);
    assert_eq!(code, Some(0), "{log}");
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let line =
        |message: &str| lines.iter().find(|line| line["message"] == message || line["rpc"] == message).expect(message);
    let started = line("assay-server");
    assert_eq!(started["version"], env!("CARGO_PKG_VERSION"));
    assert!(started["onnxruntime"].is_string() && started["provider"] == "cpu");
    assert_eq!(line("listening")["grpc"], addresses.grpc.to_string());
    let call = line("Predict");
    assert_eq!((&call["model"], &call["code"], &call["batch"]), (&"fashion-robust".into(), &"OK".into(), &2.into()));
    assert!(call["seconds"].as_f64().unwrap() > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_exits_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (child, addresses) = start(folder.path(), &["--set", "shutdown.drain_seconds=3600"]);
    let mut events = connect(addresses.grpc).await.attack(endless_attack()).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    signal(&child, "INT");
    while get(addresses.admin, "/readyz").0 == 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    signal(&child, "INT");
    let (code, log) = ended(child);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("second signal"), "{log}");
}

#[test]
fn a_busy_port_is_named_with_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for key in ["grpc.listen", "admin.listen"] {
        let setting = format!("{key}={address}");
        fails(program(&[]).args(["--set", &setting]), &[&address, key, "in use", "port 0"]);
    }
}

#[test]
fn a_missing_library_is_named_with_the_remedy() {
    fails(
        program(&[]).env("ORT_DYLIB_PATH", "/no/such/libonnxruntime.so"),
        &["/no/such/libonnxruntime.so", "make setup"],
    );
    fails(&mut program(&["--set", "runtime.library=/no/such.so"]), &["/no/such.so", "make setup"]);
}

#[test]
fn a_missing_repository_is_named() {
    fails(&mut program(&["--set", "models=no/such/folder"]), &["no/such/folder", "`models`"]);
}

#[test]
fn settings_are_checked_with_their_source() {
    fails(
        program(&["--check"]).env("ASSAY__LIMITS__MAX_BATCH", "0"),
        &["`limits.max_batch` is 0", "environment variable ASSAY__LIMITS__MAX_BATCH", "1 to 1048576"],
    );
    fails(&mut program(&["--check", "--set", "limits.max_bach=1"]), &["unknown key `limits.max_bach`", "max_batch"]);
    fails(&mut program(&["--set", "datasets.mine=/no/such/data"]), &["datasets.mine", "/no/such/data"]);
}

#[test]
fn the_configuration_in_force_is_printed_as_a_file_that_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let output: Output = program(&["--print-config"]).env("ASSAY__LIMITS__MAX_BATCH", "7").output().unwrap();
    assert!(output.status.success());
    let file = folder.path().join("assay.toml");
    fs::write(&file, &output.stdout).unwrap();
    let again = assay_server::Config::load(Some(&file), &[]).unwrap();
    assert_eq!((again.limits.max_batch, again.runtime.threads), (7, Some(1)));
}
