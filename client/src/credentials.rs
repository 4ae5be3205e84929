//! The API key that calls of the server carry.

use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::Uri;
use tonic::{Request, Status};

use crate::args::Target;
use crate::error::ClientError;

/// The environment variable with the key. An option would show it to everybody who lists processes.
const VARIABLE: &str = "ASSAY_API_KEY";

/// Adds the key to each call, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    authorization: Option<MetadataValue<Ascii>>,
}

impl Credentials {
    /// Calls without a key.
    pub(crate) fn none() -> Self {
        Self { authorization: None }
    }

    /// The key in the file that the command line names, else that of the environment, else none.
    pub(crate) fn of(target: &Target) -> Result<Self, ClientError> {
        match (&target.api_key_file, std::env::var_os(VARIABLE)) {
            (Some(file), _) => Self::in_file(file),
            (None, Some(key)) => Self::in_variable(key),
            (None, None) => Ok(Self::none()),
        }
    }

    fn in_file(file: &Path) -> Result<Self, ClientError> {
        let wrong = |problem: String| ClientError::Usage(format!("--api-key-file {}: {problem}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        Self::new(line.strip_suffix('\r').unwrap_or(line)).map_err(wrong)
    }

    fn in_variable(key: OsString) -> Result<Self, ClientError> {
        // A text that is not Unicode is no key either, and is not shown.
        let key = key.into_string().unwrap_or_default();
        Self::new(&key).map_err(|problem| ClientError::Usage(format!("{VARIABLE}: {problem}")))
    }

    fn new(key: &str) -> Result<Self, String> {
        let header = format!("Bearer {key}").parse::<MetadataValue<Ascii>>().ok();
        let fits = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        let mut authorization = header.filter(|_| fits).ok_or("expected a key: one line of ASCII without spaces")?;
        authorization.set_sensitive(true);
        Ok(Self { authorization: Some(authorization) })
    }

    /// Whether the key may go to this address: all between here and another machine can read plain text.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn must_not_be_read(&self, address: &str) -> Result<(), ClientError> {
        if self.authorization.is_some() && is_plain(address) {
            return Err(ClientError::Usage(format!(
                "the API key would go to {address} in plain text, where the network between can read it; use an https:// address, or a tunnel to this machine, or --plain-text-key if something else encrypts on the way"
            )));
        }
        Ok(())
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        Ok(request)
    }
}

/// Whether what is sent to an address leaves this machine unencrypted.
fn is_plain(address: &str) -> bool {
    let Ok(url) = address.parse::<Uri>() else { return false };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|host| host.to_canonical().is_loopback());
    url.scheme_str() != Some("https") && !is_here
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(mut credentials: Credentials) -> Option<MetadataValue<Ascii>> {
        credentials.call(Request::new(())).unwrap().metadata().get("authorization").cloned()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_line_of_a_file_is_sent_and_not_shown() {
        for text in ["k3y+/=", "k3y+/=\n", "k3y+/=\r\n"] {
            let credentials = Credentials::in_file(file(text).path()).unwrap();
            assert!(!format!("{credentials:?}").contains("k3y"));
            let value = sent(credentials).unwrap();
            assert_eq!(value.to_str().unwrap(), "Bearer k3y+/=");
            assert!(value.is_sensitive());
        }
        assert!(sent(Credentials::none()).is_none());
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_place_and_not_shown() {
        for text in ["", "\n", "s3cret\n\n", "s3cret s3cret", "s3cret\ts3cret", "ä"] {
            let file = file(text);
            let message = Credentials::in_file(file.path()).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("--api-key-file {}: expected a key", file.path().display())),
                "{message}"
            );
            assert!(!message.contains("s3cret"), "{message}");
        }
        let message = Credentials::in_variable("".into()).unwrap_err().to_string();
        assert!(message.starts_with("ASSAY_API_KEY: expected a key"), "{message}");
        let missing = Credentials::in_file(Path::new("no/such/key")).unwrap_err();
        assert!(missing.to_string().starts_with("--api-key-file no/such/key: "), "{missing}");
        assert_eq!(missing.exit_code(), 2);
    }

    #[test]
    fn a_key_is_readable_where_it_leaves_the_machine_unencrypted() {
        for address in ["http://10.0.0.1:8081", "example.org:8081", "http://localhost.example.org", "http://[::]:1"] {
            assert!(is_plain(address), "{address}");
        }
        for address in [
            "http://127.0.0.1:8081",
            "127.5.0.1:8081",
            "localhost:8081",
            "http://[::1]:8081",
            "http://[::ffff:127.0.0.1]:1",
            "https://example.org",
        ] {
            assert!(!is_plain(address), "{address}");
        }
    }
}
