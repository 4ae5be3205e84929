//! TLS on the gRPC port: who the server shows itself as, whom it believes, and how both are replaced while it serves.
//!
//! [`Identity`] is what the files of the configuration hold, checked. [`Tls`] has the one in force: new connections take it, and
//! connections that are open keep the one that they began with. [`Incoming`] makes the handshakes.

mod accept;
mod certificate;
mod identity;

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

pub(crate) use accept::{Handshake, Incoming};
#[cfg(test)]
pub(crate) use certificate::tests;
pub(crate) use certificate::{Peer, Presented};
use identity::Identity;
pub use identity::TlsError;

use crate::{config, metrics::Metrics, reload::Watched};

/// A certificate that has less time left than this is warned of, or less than a quarter of its life where that is shorter.
const AHEAD: Duration = Duration::from_secs(14 * 86_400);
/// How often.
const AGAIN: Duration = Duration::from_secs(86_400);

/// TLS of a port, with the identity in force.
#[derive(Debug)]
pub(crate) struct Tls {
    files: config::Tls,
    identity: watch::Sender<Identity>,
    metrics: Metrics,
    /// When an end that is near was warned of last.
    warned: Mutex<Option<SystemTime>>,
}

impl Tls {
    /// What the files hold at the start. Blocks.
    ///
    /// # Errors
    /// They cannot be read or cannot be used.
    pub(crate) fn open(files: &config::Tls, metrics: Metrics, now: SystemTime) -> Result<Self, TlsError> {
        let identity = Identity::read(files, now)?;
        metrics.register_tls();
        let tls =
            Self { files: files.clone(), identity: watch::Sender::new(identity), metrics, warned: Mutex::default() };
        tls.tell("TLS is on");
        tls.heed_end(now);
        Ok(tls)
    }

    /// Whether clients need a certificate.
    pub(crate) fn asks_clients(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// The identity that a connection begins with.
    fn now(&self) -> Identity {
        self.identity.borrow().clone()
    }

    /// Says in log and metrics which certificate is shown from here on.
    fn tell(&self, what: &'static str) {
        let Identity { certificate, authority_ends, .. } = self.now();
        self.metrics.certificate_ends("server", certificate.not_after);
        if let Some(end) = authority_ends {
            self.metrics.certificate_ends("client_ca", end);
        }
        tracing::info!(
            file = %self.files.certificate.display(),
            serial = certificate.serial,
            not_after = %humantime::format_rfc3339_seconds(certificate.not_after),
            clients_need_certificates = self.asks_clients(),
            "{what}"
        );
    }

    /// Warns once a day of a certificate that ends soon, or has ended.
    fn heed_end(&self, now: SystemTime) {
        let Identity { certificate, .. } = self.now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let was_just_warned = warned.is_some_and(|at| now.duration_since(at).is_ok_and(|since| since < AGAIN));
        if !certificate.ends_soon(now, AHEAD) {
            *warned = None;
        } else if !was_just_warned {
            *warned = Some(now);
            tracing::warn!(
                file = %self.files.certificate.display(),
                not_after = %humantime::format_rfc3339_seconds(certificate.not_after),
                "the server's certificate ends soon or has ended; put a new one and its key in the place of the files, which are read again"
            );
        }
    }
}

impl Watched for Tls {
    fn name(&self) -> &'static str {
        "tls"
    }

    fn reload(&self, now: SystemTime) -> Result<bool, String> {
        self.heed_end(now);
        let identity = Identity::read(&self.files, now).map_err(|e| e.to_string())?;
        if identity.digest == self.now().digest {
            return Ok(false);
        }
        self.identity.send_replace(identity);
        self.tell("new connections get the new certificate");
        Ok(true)
    }
}
