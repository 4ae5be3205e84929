//! Intervals, from the samples to a value.

use std::collections::HashMap;

use super::Subject;
use crate::{Cause, Emit, Interval, Rule, TransformError, Value, operator};

/// Intervals of all values that `target` depends on, itself among them, where those of the samples are `start`.
pub(in crate::transform) fn forward(
    pass: &'static str,
    subject: &Subject<'_>,
    start: Interval,
    target: &Value,
    e: &mut Emit<'_>,
) -> Result<HashMap<Value, Interval>, TransformError> {
    let mut intervals = HashMap::from([(subject.input.clone(), start)]);
    for node in subject.nodes(target) {
        e.scope("interval", node.label());
        let mut rule = || -> Rule<Interval> {
            subject.data(node, e)?;
            let x: Vec<Option<Interval>> =
                node.inputs.iter().map(|value| value.as_ref().and_then(|v| intervals.get(v)).cloned()).collect();
            operator(&node.operator).ok_or(Cause::NoRule)?.interval(node, &x, e)
        };
        let interval = rule().map_err(|cause| TransformError::at(pass, node, cause))?;
        intervals.extend(node.output(0).map(|output| (output.clone(), interval)));
    }
    e.scope(pass, "");
    Ok(intervals)
}
