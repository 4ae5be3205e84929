//! The report as one page.

use std::fmt;

use super::{Render, Report};

/// One self-contained page.
pub struct Html;

impl Render for Html {
    fn render(&self, report: &Report, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "{}", report.subjects())
    }
}
