//! Plots of accuracy over the length of the perturbation, each with its numbers.

use std::fmt::{self, Write};

use super::markup::{Text, end, end_table, section, stacked, table};
use super::plot;
use crate::report::Report;
use crate::report::curves::Curve;
use crate::report::text::Short;

/// Rows of the numbers of a plot that has a corner for each sample.
const ROWS: u32 = 10;

const ABOUT: &str = "Samples, of all, that are correct still, with 95 % confidence intervals as bands. Upper bounds: a stronger attack may break more.";

pub(super) fn write(report: &Report, out: &mut dyn Write) -> fmt::Result {
    let (radii, distances) = (report.radius_curves(), report.distance_curves());
    if radii.is_empty() && distances.is_empty() {
        return Ok(());
    }
    section(out, "curves", "Accuracy over the perturbation", ABOUT)?;
    writeln!(out, "<div class=\"plots\">")?;
    for curve in &radii {
        let title = format!("Accuracy over eps, {}: {}", curve.norm, curve.title);
        figure(out, curve, &title, "Lines between the radii that were audited are there for the eye.")?;
    }
    for curve in &distances {
        let title = format!("Accuracy over distance, {}: {}", curve.norm, curve.title);
        let about = "A sample counts as correct up to the distance at which an adversarial one was found. Those that could not be measured never do.";
        figure(out, curve, &title, about)?;
    }
    writeln!(out, "</div>")?;
    end(out)
}

fn figure(out: &mut dyn Write, curve: &Curve, title: &str, about: &str) -> fmt::Result {
    writeln!(out, "<figure>\n<h3>{}</h3>\n{}", Text(title), plot::svg(curve)?)?;
    writeln!(out, "<figcaption>{about}</figcaption>\n<details><summary>Numbers</summary>")?;
    let names = curve.lines.iter().map(|line| Text(&line.name).to_string());
    table(out, title, "", std::iter::once(format!("Perturbation in {}", curve.norm)).chain(names))?;
    for at in distances(curve) {
        write!(out, "<tr><th scope=\"row\">{}</th>", Short(at))?;
        for correct in curve.lines.iter().filter_map(|line| line.at(at)) {
            write!(out, "<td>{}</td>", stacked(correct))?;
        }
        writeln!(out, "</tr>")?;
    }
    end_table(out)?;
    writeln!(out, "</details>\n</figure>")
}

/// Where the numbers are given: at every point, or at even distances if there are steps.
fn distances(curve: &Curve) -> Vec<f64> {
    if curve.steps {
        return (0..=ROWS).map(|row| curve.end() * f64::from(row) / f64::from(ROWS)).collect();
    }
    curve.lines.first().map_or_else(Vec::new, |line| line.points.iter().map(|point| point.at).collect())
}
