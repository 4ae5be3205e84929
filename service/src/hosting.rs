//! The gRPC services of one repository, whatever carries them: sockets or memory.

use std::{sync::Arc, time::Duration};

use assay_proto::{
    inference::{
        FILE_DESCRIPTOR_SET as INFERENCE_DESCRIPTORS, grpc_inference_service_server::GrpcInferenceServiceServer,
    },
    v1::{FILE_DESCRIPTOR_SET, assay_server::AssayServer},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::{
    codec::CompressionEncoding,
    transport::server::{Router, Server},
};
use tonic_health::pb::FILE_DESCRIPTOR_SET as HEALTH_DESCRIPTORS;
use tower::layer::util::{Identity, Stack};

use crate::{
    audit, auth::Guard, call::CallLayer, core::Core, error::ServerError, harden, health::Health, rpc::Handlers, web,
};

/// How often observations are folded into the buckets of the metrics, and health is looked at.
const UPKEEP: Duration = Duration::from_secs(5);
/// HTTP/2 windows: a batch of a few megabytes should not wait for window updates.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Dead peers are noticed within the sum of these, so that nothing works for them.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Around the services: what browsers need, then what every call goes through.
pub(crate) type Layers = Stack<CallLayer, Stack<web::Spoken, Stack<web::Allowed, Identity>>>;

/// The gRPC services of one repository. Dropping it ends what it does in the background.
#[derive(Debug)]
pub(crate) struct Hosting {
    core: Arc<Core>,
    health: Arc<Health>,
    loading: AbortOnDropHandle<()>,
    auditing: AbortOnDropHandle<()>,
    training: AbortOnDropHandle<()>,
    _upkeep: AbortOnDropHandle<()>,
}

impl Hosting {
    /// Begins to load the models. Until they are loaded the services answer that they are not serving.
    pub(crate) async fn start(core: Arc<Core>) -> Result<Self, ServerError> {
        let health = Arc::new(Health::new(&core).await);
        let loading = tokio::spawn(load(Arc::clone(&core), Arc::clone(&health)));
        let auditing = tokio::spawn(audit::serve(Arc::clone(&core)));
        let training = tokio::spawn(harden::serve(Arc::clone(&core)));
        let upkeep = tokio::spawn(upkeep(Arc::clone(&core), Arc::clone(&health)));
        Ok(Self {
            core,
            health,
            loading: AbortOnDropHandle::new(loading),
            auditing: AbortOnDropHandle::new(auditing),
            training: AbortOnDropHandle::new(training),
            _upkeep: AbortOnDropHandle::new(upkeep),
        })
    }

    /// Waits until no audit is carried out any more: within a step after the server drains where it keeps them, after it is cut off where it does not.
    pub(crate) async fn audited(&mut self) {
        // It is aborted only by dropping it.
        let _ = (&mut self.auditing).await;
    }

    /// Waits until the job that trains has stopped, which it does a step after the server drains.
    pub(crate) async fn trained(&mut self) {
        // It is aborted only by dropping it.
        let _ = (&mut self.training).await;
    }

    /// Waits until every model was tried.
    pub(crate) async fn loaded(&mut self) {
        // It is aborted only by dropping it.
        let _ = (&mut self.loading).await;
    }

    /// Takes no new work, and says so.
    pub(crate) async fn drain(&self) {
        self.core.lifecycle.drain();
        self.health.update(&self.core).await;
    }

    /// The services behind their layer, for whom `guard` lets in.
    pub(crate) fn router(&self, guard: Arc<Guard>) -> Result<Router<Layers>, ServerError> {
        let core = &self.core;
        let limits = &core.config.limits;
        let [gzip, zstd] = [CompressionEncoding::Gzip, CompressionEncoding::Zstd];
        let handlers = Handlers::new(Arc::clone(core));
        let assay = AssayServer::new(handlers.clone())
            .max_decoding_message_size(limits.max_message_bytes)
            .max_encoding_message_size(limits.max_message_bytes)
            .accept_compressed(gzip)
            .accept_compressed(zstd)
            .send_compressed(gzip)
            .send_compressed(zstd);
        let inference = GrpcInferenceServiceServer::new(handlers)
            .max_decoding_message_size(limits.max_message_bytes)
            .max_encoding_message_size(limits.max_message_bytes)
            .accept_compressed(gzip)
            .accept_compressed(zstd)
            .send_compressed(gzip)
            .send_compressed(zstd);
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(INFERENCE_DESCRIPTORS)
                .register_encoded_file_descriptor_set(HEALTH_DESCRIPTORS)
        };
        let failed = |e: tonic_reflection::server::Error| ServerError::Serve(e.to_string());
        let limits = Arc::new(limits.clone());
        let layer = CallLayer::new(guard, limits, Arc::clone(&core.lifecycle), core.metrics.clone());
        let origins = &core.config.grpc.web_origins;
        let web = web::layers(origins);
        Ok(Server::builder()
            // As browsers do where there is no TLS.
            .accept_http1(!origins.is_empty())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .layer(web.0)
            .layer(web.1)
            .layer(layer)
            .add_service(assay)
            .add_service(inference)
            .add_service(tonic_health::pb::health_server::HealthServer::new(
                tonic_health::server::HealthService::from_health_reporter(self.health.reporter()),
            ))
            .add_service(reflection().build_v1().map_err(failed)?)
            .add_service(reflection().build_v1alpha().map_err(failed)?))
    }
}

async fn load(core: Arc<Core>, health: Arc<Health>) {
    let working = Arc::clone(&core);
    if let Err(e) = tokio::task::spawn_blocking(move || working.load()).await {
        tracing::error!(error = %e, "loading the models ended early");
    }
    health.update(&core).await;
    let reasons = core.not_ready();
    if reasons.is_empty() {
        tracing::info!(loaded = core.repository.hosted().len(), "ready");
    } else {
        tracing::error!(reasons = reasons.join("; "), "not ready");
    }
}

async fn upkeep(core: Arc<Core>, health: Arc<Health>) {
    let mut interval = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            _ = interval.tick() => {
                core.metrics.upkeep();
                if let Some(gpu) = &core.gpu {
                    gpu.look(&core.metrics);
                }
            }
            () = core.changed.notified() => {}
        }
        health.update(&core).await;
    }
}
