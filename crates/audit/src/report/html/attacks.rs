//! What each attack did, and which one broke how many samples.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::markup::{Text, end, end_table, section, stacked, table};
use crate::event::{Fate, ThreatFacts};
use crate::plan::Order;
use crate::report::text::{Count, SHOWN, Spent};
use crate::report::{ModelResult, Report, ThreatResult, Transfer};

const ABOUT: &str = "In sequence, each attack works on what the ones before it left, and the robust accuracy is that after it; where \
                     attacks are separate, each sees all samples, and the robust accuracy is that under it alone.";

pub(super) fn write(report: &Report, out: &mut dyn Write) -> fmt::Result {
    let about = if report.setup.plan.transfer { format!("{ABOUT} {SHOWN}") } else { ABOUT.to_owned() };
    section(out, "attacks", "Attacks", &about)?;
    table(out, "Attacks", "", ["Model", "Threat", "Attack", "Order", "Broken by it", "Robust accuracy", "Cost"])?;
    for model in &report.models {
        for (threat, facts) in model.threats.iter().zip(&report.setup.threats) {
            rows(model, threat, facts, out)?;
        }
    }
    end_table(out)?;
    credits(report, out)?;
    end(out)
}

fn rows(model: &ModelResult, threat: &ThreatResult, facts: &ThreatFacts, out: &mut dyn Write) -> fmt::Result {
    let [title, under] = [&model.title, &threat.title].map(|text| Text(text));
    let order = match facts.order {
        Order::Sequence => "sequence",
        Order::Separate => "separate",
    };
    for (attack, name) in threat.attacks.iter().zip(facts.attack_titles()) {
        let broken = attack.success.as_ref().map_or_else(|| "none left".to_owned(), stacked);
        let (name, robust, cost) = (Text(&name), stacked(&attack.robust), Spent(&attack.cost));
        writeln!(
            out,
            "<tr><th scope=\"row\">{title}</th><td>{under}</td><td>{name}</td><td>{order}</td><td>{broken}</td><td>{robust}</td><td>{cost}</td></tr>"
        )?;
    }
    if let Some(Transfer { from, misled, robust }) = &threat.transfer {
        let misled = misled.as_ref().map_or_else(|| "none found".to_owned(), stacked);
        let (from, robust) = (Text(from), stacked(robust));
        writeln!(
            out,
            "<tr><th scope=\"row\">{title}</th><td>{under}</td><td>what was found on {from}</td><td></td><td>{misled}</td><td>{robust}</td><td></td></tr>"
        )?;
    }
    if let Some(verified) = &threat.verified {
        let (bounds, rest, vra) = (verified.bounds(), verified.rest(), stacked(&verified.vra));
        writeln!(
            out,
            "<tr><th scope=\"row\">{title}</th><td>{under}</td><td>certificates: {bounds}</td><td></td><td>{rest}</td><td>{vra}</td><td></td></tr>"
        )?;
    }
    if threat.errors + threat.unstable > 0 {
        let (errors, unstable) = (Count(threat.errors), Count(threat.unstable));
        writeln!(
            out,
            "<tr><th scope=\"row\">{title}</th><td>{under}</td><td>not measured</td><td></td><td>{errors} errors, {unstable} unstable</td>\
             <td>counted as not robust</td><td></td></tr>"
        )?;
    }
    Ok(())
}

/// Which attack, of a suite which part, changed the prediction of how many correct samples.
fn credits(report: &Report, out: &mut dyn Write) -> fmt::Result {
    writeln!(
        out,
        "<h3>Who broke what</h3>\n<p>Correct samples, each once under a threat: of several attacks the one that found the nearest sample.</p>"
    )?;
    table(out, "Who broke what", "", ["Model", "Threat", "Broken by", "Samples"])?;
    for (m, model) in report.models.iter().enumerate() {
        for (t, threat) in model.threats.iter().enumerate() {
            let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
            let rows = report.rows_of(m, t);
            for row in rows.iter().filter(|row| row.is_correct() && row.fate == Fate::Changed) {
                *counts.entry(row.found.map_or("", |found| &found.by)).or_default() += 1;
            }
            for (by, samples) in counts {
                let [title, under, by] = [&model.title, &threat.title, by].map(Text);
                writeln!(
                    out,
                    "<tr><th scope=\"row\">{title}</th><td>{under}</td><td>{by}</td><td>{} of {}</td></tr>",
                    Count(samples),
                    Count(model.clean.hits())
                )?;
            }
        }
    }
    end_table(out)
}
