//! Values of options that have a form of their own.

use std::time::Duration;

use assay_attack::Bounds;
use assay_data::Draw;

pub(super) fn draw(text: &str) -> Result<Draw, String> {
    match text {
        "first" => Ok(Draw::First),
        "random" => Ok(Draw::Random),
        "stratified" => Ok(Draw::Stratified),
        _ => Err("expected first, random, or stratified (of each class its share)".to_owned()),
    }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 => Duration::try_from_secs_f64(s).map_err(|error| error.to_string()),
        _ => Err("expected a number of seconds above 0".to_owned()),
    }
}

pub(super) fn radius(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(radius) if radius.is_finite() && radius >= 0.0 => Ok(radius),
        _ => Err("expected a number from 0, such as 0.01".to_owned()),
    }
}

pub(super) fn per_second(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.001 => Ok(rate),
        _ => Err("expected a number of samples in a second, at least 0.001".to_owned()),
    }
}

pub(super) fn bounds(text: &str) -> Result<Bounds, String> {
    let (low, high) = text
        .split_once(',')
        .and_then(|(low, high)| low.parse().ok().zip(high.parse().ok()))
        .ok_or("expected LOW,HIGH, as in 0,1")?;
    Bounds::new(low, high).map_err(|error| error.to_string())
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_outside_the_unit_interval_are_refused() {
        for text in ["-0.1", "1.1", "NaN", "x", ""] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert_eq!(rate("0.85"), Ok(0.85));
    }

    #[test]
    fn a_range_is_two_numbers_the_lower_first() {
        for text in ["", "1", "0,1,2", "1,0", "0,0", "0,NaN", "a,b"] {
            assert!(bounds(text).is_err(), "{text}");
        }
        assert_eq!(bounds("-1,1"), Ok(Bounds::new(-1.0, 1.0).unwrap()));
        for text in ["0", "-1", "inf", "NaN", "fast"] {
            assert!(per_second(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_timeout_is_positive() {
        for text in ["0", "-1", "NaN", "inf", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
    }
}
