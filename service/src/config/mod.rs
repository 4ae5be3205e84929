//! The configuration: every key with its unit, range and default.
//!
//! [`Config::load`] layers, weakest first: the defaults below, TOML files, the environment (`ASSAY__LIMITS__MAX_BATCH=64`)
//! and settings from the command line (`limits.max_batch=64`). Keys are those of the structures below, tables joined by a
//! dot. An unknown key and a value out of range are errors that name key, value, source and what was expected.

mod auth;
mod layers;
mod validate;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

pub use auth::{ApiKey, Auth, AuthFileError, ClientCertificate, Expiry, Quota, Role};
pub use layers::Setting;
pub use validate::ConfigError;

/// Everything that can be set. Relative paths are relative to the working directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of the model repository, `MODELS/<name>/<version>/model.onnx`. Default `models`.
    pub models: PathBuf,
    /// The gRPC port.
    pub grpc: Grpc,
    /// The admin port.
    pub admin: Admin,
    /// Who may call the gRPC port.
    pub auth: Auth,
    /// How models are run.
    pub runtime: Runtime,
    /// How small batches become runs.
    pub batching: Batching,
    /// Answers that are kept.
    pub cache: Cache,
    /// Samples that are nearly what a caller sent before.
    pub near_duplicates: NearDuplicates,
    /// What one request may ask for.
    pub limits: Limits,
    /// The gradient oracle.
    pub gradient: Gradient,
    /// Audits.
    pub audits: Audits,
    /// Training.
    pub harden: Harden,
    /// How much runs at once.
    pub concurrency: Concurrency,
    /// When the server is ready.
    pub readiness: Readiness,
    /// How the server stops.
    pub shutdown: Shutdown,
    /// What is logged.
    pub log: Log,
    /// Where traces of calls are sent.
    pub traces: Traces,
    /// Files that are read again while the server runs.
    pub reload: Reload,
    /// Data sets that audits can name: name = file or folder. Default none.
    pub datasets: BTreeMap<String, PathBuf>,
}

/// The gRPC port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grpc {
    /// Address and port; port 0 takes a free one. Default `127.0.0.1:8081`: reachable from this machine only.
    pub listen: SocketAddr,
    /// Origins of pages in browsers that may call by gRPC-Web, such as `https://example.org`; `*`: any. Default none: gRPC-Web is not spoken.
    pub web_origins: Vec<String>,
    /// TLS on this port. The admin port has none. Unset: plain text, which everybody between here and the caller can read. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// TLS on the gRPC port, version 1.2 or 1.3. The files are read again when they change (`reload`): new connections get what is new.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the server's certificate, and behind it those between it and its authority. No default.
    pub certificate: PathBuf,
    /// PEM file with the key of the certificate, without a passphrase. No default.
    pub key: PathBuf,
    /// PEM file with the authorities of clients' certificates: where it is set, who has no certificate of one of them cannot connect. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// The admin port: `/metrics`, `/livez`, `/readyz`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Address and port; port 0 takes a free one. Default `127.0.0.1:8082`.
    pub listen: SocketAddr,
}

/// How models are run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// The ONNX Runtime library; unset: `ORT_DYLIB_PATH`, then the usual places. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<PathBuf>,
    /// Execution provider: `cpu`, `cuda` or `cuda:<device>`. Default `cpu`.
    pub provider: String,
    /// Whether a provider that is not available is replaced by `cpu` (with a warning) instead of being an error. Default false.
    pub fallback: bool,
    /// Threads of one session, 1 to 1024; unset: the processors divided by `sessions`, and 1 on a GPU. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Sessions of one model, that is, batches it evaluates at once, 1 to 256; each has its copy of the weights. Default 2.
    pub sessions: usize,
    /// Samples of one run of a session, 1 to 65536; larger batches are split. Default 64.
    pub batch: usize,
    /// Bytes that one session may have in use, its own copies of weights included, 1048576 (1 MiB) to 1125899906842624 (1 PiB). Batches that need
    /// more are split; a model of which one sample needs more is not loaded, and a gradient of which one does is refused.
    /// Each model has `sessions` sessions for the forward pass and as many for each loss that is asked for; for batches of
    /// gradients of a model with at most 32 MiB of weights, as many as `sessions` times `threads`. On a GPU a model with at most 256 MiB of
    /// weights has them for `batch` samples, for a quarter of them, and so on down to 1. Unset: what `batch` samples take.
    /// Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Whether gradients, attacks, audits and training give way to predictions: they compute on threads of a higher niceness, and what they ask of a model without its gradient in
    /// `sessions` sessions of their own, opened when they are first needed. Default true.
    pub background: bool,
}

