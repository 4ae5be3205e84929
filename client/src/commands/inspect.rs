//! `assay models inspect`.

use assay_proto::v1::{GetModelRequest, GetModelResponse, InputSpec, Layer, OperatorCount, Structure};
use serde_json::json;

use super::Session;
use super::models::{one_as_json, print_one};
use crate::args::Output;
use crate::error::ClientError;
use crate::output::{print, print_json, rate, table};
use crate::spec;

pub(super) async fn run(session: &mut Session, model: &str) -> Result<(), ClientError> {
    let model = spec::model(model);
    let request = GetModelRequest { model: model.model, version: model.version, structure: true };
    let request = session.request(request);
    let answer = session.client.get_model(request).await?.into_inner();
    let (Some(input), Some(structure)) = (answer.input.clone(), answer.structure.clone()) else {
        return Err(ClientError::Protocol("a model without its input or its structure".into()));
    };
    match session.output {
        Output::Json => print_json(&as_json(&answer, &input, &structure)),
        Output::Human => print_all(&answer, &input, &structure),
    }
}

fn print_all(model: &GetModelResponse, input: &InputSpec, structure: &Structure) -> Result<(), ClientError> {
    print_one(model, input)?;
    let mut rows = table(&["whole model, one sample", "value"], &[1]);
    for (name, value) in [
        ("multiply-accumulates", with_unit(structure.macs, 1000, &["", "k", "M", "G", "T"])),
        ("weights", structure.parameters.to_string()),
        ("zeros among them", rate(structure.zeros, structure.parameters)),
        ("weights in memory", bytes(structure.weight_bytes)),
        ("activations of one sample", bytes(structure.activation_bytes)),
    ] {
        rows.add_row([name, &value]);
    }
    print(&rows)?;
    let mut rows = table(&["operator", "nodes"], &[1]);
    for OperatorCount { operator, nodes } in &structure.operators {
        rows.add_row([operator, &nodes.to_string()]);
    }
    print(&rows)?;
    let mut rows = table(&["layer", "operator", "output", "weights", "zeros", "MACs"], &[3, 4, 5]);
    for layer in &structure.layers {
        let zeros = if layer.parameters == 0 { String::new() } else { percent(layer.zeros, layer.parameters) };
        rows.add_row([
            &layer.name,
            &layer.operator,
            &shape(&layer.output),
            &layer.parameters.to_string(),
            &zeros,
            &layer.macs.to_string(),
        ]);
    }
    print(&rows)
}

fn as_json(model: &GetModelResponse, input: &InputSpec, structure: &Structure) -> serde_json::Value {
    let layer = |layer: &Layer| {
        json!({
            "name": layer.name, "operator": layer.operator, "output": layer.output,
            "parameters": layer.parameters, "zeros": layer.zeros, "macs": layer.macs,
        })
    };
    let operators: serde_json::Map<String, serde_json::Value> =
        structure.operators.iter().map(|count| (count.operator.clone(), count.nodes.into())).collect();
    let mut whole = one_as_json(model, input);
    whole["structure"] = json!({
        "macs": structure.macs,
        "parameters": structure.parameters,
        "zeros": structure.zeros,
        "weight_bytes": structure.weight_bytes,
        "activation_bytes": structure.activation_bytes,
        "operators": operators,
        "layers": structure.layers.iter().map(layer).collect::<Vec<_>>(),
    });
    whole
}

fn shape(sizes: &[u64]) -> String {
    sizes.iter().map(u64::to_string).collect::<Vec<_>>().join("x")
}

fn bytes(count: u64) -> String {
    with_unit(count, 1024, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

#[allow(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn percent(hits: u64, of: u64) -> String {
    format!("{:.1} %", 100.0 * hits as f64 / of as f64)
}

/// A count in the largest of the units, each `step` times the one before, that leaves at least 1.
#[allow(clippy::cast_precision_loss, reason = "shown with two digits after the point")]
fn with_unit(count: u64, step: u32, units: &[&str]) -> String {
    let (mut value, mut at) = (count as f64, 0);
    while value >= f64::from(step) && at + 1 < units.len() {
        value /= f64::from(step);
        at += 1;
    }
    if at == 0 { format!("{count}{}", units[0]) } else { format!("{value:.2}{}", units[at]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_units() {
        let macs = |count| with_unit(count, 1000, &["", "k", "M", "G", "T"]);
        assert_eq!([macs(0), macs(999), macs(1_814_073_344)], ["0", "999", "1.81G"]);
        assert_eq!([bytes(1023), bytes(3 << 19)], ["1023 B", "1.50 MiB"]);
    }
}
