//! Calls of one model on another server: in time, in pace, and again where the server was unavailable.

use std::fmt;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use assay_proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use assay_proto::inference::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ServerReadyRequest,
};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::Address;
use crate::connection::dial;
use crate::error::{ClientError, root_cause};
use crate::tls::{self, Trust};

/// Largest answer accepted: logits of a batch are small, but a server may give more than it was asked for.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// How long calls are waited for, and how they are spread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For each answer.
    pub(crate) timeout: Duration,
    /// How often a request is sent again to a server that is unavailable.
    pub(crate) retries: u32,
    /// Most samples in a second; `None`: any number.
    pub(crate) rate: Option<f64>,
}

impl Patience {
    /// What is waited for before attempt number `again`, from 1: a fifth of a second, and twice as long each time.
    fn pause(again: u32) -> Duration {
        const FIRST: Duration = Duration::from_millis(200);
        const LONGEST: Duration = Duration::from_secs(30);
        FIRST.saturating_mul(1 << (again - 1).min(16)).min(LONGEST)
    }
}

/// A model on another server.
#[derive(Debug)]
pub(crate) struct Endpoint {
    address: Address,
    client: GrpcInferenceServiceClient<Channel>,
    patience: Patience,
    traffic: Mutex<Traffic>,
}

/// What goes out.
#[derive(Debug)]
struct Traffic {
    /// When the next request may be sent.
    free: Instant,
    sent: Sent,
}

/// What went out, whatever came back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) requests: u64,
    pub(crate) samples: u64,
}

/// Why a call has no answer.
#[derive(Debug)]
enum Failure {
    /// There is no connection any more.
    Lost(String),
    /// The time was over.
    Late(Duration),
    /// What the server says.
    Status(Box<Status>),
}

impl Endpoint {
    /// Connects, and asks for the model's metadata once server and model are ready.
    pub(crate) async fn connect(
        address: &Address,
        patience: Patience,
        trust: &Trust,
    ) -> Result<(Self, ModelMetadataResponse), ClientError> {
        let unreachable = |cause: String| {
            ClientError::Endpoint(format!("cannot reach {}: {cause}; is this the server's gRPC port?", address.host))
        };
        let channel = dial(&address.url(), trust).await.map_err(|error| match error {
            ClientError::Unreachable { cause, .. } => unreachable(cause),
            other => other,
        })?;
        let client = GrpcInferenceServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        let traffic = Mutex::new(Traffic { free: Instant::now(), sent: Sent::default() });
        let endpoint = Self { address: address.clone(), client, patience, traffic };
        let metadata = endpoint.metadata().await.map_err(|failure| match failure {
            Failure::Lost(cause) => unreachable(cause),
            Failure::Status(status) if status.code() == Code::NotFound => {
                ClientError::Usage(format!("{address}: {}", Failure::Status(status)))
            }
            other => ClientError::Endpoint(format!("{address}: {other}")),
        })?;
        match metadata {
            Ok(metadata) => Ok((endpoint, metadata)),
            Err(who) => Err(ClientError::Endpoint(format!("{address}: {who} is not ready; try again once it is"))),
        }
    }

    /// The metadata, or who is not ready.
    async fn metadata(&self) -> Result<Result<ModelMetadataResponse, &'static str>, Failure> {
        let (name, version) = (self.address.model.clone(), self.address.version.clone());
        let mut client = self.client.clone();
        let server = self.in_time(ServerReadyRequest {}, async |request| client.server_ready(request).await).await;
        if !ready(server.map(|answer| answer.ready))? {
            return Ok(Err("the server"));
        }
        let asked = ModelReadyRequest { name: name.clone(), version: version.clone() };
        let model = self.in_time(asked, async |request| client.model_ready(request).await).await;
        if !ready(model.map(|answer| answer.ready))? {
            return Ok(Err("the model"));
        }
        let asked = ModelMetadataRequest { name, version };
        self.in_time(asked, async |request| client.model_metadata(request).await).await.map(Ok)
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// What was sent for inference until now.
    pub(crate) fn sent(&self) -> Sent {
        self.traffic().sent
    }

