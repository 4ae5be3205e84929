//! The report of an audit: on the terminal, and in files.

use std::path::{Path, PathBuf};

use assay_audit::{Estimate, Event, Format, Json, ModelResult, Paired, Render, Report, Transfer, to_lines};
use assay_proto::v1::{AuditReport, ReportFormat};

use crate::args::Output;
use crate::commands::report::{RECORD, renderer};
use crate::error::ClientError;
use crate::output::{Verdict, must_be_writable, print, table};

/// A report to write, with the format that its ending says.
pub(super) struct Target<'a> {
    path: &'a Path,
    /// `None`: the record, which only the server has.
    format: Option<Format>,
}

/// What to ask the server for beside the report: everything else is made of it here.
pub(super) fn formats(targets: &[Target<'_>]) -> Vec<i32> {
    let record = targets.iter().any(|target| target.format.is_none());
    if record { vec![ReportFormat::Record.into()] } else { Vec::new() }
}

/// A report that was made, and the texts of it that cannot be made again here.
pub(super) struct Made {
    report: Report,
    json: String,
    /// If it was asked for.
    record: Option<String>,
}

impl Made {
    /// What a server answers.
    pub(super) fn answered(answer: AuditReport) -> Result<Self, ClientError> {
        let AuditReport { json, rendered, .. } = answer;
        let report = serde_json::from_str(&json)
            .map_err(|error| ClientError::Protocol(format!("the report's JSON: {error}")))?;
        let record = rendered.into_iter().find(|rendered| rendered.format() == ReportFormat::Record);
        Ok(Self { report, json, record: record.map(|rendered| rendered.text) })
    }

    /// What these events tell.
    pub(super) fn of(events: &[Event]) -> Result<Self, ClientError> {
        let wrong = |error: &dyn std::error::Error| ClientError::Protocol(format!("the record of the audit: {error}"));
        let report = Report::fold(events).map_err(|error| wrong(&error))?;
        let record = to_lines(events).map_err(|error| wrong(&error))?;
        Ok(Self { json: Json.to_text(&report), report, record: Some(record) })
    }
}

/// Writes and prints a report; the verdict is what it says.
pub(super) fn deliver(
    made: &Made,
    targets: &[Target<'_>],
    files: &[PathBuf],
    output: Output,
) -> Result<Verdict, ClientError> {
    let report = &made.report;
    // Files first: they must be there even when the gates fail. One that cannot be written does not hide the result.
    let written = targets.iter().try_for_each(|target| target.write(made));
    match output {
        Output::Json => print(&made.json)?,
        Output::Human => show(report, if written.is_ok() { files } else { &[] })?,
    }
    written?;
    // A part decides nothing.
    Ok(if report.setup.shard.is_some() { Verdict::Pass } else { report.verdict.into() })
}

impl<'a> Target<'a> {
    pub(super) fn new(path: &'a Path) -> Result<Self, ClientError> {
        if path.extension().is_some_and(|ending| ending == RECORD) {
            must_be_writable("--report", path)?;
            return Ok(Self { path, format: None });
        }
        Ok(Self { path, format: Some(renderer(path)?) })
    }

    fn write(&self, made: &Made) -> Result<(), ClientError> {
        let text = match self.format {
            Some(format) => format.render(&made.report),
            None => made.record.clone().ok_or_else(|| ClientError::Protocol("no record of the audit".to_owned()))?,
        };
        std::fs::write(self.path, text)
            .map_err(|error| ClientError::Environment(format!("cannot write {}: {error}", self.path.display())))
    }
}

/// The result for people: accuracies, the comparison, the gates.
fn show(report: &Report, files: &[PathBuf]) -> Result<(), ClientError> {
    let mut heads = vec!["accuracy"];
    heads.extend(report.models.iter().map(|m| m.title.as_str()));
    let from = report.setup.baseline.as_ref().map(|accepted| format!("difference from {}", accepted.title()));
    if report.comparison.is_some() {
        heads.push(from.as_deref().unwrap_or("difference on the same samples"));
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
        let verified = |model: &ModelResult| model.threats.get(i)?.verified.as_ref().map(|verified| verified.vra);
        if report.models.iter().any(|model| verified(model).is_some()) {
            let mut row = vec![format!("verified, {}", threat.title)];
            row.extend(report.models.iter().filter_map(verified).map(|vra| cell(&vra)));
            rows.add_row(row);
        }
        if report.setup.plan.transfer {
            let mut row = vec!["and what was found\non the other model".to_owned()];
            row.extend(report.models.iter().filter_map(|m| m.threats.get(i)).map(|t| transferred(t.transfer.as_ref())));
            rows.add_row(row);
        }
    }
    print(&rows)?;

    for model in &report.models {
        for threat in &model.threats {
            let Some(verified) = &threat.verified else { continue };
            let hint = verified.hint().map(|hint| format!(". {hint}")).unwrap_or_default();
            let (bounds, rest) = (verified.bounds(), verified.rest());
            print(&format!("certified: {}, {}: by {bounds}; {rest}{hint}", model.title, threat.title))?;
        }
    }
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
    match report.setup.shard {
        Some(shard) => print(&format!("part {shard}: its gates are decided when `assay report merge` has all parts")),
        None => print(&format!("verdict: {}. {}.", report.verdict.name(), report.summary())),
    }
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

/// What is left of the robust samples, and below it how many that were found on the other model mislead this one.
fn transferred(transfer: Option<&Transfer>) -> String {
    let Some(Transfer { misled, robust, .. }) = transfer else { return String::new() };
    let misled = misled
        .as_ref()
        .map_or_else(|| "none was found".to_owned(), |misled| format!("{}/{} mislead it", misled.hits(), misled.of()));
    format!("{:.1} %\n{}/{}, {misled}", 100.0 * robust.rate(), robust.hits(), robust.of())
}

fn difference(paired: &Paired) -> String {
    format!("{}\n{}, {}", paired.difference, paired.reading(), paired.significance())
}
