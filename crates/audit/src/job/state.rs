//! What has become of a job, and what may become of it.

use std::fmt;

use crate::judge::Verdict;

/// What has become of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for its turn, from the start or behind the events that are there.
    Queued,
    /// Somebody carries it out.
    Running,
    /// It has a report, with this verdict.
    Done(Verdict),
    /// It could not go on, for this reason. Its events are kept: asked for again, it goes on behind them.
    Failed(String),
    /// Somebody did not want it any more. It never goes on.
    Cancelled,
}

/// What happens to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// It is its turn.
    Begun,
    /// It has a report, with this verdict.
    Reached(Verdict),
    /// It cannot go on, for this reason.
    Failed(String),
    /// Whoever carried it out stopped, or was killed.
    LeftOff,
    /// Somebody does not want it any more.
    Cancelled,
    /// Somebody asked for it again.
    AskedAgain,
}

/// An input that a state does not take: a defect of whoever sent it, or a request that comes too late.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an audit that is {state} cannot {input}")]
pub struct Illegal {
    /// The state, as [`State::name`].
    pub state: &'static str,
    /// What was to happen.
    pub input: &'static str,
}

impl State {
    /// Names of all states, as in [`State::name`].
    pub const NAMES: [&'static str; 5] = ["queued", "running", "done", "failed", "cancelled"];

    /// Its name in metrics, messages and files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let [queued, running, done, failed, cancelled] = Self::NAMES;
        match self {
            Self::Queued => queued,
            Self::Running => running,
            Self::Done(_) => done,
            Self::Failed(_) => failed,
            Self::Cancelled => cancelled,
        }
    }

    /// Whether it has ended: nothing happens to it by itself any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Failed(_) | Self::Cancelled)
    }

    /// What becomes of it. Pure: whoever asks writes the answer down before acting upon it.
    ///
    /// # Errors
    /// The state does not take this input.
    pub fn on(&self, input: Input) -> Result<Self, Illegal> {
        Ok(match (self, input) {
            (Self::Queued, Input::Begun) => Self::Running,
            (Self::Running, Input::Reached(verdict)) => Self::Done(verdict),
            (Self::Queued | Self::Running, Input::Failed(reason)) => Self::Failed(reason),
            (Self::Queued | Self::Running, Input::LeftOff) => Self::Queued,
            (Self::Queued | Self::Running, Input::Cancelled) => Self::Cancelled,
            (Self::Failed(_), Input::AskedAgain) => Self::Queued,
            // Whoever asks for it finds it as it is.
            (same, Input::AskedAgain) => same.clone(),
            (state, input) => return Err(Illegal { state: state.name(), input: input.name() }),
        })
    }
}

impl Input {
    fn name(&self) -> &'static str {
        match self {
            Self::Begun => "begin",
            Self::Reached(_) => "reach a verdict",
            Self::Failed(_) => "fail",
            Self::LeftOff => "be left off",
            Self::Cancelled => "be cancelled",
            Self::AskedAgain => "be asked for",
        }
    }
}

/// For people: `failed: the disk is full`.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Failed(reason) => write!(f, ": {reason}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states() -> [State; 5] {
        [
            State::Queued,
            State::Running,
            State::Done(Verdict::Pass),
            State::Failed("the disk is full".to_owned()),
            State::Cancelled,
        ]
    }

    /// What becomes of each state; `None`: it refuses.
    #[track_caller]
    fn check(input: &Input, expected: &[Option<State>; 5]) {
        assert_eq!(states().map(|state| state.on(input.clone()).ok()), *expected, "{input:?}");
    }

    #[test]
    fn every_state_takes_what_can_happen_to_it_and_refuses_the_rest() {
        let [queued, running, done, failed, cancelled] = states().map(Some);
        check(&Input::Begun, &[running.clone(), None, None, None, None]);
        check(&Input::Reached(Verdict::Pass), &[None, done.clone(), None, None, None]);
        let reason = Input::Failed("the disk is full".to_owned());
        check(&reason, &[failed.clone(), failed, None, None, None]);
        check(&Input::LeftOff, &[queued.clone(), queued.clone(), None, None, None]);
        check(&Input::Cancelled, &[cancelled.clone(), cancelled.clone(), None, None, None]);
        // What failed goes on; what was cancelled stays so, or a request that is sent twice would bring it back.
        check(&Input::AskedAgain, &[queued.clone(), running, done, queued, cancelled]);
    }

    #[test]
    fn a_refusal_says_what_was_to_happen() {
        let refused = State::Cancelled.on(Input::Begun).unwrap_err();
        assert_eq!(refused.to_string(), "an audit that is cancelled cannot begin");
    }

    #[test]
    fn only_what_waits_or_runs_has_not_ended() {
        assert_eq!(states().map(|state| state.has_ended()), [false, false, true, true, true]);
    }
}
