//! A family as a table for pull requests.

use std::fmt::{self, Write};

use super::{Family, Member};
use crate::report::markdown::escaped;
use crate::report::text::{Count, Percent};

pub(super) fn text(family: &Family) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(family, &mut text);
    text
}

fn write(family: &Family, out: &mut String) -> fmt::Result {
    let parent = family.members.first().map(|member| family.title(member)).unwrap_or_default();
    writeln!(out, "# Variants of {}\n", escaped(&parent))?;
    writeln!(out, "On the same {} samples of {}.\n", Count(family.samples), escaped(&family.data))?;
    write!(out, "| model | kind | clean |")?;
    let mut rules = String::new();
    for (i, threat) in family.threats.iter().enumerate() {
        write!(out, " robust, {0} | WRA, {0} | NRR, {0} |", escaped(threat))?;
        rules.push_str("--:|--:|--:|");
        if family.certifies(i) {
            write!(out, " verified, {} |", escaped(threat))?;
            rules.push_str("--:|");
        }
    }
    writeln!(out, " multiplications | parameters | bytes | latency | of the first's | flags |")?;
    writeln!(out, "|---|---|--:|{rules}--:|--:|--:|--:|--:|---|")?;
    for member in &family.members {
        row(family, member, out)?;
    }
    writeln!(
        out,
        "\n**Bold**: no other one is both as robust and as fast. In brackets: the difference from the first on the same samples, where p < 0.05."
    )
}

fn row(family: &Family, member: &Member, out: &mut String) -> fmt::Result {
    let reading = |paired: &Option<crate::stats::Paired>| match paired {
        Some(paired) if paired.is_shown() => format!(" ({})", paired.difference),
        _ => String::new(),
    };
    let (title, kind) = (escaped(&family.title(member)), escaped(&member.kind));
    write!(out, "| {title} | {kind} | {}{} |", Percent(member.clean.rate()), reading(&member.clean_difference))?;
    for (i, threat) in member.threats.iter().enumerate() {
        let robust = Percent(threat.robust.rate()).to_string();
        let robust = if threat.on_front { format!("**{robust}**") } else { robust };
        let difference = reading(&threat.difference);
        write!(out, " {robust}{difference} | {} | {} |", Percent(threat.wra), Percent(threat.nrr))?;
        if family.certifies(i) {
            let verified = threat.verified.map(|verified| Percent(verified.rate()).to_string());
            write!(out, " {} |", verified.unwrap_or_default())?;
        }
    }
    let costs = &member.costs;
    writeln!(
        out,
        " {} | {} | {} | {:.2} ms | {:.2} | {} |",
        Count(costs.macs),
        Count(costs.parameters),
        Count(costs.bytes),
        costs.milliseconds,
        costs.latency_ratio,
        member.flags.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::family;

    #[test]
    fn snapshot() {
        insta::assert_snapshot!(family(["net", "pruned"]).markdown());
    }

    #[test]
    fn names_cannot_become_markup() {
        let text = family(["a|b <img src=x>", "<script>alert(1)</script>"]).markdown();
        assert!(!text.contains("<img") && !text.contains("<script") && !text.contains("a|b"), "{text}");
    }
}
