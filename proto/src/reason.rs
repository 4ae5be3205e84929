//! Why calls fail, by ids that stay: a client may rely on them, where it may not rely on the words of a message.

use std::time::Duration;

use tonic::Code;

/// The domain that the errors of assay carry in their `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "assay";

/// A reason for which calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Its id: `reason` in the `google.rpc.ErrorInfo` of the status.
    pub id: &'static str,
    /// The status code that it is answered with.
    pub code: Code,
    /// What has happened.
    pub meaning: &'static str,
    /// What whoever called can do.
    pub remedy: &'static str,
    /// Where it passes by itself: when it is worth to try again, the `google.rpc.RetryInfo` of the status.
    pub retry: Option<Duration>,
}

const fn reason(id: &'static str, code: Code, meaning: &'static str, remedy: &'static str) -> Reason {
    Reason { id, code, meaning, remedy, retry: None }
}

const fn passes(reason: Reason, retry: Duration) -> Reason {
    Reason { retry: Some(retry), ..reason }
}

/// Predictions take milliseconds, and their places are free again as fast.
const SOON: Duration = Duration::from_millis(50);
/// Attacks take seconds; models are loaded and servers replaced in as many.
const LATER: Duration = Duration::from_secs(1);

/// A field of the request is wrong.
pub const INVALID_FIELD: Reason = reason(
    "INVALID_FIELD",
    Code::InvalidArgument,
    "A field of the request has a value that makes no sense: a shape that does not fit the model, a number out of range, a name that no attack has.",
    "The status carries google.rpc.BadRequest with the field and what was expected there. Mend the request; sending it again as it is fails again.",
);
/// Nothing has that name.
pub const UNKNOWN_NAME: Reason = reason(
    "UNKNOWN_NAME",
    Code::NotFound,
    "The request names a model, version, data set, job or audit that this server does not have. What the caller may not see is not told apart from what does not exist.",
    "The message lists what there is, and the nearest name. `assay models` shows the models.",
);
/// The data is not there.
pub const DATA_NOT_UPLOADED: Reason = reason(
    "DATA_NOT_UPLOADED",
    Code::NotFound,
    "An audit names samples by their SHA-256 that were never uploaded, or were removed since: samples that no audit needs are not kept for ever.",
    "Upload them with UploadData and start the audit again. `assay audit` does both.",
);
/// The name is taken.
pub const NAME_TAKEN: Reason = reason(
    "NAME_TAKEN",
    Code::AlreadyExists,
    "The request would make something under a name or key that is in use: a model version, or an audit with this idempotency key and another plan.",
    "Choose another name, or another key.",
);
/// The model is being loaded.
pub const MODEL_LOADING: Reason = passes(
    reason(
        "MODEL_LOADING",
        Code::Unavailable,
        "The server has the model, and is still loading it and running it once.",
        "Try again in a moment. The health service says SERVING for the model's name when it is ready.",
    ),
    LATER,
);
/// The model was unloaded.
pub const MODEL_UNLOADED: Reason = reason(
    "MODEL_UNLOADED",
    Code::Unavailable,
    "Somebody with the role admin took the model out of service with RepositoryModelUnload.",
    "RepositoryModelLoad loads it again.",
);
/// The model was unloaded or replaced while the call waited.
pub const MODEL_CLOSED: Reason = passes(
    reason(
        "MODEL_CLOSED",
        Code::Unavailable,
        "The model was unloaded or replaced while the call waited for it, and the time that such calls have was over.",
        "Try again: where the model was replaced, the new one answers.",
    ),
    LATER,
);
/// This cannot be done with what is there.
pub const PRECONDITION_FAILED: Reason = reason(
    "PRECONDITION_FAILED",
    Code::FailedPrecondition,
    "The request makes sense, and cannot be done with what is there: an operator of the model has no derivative, its output is not finite, its file could not be loaded, or a job is not in a state that allows it.",
    "The message names the model, node or job. `assay models inspect MODEL` tells what can be done with a model; attacks without gradients work on any.",
);
/// The request asks for too much.
pub const LIMIT_EXCEEDED: Reason = reason(
    "LIMIT_EXCEEDED",
    Code::ResourceExhausted,
    "The request asks for more than this server lets one request have.",
    "Ask for less at a time, or have the configuration key raised that the message names.",
);
/// Nobody known calls.
pub const UNKNOWN_CALLER: Reason = reason(
    "UNKNOWN_CALLER",
    Code::Unauthenticated,
    "This server asks for a key or a client certificate, and the call has none, or one that the server does not know.",
    "Send the metadata `authorization: Bearer KEY`; `assay` reads ASSAY_API_KEY or --api-key-file.",
);
/// What the caller has shown is not valid any more.
pub const CREDENTIALS_EXPIRED: Reason = reason(
    "CREDENTIALS_EXPIRED",
    Code::Unauthenticated,
    "The key or certificate was right, and its time is over.",
    "Use the key that has replaced it. Two keys of one caller can be valid at once, so that they can be changed without a gap.",
);
/// The caller may not do this.
pub const ROLE_MISSING: Reason = reason(
    "ROLE_MISSING",
    Code::PermissionDenied,
    "The caller is known, and has no role that this call needs.",
    "Call as somebody who has the role, or have it added to the caller's roles in the server's `auth`.",
);
/// The configuration switches it off.
pub const SWITCHED_OFF: Reason = reason(
    "SWITCHED_OFF",
    Code::Unimplemented,
    "The server could do this, and its configuration says that it does not.",
    "The message names the configuration key.",
);
/// The places are taken.
pub const PLACES_TAKEN: Reason = passes(
    reason(
        "PLACES_TAKEN",
        Code::ResourceExhausted,
        "As much of this kind runs as may run at once. The call was refused at once, instead of waiting and being late.",
        "Try again later, with a pause that grows; or have the configuration key raised that the message names.",
    ),
    LATER,
);
/// The quota is used up.
pub const QUOTA_USED_UP: Reason = reason(
    "QUOTA_USED_UP",
    Code::ResourceExhausted,
    "The caller has used what `auth.quotas` lets them use in a minute or a day.",
    "The status carries google.rpc.QuotaFailure with the quota and, where it fills up again, google.rpc.RetryInfo with when.",
);
/// The caller has too many jobs.
pub const TOO_MANY_JOBS: Reason = reason(
    "TOO_MANY_JOBS",
    Code::ResourceExhausted,
    "As many jobs of this caller wait or run as `auth.quotas` allows.",
    "Wait until one has ended, or cancel one.",
);
/// The disk is full.
pub const STORAGE_FULL: Reason = reason(
    "STORAGE_FULL",
    Code::ResourceExhausted,
    "The server cannot write what it must keep: its disk is full, or what it may use of it is used up. Nothing that was kept is lost.",
    "Delete audits that nobody needs, or make room on the server's disk; what was stopped by it goes on then.",
);
/// The queue of the model is full.
pub const QUEUE_FULL: Reason = passes(
    reason(
        "QUEUE_FULL",
        Code::ResourceExhausted,
        "More waits for the model than its queue takes.",
        "Try again, with a pause that grows; or add a replica.",
    ),
    SOON,
);
/// The message is too large.
pub const MESSAGE_TOO_LARGE: Reason = reason(
    "MESSAGE_TOO_LARGE",
    Code::ResourceExhausted,
    "The message has more bytes than the server reads.",
    "Send smaller batches, or have limits.max_message_bytes raised.",
);
/// The deadline passed.
pub const DEADLINE_PASSED: Reason = reason(
    "DEADLINE_PASSED",
    Code::DeadlineExceeded,
    "The call was not finished when its deadline passed: the one that it came with, or limits.default_deadline_seconds. The work was stopped.",
    "Ask for less at a time, or give it longer.",
);
/// The deadline of a call that follows a job passed.
pub const JOB_GOES_ON: Reason = reason(
    "JOB_GOES_ON",
    Code::DeadlineExceeded,
    "The deadline of a call that follows a job passed. The job does not end with it.",
    "Ask for the job again by its id, which the message has.",
);
/// The client went away.
pub const CALL_CANCELLED: Reason = reason(
    "CALL_CANCELLED",
    Code::Cancelled,
    "The client went away or cancelled the call. The work was stopped.",
    "There is nothing to mend; it is seen in logs and metrics.",
);
/// The job was stopped.
pub const JOB_STOPPED: Reason = reason(
    "JOB_STOPPED",
    Code::Cancelled,
    "Somebody stopped the training that the call follows. It is not lost.",
    "Ask for the job again by its id: it goes on after its last epoch.",
);
/// The audit was cancelled.
pub const AUDIT_CANCELLED: Reason = reason(
    "AUDIT_CANCELLED",
    Code::Cancelled,
    "Somebody cancelled the audit that the call follows.",
    "Start it again, if that was an error.",
);
/// The server stops.
pub const SERVER_STOPPING: Reason = passes(
    reason(
        "SERVER_STOPPING",
        Code::Unavailable,
        "The server was told to stop, finishes what runs, and takes nothing new.",
        "Another replica answers; or this server, when it is back.",
    ),
    LATER,
);
/// The protocol has it, the server does not.
pub const NOT_OFFERED: Reason = reason(
    "NOT_OFFERED",
    Code::Unimplemented,
    "The Open Inference Protocol has this, and assay does not offer it.",
    "The message says what to do instead.",
);
/// An operator of the model has no bounds.
pub const NO_BOUNDS: Reason = reason(
    "NO_BOUNDS",
    Code::Unimplemented,
    "Certificates were asked of a model with an operator, or an attribute of one, that has no bounds by that method. Nothing is certified then, however small its share.",
    "The message names node and operator; docs/certification.md lists what has bounds, and `ibp` has more than the others. Attacks work without bounds.",
);
/// A defect.
pub const INTERNAL: Reason = reason(
    "INTERNAL",
    Code::Internal,
    "A defect of the server, or of ONNX Runtime. The server goes on, and the session that failed was opened anew.",
    "The server's log has more. If it happens again, report it with the model and the request.",
);

