//! Why a call failed, and the one table from there to gRPC status codes.

use std::{collections::HashMap, time::Duration};

use assay_proto::reason::{self, Reason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use assay_runtime::RunError;

use crate::nearest::hint;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// A field of the request.
    #[error("{field}: {problem}")]
    Field {
        /// Path of the field, for example `input.shape`.
        field: String,
        /// What is wrong, what was expected.
        problem: String,
    },
    /// Something that the request names does not exist.
    #[error("there is no {kind} `{name}`; {known}{hint}")]
    Unknown {
        /// What it would be: "model", "attack", ...
        kind: &'static str,
        /// The name.
        name: String,
        /// What there is.
        known: String,
        /// The nearest name.
        hint: String,
    },
    /// Samples that were not uploaded, or are not kept any more.
    #[error("there are no uploaded samples with the SHA-256 {0}; upload them with UploadData")]
    NoData(String),
    /// The name is taken.
    #[error("{0}")]
    Exists(String),
    /// The model is still being loaded.
    #[error("model `{0}` is being loaded; try again in a moment")]
    Loading(String),
    /// The model was taken out of service.
    #[error("model `{0}` was unloaded; RepositoryModelLoad loads it again")]
    Unloaded(String),
    /// The model was taken out of service while the call ran.
    #[error("{0}")]
    Closed(String),
    /// The model cannot do this.
    #[error("{0}")]
    Precondition(String),
    /// More than one request may ask for.
    #[error("{what}: {asked} is more than this server's limit of {limit}; {remedy}, or raise {key}")]
    Limit {
        /// What is limited: "input.shape: batch of", ...
        what: String,
        /// What was asked for.
        asked: u64,
        /// The limit.
        limit: u64,
        /// The configuration key of the limit.
        key: &'static str,
        /// What the client can do.
        remedy: &'static str,
    },
    /// Nobody that the server knows calls.
    #[error("{0}; send one of this server's keys in the metadata `authorization: Bearer KEY`")]
    Unauthenticated(&'static str),
    /// What the caller has shown was right, and is not valid any more.
    #[error(
        "the {what} `{name}` expired at {end}; send one of this server's keys that is valid, in the metadata `authorization: Bearer KEY`"
    )]
    Expired {
        /// Key or certificate.
        what: &'static str,
        /// Whose it is.
        name: String,
        /// When it ended.
        end: String,
    },
    /// The caller is known, and may not do this.
    #[error(
        "{rpc} needs the role `{role}`, which `{name}` does not have; call as somebody who has it, or add it to the roles in auth"
    )]
    Denied {
        /// The RPC.
        rpc: &'static str,
        /// The role that it needs.
        role: &'static str,
        /// Who called.
        name: String,
    },
    /// The configuration switches it off.
    #[error("{what} is switched off on this server; set {remedy} to offer it")]
    Disabled {
        /// The RPC.
        what: &'static str,
        /// The configuration key of the switch, and its value.
        remedy: &'static str,
    },
    /// All permits are taken.
    #[error("the {limit} places for {what} are taken; try again later, or raise {key}")]
    Busy {
        /// What runs in them.
        what: &'static str,
        /// How many there are.
        limit: usize,
        /// The configuration key of their number.
        key: &'static str,
    },
    /// The caller has used what he may use.
    #[error(
        "`{name}` asks for {asked}, and may have {limit} (auth.quotas.{name}.{key}); {}",
        wait.map_or_else(|| "ask for fewer, because there never are as many".to_owned(), |wait| format!("try again in {} s", wait.as_secs_f64().ceil()))
    )]
    Quota {
        /// Who calls.
        name: String,
        /// Of what, as the configuration calls it.
        key: &'static str,
        /// How many.
        asked: u64,
        /// How many he may have in that time.
        limit: u64,
        /// When there are as many again; `None`: never.
        wait: Option<Duration>,
    },
    /// The caller has as many jobs as he may have.
    #[error(
        "`{name}` has {limit} jobs that wait or run, and may have no more (auth.quotas.{name}.jobs); try again when one has ended"
    )]
    Jobs {
        /// Who calls.
        name: String,
        /// How many.
        limit: u64,
    },
    /// There is no room on the disk.
    #[error("{0}")]
    Full(String),
    /// The model's queue is full.
    #[error("{0}")]
    QueueFull(String),
    /// The message is larger than the server takes.
    #[error(
        "the message is larger than this server's limit of {limit} bytes ({detail}); send smaller batches, or raise \
         limits.max_message_bytes"
    )]
    MessageTooLarge {
        /// The limit.
        limit: usize,
        /// What the transport said.
        detail: String,
    },
    /// The deadline passed.
    #[error("the deadline of {:.3} s passed; the work was stopped", .0.as_secs_f64())]
    Deadline(Duration),
    /// The deadline of a call that follows a job passed.
    #[error("the deadline of {:.3} s passed; job {job} goes on: ask for it again by its id", after.as_secs_f64())]
    Unfollowed {
        /// Id of the job.
        job: String,
        /// How long it was followed.
        after: Duration,
    },
    /// The client went away.
    #[error("the call was cancelled; the work was stopped")]
    Cancelled,
    /// Somebody stopped the job that the call follows.
    #[error("job {0} was stopped; it goes on after its last epoch when it is asked for again by its id")]
    Stopped(String),
    /// Somebody cancelled the audit that the call follows.
    #[error("audit {0} was cancelled")]
    AuditCancelled(String),
    /// The server is stopping.
    #[error("the server is stopping; try another one, or again later")]
    Draining,
    /// The protocol has it, and this server does not.
    #[error("{what} is not offered by this server; {instead}")]
    Unsupported {
        /// The RPC, or what a request asks for.
        what: String,
        /// What to do.
        instead: &'static str,
    },
    /// An operator of the model has no bounds.
    #[error("{0}")]
    NoBounds(String),
    /// A defect of the server or of ONNX Runtime.
    #[error("{0}")]
    Internal(String),
}

