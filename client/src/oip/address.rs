//! Where a model is.

use std::fmt;
use std::str::FromStr;

/// `oip://HOST:PORT/MODEL` or `oip://HOST:PORT/MODEL/VERSION`, or the same with `oips://` for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Whether the server speaks TLS.
    pub(crate) tls: bool,
    /// `HOST:PORT`.
    pub(crate) host: String,
    pub(crate) model: String,
    /// Empty: the server chooses.
    pub(crate) version: String,
}

const SCHEME: &str = "oip://";
const WITH_TLS: &str = "oips://";

impl Address {
    /// Whether `model` is meant as an address, good or bad, and not as the name of a hosted model.
    pub(crate) fn is_meant(model: &str) -> bool {
        model.contains("://")
    }

    /// Where its server is dialled.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.host)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str =
            "expected oip://HOST:PORT/MODEL, or oip://HOST:PORT/MODEL/VERSION; oips:// in its place for TLS";
        let (tls, rest) = match (text.strip_prefix(SCHEME), text.strip_prefix(WITH_TLS)) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err(format!("{text}: {EXPECTED}")),
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let (host, model, version) = match parts[..] {
            [host, model] => (host, model, ""),
            [host, model, version] if !version.is_empty() => (host, model, version),
            _ => return Err(format!("{text}: {EXPECTED}")),
        };
        let port = host.rsplit_once(':').filter(|(name, _)| !name.is_empty()).and_then(|(_, port)| port.parse().ok());
        if port.is_none_or(|port: u16| port == 0) || model.is_empty() {
            return Err(format!("{text}: {EXPECTED}"));
        }
        Ok(Self { tls, host: host.to_owned(), model: model.to_owned(), version: version.to_owned() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}", if self.tls { WITH_TLS } else { SCHEME }, self.host, self.model)?;
        if self.version.is_empty() { Ok(()) } else { write!(f, "/{}", self.version) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_as_it_was_written() {
        for (text, host, model, version) in [
            ("oip://127.0.0.1:8001/resnet", "127.0.0.1:8001", "resnet", ""),
            ("oip://triton.prod:8001/resnet/3", "triton.prod:8001", "resnet", "3"),
            ("oip://[::1]:8001/a", "[::1]:8001", "a", ""),
            ("oips://triton.prod:8001/resnet", "triton.prod:8001", "resnet", ""),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((&*address.host, &*address.model, &*address.version), (host, model, version));
            assert_eq!(address.to_string(), text);
            assert!(Address::is_meant(text));
            assert_eq!(address.url().starts_with("https://"), text.starts_with("oips://"));
        }
        assert!(!Address::is_meant("resnet/3"));
    }

    #[test]
    fn bad_addresses_say_what_is_expected() {
        for text in [
            "oip://",
            "oip://host",
            "oip://host:8001",
            "oip://host:8001/",
            "oip://host/model",
            "oip://:8001/model",
            "oip://host:0/model",
            "oip://host:x/model",
            "oip://host:8001/a/",
            "oip://host:8001/a/1/b",
            "http://host:8001/a",
            "oips://host/a",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains("oip://HOST:PORT/MODEL"), "{error}");
        }
    }
}
