//! The graphs of bounds of one model, made when they are first needed and checked against the model before they are used.

use std::collections::HashMap;

use assay_graph::{
    Intermediate, Intervals, LinearBounds, LinearOptions, Model, Region, Relaxed, Shaped, Slopes, Specification,
    Target, Value, interval, linear_bounds,
};
use assay_runtime::{
    Array, ArrayRef, Classifier, EngineOptions, OnnxClassifier, OnnxRuntime, Program, RunError, Tensors,
};
use ndarray::{Array2, Array3, ArrayD, ArrayView2, Axis, IxDyn, Zip};

use crate::CertifyError;
use crate::neighbourhood::Around;
use crate::sloped::Sloped;

/// Bounds of the values that lines stand on, `[n, …]`: lower and upper ones.
pub(crate) type Layers = HashMap<Value, [ArrayD<f32>; 2]>;

/// Samples with their neighbourhoods and what is bounded, as graphs take them.
pub(crate) struct Chunk {
    pub(crate) lower: ArrayD<f32>,
    pub(crate) upper: ArrayD<f32>,
    centre: ArrayD<f32>,
    radius: ArrayD<f32>,
    pub(crate) region: Region,
    /// `[n, rows, classes]`.
    pub(crate) specification: ArrayD<f32>,
}

impl Chunk {
    /// The chosen samples of a job. Rows of the specification are the margins of the label over each other class.
    pub(crate) fn new(
        chosen: &[usize],
        images: &ArrayView2<'_, f32>,
        around: &Around,
        labels: &[usize],
        sample_shape: &[usize],
        classes: usize,
    ) -> Result<Self, CertifyError> {
        let shape = [&[chosen.len()], sample_shape].concat();
        let shaped = |rows: Array2<f32>| {
            let rows = rows.as_standard_layout().into_owned().into_raw_vec_and_offset().0;
            ArrayD::from_shape_vec(IxDyn(&shape), rows).map_err(|e| CertifyError::Invalid(e.to_string()))
        };
        let labels: Vec<usize> = chosen.iter().map(|&i| labels[i]).collect();
        Ok(Self {
            lower: shaped(around.lower.select(Axis(0), chosen))?,
            upper: shaped(around.upper.select(Axis(0), chosen))?,
            centre: shaped(images.select(Axis(0), chosen))?,
            radius: ArrayD::from_elem(IxDyn(&[chosen.len()]), around.radius),
            region: around.region,
            specification: margins_of(&labels, classes).into_dyn(),
        })
    }

    /// One box, with rows of its own.
    pub(crate) fn of_box(lower: ArrayD<f32>, upper: ArrayD<f32>, specification: ArrayD<f32>) -> Self {
        let radius = ArrayD::zeros(IxDyn(&[1]));
        Self { centre: lower.clone(), lower, upper, radius, region: Region::Box, specification }
    }

    /// The samples in a box of which only the middle is left.
    fn points(x: ArrayD<f32>, labels: &[usize], classes: usize, region: Region) -> Self {
        let radius = ArrayD::zeros(IxDyn(&[labels.len()]));
        let specification = margins_of(labels, classes).into_dyn();
        Self { lower: x.clone(), upper: x.clone(), centre: x, radius, region, specification }
    }

    pub(crate) fn len(&self) -> usize {
        self.radius.len()
    }
}

/// The matrices that make margins of logits: the label's minus each other's, in increasing order.
fn margins_of(labels: &[usize], classes: usize) -> Array3<f32> {
    Array3::from_shape_fn((labels.len(), classes.saturating_sub(1), classes), |(i, row, class)| {
        let other = if row < labels[i] { row } else { row + 1 };
        f32::from(u8::from(class == labels[i])) - f32::from(u8::from(class == other))
    })
}

/// A graph of linear bounds in a session.
pub(crate) struct Linear {
    program: Program,
    pub(crate) graph: LinearBounds,
}

