//! Whether a job can be run at all.

use std::collections::HashMap;

use assay_runtime::Gradients;

use crate::pixels::Pixels;
use crate::samples::fitted;
use crate::{AttackError, Goal, Job, Target};

/// Checks a job against its model, threat and attack. Messages name the sample and say what was expected.
pub(crate) fn validate(job: &Job<'_>) -> Result<(), AttackError> {
    attack(job)?;
    shapes(job)
        .and_then(|()| fitting(job))
        .and_then(|()| labels(job))
        .and_then(|()| goal(job))
        .and_then(|()| ids(job))
        .and_then(|()| values(job))
        .map_err(AttackError::Invalid)
}

fn attack(job: &Job<'_>) -> Result<(), AttackError> {
    let (description, spec) = (job.attack.description(), job.classifier.spec());
    job.attack.check(job.threat.norm, &job.threat.eps).map_err(AttackError::Invalid)?;
    if spec.classes < job.attack.min_classes() {
        let least = job.attack.min_classes();
        let text = format!(
            "attack \"{}\" with this loss needs at least {least} classes, the model has {}; choose another loss",
            description.name, spec.classes
        );
        return Err(AttackError::Invalid(text));
    }
    job.attack
        .fits(&spec.sample_shape)
        .map_err(|why| AttackError::Invalid(format!("attack \"{}\": {why}", description.name)))?;
    match &spec.gradients {
        Gradients::Unavailable(reason) if description.needs_gradient => {
            Err(AttackError::NoGradient { attack: description.name, reason: reason.clone() })
        }
        _ => Ok(()),
    }
}

fn shapes(job: &Job<'_>) -> Result<(), String> {
    let (spec, samples) = (job.classifier.spec(), job.images.nrows());
    let features = spec.features();
    if features == 0 {
        return Err(format!("the model's samples have shape {:?}, which has no elements", spec.sample_shape));
    }
    if job.images.ncols() != features {
        let shape = &spec.sample_shape;
        return Err(format!(
            "the samples have {} elements, the model's shape {shape:?} has {features}",
            job.images.ncols()
        ));
    }
    for (what, found) in [("labels", job.labels.len()), ("sample ids", job.ids.len())] {
        if found != samples {
            return Err(format!("there are {found} {what} for {samples} samples; give one for each"));
        }
    }
    Ok(())
}

fn fitting(job: &Job<'_>) -> Result<(), String> {
    let (from, of) = (fitted(job), job.ids.len());
    if from == 0 || from < of {
        return Ok(());
    }
    Err(format!(
        "attack \"{}\" is made from {from} of {of} samples, which leaves none to judge it on: give more samples, at least 2, or a smaller share",
        job.attack.description().name
    ))
}

fn labels(job: &Job<'_>) -> Result<(), String> {
    let classes = job.classifier.spec().classes;
    match job.labels.iter().enumerate().find(|(_, label)| label.index() >= classes) {
        Some((i, label)) => {
            Err(format!("label {label} of sample {i} is out of range: the model has {classes} classes, counted from 0"))
        }
        None => Ok(()),
    }
}

fn goal(job: &Job<'_>) -> Result<(), String> {
    let classes = job.classifier.spec().classes;
    let Goal::Targeted(target) = &job.goal else { return Ok(()) };
    job.attack
        .aims()
        .map_err(|why| format!("attack \"{}\" cannot be aimed at a class: {why}", job.attack.description().name))?;
    let targets = match target {
        Target::Classes(targets) => targets,
        Target::Rank(rank) if *rank == 0 || *rank as usize >= classes => {
            return Err(format!(
                "there is no class of rank {rank} beside the label: expected 1 to {}, the model has {classes} classes",
                classes.saturating_sub(1)
            ));
        }
        Target::LeastLikely | Target::Random | Target::Rank(_) => return Ok(()),
    };
    if targets.len() != job.labels.len() {
        return Err(format!("there are {} targets for {} samples; give one for each", targets.len(), job.labels.len()));
    }
    for (i, (target, label)) in targets.iter().zip(job.labels).enumerate() {
        if target.index() >= classes {
            return Err(format!(
                "target {target} of sample {i} is out of range: the model has {classes} classes, counted from 0"
            ));
        }
        if target == label {
            return Err(format!(
                "the target of sample {i} is its label, {label}: choose another one, or leave the sample out"
            ));
        }
    }
    Ok(())
}

fn ids(job: &Job<'_>) -> Result<(), String> {
    let mut seen = HashMap::new();
    for (i, id) in job.ids.iter().enumerate() {
        if let Some(first) = seen.insert(id, i) {
            return Err(format!(
                "samples {first} and {i} have the same id {id}; ids must be different, they key the randomness"
            ));
        }
    }
    Ok(())
}

fn values(job: &Job<'_>) -> Result<(), String> {
    let bounds = job.threat.bounds;
    if let Some(((i, element), value)) = job.images.indexed_iter().find(|(_, value)| !bounds.contain(**value)) {
        return Err(format!(
            "element {element} of sample {i} is {value}: expected a number in the input range [{}, {}]",
            bounds.low(),
            bounds.high()
        ));
    }
    if !job.eight_bit {
        return Ok(());
    }
    let pixels = Pixels::of(bounds);
    for (i, row) in job.images.rows().into_iter().enumerate() {
        if let Some(element) = row.iter().position(|value| pixels.is_strange(*value)) {
            return Err(format!(
                "element {element} of sample {i} is {}, none of the 256 values that images of 8 bits have in [{}, {}]; attack it without the limit to such images",
                row[element],
                bounds.low(),
                bounds.high()
            ));
        }
    }
    Ok(())
}
