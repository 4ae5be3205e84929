//! The attacks by name. This table is what the RPC, the command line, the documentation and validation read.

use std::sync::LazyLock;

use crate::param::Arguments;
use crate::{
    AdversarialPatch, Apgd, ApgdTargeted, Attack, Bim, Boundary, CarliniWagner, Colour, Corruption, Ddn, DeepFool, Fab,
    FabTargeted, Fgsm, Fmn, GeoDa, HopSkipJump, MiFgsm, Negative, Nes, Noise, Norm, Occlusion, OnePixel, Param,
    ParamError, Pgd, Pixle, SigmaZero, Simba, Spatial, Spsa, Square, Suite, Universal,
};

/// What an attack is and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Name.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The publication it is from.
    pub source: &'static str,
    /// Norms it works in.
    pub norms: &'static [Norm],
    /// Whether the model must have a gradient.
    pub needs_gradient: bool,
    /// Whether eps must be finite, with the defaults: steps, starts or shapes follow from it.
    pub needs_eps: bool,
    /// Parameters, all optional.
    pub parameters: Vec<Param>,
}

/// A row of the table.
pub(crate) struct Row {
    pub(crate) description: &'static Description,
    pub(crate) parse: fn(&Arguments<'_>) -> Result<Box<dyn Attack>, ParamError>,
}

/// A row that an attack's file gives.
pub(crate) struct Entry {
    pub(crate) description: &'static LazyLock<Description>,
    pub(crate) parse: fn(&Arguments<'_>) -> Result<Box<dyn Attack>, ParamError>,
}

/// Those that are no suites.
static ENTRIES: &[Entry] = &[
    AdversarialPatch::ENTRY,
    Apgd::ENTRY,
    ApgdTargeted::ENTRY,
    Bim::ENTRY,
    Boundary::ENTRY,
    Colour::ENTRY,
    Corruption::ENTRY,
    CarliniWagner::ENTRY,
    Ddn::ENTRY,
    DeepFool::ENTRY,
    Fab::ENTRY,
    FabTargeted::ENTRY,
    Fgsm::ENTRY,
    Fmn::ENTRY,
    GeoDa::ENTRY,
    HopSkipJump::ENTRY,
    MiFgsm::ENTRY,
    Negative::ENTRY,
    Nes::ENTRY,
    Noise::ENTRY,
    Occlusion::ENTRY,
    OnePixel::ENTRY,
    Pgd::ENTRY,
    Pixle::ENTRY,
    SigmaZero::ENTRY,
    Simba::ENTRY,
    Spatial::ENTRY,
    Spsa::ENTRY,
    Square::ENTRY,
    Universal::ENTRY,
];

/// All, in order of name.
static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let attacks = ENTRIES.iter().map(|entry| Row { description: entry.description, parse: entry.parse });
    let mut rows: Vec<Row> = attacks.chain(Suite::rows()).collect();
    rows.sort_by_key(|row| row.description.name);
    rows
});

static DESCRIPTIONS: LazyLock<Vec<&Description>> = LazyLock::new(|| ROWS.iter().map(|row| row.description).collect());

/// All attacks, in order of name.
#[must_use]
pub fn attacks() -> &'static [&'static Description] {
    &DESCRIPTIONS
}

/// Makes an attack from its name and parameters; absent parameters take their default.
///
/// # Errors
/// The attack or a parameter is unknown, a parameter is given twice, or a value is out of range. The message names the
/// attack, the parameter, the value and what is valid.
pub fn parse(name: &str, parameters: &[(String, String)]) -> Result<Box<dyn Attack>, ParamError> {
    let row = ROWS.iter().find(|row| row.description.name == name).ok_or_else(|| unknown(name))?;
    let description = row.description;
    let known: Vec<_> = description.parameters.iter().map(|p| p.name).collect();
    for (i, (parameter, _)) in parameters.iter().enumerate() {
        if !known.contains(&parameter.as_str()) {
            let hint = match known.as_slice() {
                [] => "it takes none".to_owned(),
                known => {
                    format!("did you mean \"{}\"? The parameters are {}", nearest(parameter, known), known.join(", "))
                }
            };
            return Err(ParamError::UnknownParameter { attack: description.name, name: parameter.clone(), hint });
        }
        if parameters[..i].iter().any(|(earlier, _)| earlier == parameter) {
            return Err(ParamError::Repeated { attack: description.name, name: parameter.clone() });
        }
    }
    (row.parse)(&Arguments { attack: description.name, given: parameters })
}

/// The error of a name that no attack has.
pub(crate) fn unknown(name: &str) -> ParamError {
    let names: Vec<_> = attacks().iter().map(|d| d.name).collect();
    ParamError::UnknownAttack { name: name.to_owned(), nearest: nearest(name, &names), known: names.join(", ") }
}

/// The known name with the fewest edits; empty if there is none.
fn nearest(name: &str, known: &[&'static str]) -> &'static str {
    known.iter().copied().min_by_key(|k| strsim::osa_distance(name, k)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, parameters: &[(&str, &str)]) -> String {
        let parameters: Vec<_> = parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        parse(name, &parameters).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn names_are_sorted_and_every_default_is_accepted_as_written() {
        assert!(attacks().is_sorted_by_key(|d| d.name));
        for &description in attacks() {
            let attack = parse(description.name, &[]).unwrap();
            assert_eq!(attack.description(), description);
            // What an attack says of its parameters makes the same attack again.
            let settings: Vec<_> = attack.settings().into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
            let names: Vec<_> = settings.iter().map(|(n, _)| n.as_str()).collect();
            assert_eq!(names, description.parameters.iter().map(|p| p.name).collect::<Vec<_>>());
            assert_eq!(parse(description.name, &settings).unwrap().settings(), attack.settings());
        }
    }

    #[test]
    fn errors_say_what_is_valid() {
        let names: Vec<_> = attacks().iter().map(|d| d.name).collect();
        let known = format!("The attacks are {}", names.join(", "));
        assert_eq!(message("pdg", &[]), format!("unknown attack \"pdg\": did you mean \"pgd\"? {known}"));
        assert_eq!(message("fgsm", &[("steps", "3")]), "attack \"fgsm\" has no parameter \"steps\": it takes none");
        assert!(
            message("pgd", &[("setps", "3")])
                .starts_with("attack \"pgd\" has no parameter \"setps\": did you mean \"steps\"?")
        );
        assert_eq!(
            message("pgd", &[("steps", "1"), ("steps", "2")]),
            "attack \"pgd\": parameter \"steps\" is given twice; give it once"
        );
        for value in ["0", "10001", "-1", "x", ""] {
            let expected =
                format!("attack \"pgd\": steps = \"{value}\" is not valid: expected an integer in 1..=10000");
            assert_eq!(message("pgd", &[("steps", value)]), expected);
        }
        for value in ["0", "-1", "inf", "nan", "1e7", "x"] {
            let expected = format!(
                "attack \"pgd\": step = \"{value}\" is not valid: expected a number above 0, at most 1000000; such a \
                 number times eps, as in 0.1*eps; or auto"
            );
            assert_eq!(message("pgd", &[("step", value)]), expected);
        }
        assert!(message("pgd", &[("loss", "ce")]).ends_with("expected one of cross-entropy, margin, dlr"));
        assert!(message("pgd", &[("random_start", "yes")]).ends_with("expected true or false"));
        assert!(message("pgd", &[("random_start", "false"), ("restarts", "2")]).contains("restarts = \"2\""));
    }
}
