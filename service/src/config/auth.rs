//! Who may call: keys and certificates with their roles and quotas, and what is checked of them.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf, str::FromStr, time::SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::validate::Problem;

/// Characters of the longest name.
const LONGEST_NAME: usize = 64;
/// The largest quota: larger numbers are not exact as f64.
const LARGEST_QUOTA: u64 = 1 << 53;

/// Who may call the gRPC port. Without `keys`, `certificates` and `file` everybody may call everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The keys that callers send. Several may have one name, so that a new one is valid beside the old one while its holder changes. Default none.
    pub keys: Vec<ApiKey>,
    /// Client certificates that stand for a name where a call carries no key; needs `grpc.tls.client_ca`. Default none.
    pub certificates: Vec<ClientCertificate>,
    /// What a name may use, whatever its keys and certificates: name = quota. Default none: as much as the limits of the server allow.
    pub quotas: BTreeMap<String, Quota>,
    /// TOML file with more `keys`, `certificates` and `quotas`, each as here without `auth.` before it. It is read again when it changes (`reload`),
    /// and then counts for open connections too. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// A key, known by its digest: the key itself is nowhere on the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Who holds it, as the log says: 1 to 64 letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// SHA-256 of the key, in 64 hexadecimal digits: what `assay-server --hash-key` prints. No two keys have the same.
    pub sha256: String,
    /// What its holder may call; at least one.
    pub roles: Vec<Role>,
    /// The key is not valid from this time on, such as `2027-01-31T00:00:00Z`. Default unset: it is valid until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Expiry>,
}

/// A client certificate, known by its fingerprint or by a name that its authority put into it: exactly one of `sha256`, `dns` and `uri`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// Who holds it, as the log says: 1 to 64 letters, digits, `.`, `_` and `-`. Keys and certificates of one name are one caller.
    pub name: String,
    /// SHA-256 of the certificate in DER, in 64 hexadecimal digits with or without colons: what `openssl x509 -fingerprint -sha256` prints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// A DNS name among its subject alternative names. No wildcard: `*.example.org` is a name like any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// A URI among its subject alternative names, such as `spiffe://example.org/ci`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// What its holder may call; at least one.
    pub roles: Vec<Role>,
}

/// What a caller may use; what is unset is not limited. Each number is an allowance that is full when the server starts and is filled up evenly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Samples of `Predict` in a minute, 1 to 2^53. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predictions_per_minute: Option<u64>,
    /// Samples of `Gradient` in a minute, 1 to 2^53. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradients_per_minute: Option<u64>,
    /// Samples that `Attack`, `WeightSurface` and audits evaluate in a day, forward or with a gradient, 1 to 2^53. Certificates count one for each sample and
    /// one for each method that it is asked about. A call or an audit needs as many as it may take at most, which is what its quote says; those that it did
    /// not take come back when it ends. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluations_per_day: Option<u64>,
    /// Samples of `Predict` in a minute that are nearly what the caller sent before, 1 to 2^53; needs `near_duplicates.window`. Whoever sends more attacks
    /// the model from outside, or asks about the frames of a film. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub near_duplicates_per_minute: Option<u64>,
    /// Calls of `Attack`, `Certify` and `WeightSurface`, audits and jobs of `Harden` that wait or run at once, 1 to 65536. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u64>,
}

/// A time in UTC, written as in RFC 3339: `2027-01-31T00:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry(pub SystemTime);

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = humantime::parse_rfc3339(text);
        time.map(Self).map_err(|e| format!("a time in UTC such as \"2027-01-31T00:00:00Z\" ({e})"))
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.0).fmt(f)
    }
}

impl Serialize for Expiry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// What the holder of a key or a certificate may call. With any role, the catalogue can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// `Predict`.
    Predict,
    /// `Gradient`: white-box access to the models.
    Gradient,
    /// `Attack`, `Certify` and `WeightSurface`.
    Attack,
    /// `Audit`.
    Audit,
    /// `Harden`, `ListHardens` and `CancelHarden`.
    Harden,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [Self::Predict, Self::Gradient, Self::Attack, Self::Audit, Self::Harden, Self::Admin];

    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::Gradient => "gradient",
            Self::Attack => "attack",
            Self::Audit => "audit",
            Self::Harden => "harden",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the file of [`Auth::file`] holds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Contents {
    keys: Vec<ApiKey>,
    certificates: Vec<ClientCertificate>,
    quotas: BTreeMap<String, Quota>,
}

/// A file of `auth.file` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("auth.file {}: {problem}", path.display())]
pub struct AuthFileError {
    path: PathBuf,
    /// What is wrong, where, and what was expected.
    problem: String,
}

