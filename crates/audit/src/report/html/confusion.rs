//! What was taken for what, under attack.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::markup::{Text, end, end_table, section, table};
use crate::event::Fate;
use crate::report::Report;
use crate::report::rows::Row;
use crate::report::text::Count;

/// Most classes of a matrix; with more, only the pairs that were confused most are listed.
const WIDEST: u32 = 20;

/// Most pairs of such a list.
const PAIRS: usize = 20;

/// Strengths of a cell's colour.
const SHADES: u64 = 6;

const ABOUT: &str = "Samples by true class (rows) and by the class predicted under attack (columns): that of the adversarial sample \
                     where one was found, else the clean one. Samples that could not be measured are in no cell but counted at the end.";

pub(super) fn write(report: &Report, out: &mut dyn Write) -> fmt::Result {
    section(out, "confusion", "Confusion under attack", ABOUT)?;
    for (m, model) in report.models.iter().enumerate() {
        for (t, threat) in model.threats.iter().enumerate() {
            let title = format!("{}, {}", model.title, threat.title);
            let open = if (m, t) == (0, 0) { " open" } else { "" };
            writeln!(out, "<details{open}><summary>{}</summary>", Text(&title))?;
            let counts = Counts::of(&report.rows_of(m, t), report.setup.data.classes);
            if report.setup.data.classes <= WIDEST {
                counts.matrix(report, &title, out)?;
            } else {
                counts.pairs(report, &title, out)?;
            }
            if counts.missing > 0 {
                writeln!(out, "<p>{} samples could not be measured.</p>", Count(counts.missing))?;
            }
            writeln!(out, "</details>")?;
        }
    }
    end(out)
}

struct Counts {
    classes: u32,
    /// Rising by label, then prediction.
    cells: BTreeMap<(u32, u32), u64>,
    missing: u64,
}

impl Counts {
    fn of(rows: &[Row<'_>], classes: u32) -> Self {
        let mut counts = Self { classes, cells: BTreeMap::new(), missing: 0 };
        for row in rows {
            let predicted = match row.fate {
                Fate::Changed => row.found.map(|found| found.prediction),
                Fate::Held => row.prediction,
                Fate::Unstable | Fate::Error => None,
            };
            match predicted {
                Some(predicted) => *counts.cells.entry((row.label, predicted)).or_default() += 1,
                None => counts.missing += 1,
            }
        }
        counts
    }

    fn matrix(&self, report: &Report, title: &str, out: &mut dyn Write) -> fmt::Result {
        let names = (0..self.classes).map(|class| Text(&report.class_name(class)).to_string());
        let headings = std::iter::once("True class".to_owned()).chain(names);
        table(out, &format!("Confusion, {title}"), "matrix", headings)?;
        for label in 0..self.classes {
            let cell = |predicted| self.cells.get(&(label, predicted)).copied().unwrap_or_default();
            let all: u64 = (0..self.classes).map(cell).sum();
            write!(out, "<tr><th scope=\"row\">{}</th>", Text(&report.class_name(label)))?;
            for predicted in 0..self.classes {
                let count = cell(predicted);
                let shade = (count * SHADES).div_ceil(all.max(1));
                let kind = if predicted == label { "right" } else { "wrong" };
                write!(out, "<td class=\"{kind} shade{shade}\">{}</td>", Count(count))?;
            }
            writeln!(out, "</tr>")?;
        }
        end_table(out)
    }

    fn pairs(&self, report: &Report, title: &str, out: &mut dyn Write) -> fmt::Result {
        let mut wrong: Vec<_> = self.cells.iter().filter(|((label, predicted), _)| label != predicted).collect();
        wrong.sort_by_key(|&(pair, count)| (std::cmp::Reverse(*count), *pair));
        writeln!(
            out,
            "<p>The {} pairs that were confused most, of {}.</p>",
            wrong.len().min(PAIRS),
            Count(wrong.len() as u64)
        )?;
        table(out, &format!("Confusion, {title}"), "", ["True class", "Predicted", "Samples"])?;
        for (&(label, predicted), &count) in wrong.into_iter().take(PAIRS) {
            let [label, predicted] = [label, predicted].map(|class| report.class_name(class));
            let (label, predicted) = (Text(&label), Text(&predicted));
            writeln!(out, "<tr><th scope=\"row\">{label}</th><td>{predicted}</td><td>{}</td></tr>", Count(count))?;
        }
        end_table(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::showcase;

    #[test]
    fn every_sample_is_in_one_cell_or_missing() {
        let report = showcase::report(60);
        let rows = report.rows_of(1, 2);
        let counts = Counts::of(&rows, 4);
        assert_eq!(counts.cells.values().sum::<u64>() + counts.missing, 60);
        let robust: u64 = (0..4).filter_map(|class| counts.cells.get(&(class, class))).sum();
        // Beside the robust ones, those are right that an attack made right.
        let mended =
            rows.iter().filter(|row| row.found.is_some_and(|found| found.prediction == row.label)).count() as u64;
        assert_eq!(robust, report.models[1].threats[2].robust.hits() + mended);
    }

    #[test]
    fn many_classes_are_a_list_of_the_worst_pairs() {
        let mut report = showcase::report(60);
        report.setup.data.classes = WIDEST + 1;
        let mut page = String::new();
        write(&report, &mut page).unwrap();
        assert!(!page.contains("matrix") && page.contains("pairs that were confused most"));
        let counts = Counts::of(&report.rows_of(0, 0), 21);
        let most = counts.cells.iter().filter(|((a, b), _)| a != b).map(|(_, count)| *count).max().unwrap();
        let first = page.split("<td>").nth(2).unwrap();
        assert!(first.starts_with(&most.to_string()), "{first}");
    }
}
