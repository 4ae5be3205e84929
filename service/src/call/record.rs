//! The record of a call: written once, when its last byte is out or when it is dropped.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status, body::Body};
use tracing::Span;

use super::Call;
use crate::{
    metrics::{Finished, Metrics},
    status::code_name,
    traces,
};

/// What the log lines of calls are told from others by.
pub const CALLS: &str = "assay_server::call";

/// Writes the record of a call. A record that is dropped unwritten is that of a client that went away.
#[derive(Debug)]
pub(super) struct Record {
    call: Arc<Call>,
    metrics: Metrics,
    span: Span,
    written: bool,
}

impl Record {
    pub(super) fn begin(call: Arc<Call>, metrics: Metrics, span: Span) -> Self {
        metrics.began(call.rpc.name);
        Self { call, metrics, span, written: false }
    }

    /// Writes the record if `headers` or trailers say how the call ended.
    pub(super) fn read(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.write(status.code(), status.message());
        }
    }

    fn write(&mut self, code: Code, message: &str) {
        if std::mem::replace(&mut self.written, true) {
            return;
        }
        let facts = self.call.facts().clone();
        let duration = self.call.started.elapsed();
        let (rpc, model, samples) = (self.call.rpc.name, facts.model.as_str(), facts.samples);
        let principal = facts.principal.as_ref().map(|principal| principal.name());
        self.metrics.finished(Finished { rpc, model, code, duration, samples });
        traces::ended(&self.span, code, model, samples, principal);
        let trace = traces::id(&self.span);
        let (code, seconds) = (code_name(code), duration.as_secs_f64());
        if code == "INTERNAL" {
            tracing::error!(target: CALLS, rpc, principal, model, code, seconds, batch = samples, trace, message, "call");
        } else {
            tracing::info!(target: CALLS, rpc, principal, model, code, seconds, batch = samples, trace, message, "call");
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let error = self.call.why_stopped();
        self.call.stop.cancel();
        self.write(error.code(), &error.to_string());
    }
}

/// A response's body with the record of its call.
#[derive(Debug)]
pub(super) struct Recorded {
    body: Body,
    record: Record,
}

impl Recorded {
    pub(super) fn new(body: Body, record: Record) -> Self {
        Self { body, record }
    }
}

impl HttpBody for Recorded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.record.read(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
