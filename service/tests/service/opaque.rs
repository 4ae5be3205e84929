//! A model with an operator that has no gradient rule predicts, and says what it cannot do.

use std::fs;

use crate::harness::{Running, attack_request, audit_request, deploy, images, predict_request};
use assay_graph::{Limits, Model};
use assay_proto::v1::{
    AttackRequest, AttackSpec, GetModelRequest, GradientKind, GradientRequest, Loss, LossAt, PredictRequest,
    StartAuditRequest, WatchAuditRequest, gradient_request::Objective, start_audit_request::What,
};
use tonic::{Code, Status};

pub(crate) const NAME: &str = "opaque";

/// The demo's robust model with its last `Relu` made a `Sign`, which has no rule. Returns the node's name too.
pub(crate) fn repository() -> (tempfile::TempDir, String) {
    let mut model = Model::load(&deploy("models/fashion-robust/1/model.onnx"), &Limits::default()).unwrap();
    let node = model.graph.nodes.iter_mut().rfind(|node| node.operator == "Relu").unwrap();
    node.operator = "Sign".to_owned();
    let node = node.label().to_owned();
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join(NAME).join("1");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("model.onnx"), model.to_bytes()).unwrap();
    (root, node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_predicts_and_its_attack_is_refused_with_operator_and_node() {
    let (root, node) = repository();
    let models = root.path().to_owned();
    let server = Running::with(move |config| config.models = models).await;
    let mut client = server.client().await;
    let request = PredictRequest { model: NAME.to_owned(), ..predict_request(2) };
    assert_eq!(client.predict(request).await.unwrap().into_inner().predictions.len(), 2);

    let model = client.get_model(GetModelRequest { model: NAME.to_owned(), ..Default::default() }).await.unwrap();
    let model = model.into_inner();
    let gradients = model.gradients.unwrap();
    assert_eq!(gradients.kind(), GradientKind::Unavailable);
    assert!(gradients.reason.contains("Sign") && gradients.reason.contains(&node), "{gradients:?}");

    let refused = |status: Status| {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        assert!(status.message().contains(&gradients.reason) && status.message().contains(NAME), "{status}");
    };
    let attack = |name: &str| AttackRequest {
        model: NAME.to_owned(),
        attack: Some(AttackSpec { name: name.to_owned(), ..Default::default() }),
        ..attack_request(4, &[])
    };
    for name in ["fgsm", "pgd"] {
        let mut events = client.attack(attack(name)).await.unwrap().into_inner();
        refused(events.message().await.unwrap_err());
    }
    let (input, labels) = images(1);
    let objective = Some(Objective::Loss(LossAt { loss: Loss::CrossEntropy.into(), labels, targets: vec![] }));
    let gradient = GradientRequest { model: NAME.to_owned(), input: Some(input), objective, ..Default::default() };
    refused(client.gradient(gradient).await.unwrap_err());
    let audit = audit_request(&[NAME], 8);
    let start = StartAuditRequest { what: Some(What::Audit(audit)), ..Default::default() };
    let job = client.start_audit(start).await.unwrap().into_inner().id;
    let mut events = client.watch_audit(WatchAuditRequest { job, ..Default::default() }).await.unwrap().into_inner();
    let status = loop {
        match events.message().await {
            Ok(message) => assert!(message.is_some(), "an audit without gradients ended"),
            Err(status) => break status,
        }
    };
    refused(status);
}
