//! The radius of a threat.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use num_rational::Ratio;
use serde::{Deserialize, Serialize};

/// An exact non-negative radius, in units of the model's input, or `inf`: any valid input is within it.
///
/// It is read from a decimal (`0.1`, `1e-2`, `0`) or a fraction (`8/255`), prints as it was written, and compares as the
/// number it stands for: `0.5` equals `1/2`, and `inf` is larger than all others.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Eps {
    written: String,
    exact: Exact,
    down: f32,
    limit: f64,
}

/// In this order, the order of variants is that of the radii.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Exact {
    Finite(Ratio<u128>),
    Infinite,
}

/// A text that is not a radius.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "eps \"{0}\" is not a radius: expected a decimal or a fraction that is not negative, such as 0.1, 1e-2 or 8/255, of at most 18 digits, or inf"
)]
pub struct EpsError(String);

/// Largest numerator and denominator: they leave room for the exact comparison with a binary64.
const LARGEST: u128 = 10u128.pow(18);

/// How a radius without end is written.
const INFINITE: &str = "inf";

impl Eps {
    /// Whether there is a radius; if not, the adversary may choose any valid input.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.exact != Exact::Infinite
    }

    /// The largest binary32 that is not above the radius; infinity for `inf`.
    #[must_use]
    pub fn down(&self) -> f32 {
        self.down
    }

    /// The largest binary64 that is not above the radius: a distance in binary64 is within the radius if and only if it is
    /// at most this. Infinity for `inf`.
    #[must_use]
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// The smallest binary64 that is not below the radius: a certificate for it holds within the radius. Infinity for `inf`.
    #[must_use]
    pub fn up(&self) -> f64 {
        match self.exact {
            Exact::Finite(exact) if !is_binary(exact) => self.limit.next_up(),
            _ => self.limit,
        }
    }

    /// `inf`.
    pub(crate) fn infinite() -> Self {
        Self { written: INFINITE.to_owned(), exact: Exact::Infinite, down: f32::INFINITY, limit: f64::INFINITY }
    }

    fn new(written: &str, exact: Ratio<u128>) -> Self {
        let mut limit = *exact.numer() as f64 / *exact.denom() as f64;
        while !at_most(limit, exact) {
            limit = limit.next_down();
        }
        while at_most(limit.next_up(), exact) {
            limit = limit.next_up();
        }
        let mut down = limit as f32;
        if f64::from(down) > limit {
            down = down.next_down();
        }
        Self { written: written.to_owned(), exact: Exact::Finite(exact), down, limit }
    }
}

impl FromStr for Eps {
    type Err = EpsError;

    fn from_str(text: &str) -> Result<Self, EpsError> {
        let written = text.trim();
        if written == INFINITE {
            return Ok(Self::infinite());
        }
        let exact = match written.split_once('/') {
            None => decimal(written),
            Some((above, below)) => decimal(above).zip(decimal(below)).and_then(|(a, b)| quotient(a, b)),
        };
        exact.map(|exact| Self::new(written, exact)).ok_or_else(|| EpsError(text.to_owned()))
    }
}

/// Reads `12`, `0.1`, `.5` or `1e-2`.
fn decimal(text: &str) -> Option<Ratio<u128>> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 18 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = digits.parse::<u128>().ok()?;
    let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10u128.checked_pow(exponent.unsigned_abs()).filter(|p| *p <= LARGEST)?;
    let (numerator, denominator) = if exponent < 0 { (digits, power) } else { (digits.checked_mul(power)?, 1) };
    small(Ratio::new(numerator, denominator))
}

fn quotient(above: Ratio<u128>, below: Ratio<u128>) -> Option<Ratio<u128>> {
    let numerator = above.numer().checked_mul(*below.denom())?;
    let denominator = above.denom().checked_mul(*below.numer()).filter(|d| *d != 0)?;
    small(Ratio::new(numerator, denominator))
}

fn small(ratio: Ratio<u128>) -> Option<Ratio<u128>> {
    (*ratio.numer() <= LARGEST && *ratio.denom() <= LARGEST).then_some(ratio)
}

/// Whether `value`, which is not negative, is at most the fraction; without rounding.
fn at_most(value: f64, exact: Ratio<u128>) -> bool {
    let bits = value.to_bits();
    let (mantissa, exponent) = match (bits >> 52) & 0x7ff {
        0 => (bits & ((1 << 52) - 1), -1074),
        biased => ((bits & ((1 << 52) - 1)) | (1 << 52), i32::try_from(biased).unwrap_or(0) - 1075),
    };
    // mantissa * 2^exponent <= numer / denom, with the mantissa below 2^53 and the denominator below 2^60.
    let left = u128::from(mantissa) * exact.denom();
    let shift = exponent.unsigned_abs();
    if exponent >= 0 {
        left <= exact.numer().checked_shr(shift).unwrap_or(0)
    } else {
        let ceiling = if shift < 127 { (left + ((1 << shift) - 1)) >> shift } else { u128::from(left > 0) };
        ceiling <= *exact.numer()
    }
}

