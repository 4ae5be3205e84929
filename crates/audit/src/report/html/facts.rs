//! What is needed to repeat the audit.

use std::fmt::{self, Write};

use super::markup::{Text, end, end_table, section, table};
use crate::event::Environment;
use crate::report::Report;
use crate::report::text::{Attack, Count, Spent, Time};

pub(super) fn write(report: &Report, out: &mut dyn Write) -> fmt::Result {
    let setup = &report.setup;
    section(out, "facts", "To repeat it", "The same files, plan and seed give the same outcomes.")?;
    table(out, "To repeat it", "facts", ["What", "Value"])?;
    let mut row = |name: &str, value: &str, digest: Option<&str>| {
        write!(out, "<tr><th scope=\"row\">{}</th><td>{}", Text(name), Text(value))?;
        if let Some(digest) = digest {
            let digest = if digest.is_empty() { "not given" } else { digest };
            write!(out, "<br>SHA-256 <code>{}</code>", Text(digest))?;
        }
        writeln!(out, "</td></tr>")
    };
    for model in &setup.models {
        let kind = if model.kind.is_empty() { String::new() } else { format!("{}, ", model.kind) };
        let value = format!(
            "{}, version {}, {kind}{} parameters, {}, on {}",
            model.name,
            model.version,
            Count(model.parameters),
            model.gradients,
            model.provider
        );
        row("Model", &value, Some(&model.digest))?;
    }
    if let Some(accepted) = &setup.baseline {
        let Environment { assay, onnxruntime, .. } = &accepted.environment;
        let value = format!("{}, measured with assay {assay}, ONNX Runtime {onnxruntime}", accepted.title());
        row("Baseline", &value, Some(&accepted.model.digest))?;
    }
    let data = format!("{}, {} samples", setup.data.name, Count(setup.data.samples));
    row("Data", &data, Some(&setup.data.digest))?;
    for threat in &setup.threats {
        let attacks: Vec<_> = threat.attacks.iter().map(|attack| Attack(attack).to_string()).collect();
        row(&format!("Threat {}", threat.title()), &attacks.join("; "), None)?;
    }
    row("Seed", &setup.plan.seed.to_string(), None)?;
    row("Cost", &Spent(&report.cost).to_string(), None)?;
    let environment = &setup.environment;
    row("Software", &format!("assay {}, ONNX Runtime {}", environment.assay, environment.onnxruntime), None)?;
    if let Some(run) = &report.run {
        row("Time", &Time(run.seconds).to_string(), None)?;
        row("Date", &run.circumstances.date, None)?;
    }
    end_table(out)?;
    end(out)
}
