//! Plans as files: what a file says, and where in it something is wrong.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::plan::{Plan, PlanError};

/// A plan with a comment on everything that may stand in it: what `assay plan init` writes.
pub const PLAN_TEMPLATE: &str = include_str!("plan_template.toml");

/// A file that is not a plan that can be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFileError {
    /// Line of what is wrong, from 1; `None` where it is what is missing.
    pub line: Option<usize>,
    /// What is wrong.
    pub error: PlanError,
}

impl fmt::Display for PlanFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        self.error.fmt(f)
    }
}

impl std::error::Error for PlanFileError {}

impl Plan {
    /// Reads a plan file and checks it.
    ///
    /// # Errors
    /// It is not TOML, a field is unknown or missing, or as [`Plan::check`]. With the line, and the nearest known name.
    pub fn parse(text: &str) -> Result<Self, PlanFileError> {
        let plan: Self = toml::from_str(text).map_err(|e| syntax(text, &e))?;
        plan.check().map_err(|error| PlanFileError::at(text, error))?;
        Ok(plan)
    }
}

impl PlanFileError {
    /// Finds the line of the field that an error is about.
    #[must_use]
    pub fn at(text: &str, error: PlanError) -> Self {
        let line = match &error {
            PlanError::Field { field, .. } => line_of(text, field),
            _ => None,
        };
        Self { line, error }
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> PlanFileError {
    let message = error.message();
    PlanFileError {
        line: error.span().map(|span| line_at(text, span.start)),
        error: PlanError::Syntax(format!("{message}{}", suggestion(message))),
    }
}

/// `; did you mean `seed`?` where serde's message names a wrong word and those that it expected.
fn suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (Some(wrong), true) = (quoted.next(), message.starts_with("unknown ")) else { return String::new() };
    let near = quoted.map(|known| (strsim::jaro_winkler(wrong, known), known)).filter(|(likeness, _)| *likeness >= 0.7);
    let best = near.max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or_else(String::new, |(_, known)| format!("; did you mean `{known}`?"))
}

/// Line of a field such as `evaluations[0].eps`, from 1; where it is not in the file, that of what holds it. `None` if nothing does.
#[must_use]
pub fn line_of(text: &str, field: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut found = None;
    let mut at = At::Table(table.get_ref());
    for name in field.split(['.', '[']) {
        let next = match (at, name.strip_suffix(']')) {
            (At::Value(value), Some(index)) => {
                value.as_array().and_then(|array| array.get(index.parse::<usize>().ok()?))
            }
            (At::Table(table), None) => in_table(table, name),
            (At::Value(value), None) => value.as_table().and_then(|table| in_table(table, name)),
            (At::Table(_), Some(_)) => None,
        };
        let Some(next) = next else { break };
        found = Some(line_at(text, next.span().start));
        at = At::Value(next.get_ref());
    }
    found
}

#[derive(Clone, Copy)]
enum At<'t, 'i> {
    Table(&'t DeTable<'i>),
    Value(&'t DeValue<'i>),
}

fn in_table<'t, 'i>(table: &'t DeTable<'i>, name: &str) -> Option<&'t Spanned<DeValue<'i>>> {
    table.iter().find(|(key, _)| key.get_ref().as_ref() == name).map(|(_, value)| value)
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "\
schema = 1
seed = 7
models = [{ name = \"a\" }, { name = \"b\" }]
gates = [
  { min_robust_accuracy = 0.5 },
]

[data]
path = \"images\"

[[evaluations]]
norm = \"Linf\"
eps = \"8/255\"
attacks = [{ name = \"pgd\" }]

[[evaluations]]
norm = \"L2\"
eps = [\"0.5\", \"1\"]
attacks = [
  { name = \"apgd\" },
  { name = \"pgd\", parameters = { steps = 40 } },
]
";

    #[test]
    fn fields_are_found_in_their_line() {
        assert!(Plan::parse(PLAN).is_ok());
        for (field, line) in [
            ("seed", Some(2)),
            ("models[1].name", Some(3)),
            ("gates[0].min_robust_accuracy", Some(5)),
            ("data.path", Some(9)),
            ("evaluations[0].eps", Some(13)),
            ("evaluations[1].attacks[1].parameters.steps", Some(21)),
            // What is not there is looked for in what should hold it.
            ("evaluations[1].attacks[1].nothing", Some(21)),
            ("data.dataset", Some(8)),
            ("evaluations[5]", Some(11)),
            ("nothing", None),
        ] {
            assert_eq!(line_of(PLAN, field), line, "{field}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_the_nearest_name() {
        for (from, to, words) in [
            ("seed", "sead", "line 2: not a plan: unknown field `sead`, expected one of"),
            ("seed", "sead", "did you mean `seed`?"),
            ("seed = 7", "seed = -7", "line 2: not a plan: "),
            (
                "\"pgd\" }",
                "\"pdg\" }",
                "line 14: evaluations[0].attacks[0]: unknown attack \"pdg\": did you mean \"pgd\"?",
            ),
            ("steps = 40", "stepz = 40", "line 21: evaluations[1].attacks[1]: "),
            ("steps = 40", "steps = 0", "line 21: evaluations[1].attacks[1]: "),
            ("\"Linf\"", "\"Lint\"", "line 12: not a plan: unknown variant `Lint`"),
            ("\"Linf\"", "\"Lint\"", "did you mean `Linf`?"),
            ("\"8/255\"", "\"8/0\"", "line 13: not a plan: eps \"8/0\" is not a radius"),
            ("\"8/255\"", "8", "line 13: not a plan: invalid type: integer `8`, expected a radius in quotes"),
            ("path = \"images\"\n", "", "line 8: data: "),
            ("path", "pth", "line 9: not a plan: unknown field `pth`"),
            ("schema = 1", "schema = 9", "line 1: schema: is 9; this assay reads 1"),
            ("[data]", "[data", "line 8: not a plan: "),
        ] {
            let error = Plan::parse(&PLAN.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(words), "{words} not in {error}");
        }
    }

    #[test]
    fn the_template_is_a_plan_as_it_is_and_with_everything_in_it() {
        let plan = Plan::parse(PLAN_TEMPLATE).unwrap();
        assert!(!plan.gates.is_empty() && plan.data.is_some());
        // Lines that are commented out as `#key = value` or `#[table]` are examples.
        let all: String = PLAN_TEMPLATE
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#'])).unwrap_or(line))
            .fold(String::new(), |text, line| text + line + "\n");
        assert_ne!(all, PLAN_TEMPLATE);
        Plan::parse(&all).unwrap();
    }
}
