//! A deadline that passes is DEADLINE_EXCEEDED, and stops the work.

use std::time::Duration;

use crate::harness::{MODEL, Running, endless_attack, images, predict_request};
use assay_proto::v1::{GradientRequest, Loss, LossAt, assay_client::AssayClient, gradient_request::Objective};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tonic::{Code, Request, Status, body::Body};

async fn outlast(server: &Running, request: Request<assay_proto::v1::AttackRequest>) -> Status {
    let mut events = match server.client().await.attack(request).await {
        Ok(events) => events.into_inner(),
        Err(status) => return status,
    };
    loop {
        match events.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("an endless attack ended"),
            Err(status) => return status,
        }
    }
}

const EXCEEDED: &str = "assay_requests_total{rpc=\"Attack\",model=\"fashion-robust\",code=\"DEADLINE_EXCEEDED\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_header_of_a_client_is_obeyed() {
    let server = Running::start().await;
    let mut request = Request::new(endless_attack());
    // Set by hand, so that only the server enforces it.
    request.metadata_mut().insert("grpc-timeout", "700m".parse().unwrap());
    let status = outlast(&server, request).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("0.700 s"), "{status}");
    server.eventually("recorded", |server| server.metric(EXCEEDED) == Some(1.0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_deadline_is_shortened_to_the_longest() {
    let server = Running::with(|config| {
        config.limits.max_deadline_seconds = 0.5;
        config.limits.default_deadline_seconds = 0.5;
    })
    .await;
    let mut request = Request::new(endless_attack());
    request.set_timeout(Duration::from_secs(3600));
    let status = outlast(&server, request).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("0.500 s"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_deadline_has_the_default() {
    let server = Running::with(|config| config.limits.default_deadline_seconds = 0.5).await;
    let status = outlast(&server, Request::new(endless_attack())).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_is_none_is_refused() {
    let server = Running::start().await;
    let mut request = Request::new(predict_request(1));
    request.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    let status = server.client().await.predict(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("grpc-timeout"), "{status}");
}

/// A client that leaves deadlines to the server; tonic's own ends its calls itself, as `CANCELLED`.
fn patient_client(server: &Running) -> AssayClient<Client<HttpConnector, Body>> {
    let http = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let origin = format!("http://{}", server.addresses.grpc).parse().unwrap();
    AssayClient::with_origin(http, origin).max_encoding_message_size(1 << 30)
}

fn within<T>(timeout: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_with_one_answer_ends_at_its_deadline_too() {
    // Work that nobody waits for keeps its place until it notices.
    let server = Running::with(|config| config.concurrency.gradients = 512).await;
    let mut client = patient_client(&server);
    let (input, labels) = images(256);
    let objective = Some(Objective::Loss(LossAt { loss: Loss::CrossEntropy.into(), labels, targets: vec![] }));
    let gradient = GradientRequest { model: MODEL.to_owned(), version: String::new(), input: Some(input), objective };
    let predict = predict_request(1000);
    // The transport measures the same time: it must not be the first to end the call, not even now and then.
    for _ in 0..100 {
        let statuses = [
            client.predict(within("1m", predict.clone())).await.unwrap_err(),
            client.gradient(within("1m", gradient.clone())).await.unwrap_err(),
        ];
        for status in statuses {
            assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
            assert!(status.message().contains("0.001 s"), "{status}");
        }
    }
}
