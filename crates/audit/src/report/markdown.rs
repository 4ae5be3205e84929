//! The report for pull requests and wikis: GitHub-flavoured Markdown.

use std::fmt::{self, Write};

use super::text::{Attack, Count, Fraction, Interval, PROVED, Percent, SHOWN, Spent, Time, outcome};
use super::{Render, Report, Transfer};
use crate::stats::{Estimate, Paired};

/// Markdown with tables and no pictures, what decides first. The long tables are folded in `<details>`, the only HTML.
pub struct Markdown;

impl Render for Markdown {
    fn render(&self, report: &Report, out: &mut dyn Write) -> fmt::Result {
        let mark = report.verdict.name().to_uppercase();
        writeln!(out, "# Robustness audit: {}\n", escaped(&report.subjects()))?;
        write!(out, "**{mark}** · {}", report.summary())?;
        if let Some(run) = &report.run {
            write!(out, " · {}", escaped(&run.circumstances.date))?;
        }
        writeln!(out, "\n")?;
        gates(report, out)?;
        accuracy(report, out)?;
        comparison(report, out)?;
        flags(report, out)?;
        folded(out, "Attacks", |out| attacks(report, out))?;
        folded(out, "Classes", |out| classes(report, out))?;
        folded(out, "To repeat it", |out| setup(report, out))
    }
}

/// Something long below a line that opens it. Empty lines around make it Markdown again.
fn folded(out: &mut dyn Write, title: &str, content: impl FnOnce(&mut dyn Write) -> fmt::Result) -> fmt::Result {
    writeln!(out, "<details>\n<summary>{title}</summary>\n")?;
    content(out)?;
    writeln!(out, "</details>\n")
}

fn flags(report: &Report, out: &mut dyn Write) -> fmt::Result {
    if report.flags.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Flags\n\nSigns that a number says less than it seems to.\n")?;
    for raised in &report.flags {
        let (model, name) = (escaped(report.model_title(raised.model)), raised.kind.name());
        let (cause, meaning, remedy) = (raised.kind.cause(), raised.kind.meaning(), raised.kind.remedy());
        let seen: Vec<_> = raised.stages.iter().map(|seen| escaped(&seen.to_string())).collect();
        writeln!(out, "- **{name}**, {model} ({}). {cause} {meaning} **What to do:** {remedy}", seen.join("; "))?;
    }
    writeln!(out)
}

fn accuracy(report: &Report, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "## Accuracy\n\n| model | measure | rate | samples | interval |\n|---|---|--:|--:|---|")?;
    let mut row = |model: &str, measure: &str, estimate: &Estimate| {
        let (rate, samples, interval) = (Percent(estimate.rate()), Fraction(estimate), Interval(estimate));
        writeln!(out, "| {} | {} | {rate} | {samples} | {interval} |", escaped(model), escaped(measure))
    };
    for model in &report.models {
        row(&model.title, "clean accuracy", &model.clean)?;
        for threat in &model.threats {
            row(&model.title, &format!("robust accuracy, {}", threat.title), &threat.robust)?;
            if let Some(verified) = &threat.verified {
                row(&model.title, &format!("verified accuracy, {}", threat.title), &verified.vra)?;
            }
            row(&model.title, &format!("stability, {}", threat.title), &threat.stability)?;
        }
    }
    writeln!(out)?;
    certificates(report, out)
}

/// How the verified accuracies are to be read, and what to do where they are none.
fn certificates(report: &Report, out: &mut dyn Write) -> fmt::Result {
    if report.setup.plan.certification.is_none() {
        return Ok(());
    }
    writeln!(out, "{PROVED}\n")?;
    for model in &report.models {
        for threat in &model.threats {
            if let Some(hint) = threat.verified.as_ref().and_then(|verified| verified.hint()) {
                writeln!(out, "- {}, {}: {hint}\n", escaped(&model.title), escaped(&threat.title))?;
            }
        }
    }
    Ok(())
}

fn comparison(report: &Report, out: &mut dyn Write) -> fmt::Result {
    let (Some(comparison), Some(titles)) = (&report.comparison, report.compared()) else { return Ok(()) };
    let [first, second] = titles.map(|title| escaped(&title));
    writeln!(out, "## {second} against {first}\n\nOn the same {} samples.\n", Count(comparison.clean.of()))?;
    writeln!(
        out,
        "| measure | difference | only {first} | only {second} | McNemar | reading |\n|---|---|--:|--:|---|---|"
    )?;
    let mut row = |measure: &str, paired: &Paired| {
        let (difference, p) = (&paired.difference, paired.significance());
        let (lost, gained) = (Count(paired.only_first), Count(paired.only_second));
        writeln!(out, "| {} | {difference} | {lost} | {gained} | {p} | {} |", escaped(measure), paired.reading())
    };
    row("clean accuracy", &comparison.clean)?;
    for (threat, paired) in report.setup.threats.iter().zip(&comparison.threats) {
        row(&format!("robust accuracy, {}", threat.title()), paired)?;
    }
    writeln!(out)
}

fn gates(report: &Report, out: &mut dyn Write) -> fmt::Result {
    if report.gates.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Gates\n")?;
    for result in &report.gates {
        writeln!(out, "- **{}**: {}", outcome(result.verdict), escaped(&result.gate.to_string()))?;
        for check in &result.checks {
            writeln!(out, "  - {}: {}", outcome(check.verdict), escaped(&check.to_string()))?;
        }
    }
    writeln!(out)
}

