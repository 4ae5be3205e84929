//! `assay attacks`.

use assay_proto::v1::{AttackDescription, ListAttacksRequest};
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
                rows.add_row([&a.name, &norms(a), gradient, eps, &a.summary]);
            }
            print(&rows)?;
        }
    }
    Ok(Verdict::Pass)
}

fn print_one(a: &AttackDescription) -> Result<(), ClientError> {
    print(&format!("{}: {}\nnorms {}; {}\n", a.name, a.summary, norms(a), a.source))?;
    let mut rows = table(&["parameter", "kind", "default", "range", "what it is"], &[]);
    for p in &a.parameters {
        rows.add_row([&p.name, &p.kind, &p.default, &p.range, &p.doc]);
    }
    print(&rows)
}

fn norms(a: &AttackDescription) -> String {
    let names: Vec<&str> = a
        .norms()
        .map(|norm| match norm {
            assay_proto::v1::Norm::Linf => "Linf",
            assay_proto::v1::Norm::L2 => "L2",
            assay_proto::v1::Norm::L1 => "L1",
            assay_proto::v1::Norm::L0 => "L0",
            assay_proto::v1::Norm::Unspecified => "?",
        })
        .collect();
    names.join(", ")
}

fn as_json(a: &AttackDescription) -> serde_json::Value {
    json!({
        "name": a.name,
        "summary": a.summary,
        "source": a.source,
        "norms": norms(a),
        "needs_gradient": a.needs_gradient,
        "needs_eps": a.needs_eps,
        "parameters": a.parameters.iter().map(|p| json!({
            "name": p.name, "kind": p.kind, "default": p.default, "range": p.range, "doc": p.doc,
        })).collect::<Vec<_>>(),
    })
}