/// All reasons, in the order in which a call meets them: who calls, what they ask for, what there is, how much of it, and how it ends.
pub const ALL: [Reason; 28] = [
    UNKNOWN_CALLER,
    CREDENTIALS_EXPIRED,
    ROLE_MISSING,
    SERVER_STOPPING,
    NOT_OFFERED,
    SWITCHED_OFF,
    MESSAGE_TOO_LARGE,
    INVALID_FIELD,
    UNKNOWN_NAME,
    DATA_NOT_UPLOADED,
    NAME_TAKEN,
    MODEL_LOADING,
    MODEL_UNLOADED,
    MODEL_CLOSED,
    PRECONDITION_FAILED,
    NO_BOUNDS,
    LIMIT_EXCEEDED,
    QUOTA_USED_UP,
    TOO_MANY_JOBS,
    PLACES_TAKEN,
    QUEUE_FULL,
    STORAGE_FULL,
    DEADLINE_PASSED,
    JOB_GOES_ON,
    CALL_CANCELLED,
    JOB_STOPPED,
    AUDIT_CANCELLED,
    INTERNAL,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_google_rpc_and_each_is_there_once() {
        let mut ids = ALL.map(|reason| reason.id);
        for id in ids {
            assert!(id.len() <= 63 && id.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{id}");
        }
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
    }

    #[test]
    fn what_passes_by_itself_is_what_clients_may_send_again() {
        for reason in ALL.iter().filter(|reason| reason.retry.is_some()) {
            assert!(matches!(reason.code, Code::Unavailable | Code::ResourceExhausted), "{reason:?}");
        }
    }
}
