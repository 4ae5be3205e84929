//! Answers of a smoothed classifier, and what many of them say together.

use assay_runtime::Class;
use serde::{Deserialize, Serialize};

use super::votes::Votes;
use super::{Smoothing, statistics};

/// What noise proves about one sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SmoothedCertificate {
    /// The smoothed classifier's class; none: it abstains.
    pub prediction: Option<Class>,
    /// The radius in L2 within which that stays its class, in units of the model's input; 0 where it abstains.
    pub radius: f64,
    /// The class whose votes were counted; none if the model gave no finite number under any noise.
    pub candidate: Option<Class>,
    /// Lower bound of the probability of that class under noise; 0 where the draws were stopped because it could not be more than half.
    pub probability: f64,
    /// Draws that voted for it.
    pub votes: u64,
    /// Draws that were made: fewer than were asked for only where it abstains.
    pub drawn: u64,
}

impl SmoothedCertificate {
    pub(super) fn new(class: Class, votes: u64, drawn: u64, smoothing: &Smoothing) -> Self {
        if drawn < smoothing.samples {
            return Self::abstention(Some(class), votes, drawn, smoothing);
        }
        let probability = statistics::lower(votes, drawn, smoothing.alpha);
        match statistics::radius(smoothing.sigma, probability) {
            Some(radius) => Self { prediction: Some(class), radius, candidate: Some(class), probability, votes, drawn },
            None => Self::abstention(Some(class), votes, drawn, smoothing),
        }
    }

    pub(super) fn abstention(candidate: Option<Class>, votes: u64, drawn: u64, smoothing: &Smoothing) -> Self {
        let all = drawn == smoothing.samples;
        let probability = if all { statistics::lower(votes, drawn, smoothing.alpha) } else { 0.0 };
        Self { prediction: None, radius: 0.0, candidate, probability, votes, drawn }
    }

    /// Whether the smoothed classifier answers `label` for every point within `radius` in L2.
    #[must_use]
    pub fn certifies(&self, label: Class, radius: f64) -> bool {
        self.prediction == Some(label) && self.radius >= radius
    }

    /// The radius in Linf that the one in L2 implies for samples of so many values: a cube in the ball.
    #[must_use]
    pub fn radius_linf(&self, features: usize) -> f64 {
        self.radius / (features.max(1) as f64).sqrt()
    }
}

/// A class that noise tells.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SmoothedPrediction {
    /// The smoothed classifier's class; none: it abstains.
    pub prediction: Option<Class>,
    /// Probability of votes at least as uneven, if the two likeliest classes were equally likely.
    pub p_value: f64,
    /// Votes of the likeliest class and of the second.
    pub votes: [u64; 2],
}

impl SmoothedPrediction {
    pub(super) fn new(votes: &Votes, alpha: f64) -> Self {
        let [first, second] = votes.top();
        let [most, next] = [first, second].map(|entry| entry.map_or(0, |(_, count)| count));
        let p_value = statistics::equally_likely(most, next);
        let prediction = first.filter(|_| p_value <= alpha).map(|(class, _)| class);
        Self { prediction, p_value, votes: [most, next] }
    }
}

/// Samples that are certified for their label at least to `radius`: the certified accuracy there, but for the division by their number.
#[must_use]
pub fn certified_accuracy(found: &[SmoothedCertificate], labels: &[Class], radius: f64) -> usize {
    found.iter().zip(labels).filter(|(certificate, label)| certificate.certifies(**label, radius)).count()
}

/// The mean radius, where one that is wrong or abstains counts as 0; 0 of no samples.
#[must_use]
pub fn average_radius(found: &[SmoothedCertificate], labels: &[Class]) -> f64 {
    let right = found.iter().zip(labels).filter(|(certificate, label)| certificate.prediction == Some(**label));
    right.map(|(certificate, _)| certificate.radius).sum::<f64>() / found.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radii_of_stored_counts_are_the_stored_radii() {
        let Some(material) = assay_reference::material() else { return };
        let stored = material.json("smoothing_counts.json");
        for (name, run) in stored.as_object().unwrap() {
            let part = |prefix: &str| name.split('|').find_map(|part| part.strip_prefix(prefix)).unwrap();
            let samples = part("n").parse().unwrap();
            let alpha = run["alpha"].as_f64().unwrap();
            let smoothing = Smoothing { samples, alpha, ..Smoothing::new(part("sigma").parse().unwrap()) };
            let rows = run["rows"].as_array().unwrap();
            let number = |row: &serde_json::Value, field: &str| row[field].as_u64().unwrap();
            let (mut found, mut labels) = (Vec::new(), Vec::new());
            for row in rows {
                let mut votes = Votes::new(10);
                let counts = row["counts"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap());
                (0..).zip(counts).for_each(|(class, count)| (0..count).for_each(|_| votes.add(Some(Class(class)))));
                let top = votes.most().unwrap();
                assert_eq!(u64::from(top.0), number(row, "top"), "{name}: {row}");
                let certificate = SmoothedCertificate::new(top, votes.of(top), votes.drawn(), &smoothing);
                // None where it abstains.
                let expected = row["radius"].as_f64().unwrap_or(0.0);
                assert!((certificate.radius - expected).abs() <= 1e-8, "{name}: {row}: {certificate:?}");
                found.push(certificate);
                labels.push(Class(u32::try_from(number(row, "label")).unwrap()));
            }
            assert_eq!(certified_accuracy(&found, &labels, 0.0) as u64, number(run, "certified_correct"), "{name}");
            let abstained = found.iter().filter(|certificate| certificate.prediction.is_none()).count();
            assert_eq!(abstained as u64, number(run, "abstain"), "{name}");
            assert!((average_radius(&found, &labels) - run["acr"].as_f64().unwrap()).abs() < 1e-8, "{name}");
        }
    }

    #[test]
    fn accuracy_falls_with_the_radius_and_counts_no_wrong_class() {
        let smoothing = Smoothing { samples: 100, ..Smoothing::new(0.5) };
        let found = [(0, 100), (0, 80), (1, 100), (0, 50)]
            .map(|(class, votes)| SmoothedCertificate::new(Class(class), votes, 100, &smoothing));
        let at = |radius| certified_accuracy(&found, &[Class(0); 4], radius);
        assert_eq!([0.0, 0.1, 0.3, 0.7, 0.8].map(at), [2, 2, 1, 1, 0]);
        assert!((smoothing.largest_radius() - found[0].radius).abs() < 1e-12);
        assert!((found[0].radius_linf(100) - found[0].radius / 10.0).abs() < 1e-12);
        assert_eq!(average_radius(&[], &[]), 0.0);
    }
}
