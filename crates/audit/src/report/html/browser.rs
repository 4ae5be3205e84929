//! The page in a browser, where there is one: what no reading of its text can tell. The pages stay in the folder `ASSAY_PAGES` where that is set.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::report::{fixture, showcase};

const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A page as it is after its script ran, and what the browser said meanwhile.
fn opened(browser: &Path, folder: &Path, name: &str, page: &str) -> (String, String) {
    let path = folder.join(name);
    std::fs::write(&path, page).unwrap();
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", path.display()))
        .output();
    output.map_or_else(
        |error| (String::new(), error.to_string()),
        |output| {
            (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
        },
    )
}

/// A browser that opens pages.
#[allow(clippy::print_stdout, reason = "a test that is skipped says so")]
fn browser(folder: &Path) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&paths).flat_map(|folder| BROWSERS.map(|name| folder.join(name)));
    let works = |path: &PathBuf| path.is_file() && opened(path, folder, "probe.html", "<p>here").0.contains("<p>here");
    let found = candidates.into_iter().find(works);
    if found.is_none() {
        println!("skipped: none of {} is here and opens pages", BROWSERS.join(", "));
    }
    found
}

#[test]
fn the_script_runs_under_the_policy_of_the_page() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("ASSAY_PAGES").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let Some(browser) = browser(&folder) else { return };
    for (name, report) in
        [("hostile", fixture::hostile()), ("showcase", showcase::report(60)), ("long", showcase::report(1001))]
    {
        let page = Html.to_text(&report);
        let (after, said) = opened(&browser, &folder, &format!("{name}.html"), &page);
        let complaints: Vec<_> = said.lines().filter(|line| line.contains("CONSOLE")).collect();
        assert!(complaints.is_empty(), "{name}: {complaints:?}");
        let rows = report.rows().count();
        let (made, rest) = if rows > 5000 { (200, ", the first 200 shown") } else { (rows, "") };
        let count = crate::report::text::Count(rows as u64);
        assert!(after.contains(&format!("{count} of {count} rows{rest}</p>")), "{name}");
        let (_, table) = after.split_once("<table class=\"samples").unwrap();
        let (table, _) = table.split_once("</table>").unwrap();
        assert_eq!(table.matches("<tr><th scope=\"row\">").count(), made, "{name}");
        // What the script writes is what the page says without it.
        if rows <= 5000 {
            let (_, plain) = page.split_once("<table class=\"samples").unwrap();
            let cells = |text: &str| {
                text.replace('\n', "").split_once("<tbody>").unwrap().1.split_once("</tbody>").unwrap().0.to_owned()
            };
            let decoded = |text: String| text.replace("&#39;", "'").replace("&quot;", "\"");
            assert_eq!(
                decoded(cells(&after[after.find("<table class=\"samples").unwrap()..])),
                decoded(cells(plain)),
                "{name}"
            );
        }
        assert!(after.contains("<form id=\"filters\">"), "{name}");
    }
}
