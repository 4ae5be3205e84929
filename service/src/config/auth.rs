//! Who may call: keys and their roles, and what is checked of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::validate::Problem;

/// Characters of the longest name.
const LONGEST_NAME: usize = 64;

/// Who may call the gRPC port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The keys that callers send. Several may have one name, so that a new one is valid beside the old one while its holder changes. Without any,
    /// everybody may call everything. Default none.
    pub keys: Vec<ApiKey>,
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
}

/// What the holder of a key may call. With any role, the catalogue can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// `Predict`.
    Predict,
    /// `Gradient`: white-box access to the models.
    Gradient,
    /// `Attack` and `WeightSurface`.
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

impl Auth {
    /// The first thing that is wrong with the keys.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.keys.iter().enumerate().find_map(|(i, key)| {
            key.problem(i).or_else(|| {
                let digest = key.digest();
                let twin = self.keys.iter().take(i).position(|other| other.digest() == digest)?;
                let value = format!("the same as auth.keys[{twin}].sha256");
                Some(Problem { key: field(i, "sha256"), value, expected: "a key of its own".to_owned() })
            })
        })
    }
}

impl ApiKey {
    /// The digest that `sha256` states; `None`: it states none.
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        let digits = self.sha256.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, [high, low]) in digest.iter_mut().zip(digits.as_chunks().0) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Some(digest)
    }

    fn problem(&self, i: usize) -> Option<Problem> {
        let of_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !(1..=LONGEST_NAME).contains(&self.name.len()) || !self.name.chars().all(of_name) {
            let expected = format!("1 to {LONGEST_NAME} letters, digits, `.`, `_` and `-`");
            return Some(Problem { key: field(i, "name"), value: format!("{:?}", self.name), expected });
        }
        if self.digest().is_none() {
            // Not shown: somebody may have put the key itself here.
            let value = format!("a text of {} characters", self.sha256.chars().count());
            let expected = "the 64 hexadecimal digits that `assay-server --hash-key` prints".to_owned();
            return Some(Problem { key: field(i, "sha256"), value, expected });
        }
        self.roles.is_empty().then(|| Problem {
            key: field(i, "roles"),
            value: "empty".to_owned(),
            expected: format!("at least one of {}", Role::ALL.map(Role::name).join(", ")),
        })
    }
}

fn field(i: usize, name: &str) -> String {
    format!("auth.keys[{i}].{name}")
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, sha256: &str, roles: &[Role]) -> ApiKey {
        ApiKey { name: name.to_owned(), sha256: sha256.to_owned(), roles: roles.to_vec() }
    }

    #[track_caller]
    fn refused(keys: &[ApiKey]) -> String {
        let problem = Auth { keys: keys.to_vec() }.problem().expect("a problem");
        format!("{} is {}; expected {}", problem.key, problem.value, problem.expected)
    }

    #[test]
    fn two_keys_may_have_one_name() {
        let keys = vec![key("ci", &"0a".repeat(32), &[Role::Predict]), key("ci", &"0B".repeat(32), &[Role::Predict])];
        assert_eq!(keys[1].digest(), Some([0x0b; 32]));
        assert!(Auth { keys }.problem().is_none());
    }

    #[test]
    fn a_name_is_short_and_plain() {
        let digest = "ab".repeat(32);
        for name in ["", "c i", "ci\n", "ä", &"a".repeat(65)] {
            let message = refused(&[key(name, &digest, &[Role::Predict])]);
            assert!(message.starts_with("auth.keys[0].name is \""), "{message}");
            assert!(message.contains("1 to 64 letters"), "{message}");
        }
        assert!(Auth { keys: vec![key(&"a".repeat(64), &digest, &[Role::Predict])] }.problem().is_none());
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
}
