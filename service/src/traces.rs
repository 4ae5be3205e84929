//! Traces of calls, in OpenTelemetry's form: one span for each call, within it those of its work, under the trace that the caller names (W3C Trace Context).
//!
//! Spans are made with `tracing` and cost next to nothing where nobody collects them. [`Tracing`] sends them to a collector over OTLP.

use http::HeaderMap;
use opentelemetry::{
    propagation::{Extractor, TextMapPropagator},
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tonic::Code;
use tracing::{Span, Subscriber, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use crate::{config::Traces, error::ServerError};

/// What spans of traces are told from others by.
const TRACES: &str = "assay_server::traces";

/// The sending of traces. Dropped, it sends nothing more; see [`Tracing::finish`].
#[derive(Debug)]
pub struct Tracing(SdkTracerProvider);

impl Tracing {
    /// Sends to the collector of `config`; `None` where there is none. Needs a Tokio runtime that is entered. Nothing is connected yet: a collector may come later.
    ///
    /// # Errors
    /// The endpoint is no address.
    pub fn start(config: &Traces) -> Result<Option<Self>, ServerError> {
        let Some(endpoint) = &config.endpoint else { return Ok(None) };
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
        let exporter = exporter.map_err(|e| {
            ServerError::Traces(format!(
                "traces.endpoint is {endpoint:?}: {e}; expected http://HOST:PORT of a collector"
            ))
        })?;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.ratio)));
        let resource = Resource::builder().with_service_name("assay-server");
        let resource =
            resource.with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(resource.build())
            .build();
        Ok(Some(Self(provider)))
    }

    /// What takes the spans.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer("assay-server")).with_location(false);
        layer.with_threads(false).with_filter(Targets::new().with_target(TRACES, tracing::Level::INFO))
    }

    /// Sends what was not sent yet. Blocks, for a few seconds where the collector does not answer.
    pub fn finish(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// The span of a call of an RPC, under the trace that its headers name.
pub(crate) fn of_call(path: &str, headers: &HeaderMap) -> Span {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    let span = info_span!(
        target: TRACES,
        "call",
        otel.name = path.trim_start_matches('/'),
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        assay.model = Empty,
        assay.samples = Empty,
        enduser.id = Empty,
    );
    if !span.is_disabled() {
        // What is no trace context makes a trace of its own.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
    }
    span
}

/// The span of a part of a call's work, under the current one.
pub(crate) fn of_work(name: &'static str, samples: usize) -> Span {
    info_span!(target: TRACES, "work", otel.name = name, assay.samples = samples)
}

/// The span of work that goes on beside its call, under the current one.
pub(crate) fn of_job() -> Span {
    info_span!(target: TRACES, "work", otel.name = "job")
}

/// What a call was, and how it ended.
pub(crate) fn ended(span: &Span, code: Code, model: &str, samples: Option<usize>, principal: Option<&str>) {
    if span.is_disabled() {
        return;
    }
    span.record("rpc.grpc.status_code", code as i64);
    span.record("assay.model", model);
    samples.map(|samples| span.record("assay.samples", samples));
    principal.map(|principal| span.record("enduser.id", principal));
    // Those that are the server's fault, as OpenTelemetry's conventions for servers of gRPC say.
    let faults =
        [Code::Unknown, Code::DeadlineExceeded, Code::Unimplemented, Code::Internal, Code::Unavailable, Code::DataLoss];
    if faults.contains(&code) {
        span.record("otel.status_code", "ERROR");
    }
}

/// Id of the trace that a span is of, in 32 hexadecimal digits; `None` where there is none.
pub(crate) fn id(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let id = context.span().span_context().trace_id();
    (id != opentelemetry::TraceId::INVALID).then(|| id.to_string())
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
