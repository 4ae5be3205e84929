//! The way to whoever evaluates: a server, or a repository hosted in this process.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use assay_proto::v1::assay_client::AssayClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::args::{Args, Output, Target};
use crate::commands::Session;
use crate::credentials::Credentials;
use crate::error::{ClientError, root_cause};
use crate::tls::{self, Trust};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a server that is at work on a call is asked whether it is there, and how long it has to answer: a machine that lost its power or its network
/// closes no connection.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Largest answer accepted: a report with pictures has a few MiB.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// The stub of the server, whose calls carry the key.
pub(crate) type Client = AssayClient<InterceptedService<Channel, Credentials>>;

/// A connection that is closed in order.
pub(crate) struct Connection {
    channel: Channel,
    credentials: Credentials,
    /// For the servers of other models.
    trust: Trust,
    #[cfg(feature = "embedded")]
    embedded: Option<assay_server::Embedded>,
}

/// What a repository that is hosted here does besides answering.
#[cfg_attr(not(feature = "embedded"), expect(dead_code, reason = "this build hosts none"))]
pub(crate) enum Jobs {
    Training(Training),
    /// Audits, with the folder of their jobs.
    Audits(PathBuf),
}

/// How a repository that is hosted here trains.
#[cfg_attr(not(feature = "embedded"), expect(dead_code, reason = "this build hosts none"))]
pub(crate) struct Training {
    /// Folder of its jobs.
    pub(crate) state: PathBuf,
    /// The folder that paths in recipes are relative to.
    pub(crate) data: PathBuf,
    /// `None`: as many as there are processors.
    pub(crate) threads: Option<NonZeroUsize>,
}

impl Connection {
    /// Connects; a repository that is hosted here has the jobs that it is told of.
    #[cfg_attr(not(feature = "embedded"), expect(unused_variables, reason = "this build hosts none"))]
    pub(crate) async fn open(target: &Target, jobs: Option<&Jobs>) -> Result<Self, ClientError> {
        match &target.embed {
            #[cfg(feature = "embedded")]
            Some(folder) => {
                let mut config = assay_server::Config { models: folder.clone(), ..assay_server::Config::default() };
                // Whoever calls is who started this process.
                config.harden.confine = false;
                config.audits.max_upload_bytes = i32::MAX as u64;
                match jobs {
                    Some(Jobs::Training(training)) => {
                        config.harden.state = Some(training.state.clone());
                        config.harden.data = Some(training.data.clone());
                        let threads = training.threads.or_else(|| std::thread::available_parallelism().ok());
                        config.harden.threads = threads.map_or(1, NonZeroUsize::get);
                    }
                    Some(Jobs::Audits(state)) => config.audits.state = Some(state.clone()),
                    None => {}
                }
                let embedded = assay_server::embed(config).await.map_err(|error| match error {
                    assay_server::ServerError::Repository { path, reason } => ClientError::Usage(format!(
                        "--embed {}: {reason}; expected a folder of models, each NAME/VERSION/model.onnx",
                        path.display()
                    )),
                    assay_server::ServerError::Config(assay_server::ConfigError::Value { key, value, expected, .. })
                        if key == "audits.state" =>
                    {
                        ClientError::Environment(format!("{value}: expected {expected}; name another folder with --state"))
                    }
                    other => ClientError::Environment(other.to_string()),
                })?;
                Ok(Self {
                    channel: embedded.channel(),
                    credentials: Credentials::none(),
                    trust: Trust::of(target),
                    embedded: Some(embedded),
                })
            }
            #[cfg(not(feature = "embedded"))]
            Some(_) => Err(ClientError::Usage(
                "--embed is not in this build; build assay with the feature \"embedded\", or name a server with --server".into(),
            )),
            None => Self::to(&target.server, target).await,
        }
    }

    /// Connects to the server at this address, with the credentials that the command line names.
    pub(crate) async fn to(address: &str, target: &Target) -> Result<Self, ClientError> {
        let (credentials, trust) = (Credentials::of(target)?, Trust::of(target));
        if !target.plain_text_key {
            credentials.must_not_be_read(address)?;
        }
        Ok(Self {
            channel: dial(address, &trust).await?,
            credentials,
            trust,
            #[cfg(feature = "embedded")]
            embedded: None,
        })
    }

    fn client(&self) -> Client {
        AssayClient::with_interceptor(self.channel.clone(), self.credentials.clone())
            .max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// What commands work with.
    pub(crate) fn session(&self, args: &Args) -> Session {
        self.session_of(args.output, args.timeout)
    }

    pub(crate) fn session_of(&self, output: Output, timeout: Option<Duration>) -> Session {
        Session { client: self.client(), trust: self.trust.clone(), output, timeout }
    }

    pub(crate) async fn close(self) {
        #[cfg(feature = "embedded")]
        if let Some(embedded) = self.embedded {
            drop(self.channel);
            embedded.shutdown().await;
        }
    }
}

/// Connects to `http://HOST:PORT`, or `HOST:PORT`; with TLS to `https://HOST:PORT`.
pub(crate) async fn dial(address: &str, trust: &Trust) -> Result<Channel, ClientError> {
    const EXPECTED: &str = "expected http://HOST:PORT, or https://HOST:PORT for TLS";
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(url)
        .map_err(|error| ClientError::Usage(format!("server {address}: {error}; {EXPECTED}")))?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let endpoint = match endpoint.uri().scheme_str() {
        Some("http") => endpoint,
        Some("https") => trust.secure(endpoint)?,
        _ => return Err(ClientError::Usage(format!("server {address}: {EXPECTED}"))),
    };
    endpoint.connect().await.map_err(|error| match tls::problem(&error) {
        Some(problem) => ClientError::Insecure { address: address.to_owned(), problem },
        None => ClientError::Unreachable { address: address.to_owned(), cause: root_cause(&error).to_string() },
    })
}
