//! Accuracy under corruptions, as tables of them have it: each alone, and in the mean.

use std::fmt::{self, Write};

use super::markup::{Text, end, end_table, section, stacked, table};
use crate::event::{AttackFacts, ThreatFacts};
use crate::plan::Order;
use crate::report::text::{Count, Percent};
use crate::report::{ModelResult, Report};

const ABOUT: &str = "Correct samples under each corruption alone, of all. Means count every sample once for each corruption; samples \
                     that recur are not independent, so means have no interval.";

pub(super) fn write(report: &Report, out: &mut dyn Write) -> fmt::Result {
    let threats = report.setup.threats.iter().enumerate().filter(|(_, facts)| is_table(facts));
    let threats: Vec<_> = threats.collect();
    if threats.is_empty() {
        return Ok(());
    }
    section(out, "corruptions", "Corruptions", ABOUT)?;
    for (t, facts) in threats {
        let title = facts.title();
        writeln!(out, "<h3>{}</h3>", Text(&title))?;
        let headings = ["Corruption", "Severity"].map(str::to_owned).into_iter();
        let models = report.models.iter().map(|model| Text(&model.title).to_string());
        table(out, &format!("Corruptions, {title}"), "", headings.chain(models))?;
        for (a, attack) in facts.attacks.iter().enumerate() {
            let (kind, severity) = (parameter(attack, "kind"), parameter(attack, "severity"));
            write!(out, "<tr><th scope=\"row\">{}</th><td>{}</td>", Text(kind), Text(severity))?;
            for attack in report.models.iter().filter_map(|model| model.threats.get(t)?.attacks.get(a)) {
                write!(out, "<td>{}</td>", stacked(&attack.robust))?;
            }
            writeln!(out, "</tr>")?;
        }
        means(report, t, facts, out)?;
        end_table(out)?;
    }
    end(out)
}

fn is_table(facts: &ThreatFacts) -> bool {
    facts.order == Order::Separate && facts.attacks.iter().all(|attack| attack.name == "corruption")
}

fn parameter<'a>(attack: &'a AttackFacts, name: &str) -> &'a str {
    attack.parameters.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

/// The mean of each kind that has several severities, and of all.
fn means(report: &Report, t: usize, facts: &ThreatFacts, out: &mut dyn Write) -> fmt::Result {
    let kinds: Vec<&str> = facts.attacks.iter().map(|attack| parameter(attack, "kind")).collect();
    let mut shown: Vec<&str> = Vec::new();
    for &kind in &kinds {
        let members: Vec<usize> = (0..kinds.len()).filter(|&a| kinds.get(a) == Some(&kind)).collect();
        if members.len() > 1 && !shown.contains(&kind) {
            shown.push(kind);
            mean(report, t, &format!("mean of {kind}"), &members, out)?;
        }
    }
    if kinds.len() > 1 {
        mean(report, t, "mean of all", &(0..kinds.len()).collect::<Vec<_>>(), out)?;
    }
    Ok(())
}

fn mean(report: &Report, t: usize, name: &str, members: &[usize], out: &mut dyn Write) -> fmt::Result {
    write!(out, "<tr class=\"mean\"><th scope=\"row\">{}</th><td></td>", Text(name))?;
    let sums = |model: &ModelResult| {
        let attacks = &model.threats.get(t)?.attacks;
        let members = members.iter().filter_map(|&a| attacks.get(a));
        Some(members.fold((0, 0), |(hits, of), attack| (hits + attack.robust.hits(), of + attack.robust.of())))
    };
    for (hits, of) in report.models.iter().filter_map(sums).filter(|(_, of)| *of > 0) {
        let rate = Percent(hits as f64 / of as f64);
        write!(out, "<td>{rate}<small>{} of {}</small></td>", Count(hits), Count(of))?;
    }
    writeln!(out, "</tr>")
}
