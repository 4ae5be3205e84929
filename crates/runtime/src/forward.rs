//! Sessions of the forward pass: what a [`Batcher`]'s threads run.

use std::sync::Arc;

use assay_graph::Shaped;
use ndarray::{Array2, ArrayView2, Axis, s};

use crate::batcher::{Batcher, Joining, Runner};
use crate::engine::{self, Opened};
use crate::memory::Budget;
use crate::native::{Interrupt, Session};
use crate::session::{self, Array, ArrayRef, SessionError, SessionSettings, Source};
use crate::{Batching, EngineOptions, LoadCause, OnnxRuntime, Provider, RunError, gpu};

/// The forward pass of a model.
pub(crate) struct Forward<'a> {
    pub(crate) runtime: &'a OnnxRuntime,
    pub(crate) model: &'a Shaped,
    /// What one run may take.
    pub(crate) budget: &'a Budget,
    /// Name of the output.
    pub(crate) output: &'a str,
    pub(crate) batching: &'a Batching,
    /// Bytes of the weights, counted when they are asked for.
    pub(crate) weight_bytes: &'a dyn Fn() -> u64,
}

/// Bytes of weights up to which each size of a run has sessions of its own on a GPU. There ONNX Runtime plans each convolution
/// anew whenever the size of its input differs from the last one's, which takes longer than many small runs. A large model's runs are
/// long, and its copies many.
pub(crate) const STEADY_WEIGHTS: u64 = 256 << 20;

/// How many times fewer samples the next smaller size of a run has. A GPU that is not full computes as fast for a few more.
const STEP: usize = 4;

/// The sizes of runs up to `most`, from the largest on.
pub(crate) fn steps(most: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(most), |&rows| (rows > 1).then(|| rows.div_ceil(STEP)))
}

impl Forward<'_> {
    /// Opens the sessions that `options` ask for and runs each once at each of its sizes; gives what they run on too.
    ///
    /// # Errors
    /// ONNX Runtime refuses the model, the provider is not available and there is no fallback, or a run does not fit the memory.
    pub(crate) fn start(&self, options: &EngineOptions) -> Result<(Batcher, Provider), LoadCause> {
        let most = |session: &mut Session, provider| self.budget.most(session, provider);
        let Opened { settings, sessions, seen: most } =
            engine::open(self.runtime, Source::Model(self.model.model()), options, most)?;
        let provider = settings.provider;
        let sizes = self.sizes(most, provider);
        let reopen = Arc::new(Reopen { runtime: self.runtime.clone(), model: self.model.clone(), settings });
        let apart = provider != Provider::Cpu && sizes.len() > 1;
        let mut stacks: Vec<Stack> = sessions.into_iter().map(|session| self.stack(session, &reopen, most)).collect();
        if apart {
            let again = EngineOptions { provider, ..options.clone() };
            for &rows in &sizes[1..] {
                let budget = Budget { batch: rows, ..self.budget.clone() };
                let check = |session: &mut Session, provider| budget.most(session, provider);
                let opened = engine::open(self.runtime, Source::Model(self.model.model()), &again, check)?;
                for (stack, session) in stacks.iter_mut().zip(opened.sessions) {
                    stack.slots.push(Slot::new(session, provider));
                }
            }
        }
        for stack in &mut stacks {
            stack.sizes.clone_from(&sizes);
            stack.warm_up(self.budget)?;
        }
        let joining = Joining {
            features: self.budget.sample_shape.iter().product(),
            classes: self.budget.classes,
            most: sizes.first().copied().unwrap_or(most),
            full: !sizes.is_empty(),
            capacity: options.queue.get(),
            delay: self.batching.delay,
        };
        let batcher = Batcher::start(stacks, joining, options.nice, options.observer.as_ref());
        let batcher = batcher.map_err(|e| SessionError::Refused(format!("no thread for a session: {e}")))?;
        Ok((batcher, provider))
    }

    /// The sizes that runs are filled up to, from the largest on; none where a run may have any.
    fn sizes(&self, most: usize, provider: Provider) -> Vec<usize> {
        if let Some(fixed) = self.budget.fixed {
            return vec![fixed];
        }
        let mut sizes: Vec<usize> = self.batching.buckets.iter().map(|size| size.get().min(most)).collect();
        if sizes.is_empty() && provider != Provider::Cpu && (self.weight_bytes)() <= STEADY_WEIGHTS {
            sizes = steps(most).collect();
        }
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes.dedup();
        sizes
    }

    fn stack(&self, session: Session, reopen: &Arc<Reopen>, most: usize) -> Stack {
        Stack {
            slots: vec![Slot::new(session, reopen.settings.provider)],
            sizes: Vec::new(),
            last: 0,
            most,
            input: self.budget.input.clone(),
            output: self.output.to_owned(),
            sample_shape: self.budget.sample_shape.clone(),
            classes: self.budget.classes,
            reopen: Arc::clone(reopen),
        }
    }
}

