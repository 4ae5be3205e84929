//! Accuracy over the length of the perturbation: over the radii that were audited, and over the distances that attacks found.

use assay_attack::Norm;

use super::rows::Row;
use super::{ModelResult, Report};
use crate::event::{Fate, ThreatFacts};
use crate::stats::Estimate;
use crate::tally::length;

/// Most corners of a line: more would not be seen.
const CORNERS: usize = 200;

/// Attacks and suites that look for the nearest adversarial sample instead of any within a radius.
const NEAREST: [&str; 11] =
    ["boundary", "curve", "cw", "ddn", "deepfool", "fab", "fab-t", "fmn", "geoda", "hopskipjump", "sigma-zero"];

/// One line for each model, of what is correct still.
#[derive(Debug)]
pub(super) struct Curve {
    /// What it is about: the attacks, or the threat.
    pub(super) title: String,
    pub(super) norm: Norm,
    /// Whether accuracy was measured between the points of a line too, so that it is constant there.
    pub(super) steps: bool,
    /// One per model, in order.
    pub(super) lines: Vec<Line>,
}

/// What is correct still, by rising distance; the first is at 0.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

/// Samples, of all, that are correct still when perturbations are as long as this.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) at: f64,
    pub(super) correct: Estimate,
}

impl Curve {
    /// The largest distance of its points.
    pub(super) fn end(&self) -> f64 {
        self.lines.iter().filter_map(|line| line.points.last()).map(|point| point.at).fold(0.0, f64::max)
    }
}

impl Line {
    /// What is correct at a distance: the last point that is not beyond it.
    pub(super) fn at(&self, distance: f64) -> Option<&Estimate> {
        self.points.iter().rev().find(|point| point.at <= distance).map(|point| &point.correct)
    }
}

impl Report {
    /// One for each norm and list of attacks that was audited with several radii.
    pub(super) fn radius_curves(&self) -> Vec<Curve> {
        let threats = &self.setup.threats;
        let same = |a: &ThreatFacts, b: &ThreatFacts| {
            a.norm == b.norm && a.attacks == b.attacks && a.order == b.order && a.eps.is_finite() && b.eps.is_finite()
        };
        let mut curves = Vec::new();
        for (first, facts) in threats.iter().enumerate() {
            let mut members: Vec<usize> = (0..threats.len()).filter(|&i| same(facts, &threats[i])).collect();
            if members.first() != Some(&first) || members.len() < 2 {
                continue;
            }
            members.sort_by(|&a, &b| threats[a].eps.limit().total_cmp(&threats[b].eps.limit()));
            let attacks: Vec<_> = facts.attacks.iter().map(|attack| attack.name.as_str()).collect();
            let line = |model: &ModelResult| {
                let point =
                    |&i: &usize| Some(Point { at: threats[i].eps.limit(), correct: model.threats.get(i)?.robust });
                let clean = Point { at: 0.0, correct: model.clean };
                let points = std::iter::once(clean).chain(members.iter().filter_map(point)).collect();
                Line { name: model.title.clone(), points }
            };
            curves.push(Curve {
                title: attacks.join(", "),
                norm: facts.norm,
                steps: false,
                lines: self.models.iter().map(line).collect(),
            });
        }
        curves
    }

    /// One for each threat whose attacks look for the nearest adversarial sample.
    pub(super) fn distance_curves(&self) -> Vec<Curve> {
        let mut curves = Vec::new();
        for (t, facts) in self.setup.threats.iter().enumerate().filter(|(_, facts)| seeks_nearest(facts)) {
            let line = |(m, model): (usize, &ModelResult)| Line {
                name: model.title.clone(),
                points: points(&self.rows_of(m, t), facts.norm),
            };
            let lines: Vec<_> = self.models.iter().enumerate().map(line).collect();
            let curve = Curve { title: facts.title(), norm: facts.norm, steps: true, lines };
            // Where nothing was found there is nothing to see.
            if curve.end() > 0.0 {
                curves.push(curve);
            }
        }
        curves
    }
}

/// Whether the distances of a threat's outcomes are near the least ones. Where there is a radius, all of its attacks must look for those: others
/// go as far as they may.
fn seeks_nearest(facts: &ThreatFacts) -> bool {
    let mut nearest = facts.attacks.iter().map(|attack| NEAREST.contains(&attack.name.as_str()));
    if facts.eps.is_finite() { nearest.all(|nearest| nearest) } else { nearest.any(|nearest| nearest) }
}

