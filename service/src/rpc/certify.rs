//! `Certify`.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use assay_attack::{Cancel, Norm, Threat};
use assay_certify::{Bounds, Certificate, CertifyError, Job, Method, Neighbourhood, Until, Verdict};
use assay_proto::v1::{
    self, BoundMethod, CertificateVerdict, CertifyProgress, CertifyRequest, CertifyResponse, CertifyResult,
    MethodBounds, certify_response::Event,
};
use assay_runtime::{BACKGROUND, Class, RunError};
use ndarray::{Array2, Axis, Slice};
use tonic::Request;

use super::request::{expected, labels, seconds, threat};
use crate::{
    call::Call,
    certifying::{Certifying, evaluations, refused, supported},
    core::Core,
    job::{self, Events, Progress},
    status::CallError,
    tensor,
};

/// RPC that the work is counted under.
const RPC: &str = "Certify";
/// Most samples that are certified at once by methods that take them together.
const TOGETHER: usize = 64;

pub(super) fn certify(core: &Core, request: &Request<CertifyRequest>) -> Result<Events<CertifyResponse>, CallError> {
    let call = Call::of(request)?;
    let request = request.get_ref();
    let hosted = core.find(&call, "model", &request.model, &request.version)?;
    let limits = &core.config.limits;
    let images =
        tensor::decode("input", request.input.as_ref(), expected(&hosted, limits.max_batch, "limits.max_batch"))?;
    let n = images.nrows();
    call.samples(n);
    let labels = labels("labels", &request.labels, n, hosted.spec().classes)?;
    let threat = certifiable("threat", threat("threat", request.threat.as_ref(), &hosted)?)?;
    let methods = methods("methods", &request.methods)?;
    let time = seconds("max_seconds", request.max_seconds)?;
    let reservation = core.quotas.reserve(&call.caller(), evaluations(n, &methods))?;
    let permit = core.admission.job()?;
    let work = Work {
        certifying: Certifying::new(core, hosted, RPC, reservation.meter()),
        images,
        labels,
        threat,
        methods,
        until: if request.all_methods { Until::All } else { Until::Certified },
        time,
        return_bounds: request.return_bounds,
    };
    let stopped = Arc::clone(&call);
    Ok(job::start(call, permit, core.nice(BACKGROUND), move |progress, cancel| {
        let _reservation = reservation;
        work.run(progress, cancel, &stopped)
    }))
}

/// What is asked for and was understood.
struct Work {
    certifying: Certifying,
    images: Array2<f32>,
    labels: Vec<Class>,
    threat: Threat,
    /// From the cheapest on.
    methods: Vec<Method>,
    until: Until,
    time: Option<Duration>,
    return_bounds: bool,
}

impl Work {
    fn run(
        &self,
        progress: &Progress<CertifyResponse>,
        cancel: &Cancel,
        call: &Call,
    ) -> Result<CertifyResponse, CallError> {
        let started = Instant::now();
        // A method that is asked last would find out last.
        supported(&self.certifying.hosted, &self.methods)?;
        let until = self.time.and_then(|time| started.checked_add(time));
        let (n, mut certificates) = (self.images.nrows(), Vec::with_capacity(self.images.nrows()));
        let mut certified = 0;
        let mut stopped = false;
        for start in (0..n).step_by(self.at_once()) {
            let range = start..n.min(start + self.at_once());
            let mut observer = |now: assay_certify::Progress| {
                let event = CertifyProgress {
                    finished: (start + now.done) as u64,
                    samples: n as u64,
                    certified: (certified + now.certified) as u64,
                };
                progress.update(CertifyResponse { event: Some(Event::Progress(event)) });
            };
            let found = match until.is_some_and(|until| Instant::now() >= until) {
                true => Err(RunError::Cancelled.into()),
                false => self.part(range, until, &mut observer, cancel),
            };
            match found {
                Ok(found) => {
                    certified += found.iter().filter(|found| found.verdict == Verdict::Certified).count();
                    certificates.extend(found);
                }
                Err(CertifyError::Run(RunError::Cancelled)) if cancel.is_cancelled() => {
                    return Err(call.why_stopped());
                }
                // What a limit of time ends is a result all the same.
                Err(CertifyError::Run(RunError::Cancelled)) => {
                    stopped = true;
                    break;
                }
                Err(error) => return Err(refused(&self.certifying.hosted, error)),
            }
        }
        self.certifying.left(n - certificates.len());
        let result = CertifyResult {
            version: self.certifying.hosted.version.to_string(),
            certificates: self.wire(&certificates),
            methods: self.methods.iter().map(|method| wire_method(*method).into()).collect(),
            seconds: started.elapsed().as_secs_f64(),
            stopped,
        };
        Ok(CertifyResponse { event: Some(Event::Result(result)) })
    }

