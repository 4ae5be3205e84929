//! A model and its variants as one page: a plot for each threat, and all numbers in a table.

use std::fmt::{self, Write};

use super::markup::{Cell, Text, end, end_table, section, table};
use super::{begin, front, policy};
use crate::report::family::{Family, Member};
use crate::report::text::{Count, Percent};
use crate::stats::Paired;

const FRONT: &str = "Up and to the left is better. Filled marks: no other model is both as robust and as fast. Whiskers are exact 95 % confidence intervals.";
const TABLE: &str = "Differences are those from the first model on the same samples. WRA is the mean of clean and robust accuracy, NRR their harmonic mean.";

/// The page.
pub(in crate::report) fn page(family: &Family) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail, and a plot that does is left out with the rest.
    let _ = write(family, &mut page);
    page
}

fn write(family: &Family, out: &mut String) -> fmt::Result {
    let parent = family.members.first().map(|member| family.title(member)).unwrap_or_default();
    let title = format!("Variants of {parent}");
    begin(&title, &policy(""), out)?;
    writeln!(
        out,
        "<header>\n<p class=\"kicker\">Comparison</p>\n<h1>{}</h1>\n<p>{} samples of {}</p>\n</header>\n<main>",
        Text(&title),
        Count(family.samples),
        Text(&family.data)
    )?;
    section(out, "front", "Robust accuracy over latency", FRONT)?;
    writeln!(out, "<div class=\"plots\">")?;
    for (i, threat) in family.threats.iter().enumerate() {
        writeln!(out, "<figure>\n<h3>{}</h3>\n{}\n<figcaption>", Text(threat), front::svg(family, i)?)?;
        for (number, member) in (1..).zip(&family.members) {
            write!(out, "{}{number} {}", if number > 1 { " · " } else { "" }, Text(&family.title(member)))?;
        }
        writeln!(out, "</figcaption>\n</figure>")?;
    }
    writeln!(out, "</div>")?;
    end(out)?;
    section(out, "numbers", "Numbers", TABLE)?;
    let mut headings = vec!["Model".to_owned(), "Clean accuracy".to_owned()];
    headings.extend(family.threats.iter().map(|threat| format!("Robust accuracy, {}", Text(threat))));
    headings.extend(["Multiplications", "Parameters", "Bytes", "Latency", "Flags"].map(str::to_owned));
    table(out, "Numbers", "", headings)?;
    for (number, member) in (1..).zip(&family.members) {
        row(family, number, member, out)?;
    }
    end_table(out)?;
    end(out)?;
    writeln!(out, "</main>\n</body>\n</html>")
}

fn row(family: &Family, number: usize, member: &Member, out: &mut String) -> fmt::Result {
    let title = family.title(member);
    write!(out, "<tr><th scope=\"row\">{number} {}<small>{}</small></th>", Text(&title), Text(&member.kind))?;
    write!(out, "<td>{}{}</td>", Cell(&member.clean), difference(member.clean_difference.as_ref()))?;
    for threat in &member.threats {
        let (cell, beside) = (Cell(&threat.robust), difference(threat.difference.as_ref()));
        let (wra, nrr) = (Percent(threat.wra), Percent(threat.nrr));
        let verified = threat.verified.map(|verified| format!("<small>verified {}</small>", Percent(verified.rate())));
        write!(out, "<td>{cell}{beside}{}<small>WRA {wra}, NRR {nrr}</small></td>", verified.unwrap_or_default())?;
    }
    let first = family.members.first().map(|first| first.costs).unwrap_or_default();
    let share =
        |own: u64, of: u64| format!("{}<small>{:.2} of the first</small>", Count(own), own as f64 / of.max(1) as f64);
    let costs = &member.costs;
    for (own, of) in [(costs.macs, first.macs), (costs.parameters, first.parameters), (costs.bytes, first.bytes)] {
        write!(out, "<td>{}</td>", share(own, of))?;
    }
    write!(out, "<td>{:.2} ms<small>{:.2} of the first</small></td>", costs.milliseconds, costs.latency_ratio)?;
    writeln!(out, "<td>{}</td></tr>", Text(&member.flags.join(", ")))
}

fn difference(paired: Option<&Paired>) -> String {
    let Some(paired) = paired else { return String::new() };
    let class = match paired.reading() {
        "worse" => "fail",
        "better" => "pass",
        _ => "quiet",
    };
    format!(
        "<small><span class=\"pill {class}\">{}</span></small><small>{}</small>",
        paired.reading(),
        paired.difference
    )
}

#[cfg(test)]
mod tests {
    use crate::report::family::tests::family;

    #[test]
    fn the_page_has_every_member_and_loads_nothing() {
        let page = family(["net", "pruned"]).page();
        assert_eq!(page.matches("<th scope=\"row\">").count(), 3);
        assert_eq!(page.matches("<svg class=\"plot\"").count(), 1);
        for loader in ["http:", "https:", "<link", "<iframe", "@import", "url(", "javascript:", "<script"] {
            assert!(!page.contains(loader), "{loader}");
        }
    }

    #[test]
    fn names_cannot_become_markup() {
        let page = family(["<img src=x onerror=alert(1)>", "</svg><script>alert(1)</script>"]).page();
        assert!(!page.contains("<img src=x") && !page.contains("<script>"), "{page}");
    }
}
