//! Predict answers with logits, classes and labels.

use crate::harness::{MODEL, Running, floats, images, predict_request};
use assay_proto::v1::{DataType, PredictRequest, Tensor};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_classified_as_its_model_does() {
    let server = Running::start().await;
    let (input, labels) = images(200);
    let request = PredictRequest { model: MODEL.to_owned(), input: Some(input), top_k: 3, ..Default::default() };
    let answer = server.client().await.predict(request).await.unwrap().into_inner();
    assert_eq!(answer.version, "1");
    let logits = answer.logits.unwrap();
    assert_eq!(logits.shape, [200, 10]);
    let mut correct = 0;
    for ((prediction, row), label) in answer.predictions.iter().zip(floats(&logits).chunks(10)).zip(&labels) {
        let best = (0..10_u32).max_by(|&a, &b| row[a as usize].total_cmp(&row[b as usize]).then(b.cmp(&a))).unwrap();
        assert_eq!(prediction.classes[0].class, best);
        assert_eq!(prediction.classes.len(), 3);
        assert!(prediction.classes.is_sorted_by(|a, b| a.probability >= b.probability));
        correct += u32::from(best == *label);
    }
    // The model's clean accuracy on this set is far above chance; the exact count is the audit's business.
    assert!(correct > 140, "{correct} of 200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_of_the_model_are_told() {
    let server = Running::start().await;
    let answer = server.client().await.predict(predict_request(1)).await.unwrap().into_inner();
    let first = &answer.predictions[0].classes[0];
    // The first test image is an ankle boot.
    assert_eq!((first.class, first.label.as_str()), (9, "Ankle boot"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pixels_give_what_their_floats_give() {
    let server = Running::start().await;
    let (input, _) = images(4);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let pixels: Vec<u8> = floats(&input).iter().map(|value| (value * 255.0).round() as u8).collect();
    let as_bytes = Tensor { shape: input.shape.clone(), datatype: DataType::Uint8.into(), data: pixels.into() };
    let mut client = server.client().await;
    let mut logits = Vec::new();
    for input in [input, as_bytes] {
        let request = PredictRequest { model: MODEL.to_owned(), input: Some(input), ..Default::default() };
        logits.push(client.predict(request).await.unwrap().into_inner().logits);
    }
    assert_eq!(logits[0], logits[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_is_answered_as_in_any_other_batch() {
    let server = Running::start().await;
    let mut client = server.client().await;
    let together = client.predict(predict_request(100)).await.unwrap().into_inner();
    let alone = client.predict(predict_request(1)).await.unwrap().into_inner();
    for (a, b) in floats(&together.logits.unwrap()).iter().zip(floats(&alone.logits.unwrap())) {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{a} {b}");
    }
}
