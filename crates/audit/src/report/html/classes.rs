//! Accuracy by class.

use std::fmt::{self, Write};

use super::markup::{Cell, Text, end, end_table, section, table};
use crate::report::Report;

pub(super) fn write(report: &Report, out: &mut dyn Write) -> fmt::Result {
    section(out, "classes", "Classes", "Few samples make wide intervals: compare with care.")?;
    let mut headings = vec!["Class".to_owned()];
    for model in &report.models {
        headings.push(format!("{}<br>clean", Text(&model.title)));
        headings.extend(model.threats.iter().map(|t| format!("{}<br>robust, {}", Text(&model.title), Text(&t.title))));
    }
    table(out, "Classes", "compact", headings)?;
    // Every model was measured on the same samples, so the classes are the same ones.
    for (i, class) in report.models.first().map_or(&[][..], |model| &model.classes).iter().enumerate() {
        write!(out, "<tr><th scope=\"row\">{}</th>", Text(&report.class_name(class.class)))?;
        for class in report.models.iter().filter_map(|model| model.classes.get(i)) {
            write!(out, "<td>{}</td>", Cell(&class.clean))?;
            for robust in &class.robust {
                write!(out, "<td class=\"robust\">{}</td>", Cell(robust))?;
            }
        }
        writeln!(out, "</tr>")?;
    }
    end_table(out)?;
    end(out)
}
