//! Parameters of requests. The protocol lets clients and proxies add what they like, so what is unknown is passed over; what asks for something that this
//! server does not do is refused, and what is of the wrong type is.

use std::{collections::HashMap, time::Duration};

use assay_proto::inference::{InferParameter, infer_parameter::ParameterChoice};

use crate::status::CallError;

/// Parameters of one request, input or output.
pub(super) type Parameters = HashMap<String, InferParameter>;

/// Asks for a mark on the last answer to each request of a stream. Every request has one answer.
pub(super) const MARK_FINAL: &str = "triton_enable_empty_final_response";
/// Parameter of a tensor that lies in memory of the client.
const SHARED_MEMORY: &str = "shared_memory_region";

/// How long a request may take, by its parameters; `None`: as long as its call. `priority` is read and changes nothing: all predictions are equal here.
pub(super) fn timeout(parameters: &Parameters) -> Result<Option<Duration>, CallError> {
    for name in parameters.keys() {
        if name.starts_with("sequence_") {
            let what = format!("a sequence of requests (`parameters.{name}`)");
            return Err(CallError::Unsupported { what, instead: "its models keep nothing between requests" });
        }
        // Whoever reserves names must not pass over the ones that are misspelt.
        if name.starts_with("assay_") || (name.starts_with("triton_") && name != MARK_FINAL) {
            return Err(CallError::field(format!("parameters.{name}"), "is not known; leave it out"));
        }
    }
    whole("parameters", parameters, "priority")?;
    let microseconds = whole("parameters", parameters, "timeout")?;
    Ok(microseconds.filter(|time| *time > 0).map(Duration::from_micros))
}

/// Whether a parameter is set and true.
pub(super) fn is_true(parameters: &Parameters, name: &str) -> bool {
    parameters.get(name).is_some_and(|value| value.parameter_choice == Some(ParameterChoice::BoolParam(true)))
}

/// The whole number that a parameter of `field` states; `None`: it is not there.
pub(super) fn whole(field: &str, parameters: &Parameters, name: &str) -> Result<Option<u64>, CallError> {
    let Some(value) = parameters.get(name) else { return Ok(None) };
    let number = match value.parameter_choice {
        Some(ParameterChoice::Int64Param(number)) => u64::try_from(number).ok(),
        Some(ParameterChoice::Uint64Param(number)) => Some(number),
        _ => None,
    };
    let got = value.parameter_choice.as_ref();
    number.map(Some).ok_or_else(|| {
        let got = got.map_or_else(|| "nothing".to_owned(), |got| format!("{got:?}"));
        CallError::field(format!("{field}.{name}"), format!("expected a whole number, 0 or more, got {got}"))
    })
}

/// Refuses a tensor that lies in memory of the client.
pub(super) fn in_message(field: &str, parameters: &Parameters) -> Result<(), CallError> {
    if !parameters.contains_key(SHARED_MEMORY) {
        return Ok(());
    }
    let what = format!("shared memory (`{field}.parameters.{SHARED_MEMORY}`)");
    Err(CallError::Unsupported { what, instead: "send tensors in messages" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(values: &[(&str, ParameterChoice)]) -> Parameters {
        let value = |choice: &ParameterChoice| InferParameter { parameter_choice: Some(choice.clone()) };
        values.iter().map(|(name, choice)| ((*name).to_owned(), value(choice))).collect()
    }

    #[test]
    fn a_timeout_is_in_microseconds_and_0_is_none() {
        for (choice, time) in [
            (ParameterChoice::Int64Param(1500), Some(Duration::from_micros(1500))),
            (ParameterChoice::Uint64Param(7), Some(Duration::from_micros(7))),
            (ParameterChoice::Int64Param(0), None),
        ] {
            assert_eq!(timeout(&parameters(&[("timeout", choice)])), Ok(time));
        }
        let fine = [("priority", ParameterChoice::Uint64Param(1)), (MARK_FINAL, ParameterChoice::BoolParam(true))];
        assert_eq!(timeout(&parameters(&fine)), Ok(None));
        assert!(is_true(&parameters(&fine), MARK_FINAL) && !is_true(&parameters(&fine), "priority"));
    }

    #[test]
    fn what_other_programs_add_is_passed_over_and_what_is_not_done_is_refused() {
        let text = || ParameterChoice::StringParam("np".to_owned());
        assert_eq!(timeout(&parameters(&[("content_type", text()), ("headers", text())])), Ok(None));
        for (name, choice, says) in [
            ("timeout", text(), "parameters.timeout: expected a whole number"),
            ("timeout", ParameterChoice::Int64Param(-1), "parameters.timeout: expected a whole number"),
            ("priority", ParameterChoice::DoubleParam(1.0), "parameters.priority: expected a whole number"),
            ("sequence_id", ParameterChoice::Int64Param(1), "a sequence of requests (`parameters.sequence_id`) is not"),
            ("triton_other", text(), "parameters.triton_other: is not known"),
            ("assay_other", text(), "parameters.assay_other: is not known"),
        ] {
            let error = timeout(&parameters(&[(name, choice)])).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
        let nothing = HashMap::from([("timeout".to_owned(), InferParameter::default())]);
        assert!(timeout(&nothing).unwrap_err().to_string().ends_with("got nothing"));
    }
}
