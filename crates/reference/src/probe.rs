//! Shapes learned by interpretation, so that tests of graphs need no runtime.

use std::collections::HashMap;

use assay_graph::{Canonical, Model, Probe, Probed, Shaped, Shapes, Value};

use crate::array::{Array, Data};
use crate::case::is_batched;
use crate::interpret::run;
use crate::random::with_rows;

/// `canonical` with its shapes, learned as the runtime learns them: from runs with two batch sizes.
///
/// `inputs` are one batch of any size; samples are repeated to the sizes of the runs.
///
/// # Panics
/// If the model cannot be interpreted or its shapes do not follow the batch.
#[must_use]
#[track_caller]
pub fn probe(canonical: Canonical, inputs: &[(&str, Array)]) -> Shaped {
    let [first, second] = [2, 3].map(|batch| {
        let inputs = resized(canonical.model(), inputs, batch);
        let values = run(canonical.model(), &inputs).unwrap_or_else(|error| panic!("{error}"));
        let values: HashMap<Value, Probed> = values.into_iter().map(|(name, array)| (name, probed(&array))).collect();
        Probe { batch, values }
    });
    let shapes = Shapes::infer(&first, &second).unwrap_or_else(|error| panic!("{error}"));
    Shaped::new(canonical, shapes).unwrap_or_else(|error| panic!("{error}"))
}

/// `inputs` with `batch` samples in each input that has a batch dimension.
fn resized<'a>(model: &Model, inputs: &[(&'a str, Array)], batch: usize) -> Vec<(&'a str, Array)> {
    let batched = |name: &str| model.graph.inputs.iter().any(|info| info.value.as_str() == name && is_batched(info));
    let resize = |(name, array): &(&'a str, Array)| match batched(name) {
        true => (*name, with_rows(array, batch)),
        false => (*name, array.clone()),
    };
    inputs.iter().map(resize).collect()
}

fn probed(array: &Array) -> Probed {
    let integral = !matches!(array.data, Data::Float(_));
    let small = array.dims().iter().product::<usize>() <= Probe::MAX_CONTENT;
    Probed { dtype: array.dtype, dims: array.dims().to_vec(), content: (integral && small).then(|| array.to_tensor()) }
}
