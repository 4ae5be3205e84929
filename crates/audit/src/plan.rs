//! What to measure: a file.
//!
//! ```toml
//! schema = 1
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
use std::path::PathBuf;

use assay_attack::{Attack, Cost, Eps, Norm};
use assay_data::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::certification::Certification;
use crate::gate::{Condition, Gate};
use crate::report::schema;

/// The version of the format of plans.
pub const PLAN_SCHEMA: u32 = 1;

/// Threats, models and gates of an audit, as written; [`Plan::check`] says whether they make sense.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of the format: 1.
    pub schema: u32,
    /// One model, or a baseline and its variant.
    pub models: Vec<ModelRef>,
    /// The samples; absent where they are handed in beside the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<PlanData>,
    /// At least one.
    pub evaluations: Vec<Evaluation>,
    /// Whether samples are certified too, and how; absent: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certification: Option<Certification>,
    /// Conditions on the outcome; none: the verdict is a pass.
    #[serde(default)]
    pub gates: Vec<Gate>,
    /// Whether what is found on each of two models is shown to the other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transfer: bool,
    /// Seed of all randomness.
    #[serde(default)]
    pub seed: u64,
}

/// Which samples are measured. One of `dataset` and `path` is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanData {
    /// A data set of the server, by the name in its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Files that the client reads; relative to the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// How many; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
    /// Which, where not all.
    #[serde(default)]
    #[schemars(schema_with = "schema::draw")]
    pub draw: Draw,
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

