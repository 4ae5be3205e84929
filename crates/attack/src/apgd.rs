//! Auto-PGD: gradient ascent with momentum that halves its step when it no longer rises.

use std::sync::LazyLock;

use assay_graph::Loss;
use assay_runtime::Class;

use crate::param::{Choice, Integer, ParamKind};
use crate::registry::{Description, Entry};
use crate::shared::{EOT, LOSS, RANDOM_START, RESTARTS, TARGETS, aims, starts_differ};
use crate::{Attack, Halt, Norm, Samples, Start, Step, Threat, apgd_l1};

/// Share of the steps since the last checkpoint that must have raised the loss, for the step to keep its length.
const RISING: f64 = 0.75;
/// Share of the new direction in a move; the rest is momentum.
const DIRECTION: f32 = 0.75;

/// Auto-PGD (Croce and Hein, 2020), which needs no step size: it begins with `2 eps`, and halves it at checkpoints where the loss did not rise often
/// enough, going back to the best point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Apgd {
    /// Steps of each restart.
    pub steps: u32,
    /// Random starting points that are tried one after the other.
    pub restarts: u32,
    /// Where a restart begins.
    pub start: Start,
    /// What is maximised.
    pub loss: Loss,
    /// Evaluations of each point whose mean is followed.
    pub eot: u32,
}

/// [`Apgd`] towards one class after the other: those with the largest logits for the clean sample. Any misclassification counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApgdTargeted {
    /// Steps for each class.
    pub steps: u32,
    /// Classes that are tried.
    pub targets: u32,
    /// What is maximised.
    pub loss: Loss,
}

const STEPS: Integer = Integer {
    name: "steps",
    default: 100,
    min: 1,
    max: 10_000,
    doc: "Steps of each start, one gradient each. With fewer than 50 the schedule of the step length has little room.",
};
const TARGETED_LOSS: Choice<Loss> = Choice {
    name: "loss",
    default: Loss::DlrTargeted,
    options: &[Loss::DlrTargeted, Loss::MarginTargeted],
    word: Loss::name,
    kind: ParamKind::Choice,
    doc: "Loss that is maximised; for a model with fewer than the 4 classes that dlr-targeted needs, margin-targeted.",
};

const SOURCE: &str = "Croce, Hein: Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks, ICML 2020; in L1: Mind the Box: L1-APGD for Sparse Adversarial Attacks on Image Classifiers, ICML 2021";

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "apgd",
    summary: "Auto-PGD: gradient ascent with momentum, whose step halves where the loss stops rising.",
    source: SOURCE,
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    needs_gradient: true,
    needs_eps: true,
    parameters: vec![STEPS.param(), RESTARTS.param(), RANDOM_START.param(), LOSS.param(), EOT.param()],
});

static TARGETED: LazyLock<Description> = LazyLock::new(|| Description {
    name: "apgd-t",
    summary: "Auto-PGD towards one likely class after the other; any misclassification counts.",
    source: SOURCE,
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    needs_gradient: true,
    needs_eps: true,
    parameters: vec![STEPS.param(), TARGETS.param(), TARGETED_LOSS.param()],
});

impl Apgd {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            let apgd = Self {
                steps: STEPS.read(arguments)?,
                restarts: RESTARTS.read(arguments)?,
                start: RANDOM_START.read(arguments)?,
                loss: LOSS.read(arguments)?,
                eot: EOT.read(arguments)?,
            };
            starts_differ(arguments, apgd.start, apgd.restarts)?;
            Ok(Box::new(apgd))
        },
    };
}

impl Default for Apgd {
    fn default() -> Self {
        Self {
            steps: STEPS.default,
            restarts: RESTARTS.default,
            start: RANDOM_START.default,
            loss: LOSS.default,
            eot: EOT.default,
        }
    }
}

