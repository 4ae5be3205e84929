//! The server without a port.

use crate::harness::{attack_request, config, predict_request};
use assay_proto::v1::assay_client::AssayClient;
use assay_server::embed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stub_of_a_network_channel_works_in_memory() {
    let embedded = embed(config()).await.unwrap();
    let mut client = AssayClient::new(embedded.channel());
    let answer = client.predict(predict_request(3)).await.unwrap().into_inner();
    assert_eq!(answer.predictions.len(), 3);
    let mut events = client.attack(attack_request(2, &[("steps", "2")])).await.unwrap().into_inner();
    let mut count = 0;
    while events.message().await.unwrap().is_some() {
        count += 1;
    }
    assert!(count >= 1);
    drop(client);
    embedded.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_batches_cross_the_buffer() {
    let embedded = embed(config()).await.unwrap();
    let mut client = AssayClient::new(embedded.channel());
    let answer = client.predict(predict_request(1000)).await.unwrap().into_inner();
    assert_eq!(answer.predictions.len(), 1000);
    embedded.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_for_a_key_in_memory() {
    let mut config = config();
    let sha256 = assay_server::hash_key("a-key-that-nobody-sends-here").unwrap();
    config.auth.keys = vec![assay_server::ApiKey {
        name: "ci".to_owned(),
        sha256,
        roles: vec![assay_server::Role::Predict],
        not_after: None,
    }];
    let embedded = embed(config).await.unwrap();
    let mut client = AssayClient::new(embedded.channel());
    client.predict(predict_request(1)).await.unwrap();
    client.list_models(assay_proto::v1::ListModelsRequest {}).await.unwrap();
    embedded.shutdown().await;
}
