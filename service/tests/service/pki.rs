//! Authorities and certificates that live for one test.
#![allow(dead_code, reason = "not all tests use all of it")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd};

/// How many there are in this process.
static AUTHORITIES: AtomicU32 = AtomicU32::new(0);

/// Somebody who signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub(crate) pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    /// The certificate in DER.
    pub(crate) der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Two authorities of one name would be told apart by their signatures only.
        let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these names and addresses.
    pub(crate) fn issue(&self, names: &[&str]) -> Pair {
        self.issue_as(names, |_| {})
    }

    /// One that is valid no more.
    pub(crate) fn issue_expired(&self, names: &[&str]) -> Pair {
        self.issue_as(names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 2);
        })
    }

    /// One with a URI.
    pub(crate) fn issue_uri(&self, uri: &str) -> Pair {
        self.issue_as(&[], |params| params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap())))
    }

    fn issue_as(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
    }
}

impl Pair {
    /// The certificate of one pair with the key of another.
    pub(crate) fn with_key_of(&self, other: &Self) -> Self {
        Self { key: other.key.clone(), ..self.clone() }
    }

    /// Writes both files as `NAME.crt` and `NAME.key`, one after the other.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> [PathBuf; 2] {
        let files = ["crt", "key"].map(|kind| folder.join(format!("{name}.{kind}")));
        fs::write(&files[0], &self.certificate).unwrap();
        fs::write(&files[1], &self.key).unwrap();
        files
    }
}
