//! ListModels, GetModel and ListAttacks tell what there is.

use crate::harness::{MODEL, PRUNED, Running};
use assay_proto::v1::{GetModelRequest, GradientKind, ListAttacksRequest, ListModelsRequest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_listed_with_their_lineage() {
    let server = Running::start().await;
    let models = server.client().await.list_models(ListModelsRequest {}).await.unwrap().into_inner().models;
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["fashion-dense", "fashion-pruned", MODEL, PRUNED]);
    let pruned = &models[3];
    assert_eq!((pruned.parent.as_str(), pruned.kind.as_str()), (MODEL, "filter-pruned"));
    assert!(pruned.ready && pruned.reason.is_empty(), "{}", pruned.reason);
    assert!(0 < pruned.parameters && pruned.parameters < models[2].parameters);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_told_in_full() {
    let server = Running::start().await;
    let request = GetModelRequest { model: MODEL.to_owned(), version: "1".to_owned(), structure: false };
    let model = server.client().await.get_model(request).await.unwrap().into_inner();
    let input = model.input.unwrap();
    assert_eq!((input.shape.as_slice(), input.low, input.high), ([1, 28, 28].as_slice(), 0.0, 1.0));
    assert_eq!((model.classes, model.labels.len()), (10, 10));
    assert_eq!(model.digest.len(), 64);
    assert_eq!(model.provider, "cpu");
    assert_eq!(model.gradients.unwrap().kind(), GradientKind::Exact);
    assert!(model.opset >= 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attacks_are_described() {
    let server = Running::start().await;
    let attacks = server.client().await.list_attacks(ListAttacksRequest {}).await.unwrap().into_inner().attacks;
    let pgd = attacks.iter().find(|attack| attack.name == "pgd").unwrap();
    assert!(pgd.needs_gradient && !pgd.source.is_empty() && pgd.norms.len() == 2);
    let steps = pgd.parameters.iter().find(|parameter| parameter.name == "steps").unwrap();
    assert_eq!((steps.kind.as_str(), steps.range.as_str()), ("integer", "1..=10000"));
}
