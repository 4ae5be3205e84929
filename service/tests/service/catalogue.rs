//! ListModels, GetModel and ListAttacks tell what there is.

use crate::harness::{MODEL, PRUNED, Running, deploy};
use assay_graph::{Limits, Model, Node, Value};
use assay_proto::v1::{GetModelRequest, GradientKind, ListAttacksRequest, ListModelsRequest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_listed_with_their_lineage() {
    let server = Running::start().await;
    let models = server.client().await.list_models(ListModelsRequest {}).await.unwrap().into_inner().models;
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let all = ["dense", "filter-pruned", "layer-pruned", "restrided", "robust", "upsampled"];
    assert_eq!(names, all.map(|name| format!("fashion-{name}")));
    let [robust, pruned] = [MODEL, PRUNED].map(|name| models.iter().find(|model| model.name == name).unwrap());
    assert_eq!((pruned.parent.as_str(), pruned.kind.as_str()), (MODEL, "layer-pruned"));
    assert!(pruned.ready && pruned.reason.is_empty(), "{}", pruned.reason);
    assert!(0 < pruned.parameters && pruned.parameters < robust.parameters);
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
async fn what_was_changed_and_what_a_model_is_made_of_is_told() {
    // The demo's model with a Softmax behind it.
    let mut model = Model::load(&deploy("models/fashion-robust/1/model.onnx"), &Limits::default()).unwrap();
    let logits = model.graph.outputs[0].value.clone();
    let probabilities = Value::from("probabilities");
    model.graph.nodes.push(Node::new("Softmax", vec![Some(logits)], vec![Some(probabilities.clone())]));
    model.graph.outputs[0].value = probabilities;
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("soft/1");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("model.onnx"), model.to_bytes()).unwrap();
    let models = root.path().to_owned();
    let server = Running::with(move |config| config.models = models).await;
    let mut client = server.client().await;
    let mut request = GetModelRequest { model: "soft".to_owned(), ..Default::default() };
    let model = client.get_model(request.clone()).await.unwrap().into_inner();
    let [cut] = model.adaptations.as_slice() else { panic!("{:?}", model.adaptations) };
    assert!(cut.contains("Softmax") && cut.contains("cut off"), "{cut}");
    assert_eq!(model.structure, None);
    request.structure = true;
    let structure = client.get_model(request).await.unwrap().into_inner().structure.unwrap();
    assert_eq!(structure.macs, structure.layers.iter().map(|layer| layer.macs).sum::<u64>());
    assert!(structure.operators.iter().all(|count| count.operator != "Softmax" && count.nodes > 0));
    assert_eq!(structure.layers.last().unwrap().output, [1, 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attacks_are_described() {
    let server = Running::start().await;
    let attacks = server.client().await.list_attacks(ListAttacksRequest {}).await.unwrap().into_inner().attacks;
    let pgd = attacks.iter().find(|attack| attack.name == "pgd").unwrap();
    assert!(pgd.needs_gradient && !pgd.source.is_empty() && pgd.norms.len() == 3);
    let steps = pgd.parameters.iter().find(|parameter| parameter.name == "steps").unwrap();
    assert_eq!((steps.kind.as_str(), steps.range.as_str()), ("integer", "1..=10000"));
}