impl CallError {
    /// A field of the request is wrong.
    pub(crate) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field { field: field.into(), problem: problem.into() }
    }

    /// Something named in the request does not exist; `known` is what does.
    pub(crate) fn unknown<'a>(kind: &'static str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<&str> = known.into_iter().collect();
        let known =
            if names.is_empty() { "there are none".to_owned() } else { format!("there is {}", names.join(", ")) };
        Self::Unknown { kind, hint: hint(name, names), name: name.to_owned(), known }
    }

    /// The status code.
    pub(crate) fn code(&self) -> Code {
        self.reason().code
    }

    /// The table.
    fn reason(&self) -> &'static Reason {
        match self {
            Self::Field { .. } => &reason::INVALID_FIELD,
            Self::Unknown { .. } => &reason::UNKNOWN_NAME,
            Self::NoData(_) => &reason::DATA_NOT_UPLOADED,
            Self::Exists(_) => &reason::NAME_TAKEN,
            Self::Unauthenticated(_) => &reason::UNKNOWN_CALLER,
            Self::Expired { .. } => &reason::CREDENTIALS_EXPIRED,
            Self::Denied { .. } => &reason::ROLE_MISSING,
            Self::Precondition(_) => &reason::PRECONDITION_FAILED,
            Self::Limit { .. } => &reason::LIMIT_EXCEEDED,
            Self::Busy { .. } => &reason::PLACES_TAKEN,
            Self::Quota { .. } => &reason::QUOTA_USED_UP,
            Self::Jobs { .. } => &reason::TOO_MANY_JOBS,
            Self::Full(_) => &reason::STORAGE_FULL,
            Self::QueueFull(_) => &reason::QUEUE_FULL,
            Self::MessageTooLarge { .. } => &reason::MESSAGE_TOO_LARGE,
            Self::Deadline(_) => &reason::DEADLINE_PASSED,
            Self::Unfollowed { .. } => &reason::JOB_GOES_ON,
            Self::Cancelled => &reason::CALL_CANCELLED,
            Self::Stopped(_) => &reason::JOB_STOPPED,
            Self::AuditCancelled(_) => &reason::AUDIT_CANCELLED,
            Self::Loading(_) => &reason::MODEL_LOADING,
            Self::Unloaded(_) => &reason::MODEL_UNLOADED,
            Self::Closed(_) => &reason::MODEL_CLOSED,
            Self::Draining => &reason::SERVER_STOPPING,
            Self::Disabled { .. } => &reason::SWITCHED_OFF,
            Self::Unsupported { .. } => &reason::NOT_OFFERED,
            Self::NoBounds(_) => &reason::NO_BOUNDS,
            Self::Internal(_) => &reason::INTERNAL,
        }
    }

    /// What a program may want to know of it.
    fn facts(&self) -> HashMap<String, String> {
        let facts: Vec<(&str, String)> = match self {
            Self::Field { field, .. } => vec![("field", field.clone())],
            Self::Unknown { kind, name, .. } => vec![("kind", (*kind).to_owned()), ("name", name.clone())],
            Self::NoData(digest) => vec![("sha256", digest.clone())],
            Self::Loading(model) | Self::Unloaded(model) => vec![("model", model.clone())],
            Self::Limit { asked, limit, key, .. } => {
                vec![("asked", asked.to_string()), ("limit", limit.to_string()), ("key", (*key).to_owned())]
            }
            Self::Expired { end, .. } => vec![("end", end.clone())],
            Self::Denied { role, .. } => vec![("role", (*role).to_owned())],
            Self::Busy { limit, key, .. } => vec![("limit", limit.to_string()), ("key", (*key).to_owned())],
            Self::Quota { key, asked, limit, .. } => {
                vec![("asked", asked.to_string()), ("limit", limit.to_string()), ("quota", (*key).to_owned())]
            }
            Self::Jobs { limit, .. } => vec![("limit", limit.to_string())],
            Self::MessageTooLarge { limit, .. } => vec![("limit", limit.to_string())],
            Self::Unfollowed { job, .. } | Self::Stopped(job) | Self::AuditCancelled(job) => vec![("job", job.clone())],
            _ => Vec::new(),
        };
        facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The codes that calls end with, and their names in metrics and logs.
pub(crate) const CODES: [(Code, &str); 13] = [
    (Code::Ok, "OK"),
    (Code::InvalidArgument, "INVALID_ARGUMENT"),
    (Code::Unauthenticated, "UNAUTHENTICATED"),
    (Code::PermissionDenied, "PERMISSION_DENIED"),
    (Code::NotFound, "NOT_FOUND"),
    (Code::AlreadyExists, "ALREADY_EXISTS"),
    (Code::FailedPrecondition, "FAILED_PRECONDITION"),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Code::Cancelled, "CANCELLED"),
    (Code::Unavailable, "UNAVAILABLE"),
    (Code::Internal, "INTERNAL"),
    (Code::Unimplemented, "UNIMPLEMENTED"),
];

