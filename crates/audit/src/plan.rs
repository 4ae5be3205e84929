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
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::gate::Gate;
use crate::report::schema;

/// Threats, models and gates of an audit, as written; [`Plan::check`] says whether they make sense.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelRef {
    /// Its name.
    pub name: String,
    /// Its version; empty: the newest.
    #[serde(default)]
    pub version: String,
}

/// A threat and the attacks that stand for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// What reports call the threat; by default norm and radius, as `Linf 8/255`. Only where there is one radius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Linf`, `L2`, `L1` or `L0`.
    #[schemars(schema_with = "schema::norm")]
    pub norm: Norm,
    /// Radius as an exact decimal or fraction, in units of the model's input: `"8/255"`, `"0.1"`; `"inf"`: any valid input. A list: each is a threat.
    #[serde(with = "radii")]
    #[schemars(schema_with = "schema::radii")]
    pub eps: Vec<Eps>,
    /// At least one.
    pub attacks: Vec<AttackSpec>,
    /// Which samples each of them attacks.
    #[serde(default)]
    pub order: Order,
}

/// Which samples the attacks of an evaluation attack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Each those that the ones before it left: the worst case for the least work.
    #[default]
    Sequence,
    /// Each all of them: the accuracy under each attack alone, as tables of corruptions have it, and the worst case.
    Separate,
}

/// A threat with the attacks that stand for it, ready to run.
pub(crate) struct Attacks {
    pub(crate) name: Option<String>,
    pub(crate) norm: Norm,
    pub(crate) eps: Eps,
    pub(crate) order: Order,
    pub(crate) attacks: Vec<Box<dyn Attack>>,
}

impl Attacks {
    /// What reports call the threat.
    pub(crate) fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("{} {}", self.norm, self.eps))
    }
}

/// An attack with its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttackSpec {
    /// Name in the registry, for example `pgd`.
    pub name: String,
    /// Parameters by name, as text; absent ones take their default. Plan files may write numbers and booleans bare.
    #[serde(default, deserialize_with = "scalars")]
    #[schemars(with = "BTreeMap<String, String>")]
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

    /// Checks the plan and makes its attacks, one list per threat.
    pub(crate) fn attacks(&self) -> Result<Vec<Attacks>, PlanError> {
        self.check_models()?;
        for (i, gate) in self.gates.iter().enumerate() {
            self.check_gate(i, *gate)?;
        }
        if self.evaluations.is_empty() {
            return Err(wrong("evaluations", "is empty; name at least one threat with its attacks"));
        }
        let mut all: Vec<Attacks> = Vec::new();
        for (i, evaluation) in self.evaluations.iter().enumerate() {
            for attacks in check_evaluation(i, evaluation)? {
                if all.iter().any(|earlier| earlier.title() == attacks.title()) {
                    let reason = format!(
                        "has the threat {} a second time; list its attacks with the first, or give one of them a name",
                        attacks.title()
                    );
                    return Err(wrong(format!("evaluations[{i}]"), reason));
                }
                all.push(attacks);
            }
        }
        Ok(all)
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
}

/// The threats of an evaluation.
fn check_evaluation(i: usize, evaluation: &Evaluation) -> Result<Vec<Attacks>, PlanError> {
    let field = |name: &str| format!("evaluations[{i}].{name}");
    if evaluation.eps.is_empty() {
        return Err(wrong(field("eps"), "is empty; give a radius, for example \"8/255\""));
    }
    if evaluation.name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        return Err(wrong(field("name"), "is empty; leave it out, and the threat is called by norm and radius"));
    }
    if evaluation.name.is_some() && evaluation.eps.len() > 1 {
        return Err(wrong(field("name"), "is one name for several radii; leave it out, or give one radius"));
    }
    if evaluation.attacks.is_empty() {
        return Err(wrong(field("attacks"), "is empty; name at least one attack, for example pgd"));
    }
    let make = |eps: &Eps| {
        let attack = |(j, spec): (usize, &AttackSpec)| {
            let given: Vec<_> = spec.parameters.clone().into_iter().collect();
            let field = format!("evaluations[{i}].attacks[{j}]");
            let attack = assay_attack::parse(&spec.name, &given).map_err(|e| wrong(field.clone(), e.to_string()))?;
            if attack.fitted_share().is_some() {
                let reason =
                    "is made from some samples and judged on the others, but an audit judges all: use `assay attack`";
                return Err(wrong(field, format!("attack \"{}\" {reason}", spec.name)));
            }
            attack.check(evaluation.norm, eps).map_err(|e| wrong(field, e))?;
            Ok(attack)
        };
        Ok(Attacks {
            name: evaluation.name.clone(),
            norm: evaluation.norm,
            eps: eps.clone(),
            order: evaluation.order,
            attacks: evaluation.attacks.iter().enumerate().map(attack).collect::<Result<_, _>>()?,
        })
    };
    evaluation.eps.iter().map(make).collect()
}

/// Radii: one as text, or a list of them.
mod radii {
    use std::fmt;

    use assay_attack::Eps;
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(radii: &[Eps], serializer: S) -> Result<S::Ok, S::Error> {
        match radii {
            [one] => one.serialize(serializer),
            more => more.serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Eps>, D::Error> {
        struct Radii;

        impl<'de> Visitor<'de> for Radii {
            type Value = Vec<Eps>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a radius in quotes, such as \"8/255\", or a list of them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Vec<Eps>, E> {
                text.parse().map(|eps| vec![eps]).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Eps>, A::Error> {
                let mut radii = Vec::new();
                while let Some(eps) = list.next_element()? {
                    radii.push(eps);
                }
                Ok(radii)
            }
        }

        deserializer.deserialize_any(Radii)
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
             gates = [{{ min_robust_accuracy = 0.5 }}, {{ max_drop = 0.05 }}, {{ min_clean_accuracy = 1 }}]\n{}",
            EVALUATION.replace(
                "\"pgd\"",
                "\"pgd\", parameters = { steps = 40, random_start = true, step = 0.01, loss = \"margin\" }"
            )
        );
        let plan = Plan::parse(&text).unwrap();
        assert_eq!(plan.gates, [Gate::MinRobustAccuracy(0.5), Gate::MaxDrop(0.05), Gate::MinCleanAccuracy(1.0)]);
        let parameters: Vec<_> =
            plan.evaluations[0].attacks[0].parameters.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(parameters, ["loss=margin", "random_start=true", "step=0.01", "steps=40"]);
        assert_eq!(plan.evaluations[0].eps[0].to_string(), "8/255");
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
                "evaluations[1]: has the threat Linf 8/255 a second time",
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
        ] {
            assert!(error.contains(words), "{words} not in {error}");
        }
    }
}
