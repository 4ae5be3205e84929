//! Random test data, the same in every run.

use ndarray::{ArrayD, IxDyn};

use crate::array::{Array, Data};

/// A stream of random numbers from a seed (splitmix64: Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..high`.
    #[allow(clippy::cast_precision_loss)]
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * ((self.bits() >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// A number in `0..count`.
    pub fn below(&mut self, count: u64) -> u64 {
        self.bits() % count
    }

    /// An array of `values`.
    #[must_use]
    pub fn array(&mut self, dims: &[usize], values: &Values) -> Array {
        let count = dims.iter().product::<usize>();
        match values {
            Values::Uniform { low, high } => {
                Array::floats(dims, (0..count).map(|_| self.uniform(*low, *high)).collect())
            }
            Values::Away { low, high, kinks } => {
                let mut number = || loop {
                    let x = self.uniform(*low, *high);
                    if kinks.iter().all(|kink| (x - kink).abs() > Values::MARGIN) {
                        return x;
                    }
                };
                Array::floats(dims, (0..count).map(|_| number()).collect())
            }
            Values::Distinct { low, high } => {
                #[allow(clippy::cast_precision_loss)]
                let step = (high - low) / count as f64;
                let mut order: Vec<usize> = (0..count).collect();
                for i in (1..count).rev() {
                    let j = usize::try_from(self.below(i as u64 + 1)).unwrap_or(0);
                    order.swap(i, j);
                }
                #[allow(clippy::cast_precision_loss)]
                let number = |i: usize| low + step * (i as f64 + self.uniform(0.3, 0.7));
                Array::floats(dims, order.into_iter().map(number).collect())
            }
            Values::Integers { low, high } => {
                let span = high.abs_diff(*low);
                let numbers = (0..count).map(|_| low.wrapping_add_unsigned(self.below(span)));
                Array::ints(dims, numbers.collect())
            }
            Values::Booleans => Array::bools(dims, (0..count).map(|_| self.below(2) == 1).collect()),
            Values::Exactly(number) => Array::floats(dims, vec![*number; count]),
        }
    }
}

/// What random numbers an input holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Anywhere in `low..high`.
    Uniform {
        /// From.
        low: f64,
        /// To.
        high: f64,
    },
    /// Anywhere in `low..high` but at least [`Values::MARGIN`] away from points where a function has no derivative.
    Away {
        /// From.
        low: f64,
        /// To.
        high: f64,
        /// The points to keep away from.
        kinks: Vec<f64>,
    },
    /// Spread evenly over `low..high` in random order, so that no two are close: for maxima and sorting.
    Distinct {
        /// From.
        low: f64,
        /// To.
        high: f64,
    },
    /// i64 in `low..high`.
    Integers {
        /// From.
        low: i64,
        /// To, exclusive.
        high: i64,
    },
    /// Booleans.
    Booleans,
    /// This number everywhere: for kinks.
    Exactly(f64),
}

impl Values {
    /// How far [`Values::Away`] keeps from kinks: many steps of a difference quotient.
    pub const MARGIN: f64 = 0.02;

    /// [`Values::Uniform`].
    #[must_use]
    pub fn uniform(low: f64, high: f64) -> Self {
        Self::Uniform { low, high }
    }

    /// [`Values::Away`].
    #[must_use]
    pub fn away(low: f64, high: f64, kinks: &[f64]) -> Self {
        Self::Away { low, high, kinks: kinks.to_vec() }
    }

    /// [`Values::Distinct`].
    #[must_use]
    pub fn distinct(low: f64, high: f64) -> Self {
        Self::Distinct { low, high }
    }

    /// [`Values::Integers`].
    #[must_use]
    pub fn integers(low: i64, high: i64) -> Self {
        Self::Integers { low, high }
    }
}

/// `array` in the shape `dims`, each dimension repeated or cut.
pub(crate) fn resized(array: &Array, dims: &[usize]) -> Array {
    fn cycle<T: Clone>(a: &ArrayD<T>, dims: &[usize]) -> ArrayD<T> {
        ArrayD::from_shape_fn(IxDyn(dims), |mut at| {
            for (axis, &size) in a.shape().iter().enumerate() {
                at[axis] %= size;
            }
            a[&at].clone()
        })
    }
    let data = match &array.data {
        Data::Float(a) => Data::Float(cycle(a, dims)),
        Data::Int(a) => Data::Int(cycle(a, dims)),
        Data::Bool(a) => Data::Bool(cycle(a, dims)),
    };
    Array::of(array.dtype, data)
}
