//! Control of the repository: a model is read anew, taken out of service, and nothing comes over the network.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use assay_proto::{
    inference::{
        ModelReadyRequest, ModelRepositoryParameter, RepositoryIndexRequest, RepositoryModelLoadRequest,
        RepositoryModelUnloadRequest, grpc_inference_service_client::GrpcInferenceServiceClient,
        model_repository_parameter::ParameterChoice, repository_index_response::ModelIndex,
    },
    v1::{ListModelsRequest, attack_response::Event},
};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    harness::{MODEL, Running, attack_request, deploy, endless_attack, infer_request, predict_request, sha256},
    program::start,
};

const DENSE: &str = "fashion-dense";

/// A repository with the demo's robust model, and a server of it.
async fn serve(change: impl FnOnce(&mut assay_server::Config)) -> (tempfile::TempDir, Running) {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), MODEL, "1", MODEL);
    let models = root.path().to_owned();
    let server = Running::with(|config| {
        config.models = models;
        change(config);
    })
    .await;
    (root, server)
}

/// One of the demo's models as a version of another.
fn put(root: &Path, name: &str, version: &str, shipped: &str) {
    let folder = root.join(name).join(version);
    fs::create_dir_all(&folder).unwrap();
    fs::copy(deploy("models").join(shipped).join("1/model.onnx"), folder.join("model.onnx")).unwrap();
}

async fn load(server: &Running, name: &str) -> Result<(), Status> {
    let request = RepositoryModelLoadRequest { model_name: name.to_owned(), ..Default::default() };
    server.oip().await.repository_model_load(request).await.map(|_| ())
}

async fn unload(server: &Running, name: &str) -> Result<(), Status> {
    let request = RepositoryModelUnloadRequest { model_name: name.to_owned(), ..Default::default() };
    server.oip().await.repository_model_unload(request).await.map(|_| ())
}

/// `name/version state reason` of each version.
async fn index(server: &Running, ready: bool) -> Vec<String> {
    let request = RepositoryIndexRequest { ready, ..Default::default() };
    let models = server.oip().await.repository_index(request).await.unwrap().into_inner().models;
    let text = |ModelIndex { name, version, state, reason }| format!("{name}/{version} {state} {reason}");
    models.into_iter().map(text).collect()
}

/// Digest of the file that answers.
async fn answers_with(server: &Running) -> String {
    let request = assay_proto::inference::ModelMetadataRequest { name: MODEL.to_owned(), ..Default::default() };
    let metadata = server.oip().await.model_metadata(request).await.unwrap().into_inner();
    metadata.properties["digest"].clone()
}

fn digest(shipped: &str) -> String {
    sha256(&fs::read(deploy("models").join(shipped).join("1/model.onnx")).unwrap())
}

