//! A client that goes away stops its work.

use crate::harness::{Running, endless_attack};

const GRADIENTS: &str = "assay_attack_gradients_total{rpc=\"Attack\",model=\"fashion-robust\"}";
const CANCELLED: &str = "assay_requests_total{rpc=\"Attack\",model=\"fashion-robust\",code=\"CANCELLED\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_stream_stops_the_gradients_and_frees_the_place() {
    let server = Running::with(|config| config.concurrency.jobs = 1).await;
    let mut client = server.client().await;
    let mut events = client.attack(endless_attack()).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    server.eventually("attacking", |server| server.metric(GRADIENTS).unwrap() > 0.0).await;
    drop(events);
    server.eventually("recorded", |server| server.metric(CANCELLED) == Some(1.0)).await;

    // The place is free only when the work has ended: then the counter stands still for good.
    let second = loop {
        match client.attack(endless_attack()).await {
            Ok(events) => break events,
            Err(busy) => assert_eq!(busy.code(), tonic::Code::ResourceExhausted, "{busy}"),
        }
    };
    drop(second);
    server.eventually("recorded", |server| server.metric(CANCELLED) == Some(2.0)).await;
    let planned = 64.0 * 10_000.0;
    let spent = server.metric(GRADIENTS).unwrap();
    assert!(spent < planned / 10.0, "{spent} gradients of {planned}");
}
