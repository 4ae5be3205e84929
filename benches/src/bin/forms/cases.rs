//! What is compared: derivatives that have several equal forms.

use assay_graph::Model;

use crate::sketch::{Sketch, model};

/// A derivative of which the rules choose one form.
pub(crate) struct Case {
    /// What is derived.
    pub(crate) derivative: &'static str,
    /// Of which shape.
    pub(crate) shape: String,
    /// A model with one output; the derivative is that with respect to its first input.
    pub(crate) source: Model,
    /// The forms that are compared. One of them is what the rule writes.
    pub(crate) forms: Vec<Form>,
}

/// One form of a derivative.
pub(crate) struct Form {
    /// In a word.
    pub(crate) name: &'static str,
    /// A graph from the cotangent `w` of the source's output, its inputs by name and its output `y`, as far as the form reads
    /// them, to the derivative.
    pub(crate) model: Model,
}

impl Form {
    /// The form that reads `inputs` and gives the value that `write` returns.
    pub(crate) fn new(
        name: &'static str,
        inputs: &[(&str, &[usize])],
        write: impl FnOnce(&mut Sketch) -> String,
    ) -> Self {
        Self { name, model: model(inputs, write) }
    }
}

/// Numbers in [-1, 1) that do not repeat soon; the same for the same `seed`.
pub(crate) fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u16::try_from(state >> 16).unwrap_or(0)) / 32_768.0 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}