/// Threads of a process that own a session.
fn sessions(process: u32) -> usize {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let names = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("assay-session")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_changed_is_read_anew() {
    let (root, server) = serve(|_| {}).await;
    assert_eq!(answers_with(&server).await, digest(MODEL));
    put(root.path(), MODEL, "1", DENSE);
    assert_eq!(answers_with(&server).await, digest(MODEL), "not before it is asked for");
    load(&server, MODEL).await.unwrap();
    assert_eq!(answers_with(&server).await, digest(DENSE));
    let series = |served: &str| {
        format!(
            "assay_model_info{{model=\"{MODEL}\",version=\"1\",kind=\"\",provider=\"cpu\",digest=\"{}\"}}",
            digest(served)
        )
    };
    assert_eq!([server.metric(&series(MODEL)), server.metric(&series(DENSE))], [Some(0.0), Some(1.0)]);
    // A version that is new, and a model that is.
    put(root.path(), MODEL, "12", MODEL);
    fs::remove_dir_all(root.path().join(MODEL).join("1")).unwrap();
    put(root.path(), "another", "3", DENSE);
    load(&server, MODEL).await.unwrap();
    load(&server, "another").await.unwrap();
    assert_eq!(index(&server, false).await, ["another/3 READY ", "fashion-robust/12 READY "]);
    assert_eq!(server.metric("nv_inference_count{model=\"another\",version=\"3\"}"), Some(0.0));
    let answer = server.client().await.predict(predict_request(1)).await.unwrap().into_inner();
    assert_eq!(answer.version, "12");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_fails_leaves_what_was_there() {
    let (root, server) = serve(|_| {}).await;
    let model = root.path().join(MODEL);
    let before = index(&server, true).await;
    for (file, content, says) in [
        ("2/model.onnx", "this is no model", "version 2 could not be loaded"),
        ("model.toml", "lables = []\n", "could not be loaded"),
        ("model.toml", "labels = [\"one\"]\n", "labels: expected 10"),
    ] {
        fs::create_dir_all(model.join("2")).unwrap();
        fs::copy(model.join("1/model.onnx"), model.join("2/model.onnx")).unwrap();
        fs::write(model.join(file), content).unwrap();
        let status = load(&server, MODEL).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        assert!(status.message().contains(says) && status.message().ends_with("nothing was changed"), "{status}");
        assert_eq!(index(&server, false).await, before);
        server.client().await.predict(predict_request(1)).await.unwrap();
        fs::remove_file(model.join(file)).unwrap();
    }
    fs::remove_dir_all(&model).unwrap();
    let status = load(&server, MODEL).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    server.client().await.predict(predict_request(1)).await.unwrap();
    for (name, code) in
        [("no-such-model", Code::NotFound), ("../escape", Code::InvalidArgument), ("", Code::InvalidArgument)]
    {
        assert_eq!(load(&server, name).await.unwrap_err().code(), code, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_was_unloaded_says_so_until_it_is_loaded_again() {
    let (root, server) = serve(|_| {}).await;
    put(root.path(), DENSE, "1", DENSE);
    load(&server, DENSE).await.unwrap();
    unload(&server, MODEL).await.unwrap();
    for status in [
        server.client().await.predict(predict_request(1)).await.unwrap_err(),
        server.oip().await.model_infer(infer_request(1)).await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains("was unloaded; RepositoryModelLoad loads it again"), "{status}");
    }
    let request = ModelReadyRequest { name: MODEL.to_owned(), ..Default::default() };
    assert!(!server.oip().await.model_ready(request).await.unwrap().into_inner().ready);
    assert_eq!(index(&server, false).await, ["fashion-dense/1 READY ", "fashion-robust/1 UNAVAILABLE unloaded"]);
    assert_eq!(index(&server, true).await, ["fashion-dense/1 READY "]);
    let models = server.client().await.list_models(ListModelsRequest {}).await.unwrap().into_inner().models;
    assert_eq!(models[1].reason, "unloaded");
    unload(&server, MODEL).await.unwrap();
    load(&server, MODEL).await.unwrap();
    server.oip().await.model_infer(infer_request(1)).await.unwrap();
    assert_eq!(unload(&server, "no-such-model").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_was_unloaded_has_no_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    put(&root, MODEL, "1", MODEL);
    put(&root, DENSE, "1", DENSE);
    let (mut child, addresses) = start(folder.path(), &["--models", root.to_str().unwrap()]);
    let mut counts = vec![sessions(child.id())];
    let mut client = GrpcInferenceServiceClient::connect(format!("http://{}", addresses.grpc)).await.unwrap();
    for model_name in [MODEL, DENSE].map(str::to_owned) {
        let request = RepositoryModelUnloadRequest { model_name, ..Default::default() };
        client.repository_model_unload(request).await.unwrap();
        counts.push(sessions(child.id()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(counts, [4, 2, 0], "two of each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_when_a_model_is_unloaded_may_end() {
    // On a machine that is busy, it may take a while.
    let (_root, server) = serve(|config| config.shutdown.drain_seconds = 600.0).await;
    let mut client = server.client().await;
    let mut events = client.attack(attack_request(16, &[("steps", "60")])).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    let (unloaded, attacked) = tokio::join!(unload(&server, MODEL), async {
        let mut last = None;
        while let Some(event) = events.message().await.unwrap() {
            last = Some(event);
        }
        last
    });
    unloaded.unwrap();
    let result = attacked.unwrap().event.unwrap();
    assert!(matches!(result, Event::Result(_)), "{result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outlasts_the_time_to_drain_is_refused() {
    let (_root, server) = serve(|config| config.shutdown.drain_seconds = 0.2).await;
    let mut client = server.client().await;
    let mut events = client.attack(endless_attack()).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(60), unload(&server, MODEL)).await.expect("it waits for ever").unwrap();
    let status = loop {
        match events.message().await {
            Ok(event) => assert!(event.is_some(), "an endless attack ended"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("the model was unloaded"), "{status}");
}

/// Reads the news of who is watched until this is what they say.
async fn told(watched: &mut Streaming<HealthCheckResponse>, status: ServingStatus) {
    let news = async { while watched.message().await.unwrap().unwrap().status() != status {} };
    tokio::time::timeout(Duration::from_secs(30), news).await.expect("not told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_a_model_is_told_when_it_goes_and_comes() {
    let (_root, server) = serve(|_| {}).await;
    let mut health = HealthClient::new(server.channel().await);
    let mut watch = async |service: &str| {
        health.watch(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner()
    };
    let (mut model, mut whole) = (watch("models/fashion-robust").await, watch("").await);
    for watched in [&mut model, &mut whole] {
        told(watched, ServingStatus::Serving).await;
    }
    unload(&server, MODEL).await.unwrap();
    // It was the only one.
    for watched in [&mut model, &mut whole] {
        told(watched, ServingStatus::NotServing).await;
    }
    load(&server, MODEL).await.unwrap();
    for watched in [&mut model, &mut whole] {
        told(watched, ServingStatus::Serving).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_over_the_network() {
    let (_root, server) = serve(|_| {}).await;
    let mut client = server.oip().await;
    let value = |choice| ModelRepositoryParameter { parameter_choice: Some(choice) };
    for (name, choice, says) in [
        ("config", ParameterChoice::StringParam("{}".into()), "configurations are not taken over the network"),
        ("file:1/model.onnx", ParameterChoice::BytesParam("x".into()), "files are not taken over the network"),
        ("other", ParameterChoice::BoolParam(true), "is not known"),
    ] {
        let parameters = HashMap::from([(name.to_owned(), value(choice))]);
        let request = RepositoryModelLoadRequest { model_name: MODEL.to_owned(), parameters, ..Default::default() };
        let status = client.repository_model_load(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(says), "{status}");
    }
    let parameters = HashMap::from([("other".to_owned(), value(ParameterChoice::BoolParam(true)))]);
    let request = RepositoryModelUnloadRequest { model_name: MODEL.to_owned(), parameters, ..Default::default() };
    assert_eq!(client.repository_model_unload(request).await.unwrap_err().code(), Code::InvalidArgument);
    let request = RepositoryIndexRequest { repository_name: "other".to_owned(), ready: false };
    assert_eq!(client.repository_index(request).await.unwrap_err().code(), Code::InvalidArgument);
    let parameters = HashMap::from([("unload_dependents".to_owned(), value(ParameterChoice::BoolParam(true)))]);
    let request = RepositoryModelUnloadRequest { model_name: MODEL.to_owned(), parameters, ..Default::default() };
    client.repository_model_unload(request).await.unwrap();
}
