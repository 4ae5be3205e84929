//! Branch and bound on nets of two inputs, whose least outputs a grid shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use assay_certify::{Answer, Certifier, Deciding, Method, Property};
use assay_reference::Net;
use assay_runtime::{Cancel, Classifier};
use ndarray::{Array2, Axis};
use support::{certifier, runtime};

/// A net of two hidden layers, of the kind that `slope` makes; `turn` gives it other weights.
fn net(turn: usize, slope: Option<f32>) -> Net {
    let hidden = |net: Net, from: &str, to: &str| match slope {
        None => net.node("Relu", &format!("{from} -> {to}"), &[]),
        Some(slope) => net.node("LeakyRelu", &format!("{from} -> {to}"), &[("alpha", slope.into())]),
    };
    // Nobody reads it: it moves the random numbers on.
    let net = Net::new(&[2]).weight("unread", &[1 + 7 * turn]).dense("x -> a", [8, 2]);
    let net = hidden(net, "a", "b").dense("b -> c", [8, 8]);
    hidden(net, "c", "d").dense("d -> z", [3, 8])
}

/// Outputs on a grid of the square from -1 to 1.
fn grid(certifier: &Certifier) -> Array2<f32> {
    const SIDE: usize = 101;
    let at = |i: usize| 2.0 * i as f32 / (SIDE - 1) as f32 - 1.0;
    let x = Array2::from_shape_fn((SIDE * SIDE, 2), |(i, axis)| at(if axis == 0 { i / SIDE } else { i % SIDE }));
    certifier.classifier().logits(x.view()).unwrap()
}

fn property(assertions: &str) -> Property {
    let names = ["X_0", "X_1", "Y_0", "Y_1", "Y_2"].map(|name| format!("(declare-const {name} Real)"));
    let ends = ["X_0", "X_1"].map(|name| format!("(assert (>= {name} -1))(assert (<= {name} 1))"));
    Property::parse(&format!("{}{}{assertions}", names.concat(), ends.concat())).unwrap()
}

/// Without attacks, so that only proofs answer, of bounds that alone are too loose.
fn proving() -> Deciding {
    let deadline = Some(Instant::now() + Duration::from_secs(30));
    Deciding { attacks: Vec::new(), methods: vec![Method::Crown], deadline, ..Deciding::default() }
}

#[test]
fn what_holds_is_proved_and_what_does_not_is_never() {
    let Some(runtime) = runtime() else { return };
    let mut by_bounds = 0;
    for (turn, slope) in [(0, None), (1, None), (2, None), (3, Some(0.1)), (4, None), (5, Some(0.3))] {
        let mut certifier = certifier(&runtime, &net(turn, slope)).unwrap();
        let outputs = grid(&certifier);
        let mut decide =
            |text: &str, deciding: &Deciding| certifier.decide(&property(text), deciding, &Cancel::default()).unwrap();
        for class in 0..3 {
            let column = outputs.index_axis(Axis(1), class);
            let least = column.fold(f32::INFINITY, |least, y| least.min(*y));
            let range = column.fold(f32::NEG_INFINITY, |most, y| most.max(*y)) - least;
            // A grid misses the least number by some percent of the range.
            let holds = format!("(assert (<= Y_{class} {}))", least - 0.05 * range - 0.01);
            assert_eq!(decide(&holds, &proving()), Answer::Holds, "net {turn}: {holds}");
            by_bounds += usize::from(decide(&holds, &Deciding { deadline: None, ..proving() }) == Answer::Holds);
            for above in [1e-4, 0.02] {
                let fails = format!("(assert (<= Y_{class} {}))", least + above);
                let answer = decide(&fails, &proving());
                assert!(matches!(answer, Answer::Unknown(_)), "net {turn}: {fails}: {answer:?}");
                let answer = decide(&fails, &Deciding::default());
                assert_eq!(answer.word(), "sat", "net {turn}: {fails}");
            }
        }
        // Together: no point of the grid has both, whatever each alone can be.
        let sums = outputs.rows().into_iter().map(|y| y[0].max(y[1]));
        let least = sums.fold(f32::INFINITY, f32::min);
        let both = |end: f32| format!("(assert (<= Y_0 {end}))(assert (<= Y_1 {end}))");
        let answer = decide(&both(least + 1e-4), &proving());
        assert!(matches!(answer, Answer::Unknown(_)), "net {turn}: {answer:?}");
    }
    assert!(by_bounds < 18, "bounds alone prove everything: the nets are too simple");
}
