//! What is served follows the folder of the models, where that is wanted, and `model.toml` says which versions are served.

use std::{fs, path::Path};

use assay_proto::{
    inference::{
        ModelConfigRequest, RepositoryIndexRequest,
        model_version_policy::{Latest, PolicyChoice, Specific},
    },
    v1::PredictRequest,
};
use assay_server::Config;
use tonic::Code;

use crate::harness::{MODEL, PRUNED, Running, deploy, predict_request, sha256};

const DENSE: &str = "fashion-dense";

/// One of the demo's models as a version of another.
fn put(root: &Path, name: &str, version: &str, shipped: &str) {
    let folder = root.join(name).join(version);
    fs::create_dir_all(&folder).unwrap();
    // As those do it who are careful: it appears as a whole.
    let draft = folder.join(".draft");
    fs::copy(deploy("models").join(shipped).join("1/model.onnx"), &draft).unwrap();
    fs::rename(draft, folder.join("model.onnx")).unwrap();
}

fn describe(root: &Path, name: &str, manifest: &str) {
    fs::create_dir_all(root.join(name)).unwrap();
    fs::write(root.join(name).join("model.toml"), manifest).unwrap();
}

async fn serve(root: &Path, change: impl FnOnce(&mut Config)) -> Running {
    let models = root.to_owned();
    Running::with(|config| {
        config.models = models;
        config.reload.interval_seconds = 0.1;
        change(config);
    })
    .await
}

/// `name/version` of each, with the reason of those that do not serve.
async fn listed(server: &Running) -> Vec<String> {
    let models =
        server.oip().await.repository_index(RepositoryIndexRequest::default()).await.unwrap().into_inner().models;
    models.into_iter().map(|v| format!("{}/{} {}", v.name, v.version, v.reason).trim().to_owned()).collect()
}

async fn answered_by(server: &Running, model: &str) -> Result<String, Code> {
    let request = PredictRequest { model: model.to_owned(), ..predict_request(1) };
    let answer = server.client().await.predict(request).await;
    answer.map(|answer| answer.into_inner().version).map_err(|status| status.code())
}

fn reloads(server: &Running, result: &str) -> f64 {
    server.metric(&format!("assay_reloads_total{{what=\"models\",result=\"{result}\"}}")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_served_follows_the_folder() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "net", "1", MODEL);
    let server = serve(root.path(), |config| config.reload.models = true).await;
    assert_eq!(answered_by(&server, "net").await, Ok("1".to_owned()));

    put(root.path(), "net", "2", PRUNED);
    put(root.path(), "other", "1", DENSE);
    server.eventually("both are hosted", |server| server.metric("assay_models_loaded") == Some(3.0)).await;
    assert_eq!(answered_by(&server, "net").await, Ok("2".to_owned()));
    assert_eq!(answered_by(&server, "other").await, Ok("1".to_owned()));

    // What is wrong changes nothing, and is told once.
    fs::write(root.path().join("net/2/model.onnx"), "no model").unwrap();
    server.eventually("it is refused", |server| reloads(server, "refused") == 1.0).await;
    assert_eq!(answered_by(&server, "net").await, Ok("2".to_owned()));

    fs::remove_dir_all(root.path().join("net/2")).unwrap();
    server.eventually("the older one serves", |server| server.metric("assay_models_loaded") == Some(2.0)).await;
    assert_eq!(answered_by(&server, "net").await, Ok("1".to_owned()));
    fs::remove_dir_all(root.path().join("other")).unwrap();
    server.eventually("it is gone", |server| server.metric("assay_models_loaded") == Some(1.0)).await;
    assert_eq!(answered_by(&server, "other").await, Err(Code::NotFound));
    assert_eq!(reloads(&server, "refused"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_being_asked_to_the_server_leaves_the_folder_alone() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "net", "1", MODEL);
    let server = serve(root.path(), |_| {}).await;
    put(root.path(), "net", "2", PRUNED);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(answered_by(&server, "net").await, Ok("1".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manifest_says_which_versions_are_served() {
    let root = tempfile::tempdir().unwrap();
    for (version, shipped) in [("1", MODEL), ("2", PRUNED), ("3", DENSE)] {
        for name in ["latest", "only", "odd"] {
            put(root.path(), name, version, shipped);
        }
    }
    describe(root.path(), "latest", "[versions]\nlatest = 2\n");
    describe(root.path(), "only", "[versions]\nonly = [1]\n");
    describe(root.path(), "odd", "[versions]\nonly = [4]\n");
    let server = serve(root.path(), |_| {}).await;
    let odd = "could not be loaded: model.toml: versions.only has 4; there is 1, 2, 3";
    let listed = listed(&server).await;
    assert_eq!(listed.iter().filter(|line| !line.starts_with("odd")).count(), 3, "{listed:#?}");
    for served in ["latest/2", "latest/3", "only/1"] {
        assert!(listed.contains(&served.to_owned()), "{served}: {listed:#?}");
    }
    assert_eq!(answered_by(&server, "only").await, Ok("1".to_owned()));
    for (name, policy) in [
        ("latest", PolicyChoice::Latest(Latest { num_versions: 2 })),
        ("only", PolicyChoice::Specific(Specific { versions: vec![1] })),
    ] {
        let request = ModelConfigRequest { name: name.to_owned(), version: String::new() };
        let config = server.oip().await.model_config(request).await.unwrap().into_inner().config.unwrap();
        assert_eq!(config.version_policy.unwrap().policy_choice, Some(policy));
    }
    let request = PredictRequest { model: "odd".to_owned(), ..predict_request(1) };
    let status = server.client().await.predict(request).await.unwrap_err();
    assert!(status.message().contains(odd), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_other_than_the_pinned_one_is_not_served() {
    let root = tempfile::tempdir().unwrap();
    let digest = sha256(&fs::read(deploy("models").join(MODEL).join("1/model.onnx")).unwrap());
    for name in ["good", "swapped"] {
        put(root.path(), name, "1", if name == "good" { MODEL } else { DENSE });
        describe(root.path(), name, &format!("[versions.sha256]\n1 = \"{}\"\n", digest.to_uppercase()));
    }
    put(root.path(), "good", "2", PRUNED);
    let server = serve(root.path(), |_| {}).await;
    let listed = listed(&server).await;
    let with = |name: &str, what: &str| listed.iter().any(|line| line.starts_with(name) && line.contains(what));
    assert!(listed.contains(&"good/1".to_owned()), "{listed:#?}");
    assert!(with("good/2", "no digest of version 2"), "{listed:#?}");
    assert!(with("swapped/1", "and must be"), "{listed:#?}");
}
