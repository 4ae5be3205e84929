//! The first signal drains: what runs may end, or is cancelled at the deadline.

use crate::harness::{Running, attack_request, endless_attack};
use assay_proto::v1::attack_response::Event;
use tonic::Code;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_attack_ends_before_the_server_does() {
    let mut server = Running::start().await;
    let mut client = server.client().await;
    let mut events = client.attack(attack_request(32, &[("steps", "100")])).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    server.signal();
    server.eventually("draining", |server| server.admin("/readyz") == (503, "draining\n".to_owned())).await;
    let mut last = None;
    while let Some(response) = events.message().await.unwrap() {
        last = response.event;
    }
    assert!(matches!(last, Some(Event::Result(_))), "{last:?}");
    server.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_outlasts_the_drain_deadline_is_cancelled() {
    let mut server = Running::with(|config| config.shutdown.drain_seconds = 0.3).await;
    let mut client = server.client().await;
    let mut events = client.attack(endless_attack()).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    server.signal();
    let status = loop {
        match events.message().await {
            Ok(event) => assert!(event.is_some(), "an endless attack ended"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    server.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_drains_takes_no_new_work() {
    let mut server = Running::start().await;
    let mut client = server.client().await;
    let mut running = client.attack(endless_attack()).await.unwrap().into_inner();
    running.message().await.unwrap().unwrap();
    let address = server.addresses.grpc;
    server.signal();
    server.eventually("closed", |_| std::net::TcpStream::connect(address).is_err()).await;
    let refused = client.attack(attack_request(1, &[("steps", "1")])).await.unwrap_err();
    // Which of the two depends on whether the client has noticed that its connection takes no more requests.
    assert!(matches!(refused.code(), Code::Unavailable | Code::Cancelled), "{refused}");
    drop(running);
    drop(client);
    server.ended().await;
}
