//! Robust accuracy over latency as SVG, drawn by `plotters` in the colours of [`plot`](super::plot).

use std::fmt;

use plotters::backend::SVGBackend;
use plotters::drawing::IntoDrawingArea;
use plotters::element::{Circle, PathElement, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont};

use super::plot::{FIRST, Failure, LETTER, LETTERS, MARK, SIZE, axes, embedded, failure};
use crate::report::family::Family;

/// One mark for each member under a threat, numbered as in the table. Decoration, as all plots.
pub(super) fn svg(family: &Family, threat: usize) -> Result<String, fmt::Error> {
    let mut text = String::new();
    draw(family, threat, &mut text).map_err(|_| fmt::Error)?;
    embedded(&text)
}

fn draw(family: &Family, threat: usize, text: &mut String) -> Result<(), Failure> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    let longest = family.members.iter().map(|member| member.costs.milliseconds).fold(0.0, f64::max);
    let right = if longest > 0.0 { longest * 1.15 } else { 1.0 };
    let mut chart = axes(&area, 14, right, "latency of one sample in ms")?;
    let style = ("sans-serif", LETTER).into_font().color(&LETTERS).pos(Pos::new(HPos::Left, VPos::Bottom));
    for (number, member) in (1..).zip(&family.members) {
        let Some(withstood) = member.threats.get(threat) else { continue };
        let (x, robust) = (member.costs.milliseconds, withstood.robust);
        let whisker = PathElement::new([(x, robust.low()), (x, robust.high())], FIRST.stroke_width(3));
        chart.draw_series([whisker]).map_err(failure)?;
        let fill = if withstood.on_front { FIRST.filled() } else { FIRST.stroke_width(3) };
        chart.draw_series([Circle::new((x, robust.rate()), MARK + 2, fill)]).map_err(failure)?;
        let number = Text::new(number.to_string(), (x + right * 0.015, robust.rate()), style.clone());
        chart.draw_series([number]).map_err(failure)?;
    }
    drop(chart);
    area.present().map_err(failure)
}
