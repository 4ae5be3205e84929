//! The report for what shows test results: JUnit XML.

use std::fmt;
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::text::{Tone, outcome, tone};
use super::{AttackResult, ModelResult, Render, Report, ThreatResult, Verified};
use crate::event::{ModelId, ThreatFacts};
use crate::judge::GateResult;

/// JUnit XML as Jenkins and GitLab read it: a suite for each model without attack and under each threat. Checks of gates are test
/// cases that pass, fail, or are errors where nothing could be decided; so are attacks, which always pass and carry their numbers.
pub struct Junit;

impl Render for Junit {
    fn render(&self, report: &Report, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut all = quick_junit::Report::new(format!("Robustness audit: {}", report.subjects()));
        if let Some(run) = &report.run {
            all.set_time(duration(run.seconds));
        }
        for (id, model) in (0..).map(ModelId).zip(&report.models) {
            all.add_test_suite(clean(report, id, model));
            for (threat, facts) in model.threats.iter().zip(&report.setup.threats) {
                all.add_test_suite(under(report, id, model, threat, facts));
            }
        }
        // The schema of Jenkins has no such attribute at the outermost element, whose name comes before it and holds no quotes.
        out.write_str(&all.to_string().map_err(|_| fmt::Error)?.replacen(" skipped=\"0\"", "", 1))
    }
}

fn clean(report: &Report, id: ModelId, model: &ModelResult) -> TestSuite {
    let mut suite = TestSuite::new(format!("{}, clean", model.title));
    if let Some(time) = time(report, id, "clean") {
        suite.set_time(time);
    }
    suite.add_test_cases(checks(report, model, None));
    suite.set_system_out(format!("clean accuracy {}; {} errors", model.clean, model.errors));
    suite
}

fn under(report: &Report, id: ModelId, model: &ModelResult, threat: &ThreatResult, facts: &ThreatFacts) -> TestSuite {
    let mut suite = TestSuite::new(format!("{}, {}", model.title, threat.title));
    suite.add_test_cases(checks(report, model, Some(&threat.title)));
    let names = facts.attack_titles().into_iter().zip(facts.stages());
    for (attack, (name, stage)) in threat.attacks.iter().zip(names) {
        let mut case = attacked(model, attack, &name);
        if let Some(time) = time(report, id, &stage) {
            case.set_time(time);
        }
        suite.add_test_case(case);
    }
    let verified = threat.verified.as_ref().map(|verified| {
        let mut case = certified(model, verified);
        if let Some(time) = time(report, id, &facts.certifying()) {
            case.set_time(time);
        }
        suite.add_test_case(case);
        format!("; verified accuracy {}", verified.vra)
    });
    let (robust, stability, verified) = (&threat.robust, &threat.stability, verified.unwrap_or_default());
    let (unstable, errors) = (threat.unstable, threat.errors);
    suite.set_system_out(format!(
        "robust accuracy {robust}{verified}; stability {stability}; {unstable} unstable, {errors} errors"
    ));
    suite
}

/// What the gates saw of a model, without attack or under a threat.
fn checks(report: &Report, model: &ModelResult, threat: Option<&str>) -> Vec<TestCase> {
    let mut cases = Vec::new();
    for result in &report.gates {
        for check in result.checks.iter().filter(|c| c.model == model.title && c.threat.as_deref() == threat) {
            let (tone, word) = (tone(check.verdict), outcome(check.verdict));
            cases.push(case(&model.title, result, tone, word, &check.to_string()));
        }
    }
    cases
}

fn case(class: &str, result: &GateResult, tone: Tone, word: &str, numbers: &str) -> TestCase {
    let status = match tone {
        Tone::Good => TestCaseStatus::success(),
        Tone::Bad => unsuccessful(NonSuccessKind::Failure, result, word, numbers),
        Tone::Open => unsuccessful(NonSuccessKind::Error, result, word, numbers),
    };
    let mut case = TestCase::new(format!("gate: {}", result.gate), status);
    case.set_classname(class);
    case.set_system_out(numbers);
    case
}

fn unsuccessful(kind: NonSuccessKind, result: &GateResult, word: &str, numbers: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status
        .set_message(numbers)
        .set_type(result.gate.condition.name())
        .set_description(format!("{word}: {}", result.gate));
    status
}

fn attacked(model: &ModelResult, attack: &AttackResult, name: &str) -> TestCase {
    let mut case = TestCase::new(format!("attack: {name}"), TestCaseStatus::success());
    let broken = attack.success.as_ref().map_or_else(|| "none left".to_owned(), ToString::to_string);
    case.set_classname(model.title.as_str());
    case.set_system_out(format!("broken {broken}; robust {}", attack.robust));
    case
}

/// It always passes: that no certificate is violated is a gate.
fn certified(model: &ModelResult, verified: &Verified) -> TestCase {
    let mut case = TestCase::new("certificates", TestCaseStatus::success());
    case.set_classname(model.title.as_str());
    case.set_system_out(format!("certified {}; by {}; {}", verified.vra, verified.bounds(), verified.rest()));
    case
}

/// How long a stage took, where that is known.
fn time(report: &Report, model: ModelId, stage: &str) -> Option<Duration> {
    let mut stages = report.run.as_ref()?.stages.iter();
    stages.find(|timed| timed.model == model && timed.stage == stage).map(|timed| duration(timed.seconds))
}

