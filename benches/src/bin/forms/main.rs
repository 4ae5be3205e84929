//! The forms that a derivative can take, against each other: `make bench-forms`.
//!
//! For each case, a small model and a shape, this derives the model, finds out which form the rule wrote, sees that all forms
//! give the same numbers, and measures how long each takes on one thread. It does the same with the options that sessions are opened
//! with. Only processor time counts, the contenders take turns, and a ratio is the median of the ratios of the turns, so that another
//! program beside it does little harm.
//!
//! `forms [--write] [--only TEXT] [--turns N] [--rounds N]` prints tables; `--write` puts them into docs/performance.md.

mod cases;
mod convolutions;
mod elementwise;
mod maps;
mod options;
mod products;
mod race;
mod sketch;
mod trial;

use std::error::Error;
use std::process::ExitCode;

use assay_benches::page;

use crate::cases::Case;
use crate::trial::Trial;

/// What the command line asks for.
struct Arguments {
    write: bool,
    only: Option<String>,
    /// How often everything is measured, with new sessions.
    turns: usize,
    /// Measurements of each contender in a turn.
    rounds: usize,
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| bench(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

#[allow(clippy::print_stderr, reason = "a program's way to say what went wrong")]
fn failed(error: &dyn Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut found = Arguments { write: false, only: None, turns: 3, rounds: 9 };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--write" => found.write = true,
            "--only" => found.only = Some(value()?),
            "--turns" => found.turns = value()?.parse()?,
            "--rounds" => found.rounds = value()?.parse()?,
            _ => return Err("usage: forms [--write] [--only TEXT] [--turns N] [--rounds N]".into()),
        }
    }
    if found.write && found.only.is_some() {
        return Err("--write needs all tables, and --only leaves some out".into());
    }
    Ok(found)
}

/// The derivatives of which the rules choose a form.
fn chosen() -> Vec<Case> {
    [
        convolutions::at_unit_stride(),
        convolutions::strided(),
        convolutions::strided_depthwise(),
        convolutions::normalized(),
        elementwise::relu(),
        elementwise::relu_between_convolutions(),
        elementwise::numbers(),
        maps::means(),
        maps::channel_factors(),
        elementwise::hard_swish(),
        elementwise::erf(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Those of which another form was tried.
fn tried() -> Vec<Case> {
    [maps::max_pools(), products::gemms(), products::mat_muls()].into_iter().flatten().collect()
}

fn bench(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let wanted = |case: &Case| arguments.only.as_ref().is_none_or(|text| case.derivative.contains(text.as_str()));
    let prepare = |cases: Vec<Case>| cases.into_iter().filter(wanted).map(Trial::new).collect::<Result<Vec<_>, _>>();
    let mut sections = [("forms", prepare(chosen())?), ("tried", prepare(tried())?)];
    let mut options = if arguments.only.is_none() { options::trials()? } else { Vec::new() };
    for _ in 0..arguments.turns {
        for trial in sections.iter_mut().flat_map(|(_, trials)| trials) {
            trial.turn(arguments.rounds)?;
        }
        for trial in &mut options {
            trial.turn(arguments.rounds)?;
        }
    }
    let run = format!("{} turns of {} measurements", arguments.turns, arguments.rounds);
    for (section, trials) in &sections {
        page::give(&format!("make bench-forms, {section}"), &run, &trial::table(trials), arguments.write)?;
    }
    if !options.is_empty() {
        page::give("make bench-forms, options", &run, &options::table(&options), arguments.write)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule that writes another form than those compared makes the tables wrong.
    #[test]
    fn every_rule_writes_one_of_its_forms_and_all_of_them_give_the_same_numbers() {
        for case in chosen().into_iter().chain(tried()) {
            let name = format!("{}, {}", case.derivative, case.shape);
            Trial::new(case).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}
