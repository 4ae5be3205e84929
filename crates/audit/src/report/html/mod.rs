//! The report as one page: nothing is loaded, the report itself travels inside as JSON, and without JavaScript only filters and sorting are missing.

mod accuracy;
mod attacks;
#[cfg(test)]
mod browser;
mod classes;
mod confusion;
mod corruptions;
mod curves;
mod facts;
mod family;
mod front;
mod gallery;
mod head;
mod jobs;
mod markup;
mod plot;
mod samples;

use std::fmt::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::{Render, Report};
pub use jobs::{JobView, job_page, jobs_page};

pub(super) use family::page as family;
use markup::Text;

/// One self-contained HTML page, light and dark, for screens of any width and for paper.
pub struct Html;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("samples.js");

impl Render for Html {
    fn render(&self, report: &Report, out: &mut dyn Write) -> fmt::Result {
        begin(&format!("Robustness audit: {}", report.subjects()), &policy(SCRIPT), out)?;
        head::write(report, out)?;
        writeln!(out, "<main>")?;
        accuracy::write(report, out)?;
        accuracy::gates(report, out)?;
        head::flags(report, out)?;
        curves::write(report, out)?;
        corruptions::write(report, out)?;
        gallery::write(report, out)?;
        attacks::write(report, out)?;
        confusion::write(report, out)?;
        classes::write(report, out)?;
        samples::write(report, out)?;
        facts::write(report, out)?;
        writeln!(out, "</main>")?;
        foot(report, out)
    }
}

/// A page up to its content.
fn begin(title: &str, policy: &str, out: &mut dyn Write) -> fmt::Result {
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        policy,
        Text(title)
    )
}

/// What the page may do: show pictures that are inside it, and use its own style and script, which are known by their hash. Nothing of a name in the report
/// could run, even if it became markup.
fn policy(script: &str) -> String {
    let hash = |content: &str| STANDARD.encode(Sha256::digest(content));
    let (style, script) = (hash(STYLE), hash(script));
    format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"
    )
}

fn foot(report: &Report, out: &mut dyn Write) -> fmt::Result {
    // "<" is the only character that could end the element.
    let json = serde_json::to_string(report).map_err(|_| fmt::Error)?.replace('<', "\\u003c");
    writeln!(
        out,
        "<footer><p>This page holds the whole report as JSON, in the element <code>report</code>.</p></footer>"
    )?;
    writeln!(
        out,
        "<script type=\"application/json\" id=\"report\">{json}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, showcase};

    /// The page without style, pictures, plots, report and script.
    fn prose(page: &str) -> String {
        let mut page = page.to_owned();
        for (from, to) in [
            ("<style>", "</style>"),
            ("base64,", "\""),
            ("<svg class=\"bar\"", "</svg>"),
            ("<svg class=\"plot\"", "</svg>"),
            ("<script", "</script>"),
        ] {
            let mut rest = page.as_str();
            let mut kept = String::new();
            while let Some((before, after)) = rest.split_once(from) {
                let (_, after) = after.split_once(to).unwrap();
                kept.extend([before, from, "…", to]);
                rest = after;
            }
            kept.push_str(rest);
            page = kept;
        }
        page
    }

    #[test]
    fn snapshot() {
        let page = Html.to_text(&fixture::report());
        let (before, rest) = page.split_once("<section aria-labelledby=\"samples\">").unwrap();
        let (_, after) = rest.split_once("</section>").unwrap();
        // The policy changes with every letter of the style.
        let (start, rest) = before.split_once("<meta http-equiv").unwrap();
        let (_, end) = rest.split_once('\n').unwrap();
        insta::assert_snapshot!(prose(&format!("{start}{end}{after}")));
    }

    #[test]
    fn names_cannot_become_markup() {
        let page = Html.to_text(&fixture::hostile());
        for markup in ["<script>alert", "<img src=x", "<b>bold", "\"><b"] {
            assert!(!page.contains(markup), "{markup} in {page}");
        }
        assert_eq!(page.matches("</script>").count(), 2);
    }

    #[test]
    fn the_page_loads_nothing_and_carries_the_report() {
        for report in [fixture::report(), showcase::report(60)] {
            let page = Html.to_text(&report);
            for loader in ["http:", "https:", "<link", "<iframe", "@import", "url(", "src=\"/", "javascript:", "fetch("]
            {
                assert!(!page.contains(loader), "{loader}");
            }
            let (_, rest) = page.split_once("<script type=\"application/json\" id=\"report\">").unwrap();
            let (json, _) = rest.split_once("</script>").unwrap();
            assert_eq!(serde_json::from_str::<Report>(json).unwrap(), report);
        }
    }

    /// A style or a handler at an element would be refused by the browser, and what the policy hashes is what stands between the tags.
    #[test]
    fn the_page_keeps_its_own_policy() {
        let page = Html.to_text(&showcase::report(60));
        for (open, close, directive) in [("<style>", "</style>", "style-src"), ("<script>", "</script>", "script-src")]
        {
            assert_eq!(page.matches(open).count(), 1);
            let (_, rest) = page.split_once(open).unwrap();
            let (content, _) = rest.split_once(close).unwrap();
            let hash = STANDARD.encode(Sha256::digest(content));
            assert!(page.contains(&format!("{directive} 'sha256-{hash}'")), "{directive}");
        }
        let prose = prose(&page);
        for forbidden in [" style=", " onclick", " onload"] {
            assert!(
                !page.split_once("<body>").unwrap().1.split_once("<script").unwrap().0.contains(forbidden),
                "{forbidden}"
            );
        }
        assert!(prose.contains("default-src 'none'"));
    }

    #[test]
    fn every_part_is_there_and_ids_are_unique() {
        let page = prose(&Html.to_text(&showcase::report(60)));
        let parts = [
            "accuracy",
            "gates",
            "flags",
            "curves",
            "corruptions",
            "examples",
            "attacks",
            "confusion",
            "classes",
            "samples",
            "facts",
        ];
        for part in parts {
            assert_eq!(page.matches(&format!(" id=\"{part}\"")).count(), 1, "{part}");
        }
        assert_eq!((page.matches("<svg class=\"plot\"").count(), page.matches("<summary>Numbers").count()), (2, 2));
    }

    #[test]
    fn every_picture_has_a_description_and_every_heading_cell_a_scope() {
        for report in [fixture::report(), showcase::report(60)] {
            let page = prose(&Html.to_text(&report));
            assert!(page.matches("<img ").count() >= 12);
            assert_eq!(page.matches("<img ").count(), page.matches(" alt=\"").count());
            assert_eq!(
                page.matches("<th").count() - page.matches("<thead").count(),
                page.matches("<th scope=").count()
            );
            for element in ["table", "section", "details", "figure", "div", "ul", "tr", "td", "li"] {
                let opened =
                    page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
                assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
            }
        }
    }
}