/// The line of one model. Samples that could not be measured are not correct anywhere, as in the robust accuracy.
fn points(rows: &[Row<'_>], norm: Norm) -> Vec<Point> {
    let all = rows.len() as u64;
    let correct = rows.iter().filter(|row| row.is_correct());
    let measured = correct.filter(|row| matches!(row.fate, Fate::Held | Fate::Changed));
    let (mut left, mut distances) = (0, Vec::new());
    for row in measured {
        left += 1;
        distances.extend(row.found.map(|found| length(&found.distance, norm)));
    }
    distances.sort_by(f64::total_cmp);
    let mut points: Vec<Point> =
        Estimate::new(left, all).map(|correct| Point { at: 0.0, correct }).into_iter().collect();
    let stride = distances.len().div_ceil(CORNERS).max(1);
    for group in distances.chunks(stride) {
        left -= group.len() as u64;
        let (Some(&at), Some(correct)) = (group.last(), Estimate::new(left, all)) else { continue };
        match points.last_mut() {
            Some(last) if last.at == at => last.correct = correct,
            _ => points.push(Point { at, correct }),
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, showcase};

    #[test]
    fn radii_of_the_same_attacks_are_one_curve_that_begins_without_attack() {
        let report = showcase::report(60);
        let [curve] = &report.radius_curves()[..] else { panic!() };
        assert_eq!((curve.title.as_str(), curve.norm, curve.lines.len()), ("fgsm, pgd", Norm::Linf, 2));
        let (line, model) = (&curve.lines[1], &report.models[1]);
        assert_eq!(line.points.len(), 4);
        assert_eq!((line.points[0].at, line.points[0].correct), (0.0, model.clean));
        assert!((line.points[3].at - 8.0 / 255.0).abs() < 1e-9);
        assert_eq!(line.points[3].correct, model.threats[2].robust);
        assert!(fixture::report().radius_curves().is_empty());
    }

    #[test]
    fn distances_of_searches_for_the_nearest_are_a_curve_that_ends_at_the_robust_accuracy() {
        let report = showcase::report(60);
        let [curve] = &report.distance_curves()[..] else { panic!() };
        assert_eq!((curve.title.as_str(), curve.norm), ("nearest L2", Norm::L2));
        for (line, model) in curve.lines.iter().zip(&report.models) {
            assert_eq!(line.points[0].correct, model.clean);
            assert_eq!(line.points.last().unwrap().correct, model.threats[3].robust);
            assert!(line.points.windows(2).all(|pair| pair[0].at < pair[1].at));
            assert!(line.points.windows(2).all(|pair| pair[0].correct.hits() > pair[1].correct.hits()));
            // By hand: correct samples that were found no nearer than the fifth point.
            let at = line.points[5].at;
            let of_all = report.rows_of(usize::from(model.title.ends_with("pruned")), 3);
            let far = |row: &&Row<'_>| row.is_correct() && row.found.is_none_or(|found| found.distance.l2 > at);
            assert_eq!(line.at(at).unwrap().hits(), of_all.iter().filter(far).count() as u64);
            assert_eq!(line.at(0.0), Some(&model.clean));
        }
    }

    #[test]
    fn many_samples_make_few_corners() {
        let report = showcase::report(2000);
        let curves = report.distance_curves();
        let line = &curves[0].lines[0];
        assert!(line.points.len() > 100 && line.points.len() <= CORNERS + 1, "{}", line.points.len());
        assert_eq!(line.points.last().unwrap().correct, report.models[0].threats[3].robust);
    }

    /// The list is that of the attacks that say so of themselves, and the suite of them.
    #[test]
    fn attacks_that_look_for_the_nearest_are_known() {
        for attack in assay_attack::attacks() {
            let summary = attack.summary.to_lowercase();
            let words = ["nearest adversarial", "nearest linearised boundary", "nearest boundary", "fewest changed"];
            let says = words.iter().any(|words| summary.contains(words));
            assert_eq!(says, NEAREST.contains(&attack.name), "{}: {}", attack.name, attack.summary);
        }
    }
}
