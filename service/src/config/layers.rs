//! Layers of the configuration: defaults, file, environment, command line.

use std::{path::PathBuf, str::FromStr};

use figment::{
    Figment, Provider,
    error::Kind,
    providers::{Env, Format, Serialized, Toml},
    value::{Dict, Map, Value},
};

use super::{Config, ConfigError};
use crate::nearest::hint;

/// A key and its value, as given on the command line: `limits.max_batch=64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    key: String,
    value: Value,
}

impl Setting {
    /// A value of any type for a key.
    #[must_use]
    pub fn new(key: &str, value: &str) -> Self {
        // The text rule of environment variables: numbers, booleans, arrays and tables as in TOML, else a string.
        let value = value.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
        Self { key: key.to_owned(), value }
    }
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok(Self::new(key.trim(), value.trim())),
            _ => Err(format!("expected KEY=VALUE such as limits.max_batch=64, got {text:?}")),
        }
    }
}

impl Config {
    /// The defaults, overridden by each of `files` in turn, overridden by the environment (`ASSAY__A__B`), overridden by `settings`. Tables are
    /// merged; a list replaces the one before.
    ///
    /// # Errors
    /// A file cannot be read or is not TOML, a key does not exist, or a value is not one that its key takes.
    pub fn load(files: &[PathBuf], settings: &[Setting]) -> Result<Self, ConfigError> {
        let mut layers = Figment::from(Defaults);
        for path in files {
            // Read here, because figment takes a missing file for an empty one.
            let text = std::fs::read_to_string(path)
                .map_err(|e| ConfigError::Unreadable { path: path.to_owned(), reason: e.to_string() })?;
            toml::from_str::<toml::Table>(&text)
                .map_err(|e| ConfigError::Malformed(format!("file {}: {e}", path.display())))?;
            layers = layers.merge(Toml::file_exact(path));
        }
        layers = layers.merge(Env::prefixed("ASSAY__").split("__"));
        for Setting { key, value } in settings {
            layers = layers.merge(CommandLine(Serialized::default(key, value)));
        }
        let config: Self = layers.extract().map_err(|e| explain(&layers, &e))?;
        match config.problem() {
            None => Ok(config),
            Some(problem) => Err(ConfigError::Value {
                origin: origin(&layers, &problem.key),
                key: problem.key,
                value: problem.value,
                expected: problem.expected,
            }),
        }
    }
}

/// The compiled-in defaults, under a name that messages can use.
struct Defaults;

impl Provider for Defaults {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named("the defaults")
    }

    fn data(&self) -> Result<Map<figment::Profile, Dict>, figment::Error> {
        Serialized::defaults(Config::default()).data()
    }
}

/// One setting of the command line.
struct CommandLine<T>(Serialized<T>);

impl<T: serde::Serialize> Provider for CommandLine<T> {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named("the command line")
    }

    fn data(&self) -> Result<Map<figment::Profile, Dict>, figment::Error> {
        self.0.data()
    }
}

fn explain(layers: &Figment, error: &figment::Error) -> ConfigError {
    let key = error.path.iter().fold(String::new(), |table, name| join(&table, name));
    let (value, expected) = match &error.kind {
        Kind::UnknownField(name, known) => {
            let key = if error.path.last() == Some(name) { key } else { join(&key, name) };
            return ConfigError::UnknownKey {
                origin: origin(layers, &key),
                known: known.join(", "),
                hint: hint(name, known.iter().copied()),
                key,
            };
        }
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            (actual.to_string(), expected.clone())
        }
        Kind::UnknownVariant(name, known) => {
            let hint = hint(name, known.iter().copied());
            (format!("\"{name}\""), format!("one of {}{hint}", known.join(", ")))
        }
        Kind::MissingField(name) => {
            let (origin, key) = (origin(layers, &key), join(&key, name));
            return ConfigError::Value { key, value: "missing".to_owned(), origin, expected: "a value".to_owned() };
        }
        other => (shown(layers, &key), other.to_string()),
    };
    ConfigError::Value { origin: origin(layers, &key), key, value, expected }
}

/// The path of a name in a table, or of a number in a list.
fn join(table: &str, name: &str) -> String {
    if table.is_empty() {
        name.to_owned()
    } else if name.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("{table}[{name}]")
    } else {
        format!("{table}.{name}")
    }
}

fn shown(layers: &Figment, key: &str) -> String {
    match layers.find_value(key) {
        Ok(Value::String(_, text)) => format!("{text:?}"),
        Ok(Value::Num(_, number)) => number.to_actual().to_string(),
        Ok(Value::Bool(_, truth)) => truth.to_string(),
        _ => "a value of another type".to_owned(),
    }
}

