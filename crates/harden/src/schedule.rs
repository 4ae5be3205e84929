//! Learning rates over a run.

use std::f64::consts::PI;

/// How the learning rate changes, as a factor of the recipe's rate.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// It does not.
    Constant,
    /// Times `factor` at the beginning of each of these epochs, counted from 0.
    Steps {
        /// The epochs, in order.
        epochs: Vec<u32>,
        /// For example 0.1.
        factor: f64,
    },
    /// Half a wave from 1 to 0 over the run (Loshchilov and Hutter, SGDR, 2017), step by step.
    Cosine,
    /// Up along a line to 1 until the share `peak` of the run, and down to 0: the triangle of "Fast is better than free" (Wong et al.,
    /// 2020), after Smith's one-cycle rule.
    OneCycle {
        /// In (0, 1).
        peak: f64,
    },
}

/// A place in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Epochs that are done.
    pub epoch: u32,
    /// Steps of this epoch that are done.
    pub step: u64,
    /// Steps of an epoch.
    pub steps: u64,
    /// Epochs of the run.
    pub epochs: u32,
}

impl Moment {
    /// The share of the run that is done, in `[0, 1]`.
    fn progress(&self) -> f64 {
        let (steps, epochs) = (self.steps.max(1) as f64, f64::from(self.epochs.max(1)));
        ((f64::from(self.epoch) + self.step as f64 / steps) / epochs).clamp(0.0, 1.0)
    }
}

impl Schedule {
    /// The factor for the step that comes at `now`.
    #[must_use]
    pub fn factor(&self, now: Moment) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Steps { epochs, factor } => {
                let passed = epochs.iter().filter(|&&epoch| now.epoch >= epoch).count();
                factor.powi(i32::try_from(passed).unwrap_or(i32::MAX))
            }
            Self::Cosine => 0.5 * (1.0 + (PI * now.progress()).cos()),
            Self::OneCycle { peak } => {
                let at = now.progress();
                if at < *peak { at / peak } else { (1.0 - at) / (1.0 - peak) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(schedule: &Schedule, epoch: u32, step: u64) -> f64 {
        schedule.factor(Moment { epoch, step, steps: 10, epochs: 4 })
    }

    #[test]
    fn the_rate_falls_as_each_rule_says() {
        let steps = Schedule::Steps { epochs: vec![1, 3], factor: 0.1 };
        let found = [at(&steps, 0, 9), at(&steps, 1, 0), at(&steps, 2, 9), at(&steps, 3, 0)];
        for (found, expected) in found.into_iter().zip([1.0, 0.1, 0.1, 0.01]) {
            assert!((found - expected).abs() < 1e-15, "{found}");
        }
        assert_eq!(at(&Schedule::Cosine, 0, 0), 1.0);
        assert!((at(&Schedule::Cosine, 2, 0) - 0.5).abs() < 1e-15);
        assert!((at(&Schedule::Cosine, 3, 0) - 0.5 * (1.0 - 0.5_f64.sqrt())).abs() < 1e-15);
        let cycle = Schedule::OneCycle { peak: 0.25 };
        assert_eq!([at(&cycle, 0, 0), at(&cycle, 0, 5), at(&cycle, 1, 0)], [0.0, 0.5, 1.0]);
        assert!((at(&cycle, 2, 5) - 0.5).abs() < 1e-15);
        assert_eq!(at(&Schedule::Constant, 3, 9), 1.0);
    }
}
