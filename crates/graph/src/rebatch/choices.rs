//! Choices that may have to be taken back.

/// Most attempts for one model.
const ATTEMPTS: usize = 1000;

/// The choices of one attempt, in order: depth-first search by repetition.
#[derive(Debug, Default)]
pub(super) struct Choices {
    /// What was chosen, of how many.
    taken: Vec<(usize, usize)>,
    position: usize,
    attempts: usize,
}

impl Choices {
    /// Begins an attempt.
    pub(super) fn restart(&mut self) {
        self.position = 0;
        self.attempts += 1;
    }

    /// One of `options`, the likeliest of which come first; `None` if there are none.
    pub(super) fn choose<T: Copy>(&mut self, options: &[T]) -> Option<T> {
        if options.len() < 2 {
            return options.first().copied();
        }
        if self.position == self.taken.len() {
            self.taken.push((0, options.len()));
        }
        let chosen = self.taken[self.position].0;
        self.position += 1;
        options.get(chosen).copied()
    }

    /// Takes back the last choice that has another option. `false` if all were tried, or too many.
    pub(super) fn next(&mut self) -> bool {
        // The attempt may have ended before choices of an earlier one.
        self.taken.truncate(self.position);
        while self.taken.last().is_some_and(|(chosen, options)| chosen + 1 == *options) {
            self.taken.pop();
        }
        match self.taken.last_mut() {
            Some((chosen, _)) if self.attempts < ATTEMPTS => {
                *chosen += 1;
                true
            }
            _ => false,
        }
    }
}
