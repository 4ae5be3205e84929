//! Predictions of many callers share runs, and each gets its own answer.

use assay_proto::v1::{Outcome, PredictRequest, SampleOutcome, attack_response::Event};
use assay_server::Config;

use crate::harness::{MODEL, Running, floats, fp32, images};

const IMAGES: usize = 96;

/// Image `at` of the first [`IMAGES`], alone.
fn alone(values: &[f32], at: usize) -> PredictRequest {
    let pixels = 28 * 28;
    let input = fp32(&[1, 1, 28, 28], &values[at * pixels..(at + 1) * pixels]);
    PredictRequest { model: MODEL.to_owned(), input: Some(input), ..Default::default() }
}

/// The logits of each image, asked for by callers of their own at the same time; what the model ran then, and how many samples that were.
async fn asked_at_once(change: impl FnOnce(&mut Config)) -> (Vec<Vec<f32>>, f64, f64) {
    let server = Running::with(change).await;
    let values = floats(&images(IMAGES).0);
    let mut callers = Vec::new();
    for at in 0..IMAGES {
        let (mut client, request) = (server.client().await, alone(&values, at));
        callers.push(tokio::spawn(async move { client.predict(request).await.unwrap().into_inner() }));
    }
    let mut logits = Vec::new();
    for caller in callers {
        logits.push(floats(&caller.await.unwrap().logits.unwrap()));
    }
    let run = |what: &str| server.metric(&format!("assay_run_size_{what}{{model=\"{MODEL}\"}}")).unwrap();
    (logits, run("count"), run("sum"))
}

async fn together(change: impl FnOnce(&mut Config)) -> Vec<f32> {
    let server = Running::with(change).await;
    let request = PredictRequest { model: MODEL.to_owned(), input: Some(images(IMAGES).0), ..Default::default() };
    floats(&server.client().await.predict(request).await.unwrap().into_inner().logits.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_share_runs_and_get_their_own_answers() {
    // With time to wait for each other they must meet.
    let wait = |config: &mut Config| config.batching.delay_microseconds = 100_000;
    let (logits, runs, samples) = asked_at_once(wait).await;
    assert_eq!(samples, IMAGES as f64);
    assert!(runs < samples / 2.0, "{runs} runs");
    for (found, expected) in logits.concat().iter().zip(together(|_| {}).await) {
        assert!((found - expected).abs() <= 1e-4 * expected.abs().max(1.0), "{found} {expected}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_size_of_runs_an_answer_does_not_depend_on_the_others() {
    let fixed = |config: &mut Config| config.batching.buckets = vec![8];
    let (logits, runs, samples) = asked_at_once(fixed).await;
    assert_eq!(samples, IMAGES as f64, "those that fill a run up do not count");
    assert!(runs >= samples / 8.0);
    assert_eq!(logits.concat(), together(fixed).await, "to the bit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gives_way_to_predictions_computes_the_same() {
    let attacked = |background| async move {
        let server = Running::with(|config| config.runtime.background = background).await;
        let request = crate::harness::attack_request(64, &[("steps", "10")]);
        let mut events = server.client().await.attack(request).await.unwrap().into_inner();
        let mut last = None;
        while let Some(event) = events.message().await.unwrap() {
            last = event.event;
        }
        match last.unwrap() {
            Event::Result(result) => {
                result.outcomes.into_iter().map(|outcome| SampleOutcome { seconds: 0.0, ..outcome }).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    let found = attacked(true).await;
    assert!(found.iter().any(|outcome| outcome.outcome() == Outcome::Broken), "nothing to compare");
    assert_eq!(found, attacked(false).await);
}
