//! Attack streams progress and ends with one result.

use crate::harness::{Running, attack_request, floats, images};
use assay_proto::v1::{AttackProgress, AttackRequest, AttackResult, Outcome, attack_response::Event};

async fn run(server: &Running, request: AttackRequest) -> (Vec<AttackProgress>, AttackResult) {
    let mut events = server.client().await.attack(request).await.unwrap().into_inner();
    let (mut progress, mut result) = (Vec::new(), None);
    while let Some(response) = events.message().await.unwrap() {
        assert!(result.is_none(), "an event after the result");
        match response.event.unwrap() {
            Event::Progress(event) => progress.push(event),
            Event::Result(event) => result = Some(event),
        }
    }
    (progress, result.expect("no result"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_never_falls_and_the_result_comes_last() {
    let server = Running::start().await;
    let (progress, result) = run(&server, attack_request(16, &[("steps", "200")])).await;
    assert!(!progress.is_empty());
    assert!(progress.is_sorted_by(|a, b| a.steps_done <= b.steps_done && a.broken <= b.broken));
    assert!(progress.iter().all(|event| event.samples == 16 && event.steps_done <= event.steps_total));
    let last = progress.last().unwrap();
    assert_eq!((last.finished, last.steps_done), (16, last.steps_total));
    assert_eq!(result.outcomes.len(), 16);
    assert_eq!(result.version, "1");
    let cost = result.cost.unwrap();
    assert!(cost.gradients > 0 && cost.queries >= 16, "{cost:?}");
    assert!(result.seconds > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adversarial_samples_stay_within_the_threat_and_change_the_class() {
    let server = Running::start().await;
    let request = AttackRequest { return_adversarial: true, ..attack_request(64, &[("steps", "10")]) };
    let (_, result) = run(&server, request).await;
    let (clean, labels) = images(64);
    let adversarial = result.adversarial.unwrap();
    assert_eq!(adversarial.shape, clean.shape);
    let (clean, adversarial) = (floats(&clean), floats(&adversarial));
    let mut broken = 0;
    for (i, outcome) in result.outcomes.iter().enumerate() {
        let pixels = 784 * i..784 * (i + 1);
        let distances =
            clean[pixels.clone()].iter().zip(&adversarial[pixels]).map(|(x, y)| f64::from(*y) - f64::from(*x));
        let distance = distances.fold(0.0, |largest: f64, d| largest.max(d.abs()));
        assert_eq!(outcome.label, labels[i]);
        assert!(distance <= 0.1, "sample {i}: {distance}");
        if outcome.outcome() == Outcome::Broken {
            broken += 1;
            assert!((distance - outcome.distance_linf).abs() < 1e-12);
            assert_ne!(outcome.adversarial_prediction, outcome.label);
        } else {
            assert!(distance == 0.0, "sample {i} is {:?} and differs by {distance}", outcome.outcome());
        }
    }
    assert!(broken > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_seed_gives_the_same_result_whatever_the_batch() {
    let server = Running::start().await;
    let together = run(&server, attack_request(8, &[("steps", "5")])).await.1;
    let (input, labels) = images(8);
    let row = input.data.len() / 8;
    let alone = AttackRequest {
        input: Some(assay_proto::v1::Tensor {
            shape: vec![1, 1, 28, 28],
            data: input.data.slice(5 * row..6 * row),
            ..input
        }),
        labels: vec![labels[5]],
        sample_ids: vec![5],
        ..attack_request(1, &[("steps", "5")])
    };
    let alone = run(&server, alone).await.1;
    assert_eq!(alone.outcomes[0].outcome, together.outcomes[5].outcome);
    assert_eq!(alone.outcomes[0].cost, together.outcomes[5].cost);
}
