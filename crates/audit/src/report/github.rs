//! The report in the log of a job of GitHub Actions: one annotation for each check that did not pass and for each flag.

use std::fmt::{self, Write};

use super::concern::Gravity;
use super::{Render, Report};

/// Workflow commands (`::error title=…::…`), one a line, and a last one with the verdict.
pub struct Github;

impl Render for Github {
    fn render(&self, report: &Report, out: &mut dyn Write) -> fmt::Result {
        for concern in report.concerns() {
            let command = match concern.gravity {
                Gravity::Error => "error",
                Gravity::Warning => "warning",
                Gravity::Note => "notice",
            };
            writeln!(out, "::{command} title={}::{}", Property(&concern.title), Message(&concern.message))?;
        }
        let (subjects, verdict) = (report.subjects(), report.verdict.name());
        let summary = format!("{}: {}", verdict.to_uppercase(), report.summary());
        writeln!(out, "::notice title=Robustness audit of {}::{}", Property(&subjects), Message(&summary))
    }
}

/// Text after the second pair of colons.
struct Message<'a>(&'a str);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escaped(self.0, "", f)
    }
}

/// The value of a property, which colons and commas end.
struct Property<'a>(&'a str);

impl fmt::Display for Property<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escaped(self.0, ":,", f)
    }
}

/// Writes text with what ends a command, and the characters in `more`, as `%` and two digits.
fn escaped(text: &str, more: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for character in text.chars() {
        match character {
            '%' | '\r' | '\n' => write!(f, "%{:02X}", u32::from(character))?,
            c if more.contains(c) => write!(f, "%{:02X}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn snapshot() {
        insta::assert_snapshot!(Github.to_text(&fixture::report()));
    }

    #[test]
    fn names_cannot_become_commands() {
        let mut report = fixture::hostile();
        report.models[0].title = "x\n::add-mask::all\r\n%0A::set-env name=A,b:c".to_owned();
        report.gates[0].checks[0].model = report.models[0].title.clone();
        report.gates[0].checks[0].verdict = crate::judge::Verdict::Fail;
        let text = Github.to_text(&report);
        assert_eq!(text.lines().count(), report.concerns().len() + 1);
        for line in text.lines() {
            let (command, rest) = line.strip_prefix("::").unwrap().split_once(" title=").unwrap();
            assert!(["error", "warning", "notice"].contains(&command), "{line}");
            let (title, _) = rest.split_once("::").unwrap();
            assert!(!title.contains([':', ',', '\r']), "{title}");
        }
        assert!(text.contains("x%0A::add-mask::all%0D%0A%250A::set-env name=A,b:c, Linf 8/255"), "{text}");
        assert!(text.contains("Robustness audit of x%0A%3A%3Aadd-mask"), "{text}");
    }
}
