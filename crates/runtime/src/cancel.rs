//! The switch that stops work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A switch that stops work before its next step: what runs already ends normally. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Switch>);

#[derive(Debug, Default)]
struct Switch {
    cancelled: AtomicBool,
    parent: Option<Cancel>,
}

impl Cancel {
    /// A switch for a part of the work: it is cancelled with this one, and can be by itself.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(Arc::new(Switch { cancelled: AtomicBool::new(false), parent: Some(self.clone()) }))
    }

    /// Stops the work.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it was stopped.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed) || self.0.parent.as_ref().is_some_and(Self::is_cancelled)
    }
}

#[cfg(test)]
mod tests {
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
}
