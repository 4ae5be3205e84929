//! What to measure: a file.
//!
//! ```toml
//! seed = 7
//! models = [{ name = "fashion-robust" }, { name = "fashion-robust-pruned" }]
//! gates = [{ min_robust_accuracy = 0.5 }, { max_drop = 0.05 }]
//!
//! [[evaluations]]
//! norm = "Linf"
//! eps = "0.1"
//! attacks = [{ name = "fgsm" }, { name = "pgd", parameters = { steps = 40 } }]
//! ```

use std::collections::BTreeMap;

use assay_attack::{Attack, Eps, Norm};
use serde::{Deserialize, Deserializer, Serialize};

use crate::gate::Gate;

/// Threats, models and gates of an audit, as written; [`Plan::check`] says whether they make sense.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// One model, or a baseline and its variant.
    pub models: Vec<ModelRef>,
    /// At least one.
    pub evaluations: Vec<Evaluation>,
    /// Conditions on the outcome; none: the verdict is a pass.
    #[serde(default)]
    pub gates: Vec<Gate>,
    /// Seed of all randomness.
    #[serde(default)]
    pub seed: u64,
}

/// A model of the repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRef {
    /// Its name.
    pub name: String,
    /// Its version; empty: the newest.
    #[serde(default)]
    pub version: String,
}

/// A threat and the attacks that stand for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// `Linf` or `L2`.
    pub norm: Norm,
    /// Radius as an exact decimal or fraction, in units of the model's input: `"8/255"`, `"0.1"`.
    pub eps: Eps,
    /// At least one; each attacks what the ones before it left.
    pub attacks: Vec<AttackSpec>,
}

/// An attack with its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttackSpec {
    /// Name in the registry, for example `pgd`.
    pub name: String,
    /// Parameters by name, as text; absent ones take their default. Plan files may write numbers and booleans bare.
    #[serde(default, deserialize_with = "scalars")]
    pub parameters: BTreeMap<String, String>,
}

/// A plan that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The file is not a plan.
    #[error("not a plan: {0}")]
    Syntax(String),
    /// One field is wrong.
    #[error("{field}: {reason}")]
    Field {
        /// Path of the field, for example `evaluations[0].eps`.
        field: String,
        /// What is wrong, what was expected, and what to do.
        reason: String,
    },
}

impl Plan {
    /// Reads a plan file and checks it.
    ///
    /// # Errors
    /// It is not TOML, a field is unknown or missing, or as [`Plan::check`].
    pub fn parse(toml: &str) -> Result<Self, PlanError> {
        let plan: Self = toml::from_str(toml).map_err(|e| PlanError::Syntax(e.to_string()))?;
        plan.check()?;
        Ok(plan)
    }

    /// Whether it can be carried out, as far as that can be known without the models and the data.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn check(&self) -> Result<(), PlanError> {
        self.attacks().map(drop)
    }

    /// Checks the plan and makes its attacks, one list per evaluation.
    pub(crate) fn attacks(&self) -> Result<Vec<Vec<Box<dyn Attack>>>, PlanError> {
        self.check_models()?;
        for (i, gate) in self.gates.iter().enumerate() {
            self.check_gate(i, *gate)?;
        }
        if self.evaluations.is_empty() {
            return Err(wrong("evaluations", "is empty; name at least one threat with its attacks"));
        }
        self.evaluations.iter().enumerate().map(|(i, evaluation)| self.check_evaluation(i, evaluation)).collect()
    }

    fn check_models(&self) -> Result<(), PlanError> {
        if let Some(i) = self.models.iter().position(|model| model.name.is_empty()) {
            return Err(wrong(format!("models[{i}].name"), "is empty; name a model of the repository"));
        }
        match self.models.as_slice() {
            [_] => Ok(()),
            [first, second] if first == second => {
                Err(wrong("models[1]", "is the same as models[0]; compare another model or version, or name one model"))
            }
            [_, _] => Ok(()),
            other => Err(wrong(
                "models",
                format!("names {} models; expected one, or a baseline and its variant", other.len()),
            )),
        }
    }

    fn check_gate(&self, i: usize, gate: Gate) -> Result<(), PlanError> {
        let field = format!("gates[{i}].{}", gate.name());
        let threshold = gate.threshold();
        if !(0.0..=1.0).contains(&threshold) {
            return Err(wrong(field, format!("is {threshold}; expected a proportion in [0, 1], such as 0.5 for 50 %")));
        }
        if matches!(gate, Gate::MaxDrop(_)) && self.models.len() < 2 {
            return Err(wrong(field, "compares two models, but the plan names one; add the variant as the second"));
        }
        Ok(())
    }

    fn check_evaluation(&self, i: usize, evaluation: &Evaluation) -> Result<Vec<Box<dyn Attack>>, PlanError> {
        let same = |earlier: &&Evaluation| (earlier.norm, &earlier.eps) == (evaluation.norm, &evaluation.eps);
        if let Some(earlier) = self.evaluations.iter().take(i).position(|e| same(&e)) {
            let reason = format!("has the same threat as evaluations[{earlier}]; list its attacks there");
            return Err(wrong(format!("evaluations[{i}]"), reason));
        }
        if evaluation.attacks.is_empty() {
            return Err(wrong(
                format!("evaluations[{i}].attacks"),
                "is empty; name at least one attack, for example pgd",
            ));
        }
        let make = |(j, spec): (usize, &AttackSpec)| {
            let given: Vec<_> = spec.parameters.clone().into_iter().collect();
            let field = format!("evaluations[{i}].attacks[{j}]");
            let attack = assay_attack::parse(&spec.name, &given).map_err(|e| wrong(field.clone(), e.to_string()))?;
            if !attack.description().norms.contains(&evaluation.norm) {
                return Err(wrong(
                    field,
                    format!("attack \"{}\" does not work in the norm {}", spec.name, evaluation.norm),
                ));
            }
            Ok(attack)
        };
        evaluation.attacks.iter().enumerate().map(make).collect()
    }
}

fn wrong(field: impl Into<String>, reason: impl Into<String>) -> PlanError {
    PlanError::Field { field: field.into(), reason: reason.into() }
}

fn scalars<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Boolean(bool),
        Integer(i64),
        Number(f64),
        Text(String),
    }
    let written = BTreeMap::<String, Scalar>::deserialize(deserializer)?;
    let text = |scalar| match scalar {
        Scalar::Boolean(value) => value.to_string(),
        Scalar::Integer(value) => value.to_string(),
        Scalar::Number(value) => value.to_string(),
        Scalar::Text(value) => value,
    };
    Ok(written.into_iter().map(|(name, value)| (name, text(value))).collect())
}
