//! Validation samples, taken off the training data.

use std::collections::BTreeMap;

use assay_attack::{SampleId, SampleRng};
use assay_runtime::Class;

use crate::DataError;

/// A partition of training data: what is learned from, and what choices are made by, so that no test sample selects anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdout {
    /// Rows to train on, in ascending order.
    pub training: Vec<SampleId>,
    /// Rows to validate on, in ascending order.
    pub validation: Vec<SampleId>,
}

impl Holdout {
    /// Draws `count` validation samples, of each class as large a share as of the others. What does not divide evenly goes to the
    /// classes with the largest remainders, of equal ones to the first.
    ///
    /// # Errors
    /// Nothing would be left to train on.
    pub fn stratified(labels: &[Class], count: usize, seed: u64) -> Result<Self, DataError> {
        if count >= labels.len() {
            return Err(DataError::Holdout { count, samples: labels.len() });
        }
        let mut classes: BTreeMap<Class, Vec<SampleId>> = BTreeMap::new();
        for (row, label) in (0..).zip(labels) {
            classes.entry(*label).or_default().push(SampleId(row));
        }
        let sizes: Vec<usize> = classes.values().map(Vec::len).collect();
        let (mut training, mut validation) = (Vec::new(), Vec::new());
        for ((class, mut rows), quota) in classes.into_iter().zip(quotas(&sizes, count)) {
            shuffle(&mut rows, &mut SampleRng::new(seed, SampleId(class.0.into()), "holdout", 0));
            training.extend(rows.split_off(quota));
            validation.extend(rows);
        }
        training.sort();
        validation.sort();
        Ok(Self { training, validation })
    }
}

/// Shares of `count` in proportion to the sizes, by the largest remainders. `count` is below the sum of the sizes, so that none
/// exceeds its size.
fn quotas(sizes: &[usize], count: usize) -> Vec<usize> {
    let total = sizes.iter().map(|size| *size as u128).sum::<u128>().max(1);
    let product = |size: usize| size as u128 * count as u128;
    let mut quotas: Vec<usize> = sizes.iter().map(|size| (product(*size) / total) as usize).collect();
    let missing = count - quotas.iter().sum::<usize>();
    let mut remainders: Vec<_> = sizes.iter().map(|size| product(*size) % total).enumerate().collect();
    remainders.sort_by_key(|(class, remainder)| (std::cmp::Reverse(*remainder), *class));
    for (class, _) in remainders.into_iter().take(missing) {
        if let Some(quota) = quotas.get_mut(class) {
            *quota += 1;
        }
    }
    quotas
}

/// Every order is equally likely (Durstenfeld, 1964).
pub(super) fn shuffle<T>(items: &mut [T], rng: &mut SampleRng) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.below(last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(sizes: &[usize]) -> Vec<Class> {
        // The classes take turns as long as they last.
        let rounds = 0..sizes.iter().copied().max().unwrap();
        rounds.flat_map(|turn| (0..).zip(sizes).filter(move |(_, size)| turn < **size).map(|(c, _)| Class(c))).collect()
    }

    fn counts(labels: &[Class], rows: &[SampleId], classes: usize) -> Vec<usize> {
        let of = |class: usize| rows.iter().filter(|row| labels[row.0 as usize].index() == class).count();
        (0..classes).map(of).collect()
    }

    #[test]
    fn every_row_is_on_one_side_and_classes_have_their_shares() {
        let labels = labels(&[100, 50, 10]);
        let holdout = Holdout::stratified(&labels, 32, 7).unwrap();
        assert_eq!(counts(&labels, &holdout.validation, 3), [20, 10, 2]);
        assert_eq!(counts(&labels, &holdout.training, 3), [80, 40, 8]);
        let mut all = [holdout.training, holdout.validation].concat();
        all.sort();
        assert_eq!(all, (0..160).map(SampleId).collect::<Vec<_>>());
    }

    #[test]
    fn what_does_not_divide_goes_to_the_largest_remainders() {
        // Shares of 10 of 3, 3 and 1 in 7: 4.28, 4.28, 1.43.
        assert_eq!(quotas(&[30, 30, 10], 10), [4, 4, 2]);
        assert_eq!(quotas(&[1, 1, 1], 2), [1, 1, 0]);
        assert_eq!(quotas(&[5, 1], 0), [0, 0]);
        for count in 0..23 {
            let quotas = quotas(&[13, 1, 9], count);
            assert_eq!(quotas.iter().sum::<usize>(), count);
            assert!(quotas.iter().zip([13, 1, 9]).all(|(quota, size)| *quota <= size), "{count}");
        }
    }

    #[test]
    fn the_seed_decides_which() {
        let labels = labels(&[100, 100]);
        let of = |seed| Holdout::stratified(&labels, 20, seed).unwrap();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1).validation, of(2).validation);
        // Not the first of each class.
        assert!(of(1).validation.iter().any(|row| row.0 >= 100));
    }

    #[test]
    fn something_must_be_left_to_train_on() {
        let error = Holdout::stratified(&labels(&[2, 2]), 4, 0).unwrap_err().to_string();
        assert!(error.contains("4 validation samples of 4"), "{error}");
        assert!(Holdout::stratified(&[], 0, 0).is_err());
    }
}
