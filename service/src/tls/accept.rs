//! Connections with TLS: handshakes side by side, each in its own time.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, rustls, server::TlsStream};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpIncoming};

use super::{
    Tls,
    certificate::{Peer, Presented},
};

/// How long a client has for its handshake. Those of others go on meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// There is a connection.
    Done,
    /// The client took too long.
    TimedOut,
    /// The client speaks something else than TLS.
    NotTls,
    /// The client has shown no certificate, and needs one.
    NoCertificate,
    /// The client's certificate is not valid, or of an authority that is not known.
    BadCertificate,
    /// The client did not take the server's certificate, or anything else that it was offered.
    Refused,
    /// The client went away.
    Closed,
    /// Anything else.
    Failed,
}

impl Handshake {
    /// All there are.
    pub(crate) const ALL: [Self; 8] = [
        Self::Done,
        Self::TimedOut,
        Self::NotTls,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::Refused,
        Self::Closed,
        Self::Failed,
    ];

    /// Its name in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::TimedOut => "timed_out",
            Self::NotTls => "not_tls",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Failed => "failed",
        }
    }

    fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidMessage(_)) => Self::NotTls,
            Some(rustls::Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(rustls::Error::InvalidCertificate(_)) => Self::BadCertificate,
            Some(rustls::Error::AlertReceived(_)) => Self::Refused,
            Some(_) => Self::Failed,
            None => Self::Closed,
        }
    }
}

/// The connections of a port whose handshake is done. Dropping it ends those that are not.
#[derive(Debug)]
pub(crate) struct Incoming {
    tcp: TcpIncoming,
    tls: Arc<Tls>,
    handshakes: JoinSet<Option<Connection>>,
}

impl Incoming {
    /// Makes the handshakes of those who connect.
    pub(crate) fn new(tcp: TcpIncoming, tls: Arc<Tls>) -> Self {
        Self { tcp, tls, handshakes: JoinSet::new() }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { tcp, tls, handshakes } = self.get_mut();
        while let Poll::Ready(next) = Pin::new(&mut *tcp).poll_next(cx) {
            match next {
                Some(Ok(stream)) => drop(handshakes.spawn(shake_hands(stream, Arc::clone(tls)))),
                Some(Err(e)) => return Poll::Ready(Some(Err(e))),
                None => return Poll::Ready(None),
            }
        }
        // Where none is under way, the port wakes this.
        while let Some(ended) = ready!(handshakes.poll_join_next(cx)) {
            if let Ok(Some(connection)) = ended {
                return Poll::Ready(Some(Ok(connection)));
            }
        }
        Poll::Pending
    }
}

/// A handshake, with what is to be told of it; `None`: it failed.
async fn shake_hands(stream: TcpStream, tls: Arc<Tls>) -> Option<Connection> {
    let client = stream.peer_addr().ok();
    let accepted = TlsAcceptor::from(tls.now().config).accept(stream);
    let ended = match tokio::time::timeout(PATIENCE, accepted).await {
        Ok(Ok(io)) => Connection::new(io).map_err(|e| (Handshake::BadCertificate, e)),
        Ok(Err(e)) => Err((Handshake::of(&e), e.to_string())),
        Err(_) => Err((Handshake::TimedOut, format!("it took longer than {} s", PATIENCE.as_secs()))),
    };
    match ended {
        Ok(connection) => {
            tls.metrics.shook_hands(Handshake::Done);
            Some(connection)
        }
        Err((how, reason)) => {
            tls.metrics.shook_hands(how);
            tell(client, how, &reason);
            None
        }
    }
}

fn tell(client: Option<SocketAddr>, how: Handshake, reason: &str) {
    let (client, how) = (client.map(|client| client.to_string()), how.name());
    // Whoever looks whether a port is open closes it again, every few seconds.
    if how == Handshake::Closed.name() {
        tracing::debug!(client, how, reason, "a TLS handshake failed");
    } else {
        tracing::info!(client, how, reason, "a TLS handshake failed");
    }
}

/// A connection with TLS.
#[derive(Debug)]
pub(crate) struct Connection {
    io: TlsStream<TcpStream>,
    presented: Presented,
}

impl Connection {
    fn new(io: TlsStream<TcpStream>) -> Result<Self, String> {
        let shown = io.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let peer = shown.map(|certificate| Peer::read(certificate)).transpose()?;
        Ok(Self { presented: Presented(peer.map(Arc::new)), io })
    }
}

impl Connected for Connection {
    type ConnectInfo = Presented;

    fn connect_info(&self) -> Presented {
        self.presented.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
