//! Limits of the server are told with their value and their key.

use crate::harness::{Running, attack_request, endless_attack, predict_request};
use tonic::Code;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_is_refused_with_the_limit() {
    let server = Running::with(|config| config.limits.max_message_bytes = 8192).await;
    let mut client = server.client().await;
    client.predict(predict_request(2)).await.unwrap();
    let status = client.predict(predict_request(3)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    for part in ["8192 bytes", "smaller batches", "limits.max_message_bytes"] {
        assert!(status.message().contains(part), "{status}");
    }
    let refused = "assay_requests_total{rpc=\"Predict\",model=\"_unknown\",code=\"RESOURCE_EXHAUSTED\"}";
    server.eventually("recorded", |server| server.metric(refused) == Some(1.0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_beyond_their_places_are_refused_and_do_not_touch_predictions() {
    let server = Running::with(|config| config.concurrency.jobs = 1).await;
    let mut client = server.client().await;
    let mut running = client.attack(endless_attack()).await.unwrap().into_inner();
    running.message().await.unwrap();
    let status = client.attack(attack_request(1, &[("steps", "1")])).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("the 1 places for Attack and Audit are taken"), "{status}");
    assert!(status.message().contains("concurrency.jobs"), "{status}");
    client.predict(predict_request(1)).await.unwrap();
}
