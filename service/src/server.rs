//! The server: two ports, and its life from loading to the last request.

use std::{
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{self, server::TcpIncoming};

use crate::{
    admin,
    auth::Guard,
    config::Config,
    core::Core,
    error::ServerError,
    hosting::Hosting,
    reload::{Reloader, Watched},
    repository::Folder,
    tls::{Incoming, Tls},
};

/// Time that cancelled requests have to say so to their clients.
const FAREWELL: Duration = Duration::from_secs(2);

/// A server that has its ports.
#[derive(Debug)]
pub struct Server {
    core: Arc<Core>,
    grpc: TcpListener,
    admin: TcpListener,
    addresses: Addresses,
    guard: Arc<Guard>,
    tls: Option<Arc<Tls>>,
    reloader: Reloader,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Addresses {
    /// gRPC.
    pub grpc: SocketAddr,
    /// Admin port (HTTP).
    pub admin: SocketAddr,
}

impl Server {
    /// Takes the ports, reads the repository's folders and starts ONNX Runtime.
    ///
    /// # Errors
    /// The configuration or a file that it names is invalid, a port is taken, the repository cannot be read, or ONNX Runtime cannot be used.
    pub async fn bind(config: Config) -> Result<Self, ServerError> {
        let (grpc, grpc_address) = listen(config.grpc.listen, "grpc.listen").await?;
        let (admin, admin_address) = listen(config.admin.listen, "admin.listen").await?;
        let addresses = Addresses { grpc: grpc_address, admin: admin_address };
        let core = Core::open_in_background(config).await?;
        let guard = Arc::new(Guard::new(&core.config.auth, core.near_duplicates.is_some(), core.metrics.clone())?);
        let tls = core.config.grpc.tls.as_ref();
        let tls = tls.map(|files| Tls::open(files, core.metrics.clone(), SystemTime::now())).transpose()?.map(Arc::new);
        tracing::info!(grpc = %addresses.grpc, admin = %addresses.admin, tls = tls.is_some(), "listening");
        warn_of_strangers(&core.config, addresses.grpc);
        Ok(Self { core, grpc, admin, addresses, guard, tls, reloader: Reloader::new() })
    }

    /// What has the server read its files again: the certificate of `grpc.tls` and those who may call of `auth.file`.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Loads the models and serves until `stop`; then takes no new work, waits for what runs as long as the configuration
    /// says, and cancels the rest.
    ///
    /// # Errors
    /// Serving failed.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Self { core, grpc, admin, guard, tls, reloader, .. } = self;
        let mut hosting = Hosting::start(Arc::clone(&core)).await?;
        let going_on = Arc::clone(&core);
        // It writes to the disk.
        let going_on =
            tokio::task::spawn_blocking(move || going_on.audits.go_on_all(&going_on.quotas, &going_on.metrics)).await;
        going_on.map_err(|e| ServerError::Serve(e.to_string()))?;
        if let Some(hardens) = &core.hardens {
            hardens.go_on_all(&core.quotas, &core.metrics);
        }
        let admin = axum::serve(admin, admin::router(Arc::clone(&core)));
        let _admin = AbortOnDropHandle::new(tokio::spawn(admin.into_future()));
        let auth = core.config.auth.file.as_ref().map(|_| Arc::clone(&guard) as Arc<dyn Watched>);
        let models = core.config.reload.models.then(|| Arc::new(Folder(Arc::clone(&core))) as Arc<dyn Watched>);
        let watched = [tls.clone().map(|tls| tls as Arc<dyn Watched>), auth, models];
        let watch = |watched| {
            let (interval, metrics) = (core.config.reload.interval(), core.metrics.clone());
            AbortOnDropHandle::new(tokio::spawn(reloader.clone().watch(watched, interval, metrics)))
        };
        let _watching: Vec<_> = watched.into_iter().flatten().map(watch).collect();
        let incoming = TcpIncoming::from(grpc).with_nodelay(Some(true));
        let (router, draining) = (hosting.router(guard)?, core.lifecycle.draining().clone().cancelled_owned());
        let mut serving = match tls {
            Some(tls) => tokio::spawn(router.serve_with_incoming_shutdown(Incoming::new(incoming, tls), draining)),
            None => tokio::spawn(router.serve_with_incoming_shutdown(incoming, draining)),
        };
        tokio::select! {
            () = stop => {}
            ended = &mut serving => return finished(ended),
        }
        let time = core.config.shutdown.drain();
        tracing::info!(seconds = time.as_secs_f64(), "draining");
        hosting.drain().await;
        if let Ok(ended) = tokio::time::timeout(time, &mut serving).await {
            finished(ended)?;
        } else {
            tracing::warn!("requests were still running at the drain deadline; they are cancelled");
            core.lifecycle.cut_off();
            // A connection that does not close by itself is dropped with the process.
            if let Ok(ended) = tokio::time::timeout(FAREWELL, &mut serving).await {
                finished(ended)?;
            }
        }
        // Nobody follows them any more.
        core.lifecycle.cut_off();
        if tokio::time::timeout(FAREWELL, hosting.audited()).await.is_err() {
            tracing::warn!(
                "an audit did not stop in time; where audits are kept, it goes on when the server starts again"
            );
        } else {
            core.audits.release();
        }
        // Its step may take a while. Killed, it would lose nothing but the epoch.
        if tokio::time::timeout(time.max(FAREWELL), hosting.trained()).await.is_err() {
            tracing::warn!(
                "training did not stop in time; it goes on from its last epoch when the server starts again"
            );
        } else if let Some(hardens) = &core.hardens {
            hardens.release();
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Warns where others than this machine can call, or listen in.
fn warn_of_strangers(config: &Config, grpc: SocketAddr) {
    if grpc.ip().to_canonical().is_loopback() {
        return;
    }
    let has_client_ca = config.grpc.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if config.auth.is_open() && !has_client_ca {
        tracing::warn!(
            %grpc,
            "authentication is off: whoever reaches this address may call everything, the gradient oracle too; set auth.keys, or let \
             grpc.listen be a loopback address"
        );
    }
    if config.grpc.tls.is_none() && !config.auth.is_open() {
        tracing::warn!(
            %grpc,
            "TLS is off: keys and samples can be read on their way to this address; set grpc.tls, unless something before this server encrypts"
        );
    }
}

async fn listen(address: SocketAddr, key: &'static str) -> Result<(TcpListener, SocketAddr), ServerError> {
    let failed = |source| ServerError::Bind { address, key, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

type Serving = <JoinHandle<Result<(), transport::Error>> as Future>::Output;

fn finished(ended: Serving) -> Result<(), ServerError> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(ServerError::Serve(e.to_string())),
        Err(e) => Err(ServerError::Serve(e.to_string())),
    }
}
