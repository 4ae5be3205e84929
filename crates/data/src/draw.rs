//! Some samples of a data set, chosen by a seed.

use std::collections::BTreeMap;

use assay_attack::{SampleId, SampleRng};
use serde::{Deserialize, Serialize};

use crate::{DataError, Dataset};

/// Which samples are taken where not all are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Draw {
    /// Those at random of each class, as many as its share of the data set, rounded so that their number is the one asked for.
    #[default]
    Stratified,
    /// Those at random, whatever their class.
    Random,
    /// The first ones.
    First,
}

impl Draw {
    /// Takes `samples` of a data set, or all if there are not more, in its order. Which ones depends on the seed, the labels and the sample's position.
    ///
    /// # Errors
    /// `samples` is 0.
    pub fn take(self, data: &Dataset, samples: usize, seed: u64) -> Result<Dataset, DataError> {
        if samples >= data.len() {
            return Ok(data.clone());
        }
        let rows = 0..data.len() as u64;
        let mut chosen: Vec<SampleId> = match self {
            Self::First => rows.take(samples).map(SampleId).collect(),
            Self::Random => first(rows.map(SampleId).collect(), samples, seed),
            Self::Stratified => {
                let mut classes: BTreeMap<u32, Vec<SampleId>> = BTreeMap::new();
                for (row, label) in rows.zip(data.labels()) {
                    classes.entry(label.0).or_default().push(SampleId(row));
                }
                let sizes: Vec<usize> = classes.values().map(Vec::len).collect();
                let shares = shares(&sizes, samples);
                classes.into_values().zip(shares).flat_map(|(rows, share)| first(rows, share, seed)).collect()
            }
        };
        chosen.sort_unstable();
        data.chosen(&chosen)
    }
}

/// The first `n` of the rows in a random order.
fn first(mut rows: Vec<SampleId>, n: usize, seed: u64) -> Vec<SampleId> {
    let mut keyed: Vec<(u64, SampleId)> =
        rows.drain(..).map(|row| (SampleRng::new(seed, row, "draw", 0).uniform().to_bits(), row)).collect();
    // Numbers in [0, 1) have the order of their bits.
    keyed.sort_unstable();
    keyed.into_iter().take(n).map(|(_, row)| row).collect()
}

/// How `samples` are shared among classes of these sizes, in proportion: by largest remainders, the earlier class first where they are equal.
fn shares(sizes: &[usize], samples: usize) -> Vec<usize> {
    let all: u128 = sizes.iter().map(|&size| size as u128).sum::<u128>().max(1);
    let exact = |size: usize| size as u128 * samples as u128;
    let mut shares: Vec<usize> = sizes.iter().map(|&size| (exact(size) / all) as usize).collect();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    by_remainder.sort_by_key(|&class| std::cmp::Reverse(sizes.get(class).map_or(0, |&size| exact(size) % all)));
    let missing = samples - shares.iter().sum::<usize>().min(samples);
    for class in by_remainder.into_iter().take(missing) {
        if let Some(share) = shares.get_mut(class) {
            *share += 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use assay_attack::Bounds;
    use assay_runtime::Class;
    use ndarray::Array2;

    use super::*;
    use crate::Parts;

    /// 60 samples of class 0, 30 of class 1, 10 of class 2, in turn as far as they go.
    fn data() -> Dataset {
        let label = |i: usize| match i % 10 {
            0..6 => 0,
            6..9 => 1,
            _ => 2,
        };
        Dataset::from_parts(Parts {
            name: "uneven".into(),
            samples: Array2::from_shape_fn((100, 1), |(i, _)| i as f32 / 100.0),
            labels: (0..100).map(|i| Class(label(i))).collect(),
            sample_shape: vec![1],
            bounds: Bounds::new(0.0, 1.0).unwrap(),
            class_names: Vec::new(),
            digest: "d".into(),
        })
        .unwrap()
    }

    fn classes(data: &Dataset) -> [usize; 3] {
        [0, 1, 2].map(|class| data.labels().iter().filter(|label| label.0 == class).count())
    }

    #[test]
    fn each_class_has_its_share() {
        for (samples, expected) in
            [(10, [6, 3, 1]), (50, [30, 15, 5]), (7, [4, 2, 1]), (1, [1, 0, 0]), (99, [59, 30, 10])]
        {
            let drawn = Draw::Stratified.take(&data(), samples, 3).unwrap();
            assert_eq!((drawn.len(), classes(&drawn)), (samples, expected));
        }
    }

    #[test]
    fn samples_keep_their_position_order_and_digest() {
        for draw in [Draw::Stratified, Draw::Random, Draw::First] {
            let drawn = draw.take(&data(), 20, 3).unwrap();
            assert!(drawn.positions().is_sorted() && drawn.positions().len() == 20 && drawn.digest() == "d");
            for (row, position) in drawn.samples().rows().into_iter().zip(drawn.positions()) {
                assert_eq!(row[0], *position as f32 / 100.0);
            }
            let twice = draw.take(&drawn, 5, 3).unwrap();
            assert!(twice.positions().iter().all(|position| drawn.positions().contains(position)));
        }
        assert_eq!(Draw::First.take(&data(), 20, 3).unwrap().positions(), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn the_seed_chooses_and_fewer_are_some_of_more() {
        let drawn = |seed, samples| Draw::Random.take(&data(), samples, seed).unwrap().positions().to_vec();
        assert_eq!(drawn(1, 30), drawn(1, 30));
        assert_ne!(drawn(1, 30), drawn(2, 30));
        assert!(drawn(1, 10).iter().all(|position| drawn(1, 30).contains(position)));
        let all: std::collections::BTreeSet<u64> = (0..50).flat_map(|seed| drawn(seed, 30)).collect();
        assert_eq!(all.len(), 100, "every sample can be drawn");
    }

    #[test]
    fn all_are_taken_where_there_are_not_more_and_none_is_refused() {
        assert_eq!(Draw::Random.take(&data(), 100, 1).unwrap(), data());
        assert!(Draw::First.take(&data(), 0, 1).is_err());
    }
}
