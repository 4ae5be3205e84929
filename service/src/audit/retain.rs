//! Which audits that have ended are kept.

use assay_audit::job::{JobId, Moment};

use crate::config;

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// Those of `ended`, jobs and when they ended, that are too old or too many.
pub(super) fn surplus(mut ended: Vec<(JobId, Moment)>, now: Moment, limits: &config::Audits) -> Vec<JobId> {
    ended.sort_unstable_by_key(|&(id, at)| (at, id));
    let too_many = ended.len().saturating_sub(limits.keep);
    // Seconds below 2^52 are exact as f64.
    #[allow(clippy::cast_precision_loss)]
    let is_old = |at: Moment| now.0.saturating_sub(at.0) as f64 > limits.keep_days * DAY;
    let surplus = ended.iter().enumerate().filter(|(place, (_, at))| *place < too_many || is_old(*at));
    surplus.map(|(_, (id, _))| *id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn surplus_of(ended: &[(i64, u64)], now: u64, keep: usize, keep_days: f64) -> Vec<i64> {
        let ended = ended.iter().map(|&(id, at)| (JobId(id), Moment(at))).collect();
        let limits = config::Audits { keep, keep_days, ..Config::default().audits };
        surplus(ended, Moment(now), &limits).into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_oldest_go_first_whatever_their_numbers() {
        let ended = [(1, 30), (2, 10), (3, 20), (4, 20)];
        assert_eq!(surplus_of(&ended, 30, 4, 1.0), [] as [i64; 0]);
        assert_eq!(surplus_of(&ended, 30, 3, 1.0), [2]);
        assert_eq!(surplus_of(&ended, 30, 1, 1.0), [2, 3, 4]);
    }

    #[test]
    fn what_is_too_old_goes_although_there_is_room() {
        let ended = [(1, 0), (2, 43_200), (3, 43_201)];
        assert_eq!(surplus_of(&ended, 86_400, 9, 0.5), [1]);
        assert_eq!(surplus_of(&ended, 86_401, 9, 0.5), [1, 2]);
        assert_eq!(surplus_of(&ended, 0, 9, 0.5), [] as [i64; 0], "a clock that was set back makes nothing old");
    }
}
