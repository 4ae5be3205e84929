//! Who calls: the keys that callers are known by, and whether their roles are what an RPC needs.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::SystemTime,
};

use http::{Extensions, HeaderMap, HeaderValue, header::AUTHORIZATION};
use sha2::{Digest, Sha256};

use crate::{
    config::{Auth, AuthFileError},
    metrics::{Metrics, UNKNOWN},
    principals::{Principal, Principals},
    reload::Watched,
    rpcs::{Needs, Rpc},
    status::CallError,
    tls::Presented,
};

/// Characters of the shortest key that is hashed for a configuration: 16 random bytes in base64.
const SHORTEST: usize = 24;

/// Tells callers apart by the key that they send, or else by the certificate of their connection.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Where those who are known come from; `None`: everybody may call everything.
    auth: Option<Auth>,
    /// Those who are known now.
    principals: RwLock<Arc<Principals>>,
    /// As the file has them.
    read: Mutex<Auth>,
    metrics: Option<Metrics>,
    /// Whether near duplicates are counted.
    watches: bool,
}

impl Guard {
    /// Lets in who is known by the configuration and by its file; everybody where it has neither. `watches` is whether near duplicates are counted. Blocks.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(crate) fn new(auth: &Auth, watches: bool, metrics: Metrics) -> Result<Self, AuthFileError> {
        let read = auth.with_file(watches)?;
        read.quotas.keys().for_each(|name| metrics.register_quota(name));
        Ok(Self {
            metrics: Some(metrics),
            auth: (!auth.is_open()).then(|| auth.clone()),
            principals: RwLock::new(Arc::new(Principals::new(&read))),
            read: Mutex::new(read),
            watches,
        })
    }

    /// Lets everybody in.
    pub(crate) fn open() -> Self {
        Self { auth: None, watches: false, principals: RwLock::default(), read: Mutex::default(), metrics: None }
    }

    /// Who calls, by the metadata of the call, and where it carries no key by the certificate of its connection; `None` where nobody is asked.
    pub(crate) fn caller(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<Arc<Principal>>, CallError> {
        if self.auth.is_none() {
            return Ok(None);
        }
        let (principals, now) = (self.principals(), SystemTime::now());
        let peer = extensions.get::<Presented>().and_then(Presented::peer);
        let caller = match (sent(headers)?, peer) {
            (Some(key), _) => principals.by_key(&Sha256::digest(key).into(), now),
            (None, Some(peer)) => principals.by_certificate(peer, now),
            (None, None) => Err(CallError::Unauthenticated("there is no key")),
        };
        caller.map(Some)
    }

    fn principals(&self) -> Arc<Principals> {
        Arc::clone(&self.principals.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Watched for Guard {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn reload(&self, _now: SystemTime) -> Result<bool, String> {
        let Some(auth) = &self.auth else { return Ok(false) };
        let new = auth.with_file(self.watches).map_err(|e| e.to_string())?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if *read == new {
            return Ok(false);
        }
        *self.principals.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Principals::new(&new));
        if let Some(metrics) = &self.metrics {
            new.quotas.keys().for_each(|name| metrics.register_quota(name));
        }
        tracing::info!(keys = new.keys.len(), certificates = new.certificates.len(), "who may call has changed");
        *read = new;
        Ok(true)
    }
}

impl Principal {
    /// Whether the holder may call an RPC.
    pub(crate) fn may(&self, rpc: &'static Rpc) -> Result<(), CallError> {
        match rpc.needs {
            Needs::Role(role) if !self.has(role) => {
                let rpc = if rpc.name == UNKNOWN { "an RPC that this server does not know" } else { rpc.name };
                Err(CallError::Denied { rpc, role: role.name(), name: self.name().to_owned() })
            }
            _ => Ok(()),
        }
    }
}

/// The key that a call carries, if it carries one.
fn sent(headers: &HeaderMap) -> Result<Option<&str>, CallError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            bearer(value).map(Some).ok_or(CallError::Unauthenticated("`authorization` is malformed"))
        }
        (Some(_), Some(_)) => Err(CallError::Unauthenticated("`authorization` is there more than once")),
    }
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && can_be_sent(key)).then_some(key)
}

