//! Balls, boxes and projections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_attack::{Bounds, Distance, Norm, SampleId, SampleRng, Threat};
use proptest::prelude::*;

const RADII: [&str; 9] = ["0", "1e-9", "0.001", "8/255", "0.1", "1/3", "1", "7.5", "inf"];

fn bounds(low: f32, high: f32) -> Bounds {
    Bounds::new(low, high).unwrap()
}

fn threat(norm: Norm, eps: &str, low: f32, high: f32) -> Threat {
    Threat { norm, eps: eps.parse().unwrap(), bounds: bounds(low, high) }
}

/// A threat, a sample inside its bounds and a point anywhere.
fn cases() -> impl Strategy<Value = (Threat, Vec<f32>, Vec<f32>)> {
    let bounds = prop_oneof![Just((0.0f32, 1.0f32)), Just((-2.5, 3.25)), Just((0.0, 255.0))];
    let value = |low: f32, high: f32| prop_oneof![3 => low..=high, 1 => Just(low), 1 => Just(high)];
    let norm = prop::sample::select(&Norm::ALL[..]);
    (norm, prop::sample::select(&RADII[..]), bounds, 1usize..40).prop_flat_map(move |(norm, eps, (low, high), n)| {
        let wide = high - low;
        (
            Just(threat(norm, eps, low, high)),
            prop::collection::vec(value(low, high), n),
            prop::collection::vec(low - wide..high + wide, n),
        )
    })
}

/// Squared Euclidean distance.
fn squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn projections_end_inside_and_stay((threat, x, point) in cases()) {
        let mut projected = point;
        threat.project(&x, &mut projected);
        prop_assert!(threat.distance(&x, &projected) <= threat.eps.limit());
        prop_assert!(projected.iter().all(|v| threat.bounds.contain(*v)));
        let once = projected.clone();
        threat.project(&x, &mut projected);
        prop_assert_eq!(once, projected);
    }

    #[test]
    fn points_inside_are_left_alone((threat, x, _) in cases(), seed: u64) {
        let mut start = x.clone();
        threat.start(&x, &mut SampleRng::new(seed, SampleId(0), "geometry", 0), &mut start);
        prop_assert!(threat.allows(&x, &start));
        let before = start.clone();
        threat.project(&x, &mut start);
        prop_assert_eq!(before, start);
    }

    /// No other point that is allowed is nearer: the angle to each of them is not acute.
    #[test]
    fn projections_are_the_nearest_points((threat, x, point) in cases(), seed: u64) {
        let mut projected = point.clone();
        threat.project(&x, &mut projected);
        let mut rng = SampleRng::new(seed, SampleId(0), "geometry", 0);
        let mut other = x.clone();
        // Rounding to binary32 moves a point by this much at most.
        let ulp = f64::from(threat.bounds.high().max(1.0)) * f64::from(f32::EPSILON) * (x.len() as f64).sqrt();
        for _ in 0..20 {
            threat.start(&x, &mut rng, &mut other);
            let slack = 4.0 * ulp * squared(&point, &other).sqrt();
            prop_assert!(squared(&point, &projected) <= squared(&point, &other) + slack);
        }
    }

    #[test]
    fn the_maximum_norm_projects_each_element_for_itself((threat, x, point) in cases()) {
        let threat = Threat { norm: Norm::Linf, ..threat };
        let mut projected = point.clone();
        threat.project(&x, &mut projected);
        let eps = threat.eps.limit();
        for ((x, p), found) in x.iter().zip(&point).zip(&projected) {
            let centre = f64::from(*x);
            let exact = f64::from(*p).clamp(centre - eps, centre + eps);
            let exact = exact.clamp(f64::from(threat.bounds.low()), f64::from(threat.bounds.high()));
            // Inside, and the next value outwards would not be nearer to the exact one by more than its own spacing.
            let spacing = f64::from(found.abs().next_up() - found.abs()).max(f64::from(f32::MIN_POSITIVE));
            prop_assert!((f64::from(*found) - exact).abs() <= spacing, "{} {}", found, exact);
        }
    }

    /// The Euclidean projection on ball and box has one free number, the scale; it is found here by bisection.
    #[test]
    fn the_euclidean_projection_agrees_with_bisection((threat, x, point) in cases()) {
        let threat = Threat { norm: Norm::L2, ..threat };
        let mut projected = point.clone();
        threat.project(&x, &mut projected);
        let (low, high, eps) = (f64::from(threat.bounds.low()), f64::from(threat.bounds.high()), threat.eps.limit());
        let at = |scale: f64| -> Vec<f64> {
            let offset = |(x, p): (&f32, &f32)| {
                let x = f64::from(*x);
                (scale * (f64::from(*p) - x)).clamp(low - x, high - x)
            };
            x.iter().zip(&point).map(offset).collect()
        };
        let (mut inside, mut outside) = (0.0, 1.0);
        if at(1.0).iter().map(|d| d * d).sum::<f64>() <= eps * eps {
            inside = 1.0;
        }
        for _ in 0..100 {
            let middle = 0.5 * (inside + outside);
            if at(middle).iter().map(|d| d * d).sum::<f64>() <= eps * eps { inside = middle } else { outside = middle }
        }
        for ((x, d), found) in x.iter().zip(at(inside)).zip(&projected) {
            let spacing = f64::from(x.abs().max(found.abs()).next_up() - x.abs().max(found.abs()));
            prop_assert!((f64::from(*found) - f64::from(*x) - d).abs() <= 2.0 * spacing + 1e-9 * d.abs());
        }
    }

    #[test]
    fn steepest_directions_have_length_one_and_rise(gradient in prop::collection::vec(-1e3f32..1e3, 1..50)) {
        let zero = vec![0.0; gradient.len()];
        for norm in Norm::ALL {
            let threat = threat(norm, "1", 0.0, 1.0);
            let mut direction = gradient.clone();
            threat.steepest(&mut direction);
            let length = threat.distance(&zero, &direction);
            prop_assert!((length - 1.0).abs() < 1e-6);
            // The slope along the steepest direction is the dual norm of the gradient.
            let slope: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let dual = match norm {
                Norm::Linf => gradient.iter().map(|g| f64::from(g.abs())).sum(),
                Norm::L2 => threat.distance(&zero, &gradient),
            };
            prop_assert!((slope - dual).abs() <= 1e-5 * dual);
        }
    }
}