    /// Samples that are certified in one go: progress is told behind them, and what is not finished of them when the time is over is lost.
    fn at_once(&self) -> usize {
        let one_by_one = self.methods.iter().any(|method| matches!(method, Method::Crown | Method::AlphaCrown));
        if one_by_one { 1 } else { TOGETHER }
    }

    fn part(
        &self,
        range: Range<usize>,
        until: Option<Instant>,
        observer: &mut dyn FnMut(assay_certify::Progress),
        cancel: &Cancel,
    ) -> Result<Vec<Certificate>, CertifyError> {
        let job = Job {
            images: self.images.slice_axis(Axis(0), Slice::from(range.clone())),
            labels: &self.labels[range],
            neighbourhood: Neighbourhood::Threat(&self.threat),
            methods: &self.methods,
            until: self.until,
        };
        self.certifying.work(&job, until, observer, cancel)
    }

    /// One for each sample; those that are missing were not finished in time.
    fn wire(&self, certificates: &[Certificate]) -> Vec<v1::Certificate> {
        let late = v1::Certificate {
            verdict: CertificateVerdict::Unknown.into(),
            reason: format!("not finished within max_seconds, {}", self.time.unwrap_or_default().as_secs_f64()),
            ..v1::Certificate::default()
        };
        let mut all: Vec<_> = certificates.iter().map(|found| wire(found, self.return_bounds)).collect();
        all.resize(self.images.nrows(), late);
        all
    }
}

fn wire(found: &Certificate, return_bounds: bool) -> v1::Certificate {
    let (verdict, reason) = match &found.verdict {
        Verdict::Certified => (CertificateVerdict::Certified, ""),
        Verdict::Unknown => (CertificateVerdict::Unknown, ""),
        Verdict::Misclassified => (CertificateVerdict::Misclassified, ""),
        Verdict::Failed(reason) => (CertificateVerdict::Failed, reason.as_str()),
    };
    let bounds = |bounds: &Bounds| MethodBounds {
        method: wire_method(bounds.method).into(),
        margins: bounds.margins.clone(),
        slack: bounds.slack,
        certifies: bounds.certify(),
    };
    v1::Certificate {
        verdict: verdict.into(),
        reason: reason.to_owned(),
        certified_by: found.certified_by().map_or(BoundMethod::Unspecified, wire_method).into(),
        margins: found.best(),
        bounds: if return_bounds { found.bounds.iter().map(bounds).collect() } else { Vec::new() },
    }
}

fn wire_method(method: Method) -> BoundMethod {
    match method {
        Method::Ibp => BoundMethod::Ibp,
        Method::CrownIbp => BoundMethod::CrownIbp,
        Method::Crown => BoundMethod::Crown,
        Method::AlphaCrown => BoundMethod::AlphaCrown,
    }
}

/// The methods in `field`, each once, from the cheapest on; none stands for CROWN.
fn methods(field: &str, given: &[i32]) -> Result<Vec<Method>, CallError> {
    let method = |(i, &number): (usize, &i32)| {
        let known = Method::ALL.into_iter().find(|method| wire_method(*method) as i32 == number);
        known.ok_or_else(|| {
            let names = Method::ALL.map(|method| wire_method(method).as_str_name()).join(", ");
            CallError::field(format!("{field}[{i}]"), format!("expected one of {names}, got {number}"))
        })
    };
    let mut methods = given.iter().enumerate().map(method).collect::<Result<Vec<_>, _>>()?;
    methods.sort_unstable();
    methods.dedup();
    Ok(if methods.is_empty() { vec![Method::Crown] } else { methods })
}

/// A threat that there are certificates against.
fn certifiable(field: &str, threat: Threat) -> Result<Threat, CallError> {
    if threat.norm == Norm::L0 {
        let text = "there are no certificates in L0; expected NORM_LINF, NORM_L2 or NORM_L1";
        return Err(CallError::field(format!("{field}.norm"), text));
    }
    if !threat.eps.is_finite() {
        return Err(CallError::field(format!("{field}.eps"), "expected a finite radius, such as 8/255, got inf"));
    }
    Ok(threat)
}