/// The graphs of one model.
pub(crate) struct Graphs {
    runtime: OnnxRuntime,
    engine: EngineOptions,
    source: Shaped,
    pub(crate) sample_shape: Vec<usize>,
    pub(crate) classes: usize,
    /// Most samples of one run.
    pub(crate) most: usize,
    intervals: (Program, Intervals),
    margins: HashMap<Region, Linear>,
    elements: HashMap<(Region, Value), Linear>,
    sloped: HashMap<(Region, Option<Value>, usize), Option<Sloped>>,
    split: HashMap<usize, Option<Sloped>>,
    check: Check,
}

/// Points at which the model's own numbers are known.
struct Check {
    x: ArrayD<f32>,
    labels: Vec<usize>,
    /// The model's margins, `[n, classes - 1]`.
    margins: Array2<f32>,
    layers: Layers,
}

/// Samples that are bounded in one run, where the model allows it.
const MOST_SAMPLES: usize = 16;

/// Points that graphs are checked at: more than one, so that samples which mix would be seen, unless the model takes one at a time.
const CHECKED: usize = 2;

/// Largest difference of a checked number, relative to the largest of its kind, at least 1.
const TOLERANCE: f32 = 1e-4;

impl Graphs {
    /// Those of `classifier`. The graph of interval bounds is made at once, which finds out whether the model has bounds.
    pub(crate) fn new(
        runtime: &OnnxRuntime,
        engine: &EngineOptions,
        classifier: &OnnxClassifier,
    ) -> Result<Self, CertifyError> {
        let (source, spec) = (classifier.model().clone(), classifier.spec());
        let graph = interval(&source, Specification::Matrix { rows: None })?;
        let program = Program::open(runtime, &graph.model, engine)?;
        let most = source.canonical().fixed_batch().unwrap_or(MOST_SAMPLES);
        let checked = CHECKED.min(most);
        let x = Array2::from_shape_fn((checked, spec.features()), |(i, j)| scattered(i * spec.features() + j));
        let logits = classifier.logits(x.view())?;
        let labels: Vec<usize> = (0..checked).map(|i| i % spec.classes.max(1)).collect();
        let margins = margins(&logits, &labels);
        let shape = [&[checked], &spec.sample_shape[..]].concat();
        let x = x.into_shape_with_order(shape).map_err(|e| CertifyError::Invalid(e.to_string()))?;
        let mut graphs = Self {
            runtime: runtime.clone(),
            engine: engine.clone(),
            source,
            sample_shape: spec.sample_shape.clone(),
            classes: spec.classes,
            most,
            intervals: (program, graph),
            margins: HashMap::new(),
            elements: HashMap::new(),
            sloped: HashMap::new(),
            split: HashMap::new(),
            check: Check { x, labels, margins, layers: Layers::new() },
        };
        let (found, layers) = graphs.intervals(&graphs.points(Region::Box))?;
        agree("interval bounds", found.iter(), graphs.check.margins.iter())?;
        for [lower, upper] in layers.values() {
            agree("interval bounds", lower.iter(), upper.iter())?;
        }
        graphs.check.layers = layers;
        Ok(graphs)
    }

    fn points(&self, region: Region) -> Chunk {
        Chunk::points(self.check.x.clone(), &self.check.labels, self.classes, region)
    }

    /// The values that lines stand on, in the model's order.
    pub(crate) fn relaxed(&self) -> Vec<Relaxed> {
        self.intervals.1.layers.clone()
    }

    /// Elements of one sample of a value that lines stand on.
    pub(crate) fn features(&self, value: &Value) -> usize {
        self.intervals.1.layers.iter().find(|layer| layer.value == *value).map_or(0, Relaxed::features)
    }

    /// Interval bounds of the margins, `[n, rows]`, and of the values that lines stand on.
    pub(crate) fn intervals(&mut self, chunk: &Chunk) -> Result<(Array2<f32>, Layers), CertifyError> {
        let (program, graph) = &mut self.intervals;
        let inputs = [
            (graph.samples.lower.as_str(), ArrayRef::Float(&chunk.lower)),
            (graph.samples.upper.as_str(), ArrayRef::Float(&chunk.upper)),
            (graph.specification.as_str(), ArrayRef::Float(&chunk.specification)),
        ];
        let mut outputs = program.run(inputs)?;
        let margins = rows(take(&mut outputs, &graph.margins)?)?;
        let mut layers = Layers::new();
        for layer in &graph.layers {
            let ends = [take(&mut outputs, &layer.bounds.lower)?, take(&mut outputs, &layer.bounds.upper)?];
            layers.insert(layer.value.clone(), ends);
        }
        Ok((margins, layers))
    }

