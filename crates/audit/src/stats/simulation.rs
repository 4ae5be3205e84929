//! Whether intervals, decisions and counts of samples keep what they promise, with truths that are known.

use std::collections::HashMap;

use assay_attack::{SampleId, SampleRng};

use super::evidence::at_most;
use super::{ALPHA, Decision, Demand, Difference, Estimate, Evidence, LEVEL, POWER, decide};

/// Audits that are simulated for each truth.
const AUDITS: u32 = 20_000;

/// Three and a half standard errors of a rate near `rate` among `audits`: with some hundred comparisons one in twenty would exceed it.
fn noise(rate: f64, audits: u32) -> f64 {
    3.5 * (rate * (1.0 - rate) / f64::from(audits)).sqrt()
}

/// Draws counts of hits, by one uniform number each.
#[derive(Default)]
struct Binomials {
    /// For trials and the bits of the rate: probability of at most so many hits.
    tables: HashMap<(u64, u64), Vec<f64>>,
}

impl Binomials {
    fn draw(&mut self, trials: u64, rate: f64, rng: &mut SampleRng) -> u64 {
        let table = self
            .tables
            .entry((trials, rate.to_bits()))
            .or_insert_with(|| (0..trials).map(|k| at_most(k, trials, rate)).collect());
        let uniform = rng.uniform();
        table.partition_point(|cumulative| *cumulative <= uniform) as u64
    }

    /// Discordant counts (lost, gained) of `of` samples.
    fn pair(&mut self, of: u64, lost: f64, gained: f64, rng: &mut SampleRng) -> (u64, u64) {
        let losses = self.draw(of, lost, rng);
        (losses, self.draw(of - losses, gained / (1.0 - lost), rng))
    }
}

fn rng(seed: u64) -> SampleRng {
    SampleRng::new(seed, SampleId(0), "simulation", 0)
}

/// Share of `audits` in which `happens`.
fn share(audits: u32, mut happens: impl FnMut() -> bool) -> f64 {
    f64::from((0..audits).map(|_| u32::from(happens())).sum::<u32>()) / f64::from(audits)
}

/// The interval of Clopper and Pearson is exact, which means conservative: at least 95 % at every rate, and more where counts are few.
#[test]
fn intervals_of_rates_cover_what_they_say() {
    let (mut binomials, mut rng) = (Binomials::default(), rng(1));
    for of in [10, 50, 200, 1000] {
        for truth in [0.02, 0.1, 0.5, 0.73, 0.99] {
            let mut cache = HashMap::new();
            let covered = share(AUDITS, || {
                let hits = binomials.draw(of, truth, &mut rng);
                let interval = cache.entry(hits).or_insert_with(|| Estimate::new(hits, of).unwrap());
                (interval.low()..=interval.high()).contains(&truth)
            });
            assert!(covered >= LEVEL - noise(LEVEL, AUDITS), "{truth} of {of}: {covered}");
        }
    }
}

/// Tango's interval is asymptotic: near 95 %, on either side, where enough samples are discordant.
#[test]
fn intervals_of_differences_cover_what_they_say_within_a_point() {
    let (mut binomials, mut rng) = (Binomials::default(), rng(2));
    for of in [200, 1000] {
        for (lost, gained) in [(0.1, 0.1), (0.2, 0.1), (0.05, 0.15), (0.06, 0.03)] {
            let mut cache = HashMap::new();
            let covered = share(AUDITS, || {
                let pair = binomials.pair(of, lost, gained, &mut rng);
                let Difference { low, high, .. } =
                    *cache.entry(pair).or_insert_with(|| Difference::tango(pair.1, pair.0, of));
                (low..=high).contains(&(gained - lost))
            });
            assert!((covered - LEVEL).abs() <= 0.01, "{lost}, {gained} of {of}: {covered}");
        }
    }
}

/// At the threshold itself, the least favourable truth: a little above, a claim "met" would be true.
#[test]
fn rates_at_their_threshold_seldom_pass_or_fail() {
    let (mut binomials, mut rng) = (Binomials::default(), rng(3));
    for of in [20, 100, 1000] {
        for threshold in [0.05, 0.3, 0.5, 0.9] {
            let mut claims = [0; 2];
            let mut cache = HashMap::new();
            for _ in 0..AUDITS {
                let hits = binomials.draw(of, threshold, &mut rng);
                match *cache.entry(hits).or_insert_with(|| decide(&[Evidence::at_least(hits, of, threshold)])[0].0) {
                    Decision::Passed => claims[0] += 1,
                    Decision::Failed => claims[1] += 1,
                    Decision::Inconclusive => {}
                }
            }
            for claimed in claims.map(|n| f64::from(n) / f64::from(AUDITS)) {
                assert!(claimed <= ALPHA + noise(ALPHA, AUDITS), "{threshold} of {of}: {claimed}");
            }
        }
    }
}

/// Shares of audits that pass and that fail where the drop is just what the gate allows, for each nuisance rate of gains.
fn drops_at_their_threshold(sizes: &[u64], drops: &[f64], gains: &[f64]) {
    let (mut binomials, mut rng) = (Binomials::default(), rng(4));
    let mut largest = 0.0_f64;
    for &of in sizes {
        for &most in drops {
            let mut cache = HashMap::new();
            for &gained in gains {
                let mut claims = [0; 2];
                for _ in 0..AUDITS {
                    let (lost, gains) = binomials.pair(of, gained + most, gained, &mut rng);
                    let decide = || decide(&[Evidence::drop_at_most(lost, gains, of, most)])[0].0;
                    match *cache.entry((lost, gains)).or_insert_with(decide) {
                        Decision::Passed => claims[0] += 1,
                        Decision::Failed => claims[1] += 1,
                        Decision::Inconclusive => {}
                    }
                }
                for claimed in claims.map(|n| f64::from(n) / f64::from(AUDITS)) {
                    assert!(claimed <= ALPHA + noise(ALPHA, AUDITS), "{most} of {of}, {gained}: {claimed}");
                    largest = largest.max(claimed);
                }
            }
        }
    }
    assert!(largest > 0.03, "valid because it never claims anything: {largest}");
}

