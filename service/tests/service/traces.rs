//! Calls are traced under the trace that their caller names.

use std::{
    net::SocketAddr,
    process::Child,
    sync::{Arc, Mutex},
    time::Duration,
};

use assay_proto::v1::assay_client::AssayClient;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind},
};
use tonic::{Request, Response, Status};

use crate::{
    harness::{MODEL, predict_request},
    program::start,
};

/// A collector that keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|spans| spans.scope_spans);
        self.0.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collect() -> (Collector, SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (collector, address) = (Collector::default(), listener.local_addr().unwrap());
    let service = TraceServiceServer::new(collector.clone());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    (collector, address)
}

fn text(span: &Span, key: &str) -> Option<String> {
    let value = span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value?;
    Some(match value {
        Value::StringValue(text) => text,
        Value::IntValue(n) => n.to_string(),
        other => format!("{other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn stop(mut server: Child) {
    server.kill().unwrap();
    server.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_a_span_of_its_callers_trace() {
    let (collector, address) = collect().await;
    let folder = tempfile::tempdir().unwrap();
    let endpoint = format!("traces.endpoint=http://{address}");
    let (server, addresses) = start(folder.path(), &["--set", &endpoint]);
    let mut client = AssayClient::connect(format!("http://{}", addresses.grpc)).await.unwrap();
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let mut request = Request::new(predict_request(2));
    request.metadata_mut().insert("traceparent", format!("00-{trace}-{parent}-01").parse().unwrap());
    client.predict(request).await.unwrap();
    // Not part of it: its caller wants no record.
    let mut request = Request::new(predict_request(2));
    request.metadata_mut().insert("traceparent", format!("00-{}-{parent}-00", "1".repeat(32)).parse().unwrap());
    client.predict(request).await.unwrap();
    // One of its own, and a failure.
    let mut request = predict_request(1);
    request.model = "nobody".to_owned();
    client.predict(request).await.unwrap_err();

    let found = |n: usize| collector.0.lock().unwrap().len() >= n;
    for _ in 0..400 {
        if found(3) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop(server);
    let spans = collector.0.lock().unwrap().clone();
    let of_trace: Vec<&Span> = spans.iter().filter(|span| hex(&span.trace_id) == trace).collect();
    let call = of_trace.iter().find(|span| span.name == "assay.v1.Assay/Predict").expect("the call");
    assert_eq!((hex(&call.parent_span_id).as_str(), call.kind), (parent, SpanKind::Server as i32));
    for (key, value) in
        [("rpc.method", "Predict"), ("assay.model", MODEL), ("assay.samples", "2"), ("rpc.grpc.status_code", "0")]
    {
        assert_eq!(text(call, key).as_deref(), Some(value), "{key}");
    }
    let work = of_trace.iter().find(|span| span.name == "evaluate").expect("its work");
    assert_eq!(work.parent_span_id, call.span_id);
    assert!(
        work.start_time_unix_nano >= call.start_time_unix_nano && work.end_time_unix_nano <= call.end_time_unix_nano
    );
    let failed =
        spans.iter().find(|span| text(span, "rpc.grpc.status_code").as_deref() == Some("5")).expect("a failure");
    assert!(failed.parent_span_id.is_empty() && hex(&failed.trace_id) != trace);
    assert!(spans.iter().all(|span| hex(&span.trace_id) != "1".repeat(32)));
}
