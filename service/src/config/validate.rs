//! The ranges of the configuration, and the errors that name what is out of them.

use std::{fmt::Display, path::PathBuf};

use assay_runtime::Provider;

use super::{Config, Harden};

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {}: {reason}; give an existing TOML file with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A source is not well formed.
    #[error("configuration: {0}")]
    Malformed(String),
    /// A key that does not exist.
    #[error("configuration: unknown key `{key}` from {origin}; expected one of {known}{hint}")]
    UnknownKey {
        /// The key, tables joined by a dot.
        key: String,
        /// Where it was set.
        origin: String,
        /// The keys there are.
        known: String,
        /// The nearest one, if any.
        hint: String,
    },
    /// A value that its key does not take.
    #[error("configuration: `{key}` is {value} from {origin}; expected {expected}")]
    Value {
        /// The key, tables joined by a dot.
        key: String,
        /// The value.
        value: String,
        /// Where it was set.
        origin: String,
        /// What the key takes.
        expected: String,
    },
}

/// A value out of its range.
pub(super) struct Problem {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) expected: String,
}

impl Config {
    /// Checks every range; [`Config::load`] has done it already.
    ///
    /// # Errors
    /// The first value out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.problem().map_or(Ok(()), |Problem { key, value, expected }| {
            Err(ConfigError::Value { key, value, origin: "the program".to_owned(), expected })
        })
    }

    /// The first value out of its range.
    pub(super) fn problem(&self) -> Option<Problem> {
        let limits = &self.limits;
        let longest = limits.max_deadline_seconds;
        [
            self.auth.problem(),
            no_authority(self),
            provider(&self.runtime.provider),
            self.runtime.threads.and_then(|threads| within("runtime.threads", threads, 1, 1024)),
            within("runtime.sessions", self.runtime.sessions, 1, 256),
            within("runtime.batch", self.runtime.batch, 1, 65_536),
            self.runtime.memory_bytes.and_then(|bytes| within("runtime.memory_bytes", bytes, 1 << 20, 1 << 50)),
            within("batching.delay_microseconds", self.batching.delay_microseconds, 0, 1_000_000),
            self.batching.buckets.iter().find_map(|&size| within("batching.buckets", size, 1, 65_536)),
            within("cache.bytes", self.cache.bytes, 0, 1 << 40),
            within("near_duplicates.window", self.near_duplicates.window, 0, 1_000_000),
            no_watch(self),
            within("limits.max_message_bytes", limits.max_message_bytes, 1024, i32::MAX as usize),
            within("limits.max_batch", limits.max_batch, 1, 1 << 20),
            within("limits.max_gradient_batch", limits.max_gradient_batch, 1, 1 << 20),
            within("limits.max_steps", limits.max_steps, 1, 1_000_000_000),
            within("limits.max_audit_samples", limits.max_audit_samples, 1, 100_000_000),
            duration("limits.max_deadline_seconds", longest, 2_592_000.0),
            duration("limits.default_deadline_seconds", limits.default_deadline_seconds, longest),
            within("audits.queue", self.audits.queue, 1, 4096),
            span("audits.keep_days", "days", self.audits.keep_days, 36_500.0),
            within("audits.keep", self.audits.keep, 1, 1_000_000),
            within("audits.max_upload_bytes", self.audits.max_upload_bytes, 1024, i32::MAX as u64),
            within("audits.max_data_bytes", self.audits.max_data_bytes, 1024, 1 << 50),
            within("harden.threads", self.harden.threads, 1, 1024),
            within("harden.jobs", self.harden.jobs, 1, 4096),
            no_data(&self.harden),
            within("concurrency.predictions", self.concurrency.predictions, 1, 1 << 20),
            within("concurrency.gradients", self.concurrency.gradients, 1, 512),
            within("concurrency.jobs", self.concurrency.jobs, 1, 4096),
            within("reload.interval_seconds", self.reload.interval_seconds, 0.1, 3600.0),
            within("shutdown.drain_seconds", self.shutdown.drain_seconds, 0.0, 86_400.0),
            within("traces.ratio", self.traces.ratio, 0.0, 1.0),
            self.grpc.web_origins.iter().find_map(|origin| no_origin(origin)),
            log_level(&self.log.level),
        ]
        .into_iter()
        .flatten()
        .next()
    }
}

