//! The report as one page: no script runs, nothing is loaded, and the report itself travels inside as JSON.

use std::fmt::{self, Write};

use assay_attack::Distance;

use super::text::{Attack, Count, Fraction, Interval, Percent, Spent, Time, outcome};
use super::{ModelResult, Render, Report};
use crate::event::{Example, Pictures};
use crate::judge::Verdict;
use crate::stats::{Estimate, Paired};

/// One self-contained HTML page, light and dark, for screens of any width.
pub struct Html;

impl Render for Html {
    fn render(&self, report: &Report, out: &mut dyn Write) -> fmt::Result {
        let title = report.subjects();
        write!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>Robustness audit: {}</title>\n<style>\n{}</style>\n</head>\n<body>\n",
            Text(&title),
            include_str!("html.css")
        )?;
        head(report, out)?;
        writeln!(out, "<main>")?;
        accuracy(report, out)?;
        gates(report, out)?;
        gallery(report, out)?;
        attacks(report, out)?;
        classes(report, out)?;
        facts(report, out)?;
        writeln!(out, "</main>")?;
        foot(report, out)
    }
}

/// Text between tags or in a quoted attribute.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A rate in a table cell: number, bar with the interval as a whisker, denominator and interval in words.
struct Cell<'a>(&'a Estimate);

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let estimate = self.0;
        let [rate, low, width] =
            [estimate.rate(), estimate.low(), estimate.high() - estimate.low()].map(|share| share * 100.0);
        write!(
            f,
            "<span class=\"rate\">{}</span><span class=\"bar\" aria-hidden=\"true\"><i style=\"width:{rate:.2}%\"></i>\
             <b style=\"left:{low:.2}%;width:{width:.2}%\"></b></span><small>{}</small><small>{}</small>",
            Percent(estimate.rate()),
            Fraction(estimate),
            Interval(estimate)
        )
    }
}

fn head(report: &Report, out: &mut dyn Write) -> fmt::Result {
    let setup = &report.setup;
    let class = if report.gates.is_empty() { "quiet" } else { tone(report.verdict) };
    let word = report.verdict.name().to_uppercase();
    let samples = Count(setup.data.samples);
    writeln!(
        out,
        "<header>\n<p class=\"kicker\">Robustness audit</p>\n<h1>{}</h1>\n<p>{samples} samples of {} · {}</p>\n</header>",
        Text(&report.subjects()),
        Text(&setup.data.name),
        Text(report.run.as_ref().map_or("", |run| &run.circumstances.date))
    )?;
    writeln!(
        out,
        "<div class=\"verdict {class}\" role=\"status\"><strong>{word}</strong><span>{}</span></div>",
        report.summary()
    )?;
    for raised in &report.flags {
        let (model, name) = (Text(report.model_title(raised.model)), raised.kind.name());
        let (meaning, remedy) = (raised.kind.meaning(), raised.kind.remedy());
        let seen: Vec<_> = raised.stages.iter().map(ToString::to_string).collect();
        let seen = seen.join("; ");
        writeln!(
            out,
            "<p class=\"note warn\"><strong>{name}</strong>, {model} ({}). {} {}</p>",
            Text(&seen),
            Text(meaning),
            Text(remedy)
        )?;
    }
    Ok(())
}

/// A section with a heading, a line that explains it, and a table that scrolls sideways where it must.
fn open(out: &mut dyn Write, id: &str, heading: &str, about: &str, class: &str) -> fmt::Result {
    writeln!(
        out,
        "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{heading}</h2>\n<p>{about}</p>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"{id}\">\n<table class=\"{class}\">"
    )
}

fn close(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "</tbody>\n</table>\n</div>\n</section>")
}

