//! The server: two ports, and its life from loading to the last request.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{self, server::TcpIncoming};

use crate::{admin, auth::Guard, config::Config, core::Core, error::ServerError, hosting::Hosting};

/// Time that cancelled requests have to say so to their clients.
const FAREWELL: Duration = Duration::from_secs(2);

/// A server that has its ports.
#[derive(Debug)]
pub struct Server {
    core: Arc<Core>,
    grpc: TcpListener,
    admin: TcpListener,
    addresses: Addresses,
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
    /// The configuration is invalid, a port is taken, the repository cannot be read, or ONNX Runtime cannot be used.
    pub async fn bind(config: Config) -> Result<Self, ServerError> {
        let (grpc, grpc_address) = listen(config.grpc.listen, "grpc.listen").await?;
        let (admin, admin_address) = listen(config.admin.listen, "admin.listen").await?;
        let addresses = Addresses { grpc: grpc_address, admin: admin_address };
        let core = Core::open_in_background(config).await?;
        tracing::info!(grpc = %addresses.grpc, admin = %addresses.admin, "listening");
        if core.config.auth.keys.is_empty() && !addresses.grpc.ip().to_canonical().is_loopback() {
            tracing::warn!(
                grpc = %addresses.grpc,
                "authentication is off: whoever reaches this address may call everything, the gradient oracle too; set auth.keys, or let \
                 grpc.listen be a loopback address"
            );
        }
        Ok(Self { core, grpc, admin, addresses })
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
        let Self { core, grpc, admin, .. } = self;
        let mut hosting = Hosting::start(Arc::clone(&core)).await?;
        let going_on = Arc::clone(&core);
        // It writes to the disk.
        let going_on = tokio::task::spawn_blocking(move || going_on.audits.go_on_all(&going_on.metrics)).await;
        going_on.map_err(|e| ServerError::Serve(e.to_string()))?;
        if let Some(hardens) = &core.hardens {
            hardens.go_on_all(&core.metrics);
        }
        let admin = axum::serve(admin, admin::router(Arc::clone(&core)));
        let _admin = AbortOnDropHandle::new(tokio::spawn(admin.into_future()));
        let incoming = TcpIncoming::from(grpc).with_nodelay(Some(true));
        let mut serving = tokio::spawn(
            hosting
                .router(Guard::new(&core.config.auth))?
                .serve_with_incoming_shutdown(incoming, core.lifecycle.draining().clone().cancelled_owned()),
        );
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
