//! A model on another server as attacks see it.

use std::sync::Arc;

use assay_graph::Loss;
use assay_proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use assay_proto::inference::{ModelInferRequest, ModelInferResponse};
use assay_runtime::{Class, Classifier, ClassifierSpec, Evaluated, Gradients, RunError};
use ndarray::{Array2, ArrayView2, Axis, Slice, s};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{Endpoint, Signature, tensor};

const NO_GRADIENT: &str = "an Open Inference endpoint gives no gradients";

/// A [`Classifier`] that asks another server. Its calls block: they are for threads that may wait.
pub(crate) struct Remote {
    endpoint: Arc<Endpoint>,
    signature: Signature,
    spec: ClassifierSpec,
    /// Most samples in one request.
    batch: usize,
    runtime: Handle,
    /// True: nothing is waited for any more.
    stopped: watch::Receiver<bool>,
}

impl Remote {
    /// With at most `batch` samples in a request, or exactly as many as the model takes. Calls run on `runtime` until `stopped` is true.
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        signature: Signature,
        batch: usize,
        runtime: Handle,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let spec = ClassifierSpec {
            digest: String::new(),
            sample_shape: signature.shape.clone(),
            classes: signature.classes,
            provider: endpoint.address().to_string(),
            gradients: Gradients::Unavailable(NO_GRADIENT.to_owned()),
        };
        let batch = signature.batch.unwrap_or(batch).max(1);
        Self { endpoint, signature, spec, batch, runtime, stopped }
    }

    /// The answer to one request; of a model with a fixed batch, rows are repeated to fill it.
    fn ask(&self, rows: &ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        let filled = match self.signature.batch {
            Some(size) if rows.nrows() < size => {
                let which: Vec<usize> = (0..size).map(|i| i.min(rows.nrows() - 1)).collect();
                Some(rows.select(Axis(0), &which))
            }
            _ => None,
        };
        let sent = filled.as_ref().map_or(*rows, |filled| filled.view());
        let n = sent.nrows();
        let request = self.request(&sent);
        let mut stopped = self.stopped.clone();
        let answer = self.runtime.block_on(async {
            tokio::select! {
                answer = self.endpoint.infer(request, n) => answer.map_err(RunError::Endpoint),
                // The sender is dropped with whoever waits for the attack.
                _ = stopped.wait_for(|stopped| *stopped) => Err(RunError::Cancelled),
            }
        })?;
        let logits = self.read(&answer, n);
        let logits = logits.map_err(|problem| RunError::Endpoint(format!("{}: {problem}", self.endpoint.address())))?;
        Ok(logits.slice_move(s![..rows.nrows(), ..]))
    }

    fn request(&self, rows: &ArrayView2<'_, f32>) -> ModelInferRequest {
        let (signature, address) = (&self.signature, self.endpoint.address());
        let sizes = std::iter::once(rows.nrows()).chain(signature.shape.iter().copied());
        let input = InferInputTensor {
            name: signature.input.clone(),
            datatype: signature.element.name().to_owned(),
            shape: sizes.map(|size| i64::try_from(size).unwrap_or(i64::MAX)).collect(),
            ..InferInputTensor::default()
        };
        let wanted =
            |name: &String| InferRequestedOutputTensor { name: name.clone(), ..InferRequestedOutputTensor::default() };
        ModelInferRequest {
            model_name: address.model.clone(),
            model_version: address.version.clone(),
            inputs: vec![input],
            outputs: signature.output.iter().map(wanted).collect(),
            raw_input_contents: vec![signature.element.encode(rows.iter().copied()).into()],
            ..ModelInferRequest::default()
        }
    }

    /// The logits in an answer for `n` samples.
    fn read(&self, answer: &ModelInferResponse, n: usize) -> Result<Array2<f32>, String> {
        let outputs = &answer.outputs;
        let names = || outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>().join(", ");
        let at = match &self.signature.output {
            Some(name) => outputs
                .iter()
                .position(|output| output.name == *name)
                .ok_or_else(|| format!("the answer has no output \"{name}\", but {} ({})", outputs.len(), names()))?,
            None if outputs.len() == 1 => 0,
            None => {
                let count = outputs.len();
                return Err(format!(
                    "the answer has {count} outputs ({}); say which holds the logits with --logits NAME",
                    names()
                ));
            }
        };
        let raw = answer.raw_output_contents.get(at).map(|bytes| &bytes[..]);
        tensor::logits(&outputs[at], raw, n, self.signature.classes)
    }
}

impl Classifier for Remote {
    fn spec(&self) -> &ClassifierSpec {
        &self.spec
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        let mut logits = Array2::zeros((x.nrows(), self.spec.classes));
        for start in (0..x.nrows()).step_by(self.batch) {
            let rows = Slice::from(start..x.nrows().min(start + self.batch));
            let answer = self.ask(&x.slice_axis(Axis(0), rows))?;
            logits.slice_axis_mut(Axis(0), rows).assign(&answer);
        }
        Ok(logits)
    }

    fn gradient(
        &self,
        _: ArrayView2<'_, f32>,
        _: Loss,
        _: &[Class],
        _: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        Err(RunError::NoGradient(NO_GRADIENT.to_owned()))
    }

    fn vjp(&self, _: ArrayView2<'_, f32>, _: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        Err(RunError::NoGradient(NO_GRADIENT.to_owned()))
    }
}
