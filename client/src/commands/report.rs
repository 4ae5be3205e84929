//! `assay report`: reports of audits that were made before, in any format, and those of shards as one.

use std::fs;
use std::path::{Path, PathBuf};

use assay_audit::{Event, Format, Report, from_lines, merge, report_schema};

use super::audit;
use crate::args::{Args, ReportCommand};
use crate::error::ClientError;
use crate::output::{Verdict, must_be_writable, print};

/// The ending of records of audits: one event a line.
pub(super) const RECORD: &str = "jsonl";

pub(crate) async fn run(args: &Args, command: &ReportCommand) -> Result<Verdict, ClientError> {
    let (report, files) = match command {
        ReportCommand::Render { record, reports } => (read(record)?, reports),
        ReportCommand::Merge { records, reports } => (merged(records)?, reports),
        // Whoever annotates has the verdict already.
        ReportCommand::Annotate { record } => {
            print(Format::Github.render(&read(record)?).trim_end())?;
            return Ok(Verdict::Pass);
        }
        ReportCommand::Verify(command) => return audit::verify(args, command).await,
        ReportCommand::Schema => {
            print(report_schema().trim_end())?;
            return Ok(Verdict::Pass);
        }
    };
    let targets =
        files.iter().map(|file| renderer(file).map(|format| (file, format))).collect::<Result<Vec<_>, _>>()?;
    for (file, format) in targets {
        fs::write(file, format.render(&report))
            .map_err(|error| ClientError::Environment(format!("--report {}: {error}", file.display())))?;
    }
    print(&report.summary())?;
    Ok(report.verdict.into())
}

/// A report, or the events that it is made of.
pub(super) fn read(file: &Path) -> Result<Report, ClientError> {
    let text = text(file)?;
    if file.extension().is_some_and(|ending| ending == RECORD) {
        return fold(file, &events(file, &text)?);
    }
    serde_json::from_str(&text).map_err(|error| {
        let expected = "expected a report in JSON (.json), or the record of an audit (.jsonl)";
        ClientError::Usage(format!("{}: {error}; {expected}", file.display()))
    })
}

fn merged(named: &[PathBuf]) -> Result<Report, ClientError> {
    let files = named.iter().map(|path| records_of(path)).collect::<Result<Vec<_>, _>>()?.concat();
    let records = files.iter().map(|file| events(file, &text(file)?)).collect::<Result<Vec<_>, _>>()?;
    let whole = merge(&records).map_err(|error| {
        let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        ClientError::Usage(format!("{}: {error}", names.join(", ")))
    })?;
    Report::fold(&whole).map_err(|error| ClientError::Usage(error.to_string()))
}

/// A record, or those in a folder.
fn records_of(path: &Path) -> Result<Vec<PathBuf>, ClientError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error: std::io::Error| ClientError::Usage(format!("{}: {error}", path.display()));
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|ending| ending == RECORD) {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        Err(ClientError::Usage(format!("{}: holds no record (.jsonl)", path.display())))
    } else {
        Ok(files)
    }
}

fn fold(file: &Path, events: &[Event]) -> Result<Report, ClientError> {
    Report::fold(events).map_err(|error| ClientError::Usage(format!("{}: {error}", file.display())))
}

fn events(file: &Path, text: &str) -> Result<Vec<Event>, ClientError> {
    from_lines(text).map_err(|error| ClientError::Usage(format!("{}:{error}", file.display())))
}

fn text(file: &Path) -> Result<String, ClientError> {
    fs::read_to_string(file).map_err(|error| ClientError::Usage(format!("{}: {error}", file.display())))
}

/// The format that the ending of a file says, where it can be written.
pub(super) fn renderer(file: &Path) -> Result<Format, ClientError> {
    must_be_writable("--report", file)?;
    Format::of(file).ok_or_else(|| {
        let known = Format::ALL.into_iter().filter_map(|format| format.endings().first());
        let endings: Vec<_> = known.map(|ending| format!(".{ending}")).collect();
        ClientError::Usage(format!(
            "--report {}: the ending must be one of {}, or .{RECORD} where an audit is made",
            file.display(),
            endings.join(", ")
        ))
    })
}
