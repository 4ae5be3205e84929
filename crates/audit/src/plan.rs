//! What to measure: a file.
//!
//! ```toml
//! seed = 7
//! models = [{ name = "fashion-robust" }, { name = "fashion-layer-pruned" }]
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

use crate::gate::{Condition, Gate};

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
    /// `Linf`, `L2`, `L1` or `L0`.
    pub norm: Norm,
    /// Radius as an exact decimal or fraction, in units of the model's input: `"8/255"`, `"0.1"`; `"inf"`: any valid input.
    pub eps: Eps,
    /// At least one; each attacks what the ones before it left.
    pub attacks: Vec<AttackSpec>,
}

impl Evaluation {
    /// Norm and radius, as gates name the threat and reports title it: `Linf 8/255`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.norm, self.eps)
    }
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
        if self.evaluations.is_empty() {
            return Err(wrong("evaluations", "is empty; name at least one threat with its attacks"));
        }
        for (i, gate) in self.gates.iter().enumerate() {
            self.check_gate(i, gate)?;
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

    fn check_gate(&self, i: usize, gate: &Gate) -> Result<(), PlanError> {
        let Gate { condition, threat } = gate;
        let field = format!("gates[{i}].{}", condition.name());
        if let Some(threshold) = condition.threshold().filter(|threshold| !(0.0..=1.0).contains(threshold)) {
            return Err(wrong(field, format!("is {threshold}; expected a proportion in [0, 1], such as 0.5 for 50 %")));
        }
        if condition.compares() && self.models.len() < 2 {
            return Err(wrong(field, "compares two models, but the plan names one; add the variant as the second"));
        }
        if matches!(condition, Condition::ForbidFlags(kinds) if kinds.is_empty()) {
            return Err(wrong(field, "is empty; name at least one kind of finding, such as \"zero-gradients\""));
        }
        if let Some(threat) = threat {
            let field = format!("gates[{i}].threat");
            if !condition.has_threats() {
                return Err(wrong(
                    field,
                    format!("is for gates on attacks; what {} looks at has no threat", condition.name()),
                ));
            }
            if self.evaluations.iter().all(|evaluation| evaluation.title() != *threat) {
                let titles: Vec<_> = self.evaluations.iter().map(|e| format!("\"{}\"", e.title())).collect();
                return Err(wrong(
                    field,
                    format!("no evaluation has the threat \"{threat}\"; there is {}", titles.join(", ")),
                ));
            }
        }
        if matches!(condition, Condition::MaxCorruptionError(_)) && self.corruptions(gate).is_empty() {
            let reason =
                "needs an evaluation whose only attack is corruption, so that its own error is measured; add one";
            return Err(wrong(field, reason));
        }
        Ok(())
    }

    /// Positions of the evaluations that a gate on corruptions looks at.
    pub(crate) fn corruptions(&self, gate: &Gate) -> Vec<usize> {
        let wanted = |evaluation: &Evaluation| {
            let alone = matches!(evaluation.attacks.as_slice(), [attack] if attack.name == "corruption");
            alone && gate.threat.as_ref().is_none_or(|threat| *threat == evaluation.title())
        };
        (0..).zip(&self.evaluations).filter(|(_, evaluation)| wanted(evaluation)).map(|(i, _)| i).collect()
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
            if attack.fitted_share().is_some() {
                let reason =
                    "is made from some samples and judged on the others, but an audit judges all: use `assay attack`";
                return Err(wrong(field, format!("attack \"{}\" {reason}", spec.name)));
            }
            attack.check(evaluation.norm, &evaluation.eps).map_err(|e| wrong(field, e))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const EVALUATION: &str = "[[evaluations]]\nnorm = \"Linf\"\neps = \"8/255\"\nattacks = [{ name = \"pgd\" }]\n";

    fn refusal(toml: &str) -> String {
        Plan::parse(toml).unwrap_err().to_string()
    }

    #[test]
    fn a_plan_file_is_read_and_written_back() {
        let text = format!(
            "seed = 7\nmodels = [{{ name = \"a\" }}, {{ name = \"a\", version = \"2\" }}]\n\
             gates = [{{ min_robust_accuracy = 0.5, threat = \"Linf 8/255\" }}, {{ max_drop = 0.05 }}, {{ min_clean_accuracy = 1 }}]\n{}",
            EVALUATION.replace(
                "\"pgd\"",
                "\"pgd\", parameters = { steps = 40, random_start = true, step = 0.01, loss = \"margin\" }"
            )
        );
        let plan = Plan::parse(&text).unwrap();
        let restricted = Gate { condition: Condition::MinRobustAccuracy(0.5), threat: Some("Linf 8/255".to_owned()) };
        let all = [Condition::MaxDrop(0.05), Condition::MinCleanAccuracy(1.0)].map(Gate::from);
        assert_eq!((&plan.gates[0], &plan.gates[1..]), (&restricted, &all[..]));
        let parameters: Vec<_> =
            plan.evaluations[0].attacks[0].parameters.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(parameters, ["loss=margin", "random_start=true", "step=0.01", "steps=40"]);
        assert_eq!(plan.evaluations[0].eps.to_string(), "8/255");
        assert_eq!(Plan::parse(&toml::to_string(&plan).unwrap()).unwrap(), plan);
        assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
    }

    #[test]
    fn refusals_name_the_field() {
        let one = "models = [{ name = \"a\" }]\n";
        let with = |gates: &str| refusal(&format!("gates = [{gates}]\n{one}{EVALUATION}"));
        for (error, words) in [
            (refusal("models = ["), "not a plan"),
            (refusal(&format!("sed = 1\n{one}{EVALUATION}")), "unknown field `sed`"),
            (refusal(&format!("models = []\n{EVALUATION}")), "models: names 0 models"),
            (refusal(&format!("models = [{{ name = \"\" }}]\n{EVALUATION}")), "models[0].name: is empty"),
            (
                refusal(&format!("models = [{{ name = \"a\" }}, {{ name = \"a\" }}]\n{EVALUATION}")),
                "models[1]: is the same",
            ),
            (refusal(&format!("evaluations = []\n{one}")), "evaluations: is empty"),
            (
                refusal(&format!("{one}{EVALUATION}{EVALUATION}")),
                "evaluations[1]: has the same threat as evaluations[0]",
            ),
            (
                refusal(&format!("{one}{}", EVALUATION.replace("{ name = \"pgd\" }", ""))),
                "evaluations[0].attacks: is empty",
            ),
            (
                refusal(&format!("{one}{}", EVALUATION.replace("pgd", "pdg"))),
                "evaluations[0].attacks[0]: unknown attack \"pdg\"",
            ),
            (
                refusal(&format!("{one}{}", EVALUATION.replace("pgd", "universal"))),
                "evaluations[0].attacks[0]: attack \"universal\" is made from some samples",
            ),
            (refusal(&format!("{one}{}", EVALUATION.replace("8/255", "-1"))), "eps \"-1\" is not a radius"),
            (refusal(&format!("{one}{}", EVALUATION.replace("8/255", "inf"))), "attack \"pgd\" needs a finite eps"),
            (refusal(&format!("{one}{}", EVALUATION.replace("Linf", "L7"))), "unknown variant `L7`"),
            (with("{ min_robust_accuracy = nan }"), "gates[0].min_robust_accuracy: is NaN; expected a proportion"),
            (with("{ min_clean_accuracy = 50 }"), "gates[0].min_clean_accuracy: is 50; expected a proportion"),
            (with("{ max_drop = 0.1 }"), "gates[0].max_drop: compares two models"),
            (with("{ max_clean_drop = 0.1 }"), "gates[0].max_clean_drop: compares two models"),
            (
                with("{ min_robust_accuracy = 0.1, threat = \"L2 1\" }"),
                "gates[0].threat: no evaluation has the threat \"L2 1\"; there is \"Linf 8/255\"",
            ),
            (with("{ min_clean_accuracy = 0.1, threat = \"L2 1\" }"), "gates[0].threat: is for gates on attacks"),
            (with("{ forbid_flags = [] }"), "gates[0].forbid_flags: is empty"),
            (with("{ forbid_flags = [\"masked\"] }"), "unknown variant `masked`"),
            (
                with("{ max_corruption_error = 0.1 }"),
                "gates[0].max_corruption_error: needs an evaluation whose only attack",
            ),
            (with("{ min_robust = 0.1 }"), "did you mean `min_robust_accuracy`?"),
        ] {
            assert!(error.contains(words), "{words} not in {error}");
        }
    }
}
