//! Conditions on the outcome, as plans write them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use assay_attack::FlagKind;

/// One condition, under every threat or under one.
///
/// In plan files it is one inline table: `gates = [{ min_robust_accuracy = 0.5, threat = "Linf 8/255" }, { max_drop = 0.02 },
/// { forbid_flags = ["zero-gradient"] }]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// What is demanded.
    pub condition: Condition,
    /// Title of the only threat that it is demanded under, such as `Linf 8/255`; absent: all.
    pub threat: Option<String>,
}

/// What a gate demands. Thresholds are proportions in `[0, 1]`, but for that of the latency.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Every model's robust accuracy under every threat is at least this.
    MinRobustAccuracy(f64),
    /// Every model's clean accuracy is at least this.
    MinCleanAccuracy(f64),
    /// Every model's verified robust accuracy under every threat that samples are certified against is at least this.
    MinCertified(f64),
    /// The second model's robust accuracy is at most this much below the first's under every threat.
    MaxDrop(f64),
    /// The second model's clean accuracy is at most this much below the first's.
    MaxCleanDrop(f64),
    /// Every model's mean error under the plan's corruptions is at most this: one less the robust accuracy, in the mean over all
    /// evaluations whose only attack is `corruption`.
    MaxCorruptionError(f64),
    /// The second model's predictions of one sample take at most this many times as long as the first's: a positive number. Both are timed in turn, while
    /// the audit runs.
    MaxLatencyRatio(f64),
    /// No model raises a flag of these kinds.
    ForbidFlags(Vec<FlagKind>),
}

/// Keys of a gate in plan files.
const KEYS: [&str; 9] = [
    "min_robust_accuracy",
    "min_clean_accuracy",
    "min_certified",
    "max_drop",
    "max_clean_drop",
    "max_corruption_error",
    "max_latency_ratio",
    "forbid_flags",
    "threat",
];

impl Condition {
    /// Name in plan files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::MinRobustAccuracy(_) => "min_robust_accuracy",
            Self::MinCleanAccuracy(_) => "min_clean_accuracy",
            Self::MinCertified(_) => "min_certified",
            Self::MaxDrop(_) => "max_drop",
            Self::MaxCleanDrop(_) => "max_clean_drop",
            Self::MaxCorruptionError(_) => "max_corruption_error",
            Self::MaxLatencyRatio(_) => "max_latency_ratio",
            Self::ForbidFlags(_) => "forbid_flags",
        }
    }

    /// Its threshold, where it has one.
    #[must_use]
    pub fn threshold(&self) -> Option<f64> {
        match *self {
            Self::MinRobustAccuracy(value)
            | Self::MinCleanAccuracy(value)
            | Self::MinCertified(value)
            | Self::MaxDrop(value)
            | Self::MaxCleanDrop(value)
            | Self::MaxCorruptionError(value)
            | Self::MaxLatencyRatio(value) => Some(value),
            Self::ForbidFlags(_) => None,
        }
    }

    /// Whether it compares two models.
    #[must_use]
    pub fn compares(&self) -> bool {
        matches!(self, Self::MaxDrop(_) | Self::MaxCleanDrop(_) | Self::MaxLatencyRatio(_))
    }

    /// Whether it looks at what attacks did or certificates prove under each threat, so that it may be restricted to one.
    #[must_use]
    pub fn has_threats(&self) -> bool {
        matches!(
            self,
            Self::MinRobustAccuracy(_) | Self::MinCertified(_) | Self::MaxDrop(_) | Self::MaxCorruptionError(_)
        )
    }
}

/// Under every threat.
impl From<Condition> for Gate {
    fn from(condition: Condition) -> Self {
        Self { condition, threat: None }
    }
}

impl Serialize for Gate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + usize::from(self.threat.is_some())))?;
        match (&self.condition, self.condition.threshold()) {
            (Condition::ForbidFlags(kinds), _) => map.serialize_entry(self.condition.name(), kinds)?,
            (condition, threshold) => map.serialize_entry(condition.name(), &threshold)?,
        }
        if let Some(threat) = &self.threat {
            map.serialize_entry("threat", threat)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Gate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Table)
    }
}

