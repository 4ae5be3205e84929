//! What can go wrong in the client, and the exit code of each.

use assay_proto::reason;
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

use crate::tls;

const NO_KEY: &str =
    "Set ASSAY_API_KEY to a key of this server, or name the file that holds one with --api-key-file FILE";
const NO_ROLE: &str = "Set ASSAY_API_KEY, or --api-key-file FILE, to a key that has the role";

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Flags, files or names that make no sense. The text says what was expected.
    #[error("{0}")]
    Usage(String),
    /// Nothing answers at the address.
    #[error(
        "cannot reach a server at {address}: {cause}. Start one with `assay-server --models DIR`, name another with --server URL, or host the models here with --embed DIR"
    )]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// The transport's own words.
        cause: String,
    },
    /// Something answers at the address, and this side and it do not agree upon TLS.
    #[error("no connection with the server at {address}: {problem}")]
    Insecure {
        /// Where it is.
        address: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The server ended the connection for a reason of TLS before it answered.
    #[error("no connection with the server: {0}")]
    Shut(String),
    /// The connection broke while the server was at work.
    #[error("the connection to the server was lost ({0}); its log may say why. Run the command again once it is back")]
    Lost(String),
    /// The deadline passed before there was an answer.
    #[error("there was no answer within the time that --timeout gives; the server stops working on the request")]
    Deadline,
    /// The server's answer to this request.
    #[error("{} ({})", .0.message(), code(.0))]
    Rpc(Box<Status>),
    /// The server does not know who calls, or does not let them.
    #[error("{} ({}). {remedy}", status.message(), code(status))]
    Refused {
        /// The server's answer.
        status: Box<Status>,
        /// What to do on this side.
        remedy: &'static str,
    },
    /// The server broke the contract.
    #[error("the server's answer makes no sense: {0}; are the versions of assay and assay-server the same?")]
    Protocol(String),
    /// Another server did not answer, or not as it should. The text says what happened.
    #[error("{0}")]
    Endpoint(String),
    /// This machine cannot do it.
    #[error("{0}")]
    Environment(String),
    /// Ctrl-C, while a job was followed.
    #[error(
        "job {id} goes on at the server; follow it with `assay {command} --follow {id}`, stop it with `assay {command} --cancel {id}`"
    )]
    Left {
        /// The command that it was started with.
        command: &'static str,
        /// Its id.
        id: String,
    },
    /// The server went away while a job was followed, and did not come back in time.
    #[error(
        "the server was lost and did not come back within {seconds} s ({cause}); where it keeps its jobs, follow this one when it is back: `assay audit --follow {id}`"
    )]
    Away {
        /// Id of the job.
        id: String,
        /// How long it was waited for.
        seconds: u64,
        /// What was tried last.
        cause: String,
    },
    /// A server that keeps no jobs was started anew while one was followed.
    #[error(
        "the server was started anew and keeps no jobs (audits.state is unset): job {id} is lost; start the audit again"
    )]
    Forgotten {
        /// Id of the job.
        id: String,
    },
    /// What one of several servers said, or what happened to it.
    #[error("{server}: {error}")]
    At {
        /// Its address.
        server: String,
        /// What it was.
        error: Box<ClientError>,
    },
    /// Ctrl-C.
    #[error("interrupted; the server stops working on the request")]
    Interrupted,
}

impl ClientError {
    /// 2 for what the caller can mend in the command, 3 for what could not be reached or evaluated.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::At { error, .. } => error.exit_code(),
            Self::Usage(_) | Self::Refused { .. } => 2,
            Self::Rpc(status) if matches!(status.code(), Code::InvalidArgument | Code::NotFound) => 2,
            _ => 3,
        }
    }

    /// Where the server is away and may come back, what happened to it; `None`: the error is its last word.
    pub(crate) fn away(&self) -> Option<String> {
        match self {
            Self::Lost(cause) | Self::Unreachable { cause, .. } => Some(cause.clone()),
            Self::Rpc(status) if status.code() == Code::Unavailable => Some(status.message().to_owned()),
            Self::Away { seconds, cause, .. } => Some(format!("{cause}, and not back within {seconds} s")),
            _ => None,
        }
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        // What the server says has no cause on this side.
        match std::error::Error::source(&status).map(root_cause) {
            Some(cause) if cause.is::<TimeoutExpired>() => Self::Deadline,
            Some(cause) => match std::error::Error::source(&status).and_then(tls::problem) {
                Some(problem) => Self::Shut(problem),
                None => Self::Lost(cause.to_string()),
            },
            None => match status.code() {
                Code::Unauthenticated => Self::Refused { status: Box::new(status), remedy: NO_KEY },
                Code::PermissionDenied => Self::Refused { status: Box::new(status), remedy: NO_ROLE },
                _ => Self::Rpc(Box::new(status)),
            },
        }
    }
}

/// The code of a status and, of one by assay, the id of its reason, which `assay errors` explains.
fn code(status: &Status) -> String {
    match status.get_details_error_info() {
        Some(info) if info.domain == reason::DOMAIN => format!("{:?}, {}", status.code(), info.reason),
        _ => format!("{:?}", status.code()),
    }
}

/// The innermost cause: what is around it is only "transport error".
pub(crate) fn root_cause<'e>(error: &'e (dyn std::error::Error + 'static)) -> &'e (dyn std::error::Error + 'static) {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause
}
