//! The list of attacks, suites and flags in `docs/attacks.md` is that of the tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fmt::Write as _;
use std::path::Path;

use assay_attack::{Description, FlagKind, attacks, contents};

const HEAD: &str = "\
# Attacks, suites and flags

<!-- Written by `UPDATE_DOCS=1 cargo test -p assay-attack --test documentation` from the tables in `crates/attack/src`. -->

What `ListAttacks` and `assay attacks` show, with the flags that a result may carry.

- An attack only proposes points. A sample is **broken** when a point inside the threat (distance in binary64 at most eps, inside the range of
  valid inputs) is adversarial, and still is when it is predicted again, in a batch and alone. If it is not, the sample is **unstable**; where the
  model fails, it is an **error**; neither counts as robust.
- The attacks that look for the *nearest* adversarial sample may leave the ball on the way; outside it they find nothing. With `eps = inf` any valid
  input counts, and the distance that is reported estimates how robust the sample is.
- Aimed at a class (`AttackRequest.target`, `--target`), only points that are predicted as that class are adversarial. Attacks with a DLR loss refuse.
- Random numbers are keyed by seed, sample, attack and restart: a sample's result does not depend on which others are attacked with it.
- An attack with the parameter `fit` is one perturbation for all samples. It is made from the first samples of a request and judged on the others: the
  first are **fitted**, and in no denominator. With other samples in the first part, results are others. Audits and suites have no such attack.

## Attacks

| attack | norms | gradient | eps | what it does | source |
|---|---|---|---|---|---|
";

const SUITES: &str = "
## Suites

Each part attacks what the parts before it have left, so that the result is the worst case, and says which part broke a sample. A suite has no
parameters and never changes without its version; parameters that are not listed have the attack's default.

| suite | norms | what it is | parts | source |
|---|---|---|---|---|
";

const FLAGS: &str = "
## Flags

A flag says that a result means less than it seems to. None is an error; a gate that trusts a flagged result trusts too much.

| flag | raised if | what it means | what to do |
|---|---|---|---|
";

fn norms(description: &Description) -> String {
    description.norms.iter().map(|n| n.name()).collect::<Vec<_>>().join(", ")
}

fn parts(name: &str) -> Option<String> {
    let contents = contents(name)?;
    let of = attacks().iter().find(|d| d.name == name).unwrap().norms;
    let mut text = format!("version {}: ", contents.version);
    if contents.parts.len() > 10 {
        // Kinds and severities of corruptions.
        write!(text, "{} parts, `{}` of each kind and severity", contents.parts.len(), contents.parts[0].attack)
            .unwrap();
        return Some(text);
    }
    let part = |part: &assay_attack::Part| {
        let parameters: Vec<_> = part.parameters.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        let only: Vec<_> = part.norms.iter().map(|n| n.name()).collect();
        let everywhere = of.iter().all(|n| part.norms.contains(n));
        let only = if everywhere { String::new() } else { format!(" ({} only)", only.join(", ")) };
        format!("`{}{}`{only}", part.attack, parameters.concat())
    };
    text += &contents.parts.iter().map(part).collect::<Vec<_>>().join(", ");
    Some(text)
}

#[test]
fn the_documentation_is_that_of_the_tables() {
    let (mut expected, mut suites) = (HEAD.to_owned(), SUITES.to_owned());
    for d in attacks() {
        if let Some(parts) = parts(d.name) {
            writeln!(suites, "| `{}` | {} | {} | {parts} | {} |", d.name, norms(d), d.summary, d.source).unwrap();
            continue;
        }
        let [gradient, eps] =
            [(d.needs_gradient, "needed"), (d.needs_eps, "finite")].map(|(n, w)| if n { w } else { "" });
        writeln!(expected, "| `{}` | {} | {gradient} | {eps} | {} | {} |", d.name, norms(d), d.summary, d.source)
            .unwrap();
    }
    expected += &suites;
    expected += FLAGS;
    for flag in FlagKind::ALL {
        let (cause, meaning, remedy) = (flag.cause(), flag.meaning(), flag.remedy());
        writeln!(expected, "| `{flag}` | {cause} | {meaning} | {remedy} |").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/attacks.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/attacks.md is not that of the tables; run this test with UPDATE_DOCS=1");
}
