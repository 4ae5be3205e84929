//! The report of an audit: on the terminal, and in files.

use std::path::{Path, PathBuf};

use assay_audit::{Estimate, Paired, Report};
use assay_proto::v1::{AuditReport, ReportFormat};

use crate::args::Output;
use crate::error::ClientError;
use crate::output::{Verdict, must_be_writable, print, table};

/// A report to write, with the format that its ending says.
pub(super) struct Target<'a> {
    path: &'a Path,
    format: Option<ReportFormat>,
}

/// The formats to ask for.
pub(super) fn formats(targets: &[Target<'_>]) -> Vec<i32> {
    targets.iter().filter_map(|target| target.format.map(Into::into)).collect()
}

/// Writes and prints a report; the verdict is what it says.
pub(super) fn deliver(
    answer: &AuditReport,
    targets: &[Target<'_>],
    files: &[PathBuf],
    output: Output,
) -> Result<Verdict, ClientError> {
    let report: Report = serde_json::from_str(&answer.json)
        .map_err(|error| ClientError::Protocol(format!("the report's JSON: {error}")))?;

    // Files first: they must be there even when the gates fail. One that cannot be written does not hide the result.
    let written = targets.iter().try_for_each(|target| target.write(answer));
    match output {
        Output::Json => print(&answer.json)?,
        Output::Human => show(&report, if written.is_ok() { files } else { &[] })?,
    }
    written?;
    Ok(match report.verdict {
        assay_audit::Verdict::Pass => Verdict::Pass,
        assay_audit::Verdict::Fail => Verdict::Fail,
    })
}

impl<'a> Target<'a> {
    pub(super) fn new(path: &'a Path) -> Result<Self, ClientError> {
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

    for finding in &report.findings {
        let (model, advice) = (report.model_title(finding.model), finding.kind.advice());
        print(&format!("warning: {model}, {} of {} samples: {advice}", finding.hits, finding.of))?;
    }
    for result in &report.gates {
        print(&format!("{} {}", mark(result.passed), result.gate))?;
        for check in &result.checks {
            print(&format!("     {} {check}", mark(check.passed)))?;
        }
    }
    print(&format!("cost: {}", report.cost))?;
    if !files.is_empty() {
        let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        print(&format!("report: {}", files.join(", ")))?;
    }
    let verdict = match report.verdict {
        assay_audit::Verdict::Pass => "pass",
        assay_audit::Verdict::Fail => "fail",
    };
    print(&format!("verdict: {verdict}. {}.", report.summary()))
}

fn mark(passed: bool) -> &'static str {
    if passed { "pass" } else { "FAIL" }
}

/// A rate on two lines: the number, and below it what stands behind it.
fn cell(estimate: &Estimate) -> String {
    let (rate, low, high) = (100.0 * estimate.rate(), 100.0 * estimate.low(), 100.0 * estimate.high());
    format!("{rate:.1} %\n{}/{}, {low:.1} to {high:.1} %", estimate.hits(), estimate.of())
}

fn difference(paired: &Paired) -> String {
    format!("{}\n{}, {}", paired.difference, paired.reading(), paired.significance())
}
