//! `Gradient`.

use std::sync::Arc;

use assay_graph::Loss;
use assay_proto::v1::{self, DataType, GradientRequest, GradientResponse, LossAt, gradient_request::Objective as Wire};
use assay_runtime::{Cancel, Class, Gradients, Objective};
use ndarray::Array2;
use tonic::Request;

use super::{
    model::gradients,
    request::{expected, gradient_limit, labels, no_gradient},
};
use crate::{call::Call, core::Core, job::StopOnDrop, quota::Kind, repository::Hosted, status::CallError, tensor};

pub(super) async fn gradient(
    core: &Arc<Core>,
    request: Request<GradientRequest>,
) -> Result<GradientResponse, CallError> {
    let call = Call::of(&request)?;
    let request = request.into_inner();
    let hosted = core.find(&call, "model", &request.model, &request.version)?;
    if !core.config.gradient.enabled {
        return Err(CallError::Disabled { what: "Gradient", remedy: "gradient.enabled = true" });
    }
    let permit = core.admission.gradient()?;
    // Whoever drops this future takes the runs that wait out of the queue.
    let stop = StopOnDrop::default();
    let work = Work { core: Arc::clone(core), call, hosted, request, cancel: stop.0.clone() };
    let work = tokio::task::spawn_blocking(move || {
        // The place is taken for as long as the work goes on, even if nobody waits for it any more.
        let _permit = permit;
        work.run()
    });
    work.await.unwrap_or_else(|e| Err(CallError::Internal(format!("the work ended early: {e}"))))
}

/// A request on a thread that may block: batches are large, and the first request of a kind derives its graph.
struct Work {
    core: Arc<Core>,
    call: Arc<Call>,
    hosted: Arc<Hosted>,
    request: GradientRequest,
    cancel: Cancel,
}

impl Work {
    fn run(&self) -> Result<GradientResponse, CallError> {
        let (hosted, spec) = (&self.hosted, self.hosted.spec());
        if let Gradients::Unavailable(reason) = &spec.gradients {
            return Err(no_gradient(hosted, "Gradient", reason));
        }
        let (most, limit) = gradient_limit(&self.core.config.limits, spec);
        let batch = tensor::decode("input", self.request.input.as_ref(), expected(hosted, most, limit))?;
        let n = batch.nrows();
        self.call.samples(n);
        let given = Given::parse(self.request.objective.as_ref(), n, spec.classes)?;
        self.core.quotas.let_in(&self.call.caller(), Kind::Gradients, n)?;
        let mut evaluated = hosted.differentiate(&batch.view(), given.objective(), &self.cancel)?;
        self.core.metrics.pulled_back(&hosted.name, given.name(), n);
        if self.request.input.as_ref().is_some_and(|input| input.datatype() == DataType::Uint8) {
            let [low, high] = hosted.range();
            let grey_level = (high - low) / 255.0;
            evaluated.gradient.mapv_inplace(|slope| slope * grey_level);
        }
        Ok(GradientResponse {
            version: hosted.version.to_string(),
            logits: Some(tensor::encode(&evaluated.logits.view(), &[spec.classes])),
            loss: evaluated.loss,
            gradient: Some(tensor::encode(&evaluated.gradient.view(), &spec.sample_shape)),
            gradients: Some(gradients(&spec.gradients)),
        })
    }
}

/// What is differentiated, checked.
enum Given {
    Loss { loss: Loss, labels: Vec<Class>, targets: Option<Vec<Class>> },
    Cotangent(Array2<f32>),
}

/// Name of a cotangent in metrics, where losses have theirs.
pub(crate) const COTANGENT: &str = "cotangent";

impl Given {
    fn parse(objective: Option<&Wire>, n: usize, classes: usize) -> Result<Self, CallError> {
        match objective {
            None => Err(CallError::field("objective", "missing; give a loss with its labels, or a cotangent")),
            Some(Wire::Loss(at)) => Self::loss(at, n, classes),
            Some(Wire::Cotangent(cotangent)) => {
                tensor::decode_floats("cotangent", cotangent, (n, classes), "[n, classes]").map(Self::Cotangent)
            }
        }
    }

    fn loss(at: &LossAt, n: usize, classes: usize) -> Result<Self, CallError> {
        let loss = match at.loss() {
            v1::Loss::CrossEntropy => Loss::CrossEntropy,
            v1::Loss::Margin => Loss::Margin,
            v1::Loss::Dlr => Loss::Dlr,
            v1::Loss::DlrTargeted => Loss::DlrTargeted,
            v1::Loss::MarginTargeted => Loss::MarginTargeted,
            v1::Loss::Unspecified => {
                let known = "LOSS_CROSS_ENTROPY, LOSS_MARGIN, LOSS_MARGIN_TARGETED, LOSS_DLR or LOSS_DLR_TARGETED";
                return Err(CallError::field("loss.loss", format!("expected {known}, got {}", at.loss)));
            }
        };
        if classes < loss.min_classes() {
            let problem = format!("{loss} needs {} classes, the model has {classes}", loss.min_classes());
            return Err(CallError::field("loss.loss", problem));
        }
        let targets = match (loss.needs_target(), at.targets.len()) {
            (true, _) => Some(labels("loss.targets", &at.targets, n, classes)?),
            (false, 0) => None,
            (false, given) => {
                return Err(CallError::field("loss.targets", format!("{loss} takes none, got {given}")));
            }
        };
        Ok(Self::Loss { loss, labels: labels("loss.labels", &at.labels, n, classes)?, targets })
    }

    fn objective(&self) -> Objective<'_> {
        match self {
            Self::Loss { loss, labels, targets } => {
                Objective::Loss { loss: *loss, labels, targets: targets.as_deref() }
            }
            Self::Cotangent(cotangent) => Objective::Cotangent(cotangent.view()),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Loss { loss, .. } => loss.name(),
            Self::Cotangent(_) => COTANGENT,
        }
    }
}
