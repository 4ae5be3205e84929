//! Health and reflection.

use crate::harness::Running;
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::{
    v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
    v1alpha,
};

async fn channel(server: &Running) -> Channel {
    Channel::from_shared(format!("http://{}", server.addresses.grpc)).unwrap().connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ready_server_and_its_service_are_serving() {
    let server = Running::start().await;
    let mut client = HealthClient::new(channel(&server).await);
    for service in ["", "assay.v1.Assay", "inference.GRPCInferenceService", "models/fashion-robust"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        assert_eq!(client.check(request).await.unwrap().into_inner().status(), ServingStatus::Serving);
    }
    let unknown = HealthCheckRequest { service: "other".to_owned() };
    assert_eq!(client.check(unknown).await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_model_is_not_serving() {
    let empty = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(empty.path().join("broken/1")).unwrap();
    let config = {
        let mut config = crate::harness::config();
        config.models = empty.path().to_owned();
        config
    };
    let server = assay_server::Server::bind(config).await.unwrap();
    let address = server.addresses().grpc;
    tokio::spawn(server.run(std::future::pending()));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let status = HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap().into_inner().status();
    assert_eq!(status, ServingStatus::NotServing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_lists_the_service_and_gives_its_contract() {
    let server = Running::start().await;
    let mut client = ServerReflectionClient::new(channel(&server).await);
    let ask = |message_request| ServerReflectionRequest { host: String::new(), message_request: Some(message_request) };
    let questions = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("assay.v1.Assay".to_owned())),
        ask(MessageRequest::FileContainingSymbol("inference.ModelConfig".to_owned())),
    ];
    let mut answers = client.server_reflection_info(tokio_stream::iter(questions)).await.unwrap().into_inner();
    match answers.next().await.unwrap().unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => {
            let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
            for service in ["assay.v1.Assay", "inference.GRPCInferenceService", "grpc.health.v1.Health"] {
                assert!(names.contains(&service.to_owned()), "{names:?}");
            }
        }
        other => panic!("{other:?}"),
    }
    for _ in 0..2 {
        match answers.next().await.unwrap().unwrap().message_response.unwrap() {
            MessageResponse::FileDescriptorResponse(files) => assert!(!files.file_descriptor_proto.is_empty()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_clients_reflect_too() {
    let server = Running::start().await;
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel(&server).await);
    let question = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut answers = client.server_reflection_info(tokio_stream::iter([question])).await.unwrap().into_inner();
    assert!(answers.next().await.unwrap().unwrap().message_response.is_some());
}
