//! Properties of networks: what is read has boxes and constraints within its own numbers.

#![no_main]

use assay_certify::Property;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| match Property::parse(text) {
    Ok(property) => {
        for case in &property.cases {
            assert_eq!((case.region.lower.len(), case.region.upper.len()), (property.inputs, property.inputs));
            let ends = case.region.lower.iter().zip(&case.region.upper);
            assert!(ends.clone().all(|(low, high)| low <= high && low.is_finite() && high.is_finite()));
            assert!(case.constraints.iter().flat_map(|c| &c.terms).all(|(output, _)| *output < property.outputs));
        }
    }
    Err(error) => assert!(error.line.is_none_or(|line| line <= text.lines().count().max(1) + 1)),
});
