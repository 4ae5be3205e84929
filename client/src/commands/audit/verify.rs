//! `assay report verify`: some samples of a report, measured again.

use std::path::Path;

use assay_attack::SampleId;
use assay_audit::{ModelRef, Plan, Repeated, Report};
use assay_data::{DataSource, Dataset, Draw};

use super::{measured, open};
use crate::args::{Args, Output, VerifyReport};
use crate::commands::{ROWS, report};
use crate::error::ClientError;
use crate::output::{Verdict, print, print_json, table};

/// Measures as many samples as asked for again, with the models that are hosted now, and says where the report says something else.
pub(crate) async fn run(args: &Args, command: &VerifyReport) -> Result<Verdict, ClientError> {
    let told = report::read(&command.record)?;
    let data = chosen(&told, command)?;
    let version =
        |facts: &assay_audit::ModelFacts| ModelRef { name: facts.name.clone(), version: facts.version.clone() };
    let plan = Plan {
        models: told.setup.models.iter().map(version).collect(),
        data: None,
        gates: Vec::new(),
        ..told.setup.plan.clone()
    };
    let (connection, mut session) = open(args, None).await?;
    let again = measured(&mut session, args, &plan, Some(data), None).await;
    drop(session);
    connection.close().await;
    shown(&told, &told.repeated(&again?), args.output)
}

/// As many of the report's samples as asked for, of each class its share.
fn chosen(told: &Report, command: &VerifyReport) -> Result<Dataset, ClientError> {
    let planned = told.setup.plan.data.as_ref().and_then(|data| data.path.as_deref());
    let path: &Path = command.data.as_deref().or(planned).ok_or_else(|| {
        ClientError::Usage("the report names no files with its samples; say with --data where they are".to_owned())
    })?;
    let wrong = |error: assay_data::DataError| {
        let hint = if command.data.is_none() { "; say with --data where the samples are" } else { "" };
        ClientError::Usage(format!("{error}{hint}"))
    };
    let source = DataSource::new(path).with_severity(command.severity);
    let all = Dataset::open(&source, None).map_err(wrong)?;
    let other = |what: &str| ClientError::Usage(format!("{}: {what} the data of the report", path.display()));
    let digest = &told.setup.data.digest;
    if !digest.is_empty() && digest != all.digest() {
        return Err(other("the SHA-256 is not that of"));
    }
    let rows: Vec<SampleId> = told.samples.positions.iter().copied().map(SampleId).collect();
    let data = all.chosen(&rows).map_err(wrong)?;
    if !data.labels().iter().map(|class| class.0).eq(told.samples.labels.iter().copied()) {
        return Err(other("the labels are not those of"));
    }
    Draw::Stratified.take(&data, command.samples, command.seed).map_err(wrong)
}

fn shown(told: &Report, repeated: &Repeated, output: Output) -> Result<Verdict, ClientError> {
    let verdict = if repeated.differences.is_empty() { Verdict::Pass } else { Verdict::Fail };
    if output == Output::Json {
        print_json(&serde_json::json!(repeated))?;
        return Ok(verdict);
    }
    let (samples, all) = (repeated.samples, told.samples.positions.len());
    let (compared, different) = (repeated.compared, repeated.differences.len());
    if different > 0 {
        let mut rows = table(&["model", "threat", "sample", "reported", "found"], &[2]);
        for departure in repeated.differences.iter().take(ROWS) {
            let sample = departure.sample.map(|sample| sample.to_string()).unwrap_or_default();
            let threat = departure.threat.as_deref().unwrap_or("without attack");
            rows.add_row([&*departure.model, threat, &sample, &departure.reported, &departure.found]);
        }
        print(&rows)?;
    }
    let environment = &told.setup.environment;
    print(&format!("{samples} of {all} samples were measured again: {different} of {compared} findings differ"))?;
    if different > 0 {
        print(&format!(
            "the report was made with assay {}, ONNX Runtime {}; other versions may find other adversarial samples, another file of a model is another model",
            environment.assay, environment.onnxruntime
        ))?;
    }
    Ok(verdict)
}
