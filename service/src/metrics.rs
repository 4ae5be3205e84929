//! What Prometheus scrapes: every metric's name, help and buckets, registered at zero from the start.
//!
//! Each server has a recorder of its own, so that several can live in one process. Label values are bounded: `rpc` and `code`
//! are those of the contract, `model` is a model of the repository or [`UNKNOWN`], `principal` is who has a quota in the configuration.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use assay_audit::job::State as AuditState;
use assay_certify::{Certificate, Method, Verdict};
use assay_graph::Loss;
use assay_runtime::RunTimes;
use metrics::{
    Counter, Gauge, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    with_local_recorder,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tonic::Code;

use crate::{
    error::ServerError,
    harden::JobState,
    quota,
    reload::WATCHED,
    repository::{Hosted, Repository},
    rpc::COTANGENT,
    rpcs,
    statistics::{Failure, Ledger, Served, Statistics},
    status::{CODES, code_name},
    tls::Handshake,
};

/// Label of a model or an RPC that does not exist.
pub(crate) const UNKNOWN: &str = "_unknown";
/// Label of callers where nobody is asked who he is.
pub(crate) const ANYBODY: &str = "_anybody";
/// Label of a call that is about no model.
pub(crate) const NO_MODEL: &str = "_none";

const SECONDS: [f64; 17] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];
const SAMPLES: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Metrics under the names that Triton gives them, which its dashboards and autoscalers read. Labels: model and version.
const NV: [(&str, &str); 13] = [
    ("nv_inference_request_success", "Requests for predictions that were answered."),
    ("nv_inference_request_failure", "Requests for predictions that failed, by reason."),
    ("nv_inference_count", "Samples that were predicted."),
    ("nv_inference_exec_count", "Runs of the model, for predictions, attacks and audits."),
    ("nv_inference_request_duration_us", "Microseconds that answered requests for predictions took in all."),
    ("nv_inference_queue_duration_us", "Microseconds that batches waited for a session."),
    ("nv_inference_compute_input_duration_us", "Microseconds that reading inputs took."),
    ("nv_inference_compute_infer_duration_us", "Microseconds that runs of the model took in ONNX Runtime."),
    ("nv_inference_compute_output_duration_us", "Microseconds that writing outputs took."),
    ("nv_cache_num_hits_per_model", "Batches whose answer was kept."),
    ("nv_cache_num_misses_per_model", "Batches that were looked for among the kept answers, and were not there."),
    ("nv_cache_hit_duration_per_model", "Microseconds that finding kept answers took."),
    ("nv_cache_miss_duration_per_model", "Microseconds that looking for answers took that were not kept."),
];

/// The metrics of one server.
#[derive(Clone)]
pub(crate) struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    ledger: Arc<Ledger>,
}

/// What a finished call was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished<'a> {
    /// Its RPC.
    pub(crate) rpc: &'static str,
    /// The model's label.
    pub(crate) model: &'a str,
    /// How it ended.
    pub(crate) code: Code,
    /// How long it took.
    pub(crate) duration: Duration,
    /// Samples of its batch, if it has one.
    pub(crate) samples: Option<usize>,
}

