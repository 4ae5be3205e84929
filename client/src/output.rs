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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_shows_its_denominator() {
        assert_eq!(rate(854, 1000), "85.4 % (854/1000)");
        assert_eq!(rate(0, 0), "none (0/0)");
    }
}