#[test]
fn tiny_and_zero_gradients_have_directions_too() {
    for (gradient, expected) in [([3e-40f32, -4e-40], [0.6, -0.8]), ([0.0, 0.0], [0.0, 0.0])] {
        let mut direction = gradient;
        threat(Norm::L2, "1", 0.0, 1.0).steepest(&mut direction);
        assert!(direction.iter().zip(expected).all(|(d, e): (&f32, f32)| (d - e).abs() < 1e-5), "{direction:?}");
        let mut signs = gradient;
        threat(Norm::Linf, "1", 0.0, 1.0).steepest(&mut signs);
        assert_eq!(signs, expected.map(|e| if e == 0.0 { 0.0 } else { e.signum() }));
    }
}

/// One tenth is no binary number: `x + 0.1` in binary32 is outside for some `x`, and is pulled back by one value.
#[test]
fn the_ball_is_not_left_by_rounding() {
    let threat = threat(Norm::Linf, "0.1", 0.0, 1.0);
    let mut pulled = 0;
    for i in 0..=900 {
        let x = i as f32 / 1000.0;
        let mut point = [1.0];
        threat.project(&[x], &mut point);
        assert!(threat.allows(&[x], &point));
        assert!(!threat.allows(&[x], &[point[0].next_up()]), "{x} could go further");
        pulled += usize::from(point[0] < x + 0.1);
    }
    assert!(pulled > 100);
}

#[test]
fn random_starts_fill_the_ball() {
    let x = [0.5; 3];
    let mut rng = SampleRng::new(1, SampleId(2), "geometry", 3);
    for (norm, half) in [(Norm::Linf, 0.5f64.powf(1.0 / 3.0)), (Norm::L2, 0.5f64.powf(1.0 / 3.0))] {
        let threat = threat(norm, "0.25", 0.0, 1.0);
        let (mut inner, mut mean) = (0, 0.0);
        for _ in 0..10_000 {
            let mut point = [0.0; 3];
            threat.start(&x, &mut rng, &mut point);
            inner += usize::from(threat.distance(&x, &point) < 0.25 * half);
            mean += f64::from(point[0] - 0.5) / 10_000.0;
        }
        // Half of the volume is within this radius; five standard errors.
        assert!((4750..5250).contains(&inner), "{norm}: {inner}");
        assert!(mean.abs() < 0.008, "{norm}: {mean}");
    }
}

#[test]
fn without_a_radius_random_starts_fill_the_box() {
    let (x, mut rng) = ([0.0; 2], SampleRng::new(1, SampleId(2), "geometry", 3));
    for norm in Norm::ALL {
        let threat = threat(norm, "inf", -1.0, 3.0);
        let mut quarters = [0; 4];
        for _ in 0..10_000 {
            let mut point = [0.0; 2];
            threat.start(&x, &mut rng, &mut point);
            assert!(threat.allows(&x, &point));
            quarters[usize::from(point[0] > 1.0) + 2 * usize::from(point[1] > 1.0)] += 1;
        }
        // Five standard errors.
        assert!(quarters.iter().all(|n| (2280..2720).contains(n)), "{norm}: {quarters:?}");
    }
}

#[test]
fn both_distances_are_told() {
    let distance = Distance::between(&[0.0, 1.0, 0.5], &[0.3, 0.6, 0.5]);
    assert!((distance.linf - 0.4).abs() < 1e-7 && (distance.l2 - 0.5).abs() < 1e-7);
}

#[test]
fn ranges_that_are_none_are_refused() {
    for (low, high) in [(1.0, 0.0), (0.0, 0.0), (f32::NAN, 1.0), (0.0, f32::INFINITY)] {
        assert!(Bounds::new(low, high).unwrap_err().to_string().contains("is not valid"));
    }
}
