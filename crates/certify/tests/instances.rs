//! All stored instances of the competitions: bounds against those of auto_LiRPA, the search for slopes against its own, and no certificate for what is
//! known to have a counterexample.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use assay_certify::{Method, Until, Verdict};
use assay_reference::material;
use support::compared::{Compared, NAMES, RUNS, all_methods, numbers};
use support::margins;

/// A test for each run, so that they can be chosen and run side by side.
macro_rules! all_instances {
    ($($test:ident: $run:expr;)*) => {$(
        #[test]
        #[ignore = "slow: all instances of a run of the reference; `make test-all`"]
        fn $test() {
            let Some(material) = material() else { return };
            let Some(compared) = Compared::new(&material, $run, usize::MAX, &all_methods(), Until::All) else { return };
            compared.check(&NAMES);
            // Where a target is named, another class may win without being a counterexample.
            if RUNS.contains(&$run) {
                compared.check_truth(&material);
            }
        }
    )*};
}

all_instances! {
    all_instances_of_oval21: "oval21|cifar_base_kw|spec";
    all_instances_of_cifar10_resnet: "cifar10_resnet|resnet_2b|spec";
    all_instances_of_mnistfc: "mnistfc_2022seed|mnist-net_256x2|spec";
    all_instances_of_verivital_avgpool: "verivital|avgpool|spec";
    all_instances_of_verivital_maxpool: "verivital|maxpool|spec";
    all_instances_of_sri_resnet_a: "sri_resnet_a|spec";
    all_instances_of_marabou: "marabou-cifar10|small|spec(untargeted)";
    all_images_of_cifar_base_kw: "pool80|cifar_base_kw|eps2/255";
    all_images_of_convexadv_at_8: "pool100|exported/convexadv_cifar_small_8px|eps8/255";
    all_images_of_convexadv_at_2: "pool100|exported/convexadv_cifar_small_8px|eps2/255";
}

/// α-CROWN on as many instances as the reference has: it certifies no fewer, gains `share` of what that gains over CROWN, and nothing that is known to be
/// false.
#[track_caller]
fn searched(run: &str, most: usize, share: f64) {
    let Some(material) = material() else { return };
    let methods = [Method::Crown, Method::AlphaCrown];
    let Some(compared) = Compared::new(&material, run, most, &methods, Until::All) else { return };
    let stored = &compared.run["results"]["alpha-CROWN"]["margins"];
    let (mut gain, mut reference, mut counted, mut certified) = (0.0, 0.0, 0, [0, 0]);
    for (i, certificate) in compared.certificates.iter().enumerate() {
        if certificate.verdict == Verdict::Misclassified {
            continue;
        }
        let [crown, alpha] = methods.map(|method| margins(certificate, method));
        let expected = numbers(&stored[i]);
        for ((crown, alpha), expected) in crown.iter().zip(alpha).zip(&expected) {
            assert!(*alpha >= crown - 1e-4 * crown.abs().max(1.0), "{run}: {alpha} is below {crown}");
            gain += f64::from(alpha - crown);
            reference += expected - f64::from(*crown);
            counted += 1;
        }
        let bounds = certificate.bounds.iter().find(|bounds| bounds.method == Method::AlphaCrown).unwrap();
        certified[0] += usize::from(bounds.certify());
        // What is within the slack is proved by neither.
        certified[1] += usize::from(expected.iter().all(|margin| *margin > f64::from(bounds.slack)));
    }
    let [gain, reference] = [gain, reference].map(|sum| sum / f64::from(counted.max(1)));
    println!(
        "{run}: {} of {} certified (reference {}), a mean gain of {gain:.4} over crown (reference {reference:.4})",
        certified[0],
        compared.certificates.len(),
        certified[1]
    );
    assert!(certified[0] >= certified[1], "{run}: {certified:?}");
    assert!(gain >= share * reference - 1e-4, "{run}: {gain}, {reference}");
    if RUNS.contains(&run) {
        compared.check_truth(&material);
    }
}

#[test]
fn searched_slopes_of_mnistfc_are_as_good_as_the_references() {
    searched("mnistfc_2022seed|mnist-net_256x2|spec", 20, 0.98);
}

#[test]
fn searched_slopes_of_verivital_are_as_good_as_the_references() {
    searched("verivital|avgpool|spec", 20, 0.98);
}

#[test]
#[ignore = "slow: a search on nets of thousands of elements; `make test-all`"]
fn searched_slopes_of_maxima_certify_as_many_as_the_references() {
    // The reference searches among the elements of each window too.
    searched("verivital|maxpool|spec", 20, 0.5);
}

#[test]
#[ignore = "slow: a search on nets of thousands of elements; `make test-all`"]
fn searched_slopes_of_oval21_are_as_good_as_the_references() {
    searched("oval21|cifar_base_kw|spec", 10, 0.98);
}

#[test]
#[ignore = "slow: a search on nets of thousands of elements; `make test-all`"]
fn searched_slopes_of_cifar_base_kw_are_as_good_as_the_references() {
    searched("pool80|cifar_base_kw|eps2/255", 12, 0.98);
}

#[test]
#[ignore = "slow: a search on nets of thousands of elements; `make test-all`"]
fn searched_slopes_of_convexadv_are_as_good_as_the_references() {
    searched("pool100|exported/convexadv_cifar_small_8px|eps8/255", 10, 0.98);
    searched("pool100|exported/convexadv_cifar_small_8px|eps2/255", 10, 0.98);
}

#[test]
#[ignore = "slow: a search on a net of twelve thousand elements; `make test-all`"]
fn searched_slopes_of_cifar10_resnet_are_as_good_as_the_references() {
    searched("cifar10_resnet|resnet_2b|spec", 6, 0.98);
}