impl ApgdTargeted {
    pub(crate) const ENTRY: Entry = Entry {
        description: &TARGETED,
        parse: |arguments| {
            Ok(Box::new(Self {
                steps: STEPS.read(arguments)?,
                targets: TARGETS.read(arguments)?,
                loss: TARGETED_LOSS.read(arguments)?,
            }))
        },
    };

    /// What is maximised for a model with so many classes. The quotient of the DLR loss needs four; its numerator does not.
    fn loss_for(&self, classes: usize) -> Loss {
        if classes < self.loss.min_classes() { Loss::MarginTargeted } else { self.loss }
    }
}

impl Default for ApgdTargeted {
    fn default() -> Self {
        Self { steps: STEPS.default, targets: TARGETS.default, loss: TARGETED_LOSS.default }
    }
}

impl Attack for Apgd {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (STEPS.name, self.steps.to_string()),
            (RESTARTS.name, self.restarts.to_string()),
            (RANDOM_START.name, (RANDOM_START.word)(self.start).to_owned()),
            (LOSS.name, self.loss.name().to_owned()),
            (EOT.name, self.eot.to_string()),
        ]
    }

    fn evaluations(&self) -> u64 {
        u64::from(self.restarts) * evaluations(self.steps) * u64::from(self.eot)
    }

    fn min_classes(&self) -> usize {
        self.loss.min_classes()
    }

    fn aims(&self) -> Result<(), String> {
        aims(self.loss)
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        samples.draws(self.eot);
        for restart in 0..self.restarts {
            one_start(samples, restart, self.start, self.steps, self.loss, None)?;
        }
        Ok(())
    }
}

impl Attack for ApgdTargeted {
    fn description(&self) -> &'static Description {
        &TARGETED
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (STEPS.name, self.steps.to_string()),
            (TARGETS.name, self.targets.to_string()),
            (TARGETED_LOSS.name, self.loss.name().to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        u64::from(self.targets) * evaluations(self.steps)
    }

    fn substitution(&self, classes: usize) -> Option<String> {
        let (wanted, used) = (self.loss, self.loss_for(classes));
        let least = wanted.min_classes();
        (wanted != used).then(|| {
            format!(
                "apgd-t maximises {} for {}, which needs {least} classes: the model has {classes}",
                used.name(),
                wanted.name()
            )
        })
    }

    fn aims(&self) -> Result<(), String> {
        aims(self.loss)
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let loss = self.loss_for(samples.classes());
        for target in 0..self.targets.min(samples.rivals()) {
            let targets = samples.targets(target);
            one_start(samples, target, Start::Random, self.steps, loss, Some(&targets))?;
        }
        Ok(())
    }
}

/// The most evaluations of a start: L1, with its three balls, has some more than the other norms.
fn evaluations(steps: u32) -> u64 {
    u64::from(steps) + u64::from(apgd_l1::EXTRA_EVALUATIONS)
}

/// One start of every sample under attack, by the variant that is made for the threat's norm.
fn one_start(
    samples: &mut Samples<'_>,
    restart: u32,
    start: Start,
    steps: u32,
    loss: Loss,
    targets: Option<&[Class]>,
) -> Result<(), Halt> {
    if samples.threat().norm == Norm::L1 {
        return apgd_l1::ascend(samples, restart, start, steps, loss, targets);
    }
    samples.start(restart, start);
    ascend(samples, steps, loss, targets)
}

/// Steps of every sample under attack, from where its point is.
fn ascend(samples: &mut Samples<'_>, steps: u32, loss: Loss, targets: Option<&[Class]>) -> Result<(), Halt> {
    let threat = samples.threat();
    let mut trails: Vec<Option<Trail>> = (0..samples.len()).map(|_| None).collect();
    let checkpoints = checkpoints(steps);
    let mut last = 0;
    for taken in 0..steps {
        let window = checkpoints.contains(&taken).then(|| taken - std::mem::replace(&mut last, taken));
        let advance = |mut step: Step<'_>| {
            threat.steepest(step.gradient);
            let trail = &mut trails[step.sample];
            match trail {
                None => {
                    let begun = trail.insert(Trail::new(&step, threat));
                    begun.advance(&mut step, threat, 1.0);
                }
                Some(trail) => {
                    trail.observe(&mut step, window);
                    trail.advance(&mut step, threat, DIRECTION);
                }
            }
        };
        match targets {
            None => samples.gradient(loss, advance)?,
            Some(targets) => samples.gradient_towards(loss, targets, advance)?,
        }
    }
    samples.query()
}

