//! The report for what shows results of code scanning: SARIF 2.1.0.

use std::fmt;

use assay_attack::FlagKind;
use serde_json::{Value, json};

use super::concern::{Concern, Gravity, gravity};
use super::{Render, Report};
use crate::event::ModelFacts;

/// SARIF 2.1.0: a result for each check that did not pass and for each flag, at the file of the model that it is about.
///
/// Every kind of flag, and every kind of gate that the plan has, is a rule. Results keep their fingerprint as long as the kind, model,
/// version and threat stay the same, whatever the numbers.
pub struct Sarif;

impl Render for Sarif {
    fn render(&self, report: &Report, out: &mut dyn fmt::Write) -> fmt::Result {
        let text = serde_json::to_string_pretty(&log(report)).map_err(|_| fmt::Error)?;
        writeln!(out, "{text}")
    }
}

fn log(report: &Report) -> Value {
    let rules = rules(report);
    let results: Vec<_> = report.concerns().iter().map(|concern| result(report, &rules, concern)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "assay",
                "version": report.setup.environment.assay,
                "semanticVersion": report.setup.environment.assay,
                "rules": rules.iter().map(Rule::to_json).collect::<Vec<_>>(),
            } },
            // Where a run of the same models on the same data goes.
            "automationDetails": { "id": format!("assay/audit/{}/{}", report.setup.data.name, report.subjects()) },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

struct Rule {
    id: String,
    short: String,
    full: String,
    help: String,
    gravity: Gravity,
}

impl Rule {
    fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "shortDescription": { "text": self.short },
            "fullDescription": { "text": self.full },
            "help": { "text": self.help },
            "defaultConfiguration": { "level": level(self.gravity) },
            "properties": { "tags": ["robustness"] },
        })
    }
}

/// A rule for each kind of gate that there is, then for each kind of flag.
fn rules(report: &Report) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for name in report.gates.iter().map(|result| result.gate.condition.name()) {
        if !rules.iter().any(|rule| rule.id == name) {
            rules.push(Rule {
                id: name.to_owned(),
                short: format!("The gate {name} of the audit's plan is not met."),
                full: "The plan of the audit demands more of the model than was measured.".to_owned(),
                help: "Look at the numbers in the report: make the model more robust, audit more samples if nothing could be decided, or change the demand."
                    .to_owned(),
                gravity: Gravity::Error,
            });
        }
    }
    rules.extend(FlagKind::ALL.map(|kind| Rule {
        id: kind.name().to_owned(),
        short: kind.cause().to_owned(),
        full: format!("{} {}", kind.cause(), kind.meaning()),
        help: kind.remedy().to_owned(),
        gravity: gravity(kind),
    }));
    rules
}

fn result(report: &Report, rules: &[Rule], concern: &Concern) -> Value {
    let model = concern.model.and_then(|id| report.setup.models.get(id.0 as usize));
    // What is about no single model is about all of them.
    let models = model.map_or(report.setup.models.as_slice(), std::slice::from_ref);
    let place = model.map_or_else(String::new, |model| format!("{}/{}", model.name, model.version));
    let threat = concern.threat.as_deref().unwrap_or_default();
    json!({
        "ruleId": concern.rule,
        "ruleIndex": rules.iter().position(|rule| rule.id == concern.rule),
        "level": level(concern.gravity),
        "message": { "text": concern.message },
        "locations": models.iter().map(location).collect::<Vec<_>>(),
        "partialFingerprints": { "assay/v1": format!("{}/{place}/{threat}", concern.rule) },
    })
}

/// The file of a model in the repository. It has no lines, but some readers insist on one.
fn location(model: &ModelFacts) -> Value {
    let uri = format!("models/{}/{}/model.onnx", encoded(&model.name), encoded(&model.version));
    json!({ "physicalLocation": { "artifactLocation": { "uri": uri }, "region": { "startLine": 1 } } })
}

fn level(gravity: Gravity) -> &'static str {
    match gravity {
        Gravity::Error => "error",
        Gravity::Warning => "warning",
        Gravity::Note => "note",
    }
}

/// One segment of a URI (RFC 3986): all but unreserved characters as `%` and two digits for each byte.
fn encoded(segment: &str) -> String {
    let mut encoded = String::new();
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn snapshot() {
        let log = log(&fixture::report());
        let text = serde_json::to_string_pretty(&log["runs"][0]["results"]).unwrap();
        insta::assert_snapshot!(text);
    }

    /// What the standard demands of each object that is used here.
    fn validate(log: &Value) {
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let levels = ["error", "warning", "note"];
        let text = |value: &Value| assert!(!value["text"].as_str().unwrap().is_empty());
        for rule in rules {
            assert_eq!(rules.iter().filter(|other| other["id"] == rule["id"]).count(), 1, "{rule}");
            ["shortDescription", "fullDescription", "help"].iter().for_each(|key| text(&rule[key]));
            assert!(levels.contains(&rule["defaultConfiguration"]["level"].as_str().unwrap()));
        }
        let results = run["results"].as_array().unwrap();
        for result in results {
            let index = result["ruleIndex"].as_u64().unwrap() as usize;
            assert_eq!(rules[index]["id"], result["ruleId"]);
            assert!(levels.contains(&result["level"].as_str().unwrap()));
            text(&result["message"]);
            let locations = result["locations"].as_array().unwrap();
            assert!(!locations.is_empty());
            for location in locations {
                let uri = location["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
                assert!(uri.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%/".contains(&b)), "{uri}");
                assert_eq!(uri.matches('/').count(), 3, "{uri}");
            }
            let same = results.iter().filter(|other| other["partialFingerprints"] == result["partialFingerprints"]);
            assert_eq!(same.count(), 1, "{result}");
        }
    }

    #[test]
    fn has_the_structure_of_sarif() {
        for report in [fixture::report(), fixture::hostile()] {
            let log: Value = serde_json::from_str(&Sarif.to_text(&report)).unwrap();
            validate(&log);
            assert_eq!(log["runs"][0]["results"].as_array().unwrap().len(), report.concerns().len());
            assert!(!report.concerns().is_empty());
        }
    }

    #[test]
    fn fingerprints_do_not_know_the_numbers() {
        let prints = |report: &Report| {
            let log = log(report);
            let results = log["runs"][0]["results"].as_array().unwrap().clone();
            results.into_iter().map(|result| result["partialFingerprints"].clone()).collect::<Vec<_>>()
        };
        let before = fixture::report();
        let mut after = before.clone();
        after.flags[0].stages[0].samples += 1;
        after.run = None;
        assert_eq!(prints(&before), prints(&after));
        after.setup.models[1].version = "3".to_owned();
        assert_ne!(prints(&before), prints(&after));
    }
}
