//! `assay certify`: certificates of samples, and properties (`property`).

mod property;

use std::ops::Range;
use std::time::{Duration, Instant};

use assay_audit::Estimate;
use assay_certify::Method;
use assay_proto::v1::certify_response::Event;
use assay_proto::v1::{BoundMethod, Certificate, CertificateVerdict, CertifyRequest, CertifyResult};
use serde_json::{Value, json};

use super::Session;
use crate::args::{Certify, Output};
use crate::error::ClientError;
use crate::output::{Verdict, print, print_json, rate, table};
use crate::progress::Progress;
use crate::samples::Samples;
use crate::spec::{self, ThreatArg};

pub(crate) async fn run(session: &mut Session, command: &Certify) -> Result<Verdict, ClientError> {
    match (&command.threat, &command.vnnlib) {
        (_, Some(file)) => property::run(session, command, file).await,
        (Some(threat), None) => certify(session, command, threat).await,
        (None, None) => Err(ClientError::Usage("give --threat NORM:EPS, or --vnnlib FILE".to_owned())),
    }
}

/// Certifies samples.
async fn certify(session: &mut Session, command: &Certify, threat: &ThreatArg) -> Result<Verdict, ClientError> {
    let mut samples = Samples::labelled(&command.data)?;
    let (info, input) = session.model(&spec::model(&command.model)).await?;
    samples.fit_labelled(&info.name, &input, info.classes as usize)?;
    let mut progress = Progress::new();
    let stage = format!("certify {}", info.name);
    let started = Instant::now();
    let mut found = Found::default();
    for range in samples.chunks(input.max_batch) {
        // 0 would be no limit.
        let left = |most: Duration| most.saturating_sub(started.elapsed()).as_secs_f64().max(1e-9);
        let request = CertifyRequest {
            model: info.name.clone(),
            version: info.version.clone(),
            input: Some(samples.tensor(range.clone(), &input)),
            labels: samples.labels[range.clone()].to_vec(),
            threat: Some(threat.message()),
            methods: command.methods.iter().map(|method| wire(*method).into()).collect(),
            all_methods: command.all,
            max_seconds: command.max_seconds.map_or(0.0, left),
            return_bounds: command.all,
        };
        let result =
            one_request(session, request, &mut progress, &stage, &range, samples.len(), found.certified()).await?;
        found.add(result);
    }
    progress.finish();
    match session.output {
        Output::Json => print_json(&found.as_json(&info.name, &info.version, &samples.name, command.all, threat))?,
        Output::Human => {
            found.print(command.all, threat)?;
            samples.say_where_from(&command.data)?;
        }
    }
    Ok(Verdict::Pass)
}

/// Sends one batch, and shows its progress as a part of the whole.
async fn one_request(
    session: &mut Session,
    request: CertifyRequest,
    progress: &mut Progress,
    stage: &str,
    range: &Range<usize>,
    of: usize,
    before: u64,
) -> Result<CertifyResult, ClientError> {
    let request = session.request(request);
    let mut stream = session.client.certify(request).await?.into_inner();
    while let Some(answer) = stream.message().await? {
        match answer.event {
            Some(Event::Progress(now)) => {
                let done = range.start as u64 + now.finished;
                progress.update(stage, done, of as u64, &format!("{}/{done} certified", before + now.certified));
            }
            Some(Event::Result(result)) => {
                if result.certificates.len() != range.len() {
                    let (got, asked) = (result.certificates.len(), range.len());
                    return Err(ClientError::Protocol(format!("{got} certificates for {asked} samples")));
                }
                return Ok(result);
            }
            None => {}
        }
    }
    Err(ClientError::Protocol("the stream ended without a result".into()))
}

/// What is known of the samples, over all requests.
#[derive(Default)]
struct Found {
    certificates: Vec<Certificate>,
    methods: Vec<Method>,
    seconds: f64,
    stopped: bool,
}

/// What a method proved.
struct ByMethod {
    method: Method,
    /// Samples that it certifies: where a sample is finished with the first that does, of those that no method before did.
    own: u64,
    /// Samples that it or one before certifies, of all.
    together: Option<Estimate>,
}

impl Found {
    fn add(&mut self, result: CertifyResult) {
        self.methods = result.methods().filter_map(method).collect();
        self.seconds += result.seconds;
        self.stopped |= result.stopped;
        self.certificates.extend(result.certificates);
    }

    fn count(&self, holds: impl Fn(&Certificate) -> bool) -> u64 {
        self.certificates.iter().filter(|certificate| holds(certificate)).count() as u64
    }

    fn verdicts(&self, verdict: CertificateVerdict) -> u64 {
        self.count(|certificate| certificate.verdict() == verdict)
    }

    fn certified(&self) -> u64 {
        self.verdicts(CertificateVerdict::Certified)
    }

    /// Samples that were not finished in time.
    fn late(&self) -> u64 {
        self.count(|found| found.verdict() == CertificateVerdict::Unknown && !found.reason.is_empty())
    }

