//! Graphs of linear bounds whose lower slopes are inputs, with the derivatives by them.

use assay_graph::{
    Canonical, Intermediate, LinearBounds, LinearOptions, Region, Shaped, Slopes, Target, Value, Vjp, linear_bounds,
    vjp,
};
use assay_runtime::{ArrayRef, EngineOptions, OnnxRuntime, Program, shapes};
use ndarray::{Array2, ArrayD, IxDyn};

use crate::CertifyError;
use crate::bounding::{Chunk, Layers, inputs, missing, rows, take};

/// Such a graph in a session. Each row of each sample has slopes of its own.
pub(crate) struct Sloped {
    program: Program,
    graph: LinearBounds,
    cotangent: Value,
    products: Vec<Value>,
    rows: usize,
}

impl Sloped {
    /// The graph for so many rows of `target`; `None` where no slope is to be chosen.
    pub(crate) fn open(
        runtime: &OnnxRuntime,
        engine: &EngineOptions,
        source: &Shaped,
        target: Target,
        region: Region,
        slopes: Slopes,
    ) -> Result<Option<Self>, CertifyError> {
        let options = LinearOptions { target, intermediate: Intermediate::Given, slopes, region };
        let graph = linear_bounds(source, &options)?;
        let (Slopes::Given { rows } | Slopes::Split { rows }) = slopes else { return Ok(None) };
        if graph.slopes.is_empty() {
            return Ok(None);
        }
        let mut by: Vec<Value> =
            graph.slopes.iter().chain(&graph.multipliers).map(|(_, input)| input.clone()).collect();
        for (value, _) in &graph.multipliers {
            let layer = graph.layers.iter().find(|layer| layer.value == *value);
            let bounds = &layer.ok_or_else(|| missing("intermediate bounds"))?.bounds;
            by.extend([bounds.lower.clone(), bounds.upper.clone()]);
        }
        let shaped = shapes(runtime, Canonical::new(graph.model.clone())?, None)?;
        let Vjp { model, cotangents, products, .. } = vjp(&shaped, std::slice::from_ref(&graph.bounds), &by)?;
        let program = Program::open(runtime, &model, engine)?;
        let cotangent = cotangents.into_iter().next().ok_or_else(|| missing("linear bounds"))?;
        Ok(Some(Self { program, graph, cotangent, products, rows }))
    }

    /// CROWN's choice of all slopes: 1 where the larger part of the interval is positive, else 0; each `[n, rows, features]`.
    pub(crate) fn adaptive(&self, layers: &Layers, n: usize) -> Vec<ArrayD<f32>> {
        let one = |value: &Value| {
            let Some([lower, upper]) = layers.get(value) else { return ArrayD::zeros(IxDyn(&[n, self.rows, 0])) };
            let features = lower.len() / n.max(1);
            let chosen: Vec<f32> =
                lower.iter().zip(upper).map(|(low, high)| f32::from(u8::from(*high > -low))).collect();
            ArrayD::from_shape_fn(IxDyn(&[n, self.rows, features]), |at| chosen[at[0] * features + at[2]])
        };
        self.graph.slopes.iter().map(|(value, _)| one(value)).collect()
    }

    /// The values whose slopes are given, in the order of slopes and multipliers. One comes twice if two functions read it.
    pub(crate) fn values(&self) -> Vec<Value> {
        self.graph.slopes.iter().map(|(value, _)| value.clone()).collect()
    }

    /// Bounds of `matrix`, `[n, rows, features]`, for `slopes`, one array for each of the graph's and behind them one for each of its multipliers, and the
    /// derivative of their sum by each; where there are multipliers, by both ends of the interval of each of their values too.
    pub(crate) fn run(
        &mut self,
        chunk: &Chunk,
        matrix: &ArrayD<f32>,
        layers: &Layers,
        slopes: &[ArrayD<f32>],
    ) -> Result<(Array2<f32>, Vec<ArrayD<f32>>), CertifyError> {
        let ones = ArrayD::from_elem(IxDyn(&matrix.shape()[..2]), 1.0);
        let mut inputs = inputs(&self.graph, chunk, layers)?;
        inputs.push((self.graph.rows.as_str(), ArrayRef::Float(matrix)));
        inputs.push((self.cotangent.as_str(), ArrayRef::Float(&ones)));
        let named = self.graph.slopes.iter().chain(&self.graph.multipliers).zip(slopes);
        inputs.extend(named.map(|((_, name), slope)| (name.as_str(), ArrayRef::Float(slope))));
        let mut outputs = self.program.run(inputs)?;
        let bounds = rows(take(&mut outputs, &self.graph.bounds)?)?;
        let products = self.products.iter().map(|product| take(&mut outputs, product)).collect::<Result<_, _>>()?;
        Ok((bounds, products))
    }
}
