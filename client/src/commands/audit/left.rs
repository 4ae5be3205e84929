//! How long an audit still takes: what was said of each stage before, corrected by how long those took that are done.

use std::time::{Duration, Instant};

use assay_proto::v1::AuditQuote;

/// What the quote counts for when the run corrects it, as a share of all that was estimated: a stage that is over in an instant tells little of the others.
const TRUST: f64 = 0.05;

/// What is known of the time that an audit takes.
#[derive(Debug)]
pub(super) struct Left {
    /// Estimated seconds of the stages, in order.
    estimates: Vec<f64>,
    /// The stage that is made: its number, from 1, and when it began.
    stage: Option<(u32, Instant)>,
    /// Seconds that the stages before it took.
    took: f64,
    /// What they were estimated to take.
    expected: f64,
}

impl Left {
    /// What a quote says; `None` where it says no time.
    pub(super) fn of(quote: &AuditQuote) -> Option<Self> {
        let estimates = quote.stages.iter().map(|stage| stage.seconds).collect::<Option<Vec<f64>>>()?;
        let holds = estimates.iter().sum::<f64>().is_normal();
        holds.then_some(Self { estimates, stage: None, took: 0.0, expected: 0.0 })
    }

    /// The time until the last stage is done, when `share` of stage `number`, counted from 1, is done at `now`; `None` in the last stage, of which its own
    /// progress says all.
    pub(super) fn at(&mut self, number: u32, share: f64, now: Instant) -> Option<Duration> {
        let began = self.enter(number, now);
        let next = number.saturating_add(1);
        let (stage, later) = (self.sum(number, next), self.sum(next, u32::MAX));
        let elapsed = now.duration_since(began).as_secs_f64();
        let prior = TRUST * self.estimates.iter().sum::<f64>();
        let ratio = (self.took + elapsed + prior) / (self.expected + share * stage + prior);
        // The more of the stage is done, the more its own rate is worth.
        let whole = elapsed + (1.0 - share) * ratio * stage;
        let left = (1.0 - share) * whole + ratio * later;
        ((number as usize) < self.estimates.len()).then(|| Duration::try_from_secs_f64(left).ok()).flatten()
    }

    /// When this stage began: the one before it ends when it is first told of.
    fn enter(&mut self, number: u32, now: Instant) -> Instant {
        match self.stage {
            Some((current, began)) if current == number => began,
            before => {
                if let Some((current, began)) = before {
                    self.took += now.duration_since(began).as_secs_f64();
                    self.expected += self.sum(current, number);
                }
                self.stage = Some((number, now));
                now
            }
        }
    }

    /// Estimated seconds of the stages from number `first` to the one before `end`.
    fn sum(&self, first: u32, end: u32) -> f64 {
        (1..).zip(&self.estimates).filter(|(number, _)| (first..end).contains(number)).map(|(_, seconds)| seconds).sum()
    }
}

#[cfg(test)]
mod tests {
    use assay_proto::v1::StageQuote;

    use super::*;

    /// Two models: an instant for the clean samples, then a long attack each.
    const ESTIMATES: [f64; 4] = [1.0, 100.0, 1.0, 100.0];

    fn left(estimates: &[f64]) -> Left {
        let stages = estimates.iter().map(|&seconds| StageQuote { seconds: Some(seconds), ..Default::default() });
        Left::of(&AuditQuote { stages: stages.collect(), ..Default::default() }).unwrap()
    }

    /// The time that is left, in whole seconds, after each of these: stage, share of it that is done, seconds since the audit began.
    #[track_caller]
    fn check(steps: &[(u32, f64, f64)], expected: &[Option<u64>]) {
        let (mut left, start) = (left(&ESTIMATES), Instant::now());
        let at = |&(number, share, seconds): &(u32, f64, f64)| {
            left.at(number, share, start + Duration::from_secs_f64(seconds))
                .map(|left| left.as_secs_f64().round() as u64)
        };
        assert_eq!(steps.iter().map(at).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn before_anything_is_known_it_is_what_the_quote_says() {
        check(&[(1, 0.0, 0.0)], &[Some(202)]);
    }

    #[test]
    fn a_run_as_fast_as_the_quote_said_leaves_the_rest_of_it() {
        check(
            &[(1, 0.0, 0.0), (1, 1.0, 1.0), (2, 0.0, 1.0), (2, 0.5, 51.0), (3, 0.0, 101.0)],
            &[Some(202), Some(201), Some(201), Some(151), Some(101)],
        );
    }

    #[test]
    fn a_stage_that_took_half_its_time_halves_the_others() {
        // Nearly: the quote still counts for a twentieth.
        check(&[(1, 0.0, 0.0), (2, 0.0, 1.0), (3, 0.0, 51.0)], &[Some(202), Some(201), Some(56)]);
    }

    #[test]
    fn an_instant_that_was_far_from_its_estimate_changes_little() {
        check(&[(1, 0.0, 0.0), (2, 0.0, 3.0)], &[Some(202), Some(237)]);
    }

    #[test]
    fn the_last_stage_says_all_by_itself() {
        check(&[(3, 0.0, 0.0), (4, 0.5, 1.0)], &[Some(101), None]);
    }

    #[test]
    fn a_stage_that_was_not_told_of_counts_with_those_before() {
        check(&[(1, 0.0, 0.0), (3, 0.0, 101.0)], &[Some(202), Some(101)]);
    }

    #[test]
    fn a_stage_that_the_quote_does_not_know_has_no_time() {
        check(&[(9, 0.5, 1.0)], &[None]);
    }

    #[test]
    fn without_a_time_of_every_stage_there_is_none_of_all() {
        assert!(Left::of(&AuditQuote::default()).is_none());
        let stages = vec![StageQuote { seconds: Some(1.0), ..Default::default() }, StageQuote::default()];
        assert!(Left::of(&AuditQuote { stages, ..Default::default() }).is_none());
    }
}