impl JsonSchema for Gate {
    fn schema_name() -> Cow<'static, str> {
        "Gate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let proportion = json_schema!({ "type": "number", "minimum": 0, "maximum": 1 });
        let kinds = FlagKind::ALL.map(FlagKind::name);
        json_schema!({
            "description": "One condition, and the only threat that it is demanded under.",
            "type": "object",
            "properties": {
                "min_robust_accuracy": proportion,
                "min_clean_accuracy": proportion,
                "min_certified": proportion,
                "max_drop": proportion,
                "max_clean_drop": proportion,
                "max_corruption_error": proportion,
                "max_latency_ratio": { "type": "number", "exclusiveMinimum": 0 },
                "forbid_flags": { "type": "array", "items": { "enum": kinds }, "minItems": 1 },
                "threat": { "type": "string" }
            },
            "minProperties": 1,
            "maxProperties": 2,
            "additionalProperties": false
        })
    }
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = Gate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a gate, such as { min_robust_accuracy = 0.5 }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Gate, A::Error> {
        let (mut condition, mut threat) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            let found = match key.as_str() {
                "threat" => {
                    threat = Some(map.next_value()?);
                    continue;
                }
                "min_robust_accuracy" => Condition::MinRobustAccuracy(map.next_value()?),
                "min_clean_accuracy" => Condition::MinCleanAccuracy(map.next_value()?),
                "min_certified" => Condition::MinCertified(map.next_value()?),
                "max_drop" => Condition::MaxDrop(map.next_value()?),
                "max_clean_drop" => Condition::MaxCleanDrop(map.next_value()?),
                "max_corruption_error" => Condition::MaxCorruptionError(map.next_value()?),
                "max_latency_ratio" => Condition::MaxLatencyRatio(map.next_value()?),
                "forbid_flags" => Condition::ForbidFlags(map.next_value()?),
                unknown => return Err(de::Error::custom(unknown_key(unknown))),
            };
            if let Some(earlier) = condition.replace(found.clone()) {
                let names = format!("{} and {}", earlier.name(), found.name());
                return Err(de::Error::custom(format!("a gate has one condition, not {names}; make a gate of each")));
            }
        }
        let condition = condition.ok_or_else(|| {
            de::Error::custom(format!(
                "the gate has no condition; expected one of {}",
                KEYS[..KEYS.len() - 1].join(", ")
            ))
        })?;
        Ok(Gate { condition, threat })
    }
}

fn unknown_key(key: &str) -> String {
    let nearest =
        KEYS.into_iter().map(|known| (strsim::jaro_winkler(key, known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, known)) if likeness > 0.8 => format!("unknown key `{key}` of a gate; did you mean `{known}`?"),
        _ => format!("unknown key `{key}` of a gate; expected one of {}", KEYS.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Gate, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn every_kind_is_read_and_written_back() {
        for (json, condition) in [
            (r#"{"min_robust_accuracy":0.5}"#, Condition::MinRobustAccuracy(0.5)),
            (r#"{"min_clean_accuracy":0.5}"#, Condition::MinCleanAccuracy(0.5)),
            (r#"{"min_certified":0.5}"#, Condition::MinCertified(0.5)),
            (r#"{"max_drop":0.25}"#, Condition::MaxDrop(0.25)),
            (r#"{"max_clean_drop":0.25}"#, Condition::MaxCleanDrop(0.25)),
            (r#"{"max_corruption_error":0.25}"#, Condition::MaxCorruptionError(0.25)),
            (r#"{"max_latency_ratio":1.5}"#, Condition::MaxLatencyRatio(1.5)),
            (
                r#"{"forbid_flags":["zero-gradient","unstable-predictions"]}"#,
                Condition::ForbidFlags(vec![FlagKind::ZeroGradient, FlagKind::UnstablePredictions]),
            ),
        ] {
            let gate = Gate::from(condition);
            assert_eq!(read(json), Ok(gate.clone()));
            assert_eq!(serde_json::to_string(&gate).unwrap(), json);
            let restricted = Gate { threat: Some("Linf 8/255".into()), ..gate };
            assert_eq!(read(&serde_json::to_string(&restricted).unwrap()), Ok(restricted));
        }
        assert_eq!(KEYS.len(), 9);
    }

    #[test]
    fn what_is_no_gate_is_refused_with_a_suggestion() {
        for (json, words) in [
            (
                r#"{"min_robust_acuracy":0.5}"#,
                "unknown key `min_robust_acuracy` of a gate; did you mean `min_robust_accuracy`?",
            ),
            (r#"{"latency":0.5}"#, "expected one of min_robust_accuracy, min_clean_accuracy"),
            (r#"{"max_drop":0.1,"max_clean_drop":0.1}"#, "one condition, not max_drop and max_clean_drop"),
            (r#"{"threat":"Linf 0.1"}"#, "no condition"),
            (r#"{"forbid_flags":["zero"]}"#, "unknown variant `zero`, expected one of `randomized-output`"),
            (r#"{"max_drop":"much"}"#, "invalid type"),
            ("0.5", "expected a gate, such as"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(words), "{words} not in {error}");
        }
    }
}
