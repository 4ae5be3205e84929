//! `WeightSurface`.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use assay_attack::{AttackError, Bounds, Cancel, Eps, EpsError, Norm, SampleId, Surface, SurfaceJob, surface};
use assay_proto::v1::{
    self, WeightSurfaceCell, WeightSurfaceProgress, WeightSurfaceRequest, WeightSurfaceResponse, WeightSurfaceResult,
    weight_surface_response::Event,
};
use assay_runtime::{Class, RunError};
use ndarray::Array2;
use tonic::Request;

use super::request::{bounds, check_steps, expected, labels, no_gradient, norm, sample_ids};
use crate::{
    call::Call,
    core::Core,
    job::{self, Events, Progress},
    metrics::Metrics,
    repository::Hosted,
    status::CallError,
    tensor,
};

/// Most radii of an axis.
const LONGEST_AXIS: usize = 32;
const STEPS: NonZeroU32 = NonZeroU32::new(10).unwrap();
const DRAWS: u32 = 5;

pub(super) fn surface_of(
    core: &Core,
    request: &Request<WeightSurfaceRequest>,
) -> Result<Events<WeightSurfaceResponse>, CallError> {
    let call = Call::of(request)?;
    let request = request.get_ref();
    let hosted = core.find(&call, "model", &request.model, &request.version)?;
    let limits = &core.config.limits;
    let images =
        tensor::decode("input", request.input.as_ref(), expected(&hosted, limits.max_batch, "limits.max_batch"))?;
    let n = images.nrows();
    call.samples(n);
    for (axis, len) in [("eps", request.eps.len()), ("radii", request.radii.len())] {
        if len > LONGEST_AXIS {
            return Err(CallError::field(axis, format!("expected at most {LONGEST_AXIS}, got {len}")));
        }
    }
    let eps = |(i, eps): (usize, &String)| {
        eps.parse().map_err(|e: EpsError| CallError::field(format!("eps[{i}]"), e.to_string()))
    };
    let steps = NonZeroU32::new(request.steps).unwrap_or(STEPS);
    let draws = if request.draws == 0 { DRAWS } else { request.draws };
    let cells = (request.eps.len() * request.radii.len()) as u64;
    let random = request.radii.len() as u64 * u64::from(draws);
    let evaluations = cells * (2 * u64::from(steps.get()) + 3) + random;
    check_steps("steps", evaluations, limits)?;
    let worst = evaluations.saturating_mul(n as u64);
    let reservation = core.quotas.reserve(&call.caller(), worst)?;
    let work = Work {
        labels: labels("labels", &request.labels, n, hosted.spec().classes)?,
        ids: sample_ids(&request.sample_ids, n)?,
        norm: norm("norm", request.norm)?,
        bounds: bounds(&hosted)?,
        texts: request.eps.clone(),
        eps: request.eps.iter().enumerate().map(eps).collect::<Result<_, _>>()?,
        radii: request.radii.clone(),
        steps,
        draws,
        worst,
        seed: request.seed,
        metrics: core.metrics.clone(),
        hosted,
        images,
    };
    let permit = core.admission.job()?;
    let stopped = Arc::clone(&call);
    Ok(job::start(call, permit, move |progress, cancel| {
        let spent = reservation.meter();
        work.run(progress, cancel, &stopped, &spent)
    }))
}

/// A surface that was understood.
struct Work {
    hosted: Arc<Hosted>,
    metrics: Metrics,
    images: Array2<f32>,
    labels: Vec<Class>,
    ids: Vec<SampleId>,
    norm: Norm,
    bounds: Bounds,
    /// As given.
    texts: Vec<String>,
    eps: Vec<Eps>,
    radii: Vec<f64>,
    steps: NonZeroU32,
    draws: u32,
    /// Samples that it evaluates at most.
    worst: u64,
    seed: u64,
}

impl Work {
    fn run(
        &self,
        progress: &Progress<WeightSurfaceResponse>,
        cancel: &Cancel,
        call: &Call,
        spent: &AtomicU64,
    ) -> Result<WeightSurfaceResponse, CallError> {
        let failed = |error: RunError| match error {
            RunError::NoGradient(reason) => no_gradient(&self.hosted, "a surface over weights", &reason),
            RunError::Cancelled => call.why_stopped(),
            other => other.into(),
        };
        let model = self.hosted.weighted().map_err(failed)?;
        let job = SurfaceJob {
            model: &model,
            images: self.images.view(),
            labels: &self.labels,
            ids: &self.ids,
            norm: self.norm,
            bounds: self.bounds,
            eps: &self.eps,
            radii: &self.radii,
            steps: self.steps,
            draws: self.draws,
            seed: self.seed,
        };
        let started = Instant::now();
        let mut observer = |done, cells| {
            let now = WeightSurfaceProgress { done, cells };
            progress.update(WeightSurfaceResponse { event: Some(Event::Progress(now)) });
        };
        let found = surface(&job, &mut observer, cancel).map_err(|error| match error {
            AttackError::Model(error) => {
                // What was used until then is not known.
                spent.store(self.worst, Ordering::Relaxed);
                failed(error)
            }
            other => CallError::field("request", other.to_string()),
        })?;
        spent.store(found.cost.queries.saturating_add(found.cost.gradients), Ordering::Relaxed);
        let gradients = usize::try_from(found.cost.gradients).unwrap_or(usize::MAX);
        self.metrics.differentiated("WeightSurface", &self.hosted.name, gradients);
        let result = self.result(found, started.elapsed().as_secs_f64());
        Ok(WeightSurfaceResponse { event: Some(Event::Result(result)) })
    }

    fn result(&self, found: Surface, seconds: f64) -> WeightSurfaceResult {
        let cell = |((i, j), &correct): ((usize, usize), &u64)| WeightSurfaceCell {
            eps: self.texts[i].clone(),
            radius: self.radii[j],
            correct,
        };
        WeightSurfaceResult {
            version: self.hosted.version.to_string(),
            samples: self.ids.len() as u64,
            cells: found.correct.indexed_iter().map(cell).collect(),
            random: found.random,
            weights: found.weights,
            cost: Some(v1::Cost { queries: found.cost.queries, gradients: found.cost.gradients }),
            seconds,
        }
    }
}