/// The sessions of one thread.
struct Stack {
    /// One for all sizes, or one for each.
    slots: Vec<Slot>,
    /// The sizes that runs are filled up to, from the largest on; none where a run may have any.
    sizes: Vec<usize>,
    /// Place of the session that ran last.
    last: usize,
    /// Most rows of one run.
    most: usize,
    input: String,
    output: String,
    sample_shape: Vec<usize>,
    classes: usize,
    reopen: Arc<Reopen>,
}

/// A session and what it ran before.
struct Slot {
    session: Session,
    runs: gpu::Runs,
}

impl Slot {
    fn new(session: Session, provider: Provider) -> Self {
        Self { session, runs: gpu::Runs::new(provider) }
    }
}

/// How to open a session anew.
struct Reopen {
    runtime: OnnxRuntime,
    model: Shaped,
    settings: SessionSettings,
}

impl Stack {
    /// Runs each size once: the first run of a session asks for its memory, and on a GPU plans its convolutions.
    fn warm_up(&mut self, budget: &Budget) -> Result<(), RunError> {
        let features = budget.sample_shape.iter().product();
        let sizes = if self.sizes.is_empty() { vec![1] } else { self.sizes.clone() };
        for rows in sizes {
            self.run(Array2::zeros((rows.min(self.most), features)).view())?;
        }
        Ok(())
    }

    /// Rows that a run of `n` has, and the place of the session that makes it.
    fn size(&self, n: usize) -> (usize, usize) {
        match self.sizes.iter().rposition(|&size| n <= size) {
            Some(place) => (self.sizes[place], place.min(self.slots.len() - 1)),
            None => (n, 0),
        }
    }
}

impl Runner for Stack {
    fn run(&mut self, rows: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        let n = rows.nrows();
        let (size, place) = self.size(n);
        self.last = place;
        let filled;
        let rows = if size > n {
            let again: Vec<usize> = (0..size).map(|row| row.min(n.saturating_sub(1))).collect();
            filled = rows.select(Axis(0), &again);
            filled.view()
        } else {
            rows
        };
        let data = rows.to_slice().ok_or_else(|| RunError::Runtime("rows are not in order".into()))?;
        let shape = [&[size], &self.sample_shape[..]].concat();
        let Slot { session, runs } = &mut self.slots[place];
        let turn = runs.turn(|| vec![shape.clone()]);
        let input = ArrayRef::Rows { shape: &shape, data };
        let logits = session::run_on_for(session, [(self.input.as_str(), input)], &self.output)?;
        drop(turn);
        let Array::Float(logits) = logits else {
            return Err(RunError::Runtime(format!("output \"{}\" is not of numbers", self.output)));
        };
        let odd = |_| {
            RunError::Runtime(format!("output \"{}\" is not {} numbers for each sample", self.output, self.classes))
        };
        let logits = logits.into_shape_with_order((size, self.classes)).map_err(odd)?;
        Ok(if size > n { logits.slice_move(s![..n, ..]) } else { logits })
    }

    fn interrupt(&self) -> Interrupt {
        Interrupt::new(self.slots.iter().map(|slot| &slot.session))
    }

    fn renew(&mut self) {
        let Reopen { runtime, model, settings } = self.reopen.as_ref();
        let _alone = gpu::alone(settings.provider);
        match session::open(runtime, Source::Model(model.model()), settings) {
            Ok(session) => self.slots[self.last] = Slot::new(session, settings.provider),
            Err(error) => tracing::error!(%error, "a session could not be opened anew; the old one goes on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::steps;

    #[test]
    fn a_few_sizes_lead_down_to_one_sample() {
        assert_eq!(steps(64).collect::<Vec<_>>(), [64, 16, 4, 1]);
        assert_eq!(steps(100).collect::<Vec<_>>(), [100, 25, 7, 2, 1]);
        assert_eq!(steps(1).collect::<Vec<_>>(), [1]);
    }
}
