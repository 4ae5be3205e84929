//! Those who are known: the holders of keys and of client certificates.

use std::{sync::Arc, time::SystemTime};

use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::{
    config::{Auth, ClientCertificate, Expiry, Quota, Role},
    status::CallError,
    tls::Peer,
};

/// Somebody who is known, by what he has shown.
#[derive(Debug)]
pub(crate) struct Principal {
    name: String,
    roles: Vec<Role>,
    quota: Quota,
}

impl Principal {
    /// Keys and certificates of one name are one caller.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether he may do what needs this role.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.roles.contains(&role) || self.is_admin()
    }

    /// Whether he may do everything.
    pub(crate) fn is_admin(&self) -> bool {
        self.roles.contains(&Role::Admin)
    }

    /// What he may use.
    pub(crate) fn quota(&self) -> &Quota {
        &self.quota
    }
}

/// Who calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller(Option<Arc<Principal>>);

impl Caller {
    /// Whoever has shown who he is; `None`: somebody, where nobody is asked.
    pub(crate) fn new(principal: Option<Arc<Principal>>) -> Self {
        Self(principal)
    }

    /// Who he is, where callers are asked.
    pub(crate) fn principal(&self) -> Option<&Principal> {
        self.0.as_deref()
    }

    /// Whose the jobs are that he starts.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.principal().map(Principal::name)
    }

    /// Whether there are jobs of this owner, as far as he can tell. Those of nobody are the admin's, and everybody's where nobody is asked.
    pub(crate) fn sees(&self, owner: Option<&str>) -> bool {
        self.principal().is_none_or(|principal| principal.is_admin() || owner == Some(principal.name()))
    }
}

/// All who are known.
#[derive(Debug, Default)]
pub(crate) struct Principals {
    keys: Vec<Key>,
    certificates: Vec<(ClientCertificate, Arc<Principal>)>,
}

#[derive(Debug)]
struct Key {
    digest: [u8; 32],
    not_after: Option<Expiry>,
    holder: Arc<Principal>,
}

impl Principals {
    /// Those of a configuration that was checked.
    pub(crate) fn new(auth: &Auth) -> Self {
        let principal = |name: &str, roles: &[Role]| {
            let quota = auth.quotas.get(name).copied().unwrap_or_default();
            Arc::new(Principal { name: name.to_owned(), roles: roles.to_vec(), quota })
        };
        // A digest that were none would let nobody in.
        let keys = auth.keys.iter().filter_map(|key| {
            let holder = principal(&key.name, &key.roles);
            Some(Key { digest: key.digest()?, not_after: key.not_after, holder })
        });
        let certificates = auth.certificates.iter().map(|own| (own.clone(), principal(&own.name, &own.roles)));
        Self { keys: keys.collect(), certificates: certificates.collect() }
    }

    /// The holder of the key with this digest.
    ///
    /// # Errors
    /// There is none, or the key is not valid any more.
    pub(crate) fn by_key(&self, digest: &[u8; 32], now: SystemTime) -> Result<Arc<Principal>, CallError> {
        // Every key is compared, so that the time tells neither how much of one was right nor which one it was.
        let mut found = u32::MAX;
        for (index, key) in (0..).zip(&self.keys) {
            found.conditional_assign(&index, key.digest.ct_eq(digest));
        }
        let key = usize::try_from(found).ok().and_then(|found| self.keys.get(found));
        let key = key.ok_or(CallError::Unauthenticated("this key is not known"))?;
        match key.not_after {
            Some(end) if end.0 <= now => Err(expired("key", &key.holder, end)),
            _ => Ok(Arc::clone(&key.holder)),
        }
    }

    /// The holder of the client certificate of a connection: the first entry that it fits.
    ///
    /// # Errors
    /// There is none, or the certificate ended while the connection was open.
    pub(crate) fn by_certificate(&self, peer: &Peer, now: SystemTime) -> Result<Arc<Principal>, CallError> {
        let fits = |own: &ClientCertificate| match (&own.sha256, &own.dns, &own.uri) {
            (Some(_), ..) => own.digest().as_ref() == Some(peer.sha256()),
            (None, Some(name), _) => peer.has_dns(name),
            (None, None, Some(uri)) => peer.has_uri(uri),
            (None, None, None) => false,
        };
        let found = self.certificates.iter().find(|(own, _)| fits(own));
        let (_, holder) = found.ok_or(CallError::Unauthenticated(
            "there is no key, and the client's certificate is none that stands for a name",
        ))?;
        match peer.not_after() {
            end if end <= now => Err(expired("certificate", holder, Expiry(end))),
            _ => Ok(Arc::clone(holder)),
        }
    }
}

