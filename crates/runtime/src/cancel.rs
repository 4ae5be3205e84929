//! The switch that stops work.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A switch that stops work before its next step, and runs of a model that began for nobody else between two of their operators. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Switch>);

#[derive(Default)]
struct Switch {
    cancelled: AtomicBool,
    parent: Option<Cancel>,
    /// What is told when it is thrown, by a number.
    told: Mutex<Vec<Listener>>,
}

/// Its number, and how it is told.
type Listener = (u64, Box<dyn Fn() + Send>);

impl Cancel {
    /// A switch for a part of the work: it is cancelled with this one, and can be by itself.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(Arc::new(Switch { parent: Some(self.clone()), ..Switch::default() }))
    }

    /// Stops the work.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        // Under the lock: whoever does not listen any more is not told late.
        self.told().iter().for_each(|(_, tell)| tell());
    }

    /// Whether it was stopped.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst) || self.0.parent.as_ref().is_some_and(Self::is_cancelled)
    }

    /// Has `tell` called when the work is stopped while what this gives is held: from another thread, once or more, and soon to return. Of what was stopped before,
    /// nothing is told.
    pub(crate) fn listen(&self, tell: &Arc<impl Fn() + Send + Sync + 'static>) -> Listening {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        for switch in self.and_parents() {
            let tell = Arc::clone(tell);
            switch.told().push((number, Box::new(move || tell())));
        }
        Listening { switch: self.clone(), number }
    }

    fn and_parents(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |switch| switch.0.parent.as_ref())
    }

    fn told(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch")
            .field("cancelled", &self.cancelled)
            .field("parent", &self.parent)
            .finish_non_exhaustive()
    }
}

/// While it is held, somebody is told when work is stopped; afterwards never.
#[must_use = "dropping it ends the listening"]
pub(crate) struct Listening {
    switch: Cancel,
    number: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        for switch in self.switch.and_parents() {
            switch.told().retain(|(number, _)| *number != self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_part_stops_with_the_whole_but_not_the_other_way_round() {
        let whole = Cancel::default();
        let (part, other) = (whole.child(), whole.child());
        part.cancel();
        assert_eq!([&whole, &part, &other].map(Cancel::is_cancelled), [false, true, false]);
        whole.cancel();
        assert!(other.is_cancelled());
    }

    #[test]
    fn who_listens_is_told_by_the_part_and_the_whole_until_he_does_not() {
        let whole = Cancel::default();
        let part = whole.child();
        let count = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&count);
        let tell = Arc::new(move || {
            told.fetch_add(1, Ordering::SeqCst);
        });
        let listening = part.listen(&tell);
        part.cancel();
        whole.cancel();
        assert_eq!(count.load(Ordering::SeqCst), 2);
        drop(listening);
        whole.cancel();
        assert_eq!(count.load(Ordering::SeqCst), 2);
        assert!(whole.told().is_empty() && part.told().is_empty());
    }
}