/// How small batches of many callers become runs. A session that is free takes all that waits, as far as it fits `runtime.batch`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batching {
    /// Microseconds that a batch may wait for others to fill its run, 0 to 1000000 (a second). Default 0: it waits for a session only.
    pub delay_microseconds: u64,
    /// Sizes that runs are filled up to, each 1 to 65536, with copies whose results are thrown away; those beyond `runtime.batch` are that. With one, all runs have that size, so that a
    /// sample's result cannot depend on what else was asked at the same time. Default none: no run is filled up (on a GPU, those of small models are, to
    /// a few sizes).
    pub buckets: Vec<usize>,
}

/// Answers that are kept, so that a batch which was asked before, to the bit, is answered without the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Bytes of all answers together, 0 to 1099511627776 (1 TiB); 0: none are kept. An answer takes 4 bytes a logit and some 128 more. Default 0.
    pub bytes: u64,
}

/// The watch for samples that are nearly what their caller sent before: for attacks from outside. They are counted in `assay_near_duplicates_total`, and limited by
/// `auth.quotas.NAME.near_duplicates_per_minute`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NearDuplicates {
    /// Samples of a caller to a model that new ones are compared with, 0 to 1000000; 0: there is no watch. Each takes some 4 KiB. Default 0.
    pub window: usize,
}

/// What one request may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one gRPC message, in and out, 1024 to 2147483647. Default 67108864 (64 MiB).
    pub max_message_bytes: usize,
    /// Samples of one Predict, Attack or Certify, 1 to 1048576. Default 1024.
    pub max_batch: usize,
    /// Samples of one Gradient, 1 to 1048576; fewer where the answer would not fit `max_message_bytes`. Default 256.
    pub max_gradient_batch: usize,
    /// Model evaluations that the attacks of one request may plan for one sample, 1 to 1000000000. Default 100000.
    pub max_steps: u64,
    /// Samples of one audit, 1 to 100000000. Default 100000.
    pub max_audit_samples: usize,
    /// Deadline in seconds of a request that sends none, more than 0 and at most `max_deadline_seconds`. Default 600.
    pub default_deadline_seconds: f64,
    /// Longest deadline in seconds; a longer one is shortened to it. More than 0, at most 2592000 (30 days). Default 86400.
    pub max_deadline_seconds: f64,
}

/// The gradient oracle, `Gradient`: it answers with derivatives of the models, so whoever may call it has white-box access.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gradient {
    /// Whether it is offered; with false its calls are `UNIMPLEMENTED`. Default true.
    pub enabled: bool,
}

/// Audits, which are jobs that need nobody to wait for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audits {
    /// Folder of the audits and of the samples that were uploaded for them, of one server at a time: what is not finished goes on from there when the
    /// server starts again. Unset: they are in memory and in a temporary folder, and end with the server. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
    /// Audits that may wait for a place (`concurrency.jobs`), 1 to 4096. Default 64.
    pub queue: usize,
    /// Audits that have ended are kept so many days, more than 0 and at most 36500. Default 30.
    pub keep_days: f64,
    /// The most audits that have ended that are kept, 1 to 1000000; the oldest go first. Default 1000.
    pub keep: usize,
    /// Bytes of the samples that are uploaded for one audit, 1024 to 2147483647. Default 1073741824 (1 GiB).
    pub max_upload_bytes: u64,
    /// Bytes of all uploaded samples, 1024 to 1125899906842624 (1 PiB). Default 17179869184 (16 GiB).
    pub max_data_bytes: u64,
}

/// Training, `Harden`: it writes into the folder `models`, and is off unless `state` is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Harden {
    /// Folder of the jobs, of one server at a time: what is not finished goes on from there when the server starts again. Unset: `Harden` is
    /// `UNIMPLEMENTED`. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
    /// Folder of the training data, needed with `state`: paths in recipes are relative to it. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Whether paths in recipes stay in `data`: with false, whoever may call reads what the server may. Default true.
    pub confine: bool,
    /// Threads that a job computes with, 1 to 1024. Default 1.
    pub threads: usize,
    /// Jobs that may wait for the one that runs, 1 to 4096. Default 16.
    pub jobs: usize,
}

/// How much runs at once. Work beyond it is refused with `RESOURCE_EXHAUSTED`, not queued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    /// Samples of Predict requests, 1 to 1048576; a request with more is let in when there is no other. Default 1024.
    pub predictions: usize,
    /// Gradient requests, 1 to 512: each holds a thread while it runs. Default 16.
    pub gradients: usize,
    /// Attack requests and audits together, 1 to 4096: their own permits, so that they cannot starve Predict. Audits beyond them wait, and leave one place to
    /// attacks where there are two. Default 4.
    pub jobs: usize,
}

