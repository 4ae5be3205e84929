//! The only way to the model: it counts, then calls.

use std::fmt;
use std::time::Instant;

use assay_graph::Loss;
use assay_runtime::{Cancel, Class, Classifier, Evaluated, RunError};
use ndarray::{Array2, ArrayView2, Axis, s};

use crate::Cost;

/// What a run may spend; nothing is limited by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Forward evaluations of each sample, its clean prediction included. Verification is never refused.
    pub queries: Option<u64>,
    /// Forward and backward evaluations of each sample.
    pub gradients: Option<u64>,
    /// When the attack ends. What was found is verified after it.
    pub deadline: Option<Instant>,
}

/// Why an attack ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Samples had no queries left.
    Queries,
    /// Samples had no gradients left.
    Gradients,
    /// The deadline passed.
    Deadline,
    /// The run was cancelled.
    Cancelled,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Queries => "the budget of queries is spent",
            Self::Gradients => "the budget of gradients is spent",
            Self::Deadline => "the deadline passed",
            Self::Cancelled => "it was cancelled",
        })
    }
}

/// Why a call was not made, or failed.
#[derive(Debug)]
pub enum Halt {
    /// The run is stopped: not an error, what was found counts.
    Stop(Reason),
    /// The model failed.
    Failed(RunError),
}

impl From<RunError> for Halt {
    fn from(error: RunError) -> Self {
        match error {
            // The model was told before the attack looked.
            RunError::Cancelled => Self::Stop(Reason::Cancelled),
            error => Self::Failed(error),
        }
    }
}

/// The model, what was spent on it, and what may be spent.
pub(crate) struct Oracle<'a> {
    classifier: &'a dyn Classifier,
    budget: Budget,
    cancel: &'a Cancel,
    /// Rows of every call, for a model whose answers depend on their number.
    filled: Option<usize>,
    /// By sample of the job.
    spent: Vec<Cost>,
    /// Seconds by sample: its share of the calls it was part of.
    seconds: Vec<f64>,
    /// What was spent on looking at the model.
    pub(crate) checks: Cost,
}

impl<'a> Oracle<'a> {
    pub(crate) fn new(classifier: &'a dyn Classifier, budget: Budget, cancel: &'a Cancel, samples: usize) -> Self {
        let (spent, seconds) = (vec![Cost::default(); samples], vec![0.0; samples]);
        Self { classifier, budget, cancel, filled: None, spent, seconds, checks: Cost::default() }
    }

    pub(crate) fn classes(&self) -> usize {
        self.classifier.spec().classes
    }