/// Whether a binary64 is the fraction.
fn is_binary(exact: Ratio<u128>) -> bool {
    let significant = exact.numer() >> exact.numer().trailing_zeros().min(127);
    exact.denom().is_power_of_two() && significant < 1 << 53
}

impl PartialEq for Eps {
    fn eq(&self, other: &Self) -> bool {
        self.exact == other.exact
    }
}

impl Eq for Eps {}

impl PartialOrd for Eps {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Eps {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.exact.cmp(&other.exact)
    }
}

impl Hash for Eps {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.exact.hash(state);
    }
}

impl fmt::Display for Eps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.written)
    }
}

impl TryFrom<String> for Eps {
    type Error = EpsError;

    fn try_from(text: String) -> Result<Self, EpsError> {
        text.parse()
    }
}

impl From<Eps> for String {
    fn from(eps: Eps) -> Self {
        eps.written
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn eps(text: &str) -> Eps {
        text.parse().unwrap()
    }

    #[test]
    fn reads_decimals_and_fractions() {
        for (text, numerator, denominator) in [
            ("8/255", 8, 255),
            ("0.1", 1, 10),
            ("1e-2", 1, 100),
            ("0", 0, 1),
            ("2.5/255", 1, 102),
            (".5", 1, 2),
            ("3.", 3, 1),
            ("1E2", 100, 1),
            (" 0.031 ", 31, 1000),
        ] {
            assert_eq!(eps(text).exact, Exact::Finite(Ratio::new(numerator, denominator)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_radius() {
        for text in [
            "", "-1", "+1", "-0.1", "nan", "-inf", "inf/2", "infinity", "1/0", "1/", "/2", "1/2/3", "0x1", "1e",
            "1e99", "1e-99", ".", "1 2", "0,1",
        ] {
            let error = text.parse::<Eps>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{text}\"")) && error.contains("8/255"), "{error}");
        }
        assert!("0.1234567890123456789".parse::<Eps>().is_err());
    }

    #[test]
    fn prints_as_written_and_compares_as_a_number() {
        assert_eq!(eps("8/255").to_string(), "8/255");
        assert_eq!(eps("0.5"), eps("1/2"));
        assert!(eps("8/255") > eps("0.031"));
        assert_eq!(serde_json::to_string(&eps("8/255")).unwrap(), "\"8/255\"");
        assert_eq!(serde_json::from_str::<Eps>("\"8/255\"").unwrap(), eps("8/255"));
    }

    #[test]
    fn any_valid_input_is_larger_than_every_radius() {
        let any = eps(" inf ");
        assert!(!any.is_finite() && any.limit() == f64::INFINITY && any.down() == f32::INFINITY);
        assert!(eps("1e18").is_finite() && any > eps("1e18") && any == eps("inf"));
        assert_eq!(serde_json::to_string(&any).unwrap(), "\"inf\"");
        assert_eq!(serde_json::from_str::<Eps>("\"inf\"").unwrap(), any);
    }

    #[test]
    fn rounds_down_and_not_further() {
        assert_eq!(eps("0.5").down(), 0.5);
        assert_eq!(eps("0").down(), 0.0);
        // 0.1 as a binary32 is above one tenth.
        assert_eq!(eps("0.1").down(), 0.1f32.next_down());
        assert_eq!(eps("0.1").limit(), 0.1f64.next_down());
    }

    #[test]
    fn rounds_up_for_certificates_and_not_further() {
        assert_eq!(eps("0.1").up(), 0.1);
        assert_eq!((eps("0.5").up(), eps("0").up(), eps("3").up()), (0.5, 0.0, 3.0));
        assert_eq!(eps("8/255").up(), eps("8/255").limit().next_up());
        assert_eq!(eps("999999999999999999").up(), 1e18, "it has more digits than a binary64");
        assert_eq!(eps("inf").up(), f64::INFINITY);
    }

    /// `value <= numerator / denominator` in 256 bits of schoolbook arithmetic, as limbs of 32.
    fn at_most_by_limbs(value: f32, numerator: u64, denominator: u64) -> bool {
        // A binary32 is an integer times 2^-149.
        let scaled = |factor: u128, shift: usize| {
            let mut bits = vec![false; shift];
            bits.extend((0..128).map(|i| factor >> i & 1 == 1));
            bits.resize(512, false);
            bits.reverse();
            bits
        };
        let (mantissa, exponent) = match value.to_bits() >> 23 {
            0 => (value.to_bits(), 0),
            biased => (value.to_bits() & 0x7f_ffff | 0x80_0000, biased as usize - 1),
        };
        scaled(u128::from(mantissa) * u128::from(denominator), exponent) <= scaled(u128::from(numerator), 149)
    }

    proptest! {
        #[test]
        fn down_is_the_largest_float_below(n in 0u64..1_000_000_000_000, d in 1u64..1_000_000_000_000) {
            let down = eps(&format!("{n}/{d}")).down();
            prop_assert!(at_most_by_limbs(down, n, d));
            prop_assert!(!at_most_by_limbs(down.next_up(), n, d));
        }
    }
}
