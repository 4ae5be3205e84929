//! Curves as SVG, drawn by `plotters`.
//!
//! It writes colours as attributes. Those here only name a role; the page's style gives each its colour in light and dark, and lines their dashes.

use std::fmt;

use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Text, TriangleMarker};
use plotters::series::LineSeries;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, ShapeStyle, TRANSPARENT, TextStyle};

use crate::report::curves::{Curve, Line, Point};
use crate::report::text::Short;

pub(super) const SIZE: (u32, u32) = (720, 480);
const GRID: RGBColor = RGBColor(0, 0, 1);
const AXIS: RGBColor = RGBColor(0, 0, 2);
pub(super) const LETTERS: RGBColor = RGBColor(0, 0, 3);
pub(super) const FIRST: RGBColor = RGBColor(0, 0, 4);
const SECOND: RGBColor = RGBColor(0, 0, 5);
pub(super) const LETTER: i32 = 24;
/// Height of a line of the legend.
const LEGEND: i32 = 34;
/// Half of the width of a mark.
pub(super) const MARK: i32 = 7;

/// Accuracy over the length of a perturbation: one line for each model with the band of its intervals. It is marked as decoration: whoever shows it gives
/// it a description and its numbers.
pub(super) fn svg(curve: &Curve) -> Result<String, fmt::Error> {
    let mut text = String::new();
    draw(curve, &mut text).map_err(|_| fmt::Error)?;
    embedded(&text)
}

/// A drawing as an element of a page.
pub(super) fn embedded(drawing: &str) -> Result<String, fmt::Error> {
    // The size is the style's, and the name of the space is known in HTML.
    let (_, content) = drawing.split_once('>').ok_or(fmt::Error)?;
    let (width, height) = SIZE;
    Ok(format!(
        "<svg class=\"plot\" viewBox=\"0 0 {width} {height}\" aria-hidden=\"true\" focusable=\"false\">{content}"
    ))
}

pub(super) type Failure = Box<dyn std::error::Error>;

fn draw(curve: &Curve, text: &mut String) -> Result<(), Failure> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    let end = curve.end();
    let right = if end > 0.0 { end * 1.04 } else { 1.0 };
    let top = LEGEND * curve.lines.len() as i32 + 14;
    let mut chart = axes(&area, top, right, &format!("perturbation in {}", curve.norm))?;
    for (i, line) in curve.lines.iter().enumerate() {
        chart.draw_series([Polygon::new(band(line, curve.steps, end), role(i).mix(0.18).filled())]).map_err(failure)?;
    }
    for (i, line) in curve.lines.iter().enumerate() {
        let corners = corners(line, curve.steps, end, |point| point.correct.rate());
        chart.draw_series(LineSeries::new(corners, stroke(i))).map_err(failure)?;
        let marks = line.points.iter().filter(|_| !curve.steps).map(|point| (point.at, point.correct.rate()));
        if is_first(i) {
            chart.draw_series(marks.map(|at| Circle::new(at, MARK, role(i).filled()))).map_err(failure)?;
        } else {
            chart.draw_series(marks.map(|at| TriangleMarker::new(at, MARK + 3, role(i).filled()))).map_err(failure)?;
        }
    }
    drop(chart);
    legend(&area, curve)?;
    area.present().map_err(failure)
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Axes from 0 to `right` and from 0 to 100 %, below `top` pixels for what stands above them.
pub(super) fn axes<'a, 'b>(
    area: &'a DrawingArea<SVGBackend<'b>, Shift>,
    top: i32,
    right: f64,
    along: &str,
) -> Result<Chart<'a, 'b>, Failure> {
    let letters = || ("sans-serif", LETTER).into_font().color(&LETTERS);
    let mut chart = ChartBuilder::on(area)
        .margin_top(top)
        .margin_right(20)
        .x_label_area_size(76)
        .y_label_area_size(104)
        .build_cartesian_2d(0.0..right, 0.0..1.0)
        .map_err(failure)?;
    chart
        .configure_mesh()
        .x_labels(5)
        .y_labels(6)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(AXIS)
        .label_style(letters())
        .axis_desc_style(letters())
        .x_desc(along)
        .x_label_formatter(&|x| Short(*x).to_string())
        .y_label_formatter(&|y| format!("{:.0} %", y * 100.0))
        .draw()
        .map_err(failure)?;
    Ok(chart)
}

