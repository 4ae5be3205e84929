//! What is known of one sample.

use serde::{Deserialize, Serialize};

use crate::Method;

/// Relative error that a bound in binary32 is taken to have: bounds of deep nets differ by up to 4e-5 of the largest from those in binary64.
const ROUNDING: f32 = 1e-4;

/// What a bound must exceed to count, where numbers of such sizes were added.
pub(crate) fn slack(sizes: impl IntoIterator<Item = f32>) -> f32 {
    ROUNDING * sizes.into_iter().fold(1.0f32, |most, size| most.max(size.abs()))
}

/// Lower bounds of the margins of one sample by one method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// The method.
    pub method: Method,
    /// A lower bound of `logits[label] - logits[j]` in the whole neighbourhood, for each other class `j` in increasing order.
    pub margins: Vec<f32>,
    /// What a bound must exceed to count: 1e-4 times the largest size of a margin or its bound, at least 1e-4. Certificates are computed in
    /// binary32, rounded to nearest; this stands for what that may be off.
    pub slack: f32,
}

impl Bounds {
    /// `margins` by `method`, where those of the sample itself are `nominal`.
    pub(crate) fn new(method: Method, margins: Vec<f32>, nominal: &[f32]) -> Self {
        let slack = slack(margins.iter().chain(nominal).copied());
        Self { method, margins, slack }
    }

    /// Whether every margin is proved positive. A NaN is not.
    #[must_use]
    pub fn certify(&self) -> bool {
        self.margins.iter().all(|margin| *margin > self.slack)
    }
}

/// The answer on one sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every point of the neighbourhood is classified as the label, in binary32 up to the slack.
    Certified,
    /// The bounds are too loose to tell: there may be an adversarial point or not.
    Unknown,
    /// The sample itself is not classified as its label, so there is nothing to certify.
    Misclassified,
    /// The model or a bound gave numbers that are not finite. The text says which.
    Failed(String),
}

/// What is known of one sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// The answer.
    pub verdict: Verdict,
    /// The bounds behind it, by method; empty for a sample that is misclassified.
    pub bounds: Vec<Bounds>,
}

impl Certificate {
    /// What was not looked at yet.
    pub(crate) fn unknown() -> Self {
        Self { verdict: Verdict::Unknown, bounds: Vec::new() }
    }

    /// The highest bound of each margin over all methods: each of them holds, so this one does. Empty where there are none.
    #[must_use]
    pub fn best(&self) -> Vec<f32> {
        let classes = self.bounds.first().map_or(0, |bounds| bounds.margins.len());
        (0..classes).map(|j| self.bounds.iter().map(|b| b.margins[j]).fold(f32::NEG_INFINITY, f32::max)).collect()
    }

    /// The first method that, with those before it, proves every margin; `None` where the sample is not certified.
    #[must_use]
    pub fn certified_by(&self) -> Option<Method> {
        if self.verdict != Verdict::Certified {
            return None;
        }
        let classes = self.bounds.first().map_or(0, |bounds| bounds.margins.len());
        let proves = |upto: &usize| {
            (0..classes).all(|j| self.bounds[..=*upto].iter().any(|bounds| bounds.margins[j] > bounds.slack))
        };
        (0..self.bounds.len()).find(proves).map(|at| self.bounds[at].method)
    }

    /// Takes the bounds of another method into account.
    pub(crate) fn add(&mut self, bounds: Bounds) {
        if let Some(odd) = bounds.margins.iter().find(|margin| !margin.is_finite()) {
            self.verdict = Verdict::Failed(format!("a bound by {} is {odd}", bounds.method));
            return;
        }
        self.bounds.push(bounds);
        let classes = self.bounds[0].margins.len();
        let proved = |j: usize| self.bounds.iter().any(|bounds| bounds.margins[j] > bounds.slack);
        if self.verdict == Verdict::Unknown && (0..classes).all(proved) {
            self.verdict = Verdict::Certified;
        }
    }

    /// Whether nothing more needs to be found out.
    pub(crate) fn is_decided(&self) -> bool {
        self.verdict != Verdict::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_counts_that_exceeds_the_slack_of_its_method() {
        let mut certificate = Certificate::unknown();
        certificate.add(Bounds::new(Method::Ibp, vec![2e-4, -3.0], &[1.0, 1.0]));
        assert_eq!((&certificate.verdict, certificate.certified_by()), (&Verdict::Unknown, None));
        certificate.add(Bounds::new(Method::Crown, vec![-1.0, 0.5], &[1.0, 1.0]));
        assert_eq!(certificate.verdict, Verdict::Unknown, "2e-4 is within the rounding of bounds as large as 3");
        certificate.add(Bounds::new(Method::CrownIbp, vec![0.1, -1.0], &[1.0, 1.0]));
        assert_eq!((certificate.verdict.clone(), certificate.best()), (Verdict::Certified, vec![0.1, 0.5]));
        assert_eq!(certificate.certified_by(), Some(Method::CrownIbp));
    }

    #[test]
    fn a_number_that_is_not_finite_certifies_nothing() {
        for odd in [f32::NAN, f32::INFINITY] {
            let mut certificate = Certificate::unknown();
            certificate.add(Bounds::new(Method::Ibp, vec![1.0, odd], &[1.0, 1.0]));
            assert!(matches!(certificate.verdict, Verdict::Failed(_)));
            certificate.add(Bounds::new(Method::Crown, vec![1.0, 1.0], &[1.0, 1.0]));
            assert!(matches!(certificate.verdict, Verdict::Failed(_)), "the failure stays");
        }
        assert!(!Bounds::new(Method::Ibp, vec![f32::NAN], &[1.0]).certify());
    }
}
