//! Balls, boxes and projections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_attack::{Bounds, Distance, Norm, SampleId, SampleRng, Threat};
use proptest::prelude::*;

const RADII: [&str; 10] = ["0", "1e-9", "0.001", "8/255", "0.1", "1/3", "1", "3", "7.5", "inf"];

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

    /// In L1 every offset shrinks by one amount; it is found here by bisection.
    #[test]
    fn the_projection_on_sums_agrees_with_bisection((threat, x, point) in cases()) {
        let threat = Threat { norm: Norm::L1, ..threat };
        let mut projected = point.clone();
        threat.project(&x, &mut projected);
        let (low, high, eps) = (f64::from(threat.bounds.low()), f64::from(threat.bounds.high()), threat.eps.limit());
        let at = |amount: f64| -> Vec<f64> {
            let offset = |(x, p): (&f32, &f32)| {
                let (x, d) = (f64::from(*x), f64::from(*p) - f64::from(*x));
                (d.signum() * (d.abs() - amount).max(0.0)).clamp(low - x, high - x)
            };
            x.iter().zip(&point).map(offset).collect()
        };
        let length = |amount: f64| at(amount).iter().map(|d| d.abs()).sum::<f64>();
        let (mut outside, mut inside) = (0.0, 1e4);
        if length(0.0) <= eps {
            inside = 0.0;
        }
        for _ in 0..100 {
            let middle = 0.5 * (inside + outside);
            if length(middle) <= eps { inside = middle } else { outside = middle }
        }
        for ((x, d), found) in x.iter().zip(at(inside)).zip(&projected) {
            let spacing = f64::from(x.abs().max(found.abs()).next_up() - x.abs().max(found.abs()));
            prop_assert!((f64::from(*found) - f64::from(*x) - d).abs() <= 2.0 * spacing + 1e-9 * d.abs() + 1e-12);
        }
    }

    /// In L0 an element stays where it is, or at its nearest valid value, or goes back; all subsets are tried.
    #[test]
    fn the_projection_on_few_elements_is_the_best_of_all(
        (threat, x, point) in cases().prop_filter("subsets", |(_, x, _)| x.len() <= 8)
    ) {
        let threat = Threat { norm: Norm::L0, ..threat };
        let mut projected = point.clone();
        threat.project(&x, &mut projected);
        let clipped: Vec<f32> = point.iter().map(|p| p.clamp(threat.bounds.low(), threat.bounds.high())).collect();
        for subset in 0_u32..1 << x.len() {
            let other: Vec<f32> = (0..x.len()).map(|i| if subset >> i & 1 == 1 { clipped[i] } else { x[i] }).collect();
            if threat.allows(&x, &other) {
                prop_assert!(squared(&point, &projected) <= squared(&point, &other) * (1.0 + 1e-12));
            }
        }
    }

    /// The way to a hyperplane ends on it, or in the corner of the box, and of the ways that random points of the box show none is shorter.
    #[test]
    fn approaches_are_the_shortest_ways(
        (threat, x, _) in cases(),
        seed: u64,
        share in 0.0f64..1.2,
    ) {
        let n = x.len();
        let mut rng = SampleRng::new(seed, SampleId(0), "geometry", 0);
        let mut w = vec![0.0; n];
        rng.fill_normal(&mut w);
        let (low, high) = (f64::from(threat.bounds.low()), f64::from(threat.bounds.high()));
        let room = |i: usize| if w[i] > 0.0 { f64::from(x[i]) - low } else { high - f64::from(x[i]) };
        let reach: f64 = (0..n).map(|i| f64::from(w[i].abs()) * room(i)).sum();
        let gap = share * reach;
        let mut offset = vec![0.0; n];
        threat.approach(&x, &w, gap, &mut offset);
        let fallen = -w.iter().zip(&offset).map(|(w, d)| f64::from(*w) * f64::from(*d)).sum::<f64>();
        prop_assert!((fallen - gap.min(reach)).abs() <= 1e-5 * (1.0 + reach));
        prop_assert!((0..n).all(|i| f64::from(offset[i].abs()) <= room(i) * (1.0 + 1e-6)));
        if threat.norm == Norm::L0 && gap < reach {
            // The fewest elements: those that achieve most.
            let mut gains: Vec<f64> = (0..n).map(|i| f64::from(w[i].abs()) * room(i)).collect();
            gains.sort_by(|a, b| b.total_cmp(a));
            let changed = offset.iter().filter(|d| **d != 0.0).count();
            prop_assert!(gains[..changed.saturating_sub(1)].iter().sum::<f64>() <= gap + 1e-6 * reach);
        }
        // As far as the longest way: elsewhere within a length that is a little shorter, the plane is out of reach.
        let shorter = Threat { eps: format!("{:.9}", 0.99 * threat.length(&offset)).parse().unwrap(), ..threat };
        let mut other = x.clone();
        for _ in 0..20 {
            shorter.start(&x, &mut rng, &mut other);
            let gain = w.iter().zip(x.iter().zip(&other)).map(|(w, (x, p))| f64::from(*w) * (f64::from(*x) - f64::from(*p))).sum::<f64>();
            prop_assert!(gain <= gap + 1e-5 * (1.0 + reach));
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
                Norm::L1 | Norm::L0 => gradient.iter().fold(0.0, |largest, g| f64::from(g.abs()).max(largest)),
            };
            prop_assert!((dual - threat.dual_length(&gradient)).abs() <= 1e-12 * dual);
            prop_assert!((slope - dual).abs() <= 1e-5 * dual);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Of all points of the threat, none has a larger product with the gradient than the one that a climb of length eps leads to, where the box and the norm
    /// fit. (In L1 that is so below a hundred elements, of which it moves one as far as it can.)
    #[test]
    fn a_climb_of_eps_reaches_as_far_as_possible((threat, x, other) in cases(), seed: u64) {
        let mut rng = SampleRng::new(seed, SampleId(0), "geometry", 0);
        let mut gradient = vec![0.0; x.len()];
        rng.fill_normal(&mut gradient);
        let gain = |point: &[f32]| -> f64 {
            let moved = x.iter().zip(point).map(|(x, p)| f64::from(*p) - f64::from(*x));
            gradient.iter().zip(moved).map(|(g, d)| f64::from(*g) * d).sum()
        };
        let mut climbed = x.clone();
        if threat.eps.is_finite() && threat.norm != Norm::L0 {
            threat.climb(&x, &mut gradient.clone(), threat.eps.down(), &mut climbed);
            prop_assert!(threat.allows(&x, &climbed));
            prop_assert!(gain(&climbed) >= 0.0);
            if threat.norm != Norm::L2 {
                let mut projected = other;
                threat.project(&x, &mut projected);
                let mut started = x.clone();
                threat.start(&x, &mut rng, &mut started);
                let most = gain(&climbed) * (1.0 + 1e-6) + 1e-4;
                prop_assert!(gain(&projected) <= most && gain(&started) <= most);
            }
        }
    }

    #[test]
    fn a_climb_ends_inside_and_higher((threat, x, _) in cases(), seed: u64, length in 0.0f32..2.0) {
        let mut rng = SampleRng::new(seed, SampleId(0), "geometry", 0);
        let mut gradient = vec![0.0; x.len()];
        rng.fill_normal(&mut gradient);
        let mut point = x.clone();
        threat.climb(&x, &mut gradient.clone(), length, &mut point);
        prop_assert!(threat.allows(&x, &point));
        let climbed: f64 =
            gradient.iter().zip(x.iter().zip(&point)).map(|(g, (x, p))| f64::from(*g) * (f64::from(*p) - f64::from(*x))).sum();
        prop_assert!(climbed >= 0.0);
    }
}