pub(super) fn failure(error: impl std::error::Error) -> Failure {
    error.to_string().into()
}

/// One line for each model above the plot.
fn legend(area: &DrawingArea<SVGBackend<'_>, Shift>, curve: &Curve) -> Result<(), Failure> {
    let style =
        TextStyle::from(("sans-serif", LETTER).into_font()).color(&LETTERS).pos(Pos::new(HPos::Left, VPos::Center));
    for (i, line) in curve.lines.iter().enumerate() {
        let y = LEGEND * i as i32 + LEGEND / 2 + 4;
        area.draw(&PathElement::new([(104, y), (168, y)], stroke(i))).map_err(failure)?;
        if !curve.steps && is_first(i) {
            area.draw(&Circle::new((136, y), MARK, role(i).filled())).map_err(failure)?;
        } else if !curve.steps {
            area.draw(&TriangleMarker::new((136, y), MARK + 3, role(i).filled())).map_err(failure)?;
        }
        area.draw(&Text::new(line.name.as_str(), (180, y), style.clone())).map_err(failure)?;
    }
    Ok(())
}

/// The baseline and its variant; a report has no more than two models.
fn is_first(line: usize) -> bool {
    line == 0
}

fn role(line: usize) -> RGBColor {
    if is_first(line) { FIRST } else { SECOND }
}

fn stroke(line: usize) -> ShapeStyle {
    role(line).stroke_width(4)
}

/// Corners of a line; where it has steps, it goes on to the end of the plot.
fn corners(line: &Line, steps: bool, end: f64, height: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::new();
    for point in &line.points {
        if let (true, Some(&(_, before))) = (steps, corners.last()) {
            corners.push((point.at, before));
        }
        corners.push((point.at, height(point)));
    }
    if let (true, Some(&(_, last))) = (steps, corners.last()) {
        corners.push((end, last));
    }
    corners
}

/// The intervals of a line.
fn band(line: &Line, steps: bool, end: f64) -> Vec<(f64, f64)> {
    let mut band = corners(line, steps, end, |point| point.correct.high());
    band.extend(corners(line, steps, end, |point| point.correct.low()).into_iter().rev());
    band
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::showcase;

    #[test]
    fn lines_of_steps_have_two_corners_for_each_point_and_go_to_the_end() {
        let report = showcase::report(60);
        let curves = report.distance_curves();
        let line = &curves[0].lines[0];
        let corners = corners(line, true, 9.0, |point| point.correct.rate());
        assert_eq!(corners.len(), 2 * line.points.len());
        assert_eq!(corners[0], (0.0, line.points[0].correct.rate()));
        assert_eq!((corners[1].1, corners[1].0), (corners[0].1, line.points[1].at));
        assert_eq!(corners.last().unwrap().0, 9.0);
        assert_eq!(band(line, false, 9.0).len(), 2 * line.points.len());
    }

    #[test]
    fn a_plot_names_roles_only_and_cannot_be_left_by_names() {
        let mut report = showcase::report(60);
        report.models[0].title = "</svg><script>alert(1)</script>".to_owned();
        for curve in report.radius_curves().into_iter().chain(report.distance_curves()) {
            let svg = svg(&curve).unwrap();
            assert_eq!((svg.matches("<svg").count(), svg.matches("</svg>").count()), (1, 1));
            assert!(!svg.contains("<script") && !svg.contains("style=") && !svg.contains("http"), "{svg}");
            let colours = svg.match_indices('#').map(|(at, _)| &svg[at..at + 7]);
            for colour in colours {
                assert!(["#000001", "#000002", "#000003", "#000004", "#000005"].contains(&colour), "{colour}");
            }
            assert_eq!(svg.matches("<polyline").count() - svg.matches("stroke=\"#000002\"").count(), 4, "{svg}");
        }
    }
}
