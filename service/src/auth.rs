//! Who calls: the keys that callers are known by, and whether their roles are what an RPC needs.

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::{
    config::{Auth, Role},
    metrics::UNKNOWN,
    rpcs::{Needs, Rpc},
    status::CallError,
};

/// Characters of the shortest key that is hashed for a configuration: 16 random bytes in base64.
const SHORTEST: usize = 24;

/// Tells callers apart by the key that they send.
#[derive(Debug)]
pub(crate) struct Guard {
    /// `None`: everybody may call everything.
    principals: Option<Vec<Principal>>,
}

/// The holder of a key.
#[derive(Debug)]
pub(crate) struct Principal {
    name: String,
    digest: [u8; 32],
    roles: Vec<Role>,
}

impl Guard {
    /// Lets in who holds one of these keys; everybody where there are none.
    pub(crate) fn new(auth: &Auth) -> Self {
        // Validated with the configuration; a digest that were none would let nobody in.
        let principals = auth.keys.iter().filter_map(|key| {
            Some(Principal { name: key.name.clone(), digest: key.digest()?, roles: key.roles.clone() })
        });
        Self { principals: (!auth.keys.is_empty()).then(|| principals.collect()) }
    }

    /// Lets everybody in.
    pub(crate) fn open() -> Self {
        Self { principals: None }
    }

    /// Who calls, by the metadata of the call; `None` where nobody is asked.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Option<&Principal>, CallError> {
        let Some(principals) = &self.principals else { return Ok(None) };
        let digest: [u8; 32] = Sha256::digest(sent(headers)?).into();
        // Every key is compared, so that the time tells neither how much of one was right nor which one it was.
        let mut found = u32::MAX;
        for (index, principal) in (0..).zip(principals) {
            found.conditional_assign(&index, principal.digest.ct_eq(&digest));
        }
        let principal = usize::try_from(found).ok().and_then(|found| principals.get(found));
        principal.map(Some).ok_or(CallError::Unauthenticated("this key is not known"))
    }
}

impl Principal {
    /// The name of the key.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the holder may call an RPC.
    pub(crate) fn may(&self, rpc: &'static Rpc) -> Result<(), CallError> {
        match rpc.needs {
            Needs::Role(role) if !self.roles.contains(&role) && !self.roles.contains(&Role::Admin) => {
                let rpc = if rpc.name == UNKNOWN { "an RPC that this server does not know" } else { rpc.name };
                Err(CallError::Denied { rpc, role: role.name(), key: self.name.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// The key that a call carries.
fn sent(headers: &HeaderMap) -> Result<&str, CallError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(CallError::Unauthenticated("there is no key")),
        (Some(value), None) => bearer(value).ok_or(CallError::Unauthenticated("`authorization` is malformed")),
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
    use crate::{config::ApiKey, rpcs::of_path};

    const KEY: &str = "a-key-that-only-tests-have";

    fn guard(keys: &[(&str, &str, Role)]) -> Guard {
        let key = |&(name, key, role): &(&str, &str, Role)| ApiKey {
            name: name.to_owned(),
            sha256: hash_key(key).unwrap(),
            roles: vec![role],
        };
        Guard::new(&Auth { keys: keys.iter().map(key).collect() })
    }

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn what_is_not_in_the_table_is_for_the_admin() {
        let guard = guard(&[("ci", KEY, Role::Predict)]);
        let headers = headers(&[&format!("Bearer {KEY}")]);
        let denied = guard
            .caller(&headers)
            .unwrap()
            .unwrap()
            .may(of_path("/assay.v1.Assay/NoSuchRpc").unwrap())
            .unwrap_err()
            .to_string();
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
                assert_eq!(guard.caller(&headers).unwrap().unwrap().name(), name);
            }
        }
    }

    #[test]
    fn refusals_say_what_to_send_and_not_how_near_it_was() {
        let guard = guard(&[("ci", KEY, Role::Admin)]);
        let (right, prefix) = (format!("Bearer {KEY}"), format!("Bearer {}", &KEY[..KEY.len() - 1]));
        let refused = |values: &[&str]| guard.caller(&headers(values)).unwrap_err().to_string();
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
        for guard in [Guard::open(), Guard::new(&Auth::default())] {
            assert!(guard.caller(&headers(&[])).unwrap().is_none());
        }
    }

    #[test]
    fn a_digest_that_is_none_lets_nobody_in() {
        let key = ApiKey { name: "ci".to_owned(), sha256: String::new(), roles: vec![Role::Admin] };
        let guard = Guard::new(&Auth { keys: vec![key] });
        assert!(guard.caller(&headers(&[])).is_err());
        assert!(guard.caller(&headers(&["Bearer x"])).is_err());
    }
}