impl Metrics {
    /// A recorder with nothing but help texts.
    pub(crate) fn new() -> Result<Self, ServerError> {
        let failed = |e: metrics_exporter_prometheus::BuildError| ServerError::Metrics(e.to_string());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .map_err(failed)?
            .set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), &SAMPLES)
            .map_err(failed)?
            .build_recorder();
        let metrics = Self { handle: recorder.handle(), recorder: Arc::new(recorder), ledger: Arc::default() };
        metrics.record(describe);
        Ok(metrics)
    }

    /// The text that Prometheus scrapes.
    pub(crate) fn render(&self) -> String {
        self.record(|| self.ledger.all().iter().for_each(|((model, version), of)| publish(model, *version, of)));
        self.handle.render()
    }

    /// Folds what was observed into the buckets; without it a server that nobody scrapes would keep every observation.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Registers, at zero, what there can be to count: each model, RPC and code.
    pub(crate) fn register(&self, models: &Repository) {
        self.record(|| {
            for rpc in rpcs::all() {
                gauge!("assay_requests_in_flight", "rpc" => rpc.name).set(0.0);
                register_calls(rpc.name, if rpc.about_model { UNKNOWN } else { NO_MODEL });
            }
            for (name, model) in models.models().iter() {
                register_model(name);
                model.versions.keys().for_each(|version| drop(self.statistics(name, *version)));
            }
            for state in JobState::ALL {
                gauge!("assay_harden_jobs", "state" => state.name()).set(0.0);
            }
            counter!("assay_harden_epochs_total").absolute(0);
            counter!("assay_harden_samples_total").absolute(0);
            for state in AuditState::NAMES {
                gauge!("assay_audits", "state" => state).set(0.0);
            }
            for verdict in assay_audit::Verdict::ALL {
                counter!("assay_audits_total", "verdict" => verdict.name()).absolute(0);
            }
            let _ = histogram!("assay_audit_duration_seconds");
            gauge!("assay_models_loaded").set(0.0);
            gauge!("assay_models_failed").set(0.0);
            for what in WATCHED {
                for result in ["taken", "refused"] {
                    counter!("assay_reloads_total", "what" => what, "result" => result).absolute(0);
                }
            }
        });
    }

    /// Registers, at zero, what there can be to count of a model that is new.
    pub(crate) fn register_new(&self, model: &str) {
        self.record(|| register_model(model));
    }

    /// What this program is and runs on.
    pub(crate) fn build(&self, onnxruntime: &str, provider: &str) {
        let (onnxruntime, provider) = (onnxruntime.to_owned(), provider.to_owned());
        self.record(|| {
            gauge!(
                "assay_build_info",
                "version" => env!("CARGO_PKG_VERSION"), "onnxruntime" => onnxruntime, "provider" => provider
            )
            .set(1.0);
        });
    }

    /// What a version of a model was asked, and how long it took: the same for as long as the server lives, however often it is loaded.
    pub(crate) fn statistics(&self, model: &str, version: u32) -> Arc<Statistics> {
        self.ledger.of(model, version)
    }

    /// A version is not served any more.
    pub(crate) fn retired(&self, hosted: &Hosted) {
        self.record(|| model_info(hosted).set(0.0));
    }

    /// What was loaded.
    pub(crate) fn loaded(&self, models: &Repository) {
        self.record(|| {
            let all = models.hosted();
            all.iter().for_each(|hosted| model_info(hosted).set(1.0));
            gauge!("assay_models_loaded").set(count(all.len()));
            gauge!("assay_models_failed").set(count(models.failures().len()));
        });
    }

    /// A call began.
    pub(crate) fn began(&self, rpc: &'static str) {
        self.record(|| gauge!("assay_requests_in_flight", "rpc" => rpc).increment(1.0));
    }

    /// A call ended.
    pub(crate) fn finished(&self, call: Finished<'_>) {
        let Finished { rpc, model, code, duration, samples } = call;
        let model = model.to_owned();
        self.record(|| {
            gauge!("assay_requests_in_flight", "rpc" => rpc).decrement(1.0);
            counter!("assay_requests_total", "rpc" => rpc, "model" => model.clone(), "code" => code_name(code))
                .increment(1);
            if let Some(samples) = samples {
                histogram!("assay_batch_size", "model" => model.clone()).record(count(samples));
            }
            histogram!("assay_request_duration_seconds", "rpc" => rpc, "model" => model).record(duration);
        });
    }

    /// A model ran once, for a prediction, an attack or an audit.
    pub(crate) fn ran(&self, model: &str, times: RunTimes) {
        let model = model.to_owned();
        self.record(|| {
            histogram!("assay_queue_duration_seconds", "model" => model.clone()).record(times.waited);
            histogram!("assay_run_size", "model" => model.clone()).record(count(times.samples));
            histogram!("assay_compute_duration_seconds", "model" => model).record(times.ran);
        });
    }

    /// A request for predictions was answered.
    pub(crate) fn served(&self, model: &str, served: &Served) {
        let (model, Served { input, output, .. }) = (model.to_owned(), *served);
        self.record(|| {
            histogram!("assay_decode_duration_seconds", "model" => model.clone()).record(input);
            histogram!("assay_encode_duration_seconds", "model" => model).record(output);
        });
    }

    /// An attack or an audit evaluated a batch.
    pub(crate) fn stepped(&self, rpc: &'static str, model: &str, took: Duration) {
        let model = model.to_owned();
        self.record(|| histogram!("assay_attack_step_duration_seconds", "rpc" => rpc, "model" => model).record(took));
    }

    /// `Gradient` answered samples of an objective: the name of a loss, or [`COTANGENT`].
    pub(crate) fn pulled_back(&self, model: &str, objective: &'static str, samples: usize) {
        let model = model.to_owned();
        self.record(|| {
            counter!("assay_gradient_samples_total", "model" => model, "objective" => objective)
                .increment(samples as u64);
        });
    }

    /// An attack or an audit evaluated samples forward only.
    pub(crate) fn queried(&self, rpc: &'static str, model: &str, samples: usize) {
        let model = model.to_owned();
        self.record(|| {
            counter!("assay_attack_queries_total", "rpc" => rpc, "model" => model).increment(samples as u64);
        });
    }

    /// An attack or an audit evaluated samples forward and backward.
    pub(crate) fn differentiated(&self, rpc: &'static str, model: &str, samples: usize) {
        let model = model.to_owned();
        self.record(|| {
            counter!("assay_attack_gradients_total", "rpc" => rpc, "model" => model).increment(samples as u64);
        });
    }

    /// Samples were certified, or not.
    pub(crate) fn certified(&self, rpc: &'static str, model: &str, certificates: &[Certificate]) {
        self.record(|| {
            for certificate in certificates {
                for bounds in &certificate.bounds {
                    let verdict = if bounds.certify() { "certified" } else { "unknown" };
                    certify_samples(rpc, model, bounds.method.name(), verdict).increment(1);
                }
                match &certificate.verdict {
                    Verdict::Misclassified => certify_samples(rpc, model, NO_METHOD, "misclassified").increment(1),
                    Verdict::Failed(_) => certify_samples(rpc, model, NO_METHOD, "failed").increment(1),
                    Verdict::Certified | Verdict::Unknown => {}
                }
            }
        });
    }

    /// Samples were not certified in the time that there was.
    pub(crate) fn not_certified_in_time(&self, rpc: &'static str, model: &str, samples: usize) {
        self.record(|| certify_samples(rpc, model, NO_METHOD, "late").increment(samples as u64));
    }

    /// Samples were certified together, which took so long.
    pub(crate) fn certifying_took(&self, rpc: &'static str, model: &str, time: Duration) {
        let model = model.to_owned();
        self.record(|| histogram!("assay_certify_duration_seconds", "rpc" => rpc, "model" => model).record(time));
    }

    /// An audit reached its verdict, so long after it was begun.
    pub(crate) fn audited(&self, verdict: assay_audit::Verdict, took: Duration) {
        self.record(|| {
            counter!("assay_audits_total", "verdict" => verdict.name()).increment(1);
            histogram!("assay_audit_duration_seconds").record(took);
        });
    }

    /// How many audits are in each state.
    pub(crate) fn audits(&self, audits: &[(&'static str, usize)]) {
        self.record(|| {
            for (state, audits) in audits {
                gauge!("assay_audits", "state" => *state).set(count(*audits));
            }
        });
    }

    /// How many jobs of `Harden` are in each state.
    pub(crate) fn hardens(&self, jobs: &[(JobState, usize)]) {
        self.record(|| {
            for (state, jobs) in jobs {
                gauge!("assay_harden_jobs", "state" => state.name()).set(count(*jobs));
            }
        });
    }

    /// A job of `Harden` finished an epoch of so many samples.
    pub(crate) fn learned(&self, samples: u64) {
        self.record(|| {
            counter!("assay_harden_epochs_total").increment(1);
            counter!("assay_harden_samples_total").increment(samples);
        });
    }

    /// Registers, at zero, how handshakes can end.
    pub(crate) fn register_tls(&self) {
        self.record(|| {
            for how in Handshake::ALL {
                counter!("assay_tls_handshakes_total", "result" => how.name()).absolute(0);
            }
        });
    }

    /// A handshake ended.
    pub(crate) fn shook_hands(&self, how: Handshake) {
        self.record(|| counter!("assay_tls_handshakes_total", "result" => how.name()).increment(1));
    }

    /// When a certificate that is in use ends.
    pub(crate) fn certificate_ends(&self, which: &'static str, end: SystemTime) {
        let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.record(|| gauge!("assay_tls_certificate_expiry_timestamp_seconds", "certificate" => which).set(end));
    }

    /// Registers, at zero, what somebody with a quota can use.
    pub(crate) fn register_quota(&self, principal: &str) {
        self.record(|| {
            for quota in quota::names() {
                let principal = principal.to_owned();
                counter!("assay_quota_used_total", "principal" => principal.clone(), "quota" => quota).absolute(0);
                counter!("assay_quota_refused_total", "principal" => principal, "quota" => quota).absolute(0);
            }
        });
    }

    /// Somebody used so much of a quota.
    pub(crate) fn quota_used(&self, principal: &str, quota: &'static str, n: u64) {
        let principal = principal.to_owned();
        self.record(|| counter!("assay_quota_used_total", "principal" => principal, "quota" => quota).increment(n));
    }

    /// Somebody asked for more than a quota has left.
    pub(crate) fn quota_refused(&self, principal: &str, quota: &'static str) {
        let principal = principal.to_owned();
        self.record(|| counter!("assay_quota_refused_total", "principal" => principal, "quota" => quota).increment(1));
    }

    /// Samples that are nearly what their caller sent to a model before.
    pub(crate) fn near_duplicates(&self, principal: Option<&str>, model: &str, samples: usize) {
        let (principal, model) = (principal.unwrap_or(ANYBODY).to_owned(), model.to_owned());
        self.record(|| {
            counter!("assay_near_duplicates_total", "principal" => principal, "model" => model)
                .increment(samples as u64);
        });
    }

    /// Files that were read again are in force, or were refused.
    pub(crate) fn reloaded(&self, what: &'static str, taken: bool) {
        let result = if taken { "taken" } else { "refused" };
        self.record(|| counter!("assay_reloads_total", "what" => what, "result" => result).increment(1));
    }

    /// Does what records metrics, with this recorder.
    pub(crate) fn record<T>(&self, what: impl FnOnce() -> T) -> T {
        with_local_recorder(self.recorder.as_ref(), what)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn model_info(hosted: &Hosted) -> Gauge {
    let Hosted { name, version, manifest, .. } = hosted;
    let spec = hosted.spec();
    gauge!(
        "assay_model_info",
        "model" => name.clone(), "version" => version.to_string(), "kind" => manifest.kind.clone(),
        "provider" => spec.provider.clone(), "digest" => spec.digest.clone()
    )
}

/// The statistics of a version under the names that Triton gives them.
fn publish(model: &str, version: u32, of: &Statistics) {
    let labels = [("model", model.to_owned()), ("version", version.to_string())];
    counter!("nv_inference_request_success", &labels).absolute(of.success.count());
    for failure in Failure::ALL {
        let [model, version] = labels.clone();
        let labels = [model, version, ("reason", failure.name().to_owned())];
        counter!("nv_inference_request_failure", &labels).absolute(of.failed(failure).count());
    }
    counter!("nv_inference_count", &labels).absolute(of.samples());
    counter!("nv_inference_exec_count", &labels).absolute(of.runs());
    counter!("nv_cache_num_hits_per_model", &labels).absolute(of.cache_hit.count());
    counter!("nv_cache_num_misses_per_model", &labels).absolute(of.cache_miss.count());
    for (name, timed) in [
        ("nv_inference_request_duration_us", &of.success),
        ("nv_inference_queue_duration_us", &of.queue),
        ("nv_inference_compute_input_duration_us", &of.input),
        ("nv_inference_compute_infer_duration_us", &of.infer),
        ("nv_inference_compute_output_duration_us", &of.output),
        ("nv_cache_hit_duration_per_model", &of.cache_hit),
        ("nv_cache_miss_duration_per_model", &of.cache_miss),
    ] {
        counter!(name, &labels).absolute(timed.ns() / 1000);
    }
}

/// Registers, at zero, the calls of an RPC about a model.
fn register_calls(rpc: &'static str, model: &str) {
    let model = model.to_owned();
    for (_, code) in CODES {
        counter!("assay_requests_total", "rpc" => rpc, "model" => model.clone(), "code" => code).absolute(0);
    }
    let _ = histogram!("assay_request_duration_seconds", "rpc" => rpc, "model" => model);
}

/// Registers, at zero, what there can be to count of a model.
fn register_model(name: &str) {
    for rpc in rpcs::all().filter(|rpc| rpc.about_model) {
        register_calls(rpc.name, name);
    }
    let name = name.to_owned();
    let _ = histogram!("assay_batch_size", "model" => name.clone());
    let _ = histogram!("assay_decode_duration_seconds", "model" => name.clone());
    let _ = histogram!("assay_encode_duration_seconds", "model" => name.clone());
    let _ = histogram!("assay_queue_duration_seconds", "model" => name.clone());
    let _ = histogram!("assay_run_size", "model" => name.clone());
    let _ = histogram!("assay_compute_duration_seconds", "model" => name.clone());
    for objective in objectives() {
        counter!("assay_gradient_samples_total", "model" => name.clone(), "objective" => objective).absolute(0);
    }
    for rpc in ["Certify", "Audit"] {
        let asked = Method::ALL.into_iter().flat_map(|method| ["certified", "unknown"].map(|how| (method.name(), how)));
        let others = ["misclassified", "failed", "late"].map(|how| (NO_METHOD, how));
        for (method, verdict) in asked.chain(others) {
            certify_samples(rpc, &name, method, verdict).absolute(0);
        }
        let _ = histogram!("assay_certify_duration_seconds", "rpc" => rpc, "model" => name.clone());
    }
    for rpc in ["Attack", "WeightSurface", "QuoteAudit", "Audit"] {
        counter!("assay_attack_queries_total", "rpc" => rpc, "model" => name.clone()).absolute(0);
        counter!("assay_attack_gradients_total", "rpc" => rpc, "model" => name.clone()).absolute(0);
        let _ = histogram!("assay_attack_step_duration_seconds", "rpc" => rpc, "model" => name.clone());
    }
}

/// Label of samples that no method was asked about.
const NO_METHOD: &str = "none";

fn certify_samples(rpc: &'static str, model: &str, method: &'static str, verdict: &'static str) -> Counter {
    let model = model.to_owned();
    counter!("assay_certify_samples_total", "rpc" => rpc, "model" => model, "method" => method, "verdict" => verdict)
}

/// What `Gradient` can differentiate, by name.
fn objectives() -> impl Iterator<Item = &'static str> {
    Loss::ALL.into_iter().map(Loss::name).chain([COTANGENT])
}

/// Counts below 2^52 are exact as f64.
#[allow(clippy::cast_precision_loss)]
fn count(n: usize) -> f64 {
    n as f64
}

fn describe() {
    describe_counter!("assay_requests_total", "Finished calls, by RPC, model and gRPC status code.");
    describe_histogram!(
        "assay_request_duration_seconds",
        Unit::Seconds,
        "Time from the arrival of a call to its last byte, by RPC and model."
    );
    describe_gauge!("assay_requests_in_flight", "Calls that are running, by RPC.");
    describe_histogram!("assay_batch_size", "Samples of the batch of a call, by model.");
    describe_histogram!(
        "assay_decode_duration_seconds",
        Unit::Seconds,
        "Time that reading the batch of an answered prediction took, by model."
    );
    describe_histogram!(
        "assay_encode_duration_seconds",
        Unit::Seconds,
        "Time that writing the answer of a prediction took, by model."
    );
    describe_histogram!(
        "assay_queue_duration_seconds",
        Unit::Seconds,
        "Time that the first batch of a run of a model waited for a session, by model."
    );
    describe_histogram!("assay_run_size", "Samples of a run of a model, which may be of several calls, by model.");
    describe_histogram!(
        "assay_compute_duration_seconds",
        Unit::Seconds,
        "Time that a run of a model, forward or with its gradient, took in ONNX Runtime, by model."
    );
    describe_counter!(
        "assay_gradient_samples_total",
        "Samples that Gradient answered, by model and objective: the name of a loss, or cotangent."
    );
    describe_counter!(
        "assay_attack_queries_total",
        "Samples that attacks and audits evaluated forward only, by what spent them and model."
    );
    describe_counter!(
        "assay_attack_gradients_total",
        "Samples that attacks and audits evaluated forward and backward, by what spent them and model."
    );
    describe_histogram!(
        "assay_attack_step_duration_seconds",
        Unit::Seconds,
        "Time that one evaluation of a batch by an attack or an audit took, with the wait for a session, by what asked and model."
    );
    describe_counter!(
        "assay_certify_samples_total",
        "Samples by what asked for certificates, model, method and what that method made of them; method none: misclassified, failed, or not finished in time (late)."
    );
    describe_histogram!(
        "assay_certify_duration_seconds",
        Unit::Seconds,
        "Time that certifying a part of a batch took, by what asked and model."
    );
    describe_gauge!(
        "assay_audits",
        "Audits that the server has, by state: queued, running, done, failed or cancelled."
    );
    describe_counter!("assay_audits_total", "Finished audits, by verdict.");
    describe_histogram!(
        "assay_audit_duration_seconds",
        Unit::Seconds,
        "Time from when an audit was begun to its verdict, with the time that no server had it."
    );
    describe_gauge!("assay_harden_jobs", "Jobs of Harden, by state: queued, running, stopped, failed or done.");
    describe_counter!("assay_harden_epochs_total", "Epochs that jobs of Harden finished.");
    describe_counter!(
        "assay_harden_samples_total",
        "Samples that jobs of Harden learned from, in epochs that they finished."
    );
    describe_counter!("assay_tls_handshakes_total", "TLS handshakes on the gRPC port that have ended, by result.");
    describe_gauge!(
        "assay_tls_certificate_expiry_timestamp_seconds",
        "When a certificate that is in use ends, in seconds since 1970: the server's, and the first to end of the clients' authorities."
    );
    describe_counter!(
        "assay_reloads_total",
        "Files that had changed and were read again, by what they are (tls, auth) and whether they were taken or refused."
    );
    describe_counter!(
        "assay_quota_used_total",
        "What callers that have a quota used of it, by their name and quota: samples of batches, evaluations of jobs that have ended, jobs that began."
    );
    describe_counter!("assay_quota_refused_total", "Calls that a quota refused, by the caller's name and quota.");
    describe_counter!(
        "assay_near_duplicates_total",
        "Samples of Predict that are nearly what their caller sent before, by the caller's name and model; counted where near_duplicates.window is set."
    );
    describe_gauge!("assay_models_loaded", "Model versions that are served.");
    describe_gauge!("assay_models_failed", "Model versions that could not be loaded.");
    describe_gauge!(
        "assay_model_info",
        "A model version: its kind, provider and SHA-256; 1 while it is served, 0 once it was replaced or unloaded."
    );
    for (name, help) in NV {
        describe_counter!(name, help);
    }
    describe_gauge!(
        "assay_build_info",
        "The server: its version, ONNX Runtime's and the provider asked for; always 1."
    );
}
