//! The built `assay` against a server that asks for keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod server;

use std::fs;
use std::process::{Command, Output};

use crate::server::{Server, repository};

/// A key, and what `printf %s KEY | sha256sum` prints for it.
const KEY: &str = "q0Zr2mX8vT5yLw1NcJ7dKs3Hb9Ge4Pfa";
const SHA256: &str = "dec49abed3f4d7f03f7d930cef97363b7718b825fa3cba55b36f771f5c78def3";

fn assay(server: &str, key: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command
        .current_dir(repository())
        .env_remove("ASSAY_API_KEY")
        .env_remove("ASSAY_PLAIN_TEXT_KEY")
        .env("ASSAY_SERVER", server)
        .args(arguments);
    command.envs(key.map(|key| ("ASSAY_API_KEY", key)));
    command.output().unwrap()
}

#[track_caller]
fn fails(output: &Output, says: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for part in says {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }
    assert!(!message.contains(KEY), "{message}");
}

#[track_caller]
fn succeeds(output: &Output) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert!(!message.contains("warning"), "{message}");
}

#[test]
fn a_server_with_keys_answers_who_holds_one() {
    let setting = format!("auth.keys=[{{name = \"ci\", sha256 = \"{SHA256}\", roles = [\"predict\"]}}]");
    let server = Server::start(&repository(), "deploy/models", &[&setting]);
    let address = server.address.as_str();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (key, wrong) = (file("key", &format!("{KEY}\n")), file("wrong", "a-key-of-another-server-0123456789\n"));

    succeeds(&assay(address, None, &["models", "--api-key-file", &key]));
    succeeds(&assay(address, Some(KEY), &["models"]));
    let data = ["--data", "deploy/data/fashion-mnist", "--samples", "10"];
    succeeds(&assay(address, None, &[&["--api-key-file", &key, "predict", "fashion-dense"], &data[..]].concat()));
    // The file is what the command says; the variable may be there for another server.
    succeeds(&assay(address, Some("another"), &["--api-key-file", &key, "models"]));

    let remedy = ["(Unauthenticated, UNKNOWN_CALLER)", "Set ASSAY_API_KEY", "--api-key-file FILE"];
    fails(&assay(address, None, &["models"]), &[&["there is no key"], &remedy[..]].concat());
    fails(
        &assay(address, Some(KEY), &["--api-key-file", &wrong, "models"]),
        &[&["this key is not known"], &remedy[..]].concat(),
    );
    fails(
        &assay(address, Some(KEY), &[&["gradient", "fashion-dense"], &data[..]].concat()),
        &[
            "Gradient needs the role `gradient`, which `ci` does not have",
            "(PermissionDenied, ROLE_MISSING)",
            "ASSAY_API_KEY",
        ],
    );
    server.wait_until("assay_requests_total{rpc=\"Gradient\",model=\"_unknown\",code=\"PERMISSION_DENIED\"}", |n| {
        n == 1.0
    });

    fails(&assay(address, None, &["--api-key-file", &file("empty", "\n"), "models"]), &["empty: expected a key"]);
    fails(&assay(address, Some(""), &["models"]), &["ASSAY_API_KEY: expected a key"]);
    fails(&assay(address, None, &["--api-key-file", "no/such/key", "models"]), &["--api-key-file no/such/key: "]);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_key_goes_to_no_other_server_and_not_in_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, KEY).unwrap();
    let key = key.to_str().unwrap();
    let attack = ["attack", "oip://127.0.0.1:1/model", "--data", "deploy/data/fashion-mnist"];
    let attack = [&attack[..], &["--threat", "Linf:0.1", "--attack", "square", "--api-key-file", key]].concat();
    fails(&assay("http://127.0.0.1:1", None, &attack), &["oip://127.0.0.1:1/model", "is not sent the key"]);
    fails(&assay("http://127.0.0.1:1", None, &["--embed", "x", "--api-key-file", key, "models"]), &["cannot be used"]);

    // Nobody listens on port 1 of any of its own addresses.
    let (elsewhere, here) = ("http://0.0.0.0:1", "http://127.0.0.1:1");
    let refused = assay(elsewhere, Some(KEY), &["models"]);
    fails(&refused, &["the API key would go to http://0.0.0.0:1 in plain text", "https://", "--plain-text-key"]);
    fails(&assay(elsewhere, Some(KEY), &["models", "--plain-text-key=no"]), &["in plain text"]);
    for (address, key, more) in [
        (here, Some(KEY), &[][..]),
        (elsewhere, None, &[]),
        (elsewhere, Some(KEY), &["--plain-text-key"]),
        (elsewhere, Some(KEY), &["--plain-text-key=yes"]),
        ("https://0.0.0.0:1", Some(KEY), &["--ca", "deploy/tls-of-nobody.crt"]),
    ] {
        let output = assay(address, key, &[&["models"], more].concat());
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains("cannot reach a server") || message.contains("--ca deploy"), "{message}");
        assert!(!message.contains(KEY), "{message}");
    }
}