fn accuracy(report: &Report, out: &mut dyn Write) -> fmt::Result {
    let about = "Whiskers and ranges are exact 95 % confidence intervals (Clopper–Pearson). Robust: correct under every attack of \
                 the threat. Stable: prediction, right or wrong, unchanged by every attack.";
    open(out, "accuracy", "Accuracy", about, "")?;
    write!(out, "<thead><tr><th scope=\"col\">Measure</th>")?;
    for model in &report.models {
        write!(out, "<th scope=\"col\">{}</th>", Text(&model.title))?;
    }
    if report.comparison.is_some() {
        write!(out, "<th scope=\"col\">Difference on the same samples</th>")?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    let comparison = report.comparison.as_ref();
    let clean = |model: &ModelResult| Some(model.clean);
    measure(report, out, "", "Clean accuracy", clean, comparison.map(|c| &c.clean))?;
    for (i, threat) in report.setup.threats.iter().enumerate() {
        let title = threat.title();
        let paired = comparison.and_then(|c| c.threats.get(i));
        let robust = |model: &ModelResult| model.threats.get(i).map(|threat| threat.robust);
        measure(report, out, "robust", &format!("Robust accuracy, {title}"), robust, paired)?;
        let stable = |model: &ModelResult| model.threats.get(i).map(|threat| threat.stability);
        measure(report, out, "stable", &format!("Stability, {title}"), stable, None)?;
    }
    close(out)
}

fn measure(
    report: &Report,
    out: &mut dyn Write,
    class: &str,
    name: &str,
    value: impl Fn(&ModelResult) -> Option<Estimate>,
    paired: Option<&Paired>,
) -> fmt::Result {
    write!(out, "<tr class=\"{class}\"><th scope=\"row\">{}</th>", Text(name))?;
    for estimate in report.models.iter().filter_map(value) {
        write!(out, "<td>{}</td>", Cell(&estimate))?;
    }
    if let Some(paired) = paired {
        let tone = match paired.reading() {
            "worse" => "fail",
            "better" => "pass",
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
            paired.significance()
        )?;
    } else if report.comparison.is_some() {
        write!(out, "<td></td>")?;
    }
    writeln!(out, "</tr>")
}

fn gates(report: &Report, out: &mut dyn Write) -> fmt::Result {
    if report.gates.is_empty() {
        return Ok(());
    }
    let about = "Passed or failed is what one-sided tests prove at a level of 5 % for all numbers below together (Holm); else it is open.";
    open(out, "gates", "Gates", about, "")?;
    writeln!(
        out,
        "<thead><tr><th scope=\"col\">Gate</th><th scope=\"col\">Outcome</th><th scope=\"col\">Observed</th></tr></thead>\n<tbody>"
    )?;
    for result in &report.gates {
        let (tone, word) = (tone(result.verdict), outcome(result.verdict));
        let demand = result.gate.to_string();
        let demand = Text(&demand);
        write!(
            out,
            "<tr><th scope=\"row\">{demand}</th><td><span class=\"pill {tone}\">{word}</span></td><td><ul class=\"checks\">"
        )?;
        for check in &result.checks {
            let word = match check.verdict {
                Verdict::Pass => String::new(),
                other => format!(" <strong>({})</strong>", outcome(other)),
            };
            write!(out, "<li>{}{word}</li>", Text(&check.to_string()))?;
        }
        writeln!(out, "</ul></td></tr>")?;
    }
    close(out)
}

/// Class of the colours of a verdict.
fn tone(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Inconclusive | Verdict::Unreliable => "warn",
    }
}

fn gallery(report: &Report, out: &mut dyn Write) -> fmt::Result {
    if report.examples.iter().all(|example| example.pictures.is_none()) {
        return Ok(());
    }
    writeln!(
        out,
        "<section aria-labelledby=\"examples\">\n<h2 id=\"examples\">What the attacks did</h2>\n\
         <p>Some correctly classified samples whose prediction an attack changed. The change is drawn around mid-grey and amplified.</p>\n\
         <ul class=\"gallery\">"
    )?;
    for example in &report.examples {
        if let Some(pictures) = &example.pictures {
            figure(report, example, pictures, out)?;
        }
    }
    writeln!(out, "</ul>\n</section>")
}

fn figure(report: &Report, example: &Example, pictures: &Pictures, out: &mut dyn Write) -> fmt::Result {
    let clean = report.class_name(example.clean_prediction);
    let adversarial = report.class_name(example.adversarial_prediction);
    let sample = example.sample;
    let factor = format!("{:.1}", pictures.amplification);
    let shown = [
        (&pictures.original, format!("Sample {sample}, predicted {clean}"), "original", &clean),
        (&pictures.perturbation, format!("Change of sample {sample}, amplified {factor} times"), "change ×", &factor),
        (
            &pictures.adversarial,
            format!("Adversarial sample {sample}, predicted {adversarial}"),
            "adversarial",
            &adversarial,
        ),
    ];
    write!(out, "<li><figure><div class=\"triple\">")?;
    for (png, alt, caption, value) in shown {
        let (width, height, png, alt, value) = (pictures.width, pictures.height, Text(png), Text(&alt), Text(value));
        write!(
            out,
            "<span><img src=\"data:image/png;base64,{png}\" width=\"{width}\" height=\"{height}\" alt=\"{alt}\">\
             {caption} <b>{value}</b></span>"
        )?;
    }
    let Distance { linf, l2, l1, l0 } = example.distance;
    let (model, threat) = (Text(report.model_title(example.model)), report.threat_title(example.threat));
    let attack = Text(report.attack_name(example.threat, example.attack));
    writeln!(
        out,
        "</div><figcaption>Sample {sample}, {model}, {attack} {}: distance {linf:.4} in Linf, {l2:.3} in L2, {l1:.3} in L1, elements that differ {l0}</figcaption></figure></li>",
        Text(&threat)
    )
}