    /// Linear bounds of the margins, `[n, rows]`, along lines on `layers`.
    pub(crate) fn margins(&mut self, chunk: &Chunk, layers: &Layers) -> Result<Array2<f32>, CertifyError> {
        if !self.margins.contains_key(&chunk.region) {
            let mut linear = self.linear(Target::Margins(Specification::Matrix { rows: None }), chunk.region)?;
            let points = self.points(chunk.region);
            let specification = points.specification.clone();
            let found = linear.run(&points, ArrayRef::Float(&specification), &self.check.layers)?;
            agree("linear bounds", found.iter(), self.check.margins.iter())?;
            self.margins.insert(chunk.region, linear);
        }
        match self.margins.get_mut(&chunk.region) {
            Some(linear) => linear.run(chunk, ArrayRef::Float(&chunk.specification), layers),
            None => Err(missing("linear bounds")),
        }
    }

    /// Linear bounds of chosen elements of `value` in one sample: lower ones and then upper ones.
    pub(crate) fn elements(
        &mut self,
        chunk: &Chunk,
        value: &Value,
        chosen: &[usize],
        layers: &Layers,
    ) -> Result<[Vec<f32>; 2], CertifyError> {
        let key = (chunk.region, value.clone());
        if !self.elements.contains_key(&key) {
            let mut linear = self.linear(Target::Elements(value.clone()), chunk.region)?;
            self.check_elements(&mut linear, value, chunk.region)?;
            self.elements.insert(key.clone(), linear);
        }
        let linear = self.elements.get_mut(&key).ok_or_else(|| missing("linear bounds"))?;
        let found = linear.run(chunk, ArrayRef::Int(&positions(1, chosen)), layers)?;
        let (below, above) = found.row(0).split_at(Axis(0), chosen.len());
        Ok([below.to_vec(), above.iter().map(|bound| -bound).collect()])
    }

    /// At a point, bounds of elements are the elements.
    fn check_elements(&self, linear: &mut Linear, value: &Value, region: Region) -> Result<(), CertifyError> {
        let points = self.points(region);
        let [known, _] = self.check.layers.get(value).ok_or_else(|| missing("linear bounds"))?;
        let features = known.len() / points.len().max(1);
        let stride = features.div_ceil(64).max(1);
        let chosen: Vec<usize> = (0..features).step_by(stride).collect();
        let found = linear.run(&points, ArrayRef::Int(&positions(points.len(), &chosen)), &self.check.layers)?;
        let known: Vec<f32> = known.iter().copied().collect();
        for (sample, row) in found.rows().into_iter().enumerate() {
            let expected = chosen.iter().map(|at| known[sample * features + at]);
            let expected: Vec<f32> = expected.clone().chain(expected.map(|x| -x)).collect();
            agree(&format!("linear bounds of \"{value}\""), row.iter(), expected.iter())?;
        }
        Ok(())
    }

    /// Linear bounds along slopes that are given, of so many margins or linear functions of a value. `None`: no slope is to be chosen on the way to it.
    pub(crate) fn sloped(
        &mut self,
        region: Region,
        value: Option<&Value>,
        rows: usize,
    ) -> Result<Option<&mut Sloped>, CertifyError> {
        let key = (region, value.cloned(), rows);
        if !self.sloped.contains_key(&key) {
            let target = match value {
                None => Target::Margins(Specification::Matrix { rows: Some(rows) }),
                Some(value) => Target::Rows { value: value.clone(), rows: Some(rows) },
            };
            let mut sloped =
                Sloped::open(&self.runtime, &self.engine, &self.source, target, region, Slopes::Given { rows })?;
            if let Some(sloped) = &mut sloped {
                self.check_sloped(sloped, region, value, rows)?;
            }
            self.sloped.insert(key.clone(), sloped);
        }
        Ok(self.sloped.get_mut(&key).and_then(Option::as_mut))
    }

