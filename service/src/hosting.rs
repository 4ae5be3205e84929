//! The gRPC services of one repository, whatever carries them: sockets or memory.

use std::{sync::Arc, time::Duration};

use assay_proto::v1::{FILE_DESCRIPTOR_SET, assay_server::AssayServer};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::server::{Router, Server};
use tonic_health::{ServingStatus, pb::FILE_DESCRIPTOR_SET as HEALTH_DESCRIPTORS, server::HealthReporter};
use tower::layer::util::{Identity, Stack};

use crate::{audit, auth::Guard, call::CallLayer, core::Core, error::ServerError, harden, rpc::Handlers};

/// Names in health checks: the whole server, and the service.
const HEALTH_NAMES: [&str; 2] = ["", "assay.v1.Assay"];
/// How often observations are folded into the buckets of the metrics, and health is looked at.
const UPKEEP: Duration = Duration::from_secs(5);
/// HTTP/2 windows: a batch of a few megabytes should not wait for window updates.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Dead peers are noticed within the sum of these, so that nothing works for them.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The gRPC services of one repository. Dropping it ends what it does in the background.
#[derive(Debug)]
pub(crate) struct Hosting {
    core: Arc<Core>,
    health: HealthReporter,
    loading: AbortOnDropHandle<()>,
    auditing: AbortOnDropHandle<()>,
    training: AbortOnDropHandle<()>,
    _upkeep: AbortOnDropHandle<()>,
}

impl Hosting {
    /// Begins to load the models. Until they are loaded the services answer that they are not serving.
    pub(crate) async fn start(core: Arc<Core>) -> Result<Self, ServerError> {
        let health = HealthReporter::new();
        set_status(&health, ServingStatus::NotServing).await;
        let loading = tokio::spawn(load(Arc::clone(&core), health.clone()));
        let auditing = tokio::spawn(audit::serve(Arc::clone(&core)));
        let training = tokio::spawn(harden::serve(Arc::clone(&core)));
        let upkeep = tokio::spawn(upkeep(Arc::clone(&core), health.clone()));
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
        set_status(&self.health, ServingStatus::NotServing).await;
    }

    /// The services behind their layer, for whom `guard` lets in.
    pub(crate) fn router(&self, guard: Arc<Guard>) -> Result<Router<Stack<CallLayer, Identity>>, ServerError> {
        let core = &self.core;
        let limits = &core.config.limits;
        let assay = AssayServer::new(Handlers::new(Arc::clone(core)))
            .max_decoding_message_size(limits.max_message_bytes)
            .max_encoding_message_size(limits.max_message_bytes);
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(HEALTH_DESCRIPTORS)
        };
        let failed = |e: tonic_reflection::server::Error| ServerError::Serve(e.to_string());
        let limits = Arc::new(limits.clone());
        let layer = CallLayer::new(guard, limits, Arc::clone(&core.lifecycle), core.metrics.clone());
        Ok(Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .layer(layer)
            .add_service(assay)
            .add_service(tonic_health::pb::health_server::HealthServer::new(
                tonic_health::server::HealthService::from_health_reporter(self.health.clone()),
            ))
            .add_service(reflection().build_v1().map_err(failed)?)
            .add_service(reflection().build_v1alpha().map_err(failed)?))
    }
}

async fn load(core: Arc<Core>, health: HealthReporter) {
    let working = Arc::clone(&core);
    if let Err(e) = tokio::task::spawn_blocking(move || working.load()).await {
        tracing::error!(error = %e, "loading the models ended early");
    }
    let reasons = core.not_ready();
    if reasons.is_empty() {
        set_status(&health, ServingStatus::Serving).await;
        tracing::info!(loaded = core.repository.hosted().len(), "ready");
    } else {
        tracing::error!(reasons = reasons.join("; "), "not ready");
    }
}

async fn upkeep(core: Arc<Core>, health: HealthReporter) {
    let mut interval = tokio::time::interval(UPKEEP);
    let mut was_ready = false;
    loop {
        interval.tick().await;
        core.metrics.upkeep();
        // A repository without a model has one as soon as training made it.
        let is_ready = core.not_ready().is_empty();
        if is_ready != was_ready {
            set_status(&health, if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
        }
        was_ready = is_ready;
    }
}

async fn set_status(health: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        health.set_service_status(name, status).await;
    }
}
