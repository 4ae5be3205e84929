//! The canonical form of a model computes what the model does.

use assay_graph::Canonical;
use assay_reference::{Case, Data, compare, run};

/// Constants that replace formulas are rounded to f32.
const TOLERANCE: f64 = 1e-7;

#[track_caller]
pub(crate) fn computes_the_same(case: &Case) {
    let model = case.model();
    let canonical = Canonical::new(model.clone()).unwrap_or_else(|error| panic!("{}: {error}", case.name()));
    for batch in [1, 3] {
        let inputs = case.inputs(batch);
        let found = run(canonical.model(), &inputs).unwrap_or_else(|error| panic!("{}: {error}", case.name()));
        for (info, expected) in model.graph.outputs.iter().zip(case.values(&inputs)) {
            let what = format!("{} in canonical form, with a batch of {batch}: output \"{}\"", case.name(), info.value);
            let found = &found[&info.value];
            assert_eq!(found.dtype, expected.dtype, "{what}: type");
            match (&found.data, &expected.data) {
                (Data::Float(a), Data::Float(b)) => compare(&what, a, b, TOLERANCE),
                (a, b) => assert_eq!(a, b, "{what}"),
            }
        }
    }
}

#[track_caller]
pub(crate) fn is_refused(case: &Case, reason: &str) {
    let Err(error) = Canonical::new(case.model()) else { panic!("{}: expected \"{reason}\"", case.name()) };
    assert!(error.to_string().contains(reason), "{}: \"{error}\" does not contain \"{reason}\"", case.name());
}
