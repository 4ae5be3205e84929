//! Which formats there are, and by which endings of a file's name they are known.

use std::path::Path;

use super::{Csv, Github, Html, Json, Junit, Markdown, Render, Report, Sarif};

/// A format of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Everything, for machines.
    Json,
    /// One page for people.
    Html,
    /// For pull requests and wikis.
    Markdown,
    /// Gates and attacks as test cases.
    Junit,
    /// Gates and flags as results of static analysis.
    Sarif,
    /// One row for each sample, model and threat.
    Csv,
    /// Annotations of GitHub Actions: for the log of a job, not for a file.
    Github,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Json, Self::Html, Self::Markdown, Self::Junit, Self::Sarif, Self::Csv, Self::Github];

    /// The endings of files in this format, the usual one first, in small letters.
    #[must_use]
    pub fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Json => &["json"],
            Self::Html => &["html", "htm"],
            Self::Markdown => &["md", "markdown"],
            Self::Junit => &["xml"],
            Self::Sarif => &["sarif", "sarif.json"],
            Self::Csv => &["csv"],
            Self::Github => &[],
        }
    }

    /// The format that a file's name asks for, whatever the case of its letters; the longest ending decides. `None` if none does.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let ends = |ending: &&str| name.strip_suffix(*ending).is_some_and(|stem| stem.len() > 1 && stem.ends_with('.'));
        let known =
            Self::ALL.into_iter().flat_map(|format| format.endings().iter().map(move |ending| (format, ending)));
        known.filter(|(_, ending)| ends(ending)).max_by_key(|(_, ending)| ending.len()).map(|(format, _)| format)
    }

    /// The whole report in this format.
    #[must_use]
    pub fn render(self, report: &Report) -> String {
        match self {
            Self::Json => Json.to_text(report),
            Self::Html => Html.to_text(report),
            Self::Markdown => Markdown.to_text(report),
            Self::Junit => Junit.to_text(report),
            Self::Sarif => Sarif.to_text(report),
            Self::Csv => Csv.to_text(report),
            Self::Github => Github.to_text(report),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn the_longest_ending_decides() {
        let of = |name: &str| Format::of(Path::new(name));
        assert_eq!(of("out/report.json"), Some(Format::Json));
        assert_eq!(of("out/report.sarif.json"), Some(Format::Sarif));
        assert_eq!(of("REPORT.XML"), Some(Format::Junit));
        for name in ["report", "report.txt", ".json", "json", "", "dir/..", "report.json/"] {
            let expected = (name == "report.json/").then_some(Format::Json);
            assert_eq!(of(name), expected, "{name}");
        }
        for format in Format::ALL {
            for ending in format.endings() {
                assert_eq!(of(&format!("r.{ending}")), Some(format));
            }
        }
    }

    #[test]
    fn every_format_says_something_of_every_report() {
        for format in Format::ALL {
            assert!(format.render(&fixture::hostile()).len() > 100, "{format:?}");
        }
    }
}
