//! The graph of a step of training, in its session.

use assay_graph::{BatchNorm, Criterion, Shaped, Training, Wrt, training};
use assay_runtime::{Array, ArrayRef, EngineOptions, OnnxRuntime, Program, RunError, Tensors};
use ndarray::{Array1, Array2, ArrayD};

use crate::net::output;
use crate::{Net, TrainError};

/// One objective on one net.
pub(crate) struct Step {
    pub(crate) graph: Training,
    program: Program,
    /// Shape of one sample.
    sample_shape: Vec<usize>,
}

/// What a run of a step gives, for the sum of the losses of its batch.
pub(crate) struct Found {
    /// Loss of each sample.
    pub(crate) loss: Vec<f32>,
    /// Logits of the first view, `[n, classes]`.
    pub(crate) logits: ArrayD<f32>,
    /// In the order of the weights.
    pub(crate) gradients: Vec<ArrayD<f32>>,
    /// By the last view, if it was asked for.
    pub(crate) by_input: Option<ArrayD<f32>>,
    /// All outputs, among them the statistics.
    pub(crate) outputs: Tensors,
}

impl Step {
    pub(crate) fn new(
        runtime: &OnnxRuntime,
        model: &Shaped,
        criterion: &dyn Criterion,
        by_input: bool,
        sample_shape: &[usize],
        options: &EngineOptions,
    ) -> Result<Self, TrainError> {
        let wrt = Wrt { weights: None, input: by_input };
        let graph = training(model, criterion, &wrt, BatchNorm::OfBatch)?;
        let program = Program::open(runtime, &graph.model, options)?;
        Ok(Self { graph, program, sample_shape: sample_shape.to_vec() })
    }

    /// One run on `views`, each `[n, features]`.
    pub(crate) fn run(&mut self, net: &Net, views: Vec<Array2<f32>>, labels: &Array1<i64>) -> Result<Found, RunError> {
        let n = labels.len();
        let shape = [&[n], &self.sample_shape[..]].concat();
        let odd = |e: ndarray::ShapeError| RunError::Invalid(format!("a view of {n} samples: {e}"));
        let views: Vec<Array> = views
            .into_iter()
            .map(|view| Ok(Array::Float(view.into_shape_with_order(shape.clone()).map_err(odd)?)))
            .collect::<Result<_, RunError>>()?;
        let labels = labels.clone().into_dyn();
        let graph = &self.graph;
        let weights = net.weights.iter().map(|(value, w)| (value.as_str(), ArrayRef::Float(w)));
        let views = graph.inputs.iter().zip(&views).map(|(value, view)| (value.as_str(), view.into()));
        // Running statistics are no inputs: in training mode they are not read.
        let inputs = weights.chain(views).chain([(graph.labels.as_str(), ArrayRef::Int(&labels))]);
        let mut outputs = self.program.run(inputs)?;
        let loss = output(&outputs, &graph.loss)?.iter().copied().collect();
        let mut take = |name: &str| match outputs.swap_remove(name) {
            Some(Array::Float(array)) => Ok(array),
            _ => Err(RunError::Runtime(format!("the step has no output \"{name}\""))),
        };
        let gradients = graph.weights.iter().map(|w| take(w.gradient.as_str())).collect::<Result<_, _>>()?;
        let by_input = graph.gradient.as_ref().map(|g| take(g.as_str())).transpose()?;
        let logits = take(graph.logits[0].as_str())?;
        Ok(Found { loss, logits, gradients, by_input, outputs })
    }
}