    pub(crate) fn sample_shape(&self) -> &'a [usize] {
        &self.classifier.spec().sample_shape
    }

    /// Logits of the rows of `x`, which are evaluations of the samples `who`.
    pub(crate) fn logits(&mut self, x: &ArrayView2<'_, f32>, who: &[usize]) -> Result<Array2<f32>, Halt> {
        self.permit()?;
        for &sample in who {
            self.spent[sample].queries += 1;
        }
        let started = Instant::now();
        let logits = self.call(x, self.filled)?;
        self.share(started, who);
        Ok(logits)
    }

    /// [`Oracle::logits`] of one row as users ask for it: a call with that row and no other.
    pub(crate) fn alone(&mut self, x: &ArrayView2<'_, f32>, sample: usize) -> Result<Array2<f32>, Halt> {
        let filled = self.filled.take();
        let logits = self.logits(x, &[sample]);
        self.filled = filled;
        logits
    }

    /// From here on every call has so many rows: where there are fewer, the last is repeated.
    pub(crate) fn fill(&mut self, rows: usize) {
        self.filled = Some(rows);
    }

    /// Logits of the rows of `x`, evaluations that look at the model.
    pub(crate) fn look(&mut self, x: &ArrayView2<'_, f32>) -> Result<Array2<f32>, Halt> {
        self.permit()?;
        self.checks.queries += x.nrows() as u64;
        self.call(x, None)
    }

    fn call(&self, x: &ArrayView2<'_, f32>, filled: Option<usize>) -> Result<Array2<f32>, Halt> {
        let more = filler(x.nrows(), filled).map(|rows| x.select(Axis(0), &rows));
        let sent = more.as_ref().map_or(*x, |more| more.view());
        let logits = self.classifier.logits(sent)?;
        check("logits", logits.dim(), (sent.nrows(), self.classifier.spec().classes))?;
        Ok(logits.slice_move(s![..x.nrows(), ..]))
    }

    /// Divides the time since `started` among the samples of a call.
    fn share(&mut self, started: Instant, who: &[usize]) {
        let seconds = started.elapsed().as_secs_f64() / who.len().max(1) as f64;
        for &sample in who {
            self.seconds[sample] += seconds;
        }
    }

    /// Logits, losses at `labels` (and `targets`) and gradients, in standard layout, of the rows of `x`, which are evaluations of `who`.
    pub(crate) fn gradient(
        &mut self,
        x: &ArrayView2<'_, f32>,
        loss: Loss,
        labels: &[Class],
        targets: Option<&[Class]>,
        who: &[usize],
    ) -> Result<Evaluated, Halt> {
        self.permit()?;
        for &sample in who {
            self.spent[sample].gradients += 1;
        }
        let started = Instant::now();
        let mut evaluated = match filler(x.nrows(), self.filled) {
            None => self.classifier.gradient(*x, loss, labels, targets)?,
            Some(rows) => {
                let of = |classes: &[Class]| rows.iter().map(|&row| classes[row]).collect::<Vec<_>>();
                let (labels, targets) = (of(labels), targets.map(of));
                self.classifier.gradient(x.select(Axis(0), &rows).view(), loss, &labels, targets.as_deref())?
            }
        };
        let rows = x.nrows().max(self.filled.unwrap_or(0));
        check("logits", evaluated.logits.dim(), (rows, self.classifier.spec().classes))?;
        check("losses", (evaluated.loss.len(), 1), (rows, 1))?;
        check("gradients", evaluated.gradient.dim(), (rows, x.ncols()))?;
        if !evaluated.gradient.is_standard_layout() {
            evaluated.gradient = evaluated.gradient.as_standard_layout().into_owned();
        }
        evaluated.logits.slice_collapse(s![..x.nrows(), ..]);
        evaluated.gradient.slice_collapse(s![..x.nrows(), ..]);
        evaluated.loss.truncate(x.nrows());
        self.share(started, who);
        Ok(evaluated)
    }

    /// What was spent on a sample.
    pub(crate) fn spent(&self, sample: usize) -> Cost {
        self.spent[sample]
    }

    /// How long the model took for a sample.
    pub(crate) fn seconds(&self, sample: usize) -> f64 {
        self.seconds[sample]
    }

    /// How often a sample may be evaluated forward again.
    pub(crate) fn queries_left(&self, sample: usize) -> u64 {
        self.budget.queries.map_or(u64::MAX, |most| most.saturating_sub(self.spent[sample].queries))
    }

    /// Why a sample may not be evaluated forward so many times more, if it may not.
    pub(crate) fn no_queries(&self, sample: usize, count: u32) -> Option<Reason> {
        (self.queries_left(sample) < count.into()).then_some(Reason::Queries)
    }

    /// Why a sample may not be evaluated with its gradient so many times more, if it may not.
    pub(crate) fn no_gradients(&self, sample: usize, count: u32) -> Option<Reason> {
        let left = self.budget.gradients.map_or(u64::MAX, |most| most.saturating_sub(self.spent[sample].gradients));
        (left < count.into()).then_some(Reason::Gradients)
    }

    /// From here on only a cancellation stops: what was found is verified, even late.
    pub(crate) fn lift_deadline(&mut self) {
        self.budget.deadline = None;
    }

    fn permit(&self) -> Result<(), Halt> {
        if self.cancel.is_cancelled() {
            return Err(Halt::Stop(Reason::Cancelled));
        }
        if self.budget.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Halt::Stop(Reason::Deadline));
        }
        Ok(())
    }
}

/// Which rows make a call of `filled` rows out of `rows`, where they are fewer.
fn filler(rows: usize, filled: Option<usize>) -> Option<Vec<usize>> {
    let filled = filled.filter(|filled| (1..*filled).contains(&rows))?;
    Some((0..filled).map(|row| row.min(rows - 1)).collect())
}

/// A classifier that answers in another shape than asked must not be read past its end.
fn check(what: &str, found: (usize, usize), expected: (usize, usize)) -> Result<(), RunError> {
    if found == expected {
        return Ok(());
    }
    Err(RunError::Runtime(format!("the {what} of a batch have shape {found:?}, expected {expected:?}")))
}
