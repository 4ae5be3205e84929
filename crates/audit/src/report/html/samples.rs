//! Every sample as a row. Where there are too many for a page, the script makes the rows from the report inside it.

use std::fmt::{self, Write};

use super::markup::{Text, end, end_table, section, table};
use crate::report::Report;
use crate::report::rows::Row;
use crate::report::text::{Count, Short};
use crate::tally::length;

/// Most rows that are written into the page.
const ROWS: usize = 5_000;

const HEADINGS: [&str; 9] =
    ["Position", "Model", "Threat", "True class", "Prediction", "Outcome", "Changed by", "Under attack", "Distance"];

/// Names and words of the filters: what the script looks for.
const FILTERS: [(&str, &str); 6] = [
    ("model", "Model"),
    ("threat", "Threat"),
    ("label", "True class"),
    ("prediction", "Prediction"),
    ("outcome", "Outcome"),
    ("by", "Changed by"),
];

const ABOUT: &str = "Every sample for each model and threat. Outcome: robust, correct and under no attack wrong; broken, correct until an attack; wrong, \
                     misclassified without attack, held or changed; unstable and error, not measured. Distances are in the threat’s norm.";

pub(super) fn write(report: &Report, out: &mut dyn Write) -> fmt::Result {
    section(out, "samples", "Samples", ABOUT)?;
    let rows = report.models.len() * report.setup.threats.len() * report.samples.positions.len();
    filters(out)?;
    if rows > ROWS {
        writeln!(
            out,
            "<p class=\"plain\">{} rows are too many for a page without its script; <code>--report FILE.csv</code> writes them all.</p>",
            Count(rows as u64)
        )?;
    }
    table(out, "Samples", "samples compact", HEADINGS)?;
    if rows <= ROWS {
        for each in report.rows() {
            row(report, &each, out)?;
        }
    }
    end_table(out)?;
    writeln!(out, "<p><button type=\"button\" id=\"more\" hidden>Show more rows</button></p>")?;
    end(out)
}

/// The filters are hidden until the script shows them: without it they would do nothing.
fn filters(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "<form id=\"filters\" hidden>")?;
    writeln!(
        out,
        "<label>Position <input name=\"position\" inputmode=\"numeric\" autocomplete=\"off\" placeholder=\"such as 17 or 100-200\"></label>"
    )?;
    for (name, words) in FILTERS {
        writeln!(out, "<label>{words} <select name=\"{name}\"><option value=\"\">all</option></select></label>")?;
    }
    writeln!(out, "<button type=\"reset\">Reset</button>\n</form>\n<p id=\"shown\" aria-live=\"polite\"></p>")
}

fn row(report: &Report, row: &Row<'_>, out: &mut dyn Write) -> fmt::Result {
    let name = |class: Option<u32>| class.map_or_else(|| "none".to_owned(), |class| report.class_name(class));
    let norm = report.setup.threats.get(row.threat.0 as usize).map(|facts| facts.norm);
    let distance = row.found.zip(norm).map(|(found, norm)| Short(length(&found.distance, norm)).to_string());
    let cells = [
        report.model_title(row.model).to_owned(),
        report.threat_title(row.threat),
        name(Some(row.label)),
        name(row.prediction),
        row.outcome().to_owned(),
        row.found.map(|found| found.by.clone()).unwrap_or_default(),
        row.found.map(|found| name(Some(found.prediction))).unwrap_or_default(),
        distance.unwrap_or_default(),
    ];
    write!(out, "<tr><th scope=\"row\">{}</th>", row.position)?;
    for cell in &cells {
        write!(out, "<td>{}</td>", Text(cell))?;
    }
    writeln!(out, "</tr>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::showcase;

    fn page(samples: u32) -> String {
        let mut page = String::new();
        write(&showcase::report(samples), &mut page).unwrap();
        page
    }

    #[test]
    fn rows_are_in_the_page_until_there_are_too_many() {
        let (few, many) = (page(60), page(1001));
        assert_eq!(few.matches("<tr><th scope=\"row\">").count(), 2 * 5 * 60);
        assert!(many.matches("<tr><th scope=\"row\">").count() == 0 && many.contains("10,010 rows"));
        for (name, _) in FILTERS {
            assert!(include_str!("samples.js").contains(&format!("{name}:")), "the script does not know {name}");
        }
    }
}
