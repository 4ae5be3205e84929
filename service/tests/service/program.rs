//! The built program: start, stop, and what keeps it from starting.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::harness::{connect, deploy, endless_attack, get, predict_request};
use assay_server::Addresses;

const PROGRAM: &str = env!("CARGO_BIN_EXE_assay-server");

fn program(arguments: &[&str]) -> Command {
    configured(Command::new(PROGRAM), arguments)
}

fn configured(mut command: Command, arguments: &[&str]) -> Command {
    command.env("ASSAY__MODELS", deploy("models")).env("ASSAY__RUNTIME__THREADS", "1");
    command.env("ASSAY__GRPC__LISTEN", "127.0.0.1:0").env("ASSAY__ADMIN__LISTEN", "127.0.0.1:0");
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn start(folder: &Path, arguments: &[&str]) -> (Child, Addresses) {
    started(folder, &mut program(arguments))
}

/// As [`start`], of a program that a signal does not end.
pub(crate) fn start_ignoring(signal: &str, folder: &Path, arguments: &[&str]) -> (Child, Addresses) {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("trap '' {signal}; exec \"$@\""), "sh", PROGRAM]);
    started(folder, &mut configured(shell, arguments))
}

fn started(folder: &Path, program: &mut Command) -> (Child, Addresses) {
    let file = folder.join("addresses.json");
    let _ = fs::remove_file(&file);
    let child = program.arg("--addresses-file").arg(&file).spawn().unwrap();
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
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut log).unwrap();
    }
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
    let again = assay_server::Config::load(&[file], &[]).unwrap();
    assert_eq!((again.limits.max_batch, again.runtime.threads), (7, Some(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_names_the_key_and_never_shows_one() {
    let folder = tempfile::tempdir().unwrap();
    let key = "a-key-that-only-this-test-has";
    let file = folder.path().join("keys.toml");
    let sha256 = assay_server::hash_key(key).unwrap();
    fs::write(&file, format!("[[auth.keys]]\nname = \"ci\"\nsha256 = \"{sha256}\"\nroles = [\"predict\"]\n")).unwrap();
    let arguments = ["--set", "log.format=json", "--set", "log.level=trace", "--config", file.to_str().unwrap()];
    let sink = folder.path().join("calls.jsonl");
    let calls = format!("log.calls={}", sink.display());
    let arguments = [&arguments[..], &["--set", &calls]].concat();
    // So long a log would fill a pipe that nobody reads.
    let log = folder.path().join("log");
    let (child, addresses) = started(folder.path(), program(&arguments).stderr(fs::File::create(&log).unwrap()));
    let mut client = connect(addresses.grpc).await;
    for sent in [key, "a-key-that-is-wrong-0123456789"] {
        let mut predict = tonic::Request::new(predict_request(1));
        predict.metadata_mut().insert("authorization", format!("Bearer {sent}").parse().unwrap());
        let mut gradient = tonic::Request::new(assay_proto::v1::GradientRequest::default());
        *gradient.metadata_mut() = predict.metadata().clone();
        assert_eq!(client.predict(predict).await.is_ok(), sent == key);
        client.gradient(gradient).await.unwrap_err();
    }
    signal(&child, "TERM");
    assert_eq!(ended(child).0, Some(0));
    let log = fs::read_to_string(log).unwrap();
    let calls: Vec<[serde_json::Value; 3]> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line))
        .filter(|line| line["rpc"].is_string())
        .map(|line| ["rpc", "principal", "code"].map(|field| line[field].clone()))
        .collect();
    let expected = [
        ["Predict".into(), "ci".into(), "OK".into()],
        ["Gradient".into(), "ci".into(), "PERMISSION_DENIED".into()],
        ["Predict".into(), serde_json::Value::Null, "UNAUTHENTICATED".into()],
        ["Gradient".into(), serde_json::Value::Null, "UNAUTHENTICATED".into()],
    ];
    assert_eq!(calls, expected);
    let sink = fs::read_to_string(sink).unwrap();
    let lines: Vec<serde_json::Value> = sink.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let told: Vec<[serde_json::Value; 3]> =
        lines.iter().map(|line| ["rpc", "principal", "code"].map(|field| line[field].clone())).collect();
    assert_eq!(told, expected, "the records of calls are nothing else");
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["model"].is_string()), "{sink}");
    for text in [&log, &sink] {
        assert!(!text.contains(key) && !text.contains("a-key-that-is-wrong"), "a key is in the log");
    }
    assert!(!log.contains("authentication is off"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_has_the_file_of_keys_read_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    fs::write(&file, "").unwrap();
    let setting = format!("auth.file={}", file.display());
    // By itself it would not look within this test.
    let arguments = ["--set", "reload.interval_seconds=3600", "--set", &setting];
    let (child, addresses) = start(folder.path(), &arguments);
    let key = "a-key-that-only-this-test-has";
    let predict = async || {
        let mut predict = tonic::Request::new(predict_request(1));
        predict.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        connect(addresses.grpc).await.predict(predict).await.map(drop)
    };
    assert_eq!(predict().await.unwrap_err().code(), tonic::Code::Unauthenticated);
    let sha256 = assay_server::hash_key(key).unwrap();
    fs::write(&file, format!("[[keys]]\nname = \"ci\"\nsha256 = \"{sha256}\"\nroles = [\"predict\"]\n")).unwrap();
    signal(&child, "HUP");
    let began = Instant::now();
    while predict().await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "the key is not known");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    signal(&child, "TERM");
    let (code, log) = ended(child);
    assert!(code == Some(0) && log.contains("who may call has changed"), "{log}");
    fs::write(&file, "[[keys]]\n").unwrap();
    fails(program(&["--set", &setting]).args(["--set", "log.level=error"]), &["auth.file ", "missing field `name`"]);
    fails(&mut program(&["--set", "log.calls=/no/such/folder/calls"]), &["cannot write /no/such/folder/calls"]);
}

#[test]
fn without_keys_it_warns_where_others_can_reach_it() {
    for (listen, warns) in [("0.0.0.0:0", true), ("[::]:0", true), ("127.0.0.1:0", false), ("[::1]:0", false)] {
        let folder = tempfile::tempdir().unwrap();
        let (child, _) = start(folder.path(), &["--set", &format!("grpc.listen={listen}")]);
        signal(&child, "TERM");
        let (_, log) = ended(child);
        assert_eq!(log.contains("authentication is off"), warns, "{listen}: {log}");
        assert_eq!(log.contains("auth.keys"), warns, "{listen}: {log}");
    }
}

#[test]
fn a_key_is_hashed_from_standard_input() {
    let hashed = |input: &str| {
        let mut child = program(&["--hash-key"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()))
    };
    let key = "WmFhQ3Jlc3NpZGEtMTIzNDU2Nzg5MA==";
    let line = format!("sha256 = \"{}\"\n", assay_server::hash_key(key).unwrap());
    for end in ["", "\n", "\r\n"] {
        assert_eq!(hashed(&format!("{key}{end}")), (Some(0), [line.clone(), String::new()]));
    }
    for wrong in ["", "\n", "too-short", &format!("{key}\n{key}\n")] {
        let (code, [stdout, stderr]) = hashed(wrong);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{wrong:?}: {stderr}");
        assert!(stderr.contains("openssl rand -base64 32") && !stderr.contains(key), "{stderr}");
    }
}
