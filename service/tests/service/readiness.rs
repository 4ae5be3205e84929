//! Readiness: what failed is told, and may be required.

use std::{fs, path::Path};

use crate::harness::{MODEL, Running, deploy, get, predict_request};
use assay_proto::v1::{ListModelsRequest, PredictRequest};
use assay_server::Server;
use tonic::Code;

/// The demo's robust model as two versions, beside models that cannot be loaded.
fn repository() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let file = deploy("models/fashion-robust/1/model.onnx");
    let put = |path: &str, bytes: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let bytes = fs::read(file).unwrap();
    put("fashion-robust/1/model.onnx", &bytes);
    put("fashion-robust/12/model.onnx", &bytes);
    put("truncated/1/model.onnx", &bytes[..bytes.len() / 2]);
    put("corrupt/1/model.onnx", b"this is no model");
    put("labels/1/model.onnx", &bytes);
    put("labels/model.toml", b"labels = [\"only one\"]\n");
    put("typo/1/model.onnx", &bytes);
    put("typo/model.toml", b"kind = \"dense\"\nlables = []\n");
    fs::create_dir_all(root.path().join("empty/1")).unwrap();
    root
}

async fn serve(models: &Path, require_all: bool) -> Running {
    let models = models.to_owned();
    Running::with(move |config| {
        config.models = models;
        config.readiness.require_all_models = require_all;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_that_fail_are_listed_with_their_reason_and_do_not_stop_the_others() {
    let root = repository();
    let server = serve(root.path(), false).await;
    let mut client = server.client().await;
    let models = client.list_models(ListModelsRequest {}).await.unwrap().into_inner().models;
    for (name, reason) in [
        ("corrupt", "model.onnx"),
        ("truncated", "model.onnx"),
        ("empty", "model.onnx"),
        ("labels", "labels: expected 10 (the model's classes), got 1"),
        ("typo", "line 2"),
    ] {
        let model = models.iter().find(|model| model.name == name).unwrap();
        assert!(!model.ready && model.reason.contains(reason), "{name}: {}", model.reason);
        let request = PredictRequest { model: name.to_owned(), ..predict_request(1) };
        let status = client.predict(request).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        assert!(status.message().contains(&model.reason), "{status}");
    }
    assert_eq!(server.metric("assay_models_failed"), Some(5.0));
    assert_eq!(server.metric("assay_models_loaded"), Some(2.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_version_answers_unless_another_is_asked_for() {
    let root = repository();
    let server = serve(root.path(), false).await;
    let mut client = server.client().await;
    for (asked, answered) in [("", "12"), ("12", "12"), ("1", "1")] {
        let request = PredictRequest { version: asked.to_owned(), ..predict_request(1) };
        assert_eq!(client.predict(request).await.unwrap().into_inner().version, answered);
    }
    let models = client.list_models(ListModelsRequest {}).await.unwrap().into_inner().models;
    assert_eq!(models.iter().find(|model| model.name == MODEL).unwrap().versions, ["12", "1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_requires_all_models_says_which_one_is_missing() {
    let root = repository();
    let mut config = crate::harness::config();
    config.models = root.path().to_owned();
    config.readiness.require_all_models = true;
    let server = Server::bind(config).await.unwrap();
    let admin = server.addresses().admin;
    tokio::spawn(server.run(std::future::pending()));
    let reasons = loop {
        let (status, body) = get(admin, "/readyz");
        assert_eq!(status, 503, "{body}");
        if !body.contains("being loaded") {
            break body;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(reasons.contains("corrupt/1: ") && reasons.contains("typo/1: "), "{reasons}");
    assert_eq!(get(admin, "/livez").0, 200);
}
