//! What an audit may cost, before it is made.

use assay_proto::v1::{AuditQuote, Cost, ModelPace, ModelRef, StageQuote};
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::order::Order;
use crate::args::Output;
use crate::commands::Session;
use crate::error::ClientError;
use crate::output::{about, print, print_json, table};

/// Asks what an order would cost. Its samples need not be uploaded yet.
pub(super) async fn ask(session: &mut Session, order: &Order) -> Result<AuditQuote, ClientError> {
    let request = session.request(order.quote());
    Ok(session.client.quote_audit(request).await?.into_inner())
}

/// Says on standard error what an audit may cost that is about to be made; `None` where one goes on that was made before, or where nothing can be said: what is
/// wrong with the order, whoever starts it is told.
#[allow(clippy::print_stderr)]
pub(super) async fn announced(session: &mut Session, order: &Order) -> Option<AuditQuote> {
    let quote = ask(session, order).await.ok()?;
    if !quote.job.is_empty() {
        return None;
    }
    eprintln!("{}", line(&quote));
    Some(quote)
}

/// Prints a quote.
pub(super) fn show(quote: &AuditQuote, output: Output) -> Result<(), ClientError> {
    if output == Output::Json {
        return print_json(&as_json(quote));
    }
    let mut rows = table(&["model", "stage", "queries, at most", "gradients", "time, up to about"], &[2, 3, 4]);
    for stage in &quote.stages {
        let Cost { queries, gradients } = stage.worst_case.unwrap_or_default();
        let time = stage.seconds.map_or_else(|| "unknown".to_owned(), about);
        let certifies = match stage.certificates {
            0 => stage.stage.clone(),
            certificates => format!("{} ({} certificates)", stage.stage, HumanCount(certificates)),
        };
        let (queries, gradients) = (HumanCount(queries).to_string(), HumanCount(gradients).to_string());
        rows.add_row([&title(stage.model.as_ref()), &certifies, &queries, &gradients, &time]);
    }
    print(&rows)?;
    for pace in &quote.models {
        print(&measured(pace))?;
    }
    print(&format!("{} samples, {}", HumanCount(quote.samples), line(quote)))?;
    print("a sample that is broken costs less, and what looks for flags is not counted")
}

/// `at most 1,200 queries and 400 gradients: up to about 3 min`.
fn line(quote: &AuditQuote) -> String {
    let Cost { queries, gradients } = quote.worst_case.unwrap_or_default();
    let gradients = match gradients {
        0 => String::new(),
        gradients => format!(" and {} gradients", HumanCount(gradients)),
    };
    let time = match quote.seconds {
        Some(seconds) => format!(": up to about {}", about(seconds)),
        None => format!("; for how long is not known: {}", quote.untimed),
    };
    format!("at most {} queries{gradients}{time}", HumanCount(queries))
}

/// `net/1: 5,120 queries or 1,024 gradients in a second`.
fn measured(pace: &ModelPace) -> String {
    let in_a_second = |seconds: f64| HumanCount((1.0 / seconds.max(f64::MIN_POSITIVE)) as u64);
    let gradients = pace.gradient_seconds.map(|seconds| format!(" or {} gradients", in_a_second(seconds)));
    let (model, queries) = (title(pace.model.as_ref()), in_a_second(pace.query_seconds));
    format!("{model}: {queries} queries{} in a second", gradients.unwrap_or_default())
}

fn title(model: Option<&ModelRef>) -> String {
    model.map(|model| format!("{}/{}", model.model, model.version)).unwrap_or_default()
}

fn as_json(quote: &AuditQuote) -> Value {
    let cost = |cost: Option<Cost>| cost.unwrap_or_default();
    let stage = |stage: &StageQuote| {
        let Cost { queries, gradients } = cost(stage.worst_case);
        json!({
            "model": title(stage.model.as_ref()), "stage": stage.stage, "threat": stage.threat, "attack": stage.attack,
            "queries": queries, "gradients": gradients, "certificates": stage.certificates, "seconds": stage.seconds
        })
    };
    let pace = |pace: &ModelPace| {
        let (query, gradient) = (pace.query_seconds, pace.gradient_seconds);
        json!({ "model": title(pace.model.as_ref()), "query_seconds": query, "gradient_seconds": gradient })
    };
    let Cost { queries, gradients } = cost(quote.worst_case);
    json!({
        "job": quote.job,
        "samples": quote.samples,
        "stages": quote.stages.iter().map(stage).collect::<Vec<_>>(),
        "total": { "queries": queries, "gradients": gradients, "seconds": quote.seconds },
        "models": quote.models.iter().map(pace).collect::<Vec<_>>(),
        "untimed": quote.untimed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(queries: u64, gradients: u64, seconds: Option<f64>) -> AuditQuote {
        let untimed = "all 4 places are taken".to_owned();
        AuditQuote { worst_case: Some(Cost { queries, gradients }), seconds, untimed, ..Default::default() }
    }

    #[test]
    fn a_line_says_what_is_known() {
        for (quote, expected) in [
            (quote(1200, 400, Some(170.0)), "at most 1,200 queries and 400 gradients: up to about 3 min"),
            (quote(1200, 0, Some(0.3)), "at most 1,200 queries: up to about 1 s"),
            (
                quote(7, 400, None),
                "at most 7 queries and 400 gradients; for how long is not known: all 4 places are taken",
            ),
        ] {
            assert_eq!(line(&quote), expected);
        }
    }

    #[test]
    fn a_pace_is_a_rate() {
        let model = Some(ModelRef { model: "net".to_owned(), version: "1".to_owned() });
        let mut pace = ModelPace { model, query_seconds: 0.0005, gradient_seconds: Some(0.002) };
        assert_eq!(measured(&pace), "net/1: 2,000 queries or 500 gradients in a second");
        pace.gradient_seconds = None;
        assert_eq!(measured(&pace), "net/1: 2,000 queries in a second");
    }
}
