//! Pieces that sections are built from.

use std::fmt::{self, Write};

use crate::report::text::{Fraction, Interval, Percent, Tone};
use crate::stats::Estimate;

/// Text between tags or in a quoted attribute.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Sentences of ours, in which names of parameters and commands stand between backticks.
pub(super) struct Prose<'a>(pub(super) &'a str);

impl fmt::Display for Prose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.split('`').enumerate() {
            if i % 2 == 1 { write!(f, "<code>{}</code>", Text(part))? } else { Text(part).fmt(f)? }
        }
        Ok(())
    }
}

/// A rate in a table cell: number, bar with the interval as a whisker, denominator and interval in words.
///
/// The bar is drawn by attributes, since the page's policy forbids styles at elements.
pub(super) struct Cell<'a>(pub(super) &'a Estimate);

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let estimate = self.0;
        let [rate, low, high] = [estimate.rate(), estimate.low(), estimate.high()].map(|share| share * 1000.0);
        write!(
            f,
            "<span class=\"rate\">{}</span><svg class=\"bar\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect class=\"full\" width=\"1000\" height=\"10\"/><rect width=\"{rate:.0}\" height=\"10\"/>\
             <path d=\"M{low:.0} 0V10M{high:.0} 0V10M{low:.0} 5H{high:.0}\"/></svg><small>{}</small><small>{}</small>",
            Percent(estimate.rate()),
            Fraction(estimate),
            Interval(estimate)
        )
    }
}

/// A rate with its denominator and interval below it.
pub(super) fn stacked(estimate: &Estimate) -> String {
    format!("{}<small>{}</small><small>{}</small>", Percent(estimate.rate()), Fraction(estimate), Interval(estimate))
}

/// Class of the colours of a verdict.
pub(super) fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "pass",
        Tone::Bad => "fail",
        Tone::Open => "warn",
    }
}

/// Opens a section with a heading and a line that explains it.
pub(super) fn section(out: &mut dyn Write, id: &str, heading: &str, about: &str) -> fmt::Result {
    writeln!(out, "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{heading}</h2>\n<p>{about}</p>")
}

/// Closes a section.
pub(super) fn end(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "</section>")
}

/// Opens a table that scrolls sideways where it must, up to its body. `label` names it; headings are markup already.
pub(super) fn table<H: fmt::Display>(
    out: &mut dyn Write,
    label: &str,
    class: &str,
    headings: impl IntoIterator<Item = H>,
) -> fmt::Result {
    let label = Text(label);
    write!(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{label}\">\n<table class=\"{class}\"><thead><tr>"
    )?;
    for heading in headings {
        write!(out, "<th scope=\"col\">{heading}</th>")?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")
}

/// Closes a table.
pub(super) fn end_table(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "</tbody>\n</table>\n</div>")
}
