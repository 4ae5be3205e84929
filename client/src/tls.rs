//! TLS on the way to a server: who vouches for it, what this side shows it, and what went wrong in words.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as Rustls};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::args::Target;
use crate::error::{ClientError, root_cause};

/// Begins what a connection says that the other side ended with an alert.
const ALERT: &str = "received fatal alert: ";

/// Whom this side believes, and who it says that it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// File with the authorities of servers; `None`: those of the system.
    ca: Option<PathBuf>,
    /// Files with the certificate that is shown to servers which ask for one, and its key.
    identity: Option<[PathBuf; 2]>,
}

impl Trust {
    /// What the command line names.
    pub(crate) fn of(target: &Target) -> Self {
        let identity = target.cert.clone().zip(target.cert_key.clone()).map(<[PathBuf; 2]>::from);
        Self { ca: target.ca.clone(), identity }
    }

    /// Why a connection with TLS may have been lost: a server that does not take this side's certificate says so, and shuts, behind the handshake, and
    /// what it says does not always get through.
    pub(crate) fn why_lost(&self, cause: &str) -> String {
        let remedy = match &self.identity {
            None => "if it asks for a client certificate, name one with --cert FILE and --cert-key FILE",
            Some(_) => "it may not take the certificate of --cert",
        };
        format!("it was lost ({cause}); {remedy}. Its log says why")
    }

    /// The way to a server whose address begins with `https://`.
    ///
    /// # Errors
    /// A file cannot be read, or holds nothing of its kind; the system has no authorities.
    pub(crate) fn secure(&self, endpoint: Endpoint) -> Result<Endpoint, ClientError> {
        let mut config = ClientTlsConfig::new();
        config = match &self.ca {
            Some(file) => config.ca_certificate(Certificate::from_pem(certificates("--ca", file)?)),
            None => config.with_native_roots(),
        };
        if let Some([certificate, key]) = &self.identity {
            config =
                config.identity(Identity::from_pem(certificates("--cert", certificate)?, read("--cert-key", key)?));
        }
        endpoint.tls_config(config).map_err(|error| {
            let cause = root_cause(&error);
            let problem = match (&self.identity, &self.ca) {
                (Some([certificate, key]), _) => {
                    format!("--cert {} and --cert-key {}: expected a certificate and its key without a passphrase, in PEM ({cause})", certificate.display(), key.display())
                }
                (None, Some(file)) => format!("--ca {}: {cause}", file.display()),
                (None, None) => format!("this system has no authorities ({cause}); name the file with that of the server with --ca FILE"),
            };
            ClientError::Usage(problem)
        })
    }
}

fn read(option: &str, file: &Path) -> Result<Vec<u8>, ClientError> {
    fs::read(file).map_err(|error| ClientError::Usage(format!("{option} {}: {error}", file.display())))
}

/// The content of a file with certificates.
fn certificates(option: &str, file: &Path) -> Result<Vec<u8>, ClientError> {
    let content = read(option, file)?;
    let wrong = |problem: &str| Err(ClientError::Usage(format!("{option} {}: {problem}", file.display())));
    match CertificateDer::pem_slice_iter(&content).collect::<Result<Vec<_>, _>>() {
        Ok(found) if found.is_empty() => wrong("holds no certificate; expected one or more, in PEM"),
        Ok(_) => Ok(content),
        Err(error) => wrong(&format!("is not well-formed PEM ({error})")),
    }
}

/// What keeps this side and a server from a connection with TLS, and what to do; `None`: something else is wrong.
pub(crate) fn problem(error: &(dyn Error + 'static)) -> Option<String> {
    let mut at = Some(error);
    while let Some(error) = at {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<Rustls>());
        if let Some(error) = inner.or_else(|| error.downcast_ref()) {
            return Some(in_words(error));
        }
        // What comes when the connection is there already passes through HTTP/2, which keeps its text.
        if let Some((_, alert)) = error.to_string().split_once(ALERT) {
            return Some(refused(alert));
        }
        at = error.source();
    }
    None
}

/// Whether something at `http://HOST:PORT` or `HOST:PORT` answers plain text with an alert of TLS: asked where a connection was lost, to say why.
pub(crate) async fn is_spoken_at(address: &str) -> bool {
    const PATIENCE: Duration = Duration::from_secs(2);
    // The type of a record with an alert.
    const IS_ALERT: u8 = 0x15;
    let Some(authority) = address.strip_prefix("http://").or((!address.contains("://")).then_some(address)) else {
        return false;
    };
    let asked = async {
        let mut stream = TcpStream::connect(authority.trim_end_matches('/')).await?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        stream.read_u8().await
    };
    matches!(tokio::time::timeout(PATIENCE, asked).await, Ok(Ok(IS_ALERT)))
}

fn in_words(error: &Rustls) -> String {
    match error {
        Rustls::InvalidCertificate(problem) => of_certificate(problem),
        Rustls::InvalidMessage(_) => {
            "it does not speak TLS; an address that begins with http:// is one without".to_owned()
        }
        Rustls::AlertReceived(alert) => refused(&format!("{alert:?}")),
        other => format!("no connection with TLS: {other}"),
    }
}

fn of_certificate(problem: &CertificateError) -> String {
    match problem {
        // The latter where two authorities have one name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is of an authority that is not known here; name the file with that authority with --ca FILE".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; whoever operates it has to replace it".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is the clock right, here and there?".to_owned()
        }
        CertificateError::NotValidForName => "its certificate is for another name; use the name in it".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            format!("its certificate is for {names}, not for {}; use a name in it as address", expected.to_str())
        }
        other => format!("its certificate is not good: {other:?}"),
    }
}

/// By the name of the alert that the server ended the connection with.
fn refused(alert: &str) -> String {
    let is = |known: AlertDescription| alert.starts_with(&format!("{known:?}"));
    if is(AlertDescription::CertificateRequired) {
        return "it asks for a client certificate; name one with --cert FILE and --cert-key FILE".to_owned();
    }
    let of_certificate = [
        AlertDescription::UnknownCA,
        AlertDescription::BadCertificate,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::CertificateRevoked,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::DecryptError,
        AlertDescription::AccessDenied,
    ];
    if of_certificate.into_iter().any(is) {
        return format!(
            "it does not take the certificate of --cert ({alert}); show one that is valid, of an authority that it knows"
        );
    }
    format!("it ended the connection ({alert})")
}
