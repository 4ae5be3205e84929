//! Gradient answers with logits, losses and derivatives per unit of what was sent, and refuses what it cannot do.

use std::time::Duration;

use crate::harness::{MODEL, Running, floats, fp32, images, violated};
use assay_proto::v1::{
    DataType, GetModelRequest, GradientKind, GradientRequest, GradientResponse, Loss, LossAt, Tensor,
    assay_client::AssayClient, gradient_request::Objective,
};
use tonic::{Code, Status, transport::Channel};

fn loss(loss: Loss, labels: &[u32]) -> Option<Objective> {
    Some(Objective::Loss(LossAt { loss: loss.into(), labels: labels.to_vec(), targets: vec![] }))
}

/// Cross-entropy of the first `n` images.
fn request(n: usize) -> GradientRequest {
    let (input, labels) = images(n);
    let objective = loss(Loss::CrossEntropy, &labels);
    GradientRequest { model: MODEL.to_owned(), version: String::new(), input: Some(input), objective }
}

async fn ask(client: &mut AssayClient<Channel>, request: GradientRequest) -> GradientResponse {
    client.gradient(request).await.unwrap().into_inner()
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= tolerance * largest, "{a} {b} of at most {largest}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gradient_of_a_loss_is_its_slope() {
    let server = Running::start().await;
    let mut client = server.client().await;
    let here = ask(&mut client, request(3)).await;
    assert_eq!(here.version, "1");
    assert_eq!(here.gradients.unwrap().kind(), GradientKind::Exact);
    assert_eq!(here.logits.as_ref().unwrap().shape, [3, 10]);
    let gradient = here.gradient.unwrap();
    assert_eq!((gradient.shape.as_slice(), gradient.datatype()), ([3, 1, 28, 28].as_slice(), DataType::Fp32));
    // The loss is the cross-entropy of the logits that came with it.
    let (input, labels) = images(3);
    for ((z, &label), &loss) in floats(&here.logits.unwrap()).chunks(10).zip(&labels).zip(&here.loss) {
        let sum: f32 = z.iter().map(|z| z.exp()).sum();
        assert!((sum.ln() - z[label as usize] - loss).abs() < 1e-4, "{loss}");
    }
    // A small step along the gradient changes it as its norm says; inside the box, so that the step is sent as it is.
    let (x, g) = (floats(&input), floats(&gradient));
    for (i, g) in g.chunks(784).enumerate() {
        let pixels = 784 * i..784 * (i + 1);
        let step = 1e-3 / g.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
        let moved: Vec<f32> = x[pixels.clone()].iter().zip(g).map(|(x, g)| (x + step * g).clamp(0.0, 1.0)).collect();
        let expected: f32 = moved.iter().zip(&x[pixels]).zip(g).map(|((to, from), g)| (to - from) * g).sum();
        let there = GradientRequest {
            input: Some(fp32(&[1, 1, 28, 28], &moved)),
            objective: loss(Loss::CrossEntropy, &labels[i..=i]),
            ..request(1)
        };
        let change = ask(&mut client, there).await.loss[0] - here.loss[i];
        assert!((change - expected).abs() <= 0.05 * expected + 1e-5, "sample {i}: {change}, expected {expected}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gradient_of_bytes_is_per_grey_level() {
    // A range of another width, so that its scale matters.
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("wide");
    std::fs::create_dir_all(folder.join("1")).unwrap();
    std::fs::copy(crate::harness::deploy("models/fashion-robust/1/model.onnx"), folder.join("1/model.onnx")).unwrap();
    std::fs::write(folder.join("model.toml"), "[input]\nrange = [-1.0, 3.0]\n").unwrap();
    let models = root.path().to_owned();
    let server = Running::with(move |config| config.models = models).await;
    let mut client = server.client().await;
    let bytes: Vec<u8> = (0..784_u32).map(|i| (i * 7 % 256) as u8).collect();
    let values: Vec<f32> = bytes.iter().map(|&v| -1.0 + 4.0 * f32::from(v) / 255.0).collect();
    let shape = [1, 1, 28, 28];
    let as_bytes = Tensor { shape: shape.to_vec(), datatype: DataType::Uint8.into(), data: bytes.into() };
    let mut answers = Vec::new();
    for input in [fp32(&shape, &values), as_bytes] {
        let request = GradientRequest { model: "wide".to_owned(), input: Some(input), ..request(1) };
        answers.push(ask(&mut client, request).await);
    }
    assert_eq!(answers[0].logits, answers[1].logits);
    assert_eq!(answers[1].gradient.as_ref().unwrap().datatype(), DataType::Fp32);
    let [per_unit, per_level] = [0, 1].map(|i| floats(answers[i].gradient.as_ref().unwrap()));
    let scaled: Vec<f32> = per_unit.iter().map(|g| g * 4.0 / 255.0).collect();
    assert!(scaled.iter().any(|&g| g != 0.0));
    close(&per_level, &scaled, 1e-6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cotangent_is_pulled_back() {
    let server = Running::start().await;
    let mut client = server.client().await;
    let (input, labels) = images(2);
    let by_loss = ask(&mut client, GradientRequest { objective: loss(Loss::Margin, &labels), ..request(2) }).await;
    // The derivative of the margin with respect to the logits.
    let mut cotangent = vec![0.0; 20];
    for (i, z) in floats(&by_loss.logits.unwrap()).chunks(10).enumerate() {
        let label = labels[i] as usize;
        let best = (0..10).filter(|&c| c != label).max_by(|&a, &b| z[a].total_cmp(&z[b])).unwrap();
        cotangent[10 * i + best] = 1.0;
        cotangent[10 * i + label] = -1.0;
    }
    let objective = Some(Objective::Cotangent(fp32(&[2, 10], &cotangent)));
    let answer = ask(&mut client, GradientRequest { input: Some(input), objective, ..request(2) }).await;
    assert!(answer.loss.is_empty());
    close(&floats(&answer.gradient.unwrap()), &floats(&by_loss.gradient.unwrap()), 1e-5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_loss_is_offered_and_counted() {
    let server = Running::start().await;
    let mut client = server.client().await;
    let (_, labels) = images(2);
    for wanted in [Loss::CrossEntropy, Loss::Margin, Loss::Dlr] {
        ask(&mut client, GradientRequest { objective: loss(wanted, &labels), ..request(2) }).await;
    }
    let targets: Vec<u32> = labels.iter().map(|label| (label + 1) % 10).collect();
    for wanted in [Loss::MarginTargeted, Loss::DlrTargeted] {
        let targeted = LossAt { loss: wanted.into(), labels: labels.clone(), targets: targets.clone() };
        let objective = Some(Objective::Loss(targeted));
        let answer = ask(&mut client, GradientRequest { objective, ..request(2) }).await;
        assert_eq!(answer.loss.len(), 2);
    }
    for objective in ["cross-entropy", "margin", "margin-targeted", "dlr", "dlr-targeted"] {
        let series = format!("assay_gradient_samples_total{{model=\"{MODEL}\",objective=\"{objective}\"}}");
        assert_eq!(server.metric(&series), Some(2.0), "{series}");
    }
    let cotangent = format!("assay_gradient_samples_total{{model=\"{MODEL}\",objective=\"cotangent\"}}");
    assert_eq!(server.metric(&cotangent), Some(0.0));
    let calls = format!("assay_requests_total{{rpc=\"Gradient\",model=\"{MODEL}\",code=\"OK\"}}");
    server.eventually("recorded", |server| server.metric(&calls) == Some(5.0)).await;
    let seconds = format!("assay_request_duration_seconds_count{{rpc=\"Gradient\",model=\"{MODEL}\"}}");
    assert_eq!(server.metric(&seconds), Some(5.0));
    assert_eq!(server.metric("assay_requests_in_flight{rpc=\"Gradient\"}"), Some(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_with_the_field() {
    let at = |wanted: Loss, labels: Vec<u32>, targets: Vec<u32>| {
        Some(Objective::Loss(LossAt { loss: wanted.into(), labels, targets }))
    };
    let cotangent = |shape: &[u64], values: &[f32]| Some(Objective::Cotangent(fp32(shape, values)));
    let cases: [(&str, Option<Objective>, &str, &[&str]); 9] = [
        ("no objective", None, "objective", &["missing", "loss", "cotangent"]),
        ("no loss", at(Loss::Unspecified, vec![1, 2], vec![]), "loss.loss", &["LOSS_MARGIN", "got 0"]),
        ("labels missing", at(Loss::Margin, vec![], vec![]), "loss.labels", &["expected 2 classes", "got 0"]),
        ("label", at(Loss::Margin, vec![1, 10], vec![]), "loss.labels[1]", &["0 to 9", "got 10"]),
        ("targets missing", at(Loss::DlrTargeted, vec![1, 2], vec![]), "loss.targets", &["expected 2"]),
        ("targets", at(Loss::Dlr, vec![1, 2], vec![3, 4]), "loss.targets", &["dlr takes none", "got 2"]),
        ("cotangent of one", cotangent(&[1, 10], &[0.0; 10]), "cotangent.shape", &["[n, classes], here [2, 10]"]),
        ("cotangent of NaN", cotangent(&[2, 10], &[f32::NAN; 20]), "cotangent.data", &["sample 0, element 0 is NaN"]),
        ("short cotangent", cotangent(&[2, 10], &[0.0; 3]), "cotangent.data", &["expected 80 bytes", "got 12"]),
    ];
    let server = Running::start().await;
    let mut client = server.client().await;
    for (case, objective, field, says) in cases {
        let status = client.gradient(GradientRequest { objective, ..request(2) }).await.unwrap_err();
        assert_eq!((status.code(), violated(&status).as_str()), (Code::InvalidArgument, field), "{case}: {status}");
        for part in says {
            assert!(status.message().contains(part), "{case}: {part:?} is not in {:?}", status.message());
        }
    }
    let status = client.gradient(GradientRequest { input: None, ..request(1) }).await.unwrap_err();
    assert_eq!(violated(&status), "input", "{status}");
}

fn exhausted(status: &Status, says: &[&str]) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    for part in says {
        assert!(status.message().contains(part), "{part:?} is not in {:?}", status.message());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_beyond_a_limit_is_refused_with_the_limits_name() {
    let server = Running::with(|config| config.limits.max_gradient_batch = 4).await;
    let mut client = server.client().await;
    assert_eq!(ask(&mut client, request(4)).await.loss.len(), 4);
    let status = client.gradient(request(5)).await.unwrap_err();
    exhausted(&status, &["5 is more than", "limit of 4", "limits.max_gradient_batch"]);

    // Bytes are small, but the answer would not be.
    let server = Running::with(|config| config.limits.max_message_bytes = 16384).await;
    let mut client = server.client().await;
    let model = GetModelRequest { model: MODEL.to_owned(), ..Default::default() };
    let most = client.get_model(model).await.unwrap().into_inner().input.unwrap().max_gradient_batch;
    assert_eq!(most, (16384 - 4096) / (4 * (784 + 10 + 1)));
    let bytes = |n: u64| {
        let data = vec![100; 784 * usize::try_from(n).unwrap()].into();
        let input = Tensor { shape: vec![n, 1, 28, 28], datatype: DataType::Uint8.into(), data };
        let objective = loss(Loss::CrossEntropy, &vec![0; usize::try_from(n).unwrap()]);
        GradientRequest { input: Some(input), objective, ..request(1) }
    };
    ask(&mut client, bytes(most)).await;
    exhausted(&client.gradient(bytes(most + 1)).await.unwrap_err(), &["limits.max_message_bytes"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_may_offer_none() {
    let server = Running::with(|config| config.gradient.enabled = false).await;
    let mut client = server.client().await;
    let status = client.gradient(request(1)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
    assert!(status.message().contains("gradient.enabled = true"), "{status}");
    let model = GetModelRequest { model: MODEL.to_owned(), ..Default::default() };
    assert_eq!(client.get_model(model).await.unwrap().into_inner().input.unwrap().max_gradient_batch, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_stops_the_runs_that_wait() {
    // Runs of one sample, so that the batch is thousands of them. The server's own deadline, because a client's transport
    // would enforce one that the request carries.
    let server = Running::with(|config| {
        config.runtime.batch = 1;
        config.limits.max_gradient_batch = 16384;
        config.limits.default_deadline_seconds = 0.3;
        config.concurrency.gradients = 1;
    })
    .await;
    let mut client = server.client().await;
    // Until the graph is derived, which may take longer.
    while client.gradient(request(1)).await.is_err() {}
    let n = 16384;
    let input =
        Tensor { shape: vec![n as u64, 1, 28, 28], datatype: DataType::Uint8.into(), data: vec![100; 784 * n].into() };
    let objective = loss(Loss::CrossEntropy, &vec![0; n]);
    let large = GradientRequest { input: Some(input), objective, ..request(1) };
    let status = client.gradient(large).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    // The only place is free once the work has ended.
    let freed = tokio::time::timeout(Duration::from_secs(60), async {
        while let Err(status) = client.gradient(request(1)).await {
            if status.code() != Code::DeadlineExceeded {
                exhausted(&status, &["the 1 places for Gradient are taken", "concurrency.gradients"]);
            }
        }
    });
    freed.await.unwrap();
    let runs = server.metric(&format!("assay_compute_duration_seconds_count{{model=\"{MODEL}\"}}")).unwrap();
    assert!(runs < 8192.0, "{runs} of {n} runs");
}
