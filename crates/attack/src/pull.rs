//! How much each sample counts where one perturbation is sought for all of them.

/// Weights of gradients of margins, whose sum is the gradient of the number of samples that are misclassified, made smooth: each counts for the logistic
/// function of its margin, in units of the mean margin of the first round. So neither samples that are far across the boundary pull, nor those that hardly
/// any perturbation moves, and where some pull against others one side wins.
pub(crate) struct Pulls {
    unit: f64,
    seen: u32,
    sum: f64,
}

impl Pulls {
    pub(crate) fn new() -> Self {
        Self { unit: f64::INFINITY, seen: 0, sum: 0.0 }
    }

    /// That of a sample with such a margin, positive iff it is misclassified.
    pub(crate) fn of(&mut self, margin: f32) -> f32 {
        let margin = f64::from(margin);
        self.seen += 1;
        self.sum += margin.abs();
        let share = (1.0 + (-margin / self.unit).exp()).recip();
        (share * (1.0 - share)) as f32
    }

    /// Ends a round. In the first one all pulls are equal.
    pub(crate) fn end(&mut self) {
        if self.unit.is_infinite() && self.seen > 0 {
            self.unit = (self.sum / f64::from(self.seen)).max(f64::MIN_POSITIVE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_near_the_boundary_pull_most() {
        let mut pulls = Pulls::new();
        let first = [-3.0, -1.0, 2.0].map(|margin| pulls.of(margin));
        pulls.end();
        assert_eq!(first, [0.25; 3]);
        let later = [-20.0, -2.0, 0.0, 2.0, 20.0].map(|margin| pulls.of(margin));
        pulls.end();
        // In units of 2: the derivative of the logistic function at -10, -1, 0, 1 and 10.
        let expected = [4.54e-5, 0.196_612, 0.25, 0.196_612, 4.54e-5];
        assert!(later.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{later:?}");
    }
}
