//! The JSON Schema of the report.

use assay_attack::{FlagKind, Norm};
use assay_certify::Method;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Report;
use crate::plan::Plan;

/// JSON Schema (2020-12) of the report's JSON: what `docs/report.md` says in words. `docs/schemas/report.json` is a copy.
///
/// It describes what this version writes. Later ones of the same `schema` may add fields, which it allows.
#[must_use]
pub fn report_schema() -> String {
    let schema = SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Report>();
    format!("{:#}\n", schema.as_value())
}

/// JSON Schema (2020-12) of a plan, for editors that check TOML or JSON as it is written. `docs/schemas/plan.json` is a copy.
#[must_use]
pub fn plan_schema() -> String {
    let schema = SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<Plan>();
    format!("{:#}\n", schema.as_value())
}

/// What was spent on the model.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes the type of this name in assay-attack")]
pub(crate) struct Cost {
    /// Samples evaluated forward only.
    queries: u64,
    /// Samples evaluated forward and backward.
    gradients: u64,
}

/// Distance from the original, in units of the model's input.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes the type of this name in assay-attack")]
pub(crate) struct Distance {
    /// In the maximum norm.
    linf: f64,
    /// In the Euclidean norm.
    l2: f64,
    /// Sum of the absolute changes.
    l1: f64,
    /// Number of elements that differ.
    l0: u64,
}

pub(crate) fn norm(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": Norm::ALL.map(Norm::name) })
}

pub(crate) fn flag_kind(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": FlagKind::ALL.map(FlagKind::name) })
}

pub(crate) fn method(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": Method::ALL.map(Method::name) })
}

pub(crate) fn methods(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "enum": Method::ALL.map(Method::name) }, "minItems": 1 })
}

pub(crate) fn draw(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["stratified", "random", "first"] })
}

/// Parameters of an attack by name: in reports texts, in plans bare numbers and booleans too.
pub(crate) fn parameters(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
}

/// One radius as a text, several as a list.
pub(crate) fn radii(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::plan_file::PLAN_TEMPLATE;
    use crate::report::{Json, Render, fixture, showcase};

    fn check(report: &Value) -> Vec<String> {
        let schema: Value = serde_json::from_str(&report_schema()).unwrap();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        validator.iter_errors(report).map(|error| format!("{error} at {}", error.instance_path())).collect()
    }

    #[test]
    fn reports_follow_it() {
        let single = Report { comparison: None, ..fixture::report().without_run() };
        for report in [fixture::report(), fixture::hostile(), showcase::report(60), single] {
            let json: Value = serde_json::from_str(&Json.to_text(&report)).unwrap();
            assert_eq!(check(&json), Vec::<String>::new());
        }
    }

    #[test]
    fn what_is_no_report_does_not() {
        let report: Value = serde_json::from_str(&Json.to_text(&showcase::report(60))).unwrap();
        type Change = fn(&mut Value);
        let changes: [Change; 7] = [
            |r| r["models"][0]["clean"] = 0.5.into(),
            |r| r["flags"][0]["kind"] = "no-such-flag".into(),
            |r| r["setup"]["threats"][0]["norm"] = "L3".into(),
            |r| r["models"][0]["threats"][0]["outcomes"][0]["fate"] = "lost".into(),
            |r| r["verdict"] = "perhaps".into(),
            |r| r["samples"]["labels"][0] = (-1).into(),
            |r| drop(r.as_object_mut().unwrap().remove("setup")),
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut changed = report.clone();
            change(&mut changed);
            assert!(!check(&changed).is_empty(), "change {i}");
        }
    }

    #[test]
    fn plans_follow_theirs_and_what_is_no_plan_does_not() {
        let schema: Value = serde_json::from_str(&plan_schema()).unwrap();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let plan: Value = toml::from_str(PLAN_TEMPLATE).unwrap();
        let errors: Vec<_> = validator.iter_errors(&plan).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new());
        for (field, value) in [("sead", 1.into()), ("gates", "none".into()), ("models", 3.into())] {
            let mut changed = plan.clone();
            changed[field] = value;
            assert!(!validator.is_valid(&changed), "{field}");
        }
    }

    #[test]
    fn the_copies_in_the_documents_are_current() {
        for (name, schema) in [("report", report_schema()), ("plan", plan_schema())] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/schemas/{name}.json"));
            if std::env::var_os("UPDATE_DOCS").is_some() {
                std::fs::write(&path, &schema).unwrap();
            }
            let copy = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(copy, schema, "{name}: run UPDATE_DOCS=1 cargo test -p assay-audit schema");
        }
    }
}