    fn by_method(&self, all: bool) -> Vec<ByMethod> {
        let of = self.certificates.len() as u64;
        let by = |found: &Certificate| method(found.certified_by());
        let row = |&method: &Method| {
            let alone = |found: &Certificate| {
                found.bounds.iter().any(|bounds| bounds.method() == wire(method) && bounds.certifies)
            };
            ByMethod {
                method,
                own: if all { self.count(alone) } else { self.count(|found| by(found) == Some(method)) },
                together: Estimate::new(self.count(|found| by(found).is_some_and(|by| by <= method)), of),
            }
        };
        self.methods.iter().map(row).collect()
    }

    fn print(&self, all: bool, threat: &ThreatArg) -> Result<(), ClientError> {
        let of = self.certificates.len() as u64;
        let mut rows = table(&["method", "certified by it", "by it or one before", "95 % CI"], &[1, 2]);
        for ByMethod { method, own, together } in self.by_method(all) {
            let (so_far, interval) = match &together {
                Some(so_far) => (rate(so_far.hits(), so_far.of()), interval(so_far)),
                None => (rate(0, 0), String::new()),
            };
            rows.add_row([method.name().to_owned(), rate(own, of), so_far, interval]);
        }
        print(&rows)?;
        let [unknown, misclassified, failed] =
            [CertificateVerdict::Unknown, CertificateVerdict::Misclassified, CertificateVerdict::Failed]
                .map(|verdict| self.verdicts(verdict));
        let late = self.late();
        print(&format!(
            "{of} samples under {threat}: {misclassified} misclassified, {} that the bounds are too loose for, {failed} failed, {late} not finished",
            unknown - late
        ))?;
        if let Some(reason) = self.certificates.iter().find(|found| found.verdict() == CertificateVerdict::Failed) {
            print(&format!("the first that failed: {}", reason.reason))?;
        }
        if let Some(hint) = self.hint() {
            print(&hint)?;
        }
        let methods: Vec<&str> = self.methods.iter().map(|method| method.name()).collect();
        print(&format!(
            "bounds: {}, in binary32 with an allowance for rounding; what is not certified may be robust; {:.1} s",
            methods.join(", "),
            self.seconds
        ))
    }

    /// Says that there is a tighter bound, where those that were asked prove nothing.
    fn hint(&self) -> Option<String> {
        let wanted = match self.methods.last()? {
            _ if self.certified() > 0 => return None,
            Method::Ibp => {
                "intervals prove next to nothing of a model that was not trained for them; --method crown is tighter"
            }
            Method::CrownIbp => "--method crown is tighter on most models, and --method alpha-crown more",
            Method::Crown => "--method alpha-crown is tighter",
            Method::AlphaCrown => return None,
        };
        Some(format!("nothing is certified, which says nothing against the model: {wanted}"))
    }

    fn as_json(&self, model: &str, version: &str, data: &str, all: bool, threat: &ThreatArg) -> Value {
        let by_method = self.by_method(all).into_iter().map(|ByMethod { method, own, together }| {
            let together = together.map(|t| json!({ "certified": t.hits(), "low": t.low(), "high": t.high() }));
            json!({ "method": method.name(), "certified": own, "together": together })
        });
        let certificates = (0_u64..).zip(&self.certificates).map(|(sample, found)| {
            json!({
                "sample": sample,
                "verdict": found.verdict().as_str_name().trim_start_matches("CERTIFICATE_VERDICT_").to_lowercase(),
                "reason": (!found.reason.is_empty()).then_some(&found.reason),
                "certified_by": method(found.certified_by()).map(Method::name),
                "margins": found.margins,
                "bounds": found.bounds.iter().map(|bounds| json!({
                    "method": method(bounds.method()).map(Method::name),
                    "margins": bounds.margins,
                    "slack": bounds.slack,
                    "certifies": bounds.certifies,
                })).collect::<Vec<_>>(),
            })
        });
        json!({
            "model": model,
            "version": version,
            "data": data,
            "threat": threat.to_string(),
            "methods": self.methods.iter().map(|method| method.name()).collect::<Vec<_>>(),
            "samples": self.certificates.len(),
            "certified": self.certified(),
            "unknown": self.verdicts(CertificateVerdict::Unknown),
            "not_finished": self.late(),
            "misclassified": self.verdicts(CertificateVerdict::Misclassified),
            "failed": self.verdicts(CertificateVerdict::Failed),
            "by_method": by_method.collect::<Vec<_>>(),
            "stopped": self.stopped,
            "seconds": self.seconds,
            "certificates": certificates.collect::<Vec<_>>(),
        })
    }
}

fn interval(estimate: &Estimate) -> String {
    format!("{:.1} to {:.1} %", 100.0 * estimate.low(), 100.0 * estimate.high())
}

fn wire(method: Method) -> BoundMethod {
    match method {
        Method::Ibp => BoundMethod::Ibp,
        Method::CrownIbp => BoundMethod::CrownIbp,
        Method::Crown => BoundMethod::Crown,
        Method::AlphaCrown => BoundMethod::AlphaCrown,
    }
}

fn method(wired: BoundMethod) -> Option<Method> {
    Method::ALL.into_iter().find(|method| wire(*method) == wired)
}