fn attacks(report: &Report, out: &mut dyn Write) -> fmt::Result {
    open(out, "attacks", "Attacks", "Each attack works on what the ones before it left.", "")?;
    write!(out, "<thead><tr>")?;
    for heading in ["Model", "Threat", "Attack", "Broken by it", "Robust after it", "Cost"] {
        write!(out, "<th scope=\"col\">{heading}</th>")?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    for model in &report.models {
        for threat in &model.threats {
            for attack in &threat.attacks {
                let [title, threat, name] = [&model.title, &threat.title, &attack.name].map(|text| Text(text));
                let broken = attack.success.as_ref().map_or_else(|| "none left".to_owned(), stacked);
                let (robust, cost) = (stacked(&attack.robust), Spent(&attack.cost));
                writeln!(
                    out,
                    "<tr><th scope=\"row\">{title}</th><td>{threat}</td><td>{name}</td><td>{broken}</td><td>{robust}</td><td>{cost}</td></tr>"
                )?;
            }
            if threat.errors + threat.unstable > 0 {
                let (errors, unstable) = (Count(threat.errors), Count(threat.unstable));
                writeln!(
                    out,
                    "<tr><th scope=\"row\">{}</th><td>{}</td><td>not measured</td><td>{errors} errors, {unstable} unstable</td>\
                     <td>counted as not robust</td><td></td></tr>",
                    Text(&model.title),
                    Text(&threat.title)
                )?;
            }
        }
    }
    close(out)
}

/// A rate with its denominator and interval below it.
fn stacked(estimate: &Estimate) -> String {
    format!("{}<small>{}</small><small>{}</small>", Percent(estimate.rate()), Fraction(estimate), Interval(estimate))
}

fn classes(report: &Report, out: &mut dyn Write) -> fmt::Result {
    open(out, "classes", "Classes", "Few samples make wide intervals: compare with care.", "compact")?;
    write!(out, "<thead><tr><th scope=\"col\">Class</th>")?;
    for model in &report.models {
        write!(out, "<th scope=\"col\">{}<br>clean</th>", Text(&model.title))?;
        for threat in &model.threats {
            write!(out, "<th scope=\"col\">{}<br>robust, {}</th>", Text(&model.title), Text(&threat.title))?;
        }
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    // Every model was measured on the same samples, so the classes are the same ones.
    for (i, class) in report.models.first().map_or(&[][..], |model| &model.classes).iter().enumerate() {
        write!(out, "<tr><th scope=\"row\">{}</th>", Text(&report.class_name(class.class)))?;
        for class in report.models.iter().filter_map(|model| model.classes.get(i)) {
            write!(out, "<td>{}</td>", Cell(&class.clean))?;
            for robust in &class.robust {
                write!(out, "<td class=\"robust\">{}</td>", Cell(robust))?;
            }
        }
        writeln!(out, "</tr>")?;
    }
    close(out)
}

fn facts(report: &Report, out: &mut dyn Write) -> fmt::Result {
    let setup = &report.setup;
    open(out, "facts", "To repeat it", "The same files, plan and seed give the same outcomes.", "facts")?;
    writeln!(out, "<tbody>")?;
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
    close(out)
}

fn foot(report: &Report, out: &mut dyn Write) -> fmt::Result {
    // "<" is the only character that could end the element.
    let json = serde_json::to_string(report).map_err(|_| fmt::Error)?.replace('<', "\\u003c");
    writeln!(
        out,
        "<footer><p>This page holds the whole report as JSON, in the element <code>report</code>.</p></footer>"
    )?;
    writeln!(out, "<script type=\"application/json\" id=\"report\">{json}</script>\n</body>\n</html>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn snapshot() {
        insta::assert_snapshot!(Html.to_text(&fixture::report()));
    }

    #[test]
    fn names_cannot_become_markup() {
        let page = Html.to_text(&fixture::hostile());
        for markup in ["<script>alert", "<img src=x", "<b>bold", "\"><b"] {
            assert!(!page.contains(markup), "{markup} in {page}");
        }
        assert_eq!(page.matches("</script>").count(), 1);
    }

    #[test]
    fn the_page_loads_nothing_and_carries_the_report() {
        let report = fixture::report();
        let page = Html.to_text(&report);
        for loader in ["http:", "https:", "<link", "<iframe", "@import", "url(", "src=\"/", "javascript:"] {
            assert!(!page.contains(loader), "{loader}");
        }
        let (_, rest) = page.split_once("<script type=\"application/json\" id=\"report\">").unwrap();
        let (json, _) = rest.split_once("</script>").unwrap();
        assert_eq!(serde_json::from_str::<Report>(json).unwrap(), report);
    }

    #[test]
    fn every_picture_has_a_description_and_every_heading_cell_a_scope() {
        let page = Html.to_text(&fixture::report());
        assert_eq!(page.matches("<img ").count(), page.matches(" alt=\"").count());
        assert_eq!(page.matches("<img ").count(), 12);
        assert_eq!(page.matches("<th").count() - page.matches("<thead").count(), page.matches("<th scope=").count());
    }
}