    /// Sends a request with `samples` samples once it is its turn, and again where the server is unavailable.
    ///
    /// # Errors
    /// The text says what happened.
    pub(crate) async fn infer(&self, request: ModelInferRequest, samples: usize) -> Result<ModelInferResponse, String> {
        let mut client = self.client.clone();
        let mut again = 0;
        loop {
            let turn = self.turn(samples);
            // The runtime's timer counts in milliseconds: it would wait for the next one where the turn is now.
            if turn > Instant::now() {
                tokio::time::sleep_until(turn).await;
            }
            self.note(samples);
            let answer = self.in_time(request.clone(), async |request| client.model_infer(request).await).await;
            match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) if failure.may_pass() && again < self.patience.retries => {
                    again += 1;
                    tokio::time::sleep(Patience::pause(again)).await;
                }
                Err(failure) => {
                    let address = &self.address;
                    let tried =
                        if again == 0 { String::new() } else { format!(", also when it was asked {again} times more") };
                    return Err(format!("{address}: a request of {samples} samples: {failure}{tried}"));
                }
            }
        }
    }

    /// When so many samples may be sent; those after them wait until their time is over.
    fn turn(&self, samples: usize) -> Instant {
        let mut traffic = self.traffic();
        let turn = Instant::now().max(traffic.free);
        #[allow(clippy::cast_precision_loss)]
        let takes = self.patience.rate.map_or(0.0, |rate| samples as f64 / rate);
        traffic.free =
            Duration::try_from_secs_f64(takes).ok().and_then(|takes| turn.checked_add(takes)).unwrap_or(turn);
        turn
    }

    fn note(&self, samples: usize) {
        let sent = &mut self.traffic().sent;
        sent.requests += 1;
        sent.samples += samples as u64;
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call that has to be answered in time.
    async fn in_time<Q, A, F>(&self, message: Q, call: impl FnOnce(Request<Q>) -> F) -> Result<A, Failure>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let limit = self.patience.timeout;
        let started = Instant::now();
        let mut request = Request::new(message);
        request.set_timeout(limit);
        // The request's own timeout ends when the answer begins.
        match tokio::time::timeout(limit, call(request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            // Some servers say it in other words, and first.
            Ok(Err(status)) if status.code() == Code::DeadlineExceeded || started.elapsed() >= limit => {
                Err(Failure::Late(limit))
            }
            Ok(Err(status)) => Err(Failure::of(status)),
            Err(_) => Err(Failure::Late(limit)),
        }
    }
}

/// A server that does not answer the question is taken as ready: what comes next will tell.
fn ready(answer: Result<bool, Failure>) -> Result<bool, Failure> {
    match answer {
        Err(Failure::Status(status)) if status.code() == Code::Unimplemented => Ok(true),
        other => other,
    }
}

impl Failure {
    fn of(status: Status) -> Self {
        // What the server says has no cause on this side.
        match std::error::Error::source(&status).map(root_cause) {
            Some(cause) => {
                let problem = std::error::Error::source(&status).and_then(tls::problem);
                Self::Lost(problem.unwrap_or_else(|| cause.to_string()))
            }
            None => Self::Status(Box::new(status)),
        }
    }

    /// Whether the same request may be answered a little later.
    fn may_pass(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Late(_) => false,
            Self::Status(status) => status.code() == Code::Unavailable,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(cause) => write!(f, "the connection was lost ({cause})"),
            Self::Late(limit) => write!(
                f,
                "no answer within {} s; give it longer with --timeout, or less to do with --batch",
                limit.as_secs_f64()
            ),
            Self::Status(status) => {
                write!(f, "the server says \"{}\" ({:?})", status.message(), status.code())?;
                match status.code() {
                    Code::InvalidArgument | Code::ResourceExhausted | Code::OutOfRange => {
                        f.write_str("; where that is for its size, make requests smaller with --batch")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let pauses: Vec<f64> = (1..=4).map(|again| Patience::pause(again).as_secs_f64()).collect();
        assert_eq!(pauses, [0.2, 0.4, 0.8, 1.6]);
        assert_eq!([9, 100, u32::MAX].map(|again| Patience::pause(again).as_secs()), [30, 30, 30]);
    }
}
