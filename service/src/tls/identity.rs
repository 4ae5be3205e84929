//! Who the server shows itself as, and whom it believes: what the files hold.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::certificate::Facts;
use crate::config;

/// What HTTP/2 is called in a handshake.
const H2: &[u8] = b"h2";

/// A file of `grpc.tls` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {}: {problem}", path.display())]
pub struct TlsError {
    key: &'static str,
    path: PathBuf,
    /// What is wrong, and what was expected.
    problem: String,
}

/// What the files hold, ready for handshakes.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) config: Arc<ServerConfig>,
    /// The server's own certificate, the first of its file.
    pub(super) certificate: Facts,
    /// When the first of the clients' authorities ends, if there are any.
    pub(super) authority_ends: Option<SystemTime>,
    /// Tells two contents of the files apart.
    pub(super) digest: [u8; 32],
}

impl Identity {
    /// Reads and checks the files. Blocks.
    ///
    /// # Errors
    /// A file cannot be read or holds nothing of its kind, the key is another certificate's, or the certificate is not valid now.
    pub(super) fn read(files: &config::Tls, now: SystemTime) -> Result<Self, TlsError> {
        let certificate = File::read("grpc.tls.certificate", &files.certificate)?;
        let key = File::read("grpc.tls.key", &files.key)?;
        let authority = files.client_ca.as_deref().map(|path| File::read("grpc.tls.client_ca", path)).transpose()?;
        let mut digest = Sha256::new();
        for file in [Some(&certificate), Some(&key), authority.as_ref()].into_iter().flatten() {
            digest.update(Sha256::digest(&file.content));
        }
        let chain = certificate.certificates("the server's certificate and then those between it and its authority")?;
        let facts = chain.first().map_or_else(|| Err(String::new()), |leaf| Facts::read(leaf));
        let facts = facts.map_err(|e| certificate.wrong(format!("its first certificate cannot be read ({e})")))?;
        valid_now(&facts, now).map_err(|problem| certificate.wrong(problem))?;
        let provider = Arc::new(ring::default_provider());
        let (verifier, authority_ends) = match &authority {
            Some(authority) => authority.verifier(&provider).map(|(verifier, end)| (verifier, Some(end)))?,
            None => (WebPkiClientVerifier::no_client_auth(), None),
        };
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|e| certificate.wrong(e.to_string()))?.with_client_cert_verifier(verifier);
        let mut config = builder.with_single_cert(chain, key.private_key()?).map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => key.wrong(format!(
                "is not the key of the certificate in {}; expected the two of one pair",
                files.certificate.display()
            )),
            other => certificate.wrong(format!("cannot be used ({other})")),
        })?;
        config.alpn_protocols = vec![H2.to_vec()];
        Ok(Self { config: Arc::new(config), certificate: facts, authority_ends, digest: digest.finalize().into() })
    }
}

fn valid_now(facts: &Facts, now: SystemTime) -> Result<(), String> {
    let text = |time| humantime::format_rfc3339_seconds(time);
    if facts.not_after <= now {
        return Err(format!("the certificate expired at {}; expected one that is valid now", text(facts.not_after)));
    }
    if facts.not_before > now {
        let begins = text(facts.not_before);
        return Err(format!(
            "the certificate is valid from {begins} on; expected one that is valid now, or a clock that is right"
        ));
    }
    Ok(())
}

/// A file with its content.
struct File<'a> {
    key: &'static str,
    path: &'a Path,
    content: Vec<u8>,
}

impl<'a> File<'a> {
    fn read(key: &'static str, path: &'a Path) -> Result<Self, TlsError> {
        match fs::read(path) {
            Ok(content) => Ok(Self { key, path, content }),
            Err(e) => Err(TlsError { key, path: path.to_owned(), problem: format!("cannot be read ({e})") }),
        }
    }

    fn wrong(&self, problem: String) -> TlsError {
        TlsError { key: self.key, path: self.path.to_owned(), problem }
    }

    fn certificates(&self, which: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found = CertificateDer::pem_slice_iter(&self.content).collect::<Result<Vec<_>, _>>();
        let found = found.map_err(|e| self.wrong(format!("is not well-formed PEM ({e})")))?;
        if found.is_empty() {
            return Err(self.wrong(format!("holds no certificate; expected {which}, in PEM")));
        }
        Ok(found)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.content).map_err(|e| match e {
            pem::Error::NoItemsFound => {
                let is_locked = String::from_utf8_lossy(&self.content).contains("ENCRYPTED PRIVATE KEY");
                let found = if is_locked { "a key with a passphrase" } else { "no private key" };
                self.wrong(format!(
                    "holds {found}; expected a key of the kinds PKCS#8, SEC 1 or PKCS#1 without a passphrase, in PEM"
                ))
            }
            other => self.wrong(format!("is not well-formed PEM ({other})")),
        })
    }

    /// Asks clients for certificates of the authorities in this file; with when the first of those ends.
    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<(Arc<dyn ClientCertVerifier>, SystemTime), TlsError> {
        let mut roots = RootCertStore::empty();
        let mut ends = Vec::new();
        for authority in self.certificates("the authorities of the clients' certificates")? {
            let facts = Facts::read(&authority);
            ends.push(facts.map_err(|e| self.wrong(format!("a certificate cannot be read ({e})")))?.not_after);
            roots.add(authority).map_err(|e| self.wrong(format!("holds no authority ({e})")))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let verifier = verifier.build().map_err(|e| self.wrong(format!("cannot be used ({e})")))?;
        Ok((verifier, ends.into_iter().min().unwrap_or(SystemTime::UNIX_EPOCH)))
    }
}
