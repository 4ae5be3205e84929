//! Messages may be compressed, in both directions and by both services, and what they unpack to is limited.

use tonic::{Code, codec::CompressionEncoding};

use crate::harness::{Running, connect, infer_request, predict_request};

const ENCODINGS: [(CompressionEncoding, &str); 2] =
    [(CompressionEncoding::Gzip, "gzip"), (CompressionEncoding::Zstd, "zstd")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_compressed_is_answered_compressed() {
    let server = Running::start().await;
    let plain = connect(server.addresses.grpc).await;
    let expected = plain.clone().predict(predict_request(8)).await.unwrap().into_inner();
    let inferred = server.oip().await.model_infer(infer_request(8)).await.unwrap().into_inner();
    for (encoding, name) in ENCODINGS {
        let reads = plain.clone().accept_compressed(encoding);
        for (mut client, answered) in [(reads.clone().send_compressed(encoding), Some(name)), (reads, None)] {
            let answer = client.predict(predict_request(8)).await.unwrap();
            assert_eq!(answer.metadata().get("grpc-encoding").map(|value| value.to_str().unwrap()), answered);
            assert_eq!(answer.into_inner(), expected);
        }
        let mut client = server.oip().await.accept_compressed(encoding).send_compressed(encoding);
        let answer = client.model_infer(infer_request(8)).await.unwrap();
        assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), name);
        assert_eq!(answer.into_inner(), inferred);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_unpacks_to_more_than_the_limit_is_refused() {
    let server = Running::with(|config| config.limits.max_message_bytes = 1 << 20).await;
    for (encoding, _) in ENCODINGS {
        let mut request = predict_request(1);
        request.input.as_mut().unwrap().data = vec![0; 64 << 20].into();
        let mut client = server.client().await.send_compressed(encoding);
        let status = client.predict(request).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    }
}
