//! From an address and the user's options to a model that can be asked.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use assay_attack::Bounds;
use assay_proto::inference::ModelMetadataResponse;
use assay_proto::v1::InputSpec;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{Address, Endpoint, Hints, Patience, Remote, Signature};
use crate::args::Oip;
use crate::error::ClientError;
use crate::tls::Trust;

/// How long an answer is waited for, unless `--timeout` says otherwise: a server that hangs must not hang the client.
const TIMEOUT: Duration = Duration::from_secs(60);
const RETRIES: u32 = 7;
/// Most samples in a request, unless `--batch` says otherwise.
const BATCH: usize = 64;
/// gRPC servers accept messages of 4 MiB unless they are told to accept larger ones; some of it is not samples.
const REQUEST_BYTES: usize = (4 << 20) - (64 << 10);

/// A model on another server that is ready, and what it takes and gives.
pub(crate) struct Opened {
    endpoint: Arc<Endpoint>,
    metadata: ModelMetadataResponse,
    signature: Signature,
    batch: NonZeroUsize,
}

impl Opened {
    /// Connects, and reads the model's metadata.
    pub(crate) async fn connect(
        address: &Address,
        options: &Oip,
        timeout: Option<Duration>,
        trust: &Trust,
    ) -> Result<Self, ClientError> {
        let patience = Patience {
            timeout: timeout.unwrap_or(TIMEOUT),
            retries: options.retries.unwrap_or(RETRIES),
            rate: options.rate,
        };
        let (endpoint, metadata) = Endpoint::connect(address, patience, trust).await?;
        let signature = Signature::of(&metadata, &hints(options))
            .map_err(|problem| ClientError::Usage(format!("{address}: {problem}")))?;
        let batch = batch(options, address, &signature)?;
        Ok(Self { endpoint: Arc::new(endpoint), metadata, signature, batch })
    }

    pub(crate) fn endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(&self.endpoint)
    }

    /// The version that was asked for, or the only one there is.
    pub(crate) fn version(&self) -> &str {
        let asked = &self.endpoint.address().version;
        match self.metadata.versions.as_slice() {
            [only] if asked.is_empty() => only,
            _ => asked,
        }
    }

    /// Samples in a request.
    pub(crate) fn batch(&self) -> NonZeroUsize {
        self.batch
    }

    /// Range of valid inputs.
    pub(crate) fn range(&self) -> Bounds {
        self.signature.range
    }

    /// What one sample looks like.
    pub(crate) fn input(&self) -> InputSpec {
        InputSpec {
            shape: self.signature.shape.iter().map(|&size| size as u64).collect(),
            low: self.signature.range.low(),
            high: self.signature.range.high(),
            ..InputSpec::default()
        }
    }

    /// Number of classes.
    pub(crate) fn classes(&self) -> usize {
        self.signature.classes
    }

    /// The model as attacks see it. Its calls run on `runtime` until `stopped` is true.
    pub(crate) fn remote(&self, runtime: Handle, stopped: watch::Receiver<bool>) -> Remote {
        Remote::new(self.endpoint(), self.signature.clone(), self.batch.get(), runtime, stopped)
    }
}

fn hints(options: &Oip) -> Hints {
    Hints {
        input: options.input.clone(),
        range: options.range,
        shape: options.shape.as_ref().map(|shape| shape.iter().map(|size| size.get()).collect()),
        classes: options.classes.map(|classes| classes as usize),
        logits: options.logits.clone(),
    }
}

/// Samples in a request: never more than may be sent in a second, so that an end is not waited for longer than that.
fn batch(options: &Oip, address: &Address, signature: &Signature) -> Result<NonZeroUsize, ClientError> {
    if let Some(fixed) = signature.batch.and_then(NonZeroUsize::new) {
        return match options.batch {
            Some(other) if other != fixed => {
                Err(ClientError::Usage(format!("--batch {other}: {address} takes batches of {fixed} and no others")))
            }
            _ => Ok(fixed),
        };
    }
    let fits = (REQUEST_BYTES / signature.sample_bytes().max(1)).clamp(1, BATCH);
    let wanted = options.batch.map_or(fits, NonZeroUsize::get);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let allowed = options.rate.map_or(usize::MAX, |rate| rate as usize);
    Ok(NonZeroUsize::new(wanted.min(allowed)).unwrap_or(NonZeroUsize::MIN))
}
