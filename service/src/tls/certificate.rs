//! What a certificate says of itself.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

/// What a certificate says of itself. Whether it is true is decided by whoever verifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Hexadecimal bytes with colons between them, as `openssl x509 -serial` has them without.
    pub(super) serial: String,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// Names of the kinds DNS and URI.
    dns: Vec<String>,
    uris: Vec<String>,
}

impl Facts {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// It is none; the text says why.
    pub(super) fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|e| e.to_string())?;
        let names = certificate.subject_alternative_name().map_err(|e| e.to_string())?;
        let (mut dns, mut uris) = (Vec::new(), Vec::new());
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => dns.push((*name).to_owned()),
                GeneralName::URI(name) => uris.push((*name).to_owned()),
                _ => {}
            }
        }
        let validity = certificate.validity();
        Ok(Self {
            serial: certificate.raw_serial_as_string(),
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
            dns,
            uris,
        })
    }

    /// Whether less than `ahead` is left of it, or less than a quarter of its life where that is shorter.
    pub(super) fn ends_soon(&self, now: SystemTime, ahead: Duration) -> bool {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        let left = self.not_after.duration_since(now).unwrap_or_default();
        left < ahead.min(life / 4)
    }
}

/// Times before 1970 are 1970: nothing that is valid has one.
fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// The certificate that the client of a connection has shown, and that one of the configured authorities vouches for.
#[derive(Debug)]
pub(crate) struct Peer {
    sha256: [u8; 32],
    facts: Facts,
}

impl Peer {
    /// Reads a certificate in DER that was verified.
    pub(super) fn read(der: &[u8]) -> Result<Self, String> {
        Ok(Self { sha256: Sha256::digest(der).into(), facts: Facts::read(der)? })
    }

    /// SHA-256 of the certificate: its fingerprint.
    pub(crate) fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Whether it has this DNS name, letter for letter but for case: `*.example.org` is the name of who has just that.
    pub(crate) fn has_dns(&self, name: &str) -> bool {
        self.facts.dns.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether it has this URI, letter for letter.
    pub(crate) fn has_uri(&self, uri: &str) -> bool {
        self.facts.uris.iter().any(|own| own == uri)
    }

    /// When it ends. A connection may outlive it.
    pub(crate) fn not_after(&self) -> SystemTime {
        self.facts.not_after
    }
}

/// What the client of a connection has shown; the transport puts it beside each of its requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presented(pub(super) Option<Arc<Peer>>);

impl Presented {
    /// The certificate, if there is one.
    pub(crate) fn peer(&self) -> Option<&Peer> {
        self.0.as_deref()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};

    const DAY: Duration = Duration::from_secs(86_400);

    /// A certificate with these names, valid in 2026.
    pub(crate) fn peer(dns: &str, uri: &str) -> Presented {
        Presented(Some(Arc::new(Peer::read(&der(dns, uri)).unwrap())))
    }

    fn der(dns: &str, uri: &str) -> Vec<u8> {
        let mut params = CertificateParams::new(vec![dns.to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        params.serial_number = Some(0x0102_u64.into());
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn what_a_certificate_says_is_read() {
        let der = der("ci.example.org", "spiffe://example.org/ci");
        let facts = Facts::read(&der).unwrap();
        assert!(facts.serial.ends_with("01:02"), "{}", facts.serial);
        let shown = [facts.not_before, facts.not_after].map(|time| humantime::format_rfc3339_seconds(time).to_string());
        assert_eq!(shown, ["2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"]);
        let peer = Peer::read(&der).unwrap();
        assert!(peer.has_dns("CI.example.org") && peer.has_uri("spiffe://example.org/ci"));
        assert!(!peer.has_dns("example.org") && !peer.has_uri("spiffe://example.org/CI"));
        assert!(!peer.has_dns("spiffe://example.org/ci") && !peer.has_uri("ci.example.org"));
        assert!(Facts::read(&der[1..]).is_err() && Facts::read(&[]).is_err());
    }

    #[test]
    fn an_end_is_near_by_days_and_by_the_life_of_the_certificate() {
        let facts = |days: u32| Facts {
            serial: String::new(),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH + DAY * days,
            dns: Vec::new(),
            uris: Vec::new(),
        };
        let at = |days: u32| SystemTime::UNIX_EPOCH + DAY * days;
        let ahead = DAY * 14;
        assert!(!facts(365).ends_soon(at(351), ahead) && facts(365).ends_soon(at(352), ahead));
        assert!(!facts(8).ends_soon(at(6), ahead) && facts(8).ends_soon(at(7), ahead));
        assert!(facts(8).ends_soon(at(9), ahead), "what has ended is warned of too");
    }
}
