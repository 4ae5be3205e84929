//! Plans of audits: what is wrong is in a line of the text.

#![no_main]

use assay_audit::Plan;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = Plan::parse(text)
        && let Some(line) = error.line
    {
        assert!((1..=text.lines().count().max(1) + 1).contains(&line), "line {line} of {}", text.lines().count());
        assert!(!error.to_string().is_empty());
    }
});