impl Auth {
    /// Whether everybody may call everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.keys.is_empty() && self.certificates.is_empty() && self.file.is_none()
    }

    /// With what [`Auth::file`] holds now, if there is one. `watches` is whether near duplicates are counted (`near_duplicates.window`), which quotas of them
    /// need. Blocks.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong.
    pub(crate) fn with_file(&self, watches: bool) -> Result<Self, AuthFileError> {
        let Some(path) = &self.file else { return Ok(self.clone()) };
        let wrong = |problem: String| AuthFileError { path: path.clone(), problem };
        let text = fs::read_to_string(path).map_err(|e| wrong(format!("cannot be read ({e})")))?;
        let Contents { keys, certificates, quotas } =
            toml::from_str(&text).map_err(|e| wrong(e.to_string().trim_end().to_owned()))?;
        let stated = |problem: Problem| {
            let key = problem.key.strip_prefix("auth.").unwrap_or(&problem.key);
            wrong(format!("`{key}` is {}; expected {}", problem.value, problem.expected))
        };
        let own = Self { keys, certificates, quotas, file: None };
        if let Some(problem) = own.problem() {
            return Err(stated(problem));
        }
        let unwatched = |(_, quota): &(&String, &Quota)| quota.near_duplicates_per_minute.is_some() && !watches;
        if let Some((name, _)) = own.quotas.iter().find(unwatched) {
            return Err(wrong(format!(
                "`quotas.{name}.near_duplicates_per_minute` is there; expected near_duplicates.window to be set in the configuration, or nobody counts them"
            )));
        }
        let mut all = self.clone();
        all.keys.extend(own.keys);
        all.certificates.extend(own.certificates);
        for (name, quota) in own.quotas {
            if all.quotas.insert(name.clone(), quota).is_some() {
                return Err(wrong(format!("`quotas.{name}` is in the configuration too; expected it once")));
            }
        }
        // Each is fine by itself: what is left is that one is in both.
        all.problem().map_or(Ok(all), |problem| {
            Err(wrong(format!(
                "with those of the configuration, `{}` is {}; expected {}",
                problem.key, problem.value, problem.expected
            )))
        })
    }

    /// The first thing that is wrong.
    pub(super) fn problem(&self) -> Option<Problem> {
        let keys = || self.keys.iter().enumerate().find_map(|(i, key)| key.problem(i).or_else(|| self.twin(i, key)));
        let certificates = || self.certificates.iter().enumerate().find_map(|(i, certificate)| certificate.problem(i));
        let quotas = || self.quotas.iter().find_map(|(name, quota)| quota.problem(name));
        keys().or_else(certificates).or_else(quotas)
    }

    fn twin(&self, i: usize, key: &ApiKey) -> Option<Problem> {
        let digest = key.digest();
        let twin = self.keys.iter().take(i).position(|other| other.digest() == digest)?;
        let value = format!("the same as auth.keys[{twin}].sha256");
        Some(Problem { key: key_field(i, "sha256"), value, expected: "a key of its own".to_owned() })
    }
}

impl ApiKey {
    /// The digest that `sha256` states; `None`: it states none.
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        digest(&self.sha256)
    }

    fn problem(&self, i: usize) -> Option<Problem> {
        let field = |name: &str| key_field(i, name);
        if let Some(problem) = wrong_name(field("name"), &self.name) {
            return Some(problem);
        }
        if self.digest().is_none() {
            // Not shown: somebody may have put the key itself here.
            let value = format!("a text of {} characters", self.sha256.chars().count());
            let expected = "the 64 hexadecimal digits that `assay-server --hash-key` prints".to_owned();
            return Some(Problem { key: field("sha256"), value, expected });
        }
        no_roles(field("roles"), &self.roles)
    }
}

impl ClientCertificate {
    /// The digest that `sha256` states, if it states one.
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        digest(&self.sha256.as_deref()?.replace(':', ""))
    }

    fn problem(&self, i: usize) -> Option<Problem> {
        let field = |name: &str| format!("auth.certificates[{i}].{name}");
        if let Some(problem) = wrong_name(field("name"), &self.name) {
            return Some(problem);
        }
        let given = [&self.sha256, &self.dns, &self.uri].into_iter().flatten().count();
        if given != 1 || [&self.dns, &self.uri].into_iter().flatten().any(String::is_empty) {
            let (key, value) = (format!("auth.certificates[{i}]"), format!("known by {given} of sha256, dns and uri"));
            return Some(Problem { key, value, expected: "exactly one of them, and not empty".to_owned() });
        }
        if let (Some(sha256), None) = (&self.sha256, self.digest()) {
            let expected = "the 64 hexadecimal digits that `openssl x509 -fingerprint -sha256` prints".to_owned();
            return Some(Problem { key: field("sha256"), value: format!("{sha256:?}"), expected });
        }
        no_roles(field("roles"), &self.roles)
    }
}

