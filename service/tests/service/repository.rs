//! What a server makes of its models beyond their files: the memory of a session, the range of an input.

use std::fs;

use crate::harness::{MODEL, Running, deploy, floats, images, predict_request};
use assay_graph::{DataType, Limits, Model, Node, Value};
use assay_proto::v1::{GetModelRequest, GradientRequest, Loss, LossAt, gradient_request::Objective};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_limit_makes_more_runs_and_changes_no_answer() {
    let (input, labels) = images(64);
    let objective = Some(Objective::Loss(LossAt { loss: Loss::CrossEntropy.into(), labels, targets: vec![] }));
    let request = GradientRequest { model: MODEL.to_owned(), input: Some(input), objective, ..Default::default() };
    let (mut answers, mut runs) = (Vec::new(), Vec::new());
    for memory in [None, Some(3 << 20)] {
        let server = Running::with(|config| {
            config.runtime.memory_bytes = memory;
            config.readiness.require_all_models = true;
        })
        .await;
        let mut client = server.client().await;
        let predicted = client.predict(predict_request(64)).await.unwrap().into_inner();
        let gradient = client.gradient(request.clone()).await.unwrap().into_inner().gradient.unwrap();
        runs.push(server.metric("assay_queue_duration_seconds_count{model=\"fashion-robust\"}").unwrap());
        answers.push([floats(&predicted.logits.unwrap()), floats(&gradient)]);
    }
    assert!(runs[1] > runs[0], "{runs:?}");
    for (free, limited) in answers[0].iter().zip(&answers[1]) {
        let largest = free.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        assert_eq!(free.len(), limited.len());
        assert!(free.iter().zip(limited).all(|(a, b)| (a - b).abs() <= 1e-4 * largest));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_range_of_a_model_of_bytes_is_theirs_unless_its_manifest_says_otherwise() {
    // The demo's model behind a cast of bytes.
    let mut model = Model::load(&deploy("models/fashion-robust/1/model.onnx"), &Limits::default()).unwrap();
    let input = &mut model.graph.inputs[0];
    let (bytes, numbers) = (Value::from("bytes"), input.value.clone());
    (input.value, input.dtype) = (bytes.clone(), Some(DataType::Uint8));
    let mut cast = Node::new("Cast", vec![Some(bytes)], vec![Some(numbers)]);
    cast.attributes.insert("to".to_owned(), 1_i64.into());
    model.graph.nodes.insert(0, cast);
    let root = tempfile::tempdir().unwrap();
    let put = |name: &str, manifest: &str| {
        let folder = root.path().join(name);
        fs::create_dir_all(folder.join("1")).unwrap();
        fs::write(folder.join("1/model.onnx"), model.to_bytes()).unwrap();
        fs::write(folder.join("model.toml"), manifest).unwrap();
    };
    put("bytes", "");
    put("stated", "[input]\nrange = [16.0, 235.0]\n");
    put("normalized", "[input]\nmean = [-0.5]\nstd = [0.00392156862]\n");
    let models = root.path().to_owned();
    let server = Running::with(move |config| {
        config.models = models;
        config.readiness.require_all_models = true;
    })
    .await;
    let mut client = server.client().await;
    for (model, range) in [("bytes", [0.0, 255.0]), ("stated", [16.0, 235.0]), ("normalized", [0.0, 1.0])] {
        let request = GetModelRequest { model: model.to_owned(), ..Default::default() };
        let input = client.get_model(request).await.unwrap().into_inner().input.unwrap();
        assert_eq!([input.low, input.high], range, "{model}");
    }
}