impl Evaluation {
    /// What gates and reports call its threats: its name, or norm and radius as in `Linf 8/255`.
    #[must_use]
    pub fn titles(&self) -> Vec<String> {
        let title = |eps| self.name.clone().unwrap_or_else(|| format!("{} {eps}", self.norm));
        self.eps.iter().map(title).collect()
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
    #[schemars(schema_with = "schema::parameters")]
    pub parameters: BTreeMap<String, String>,
}

/// The most that a stage may cost for one sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Title of the threat.
    pub threat: String,
    /// Name of the attack.
    pub attack: &'static str,
    /// Evaluations, those of the flags apart.
    pub cost: Cost,
    /// Steps of its progress.
    pub steps: u64,
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
    /// Whether it can be carried out, as far as that can be known without the models and the data.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn check(&self) -> Result<(), PlanError> {
        self.attacks().map(drop)
    }

    /// Checks the plan and makes its attacks, one list per threat.
    pub(crate) fn attacks(&self) -> Result<Vec<Attacks>, PlanError> {
        if self.schema != PLAN_SCHEMA {
            return Err(wrong("schema", format!("is {}; this assay reads {PLAN_SCHEMA}", self.schema)));
        }
        self.check_models()?;
        self.data.as_ref().map_or(Ok(()), check_data)?;
        if self.evaluations.is_empty() {
            return Err(wrong("evaluations", "is empty; name at least one threat with its attacks"));
        }
        for (i, gate) in self.gates.iter().enumerate() {
            self.check_gate(i, gate)?;
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
        self.certification.as_ref().map_or(Ok(()), |certification| certification.check(self))?;
        Ok(all)
    }

    /// Whether it has two models to compare where it compares: its own, or its only one and that of an accepted report.
    ///
    /// # Errors
    /// A gate compares, and there is but one model; or there is a baseline beside two.
    pub fn check_compared(&self, has_baseline: bool) -> Result<(), PlanError> {
        if has_baseline && self.models.len() > 1 {
            let reason = "names two, but there is an accepted report, whose model takes the place of the first; name only the variant, or leave the report out";
            return Err(wrong("models", reason));
        }
        if let Some(i) = self.latency_gate().filter(|_| self.models.len() < 2) {
            let reason = "times two models in turn, but the plan names one; add the variant as the second: a report has times of another run";
            return Err(wrong(format!("gates[{i}].max_latency_ratio"), reason));
        }
        let compares = |(_, gate): &(usize, &Gate)| gate.condition.compares();
        match self.gates.iter().enumerate().find(compares) {
            Some((i, gate)) if !has_baseline && self.models.len() < 2 => Err(wrong(
                format!("gates[{i}].{}", gate.condition.name()),
                "compares two models, but the plan names one; add the variant as the second, or give the report of the model that was accepted (--baseline)",
            )),
            _ => Ok(()),
        }
    }

    /// Position of the first gate that looks at how long predictions take.
    pub(crate) fn latency_gate(&self) -> Option<usize> {
        self.gates.iter().position(|gate| matches!(gate.condition, Condition::MaxLatencyRatio(_)))
    }

    /// Titles of all threats, as gates name them.
    pub(crate) fn threats(&self) -> impl Iterator<Item = String> {
        self.evaluations.iter().flat_map(Evaluation::titles)
    }

    /// Positions of the threats that a gate on corruptions looks at: those under whose attacks, all of them `corruption`, the accuracy alone is known.
    pub(crate) fn corruptions(&self, gate: &Gate) -> Vec<usize> {
        let alone = |evaluation: &Evaluation| {
            evaluation.attacks.iter().all(|attack| attack.name == "corruption")
                && (evaluation.attacks.len() == 1 || evaluation.order == Order::Separate)
        };
        let threats = self.evaluations.iter().flat_map(|e| e.titles().into_iter().map(move |title| (alone(e), title)));
        let wanted = |title: &String| gate.threat.as_ref().is_none_or(|threat| threat == title);
        (0..).zip(threats).filter(|(_, (alone, title))| *alone && wanted(title)).map(|(i, _)| i).collect()
    }

    /// Accuracies that a gate on corruptions takes the mean of.
    pub(crate) fn corruption_rates(&self, gate: &Gate) -> u64 {
        let attacks: Vec<usize> =
            self.evaluations.iter().flat_map(|e| e.titles().into_iter().map(|_| e.attacks.len())).collect();
        self.corruptions(gate).into_iter().filter_map(|i| attacks.get(i)).sum::<usize>() as u64
    }

    /// Titles of the threats under which a gate on certificates looks at them.
    pub(crate) fn certified_under(&self, gate: &Gate) -> Vec<String> {
        self.certified().into_iter().filter(|title| gate.threat.as_ref().is_none_or(|threat| threat == title)).collect()
    }

    /// What each stage of one model costs at most for one sample: threat, attack and evaluations.
    ///
    /// # Errors
    /// As [`Plan::check`].
    pub fn quote(&self) -> Result<Vec<Quoted>, PlanError> {
        let stages = self.attacks()?.into_iter().flat_map(|of| {
            let threat = of.title();
            of.attacks.into_iter().map(move |attack| Quoted {
                threat: threat.clone(),
                attack: attack.description().name,
                cost: attack.worst_case(),
                steps: attack.evaluations(),
            })
        });
        Ok(stages.collect())
    }

    fn check_models(&self) -> Result<(), PlanError> {
        if let Some(i) = self.models.iter().position(|model| model.name.is_empty()) {
            return Err(wrong(format!("models[{i}].name"), "is empty; name a model of the repository"));
        }
        match self.models.as_slice() {
            [_] if self.transfer => Err(wrong(
                "transfer",
                "shows what is found on each model to the other, but the plan names one; add the other to `models`, or leave this out",
            )),
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
        if let &Condition::MaxLatencyRatio(most) = condition {
            if !(most > 0.0 && most.is_finite()) {
                return Err(wrong(field, format!("is {most}; expected how many times as long, such as 1.2")));
            }
        } else if let Some(threshold) = condition.threshold().filter(|threshold| !(0.0..=1.0).contains(threshold)) {
            return Err(wrong(field, format!("is {threshold}; expected a proportion in [0, 1], such as 0.5 for 50 %")));
        }
        if matches!(condition, Condition::ForbidFlags(kinds) if kinds.is_empty()) {
            return Err(wrong(field, "is empty; name at least one kind of flag, such as \"zero-gradient\""));
        }
        if let Some(threat) = threat {
            let field = format!("gates[{i}].threat");
            if !condition.has_threats() {
                return Err(wrong(
                    field,
                    format!(
                        "is for gates on attacks and certificates; what {} looks at has no threat",
                        condition.name()
                    ),
                ));
            }
            if self.threats().all(|title| title != *threat) {
                let titles: Vec<_> = self.threats().map(|title| format!("\"{title}\"")).collect();
                return Err(wrong(
                    field,
                    format!("no evaluation has the threat \"{threat}\"; there is {}", titles.join(", ")),
                ));
            }
        }
        if matches!(condition, Condition::MinCertified(_)) && self.certified_under(gate).is_empty() {
            let reason = match &self.certification {
                None => "needs certificates, and the plan makes none; add [certification]",
                Some(_) => {
                    "needs certificates against its threat, and [certification] makes none; add it to its threats"
                }
            };
            return Err(wrong(field, reason));
        }
        if matches!(condition, Condition::MaxCorruptionError(_)) && self.corruptions(gate).is_empty() {
            let reason = "needs an evaluation with nothing but the attack corruption, one or in the order separate, so that its own error is measured; add one";
            return Err(wrong(field, reason));
        }
        Ok(())
    }
}

fn check_data(data: &PlanData) -> Result<(), PlanError> {
    match (&data.dataset, &data.path) {
        (None, None) => {
            Err(wrong("data", "says not where the samples are; give `dataset`, a name of the server, or `path`"))
        }
        (Some(_), Some(_)) => Err(wrong("data.dataset", "is given together with `path`; leave one of them out")),
        _ if data.samples == Some(0) => Err(wrong("data.samples", "is 0; leave it out to take all samples")),
        _ => Ok(()),
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

pub(crate) fn wrong(field: impl Into<String>, reason: impl Into<String>) -> PlanError {
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
        Plan::parse(&format!("schema = 1\n{toml}")).unwrap_err().to_string()
    }

    #[test]
    fn a_plan_file_is_read_and_written_back() {
        let text = format!(
            "schema = 1\nseed = 7\nmodels = [{{ name = \"a\" }}, {{ name = \"a\", version = \"2\" }}]\n\
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
        assert_eq!(plan.evaluations[0].eps[0].to_string(), "8/255");
        assert_eq!(Plan::parse(&toml::to_string(&plan).unwrap()).unwrap(), plan);
        assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
    }

    #[test]
    fn gates_that_compare_need_two_models_or_a_baseline() {
        let plan = |gate: &str, models: &str| {
            Plan::parse(&format!("schema = 1\nmodels = [{models}]\ngates = [{{ {gate} = 0.1 }}]\n{EVALUATION}"))
                .unwrap()
        };
        let (one, two) = ("{ name = \"a\" }", "{ name = \"a\" }, { name = \"b\" }");
        for gate in ["max_drop", "max_clean_drop"] {
            let error = plan(gate, one).check_compared(false).unwrap_err().to_string();
            assert!(error.starts_with(&format!("gates[0].{gate}: compares two models")), "{error}");
            assert_eq!(plan(gate, one).check_compared(true), Ok(()));
            assert_eq!(plan(gate, two).check_compared(false), Ok(()));
            let error = plan(gate, two).check_compared(true).unwrap_err().to_string();
            assert!(error.starts_with("models: names two"), "{error}");
        }
        assert_eq!(plan("min_clean_accuracy", one).check_compared(false), Ok(()));
        for has_baseline in [false, true] {
            let error = plan("max_latency_ratio", one).check_compared(has_baseline).unwrap_err().to_string();
            assert!(error.starts_with("gates[0].max_latency_ratio: times two models in turn"), "{error}");
        }
        assert_eq!(plan("max_latency_ratio", two).check_compared(false), Ok(()));
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
            (refusal(&format!("transfer = true\n{one}{EVALUATION}")), "transfer: shows what is found on each model"),
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
            (with("{ max_latency_ratio = 0 }"), "gates[0].max_latency_ratio: is 0; expected how many times as long"),
            (with("{ max_latency_ratio = 1.2, threat = \"Linf 8/255\" }"), "gates[0].threat: is for gates on attacks"),
            (with("{ min_certified = 0.1 }"), "gates[0].min_certified: needs certificates, and the plan makes none"),
            (with("{ min_clean_accuracy = 50 }"), "gates[0].min_clean_accuracy: is 50; expected a proportion"),
            (
                with("{ min_robust_accuracy = 0.1, threat = \"L2 1\" }"),
                "gates[0].threat: no evaluation has the threat \"L2 1\"; there is \"Linf 8/255\"",
            ),
            (with("{ min_clean_accuracy = 0.1, threat = \"L2 1\" }"), "gates[0].threat: is for gates on attacks"),
            (with("{ forbid_flags = [] }"), "gates[0].forbid_flags: is empty"),
            (with("{ forbid_flags = [\"masked\"] }"), "unknown variant `masked`"),
            (
                with("{ max_corruption_error = 0.1 }"),
                "gates[0].max_corruption_error: needs an evaluation with nothing but the attack corruption",
            ),
            (with("{ min_robust = 0.1 }"), "did you mean `min_robust_accuracy`?"),
        ] {
            assert!(error.contains(words), "{words} not in {error}");
        }
    }
}
