//! A stream of requests: each is answered in its turn, and one that fails does not end it.

use std::time::Duration;

use assay_proto::inference::{
    InferParameter, ModelInferRequest, ModelStreamInferResponse, infer_parameter::ParameterChoice,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use crate::harness::{MODEL, PRUNED, Running, infer_request};

/// A stream that is open, with the end that its requests go into.
async fn open(server: &Running) -> (mpsc::Sender<ModelInferRequest>, Streaming<ModelStreamInferResponse>) {
    let (send, requests) = mpsc::channel(1);
    let answers = server.oip().await.model_stream_infer(ReceiverStream::new(requests)).await.unwrap();
    (send, answers.into_inner())
}

fn request(model: &str, id: &str) -> ModelInferRequest {
    ModelInferRequest { model_name: model.to_owned(), id: id.to_owned(), ..infer_request(2) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_in_the_middle_is_answered_in_its_place() {
    let server = Running::start().await;
    let mut unary = server.oip().await;
    let (send, mut answers) = open(&server).await;
    let mut broken = request(MODEL, "b");
    broken.inputs[0].shape = vec![1];
    for (request, says) in [
        (request(MODEL, "a"), ""),
        (broken, "inputs[0].shape: expected [n, 1, 28, 28]"),
        (request("no-such-model", "c"), "there is no model `no-such-model`"),
        (request(PRUNED, "d"), ""),
    ] {
        send.send(request.clone()).await.unwrap();
        let answer = answers.message().await.unwrap().unwrap();
        let response = answer.infer_response.unwrap();
        assert_eq!(response.id, request.id);
        if says.is_empty() {
            assert_eq!(answer.error_message, "");
            assert_eq!(response, unary.model_infer(request).await.unwrap().into_inner());
        } else {
            assert!(answer.error_message.starts_with(says), "{}", answer.error_message);
            assert!(response.outputs.is_empty());
        }
    }
    drop(send);
    assert_eq!(answers.message().await.unwrap(), None);
    let ended = "assay_requests_total{rpc=\"ModelStreamInfer\",model=\"_none\",code=\"OK\"}";
    server.eventually("recorded", |server| server.metric(ended) == Some(1.0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_are_answered_in_their_order() {
    let server = Running::start().await;
    let requests: Vec<_> = (0..50).map(|i| request([MODEL, PRUNED][i % 2], &i.to_string())).collect();
    let answers = server.oip().await.model_stream_infer(tokio_stream::iter(requests)).await.unwrap();
    let mut answers = answers.into_inner();
    for i in 0..50 {
        let response = answers.message().await.unwrap().unwrap().infer_response.unwrap();
        assert_eq!((response.id, response.model_name.as_str()), (i.to_string(), [MODEL, PRUNED][i % 2]));
    }
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_answer_is_marked_for_who_asks_for_it() {
    let server = Running::start().await;
    let (send, mut answers) = open(&server).await;
    let mut asking = request(MODEL, "a");
    let yes = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
    asking.parameters.insert("triton_enable_empty_final_response".to_owned(), yes.clone());
    for (request, mark) in [(asking, Some(&yes)), (request(MODEL, "b"), None)] {
        send.send(request).await.unwrap();
        let response = answers.message().await.unwrap().unwrap().infer_response.unwrap();
        assert_eq!(response.parameters.get("triton_final_response"), mark);
    }
}

async fn end(mut answers: Streaming<ModelStreamInferResponse>) -> Status {
    tokio::time::timeout(Duration::from_secs(60), answers.message()).await.expect("it goes on").unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_silent_ends_at_its_deadline() {
    let server = Running::start().await;
    let (_send, requests) = mpsc::channel::<ModelInferRequest>(1);
    let mut call = Request::new(ReceiverStream::new(requests));
    // Set by hand, so that only the server enforces it.
    call.metadata_mut().insert("grpc-timeout", "500m".parse().unwrap());
    let answers = server.oip().await.model_stream_infer(call).await.unwrap().into_inner();
    let status = end(answers).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_silent_does_not_hold_up_a_server_that_stops() {
    let mut server = Running::start().await;
    let (send, mut answers) = open(&server).await;
    send.send(request(MODEL, "a")).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().error_message, "");
    server.signal();
    let status = end(answers).await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    drop(send);
    server.ended().await;
}
