//! Any graph in a session of its own, run by whoever owns it.

use std::fmt;

use assay_graph::Model;

use crate::native::Session;
use crate::session::{self, ArrayRef, SessionError, SessionSettings, Source, Tensors};
use crate::{EngineOptions, OnnxRuntime, Provider, RunError, gpu};

/// A graph with one session. Unlike an [`Engine`](crate::Engine) it has no queue and no thread of its own: inputs are read where the
/// caller keeps them, which is what training wants, whose weights are inputs.
pub struct Program {
    session: Session,
    provider: Provider,
}

impl Program {
    /// Opens `model`. Of the options those count that say how one session runs.
    ///
    /// # Errors
    /// ONNX Runtime refuses the model, or the provider is not available.
    pub fn open(runtime: &OnnxRuntime, model: &Model, options: &EngineOptions) -> Result<Self, SessionError> {
        let _alone = gpu::alone(options.provider);
        let settings = SessionSettings {
            provider: options.provider,
            intra_threads: options.threads(options.provider),
            spinning: options.spinning,
            optimized: true,
        };
        let session = session::open(runtime, Source::Model(model), &settings)?;
        Ok(Self { session, provider: options.provider })
    }

    /// One run. Outputs are copied out once.
    ///
    /// # Errors
    /// The tensors do not fit the model, or the run failed.
    pub fn run<'a>(&mut self, inputs: impl IntoIterator<Item = (&'a str, ArrayRef<'a>)>) -> Result<Tensors, RunError> {
        session::run_on(&mut self.session, inputs)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("provider", &self.provider).finish_non_exhaustive()
    }
}
