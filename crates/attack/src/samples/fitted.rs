//! Samples that an attack is made from, and those that it is judged on.

use crate::{Samples, Start};

impl Samples<'_> {
    /// Begins with the samples that the attack is made from ([`Attack::fitted_share`](crate::Attack::fitted_share)): the others rest until
    /// [`Samples::start_judging`]. What is found for them is none.
    pub fn start_fitting(&mut self) {
        self.start(0, Start::Image);
        for state in self.states.iter_mut().filter(|state| !state.fitted) {
            state.resting = true;
        }
    }

    /// Ends with those samples, and begins with the others.
    pub fn start_judging(&mut self) {
        for i in self.active() {
            if self.states[i].fitted {
                self.retire(i);
            }
        }
        self.start(1, Start::Image);
    }
}
