//! `assay audit`.

use std::path::{Path, PathBuf};

use assay_audit::{Estimate, Observed, Report};
use assay_proto::v1::audit_request::Data;
use assay_proto::v1::audit_response::Event;
use assay_proto::v1::gate::Condition;
use assay_proto::v1::{
    AuditProgress, AuditReport, AuditRequest, Evaluation, Gate, InlineData, ModelRef, RegisteredData, ReportFormat,
};

use super::Session;
use crate::args::{Audit, Output};
use crate::error::ClientError;
use crate::output::{Verdict, print, table};
use crate::progress::Progress;
use crate::samples::Samples;
use crate::spec;

/// A report to write, with the format that its ending says.
struct Target<'a> {
    path: &'a Path,
    format: Option<ReportFormat>,
}

pub(crate) async fn run(session: &mut Session, command: &Audit) -> Result<Verdict, ClientError> {
    let targets = command.reports.iter().map(|path| Target::new(path)).collect::<Result<Vec<_>, _>>()?;
    let models: Vec<ModelRef> = command.models.iter().map(|name| spec::model(name)).collect();
    let request = AuditRequest {
        data: Some(data(session, command, &models).await?),
        evaluations: command
            .threats
            .iter()
            .map(|threat| Evaluation {
                threat: Some(threat.message()),
                attacks: command.attacks.iter().map(spec::AttackArg::message).collect(),
            })
            .collect(),
        models,
        gates: gates(command),
        seed: command.seed,
        formats: targets.iter().filter_map(|t| t.format.map(Into::into)).collect(),
    };
    let answer = evaluate(session, request).await?;
    let report: Report = serde_json::from_str(&answer.json)
        .map_err(|error| ClientError::Protocol(format!("the report's JSON: {error}")))?;

    // Files first: they must be there even when the gates fail.
    for target in &targets {
        target.write(&answer)?;
    }
    match session.output {
        Output::Json => print(&answer.json)?,
        Output::Human => show(&report, &command.reports)?,
    }
    Ok(match report.verdict {
        assay_audit::Verdict::Pass => Verdict::Pass,
        assay_audit::Verdict::Fail => Verdict::Fail,
    })
}

async fn data(session: &mut Session, command: &Audit, models: &[ModelRef]) -> Result<Data, ClientError> {
    match (&command.dataset, &command.data.data) {
        (Some(name), _) => {
            Ok(Data::Registered(RegisteredData { name: name.clone(), samples: command.data.samples.unwrap_or(0) }))
        }
        (None, Some(path)) => {
            let Some(model) = models.first() else {
                return Err(ClientError::Usage("name at least one model".into()));
            };
            let (info, input) = session.model(model).await?;
            let samples = Samples::open(path, command.data.samples)?;
            samples.must_fit(&info.name, &input)?;
            Ok(Data::Inline(InlineData {
                input: Some(samples.tensor(0..samples.len(), &input)),
                labels: samples.labels,
                name: samples.name,
                digest: samples.digest,
            }))
        }
        (None, None) => Err(ClientError::Usage("name the samples: --data PATH, or --dataset NAME on the server".into())),
    }
}

fn gates(command: &Audit) -> Vec<Gate> {
    [
        command.min_clean_accuracy.map(Condition::MinCleanAccuracy),
        command.min_robust_accuracy.map(Condition::MinRobustAccuracy),
        command.max_drop.map(Condition::MaxDrop),
    ]
    .into_iter()
    .flatten()
    .map(|condition| Gate { condition: Some(condition) })
    .collect()
}

/// Runs the audit and shows its progress.
async fn evaluate(session: &mut Session, request: AuditRequest) -> Result<AuditReport, ClientError> {
    let request = session.request(request);
    let mut stream = session.client.audit(request).await?.into_inner();
    let mut progress = Progress::new();
    while let Some(answer) = stream.message().await? {
        match answer.event {
            Some(Event::Progress(p)) => advance(&mut progress, &p),
            Some(Event::Report(report)) => {
                progress.finish();
                return Ok(report);
            }
            None => {}
        }
    }
    Err(ClientError::Protocol("the audit ended without a report".into()))
}

fn advance(progress: &mut Progress, p: &AuditProgress) {
    let stage = format!("[{}/{}] {} {}", p.stage_number, p.stages, p.model, p.stage);
    progress.update(&stage, p.steps_done, p.steps_total, &format!("{}/{} correct", p.correct, p.samples));
}