/// In L1 a hundredth of the elements share a step, and others where those have no room.
#[test]
fn a_climb_in_sums_moves_the_largest_derivatives() {
    let mut x = [0.5; 300];
    x[7] = 1.0;
    x[8] = 0.9;
    let mut gradient: [f32; 300] = std::array::from_fn(|i| 0.001 * i as f32);
    gradient[7..12].copy_from_slice(&[5.0, 4.0, -3.0, 2.0, 1.0]);
    let mut point = x;
    threat(Norm::L1, "1", 0.0, 1.0).climb(&x, &mut gradient, 0.6, &mut point);
    let moved: Vec<(usize, f32)> = (0..300).map(|i| (i, point[i] - x[i])).filter(|(_, d)| *d != 0.0).collect();
    let expected = [(8, 0.1), (9, -0.2), (10, 0.2), (11, 0.1)];
    assert_eq!(moved.len(), expected.len(), "{moved:?}");
    assert!(moved.iter().zip(expected).all(|(m, e)| m.0 == e.0 && (m.1 - e.1).abs() < 1e-6), "{moved:?}");
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
    let half = 0.5f64.powf(1.0 / 3.0);
    let mut rng = SampleRng::new(1, SampleId(2), "geometry", 3);
    for norm in [Norm::Linf, Norm::L2, Norm::L1] {
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

/// In L1 the parts of an offset share its length evenly: each is at most a quarter of eps as often as a share of three is.
#[test]
fn random_starts_in_sums_are_uniform() {
    let (x, mut rng) = ([0.0; 3], SampleRng::new(1, SampleId(2), "geometry", 3));
    let threat = threat(Norm::L1, "1", -2.0, 2.0);
    let mut small = [0; 3];
    for _ in 0..10_000 {
        let mut point = [0.0; 3];
        threat.start(&x, &mut rng, &mut point);
        small.iter_mut().zip(point).for_each(|(n, p)| *n += usize::from(p.abs() < 0.25));
    }
    // 1 - (1 - 1/4)^3 of the volume; five standard errors.
    assert!(small.iter().all(|n| (5530..6030).contains(n)), "{small:?}");
}

#[test]
fn random_starts_change_as_many_elements_as_they_may() {
    let (x, mut rng) = ([0.0; 5], SampleRng::new(1, SampleId(2), "geometry", 3));
    for (eps, most) in [("0", 0), ("0.9", 0), ("2", 2), ("4.5", 4), ("9", 5)] {
        let threat = threat(Norm::L0, eps, -1.0, 3.0);
        let (mut changed, mut above) = ([0; 5], 0);
        for _ in 0..10_000 {
            let mut point = [7.0; 5];
            threat.start(&x, &mut rng, &mut point);
            assert!(threat.allows(&x, &point) && threat.distance(&x, &point) == f64::from(most));
            changed.iter_mut().zip(point).for_each(|(n, p)| *n += i32::from(p != 0.0));
            above += point.iter().filter(|p| **p > 1.0).count();
        }
        // Each as often as the others, and half of them in the upper half of the bounds; five standard errors.
        assert!(changed.iter().all(|n| (n - 2000 * most).abs() <= 250), "{eps}: {changed:?}");
        assert!(above.abs_diff(5000 * most as usize) <= 600, "{eps}: {above}");
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
fn the_distance_in_each_norm_is_told() {
    let (x, point) = ([0.0, 1.0, 0.5], [0.3, 0.6, 0.5]);
    let distance = Distance::between(&x, &point);
    for (norm, expected) in [(Norm::Linf, 0.4), (Norm::L2, 0.5), (Norm::L1, 0.7), (Norm::L0, 2.0)] {
        assert!((distance.of(norm) - expected).abs() < 1e-7, "{norm}");
        assert_eq!(distance.of(norm), threat(norm, "1", 0.0, 1.0).distance(&x, &point));
    }
}

#[test]
fn ranges_that_are_none_are_refused() {
    for (low, high) in [(1.0, 0.0), (0.0, 0.0), (f32::NAN, 1.0), (0.0, f32::INFINITY)] {
        assert!(Bounds::new(low, high).unwrap_err().to_string().contains("is not valid"));
    }
}