/// Name of a code in metrics and logs.
pub(crate) fn code_name(code: Code) -> &'static str {
    CODES.iter().find(|(known, _)| *known == code).map_or("UNKNOWN", |(_, name)| name)
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let (message, reason) = (error.to_string(), error.reason());
        let mut details = ErrorDetails::with_error_info(reason.id, reason::DOMAIN, error.facts());
        if let Some(pause) = reason.retry {
            details.set_retry_info(Some(pause));
        }
        match &error {
            CallError::Field { field, problem } => {
                details.add_bad_request_violation(field, problem);
            }
            CallError::Quota { name, key, wait, .. } => {
                details.add_quota_failure_violation(format!("auth.quotas.{name}.{key}"), &message);
                if let Some(wait) = wait {
                    details.set_retry_info(Some(*wait));
                }
            }
            CallError::Jobs { name, .. } => {
                details.add_quota_failure_violation(format!("auth.quotas.{name}.jobs"), &message);
            }
            _ => {}
        }
        Self::with_error_details(reason.code, message, details)
    }
}

impl From<RunError> for CallError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Invalid(problem) => Self::field("input", problem),
            RunError::NoGradient(_) => Self::Precondition(error.to_string()),
            RunError::Busy => Self::QueueFull(error.to_string()),
            RunError::Cancelled => Self::Cancelled,
            RunError::Unloaded => Self::Closed(error.to_string()),
            _ => Self::Internal(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_travels_as_a_violation_too() {
        let status = Status::from(CallError::field("input.shape", "expected [n, 2], got [3]"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "input.shape: expected [n, 2], got [3]");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "input.shape");
    }

    #[test]
    fn what_does_not_exist_comes_with_what_does() {
        let error = CallError::unknown("model", "fashion-rubust", ["fashion-dense", "fashion-robust"]);
        assert_eq!(
            error.to_string(),
            "there is no model `fashion-rubust`; there is fashion-dense, fashion-robust; did you mean `fashion-robust`?"
        );
    }

    #[test]
    fn a_quota_says_when_to_try_again_if_ever() {
        let error =
            |wait| CallError::Quota { name: "ci".to_owned(), key: "gradients_per_minute", asked: 8, limit: 6, wait };
        let status = Status::from(error(Some(Duration::from_millis(1500))));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(
            status.message(),
            "`ci` asks for 8, and may have 6 (auth.quotas.ci.gradients_per_minute); try again in 2 s"
        );
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_millis(1500)));
        let violations = status.get_details_quota_failure().unwrap().violations;
        assert_eq!(violations[0].subject, "auth.quotas.ci.gradients_per_minute");
        let never = Status::from(error(None));
        assert!(never.get_details_retry_info().is_none() && never.message().contains("never"), "{never}");
    }

    #[test]
    fn a_failure_carries_an_id_that_stays_and_what_a_program_may_want_to_know() {
        let busy = CallError::Busy { what: "Attack and Audit", limit: 4, key: "concurrency.jobs" };
        let status = Status::from(busy);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("PLACES_TAKEN", "assay"));
        assert_eq!((info.metadata["key"].as_str(), info.metadata["limit"].as_str()), ("concurrency.jobs", "4"));
        assert!(status.get_details_retry_info().is_some());
        let wrong = Status::from(CallError::Cancelled);
        assert_eq!(wrong.get_details_error_info().unwrap().reason, "CALL_CANCELLED");
        assert!(wrong.get_details_retry_info().is_none());
    }

    #[test]
    fn every_code_that_is_answered_has_a_name() {
        for reason in reason::ALL {
            assert_ne!(code_name(reason.code), "UNKNOWN", "{reason:?}");
        }
    }
}
