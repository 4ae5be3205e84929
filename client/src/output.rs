//! Tables and JSON on standard output.

use std::io::Write;
use std::path::Path;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use crate::error::ClientError;

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Fail,
    /// Neither was proven.
    Open,
}

impl From<assay_audit::Verdict> for Verdict {
    fn from(verdict: assay_audit::Verdict) -> Self {
        match verdict {
            assay_audit::Verdict::Pass => Self::Pass,
            assay_audit::Verdict::Fail => Self::Fail,
            assay_audit::Verdict::Inconclusive | assay_audit::Verdict::Unreliable => Self::Open,
        }
    }
}

/// Fails where the file that `flag` names cannot be written. Asked before the evaluation: afterwards its work would be lost.
pub(crate) fn must_be_writable(flag: &str, file: &Path) -> Result<(), ClientError> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let problem = if file.is_dir() {
        "is a folder; name a file".to_owned()
    } else if !folder.is_dir() {
        format!("there is no folder {}; create it first", folder.display())
    } else {
        return Ok(());
    };
    Err(ClientError::Usage(format!("{flag} {}: {problem}", file.display())))
}

/// A table with these column heads; columns in `right` hold numbers.
pub(crate) fn table(heads: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_header(heads);
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Prints `text` and a line end. A closed pipe is not an error: the reader has seen enough.
pub(crate) fn print(text: &(impl std::fmt::Display + ?Sized)) -> Result<(), ClientError> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(ClientError::Environment(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a JSON document.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), ClientError> {
    print(&format!("{value:#}"))
}

/// `hits / of` as "85.4 % (854/1000)".
pub(crate) fn rate(hits: u64, of: u64) -> String {
    if of == 0 {
        return "none (0/0)".to_owned();
    }
    #[allow(clippy::cast_precision_loss)]
    let percent = 100.0 * hits as f64 / of as f64;
    format!("{percent:.1} % ({hits}/{of})")
}

/// A time that nobody needs to the second, rounded up: `1 s`, `90 s`, `3 min`, `5 h`, `4 days`.
pub(crate) fn about(seconds: f64) -> String {
    const UNITS: [(f64, f64, &str); 3] = [(120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172_800.0, 3600.0, "h")];
    let unit = UNITS.into_iter().find(|(below, ..)| seconds < *below);
    let (_, of, unit) = unit.unwrap_or((f64::INFINITY, 86_400.0, "days"));
    format!("{:.0} {unit}", (seconds / of).ceil().max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rounded_up_in_the_unit_that_says_enough() {
        for (seconds, expected) in [
            (0.0, "1 s"),
            (0.2, "1 s"),
            (11.1, "12 s"),
            (119.0, "119 s"),
            (121.0, "3 min"),
            (7199.0, "120 min"),
            (7201.0, "3 h"),
            (172_801.0, "3 days"),
        ] {
            assert_eq!(about(seconds), expected);
        }
    }

    #[test]
    fn a_rate_shows_its_denominator() {
        assert_eq!(rate(854, 1000), "85.4 % (854/1000)");
        assert_eq!(rate(0, 0), "none (0/0)");
    }
}