fn expired(what: &'static str, holder: &Principal, end: Expiry) -> CallError {
    CallError::Expired { what, name: holder.name.clone(), end: end.to_string() }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{config::ApiKey, tls::tests::peer};

    /// Somebody with a quota who may audit.
    pub(crate) fn caller(name: &str, quota: Quota) -> Caller {
        Caller(Some(Arc::new(Principal { name: name.to_owned(), roles: vec![Role::Audit], quota })))
    }

    #[test]
    fn who_is_no_admin_sees_his_own_jobs_and_no_others() {
        let ci = caller("ci", Quota::default());
        assert!(ci.sees(Some("ci")) && !ci.sees(Some("other")) && !ci.sees(None));
        let roles = vec![Role::Admin];
        let boss = Caller(Some(Arc::new(Principal { name: "boss".to_owned(), roles, quota: Quota::default() })));
        let anybody = Caller::default();
        for all in [boss, anybody] {
            assert!(all.sees(Some("ci")) && all.sees(None));
        }
    }

    fn at(time: &str) -> SystemTime {
        time.parse::<Expiry>().unwrap().0
    }

    fn certificate(name: &str, change: impl FnOnce(&mut ClientCertificate)) -> ClientCertificate {
        let mut certificate =
            ClientCertificate { name: name.to_owned(), roles: vec![Role::Audit], ..ClientCertificate::default() };
        change(&mut certificate);
        certificate
    }

    #[test]
    fn a_key_ends_at_its_time_to_the_second() {
        let end = "2027-01-31T00:00:00Z".parse().unwrap();
        let key = |name: &str, digit: &str, not_after| ApiKey {
            name: name.to_owned(),
            sha256: digit.repeat(32),
            roles: vec![Role::Predict],
            not_after,
        };
        let keys = vec![key("old", "ab", Some(end)), key("new", "cd", None)];
        let known = Principals::new(&Auth { keys, ..Auth::default() });
        let before = end.0 - Duration::from_secs(1);
        assert_eq!(known.by_key(&[0xab; 32], before).unwrap().name(), "old");
        let refused = known.by_key(&[0xab; 32], end.0).unwrap_err();
        assert!(refused.to_string().starts_with("the key `old` expired at 2027-01-31T00:00:00Z; "), "{refused}");
        assert_eq!(known.by_key(&[0xcd; 32], end.0).unwrap().name(), "new");
        assert_eq!(known.by_key(&[0xef; 32], end.0).unwrap_err(), CallError::Unauthenticated("this key is not known"));
    }

    #[test]
    fn a_certificate_is_known_by_what_its_entry_says_and_the_first_that_fits_counts() {
        let shown = peer("ci.example.org", "spiffe://example.org/ci");
        let shown = shown.peer().unwrap();
        let fingerprint: String = shown.sha256().iter().map(|byte| format!("{byte:02X}:")).collect();
        let by_dns = certificate("by-dns", |own| own.dns = Some("ci.example.org".to_owned()));
        let by_uri = certificate("by-uri", |own| own.uri = Some("spiffe://example.org/ci".to_owned()));
        let by_print = certificate("by-print", |own| own.sha256 = Some(fingerprint.trim_end_matches(':').to_owned()));
        let other = certificate("other", |own| own.dns = Some("spiffe://example.org/ci".to_owned()));
        let now = at("2026-06-01T00:00:00Z");
        let known = |certificates: &[&ClientCertificate]| {
            let certificates = certificates.iter().map(|&own| own.clone()).collect();
            Principals::new(&Auth { certificates, ..Auth::default() })
        };
        for own in [&by_dns, &by_uri, &by_print] {
            let found = known(&[&other, own]).by_certificate(shown, now).unwrap();
            assert_eq!(found.name(), own.name);
            assert!(found.has(Role::Audit) && !found.has(Role::Attack) && !found.is_admin());
        }
        assert_eq!(known(&[&by_uri, &by_dns]).by_certificate(shown, now).unwrap().name(), "by-uri");
        assert!(known(&[&other]).by_certificate(shown, now).is_err());
        assert!(known(&[]).by_certificate(shown, now).is_err());
        let late = known(&[&by_dns]).by_certificate(shown, at("2027-01-01T00:00:00Z")).unwrap_err();
        assert!(late.to_string().starts_with("the certificate `by-dns` expired at 2027-01-01T00:00:00Z"), "{late}");
    }
}