/// Whether a text can follow `Bearer`.
fn can_be_sent(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A text that is no key to protect a server with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a key: expected one line of at least {SHORTEST} ASCII characters without spaces; make one with \
     `openssl rand -base64 32`"
)]
pub struct UnfitKey;

/// The digest of a key as the configuration takes it ([`ApiKey::sha256`](crate::ApiKey::sha256)): 64 hexadecimal digits.
///
/// # Errors
/// It cannot be sent, or is so short that it can be guessed.
pub fn hash_key(key: &str) -> Result<String, UnfitKey> {
    if key.len() < SHORTEST || !can_be_sent(key) {
        return Err(UnfitKey);
    }
    Ok(Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{ApiKey, ClientCertificate, Role},
        rpcs::of_path,
        tls::tests::peer,
    };

    const KEY: &str = "a-key-that-only-tests-have";

    fn new(auth: &Auth) -> Guard {
        Guard::new(auth, false, Metrics::new().unwrap()).unwrap()
    }

    fn guard(keys: &[(&str, &str, Role)]) -> Guard {
        let key = |&(name, key, role): &(&str, &str, Role)| ApiKey {
            name: name.to_owned(),
            sha256: hash_key(key).unwrap(),
            roles: vec![role],
            not_after: None,
        };
        new(&Auth { keys: keys.iter().map(key).collect(), ..Auth::default() })
    }

    fn caller(guard: &Guard, headers: &HeaderMap) -> Result<Option<Arc<Principal>>, CallError> {
        guard.caller(headers, &Extensions::new())
    }

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn what_is_not_in_the_table_is_for_the_admin() {
        let guard = guard(&[("ci", KEY, Role::Predict)]);
        let headers = headers(&[&format!("Bearer {KEY}")]);
        let unknown = of_path("/assay.v1.Assay/NoSuchRpc").unwrap();
        let denied = caller(&guard, &headers).unwrap().unwrap().may(unknown).unwrap_err().to_string();
        assert!(denied.starts_with("an RPC that this server does not know needs the role `admin`"), "{denied}");
    }

    #[test]
    fn a_hash_is_that_of_sha256sum() {
        // printf %s a-key-that-only-tests-have | sha256sum
        let digest = "17553a9e2da7da810c822c2f559f541d3b9102629ddc44bc0ed288a9981f3f52";
        assert_eq!(hash_key(KEY).unwrap(), digest);
    }

    #[test]
    fn a_key_that_can_be_guessed_or_not_be_sent_is_not_hashed() {
        let short = "x".repeat(SHORTEST - 1);
        for text in ["", &short, &format!("{KEY} {KEY}"), &format!("{KEY}\n"), &format!("{KEY}ä")] {
            assert_eq!(hash_key(text), Err(UnfitKey), "{text:?}");
        }
        assert!(hash_key(&"x".repeat(SHORTEST)).is_ok());
    }

    #[test]
    fn every_key_is_found_by_what_is_sent() {
        let other = "another-key-that-only-tests-have";
        let guard = guard(&[("a", KEY, Role::Predict), ("b", other, Role::Audit)]);
        for (key, name) in [(KEY, "a"), (other, "b")] {
            for scheme in ["Bearer", "bearer"] {
                let headers = headers(&[&format!("{scheme} {key}")]);
                assert_eq!(caller(&guard, &headers).unwrap().unwrap().name(), name);
            }
        }
    }

    #[test]
    fn refusals_say_what_to_send_and_not_how_near_it_was() {
        let guard = guard(&[("ci", KEY, Role::Admin)]);
        let (right, prefix) = (format!("Bearer {KEY}"), format!("Bearer {}", &KEY[..KEY.len() - 1]));
        let refused = |values: &[&str]| caller(&guard, &headers(values)).unwrap_err().to_string();
        let how = "; send one of this server's keys in the metadata `authorization: Bearer KEY`";
        assert_eq!(refused(&[]), format!("there is no key{how}"));
        let malformed = format!("`authorization` is malformed{how}");
        for value in ["", "Bearer", "Bearer ", KEY, "Basic YTpi", &format!("Bearer  {KEY}"), &format!("{right} ")] {
            assert_eq!(refused(&[value]), malformed, "{value:?}");
        }
        assert_eq!(refused(&[&right, &right]), format!("`authorization` is there more than once{how}"));
        let unknown = format!("this key is not known{how}");
        for value in [prefix.as_str(), &format!("{right}x"), "Bearer x"] {
            assert_eq!(refused(&[value]), unknown, "{value:?}");
        }
    }

    #[test]
    fn without_keys_nobody_is_asked() {
        for guard in [Guard::open(), new(&Auth::default())] {
            assert!(caller(&guard, &headers(&[])).unwrap().is_none());
        }
    }

    #[test]
    fn a_digest_that_is_none_lets_nobody_in() {
        let key = ApiKey { name: "ci".to_owned(), sha256: String::new(), roles: vec![Role::Admin], not_after: None };
        let guard = new(&Auth { keys: vec![key], ..Auth::default() });
        assert!(caller(&guard, &headers(&[])).is_err());
        assert!(caller(&guard, &headers(&["Bearer x"])).is_err());
    }

    #[test]
    fn a_key_is_asked_for_before_a_certificate() {
        let mut extensions = Extensions::new();
        extensions.insert(peer("ci.example.org", "spiffe://example.org/ci"));
        let dns = Some("ci.example.org".to_owned());
        let by_name =
            ClientCertificate { name: "mesh".to_owned(), dns, roles: vec![Role::Admin], ..Default::default() };
        let key = ApiKey {
            name: "ci".to_owned(),
            sha256: hash_key(KEY).unwrap(),
            roles: vec![Role::Predict],
            not_after: None,
        };
        let auth = Auth { keys: vec![key], certificates: vec![by_name], ..Auth::default() };
        let guard = new(&auth);
        let named =
            |headers: &HeaderMap| guard.caller(headers, &extensions).map(|found| found.unwrap().name().to_owned());
        assert_eq!(named(&headers(&[&format!("Bearer {KEY}")])).unwrap(), "ci");
        assert_eq!(named(&headers(&[])).unwrap(), "mesh");
        // A key that is wrong is not made good by the certificate.
        assert_eq!(named(&headers(&["Bearer x"])).unwrap_err(), CallError::Unauthenticated("this key is not known"));
        assert!(guard.caller(&headers(&[]), &Extensions::new()).is_err());
    }

    #[test]
    fn a_file_is_read_again_and_a_broken_one_changes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        let entry = |key: &str| {
            format!("[[keys]]\nname = \"ci\"\nsha256 = \"{}\"\nroles = [\"audit\"]\n", hash_key(key).unwrap())
        };
        let (first, second) = (headers(&[&format!("Bearer {KEY}")]), headers(&["Bearer another-key-0123456789abc"]));
        write("");
        let guard = new(&Auth { file: Some(file.path().to_owned()), ..Auth::default() });
        let now = SystemTime::UNIX_EPOCH;
        assert!(caller(&guard, &first).is_err(), "an empty file lets nobody in");
        write(&entry(KEY));
        assert_eq!(guard.reload(now), Ok(true));
        assert!(caller(&guard, &first).is_ok() && caller(&guard, &second).is_err());
        write(&entry(KEY)[..20]);
        assert!(guard.reload(now).unwrap_err().starts_with("auth.file "));
        assert!(caller(&guard, &first).is_ok());
        write(&entry("another-key-0123456789abc"));
        assert_eq!((guard.reload(now), guard.reload(now)), (Ok(true), Ok(false)));
        assert!(caller(&guard, &first).is_err() && caller(&guard, &second).is_ok());
    }
}