impl Quota {
    fn problem(&self, name: &str) -> Option<Problem> {
        let key = |field: &str| format!("auth.quotas.{name}.{field}");
        if let Some(problem) = wrong_name(format!("the name of auth.quotas.{name}"), name) {
            return Some(problem);
        }
        let within = |field: &str, value: Option<u64>, most: u64| {
            let value = value.filter(|value| !(1..=most).contains(value))?;
            Some(Problem { key: key(field), value: value.to_string(), expected: format!("1 to {most}") })
        };
        within("predictions_per_minute", self.predictions_per_minute, LARGEST_QUOTA)
            .or_else(|| within("gradients_per_minute", self.gradients_per_minute, LARGEST_QUOTA))
            .or_else(|| within("evaluations_per_day", self.evaluations_per_day, LARGEST_QUOTA))
            .or_else(|| within("near_duplicates_per_minute", self.near_duplicates_per_minute, LARGEST_QUOTA))
            .or_else(|| within("jobs", self.jobs, 65_536))
    }
}

fn wrong_name(key: String, name: &str) -> Option<Problem> {
    let of_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let fits = (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(of_name);
    let expected = format!("1 to {LONGEST_NAME} letters, digits, `.`, `_` and `-`");
    (!fits).then(|| Problem { key, value: format!("{name:?}"), expected })
}

fn no_roles(key: String, roles: &[Role]) -> Option<Problem> {
    let expected = format!("at least one of {}", Role::ALL.map(Role::name).join(", "));
    roles.is_empty().then(|| Problem { key, value: "empty".to_owned(), expected })
}

fn key_field(i: usize, name: &str) -> String {
    format!("auth.keys[{i}].{name}")
}

/// The 32 bytes of 64 hexadecimal digits.
fn digest(digits: &str) -> Option<[u8; 32]> {
    if digits.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, [high, low]) in digest.iter_mut().zip(digits.as_bytes().as_chunks().0) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(digest)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, sha256: &str, roles: &[Role]) -> ApiKey {
        ApiKey { name: name.to_owned(), sha256: sha256.to_owned(), roles: roles.to_vec(), not_after: None }
    }

    #[track_caller]
    fn refused(keys: &[ApiKey]) -> String {
        let problem = Auth { keys: keys.to_vec(), ..Auth::default() }.problem().expect("a problem");
        format!("{} is {}; expected {}", problem.key, problem.value, problem.expected)
    }

    #[test]
    fn two_keys_may_have_one_name() {
        let keys = vec![key("ci", &"0a".repeat(32), &[Role::Predict]), key("ci", &"0B".repeat(32), &[Role::Predict])];
        assert_eq!(keys[1].digest(), Some([0x0b; 32]));
        assert!(Auth { keys, ..Auth::default() }.problem().is_none());
    }

    #[test]
    fn a_name_is_short_and_plain() {
        let digest = "ab".repeat(32);
        for name in ["", "c i", "ci\n", "ä", &"a".repeat(65)] {
            let message = refused(&[key(name, &digest, &[Role::Predict])]);
            assert!(message.starts_with("auth.keys[0].name is \""), "{message}");
            assert!(message.contains("1 to 64 letters"), "{message}");
        }
        assert!(
            Auth { keys: vec![key(&"a".repeat(64), &digest, &[Role::Predict])], ..Auth::default() }.problem().is_none()
        );
    }

    #[test]
    fn a_digest_that_is_none_is_named_and_not_shown() {
        let fine = key("a", &"ab".repeat(32), &[Role::Predict]);
        for wrong in ["not-a-digest", &"g".repeat(64), &"a".repeat(63), &"+a".repeat(32), &"ä".repeat(32)] {
            let message = refused(&[fine.clone(), key("b", wrong, &[Role::Predict])]);
            let length = wrong.chars().count();
            assert!(message.starts_with(&format!("auth.keys[1].sha256 is a text of {length} char")), "{message}");
            assert!(message.contains("--hash-key") && !message.contains(wrong), "{message}");
        }
    }

    #[test]
    fn a_digest_is_there_once_whatever_its_case() {
        let message = refused(&[
            key("a", &"ab".repeat(32), &[Role::Predict]),
            key("b", &"cd".repeat(32), &[Role::Predict]),
            key("c", &"AB".repeat(32), &[Role::Admin]),
        ]);
        assert_eq!(message, "auth.keys[2].sha256 is the same as auth.keys[0].sha256; expected a key of its own");
    }

    #[test]
    fn a_key_without_a_role_is_refused() {
        let message = refused(&[key("a", &"ab".repeat(32), &[])]);
        assert!(message.starts_with("auth.keys[0].roles is empty; expected at least one of predict, "), "{message}");
    }

    fn certificate(name: &str) -> ClientCertificate {
        ClientCertificate { name: name.to_owned(), roles: vec![Role::Audit], ..ClientCertificate::default() }
    }

    #[track_caller]
    fn certificate_refused(certificate: ClientCertificate) -> String {
        let problem = Auth { certificates: vec![certificate], ..Auth::default() }.problem().expect("a problem");
        format!("{} is {}; expected {}", problem.key, problem.value, problem.expected)
    }

    #[test]
    fn a_certificate_is_known_by_exactly_one_thing() {
        let (none, dns) = (certificate("ci"), Some("ci.example.org".to_owned()));
        let uri = Some("spiffe://example.org/ci".to_owned());
        let both = ClientCertificate { dns: dns.clone(), uri: uri.clone(), ..none.clone() };
        let empty = ClientCertificate { dns: Some(String::new()), ..none.clone() };
        for (wrong, known) in [(none.clone(), 0), (both, 2), (empty, 1)] {
            let message = certificate_refused(wrong);
            assert_eq!(
                message,
                format!(
                    "auth.certificates[0] is known by {known} of sha256, dns and uri; expected exactly one of them, and not empty"
                )
            );
        }
        let message = certificate_refused(ClientCertificate { sha256: Some("ab".to_owned()), ..none.clone() });
        assert!(message.contains("-fingerprint -sha256"), "{message}");
        let fingerprint = vec!["AB"; 32].join(":");
        let good = ClientCertificate { sha256: Some(fingerprint), ..none.clone() };
        assert_eq!(good.digest(), Some([0xab; 32]));
        for good in [good, ClientCertificate { dns, ..none.clone() }, ClientCertificate { uri, ..none }] {
            assert!(Auth { certificates: vec![good], ..Auth::default() }.problem().is_none());
        }
    }

    #[test]
    fn a_quota_of_nothing_is_refused() {
        let quotas = |quota| Auth { quotas: [("ci".to_owned(), quota)].into(), ..Auth::default() };
        let problem = quotas(Quota { jobs: Some(0), ..Quota::default() }).problem().expect("a problem");
        assert_eq!((problem.key.as_str(), problem.expected.as_str()), ("auth.quotas.ci.jobs", "1 to 65536"));
        assert!(quotas(Quota { jobs: Some(1), ..Quota::default() }).problem().is_none());
    }

    fn with_file(auth: &Auth, text: &str) -> Result<Auth, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let auth = Auth { file: Some(file.path().to_owned()), ..auth.clone() };
        let shown = file.path().display().to_string();
        auth.with_file(false).map_err(|e| e.to_string().replace(&shown, "FILE"))
    }

    #[test]
    fn a_file_adds_to_what_the_configuration_has() {
        let auth = Auth { keys: vec![key("a", &"ab".repeat(32), &[Role::Predict])], ..Auth::default() };
        let text = format!(
            "[[keys]]\nname = \"b\"\nsha256 = \"{}\"\nroles = [\"audit\"]\nnot_after = \"2027-01-31T00:00:00Z\"\n\
             [quotas.b]\npredictions_per_minute = 5\n",
            "cd".repeat(32)
        );
        let all = with_file(&auth, &text).unwrap();
        assert_eq!(all.keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(all.keys[1].not_after.unwrap().to_string(), "2027-01-31T00:00:00Z");
        assert_eq!(all.quotas["b"].predictions_per_minute, Some(5));
        assert!(!Auth { file: Some("x".into()), ..Auth::default() }.is_open(), "an empty file opens nothing");
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named_with_its_place() {
        let digest = "ab".repeat(32);
        let auth = Auth { keys: vec![key("a", &digest, &[Role::Predict])], ..Auth::default() };
        let entry = format!("[[keys]]\nname = \"b\"\nsha256 = \"{digest}\"\nroles = [\"audit\"]\n");
        for (text, says) in [
            ("[[keys]\n", "auth.file FILE: TOML parse error at line 1"),
            ("[[keys]]\nname = \"b\"\n", "missing field `sha256`"),
            ("[[keys]]\nname = \"\"\nsha256 = \"x\"\nroles = []\n", "auth.file FILE: `keys[0].name` is \"\""),
            (&format!("{entry}not_after = \"tomorrow\"\n"), "a time in UTC such as"),
            (&entry, "with those of the configuration, `auth.keys[1].sha256` is the same as auth.keys[0].sha256"),
            ("[quotas.b]\njob = 1\n", "unknown field `job`"),
            ("[quotas.b]\nnear_duplicates_per_minute = 9\n", "expected near_duplicates.window to be set"),
        ] {
            let message = with_file(&auth, text).unwrap_err();
            assert!(message.contains(says), "{message}");
        }
        let missing = Auth { file: Some("no/such/file".into()), ..Auth::default() }.with_file(false).unwrap_err();
        assert!(missing.to_string().starts_with("auth.file no/such/file: cannot be read"), "{missing}");
    }
}