/// When the server is ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readiness {
    /// Whether a model that failed to load keeps the server from being ready. Default false: what loaded is served, and
    /// the failed model is listed with its reason; with true a rollout of a broken model does not take traffic.
    pub require_all_models: bool,
}

/// How the server stops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// Seconds that running requests have to finish after the first signal, 0 to 86400; then they are cancelled. Default 30.
    pub drain_seconds: f64,
}

/// Files that are read again while the server runs: those of `grpc.tls`, `auth.file` and, if that is wanted, the models. SIGHUP has them read at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// Seconds between two looks at them, 0.1 to 3600. Default 5.
    pub interval_seconds: f64,
    /// Whether the folder `models` is looked at too: what is new or has changed there is hosted once it is written, in the place of what there was, and what is gone
    /// is taken out of service. With false, RepositoryModelLoad and RepositoryModelUnload do that, and `Harden`. Default false.
    pub models: bool,
}

/// What is logged, to standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// One JSON object a line, or text. Default `text`.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,assay_server=debug`. ONNX Runtime's binding
    /// (`ort`) is at `warn` unless it is named. Default `info`.
    pub level: String,
    /// File that gets one JSON object for each finished call, whatever `format` and `level` are: who called what on which model, when, how long and
    /// how it ended; `-` is standard output. It is appended to, and those who rotate it have to copy and truncate it. Unset: calls are in the log
    /// only. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<PathBuf>,
}

/// Traces of calls, in OpenTelemetry's form. A call whose caller sends the header `traceparent` (W3C Trace Context) is part of that trace, and is sent if the caller
/// says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// Address of a collector that takes OTLP over gRPC, such as `http://127.0.0.1:4317`. Unset: no traces. Default unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Share of the calls without a `traceparent` that are sent, 0 to 1. Default 1.
    pub ratio: f64,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Default for Config {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            models: PathBuf::from("models"),
            grpc: Grpc { listen: local(8081), web_origins: Vec::new(), tls: None },
            admin: Admin { listen: local(8082) },
            auth: Auth::default(),
            runtime: Runtime {
                library: None,
                provider: "cpu".to_owned(),
                fallback: false,
                threads: None,
                sessions: 2,
                batch: 64,
                memory_bytes: None,
                background: true,
            },
            batching: Batching { delay_microseconds: 0, buckets: Vec::new() },
            cache: Cache { bytes: 0 },
            near_duplicates: NearDuplicates { window: 0 },
            limits: Limits {
                max_message_bytes: 64 << 20,
                max_batch: 1024,
                max_gradient_batch: 256,
                max_steps: 100_000,
                max_audit_samples: 100_000,
                default_deadline_seconds: 600.0,
                max_deadline_seconds: 86_400.0,
            },
            gradient: Gradient { enabled: true },
            audits: Audits {
                state: None,
                queue: 64,
                keep_days: 30.0,
                keep: 1000,
                max_upload_bytes: 1 << 30,
                max_data_bytes: 16 << 30,
            },
            harden: Harden { state: None, data: None, confine: true, threads: 1, jobs: 16 },
            concurrency: Concurrency { predictions: 1024, gradients: 16, jobs: 4 },
            readiness: Readiness { require_all_models: false },
            shutdown: Shutdown { drain_seconds: 30.0 },
            log: Log { format: LogFormat::Text, level: "info".to_owned(), calls: None },
            traces: Traces { endpoint: None, ratio: 1.0 },
            reload: Reload { interval_seconds: 5.0, models: false },
            datasets: BTreeMap::new(),
        }
    }
}

impl Config {
    /// The configuration in force, in TOML, without anything that could help to guess a key.
    ///
    /// # Errors
    /// It cannot be written as TOML, which the rules for its keys exclude.
    pub fn shown(&self) -> Result<String, ConfigError> {
        let mut shown = self.clone();
        for key in &mut shown.auth.keys {
            key.sha256.truncate(8);
            key.sha256.push('…');
        }
        toml::to_string(&shown).map_err(|e| ConfigError::Malformed(e.to_string()))
    }
}

impl Limits {
    /// Deadline of a request that sends none.
    #[must_use]
    pub fn default_deadline(&self) -> Duration {
        seconds(self.default_deadline_seconds)
    }

    /// Longest deadline.
    #[must_use]
    pub fn max_deadline(&self) -> Duration {
        seconds(self.max_deadline_seconds)
    }
}

impl Shutdown {
    /// Time that running requests have to finish.
    #[must_use]
    pub fn drain(&self) -> Duration {
        seconds(self.drain_seconds)
    }
}

impl Reload {
    /// Time between two looks.
    #[must_use]
    pub fn interval(&self) -> Duration {
        seconds(self.interval_seconds)
    }
}

/// Validated values are finite and not negative; anything else is no time at all.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}