fn attacks(report: &Report, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "In sequence each attack works on what the ones before it left; separate ones see all samples.\n")?;
    if report.setup.plan.transfer {
        writeln!(out, "{SHOWN}\n")?;
    }
    writeln!(out, "| model | threat | attack | broken | robust | cost |\n|---|---|---|---|---|---|")?;
    for model in &report.models {
        for (threat, facts) in model.threats.iter().zip(&report.setup.threats) {
            for (attack, name) in threat.attacks.iter().zip(facts.attack_titles()) {
                let broken = attack.success.as_ref().map_or_else(|| "none left".to_owned(), |e| e.to_string());
                let [model, title, name] = [&model.title, &threat.title, &name].map(|text| escaped(text));
                let (robust, cost) = (&attack.robust, Spent(&attack.cost));
                writeln!(out, "| {model} | {title} | {name} | {broken} | {robust} | {cost} |")?;
            }
            if let Some(Transfer { from, misled, robust }) = &threat.transfer {
                let misled = misled.as_ref().map_or_else(|| "none found".to_owned(), |e| e.to_string());
                let [model, title, from] = [&model.title, &threat.title, from].map(|text| escaped(text));
                writeln!(out, "| {model} | {title} | what was found on {from} | {misled} | {robust} | |")?;
            }
            if let Some(verified) = &threat.verified {
                let [model, title] = [&model.title, &threat.title].map(|text| escaped(text));
                let (bounds, rest, vra) = (verified.bounds(), verified.rest(), &verified.vra);
                writeln!(out, "| {model} | {title} | certificates: {bounds} | {rest} | {vra} | |")?;
            }
            if threat.errors + threat.unstable > 0 {
                let [model, title] = [&model.title, &threat.title].map(|text| escaped(text));
                let (errors, unstable) = (Count(threat.errors), Count(threat.unstable));
                writeln!(
                    out,
                    "| {model} | {title} | not measured | {errors} errors, {unstable} unstable | not robust | |"
                )?;
            }
        }
    }
    writeln!(out)
}

fn classes(report: &Report, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "| model | class | clean accuracy |{}", {
        let mut heads = String::new();
        for threat in &report.setup.threats {
            write!(heads, " robust accuracy, {} |", escaped(&threat.title()))?;
        }
        heads
    })?;
    writeln!(out, "|---|---|---|{}", "---|".repeat(report.setup.threats.len()))?;
    for model in &report.models {
        for class in &model.classes {
            let name = report.class_name(class.class);
            write!(out, "| {} | {} | {} |", escaped(&model.title), escaped(&name), &class.clean)?;
            for robust in &class.robust {
                write!(out, " {} |", robust)?;
            }
            writeln!(out)?;
        }
    }
    writeln!(out)
}

fn setup(report: &Report, out: &mut dyn Write) -> fmt::Result {
    let setup = &report.setup;
    writeln!(out, "| what | value |\n|---|---|")?;
    let mut row = |what: &str, value: &str| writeln!(out, "| {} | {} |", escaped(what), escaped(value));
    for model in &setup.models {
        let parameters = Count(model.parameters);
        let kind = if model.kind.is_empty() { String::new() } else { format!("{}, ", model.kind) };
        let (gradients, provider, digest) = (&model.gradients, &model.provider, &model.digest);
        let facts = format!("{kind}{parameters} parameters, {gradients}, on {provider}, SHA-256 {digest}");
        row(&format!("model {} {}", model.name, model.version), &facts)?;
    }
    let digest = if setup.data.digest.is_empty() { "not given" } else { &setup.data.digest };
    let samples = Count(setup.data.samples);
    row(&format!("data {}", setup.data.name), &format!("{samples} samples, SHA-256 {digest}"))?;
    for threat in &setup.threats {
        let attacks: Vec<_> = threat.attacks.iter().map(|attack| Attack(attack).to_string()).collect();
        row(&format!("threat {}", threat.title()), &attacks.join("; "))?;
    }
    row("seed", &setup.plan.seed.to_string())?;
    row("cost", &Spent(&report.cost).to_string())?;
    if let Some(run) = &report.run {
        row("time", &Time(run.seconds).to_string())?;
    }
    row("assay", &setup.environment.assay)?;
    row("ONNX Runtime", &setup.environment.onnxruntime)?;
    writeln!(out)
}

/// Text that Markdown shows as it is: characters with a meaning are escaped, and line breaks become spaces.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '@' => escaped.extend(['\\', character]),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    // A bare address would become a link.
    escaped.replace("://", ":&#47;/").replace("www.", "www&#46;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn snapshot() {
        insta::assert_snapshot!(Markdown.to_text(&fixture::report()));
    }

    #[test]
    fn names_cannot_become_markup() {
        let text = Markdown.to_text(&fixture::hostile());
        for markup in ["<script", "<img", "<b>", "![x]", "\n# c", " `d`", "*it*", "://"] {
            assert!(!text.contains(markup), "{markup} in {text}");
        }
        // Three folds of our own, and nothing else that could be HTML.
        assert_eq!(text.matches('<').count(), 3 * 4);
        for tag in ["<details>", "</details>", "<summary>", "</summary>"] {
            assert_eq!(text.matches(tag).count(), 3, "{tag}");
        }
        // Every row of a table still has as many cells as its heading.
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        let lines: Vec<_> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair.iter().all(|line| line.starts_with('|'))) {
            assert_eq!(cells(pair[0]), cells(pair[1]), "{pair:?}");
        }
    }
}