/// The numbers of steps after which the length of the step is looked at: at first seldom, later often.
fn checkpoints(steps: u32) -> Vec<u32> {
    let share = |percent: u32| (steps * percent / 100).max(1);
    let (mut window, mut at) = (share(22), 0);
    std::iter::from_fn(|| {
        at += window;
        window = window.saturating_sub(share(3)).max(share(6));
        (at <= steps).then_some(at)
    })
    .collect()
}

/// What is known of one sample since its start.
struct Trail {
    /// Length of the step.
    step: f32,
    /// The point before the current one.
    previous: Vec<f32>,
    /// The largest loss, its point and the direction of its gradient.
    best: f32,
    best_point: Vec<f32>,
    best_direction: Vec<f32>,
    /// The loss at the point before.
    loss: f32,
    /// Steps since the last checkpoint that raised the loss.
    rises: u32,
    /// The largest loss at the last checkpoint, and whether the step was halved there.
    best_then: f32,
    halved: bool,
}

impl Trail {
    fn new(step: &Step<'_>, threat: &Threat) -> Self {
        Self {
            step: 2.0 * threat.eps.down(),
            previous: step.point.to_vec(),
            best: step.loss,
            best_point: step.point.to_vec(),
            best_direction: step.gradient.to_vec(),
            // As in the original: the first step rises if its loss is above zero.
            loss: 0.0,
            rises: 0,
            best_then: step.loss,
            halved: true,
        }
    }

    /// Takes note of the loss after a step. At a checkpoint, `window` steps after the last one, the step may be halved; then the sample goes back to its
    /// best point.
    fn observe(&mut self, step: &mut Step<'_>, window: Option<u32>) {
        self.rises += u32::from(step.loss > self.loss);
        self.loss = step.loss;
        if step.loss > self.best {
            self.best = step.loss;
            self.best_point.copy_from_slice(step.point);
            self.best_direction.copy_from_slice(step.gradient);
        }
        let Some(window) = window else { return };
        let few = f64::from(self.rises) <= RISING * f64::from(window);
        let stuck = !self.halved && self.best_then >= self.best;
        self.halved = few || stuck;
        if self.halved {
            self.step /= 2.0;
            step.point.copy_from_slice(&self.best_point);
            step.gradient.copy_from_slice(&self.best_direction);
        }
        self.best_then = self.best;
        self.rises = 0;
    }

    /// Moves the point: `share` of the projected step, and the rest of the last move.
    fn advance(&mut self, step: &mut Step<'_>, threat: &Threat, share: f32) {
        let before = step.point.to_vec();
        step.advance(self.step);
        threat.project(step.x, step.point);
        for ((p, before), previous) in step.point.iter_mut().zip(&before).zip(&self.previous) {
            *p = before + share * (*p - before) + (1.0 - share) * (before - previous);
        }
        threat.project(step.x, step.point);
        self.previous = before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_those_of_the_original() {
        assert_eq!(checkpoints(100), [22, 41, 57, 70, 80, 87, 93, 99]);
        assert_eq!(checkpoints(50), [11, 21, 30, 38, 45]);
        assert_eq!(checkpoints(200), [44, 82, 114, 140, 160, 174, 186, 198]);
        assert_eq!(checkpoints(20), [4, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
        assert_eq!(checkpoints(1), [1]);
    }
}
