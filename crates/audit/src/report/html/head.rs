//! What the page begins with: what was audited, the verdict, and reasons to doubt numbers.

use std::fmt::{self, Write};

use super::markup::{Prose, Text, class, end, section};
use crate::report::Report;
use crate::report::text::{Count, tone};

pub(super) fn write(report: &Report, out: &mut dyn Write) -> fmt::Result {
    let setup = &report.setup;
    let class = if report.gates.is_empty() { "quiet" } else { class(tone(report.verdict)) };
    let samples = Count(setup.data.samples);
    write!(
        out,
        "<header>\n<p class=\"kicker\">Robustness audit</p>\n<h1>{}</h1>\n<p>{samples} samples of {}",
        Text(&report.subjects()),
        Text(&setup.data.name)
    )?;
    if let Some(run) = &report.run {
        write!(out, " · {}", Text(&run.circumstances.date))?;
    }
    let word = report.verdict.name().to_uppercase();
    writeln!(
        out,
        "</p>\n<p class=\"verdict {class}\"><strong>{word}</strong><span>{}</span></p>\n</header>",
        Text(&report.summary())
    )
}

pub(super) fn flags(report: &Report, out: &mut dyn Write) -> fmt::Result {
    if report.flags.is_empty() {
        return Ok(());
    }
    section(out, "flags", "Flags", "Signs that a number says less than it seems to.")?;
    writeln!(out, "<ul class=\"flags\">")?;
    for raised in &report.flags {
        let (model, name) = (Text(report.model_title(raised.model)), raised.kind.name());
        writeln!(
            out,
            "<li><h3>{name} <small>{model}</small></h3>\n<p>{}</p>\n<ul class=\"checks\">",
            Text(&raised.detail)
        )?;
        for seen in &raised.stages {
            writeln!(out, "<li>{}</li>", Text(&seen.to_string()))?;
        }
        writeln!(out, "</ul>\n<dl>")?;
        let said =
            [("Cause", raised.kind.cause()), ("Meaning", raised.kind.meaning()), ("What to do", raised.kind.remedy())];
        for (term, text) in said {
            writeln!(out, "<dt>{term}</dt><dd>{}</dd>", Prose(text))?;
        }
        writeln!(out, "</dl></li>")?;
    }
    writeln!(out, "</ul>")?;
    end(out)
}
