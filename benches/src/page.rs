//! Tables on the page of performance.

use std::error::Error;

use crate::{root, runtime};

/// The page, from the root of the repository.
const PAGE: &str = "docs/performance.md";

/// Prints a table and what `run` gave it, and puts it between its marks on the page if asked to: `command` is what writes it, with the
/// name of the table where it writes several.
///
/// # Errors
/// The page cannot be read or written, or has no such marks.
#[allow(clippy::print_stdout, reason = "what it is for")]
pub fn give(command: &str, run: &str, table: &str, write: bool) -> Result<(), Box<dyn Error>> {
    let content = format!("{}; {run}.\n\n{table}", machine());
    println!("{command}: {content}");
    if write {
        let page = root().join(PAGE);
        let text = std::fs::read_to_string(&page)?;
        std::fs::write(page, between_marks(&text, command, &content)?)?;
    }
    Ok(())
}

/// `page` with `content` between the marks of `command`.
fn between_marks(page: &str, command: &str, content: &str) -> Result<String, String> {
    let [begin, end] = ["begin", "end"].map(|mark| format!("<!-- {mark}: {command} -->"));
    let (before, rest) = page.split_once(&begin).ok_or_else(|| format!("{PAGE} has no line {begin}"))?;
    let (_, after) = rest.split_once(&end).ok_or_else(|| format!("{PAGE} has no line {end} behind {begin}"))?;
    Ok(format!("{before}{begin}\n{content}{end}{after}"))
}

/// What it was measured on.
fn machine() -> String {
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = information.lines().find(|line| line.starts_with("model name"));
    let name = name.and_then(|line| line.split(": ").nth(1)).unwrap_or(std::env::consts::ARCH);
    format!("{name}, one thread, ONNX Runtime {}", runtime().version())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = "a\n<!-- begin: make bench-forms, x -->\nold\n<!-- end: make bench-forms, x -->\nb\n";
        let expected = "a\n<!-- begin: make bench-forms, x -->\nnew\n<!-- end: make bench-forms, x -->\nb\n";
        assert_eq!(between_marks(page, "make bench-forms, x", "new\n").unwrap(), expected);
        assert!(
            between_marks(page, "make bench-forms, y", "new\n").unwrap_err().contains("begin: make bench-forms, y")
        );
    }
}
