//! Accuracy of the models side by side, with paired differences, and what the gates made of it.

use std::fmt::{self, Write};

use super::markup::{Cell, Text, class, end, end_table, section, table};
use crate::report::text::{Count, PROVED, Tone, outcome, tone};
use crate::report::{ModelResult, Report};
use crate::stats::{Estimate, Paired};

const ABOUT: &str = "Whiskers and ranges are exact 95 % confidence intervals (Clopper–Pearson). Robust: correct under every attack of \
                     the threat. Stable: prediction, right or wrong, unchanged by every attack.";

pub(super) fn write(report: &Report, out: &mut dyn Write) -> fmt::Result {
    let certifies = report.setup.plan.certification.is_some();
    let about = if certifies { format!("{ABOUT} {PROVED}") } else { ABOUT.to_owned() };
    section(out, "accuracy", "Accuracy", &about)?;
    let mut headings = vec!["Measure".to_owned()];
    headings.extend(report.models.iter().map(|model| Text(&model.title).to_string()));
    let from = report.setup.baseline.as_ref().map(|accepted| format!(" from {}", Text(&accepted.title())));
    let difference = format!("Difference{} on the same samples", from.unwrap_or_default());
    headings.extend(report.comparison.as_ref().map(|_| difference));
    table(out, "Accuracy", "", headings)?;
    let comparison = report.comparison.as_ref();
    let clean = |model: &ModelResult| Some(model.clean);
    measure(report, out, "", "Clean accuracy", clean, comparison.map(|c| &c.clean))?;
    for (i, threat) in report.setup.threats.iter().enumerate() {
        let title = threat.title();
        let paired = comparison.and_then(|c| c.threats.get(i));
        let robust = |model: &ModelResult| model.threats.get(i).map(|threat| threat.robust);
        measure(report, out, "robust", &format!("Robust accuracy, {title}"), robust, paired)?;
        let verified = |model: &ModelResult| model.threats.get(i)?.verified.as_ref().map(|verified| verified.vra);
        if report.models.iter().any(|model| verified(model).is_some()) {
            measure(report, out, "robust", &format!("Verified accuracy, {title}"), verified, None)?;
        }
        let stable = |model: &ModelResult| model.threats.get(i).map(|threat| threat.stability);
        measure(report, out, "stable", &format!("Stability, {title}"), stable, None)?;
    }
    end_table(out)?;
    hints(report, out)?;
    end(out)
}

/// What to do where nothing is certified.
fn hints(report: &Report, out: &mut dyn Write) -> fmt::Result {
    for model in &report.models {
        for threat in &model.threats {
            if let Some(hint) = threat.verified.as_ref().and_then(|verified| verified.hint()) {
                writeln!(out, "<p>{}, {}: {hint}</p>", Text(&model.title), Text(&threat.title))?;
            }
        }
    }
    Ok(())
}

fn measure(
    report: &Report,
    out: &mut dyn Write,
    row: &str,
    name: &str,
    value: impl Fn(&ModelResult) -> Option<Estimate>,
    paired: Option<&Paired>,
) -> fmt::Result {
    write!(out, "<tr class=\"{row}\"><th scope=\"row\">{}</th>", Text(name))?;
    for estimate in report.models.iter().filter_map(value) {
        write!(out, "<td>{}</td>", Cell(&estimate))?;
    }
    if let Some(paired) = paired {
        let tone = match paired.reading() {
            "worse" => class(Tone::Bad),
            "better" => class(Tone::Good),
            _ => "quiet",
        };
        write!(
            out,
            "<td><span class=\"pill {tone}\">{}</span><br>{}<small>{} only by the first, {} only by the second</small>\
             <small>McNemar’s exact test, {}</small></td>",
            paired.reading(),
            &paired.difference,
            Count(paired.only_first),
            Count(paired.only_second),
            Text(&paired.significance())
        )?;
    } else if report.comparison.is_some() {
        write!(out, "<td></td>")?;
    }
    writeln!(out, "</tr>")
}

pub(super) fn gates(report: &Report, out: &mut dyn Write) -> fmt::Result {
    if report.gates.is_empty() {
        return Ok(());
    }
    section(
        out,
        "gates",
        "Gates",
        "Decided where the samples prove it, at a level of 5 % for all numbers together; what they do not prove is inconclusive.",
    )?;
    table(out, "Gates", "", ["Gate", "Outcome", "Observed"])?;
    for result in &report.gates {
        let (pill, word, demand) = (class(tone(result.verdict)), outcome(result.verdict), result.gate.to_string());
        write!(
            out,
            "<tr><th scope=\"row\">{}</th><td><span class=\"pill {pill}\">{word}</span></td><td><ul class=\"checks\">",
            Text(&demand)
        )?;
        for check in &result.checks {
            let word = match tone(check.verdict) {
                Tone::Good => String::new(),
                _ => format!(" <strong>({})</strong>", outcome(check.verdict)),
            };
            write!(out, "<li>{}{word}</li>", Text(&check.to_string()))?;
        }
        writeln!(out, "</ul></td></tr>")?;
    }
    end_table(out)?;
    end(out)
}
