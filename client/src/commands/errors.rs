//! `assay errors`.

use assay_proto::reason::{self, Reason};
use serde_json::json;

use crate::args::{Errors, Output};
use crate::error::ClientError;
use crate::output::{Verdict, print, print_json, table};

/// Explains the ids that failed calls carry. It asks no server.
pub(crate) fn run(command: &Errors, output: Output) -> Result<Verdict, ClientError> {
    let mut reasons: Vec<&Reason> = reason::ALL.iter().collect();
    if let Some(id) = &command.id {
        reasons.retain(|reason| reason.id.eq_ignore_ascii_case(id));
        if reasons.is_empty() {
            let ids: Vec<&str> = reason::ALL.iter().map(|reason| reason.id).collect();
            return Err(ClientError::Usage(format!("unknown error \"{id}\": there is {}", ids.join(", "))));
        }
    }
    match output {
        Output::Json => print_json(&json!({ "errors": reasons.iter().map(|r| as_json(r)).collect::<Vec<_>>() }))?,
        Output::Human if command.id.is_some() => reasons.iter().try_for_each(|reason| print(&in_full(reason)))?,
        Output::Human => {
            let mut rows = table(&["id", "gRPC status", "what has happened"], &[]);
            for reason in reasons {
                rows.add_row([reason.id, &format!("{:?}", reason.code), reason.meaning]);
            }
            print(&rows)?;
        }
    }
    Ok(Verdict::Pass)
}

fn in_full(reason: &Reason) -> String {
    let retry = reason.retry.map_or_else(String::new, |retry| {
        format!(" The status carries google.rpc.RetryInfo with {} s.", retry.as_secs_f64())
    });
    format!("{} ({:?})\n\n{}\n\n{}{retry}", reason.id, reason.code, reason.meaning, reason.remedy)
}

fn as_json(reason: &Reason) -> serde_json::Value {
    json!({
        "id": reason.id,
        "domain": reason::DOMAIN,
        "code": format!("{:?}", reason.code),
        "meaning": reason.meaning,
        "remedy": reason.remedy,
        "retry_seconds": reason.retry.map(|retry| retry.as_secs_f64()),
    })
}