#[test]
fn drops_at_their_threshold_seldom_pass_or_fail() {
    drops_at_their_threshold(&[30], &[0.05], &[0.01, 0.1]);
}

#[test]
#[ignore = "slow: make test-all"]
fn drops_at_their_threshold_seldom_pass_or_fail_whatever_the_nuisance() {
    drops_at_their_threshold(&[50, 300], &[0.0, 0.02, 0.1], &[0.0, 0.01, 0.2]);
    drops_at_their_threshold(&[1000], &[0.02], &[0.002, 0.05]);
}

/// Two models, a gate on clean and one on robust accuracy, and one on the drop: five demands, all of them missed by a hair.
#[test]
fn audits_seldom_make_any_false_claim() {
    let (mut binomials, mut rng) = (Binomials::default(), rng(5));
    let (of, clean, robust, most) = (100, 0.85, 0.5, 0.1);
    let (mut rates, mut drops) = (HashMap::new(), HashMap::new());
    let mut rate = |truth: f64, rng: &mut SampleRng| {
        let hits = binomials.draw(of, truth, rng);
        *rates.entry((hits, truth.to_bits())).or_insert_with(|| Evidence::at_least(hits, of, truth))
    };
    let mut pairs = Binomials::default();
    let (mut any_pass, mut any_fail, mut all_pass) = (0, 0, 0);
    for _ in 0..AUDITS {
        let mut evidence = [clean, robust, clean, robust].map(|truth| rate(truth, &mut rng)).to_vec();
        let (lost, gained) = pairs.pair(of, 0.11, 0.01, &mut rng);
        evidence.push(*drops.entry((lost, gained)).or_insert_with(|| Evidence::drop_at_most(lost, gained, of, most)));
        let decided = decide(&evidence);
        any_pass += u32::from(decided.iter().any(|(d, _)| *d == Decision::Passed));
        any_fail += u32::from(decided.iter().any(|(d, _)| *d == Decision::Failed));
        // One missed, four met by far.
        let mut evidence = vec![Evidence { p_met: 1e-9, p_missed: 1.0 }; 4];
        evidence.push(rate(robust, &mut rng));
        all_pass += u32::from(decide(&evidence).iter().all(|(d, _)| *d == Decision::Passed));
    }
    for claimed in [any_pass, any_fail, all_pass].map(|n| f64::from(n) / f64::from(AUDITS)) {
        assert!(claimed <= ALPHA + noise(ALPHA, AUDITS), "{any_pass}, {any_fail}, {all_pass} of {AUDITS}");
        // Nor because nothing is ever claimed.
        assert!(claimed > 0.01, "{any_pass}, {any_fail}, {all_pass} of {AUDITS}");
    }
}

/// The mean of rates that are the same in every sample, the dependence under which a mean varies most.
#[test]
fn means_at_their_threshold_seldom_pass_or_fail() {
    let (mut binomials, mut rng) = (Binomials::default(), rng(6));
    for (of, most) in [(50, 0.2), (1000, 0.4)] {
        let claimed = share(AUDITS, || {
            let errors = binomials.draw(of, most, &mut rng);
            decide(&[Evidence::mean_at_most(15 * errors, 15, of, most)])[0].0 != Decision::Inconclusive
        });
        assert!(claimed <= ALPHA, "{most} of {of}: {claimed}");
    }
}

/// With the samples that are said to be needed, a drop is decided about as often as promised.
fn drops_with_the_samples_that_they_need(cases: &[(f64, f64, f64)], audits: u32) {
    let (mut binomials, mut rng) = (Binomials::default(), rng(7));
    for &(most, truth, discordant) in cases {
        let of = Demand::DropAtMost(most).samples_needed(truth, discordant, ALPHA).unwrap();
        let (lost, gained) = ((discordant + truth) / 2.0, (discordant - truth) / 2.0);
        let wanted = if truth < most { Decision::Passed } else { Decision::Failed };
        let mut cache = HashMap::new();
        let decided = share(audits, || {
            let (lost, gained) = binomials.pair(of, lost, gained, &mut rng);
            let decide = || decide(&[Evidence::drop_at_most(lost, gained, of, most)])[0].0;
            *cache.entry((lost, gained)).or_insert_with(decide) == wanted
        });
        assert!((decided - POWER).abs() < 0.06, "{most}, {truth}: {decided} of {of} samples");
    }
}

#[test]
fn the_samples_that_a_drop_needs_decide_it() {
    drops_with_the_samples_that_they_need(&[(0.1, 0.0, 0.1)], 500);
}

#[test]
#[ignore = "slow: make test-all"]
fn the_samples_that_a_drop_needs_decide_it_in_other_cases() {
    let cases = [
        (0.05, 0.0, 0.06),
        (0.1, 0.02, 0.1),
        (0.02, 0.1, 0.2),
        (0.02, 0.0, 0.03),
        (0.0, 0.05, 0.1),
        (0.1, -0.05, 0.15),
    ];
    drops_with_the_samples_that_they_need(&cases, 5_000);
}
