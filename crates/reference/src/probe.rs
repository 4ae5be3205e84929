//! Shapes learned by interpretation, so that tests of graphs need no runtime.

use std::collections::HashMap;

use assay_graph::{Canonical, Dimension, Model, Probe, Probed, Shaped, Shapes, Value};

use crate::array::{Array, Data};
use crate::interpret::run;
use crate::random;

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

/// `inputs` for a batch of `batch` samples: every dimension that the graph leaves open is the batch, or a multiple of it.
fn resized<'a>(model: &Model, inputs: &[(&'a str, Array)], batch: usize) -> Vec<(&'a str, Array)> {
    let open = |name: &str| -> Vec<usize> {
        let info = model.graph.inputs.iter().find(|info| info.value.as_str() == name);
        let shape = info.and_then(|info| info.shape.as_deref()).unwrap_or_default();
        (0..shape.len()).filter(|&axis| !matches!(shape[axis], Dimension::Known(_))).collect()
    };
    let sizes = inputs.iter().flat_map(|(name, array)| open(name).into_iter().map(|axis| array.dims()[axis]));
    let given = sizes.filter(|&size| size > 0).min().unwrap_or(1);
    let resize = |(name, array): &(&'a str, Array)| {
        let mut dims = array.dims().to_vec();
        for axis in open(name) {
            dims[axis] = dims[axis] / given * batch;
        }
        (*name, random::resized(array, &dims))
    };
    inputs.iter().map(resize).collect()
}

fn probed(array: &Array) -> Probed {
    let integral = !matches!(array.data, Data::Float(_));
    let small = array.dims().iter().product::<usize>() <= Probe::MAX_CONTENT;
    Probed { dtype: array.dtype, dims: array.dims().to_vec(), content: (integral && small).then(|| array.to_tensor()) }
}
