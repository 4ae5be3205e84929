//! A moving average of the weights.

use ndarray::ArrayD;

/// `a' = decay a + (1 - decay) w` after every step (Polyak and Juditsky, 1992; with an exponential window).
#[derive(Clone, Debug, PartialEq)]
pub struct Average {
    decay: f32,
    values: Vec<ArrayD<f32>>,
}

impl Average {
    /// An average that begins at `weights`.
    #[must_use]
    pub fn new(decay: f32, weights: &[&ArrayD<f32>]) -> Self {
        Self { decay, values: weights.iter().map(|&w| w.clone()).collect() }
    }

    /// Takes the weights after a step.
    pub fn add(&mut self, weights: &[&ArrayD<f32>]) {
        let decay = self.decay;
        for (average, &w) in self.values.iter_mut().zip(weights) {
            average.zip_mut_with(w, |a, &w| *a = decay * *a + (1.0 - decay) * w);
        }
    }

    /// The averages, in the order of the weights.
    #[must_use]
    pub fn values(&self) -> &[ArrayD<f32>] {
        &self.values
    }

    /// Goes on from values that [`Average::values`] gave.
    pub(crate) fn restore(&mut self, values: Vec<ArrayD<f32>>) {
        self.values = values;
    }
}

#[cfg(test)]
mod tests {
    use ndarray::arr1;

    use super::*;

    #[test]
    fn follows_the_weights_slowly() {
        let at = |v: f32| arr1(&[v]).into_dyn();
        let mut average = Average::new(0.75, &[&at(1.0)]);
        average.add(&[&at(5.0)]);
        assert_eq!(average.values()[0], at(2.0));
        average.add(&[&at(2.0)]);
        assert_eq!(average.values()[0], at(2.0));
    }
}
