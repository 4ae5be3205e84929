//! Whether a model has bounds, found out before any session is opened.

use assay_graph::{
    Intermediate, LinearOptions, Region, Shaped, Slopes, Specification, Target, TransformError, interval, linear_bounds,
};

use crate::Method;

/// Whether every one of `methods` has rules for the whole model, in whatever norm: its graphs are derived, and thrown away.
///
/// A job finds out too, but only when a method is asked, which may be after hours.
///
/// # Errors
/// The transformation, the node and the operator that stand in the way.
pub fn supported(model: &Shaped, methods: &[Method]) -> Result<(), TransformError> {
    let specification = Specification::Matrix { rows: None };
    // All methods begin with intervals.
    interval(model, specification)?;
    if methods.iter().any(|method| *method != Method::Ibp) {
        let options = LinearOptions {
            target: Target::Margins(specification),
            intermediate: Intermediate::Given,
            slopes: Slopes::Adaptive,
            region: Region::Box,
        };
        linear_bounds(model, &options)?;
    }
    Ok(())
}
