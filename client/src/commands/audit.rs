//! `assay audit`.

use std::path::{Path, PathBuf};

use assay_audit::{Estimate, Paired, Report};
use assay_proto::v1::audit_request::Data;
use assay_proto::v1::audit_response::Event;
use assay_proto::v1::gate::Condition;
use assay_proto::v1::{
    AuditProgress, AuditReport, AuditRequest, Evaluation, ForbiddenFlags, Gate, InlineData, ModelRef, RegisteredData,
    ReportFormat,
};

use super::Session;
use crate::args::{Audit, Output};
use crate::error::ClientError;
use crate::output::{Verdict, must_be_writable, print, table};
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

    // Files first: they must be there even when the gates fail. One that cannot be written does not hide the result.
    let written = targets.iter().try_for_each(|target| target.write(&answer));
    match session.output {
        Output::Json => print(&answer.json)?,
        Output::Human => show(&report, if written.is_ok() { &command.reports } else { &[] })?,
    }
    written?;
    Ok(report.verdict.into())
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
            let mut samples = Samples::open(path, &command.data)?;
            samples.fit(&info.name, &input)?;
            Ok(Data::Inline(InlineData {
                input: Some(samples.tensor(0..samples.len(), &input)),
                labels: samples.labels,
                name: samples.name,
                digest: samples.digest,
            }))
        }
        (None, None) => {
            Err(ClientError::Usage("name the samples: --data PATH, or --dataset NAME on the server".into()))
        }
    }
}

fn gates(command: &Audit) -> Vec<Gate> {
    let flags = &command.forbid_flags;
    [
        command.min_clean_accuracy.map(Condition::MinCleanAccuracy),
        command.min_robust_accuracy.map(Condition::MinRobustAccuracy),
        command.max_drop.map(Condition::MaxDrop),
        command.max_clean_drop.map(Condition::MaxCleanDrop),
        command.max_corruption_error.map(Condition::MaxCorruptionError),
        (!flags.is_empty()).then(|| Condition::ForbidFlags(ForbiddenFlags { kinds: flags.clone() })),
    ]
    .into_iter()
    .flatten()
    .map(|condition| Gate { condition: Some(condition), threat: String::new() })
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
        must_be_writable("--report", path)?;
        Ok(Self { path, format })
    }

    fn write(&self, answer: &AuditReport) -> Result<(), ClientError> {
        let text = match self.format {
            None => &answer.json,
            Some(format) => {
                answer.rendered.iter().find(|r| r.format() == format).map(|r| &r.text).ok_or_else(|| {
                    ClientError::Protocol(format!("no {} rendering of the report", format.as_str_name()))
                })?
            }
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
        heads.push("difference on the same samples");
    }
    let mut rows = table(&heads, &[]);
    let mut clean = vec!["clean".to_owned()];
    clean.extend(report.models.iter().map(|m| cell(&m.clean)));
    clean.extend(report.comparison.iter().map(|c| difference(&c.clean)));
    rows.add_row(clean);
    let threats = report.models.first().map_or(&[][..], |m| &m.threats);
    for (i, threat) in threats.iter().enumerate() {
        let mut row = vec![format!("robust, {}", threat.title)];
        row.extend(report.models.iter().filter_map(|m| m.threats.get(i)).map(|t| cell(&t.robust)));
        row.extend(report.comparison.iter().filter_map(|c| c.threats.get(i)).map(difference));
        rows.add_row(row);
    }
    print(&rows)?;

    for raised in &report.flags {
        let seen: Vec<_> = raised.stages.iter().map(ToString::to_string).collect();
        let (model, name) = (report.model_title(raised.model), raised.kind.name());
        print(&format!("{name}: {model} ({})", seen.join("; ")))?;
        print(&format!("     {} {}", raised.kind.meaning(), raised.kind.remedy()))?;
    }
    for result in &report.gates {
        print(&format!("{} {}", mark(result.verdict), result.gate))?;
        for check in &result.checks {
            print(&format!("     {} {check}", mark(check.verdict)))?;
        }
    }
    print(&report.spent())?;
    if !files.is_empty() {
        let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        print(&format!("report: {}", files.join(", ")))?;
    }
    print(&format!("verdict: {}. {}.", report.verdict.name(), report.summary()))
}

fn mark(verdict: assay_audit::Verdict) -> &'static str {
    match verdict {
        assay_audit::Verdict::Pass => "pass",
        assay_audit::Verdict::Fail => "FAIL",
        assay_audit::Verdict::Inconclusive | assay_audit::Verdict::Unreliable => "open",
    }
}

/// A rate on two lines: the number, and below it what stands behind it.
fn cell(estimate: &Estimate) -> String {
    let (rate, low, high) = (100.0 * estimate.rate(), 100.0 * estimate.low(), 100.0 * estimate.high());
    format!("{rate:.1} %\n{}/{}, {low:.1} to {high:.1} %", estimate.hits(), estimate.of())
}

fn difference(paired: &Paired) -> String {
    format!("{}\n{}, {}", paired.difference, paired.reading(), paired.significance())
}