fn provider(name: &str) -> Option<Problem> {
    name.parse::<Provider>().err().map(|_| Problem {
        key: "runtime.provider".to_owned(),
        value: format!("{name:?}"),
        expected: "cpu, cuda or cuda:<device>".to_owned(),
    })
}

fn no_authority(config: &Config) -> Option<Problem> {
    let asks = config.grpc.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    (!asks && !config.auth.certificates.is_empty()).then(|| Problem {
        key: "grpc.tls.client_ca".to_owned(),
        value: "unset".to_owned(),
        expected: "the file of the clients' authorities, because there are auth.certificates".to_owned(),
    })
}

/// Browsers send an origin without a path, and compare it letter by letter.
fn no_origin(origin: &str) -> Option<Problem> {
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let fits = host.is_some_and(|host| !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/'));
    (!fits && origin != "*").then(|| Problem {
        key: "grpc.web_origins".to_owned(),
        value: format!("{origin:?}"),
        expected: "http://HOST or https://HOST, with :PORT if it is not the usual one and nothing behind it; or *"
            .to_owned(),
    })
}

fn no_watch(config: &Config) -> Option<Problem> {
    let limited = config.auth.quotas.values().any(|quota| quota.near_duplicates_per_minute.is_some());
    (limited && config.near_duplicates.window == 0).then(|| Problem {
        key: "near_duplicates.window".to_owned(),
        value: "0".to_owned(),
        expected: "1 to 1000000, because a quota limits near_duplicates_per_minute".to_owned(),
    })
}

fn no_data(harden: &Harden) -> Option<Problem> {
    (harden.state.is_some() && harden.data.is_none()).then(|| Problem {
        key: "harden.data".to_owned(),
        value: "unset".to_owned(),
        expected: "the folder of the training data, because harden.state is set".to_owned(),
    })
}

fn within<T: PartialOrd + Display + Copy>(key: &'static str, value: T, low: T, high: T) -> Option<Problem> {
    let fits = low <= value && value <= high;
    (!fits).then(|| Problem { key: key.to_owned(), value: value.to_string(), expected: format!("{low} to {high}") })
}

fn duration(key: &'static str, value: f64, longest: f64) -> Option<Problem> {
    span(key, "seconds", value, longest)
}

fn span(key: &'static str, unit: &str, value: f64, longest: f64) -> Option<Problem> {
    let fits = value > 0.0 && value <= longest;
    (!fits).then(|| Problem {
        key: key.to_owned(),
        value: value.to_string(),
        expected: format!("{unit}, more than 0 and at most {longest}"),
    })
}

fn log_level(level: &str) -> Option<Problem> {
    tracing_subscriber::EnvFilter::try_new(level).err().map(|e| Problem {
        key: "log.level".to_owned(),
        value: format!("\"{level}\""),
        expected: format!("error, warn, info, debug, trace or directives such as info,assay_server=debug ({e})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn a_default_deadline_beyond_the_longest_is_named() {
        let mut config = Config::default();
        config.limits.max_deadline_seconds = 5.0;
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains("`limits.default_deadline_seconds` is 600 from the program"), "{message}");
        assert!(message.contains("at most 5"), "{message}");
    }

    #[test]
    fn a_memory_limit_is_bytes_and_not_megabytes() {
        let mut config = Config::default();
        config.runtime.memory_bytes = Some(512);
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains("`runtime.memory_bytes` is 512 from the program; expected 1048576 to"), "{message}");
        config.runtime.memory_bytes = Some(512 << 20);
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn training_needs_its_data() {
        let mut config = Config::default();
        config.harden.state = Some(PathBuf::from("state"));
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains("`harden.data` is unset"), "{message}");
        config.harden.data = Some(PathBuf::from("data"));
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn days_are_named_as_days() {
        let mut config = Config::default();
        config.audits.keep_days = 0.0;
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains("`audits.keep_days` is 0 from the program; expected days, more than 0"), "{message}");
    }

    #[test]
    fn a_value_that_is_not_a_number_is_out_of_every_range() {
        let mut config = Config::default();
        config.shutdown.drain_seconds = f64::NAN;
        assert!(config.validate().unwrap_err().to_string().contains("shutdown.drain_seconds"));
    }
}