impl<'a> Target<'a> {
    fn new(path: &'a Path) -> Result<Self, ClientError> {
        let format = match path.extension().and_then(|ending| ending.to_str()) {
            Some("json") => None,
            Some("md") => Some(ReportFormat::Markdown),
            Some("html") => Some(ReportFormat::Html),
            _ => {
                return Err(ClientError::Usage(format!(
                    "--report {}: the ending must be .json, .md or .html",
                    path.display()
                )));
            }
        };
        Ok(Self { path, format })
    }

    fn write(&self, answer: &AuditReport) -> Result<(), ClientError> {
        let text = match self.format {
            None => &answer.json,
            Some(format) => answer.rendered.iter().find(|r| r.format() == format).map(|r| &r.text).ok_or_else(|| {
                ClientError::Protocol(format!("no {} rendering of the report", format.as_str_name()))
            })?,
        };
        std::fs::write(self.path, text)
            .map_err(|error| ClientError::Environment(format!("cannot write {}: {error}", self.path.display())))
    }
}

/// The result for people: accuracies, the comparison, the gates.
fn show(report: &Report, files: &[PathBuf]) -> Result<(), ClientError> {
    let mut heads = vec!["accuracy"];
    heads.extend(report.models.iter().map(|m| m.title.as_str()));
    if report.comparison.is_some() {
        heads.extend(["difference (95 %)", "p"]);
    }
    let mut rows = table(&heads, &[]);
    let mut clean = vec!["clean".to_owned()];
    clean.extend(report.models.iter().map(|m| estimate(&m.clean)));
    clean.extend(report.comparison.iter().flat_map(|c| paired(&c.clean)));
    rows.add_row(clean);
    let threats = report.models.first().map_or(&[][..], |m| &m.threats);
    for (i, threat) in threats.iter().enumerate() {
        let mut row = vec![format!("robust, {}", threat.title)];
        row.extend(report.models.iter().filter_map(|m| m.threats.get(i)).map(|t| estimate(&t.robust)));
        row.extend(report.comparison.iter().filter_map(|c| c.threats.get(i)).flat_map(paired));
        rows.add_row(row);
    }
    print(&rows)?;

    for finding in &report.findings {
        let model = report.models.get(finding.model.0 as usize).map_or("", |m| &m.title);
        print(&format!("note: {model}, {} of {}: {}", finding.hits, finding.of, finding.kind.advice()))?;
    }
    for result in &report.gates {
        for check in &result.checks {
            let mark = if check.passed { "pass" } else { "FAIL" };
            let observed = match &check.observed {
                Observed::Rate(rate) => estimate(rate),
                Observed::Difference(d) => format!("{:+.1} points", 100.0 * d.value),
            };
            let threat = check.threat.as_deref().map(|t| format!(", {t}")).unwrap_or_default();
            let (gate, threshold) = (result.gate.name(), result.gate.threshold());
            print(&format!("{mark}  {gate} {threshold}: {}{threat}: {observed}", check.model))?;
        }
        if result.checks.is_empty() {
            print(&format!("FAIL  {} {}: there is nothing to check", result.gate.name(), result.gate.threshold()))?;
        }
    }
    let cost = &report.cost;
    print(&format!("{} queries, {} gradients, {:.1} s", cost.queries, cost.gradients, cost.seconds))?;
    if !files.is_empty() {
        let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        print(&format!("report: {}", files.join(", ")))?;
    }
    print(&format!(
        "verdict: {}",
        match report.verdict {
            assay_audit::Verdict::Pass => "pass",
            assay_audit::Verdict::Fail => "fail",
        }
    ))
}

/// "76.6 % (766/1000), 73.9 to 79.2".
fn estimate(e: &Estimate) -> String {
    let (rate, low, high) = (100.0 * e.rate(), 100.0 * e.low(), 100.0 * e.high());
    format!("{rate:.1} % ({}/{}), {low:.1} to {high:.1}", e.hits(), e.of())
}

/// Difference in points with its interval, and p.
fn paired(p: &assay_audit::Paired) -> [String; 2] {
    let d = &p.difference;
    [format!("{:+.1} ({:+.1} to {:+.1})", 100.0 * d.value, 100.0 * d.low, 100.0 * d.high), format!("{:.3}", p.p_value)]
}
