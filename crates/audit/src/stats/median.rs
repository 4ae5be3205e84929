//! A median with bounds that assume nothing of the distribution.

use statrs::distribution::{Binomial, DiscreteCDF};

/// Median of values with a lower and an upper bound, each one-sided at `level`: order statistics that as many independent values fall short of, or exceed,
/// with at most this probability (Conover, Practical Nonparametric Statistics, section 3.2). `None` if the values are too few for bounds, or not all numbers.
#[must_use]
pub fn median(mut values: Vec<f64>, level: f64) -> Option<[f64; 3]> {
    if values.iter().any(|value| value.is_nan()) {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let n = values.len();
    let coins = Binomial::new(0.5, n as u64).ok()?;
    // No more than so many values lie on one side of the median, with at most this probability.
    let below = (0..n as u64).take_while(|&k| coins.cdf(k) <= level).last()? as usize;
    let middle = f64::midpoint(*values.get((n - 1) / 2)?, *values.get(n / 2)?);
    Some([*values.get(below)?, middle, *values.get(n - 1 - below)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_tables() {
        // Of 20 coins at most 5 fall on one side with probability 0.0207, at most 6 with 0.0577: the sixth value is the one for 5 %.
        let twenty: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!(median(twenty, 0.05), Some([6.0, 10.5, 15.0]));
        // Of 5 all on one side have 0.031.
        assert_eq!(median(vec![1.0, 2.0, 3.0, 4.0, 5.0], 0.05), Some([1.0, 3.0, 5.0]));
        assert_eq!(median(vec![1.0, 2.0, 3.0, 4.0], 0.05), None);
        assert_eq!(median(vec![f64::NAN; 30], 0.05), None);
        assert_eq!(median(Vec::new(), 0.05), None);
    }
}
