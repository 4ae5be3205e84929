//! `assay plan`: plans of audits as files.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use assay_audit::{PLAN_TEMPLATE, Plan, PlanFileError, Quote, line_of, plan_schema};

use crate::args::{Output, PlanCommand};
use crate::error::ClientError;
use crate::output::{Verdict, print, print_json, table};

pub(crate) fn run(command: &PlanCommand, output: Output) -> Result<Verdict, ClientError> {
    match command {
        PlanCommand::Init { file } => init(file)?,
        PlanCommand::Check { file, samples } => check(file, *samples, output)?,
        PlanCommand::Schema => print(plan_schema().trim_end())?,
    }
    Ok(Verdict::Pass)
}

/// Reads a plan that makes sense, and its text.
pub(crate) fn read(file: &Path) -> Result<(Plan, String), ClientError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| ClientError::Usage(format!("--plan {}: {error}", file.display())))?;
    let plan = Plan::parse(&text).map_err(|error| wrong(file, &error))?;
    Ok((plan, text))
}

/// `audit.toml:7: evaluations[0].eps: ...`, as compilers say it.
pub(super) fn wrong(file: &Path, PlanFileError { line, error }: &PlanFileError) -> ClientError {
    ClientError::Usage(format!("{}{}: {error}", file.display(), at(*line)))
}

/// Writes the template, and never over another file.
fn init(file: &Path) -> Result<(), ClientError> {
    let failed = |error: std::io::Error| {
        let remedy = if file.exists() { "; name another file, or remove this one" } else { "" };
        ClientError::Usage(format!("{}: {error}{remedy}", file.display()))
    };
    let mut made = File::create_new(file).map_err(failed)?;
    made.write_all(PLAN_TEMPLATE.as_bytes()).map_err(failed)?;
    print(&format!("wrote {}; change it, and see what it says with `assay plan check {0}`", file.display()))
}

fn check(file: &Path, samples: Option<u64>, output: Output) -> Result<(), ClientError> {
    let (plan, text) = read(file)?;
    let samples = samples.or(plan.data.as_ref().and_then(|data| data.samples));
    let quoted = plan.quote().map_err(|error| ClientError::Usage(format!("{}: {error}", file.display())))?;
    let models = plan.models.len() as u64;
    // How large a sample is says what a shard has of them, and this is about all.
    let whole = samples.map(|samples| Quote::of(&plan, samples, 1, None)).transpose();
    let whole = whole.map_err(|error| ClientError::Usage(format!("{}: {error}", file.display())))?;
    let (queries, gradients) = whole.map(|quote| quote.cost()).map(|cost| (cost.queries, cost.gradients)).unzip();
    let undecidable = open_gates(&text, &plan, samples);
    if output == Output::Json {
        let stages: Vec<_> = quoted
            .iter()
            .map(|s| {
                let (queries, gradients) = (s.cost.queries, s.cost.gradients);
                serde_json::json!({"threat": s.threat, "attack": s.attack, "queries": queries, "gradients": gradients})
            })
            .collect();
        let total = serde_json::json!({"queries": queries, "gradients": gradients});
        let open: Vec<_> =
            undecidable.iter().map(|gate| serde_json::json!({"line": gate.line, "reason": gate.what})).collect();
        return print_json(&serde_json::json!({
            "samples": samples, "models": models, "stages": stages, "total": total, "undecidable": open
        }));
    }
    let mut rows = table(&["threat", "attack", "queries for each sample, at most", "gradients"], &[2, 3]);
    for stage in &quoted {
        let (queries, gradients) = (stage.cost.queries.to_string(), stage.cost.gradients.to_string());
        rows.add_row([stage.threat.as_str(), stage.attack, &queries, &gradients]);
    }
    print(&rows)?;
    match (samples, queries, gradients) {
        (Some(samples), Some(queries), Some(gradients)) => print(&format!(
            "{samples} samples, {models} {}: {queries} queries and {gradients} gradients at most; a sample that is broken costs less",
            if models == 1 { "model" } else { "models" }
        ))?,
        _ => print("the number of samples is not in the plan: say it with --samples to see what all of it costs")?,
    }
    if plan.check_compared(false).is_err() {
        print(
            "a gate compares, and there is one model: `assay audit --baseline REPORT` compares it with that of an accepted report",
        )?;
    }
    for gate in undecidable {
        print(&format!("{}{}: {}", file.display(), at(gate.line), gate.what))?;
    }
    print(&format!("{} makes sense", file.display()))
}

/// A gate that the samples cannot decide: a plan that makes sense, and demands too much of them.
struct Open {
    line: Option<usize>,
    what: String,
}

fn open_gates(text: &str, plan: &Plan, samples: Option<u64>) -> Vec<Open> {
    let gates = samples.map(|samples| plan.undecidable(samples)).unwrap_or_default().into_iter();
    gates
        .map(|gate| Open { line: line_of(text, &gate.field), what: format!("{} {}", gate.field, gate.reason) })
        .collect()
}

fn at(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(":{line}"))
}
