//! The batch dimension by its name.

use crate::{Dimension, Graph};

/// What the batch dimension is called.
const BATCH: &str = "batch";

/// Names the first dimension of the only input, where the file leaves it open, and whatever has the same name.
pub(super) fn name(graph: &mut Graph) {
    let [input] = graph.inputs.as_mut_slice() else { return };
    let Some(first) = input.shape.as_mut().and_then(|dims| dims.first_mut()) else { return };
    if matches!(first, Dimension::Known(_)) {
        return;
    }
    let Dimension::Symbol(name) = std::mem::replace(first, Dimension::Symbol(BATCH.into())) else { return };
    for dim in graph.outputs.iter_mut().chain(&mut graph.value_info).flat_map(|info| info.shape.iter_mut().flatten()) {
        if matches!(dim, Dimension::Symbol(other) if *other == name) {
            *dim = Dimension::Symbol(BATCH.into());
        }
    }
}