    /// Linear bounds of so many margins in a box along slopes that are given, with multipliers. `None`: there is nothing to split.
    pub(crate) fn split(&mut self, rows: usize) -> Result<Option<&mut Sloped>, CertifyError> {
        if !self.split.contains_key(&rows) {
            let target = Target::Margins(Specification::Matrix { rows: Some(rows) });
            let slopes = Slopes::Split { rows };
            let mut sloped = Sloped::open(&self.runtime, &self.engine, &self.source, target, Region::Box, slopes)?;
            if let Some(sloped) = &mut sloped {
                self.check_sloped(sloped, Region::Box, None, rows)?;
            }
            self.split.insert(rows, sloped);
        }
        Ok(self.split.get_mut(&rows).and_then(Option::as_mut))
    }

    /// At a point, bounds are the values, whatever the slopes.
    fn check_sloped(
        &self,
        sloped: &mut Sloped,
        region: Region,
        value: Option<&Value>,
        rows: usize,
    ) -> Result<(), CertifyError> {
        let points = self.points(region);
        // Rows that repeat, as many as the graph wants: margins, or single elements.
        let (known, matrix) = match value {
            None => {
                let (margins, own) = (self.check.margins.ncols().max(1), &points.specification);
                let matrix = ArrayD::from_shape_fn(IxDyn(&[points.len(), rows, self.classes]), |at| {
                    own[[at[0], at[1] % margins, at[2]]]
                });
                let known =
                    Array2::from_shape_fn((points.len(), rows), |(i, row)| self.check.margins[[i, row % margins]]);
                (known, matrix)
            }
            Some(value) => {
                let [known, _] = self.check.layers.get(value).ok_or_else(|| missing("linear bounds"))?;
                let features = known.len() / points.len().max(1);
                let stride = features.div_ceil(rows).max(1);
                let at = |row: usize| row * stride % features.max(1);
                let known: Vec<f32> = known.iter().copied().collect();
                let matrix = ArrayD::from_shape_fn(IxDyn(&[points.len(), rows, features]), |to| {
                    f32::from(u8::from(to[2] == at(to[1])))
                });
                (Array2::from_shape_fn((points.len(), rows), |(i, row)| known[i * features + at(row)]), matrix)
            }
        };
        let mut slopes = sloped.adaptive(&self.check.layers, points.len());
        // Multipliers of 0, where there are any: others change bounds at points too.
        let zeros: Vec<_> = slopes.iter().map(|slope| ArrayD::zeros(slope.raw_dim())).collect();
        slopes.extend(zeros);
        let (found, _) = sloped.run(&points, &matrix, &self.check.layers, &slopes)?;
        agree("linear bounds along given slopes", found.iter(), known.iter())
    }

    fn linear(&self, target: Target, region: Region) -> Result<Linear, CertifyError> {
        let options = LinearOptions { target, intermediate: Intermediate::Given, slopes: Slopes::Adaptive, region };
        let graph = linear_bounds(&self.source, &options)?;
        Ok(Linear { program: self.open(&graph.model)?, graph })
    }

    fn open(&self, model: &Model) -> Result<Program, CertifyError> {
        Ok(Program::open(&self.runtime, model, &self.engine)?)
    }
}

impl Linear {
    fn run(&mut self, chunk: &Chunk, rows: ArrayRef<'_>, layers: &Layers) -> Result<Array2<f32>, CertifyError> {
        let mut inputs = inputs(&self.graph, chunk, layers)?;
        inputs.push((self.graph.rows.as_str(), rows));
        let mut outputs = self.program.run(inputs)?;
        self::rows(take(&mut outputs, &self.graph.bounds)?)
    }
}

/// The inputs that all graphs of linear bounds have.
pub(crate) fn inputs<'a>(
    graph: &'a LinearBounds,
    chunk: &'a Chunk,
    layers: &'a Layers,
) -> Result<Vec<(&'a str, ArrayRef<'a>)>, CertifyError> {
    let mut inputs = vec![
        (graph.samples.lower.as_str(), ArrayRef::Float(&chunk.lower)),
        (graph.samples.upper.as_str(), ArrayRef::Float(&chunk.upper)),
    ];
    if let Some((centre, radius)) = &graph.ball {
        inputs.push((centre.as_str(), ArrayRef::Float(&chunk.centre)));
        inputs.push((radius.as_str(), ArrayRef::Float(&chunk.radius)));
    }
    for layer in &graph.layers {
        let [lower, upper] = layers.get(&layer.value).ok_or_else(|| missing("intermediate bounds"))?;
        inputs.push((layer.bounds.lower.as_str(), ArrayRef::Float(lower)));
        inputs.push((layer.bounds.upper.as_str(), ArrayRef::Float(upper)));
    }
    Ok(inputs)
}

