//! Sessions of one thread that run in turn, and how long each takes on the processor.

use std::error::Error;
use std::time::Duration;

use assay_benches::runtime;
use assay_graph::Model;
use ndarray::ArrayD;
use ort::ep;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor};
use rustix::time::{ClockId, clock_gettime};

/// Processor time of one measurement: runs are repeated until they take as long.
const BLOCK: Duration = Duration::from_millis(2);

/// Tensors by name.
pub(crate) type Tensors = Vec<(String, Content)>;

/// Numbers that a graph reads.
#[derive(Clone)]
pub(crate) enum Content {
    Floats(ArrayD<f32>),
    Ints(ArrayD<i64>),
}

/// What a session is opened with. The default is what assay opens its own with.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) arena: bool,
    pub(crate) memory_pattern: bool,
    pub(crate) prepacking: bool,
    pub(crate) level: Level,
}

/// How far ONNX Runtime optimises a graph.
#[derive(Clone, Copy)]
pub(crate) enum Level {
    Extended,
    All,
}

impl Default for Settings {
    fn default() -> Self {
        Self { arena: true, memory_pattern: false, prepacking: true, level: Level::All }
    }
}

/// A session with what it reads.
pub(crate) struct Contender {
    session: Session,
    inputs: Vec<(String, DynValue)>,
    /// Runs in one measurement.
    runs: u32,
}

impl Contender {
    /// A session of `model` that reads those of `tensors` that are its inputs.
    pub(crate) fn open(model: &Model, settings: Settings, tensors: &Tensors) -> Result<Self, Box<dyn Error>> {
        let level = match settings.level {
            Level::Extended => GraphOptimizationLevel::Level2,
            Level::All => GraphOptimizationLevel::All,
        };
        let builder = || -> ort::Result<_> {
            Ok(Session::builder(runtime().environment())?
                .with_optimization_level(level)?
                .with_intra_threads(1)?
                .with_inter_threads(1)?
                .with_memory_pattern(settings.memory_pattern)?
                .with_prepacking(settings.prepacking)?
                .with_execution_providers([ep::CPU::default().with_arena_allocator(settings.arena).build()])?)
        };
        let session = builder()?.commit_from_memory(&model.to_bytes())?;
        let mut inputs = Vec::new();
        for (name, content) in tensors.iter().filter(|(name, _)| session.inputs().iter().any(|i| i.name() == name)) {
            let value = match content {
                Content::Floats(a) => {
                    Tensor::from_array((a.shape(), a.iter().copied().collect::<Vec<_>>()))?.into_dyn()
                }
                Content::Ints(a) => Tensor::from_array((a.shape(), a.iter().copied().collect::<Vec<_>>()))?.into_dyn(),
            };
            inputs.push((name.clone(), value));
        }
        Ok(Self { session, inputs, runs: 1 })
    }

    /// One run.
    fn run(&mut self) -> ort::Result<ort::session::SessionOutputs<'_>> {
        let inputs: Vec<(&str, SessionInputValue<'_>)> =
            self.inputs.iter().map(|(name, value)| (name.as_str(), value.into())).collect();
        self.session.run(inputs)
    }

    /// What one run gives, by name; floating-point outputs only.
    pub(crate) fn outputs(&mut self) -> Result<Tensors, Box<dyn Error>> {
        let outputs = self.run()?;
        let floats = |value: &DynValue| -> Result<Content, Box<dyn Error>> {
            let (shape, data) = value.try_extract_tensor::<f32>()?;
            let dims = shape.iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>()?;
            Ok(Content::Floats(ArrayD::from_shape_vec(dims, data.to_vec())?))
        };
        outputs.iter().map(|(name, value)| Ok((name.to_owned(), floats(&value)?))).collect()
    }

    /// Processor time of one run in seconds, the mean of one measurement.
    fn measure(&mut self) -> ort::Result<f64> {
        let start = processor_time();
        for _ in 0..self.runs {
            self.run()?;
        }
        Ok((processor_time() - start).as_secs_f64() / f64::from(self.runs))
    }

    /// Warms up, and finds how many runs a measurement has.
    fn calibrate(&mut self) -> ort::Result<()> {
        self.runs = 1;
        loop {
            let time = self.measure()? * f64::from(self.runs);
            if time >= BLOCK.as_secs_f64() {
                return Ok(());
            }
            self.runs *= 2;
        }
    }
}

/// Processor time of each contender's runs in seconds: `[contender][round]`. In each round every contender is measured once,
/// and the rounds begin with each in turn.
pub(crate) fn race(contenders: &mut [Contender], rounds: usize) -> ort::Result<Vec<Vec<f64>>> {
    for contender in &mut *contenders {
        contender.calibrate()?;
    }
    let count = contenders.len();
    let mut times = vec![Vec::with_capacity(rounds); count];
    for round in 0..rounds {
        for i in (0..count).map(|i| (i + round) % count) {
            times[i].push(contenders[i].measure()?);
        }
    }
    Ok(times)
}

/// Processor time of this thread, on which a session of one thread runs.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// The quartiles of `values`: lower, median and upper.
pub(crate) fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values.get(values.len() * quarter / 4).copied().unwrap_or(f64::NAN))
}
