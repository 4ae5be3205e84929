//! `assay attacks`.

use assay_proto::v1::{AttackDescription, AttackSpec, ListAttacksRequest, Norm, Suite};
use serde_json::json;

use super::Session;
use crate::args::{Attacks, Output};
use crate::error::ClientError;
use crate::output::{Verdict, print, print_json, table};

pub(crate) async fn run(session: &mut Session, command: &Attacks) -> Result<Verdict, ClientError> {
    let request = session.request(ListAttacksRequest {});
    let mut attacks = session.client.list_attacks(request).await?.into_inner().attacks;
    if let Some(name) = &command.attack {
        let names: Vec<String> = attacks.iter().map(|a| a.name.clone()).collect();
        attacks.retain(|a| a.name == *name);
        if attacks.is_empty() {
            return Err(ClientError::Usage(format!("unknown attack \"{name}\": there is {}", names.join(", "))));
        }
    }
    match session.output {
        Output::Json => print_json(&json!({ "attacks": attacks.iter().map(as_json).collect::<Vec<_>>() }))?,
        Output::Human if command.attack.is_some() => attacks.iter().try_for_each(print_one)?,
        Output::Human => {
            let mut rows = table(&["attack", "norms", "needs gradient", "needs eps", "what it does"], &[]);
            for a in &attacks {
                let [gradient, eps] = [a.needs_gradient, a.needs_eps].map(|needs| if needs { "yes" } else { "no" });
                rows.add_row([&a.name, &norms(a.norms()), gradient, eps, &a.summary]);
            }
            print(&rows)?;
        }
    }
    Ok(Verdict::Pass)
}

fn print_one(a: &AttackDescription) -> Result<(), ClientError> {
    print(&format!("{}: {}\nnorms {}; {}\n", a.name, a.summary, norms(a.norms()), a.source))?;
    if let Some(suite) = &a.suite {
        return print_suite(suite);
    }
    let mut rows = table(&["parameter", "kind", "default", "range", "what it is"], &[]);
    for p in &a.parameters {
        rows.add_row([&p.name, &p.kind, &p.default, &p.range, &p.doc]);
    }
    print(&rows)
}

fn print_suite(suite: &Suite) -> Result<(), ClientError> {
    let mut rows = table(&["part", "attack", "norms"], &[0]);
    for (i, part) in suite.parts.iter().enumerate() {
        let attack = part.attack.as_ref().map(written).unwrap_or_default();
        rows.add_row([(i + 1).to_string(), attack, norms(part.norms())]);
    }
    print(&rows)?;
    print(&format!("version {}; each part attacks what the parts before it have left", suite.version))
}

/// As `--attack` reads it.
fn written(attack: &AttackSpec) -> String {
    let mut parameters: Vec<String> = attack.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    parameters.sort();
    let colon = if parameters.is_empty() { "" } else { ":" };
    format!("{}{colon}{}", attack.name, parameters.join(","))
}

fn norms(norms: impl Iterator<Item = Norm>) -> String {
    let names: Vec<&str> = norms
        .map(|norm| match norm {
            Norm::Linf => "Linf",
            Norm::L2 => "L2",
            Norm::L1 => "L1",
            Norm::L0 => "L0",
            Norm::Unspecified => "?",
        })
        .collect();
    names.join(", ")
}

fn as_json(a: &AttackDescription) -> serde_json::Value {
    json!({
        "name": a.name,
        "summary": a.summary,
        "source": a.source,
        "norms": norms(a.norms()),
        "needs_gradient": a.needs_gradient,
        "needs_eps": a.needs_eps,
        "parameters": a.parameters.iter().map(|p| json!({
            "name": p.name, "kind": p.kind, "default": p.default, "range": p.range, "doc": p.doc,
        })).collect::<Vec<_>>(),
        "suite": a.suite.as_ref().map(|suite| json!({
            "version": suite.version,
            "parts": suite.parts.iter().map(|part| json!({
                "attack": part.attack.as_ref().map(written),
                "norms": norms(part.norms()),
            })).collect::<Vec<_>>(),
        })),
    })
}
