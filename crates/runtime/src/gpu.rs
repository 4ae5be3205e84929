//! Who may use a GPU at the same time.
//!
//! While cuDNN plans a convolution it records a stream, and meanwhile CUDA refuses to every other thread of the process what
//! opening a session and allocating memory need ("operation not permitted when stream is capturing"). Convolutions are planned when a
//! session runs for the first time, and whenever the size of a run changes. So whoever opens or closes a session, or runs one at
//! another size than before, is alone; all other runs go on side by side.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::Provider;

static GPUS: RwLock<()> = RwLock::new(());

/// While it is held, nothing else uses a GPU; nothing where `provider` is none.
#[must_use]
pub(crate) fn alone(provider: Provider) -> Option<RwLockWriteGuard<'static, ()>> {
    (provider != Provider::Cpu).then(|| GPUS.write().unwrap_or_else(PoisonError::into_inner))
}

/// The runs of one session.
pub(crate) struct Runs {
    provider: Provider,
    /// Shapes of the last run's inputs.
    last: Vec<Vec<usize>>,
}

/// Held during a run.
#[must_use]
#[allow(dead_code, reason = "what counts is when it is dropped")]
pub(crate) enum Turn {
    Alone(Option<RwLockWriteGuard<'static, ()>>),
    Together(RwLockReadGuard<'static, ()>),
}

impl Runs {
    pub(crate) fn new(provider: Provider) -> Self {
        Self { provider, last: Vec::new() }
    }

    /// Waits until a run with inputs of `shapes` may begin.
    pub(crate) fn turn(&mut self, shapes: impl FnOnce() -> Vec<Vec<usize>>) -> Turn {
        if self.provider == Provider::Cpu {
            return Turn::Alone(None);
        }
        let shapes = shapes();
        if shapes == self.last {
            return Turn::Together(GPUS.read().unwrap_or_else(PoisonError::into_inner));
        }
        self.last = shapes;
        Turn::Alone(alone(self.provider))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_run_of_a_size_is_alone() {
        let batch = |n: usize| move || vec![vec![n, 3]];
        let mut runs = Runs::new(Provider::Cuda { device: 0 });
        assert!(matches!(runs.turn(batch(4)), Turn::Alone(Some(_))));
        assert!(matches!(runs.turn(batch(4)), Turn::Together(_)));
        assert!(matches!(runs.turn(batch(5)), Turn::Alone(Some(_))));
        assert!(matches!(runs.turn(batch(4)), Turn::Alone(Some(_))));
    }

    #[test]
    fn the_processor_waits_for_nobody() {
        let held = alone(Provider::Cuda { device: 0 });
        assert!(held.is_some() && alone(Provider::Cpu).is_none());
        assert!(matches!(Runs::new(Provider::Cpu).turn(Vec::new), Turn::Alone(None)));
    }
}