/// Times that are no times count as none: a file may hold any number.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;
    use quick_xml::events::{BytesStart, Event};

    use super::*;
    use crate::judge::Verdict;
    use crate::report::{fixture, showcase};

    #[test]
    fn snapshot() {
        let text = Junit.to_text(&fixture::report());
        let (first, _) = text.split_at(text.match_indices("</testsuite>").nth(1).unwrap().0);
        insta::assert_snapshot!(first);
    }

    /// Which attributes an element must have, and which children it may have, in which order: the structure that the Jenkins schema asks for.
    fn rules(element: &str) -> (&'static [&'static str], &'static [&'static str]) {
        match element {
            "" => (&[], &["testsuites"]),
            "testsuites" => (&["name", "tests", "failures", "errors"], &["testsuite"]),
            "testsuite" => (
                &["name", "tests", "failures", "errors", "skipped"],
                &["properties", "testcase", "system-out", "system-err"],
            ),
            "testcase" => (&["name", "classname"], &["skipped", "error", "failure", "system-out", "system-err"]),
            "failure" | "error" => (&["message", "type"], &[]),
            "system-out" => (&[], &[]),
            other => panic!("unexpected element {other}"),
        }
    }

    fn number(tag: &BytesStart<'_>, name: &str) -> usize {
        String::from_utf8_lossy(&tag.try_get_attribute(name).unwrap().unwrap().value).parse().unwrap()
    }

    /// Reads a document, holds each element against its rules, and counts [tests, failures, errors].
    fn validate(xml: &str) -> [usize; 3] {
        let mut reader = Reader::from_str(xml);
        // Name, place of the last child in the rules' order.
        let mut open: Vec<(String, usize)> = vec![(String::new(), 0)];
        let (mut counted, mut stated, mut suites) = ([0; 3], [0; 3], [0; 3]);
        loop {
            let event = reader.read_event().unwrap();
            let (tag, opens) = match &event {
                Event::Start(tag) => (tag, true),
                Event::Empty(tag) => (tag, false),
                Event::End(_) => {
                    open.pop();
                    continue;
                }
                Event::Eof => break,
                _ => continue,
            };
            let name = String::from_utf8(tag.name().as_ref().to_vec()).unwrap();
            let (parent, last) = open.last_mut().unwrap();
            let place = rules(parent).1.iter().position(|child| *child == name);
            let place = place.unwrap_or_else(|| panic!("{name} in {parent}"));
            assert!(place >= *last, "{name} too late in {parent}");
            *last = place;
            assert!(name != "testsuites" || tag.try_get_attribute("skipped").unwrap().is_none());
            for attribute in rules(&name).0 {
                assert!(tag.try_get_attribute(attribute).unwrap().is_some(), "{name} has no {attribute}");
            }
            let numbers = || ["tests", "failures", "errors"].map(|attribute| number(tag, attribute));
            match name.as_str() {
                "testsuites" => stated = numbers(),
                "testsuite" => numbers().iter().zip(&mut suites).for_each(|(n, sum)| *sum += n),
                "testcase" => counted[0] += 1,
                "failure" => counted[1] += 1,
                "error" => counted[2] += 1,
                _ => {}
            }
            if opens {
                open.push((name, 0));
            }
        }
        assert_eq!(open.len(), 1);
        assert_eq!((stated, suites), (counted, counted));
        counted
    }

    #[test]
    fn has_the_structure_of_junit() {
        let report = fixture::report();
        let checks: Vec<_> = report.gates.iter().flat_map(|gate| &gate.checks).collect();
        let attacks = report.models.iter().flat_map(|m| &m.threats).flat_map(|t| &t.attacks).count();
        let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
        let (failed, open) = (count(Verdict::Fail), count(Verdict::Inconclusive));
        assert!(failed > 0 && open > 0);
        assert_eq!(validate(&Junit.to_text(&report)), [checks.len() + attacks, failed, open]);
        assert_eq!(validate(&Junit.to_text(&fixture::hostile())), [checks.len() + attacks, failed, open]);
    }

    #[test]
    fn a_report_of_nothing_is_valid() {
        let mut report = fixture::report();
        report.gates.clear();
        report.models.clear();
        report.run = None;
        assert_eq!(validate(&Junit.to_text(&report)), [0, 0, 0]);
    }

    #[test]
    fn attacks_of_one_name_are_told_apart() {
        let text = Junit.to_text(&showcase::report(20));
        validate(&text);
        for parameters in ["kind gaussian_noise, severity 2", "kind gaussian_noise, severity 4", "kind fog, severity 3"]
        {
            assert_eq!(text.matches(&format!("name=\"attack: corruption ({parameters})\"")).count(), 2, "{text}");
        }
        assert!(text.contains("name=\"attack: pgd\""));
        // Each with its time.
        let attacks = text.lines().filter(|line| line.contains("name=\"attack: "));
        assert!(attacks.clone().count() > 0 && attacks.clone().all(|line| line.contains(" time=\"")), "{text}");
    }

    #[test]
    fn a_time_that_is_none_is_zero() {
        assert_eq!(duration(1.5), Duration::from_millis(1500));
        for seconds in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(duration(seconds), Duration::ZERO);
        }
    }
}
