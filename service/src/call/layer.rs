//! The tower layer around the service.

use std::{
    convert::Infallible,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::{
    Call,
    record::{Record, Recorded},
};
use crate::{
    auth::Guard,
    config::Limits,
    deadline,
    lifecycle::Lifecycle,
    metrics::Metrics,
    rpcs::{self, Needs},
    status::CallError,
    traces,
};

/// Path of the methods that whoever watches over the server calls, without a key.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// Wraps the services of [`rpcs`]; see [`Call`]. Requests to other services pass untouched: those to health always, those to reflection, and to what does not
/// exist, from whoever the guard knows.
#[derive(Clone, Debug)]
pub(crate) struct CallLayer {
    guard: Arc<Guard>,
    limits: Arc<Limits>,
    lifecycle: Arc<Lifecycle>,
    metrics: Metrics,
}

impl CallLayer {
    /// A layer that lets in whom `guard` does, and enforces `limits`.
    pub(crate) fn new(guard: Arc<Guard>, limits: Arc<Limits>, lifecycle: Arc<Lifecycle>, metrics: Metrics) -> Self {
        Self { guard, limits, lifecycle, metrics }
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> CallService<S> {
        CallService { inner, layer: self.clone() }
    }
}

/// A service with a [`CallLayer`] around it.
#[derive(Clone, Debug)]
pub(crate) struct CallService<S> {
    inner: S,
    layer: CallLayer,
}

impl<S> Service<Request<Body>> for CallService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let CallLayer { guard, limits, lifecycle, metrics } = self.layer.clone();
        let caller = guard.caller(request.headers(), request.extensions());
        let path = request.uri().path();
        let Some(rpc) = rpcs::of_path(path) else {
            return match caller {
                Err(error) if !path.starts_with(HEALTH) => Box::pin(ready(Ok(Status::from(error).into_http()))),
                _ => Box::pin(self.inner.call(request)),
            };
        };
        let open = rpc.needs == Needs::Nothing;
        let caller = if open { Ok(None) } else { caller };
        compress_in_turn(request.headers_mut());
        let budget = deadline::budget(request.headers(), &limits);
        let granted = budget.clone().unwrap_or_else(|_| limits.default_deadline());
        let call = Arc::new(Call::new(rpc, granted, &lifecycle));
        let span = traces::of_call(request.uri().path(), request.headers());
        let mut record = Record::begin(Arc::clone(&call), metrics, span.clone());
        let admitted = caller.and_then(|principal| {
            principal.map_or(Ok(()), |principal| {
                let admitted = principal.may(rpc);
                call.made_by(principal);
                admitted
            })
        });
        request.extensions_mut().insert(Arc::clone(&call));
        // The service that is ready is the one to call; its clone waits for the next request.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let work = async move {
            let answer = async {
                admitted?;
                budget?;
                if lifecycle.draining().is_cancelled() && !open {
                    return Err(CallError::Draining);
                }
                tokio::select! {
                    biased;
                    response = inner.call(request) => response.map_err(|never| match never {}),
                    () = lifecycle.cut().cancelled() => Err(call.why_stopped()),
                    () = deadline::passed(call.deadline()) => Err(call.why_stopped()),
                }
            };
            let response = match answer.await {
                Ok(response) => own_limit(response, &limits),
                Err(error) => Status::from(error).into_http(),
            };
            record.read(response.headers());
            Ok(response.map(|body| Body::new(Recorded::new(body, record))))
        };
        Box::pin(work.instrument(span))
    }
}

/// Lets answers be compressed only where the request is: some clients say of themselves that they read gzip, which is no wish to wait for it.
fn compress_in_turn(headers: &mut HeaderMap) {
    if headers.get("grpc-encoding").is_none_or(|encoding| encoding == "identity") {
        headers.remove("grpc-accept-encoding");
    }
}

/// The transport answers `OUT_OF_RANGE` to a message beyond its limit, and no handler ever does: say which limit it was.
fn own_limit(response: Response<Body>, limits: &Limits) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() == Code::OutOfRange => {
            let limit = limits.max_message_bytes;
            Status::from(CallError::MessageTooLarge { limit, detail: status.message().to_owned() }).into_http()
        }
        _ => response,
    }
}