/// Where a key was set last, in words. What stands in a list was set with it.
fn origin(layers: &Figment, key: &str) -> String {
    let key = key.split('[').next().unwrap_or(key);
    let Some(metadata) = layers.find_metadata(key) else { return "the configuration".to_owned() };
    if metadata.name.contains("environment") {
        return format!("the environment variable ASSAY__{}", key.replace('.', "__").to_uppercase());
    }
    match &metadata.source {
        Some(source) => format!("{source}"),
        None => metadata.name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::config::{LogFormat, Role};

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[track_caller]
    fn refused(text: &str, settings: &[Setting]) -> String {
        let file = file(text);
        Config::load(&[file.path().to_owned()], settings).unwrap_err().to_string()
    }

    #[test]
    fn without_sources_it_is_the_defaults() {
        assert_eq!(Config::load(&[], &[]), Ok(Config::default()));
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file =
            file("[limits]\nmax_batch = 7\nmax_steps = 9\n[log]\nformat = \"json\"\n[datasets]\nsmall = \"d/s\"\n");
        let config = Config::load(&[file.path().to_owned()], &["limits.max_batch=8".parse().unwrap()]).unwrap();
        assert_eq!((config.limits.max_batch, config.limits.max_steps), (8, 9));
        assert_eq!(config.log.format, LogFormat::Json);
        assert_eq!(config.datasets["small"], Path::new("d/s"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_nearest() {
        let message = refused("[limits]\nmax_bach = 7\n", &[]);
        assert!(message.contains("unknown key `limits.max_bach`"), "{message}");
        assert!(message.contains("max_batch"), "{message}");
        assert!(message.contains("did you mean"), "{message}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_with_its_source() {
        let message = refused("[limits]\nmax_batch = \"many\"\n", &[]);
        assert!(message.contains("`limits.max_batch` is string \"many\""), "{message}");
        assert!(message.contains(".tmp") || message.contains("file"), "{message}");
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_source() {
        let message = refused("", &["limits.max_batch=0".parse().unwrap()]);
        assert_eq!(message, "configuration: `limits.max_batch` is 0 from the command line; expected 1 to 1048576");
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        let message = refused("[grpc]\nlisten = \"here\"\n", &[]);
        assert!(message.contains("`grpc.listen` is \"here\""), "{message}");
        assert!(message.contains("socket address"), "{message}");
    }

    #[test]
    fn a_file_that_is_not_toml_is_shown_with_its_line() {
        let message = refused("[limits\n", &[]);
        assert!(message.contains("line 1"), "{message}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = Config::load(&["no/such.toml".into()], &[]).unwrap_err().to_string();
        assert!(message.contains("no/such.toml") && message.contains("--config"), "{message}");
    }

    #[test]
    fn a_later_file_wins() {
        let digest = "ab".repeat(32);
        let first = file("[limits]\nmax_batch = 7\nmax_steps = 9\n[auth]\nkeys = []\n");
        let keys = format!(
            "[limits]\nmax_batch = 8\n[[auth.keys]]\nname = \"ci\"\nsha256 = \"{digest}\"\nroles = [\"predict\"]\n"
        );
        let second = file(&keys);
        let config = Config::load(&[first.path().to_owned(), second.path().to_owned()], &[]).unwrap();
        assert_eq!((config.limits.max_batch, config.limits.max_steps), (8, 9));
        assert_eq!(config.auth.keys[0].roles, [Role::Predict]);
    }

    #[test]
    fn keys_are_a_list_in_a_setting_too() {
        let digest = "ab".repeat(32);
        let setting = format!("auth.keys=[{{name = \"ci\", sha256 = \"{digest}\", roles = [\"predict\", \"audit\"]}}]");
        let config = Config::load(&[], &[setting.parse().unwrap()]).unwrap();
        assert_eq!(config.auth.keys[0].name, "ci");
        assert_eq!(config.auth.keys[0].roles, [Role::Predict, Role::Audit]);
    }

    #[test]
    fn a_role_that_is_none_is_named_with_its_nearest() {
        let digest = "ab".repeat(32);
        let keys = format!("[[auth.keys]]\nname = \"ci\"\nsha256 = \"{digest}\"\nroles = [\"audit\", \"predcit\"]\n");
        let message = refused(&keys, &[]);
        assert!(message.contains("`auth.keys[0].roles[1]` is \"predcit\" from "), "{message}");
        assert!(message.contains("expected one of predict, gradient, attack, audit, harden, admin"), "{message}");
        assert!(message.ends_with("; did you mean `predict`?"), "{message}");
    }

    #[test]
    fn what_is_missing_or_too_much_in_a_key_is_named() {
        let message = refused("[[auth.keys]]\nname = \"ci\"\nroles = [\"audit\"]\n", &[]);
        assert!(message.contains("`auth.keys[0].sha256` is missing from ") && message.contains(".tmp"), "{message}");
        let message = refused("[[auth.keys]]\nname = \"ci\"\nrole = [\"audit\"]\n", &[]);
        assert!(message.contains("unknown key `auth.keys[0].role` from "), "{message}");
        assert!(message.contains("did you mean `roles`"), "{message}");
    }

    #[test]
    fn a_digest_that_is_none_is_named_with_its_source() {
        let setting = "auth.keys=[{name = ci, sha256 = abc, roles = [admin]}]".parse().unwrap();
        let message = refused("", &[setting]);
        assert!(message.contains("`auth.keys[0].sha256` is a text of 3 characters from the command line"), "{message}");
    }
}