/// The positions `chosen` for each of `n` samples.
fn positions(n: usize, chosen: &[usize]) -> ArrayD<i64> {
    let at = |position: usize| i64::try_from(chosen[position % chosen.len()]).unwrap_or(i64::MAX);
    let all = (0..n * chosen.len()).map(at).collect();
    ArrayD::from_shape_vec(IxDyn(&[n, chosen.len()]), all).unwrap_or_default()
}

/// Margins of the labels over each other class.
pub(crate) fn margins(logits: &Array2<f32>, labels: &[usize]) -> Array2<f32> {
    let others = logits.ncols().saturating_sub(1);
    Array2::from_shape_fn((logits.nrows(), others), |(i, row)| {
        let other = if row < labels[i] { row } else { row + 1 };
        logits[[i, labels[i]]] - logits[[i, other]]
    })
}

/// A number in [0, 1) that depends on `i` in no simple way (the golden ratio's multiples).
#[allow(clippy::cast_precision_loss)]
fn scattered(i: usize) -> f32 {
    ((i as f64 + 1.0) * 0.618_033_988_749_895).fract() as f32
}

/// Whether numbers of a graph are those that are known.
fn agree<'a>(
    graph: &str,
    found: impl Iterator<Item = &'a f32> + Clone,
    expected: impl Iterator<Item = &'a f32> + Clone,
) -> Result<(), CertifyError> {
    let largest = expected.clone().fold(1.0f32, |most, x| most.max(x.abs()));
    for (found, expected) in found.zip(expected) {
        let close = (found - expected).abs() <= TOLERANCE * largest;
        if !close {
            return Err(CertifyError::Unfaithful { graph: graph.to_owned(), found: *found, expected: *expected });
        }
    }
    Ok(())
}

/// An output of a run.
pub(crate) fn take(outputs: &mut Tensors, name: &Value) -> Result<ArrayD<f32>, CertifyError> {
    match outputs.swap_remove(name.as_str()) {
        Some(Array::Float(array)) => Ok(array),
        _ => Err(missing(name.as_str())),
    }
}

pub(crate) fn rows(array: ArrayD<f32>) -> Result<Array2<f32>, CertifyError> {
    array.into_dimensionality().map_err(|e| CertifyError::Run(RunError::Runtime(e.to_string())))
}

pub(crate) fn missing(what: &str) -> CertifyError {
    CertifyError::Run(RunError::Runtime(format!("the graph of bounds has not given \"{what}\"")))
}

/// The first value of which a bound is not finite.
pub(crate) fn odd_layer(layers: &Layers, sample: usize) -> Option<&Value> {
    let odd = |[lower, upper]: &[ArrayD<f32>; 2]| {
        [lower, upper].iter().any(|end| end.index_axis(Axis(0), sample).iter().any(|x| !x.is_finite()))
    };
    let mut names: Vec<&Value> = layers.iter().filter(|(_, ends)| odd(ends)).map(|(value, _)| value).collect();
    names.sort_by_key(|value| value.as_str());
    names.first().copied()
}

/// The bounds of one sample of several.
pub(crate) fn of_sample(layers: &Layers, sample: usize) -> Layers {
    let one = |end: &ArrayD<f32>| end.index_axis(Axis(0), sample).to_owned().insert_axis(Axis(0));
    layers.iter().map(|(value, [lower, upper])| (value.clone(), [one(lower), one(upper)])).collect()
}

/// Makes sure that no lower end is above its upper one, as rounding may leave them where nothing is between.
pub(crate) fn ordered(ends: &mut [ArrayD<f32>; 2]) {
    let [lower, upper] = ends;
    Zip::from(lower).and(upper).for_each(|low, high| {
        if *low > *high {
            std::mem::swap(low, high);
        }
    });
}
