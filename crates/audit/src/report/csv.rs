//! The report by samples, for spreadsheets and data frames.

use std::fmt;

use csv::Writer;

use super::{Render, Report};

/// Comma-separated values (RFC 4180): a heading, then one row for each sample, model and threat.
///
/// Names that a spreadsheet would take for a formula begin with an apostrophe.
pub struct Csv;

const COLUMNS: [&str; 19] = [
    "model",
    "threat",
    "position",
    "label",
    "class",
    "prediction",
    "predicted_class",
    "correct",
    "fate",
    "broken_by",
    "adversarial_prediction",
    "adversarial_class",
    "elsewhere",
    "linf",
    "l2",
    "l1",
    "l0",
    "certificate",
    "certified_by",
];

impl Render for Csv {
    fn render(&self, report: &Report, out: &mut dyn fmt::Write) -> fmt::Result {
        let text = table(report).map_err(|_| fmt::Error)?;
        out.write_str(&String::from_utf8(text).map_err(|_| fmt::Error)?)
    }
}

fn table(report: &Report) -> Result<Vec<u8>, csv::Error> {
    let mut table = Writer::from_writer(Vec::new());
    table.write_record(COLUMNS)?;
    let number = |class: Option<u32>| class.map(|class| class.to_string()).unwrap_or_default();
    let name = |class: Option<u32>| class.map(|class| plain(&report.class_name(class))).unwrap_or_default();
    for row in report.rows() {
        let adversarial = row.found.map(|found| found.prediction);
        let distance = row.found.map(|found| &found.distance);
        let length = |of: fn(&assay_attack::Distance) -> String| distance.map(of).unwrap_or_default();
        table.write_record([
            plain(report.model_title(row.model)),
            plain(&report.threat_title(row.threat)),
            row.position.to_string(),
            row.label.to_string(),
            name(Some(row.label)),
            number(row.prediction),
            name(row.prediction),
            row.is_correct().to_string(),
            row.fate_name().to_owned(),
            row.found.map(|found| plain(&found.by)).unwrap_or_default(),
            number(adversarial),
            name(adversarial),
            number(row.found.and_then(|found| found.elsewhere)),
            length(|d| d.linf.to_string()),
            length(|d| d.l2.to_string()),
            length(|d| d.l1.to_string()),
            length(|d| d.l0.to_string()),
            row.certificate.map_or("", |certificate| certificate.name()).to_owned(),
            row.certificate.and_then(|certificate| certificate.by()).map(|by| by.to_string()).unwrap_or_default(),
        ])?;
    }
    table.into_inner().map_err(|error| error.into_error().into())
}

/// Text that no spreadsheet takes for a formula.
fn plain(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '|', '%']);
    if formula { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn snapshot() {
        let text = Csv.to_text(&fixture::report());
        let first: Vec<_> = text.lines().take(14).collect();
        insta::assert_snapshot!(first.join("\n"));
    }

    #[test]
    fn reads_back_one_row_for_each_sample_model_and_threat() {
        for report in [fixture::report(), fixture::hostile()] {
            let text = Csv.to_text(&report);
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            assert_eq!(reader.headers().unwrap(), &csv::StringRecord::from(COLUMNS.to_vec()));
            let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
            assert_eq!(rows.len(), report.models.len() * report.setup.threats.len() * report.samples.labels.len());
            let broken = rows.iter().filter(|row| &row[8] == "changed").count();
            let outcomes = report.models.iter().flat_map(|m| &m.threats).flat_map(|t| &t.outcomes);
            assert_eq!(broken, outcomes.filter(|outcome| outcome.found.is_some()).count());
            assert!(rows.iter().all(|row| (&row[8] == "changed") == row[13].parse::<f64>().is_ok()));
        }
    }

    #[test]
    fn names_cannot_become_formulas() {
        for name in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "|x", "%x"] {
            assert_eq!(plain(name), format!("'{name}"));
        }
        assert_eq!((plain("sneaker-net"), plain("")), ("sneaker-net".to_owned(), String::new()));
    }
}
