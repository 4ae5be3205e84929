//! The report for machines: the format of `docs/report.md`.

use std::fmt;

use super::{Render, Report};

/// Indented JSON with a final newline.
pub struct Json;

impl Render for Json {
    fn render(&self, report: &Report, out: &mut dyn fmt::Write) -> fmt::Result {
        // Keys are text and no value is refused, so serialisation fails only if the writer does.
        let text = serde_json::to_string_pretty(report).map_err(|_| fmt::Error)?;
        writeln!(out, "{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn snapshot() {
        insta::assert_snapshot!(Json.to_text(&fixture::report()));
    }

    #[test]
    fn reads_back() {
        let report = fixture::hostile();
        assert_eq!(serde_json::from_str::<Report>(&Json.to_text(&report)).unwrap(), report);
    }
}
