//! Pages in browsers call by gRPC-Web.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use assay_proto::v1::{ListModelsRequest, PredictResponse};
use prost::Message;

use crate::harness::{Running, predict_request};

const PAGE: &str = "https://page.example.org";

/// What a server answers to an HTTP/1.1 request: head in lower case, and body.
fn ask(server: &Running, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(server.addresses.grpc).unwrap();
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nhost: server\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    let _ = stream.write_all(&[head.as_bytes(), b"\r\n", body].concat());
    let mut answer = Vec::new();
    // A server that does not speak HTTP/1.1 cuts the connection.
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let body = answer.get(end + 4..).unwrap_or_default();
    let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_vec() };
    (head, body)
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|bytes| bytes == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        whole.extend(&body[end + 2..end + 2 + size]);
        body = &body[end + 2 + size + 2..];
    }
    whole
}

/// A message as gRPC-Web frames it: a byte of flags, four of length.
fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    [&[0][..], &u32::try_from(bytes.len()).unwrap().to_be_bytes(), &bytes].concat()
}

/// The frames of an answer: flags and content.
fn frames(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while body.len() >= 5 {
        let size = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        frames.push((body[0], body[5..5 + size].to_vec()));
        body = &body[5 + size..];
    }
    frames
}

const PREDICT: &str = "/assay.v1.Assay/Predict";
const WEB: [(&str, &str); 3] = [("origin", PAGE), ("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_asks_whether_it_may_and_calls() {
    let server = Running::with(|config| config.grpc.web_origins = vec![PAGE.to_owned()]).await;
    let asks = [
        ("origin", PAGE),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,x-grpc-web,authorization"),
    ];
    let (head, _) = ask(&server, "OPTIONS", PREDICT, &asks, b"");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains(&format!("access-control-allow-origin: {PAGE}")), "{head}");
    assert!(head.contains("access-control-allow-headers: content-type,x-grpc-web,authorization"), "{head}");

    let (head, body) = ask(&server, "POST", PREDICT, &WEB, &framed(&predict_request(2)));
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: application/grpc-web+proto"), "{head}");
    assert!(head.contains("access-control-expose-headers: grpc-status"), "{head}");
    let frames = frames(&body);
    let answer = PredictResponse::decode(&frames[0].1[..]).unwrap();
    assert_eq!(answer.predictions.len(), 2);
    let (flags, trailers) = frames.last().unwrap();
    assert_eq!((flags & 0x80, String::from_utf8_lossy(trailers).contains("grpc-status:0")), (0x80, true));

    let (head, _) = ask(&server, "POST", PREDICT, &WEB, &framed(&ListModelsRequest {}));
    assert!(head.contains("grpc-status: 3"), "a failure is told as ever: {head}");
    // Others call as before.
    server.client().await.predict(predict_request(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_others_may_not_and_without_origins_none_may() {
    let server = Running::with(|config| config.grpc.web_origins = vec![PAGE.to_owned()]).await;
    let asks = [("origin", "https://evil.example.org"), ("access-control-request-method", "POST")];
    let (head, _) = ask(&server, "OPTIONS", PREDICT, &asks, b"");
    assert!(!head.contains("evil.example.org"), "{head}");
    let server = Running::start().await;
    let (head, _) = ask(&server, "OPTIONS", PREDICT, &[("origin", PAGE), asks[1]], b"");
    assert!(!head.contains("access-control") && !head.contains("200"), "{head}");
}
