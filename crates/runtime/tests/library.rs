//! Loading ONNX Runtime: what can go wrong is said, promptly, and nothing hangs.
//!
//! A process loads one library, so every case runs in a process of its own: this test's executable, asked to run `child`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use assay_runtime::{Library, OnnxRuntime};

const FILE: &str = "ASSAY_TEST_LIBRARY";
const SECOND: &str = "ASSAY_TEST_SECOND_LIBRARY";

#[test]
#[ignore = "the other tests run it, each in a process of its own"]
fn child() {
    let file = |name| std::env::var_os(name).map(PathBuf::from);
    for name in [FILE, SECOND] {
        match OnnxRuntime::load(&Library { path: file(name) }) {
            Ok(runtime) => println!("{name} loaded {} from {}", runtime.version(), runtime.path().display()),
            Err(e) => println!("{name} failed: {e}"),
        }
    }
    println!("telemetry disabled: {}", std::env::var("ORT_DISABLE_TELEMETRY").unwrap_or_default());
}

/// What `child` prints with these environment variables and without the usual ones.
fn load(variables: &[(&str, &Path)]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env_remove("ORT_DYLIB_PATH")
        .env_remove("ORT_DISABLE_TELEMETRY")
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("loading hangs with {variables:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "\"{part}\" is missing in:\n{text}");
    }
}

#[test]
fn a_path_without_a_file_is_named_with_the_remedy() {
    let text = load(&[(FILE, Path::new("/nowhere/libonnxruntime.so"))]);
    assert_says(&text, &["/nowhere/libonnxruntime.so", "no such file", "make setup", "ORT_DYLIB_PATH"]);
    let text = load(&[("ORT_DYLIB_PATH", Path::new("/nowhere/libonnxruntime.so"))]);
    assert_says(&text, &["environment variable ORT_DYLIB_PATH names /nowhere/libonnxruntime.so"]);
}

#[test]
fn a_text_file_is_not_a_library() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("libonnxruntime.so");
    std::fs::write(&file, "not a library").unwrap();
    assert_says(&load(&[(FILE, &file)]), &["is not ONNX Runtime's shared library", file.to_str().unwrap()]);
}

#[test]
#[cfg(target_os = "linux")]
fn another_library_is_not_onnx_runtime() {
    // The C++ library that ONNX Runtime itself needs; the loader finds it wherever it is.
    let file = std::fs::read_to_string("/proc/self/maps").unwrap();
    let file = file.lines().find_map(|line| line.split_whitespace().last().filter(|f| f.contains("libc.so"))).unwrap();
    assert_says(
        &load(&[(FILE, Path::new(file))]),
        &["is not ONNX Runtime's shared library", "does not export OrtGetApiBase"],
    );
}

#[test]
fn a_library_that_is_too_old_is_named_with_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    let (source, file) = (folder.path().join("old.rs"), folder.path().join("libonnxruntime.so"));
    let old = r#"
        #[repr(C)] pub struct Base { api: extern "C" fn(u32) -> *const u8, version: extern "C" fn() -> *const u8 }
        extern "C" fn api(_: u32) -> *const u8 { std::ptr::null() }
        extern "C" fn version() -> *const u8 { b"1.20.3\0".as_ptr() }
        static BASE: Base = Base { api, version };
        #[unsafe(no_mangle)] pub extern "C" fn OrtGetApiBase() -> &'static Base { &BASE }
    "#;
    std::fs::write(&source, old).unwrap();
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiled =
        Command::new(compiler).args(["--edition=2024", "--crate-type=cdylib", "-o"]).args([&file, &source]).status();
    if !compiled.is_ok_and(|status| status.success()) {
        println!("skipped: no compiler to make an old library with");
        return;
    }
    assert_says(&load(&[(FILE, &file)]), &["is ONNX Runtime 1.20.3", "needs 1.24 or newer", file.to_str().unwrap()]);
}

#[test]
fn the_library_is_loaded_once_with_its_telemetry_off() {
    let Some(runtime) = support::runtime() else { return };
    let file = runtime.path();
    let text = load(&[(FILE, file), (SECOND, file)]);
    let loaded = format!("loaded {} from {}", runtime.version(), file.display());
    assert_says(&text, &[&format!("{FILE} {loaded}"), &format!("{SECOND} {loaded}"), "telemetry disabled: 1"]);

    let text = load(&[(FILE, file), (SECOND, Path::new("/nowhere/other.so"))]);
    assert_says(&text, &[&format!("was loaded from {} before", file.display()), "/nowhere/other.so was not loaded"]);
}

#[test]
fn a_failed_load_can_be_tried_again() {
    let Some(runtime) = support::runtime() else { return };
    let text = load(&[(FILE, Path::new("/nowhere/libonnxruntime.so")), (SECOND, runtime.path())]);
    assert_says(&text, &[&format!("{FILE} failed"), &format!("{SECOND} loaded {}", runtime.version())]);
}
