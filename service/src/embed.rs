//! The server without a port: a repository hosted inside the calling process.

use std::{io, sync::Arc};

use hyper_util::rt::TokioIo;
use tokio::{io::DuplexStream, sync::mpsc, task::JoinHandle};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::transport::{self, Channel, Endpoint};

use crate::{auth::Guard, config::Config, core::Core, error::ServerError, hosting::Hosting};

/// Bytes that a connection through memory holds before its writer waits.
const BUFFER: usize = 1 << 20;

/// A server inside this process, reached through memory.
#[derive(Debug)]
pub struct Embedded {
    channel: Channel,
    core: Arc<Core>,
    hosting: Hosting,
    serving: JoinHandle<Result<(), transport::Error>>,
}

/// Hosts the repository of `config` in this process and waits until its models are loaded.
///
/// No port is opened: `grpc`, `admin`, `auth`, `reload`, `shutdown` and `log` are not used, and whoever has the channel may call everything. Everything else holds as on a server,
/// the limits and the default deadline too; but what is unfinished in `audits.state` and `harden.state` goes on only when it is asked for.
///
/// # Errors
/// The configuration is invalid, the repository cannot be read, or ONNX Runtime cannot be used. A model that fails to load is
/// no error: `ListModels` says why.
pub async fn embed(config: Config) -> Result<Embedded, ServerError> {
    let core = Core::open_in_background(config).await?;
    let mut hosting = Hosting::start(Arc::clone(&core)).await?;
    let (connect, connections) = mpsc::unbounded_channel::<DuplexStream>();
    let incoming = UnboundedReceiverStream::new(connections).map(Ok::<_, io::Error>);
    let stopped = core.lifecycle.draining().clone().cancelled_owned();
    let serving =
        tokio::spawn(hosting.router(Arc::new(Guard::open()))?.serve_with_incoming_shutdown(incoming, stopped));
    let connector = tower::service_fn(move |_| {
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        let connected = connect.send(theirs).map_err(|_| io::Error::other("the embedded server was stopped"));
        std::future::ready(connected.map(|()| TokioIo::new(ours)))
    });
    // The name is never resolved: the connector answers for every address.
    let channel = Endpoint::from_static("http://embedded").connect_with_connector_lazy(connector);
    hosting.loaded().await;
    Ok(Embedded { channel, core, hosting, serving })
}

impl Embedded {
    /// A connection to the server, for the very stub that a network channel serves.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Cancels what runs and stops the server.
    pub async fn shutdown(self) {
        let Self { channel, core, mut hosting, serving } = self;
        core.lifecycle.cut_off();
        drop(channel);
        // Its failure is of no use to anyone now.
        let _ = serving.await;
        hosting.audited().await;
        core.audits.release();
        hosting.trained().await;
    }
}
