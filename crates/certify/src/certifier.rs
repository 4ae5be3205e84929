//! From samples to certificates.

use std::path::Path;
use std::sync::Arc;

use assay_graph::Value;
use assay_runtime::{
    Cancel, Class, Classifier, ClassifierOptions, EngineOptions, OnnxClassifier, OnnxRuntime, RunError,
};
use ndarray::{Array2, ArrayD, ArrayView2, Axis, Zip};

use crate::bounding::{Chunk, Graphs, Layers, margins, odd_layer, of_sample};
use crate::neighbourhood::Around;
use crate::{Bounds, Certificate, CertifyError, Method, Neighbourhood, Verdict, alpha, crown};

/// How to certify.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CertifierOptions {
    /// How a session of a graph of bounds runs. There is one for each graph.
    pub engine: EngineOptions,
}

/// When a sample is finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// When a method certifies it: the ones behind that are not asked.
    #[default]
    Certified,
    /// When all methods were asked.
    All,
}

/// What to certify.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Samples, `[n, features]`, in the model's input range.
    pub images: ArrayView2<'a, f32>,
    /// True class of each sample.
    pub labels: &'a [Class],
    /// What must not change the prediction.
    pub neighbourhood: Neighbourhood<'a>,
    /// The methods, which are asked from the cheapest on.
    pub methods: &'a [Method],
    /// When a sample is finished.
    pub until: Until,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Samples with a certificate.
    pub done: usize,
    /// All samples.
    pub of: usize,
    /// Of those that are done: certified.
    pub certified: usize,
}

/// Lower and upper ends of the interval of each element.
pub type Ends = [ArrayD<f32>; 2];

/// Certifies samples of one model.
pub struct Certifier {
    pub(crate) classifier: Arc<OnnxClassifier>,
    pub(crate) graphs: Graphs,
}

impl Certifier {
    /// Hosts the model in `file`, with what its options say of its input, and derives its bounds.
    ///
    /// # Errors
    /// The file is no classifier that assay hosts; as [`Certifier::new`].
    pub fn load(
        runtime: &OnnxRuntime,
        file: &Path,
        model: &ClassifierOptions,
        options: &CertifierOptions,
    ) -> Result<Self, CertifyError> {
        Self::new(runtime, Arc::new(OnnxClassifier::load(runtime, file, model)?), options)
    }

    /// For a model that is hosted already; what is done to its input is part of it.
    ///
    /// # Errors
    /// An operator has no bounds, which the error names with its node; ONNX Runtime refuses the derived graph, or it does not give the model's own
    /// numbers at a point.
    pub fn new(
        runtime: &OnnxRuntime,
        classifier: Arc<OnnxClassifier>,
        options: &CertifierOptions,
    ) -> Result<Self, CertifyError> {
        let graphs = Graphs::new(runtime, &options.engine, &classifier)?;
        Ok(Self { classifier, graphs })
    }

    /// The model.
    #[must_use]
    pub fn classifier(&self) -> &OnnxClassifier {
        &self.classifier
    }

    /// A certificate for each sample, in their order.
    ///
    /// # Errors
    /// The job does not fit the model, a graph cannot be derived or gives wrong numbers at a point, a run failed, or `cancel` was thrown.
    pub fn certify(
        &mut self,
        job: &Job<'_>,
        observer: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<Vec<Certificate>, CertifyError> {
        self.check(job)?;
        let around = Around::new(&job.neighbourhood, &job.images)?;
        let labels: Vec<usize> = job.labels.iter().map(|label| label.index()).collect();
        let logits = self.classifier.logits(job.images)?;
        let nominal = margins(&logits, &labels);
        let mut certificates: Vec<Certificate> = logits.rows().into_iter().map(|_| Certificate::unknown()).collect();
        for (certificate, (row, label)) in certificates.iter_mut().zip(logits.rows().into_iter().zip(&labels)) {
            if row.iter().any(|logit| !logit.is_finite()) {
                certificate.verdict = Verdict::Failed("a logit of the sample itself is not finite".into());
            } else if best(row.iter()) != Some(*label) {
                certificate.verdict = Verdict::Misclassified;
            }
        }
        let mut methods = job.methods.to_vec();
        methods.sort_unstable();
        methods.dedup();
        let of = certificates.len();
        let mut done = certificates.iter().filter(|c| c.is_decided()).count();
        let mut certified = 0;
        observer(Progress { done, of, certified });

        let open: Vec<usize> = (0..of).filter(|&i| !certificates[i].is_decided()).collect();
        for chosen in open.chunks(self.graphs.most) {
            let asked = Asked { job, methods: &methods, around: &around, labels: &labels, nominal: &nominal, cancel };
            self.answer(chosen, &asked, &mut certificates)?;
            done += chosen.len();
            certified += chosen.iter().filter(|&&i| certificates[i].verdict == Verdict::Certified).count();
            observer(Progress { done, of, certified });
        }
        Ok(certificates)
    }

    /// The bounds of every value that a function which is not affine reads, of one sample: of each value its name in the hosted model, and lower and upper
    /// ends `[1, …]`, in the model's order. They may be loose without end: no number here says that anything is certified.
    ///
    /// # Errors
    /// As [`Certifier::certify`]; there is not one sample.
    pub fn intermediate(
        &mut self,
        neighbourhood: &Neighbourhood<'_>,
        image: &ArrayView2<'_, f32>,
        method: Method,
    ) -> Result<Vec<(Value, Ends)>, CertifyError> {
        self.check_width(image.ncols())?;
        if image.nrows() != 1 {
            return Err(CertifyError::Invalid(format!("{} samples: expected one", image.nrows())));
        }
        let around = Around::new(neighbourhood, image)?;
        let chunk = self.chunk(&[0], image, &around, &[0])?;
        let (_, intervals) = self.graphs.intervals(&chunk)?;
        let mut layers = match method {
            Method::Ibp | Method::CrownIbp => intervals,
            Method::Crown | Method::AlphaCrown => {
                crown::layers(&mut self.graphs, &chunk, &intervals, &Cancel::default())?
            }
        };
        let names = self.graphs.relaxed().into_iter().map(|layer| layer.value);
        Ok(names.filter_map(|value| layers.remove(&value).map(|ends| (value, ends))).collect())
    }

    /// Asks the methods about a few samples, as far as needed.
    fn answer(
        &mut self,
        chosen: &[usize],
        asked: &Asked<'_, '_>,
        certificates: &mut [Certificate],
    ) -> Result<(), CertifyError> {
        let stop = || if asked.cancel.is_cancelled() { Err(CertifyError::from(RunError::Cancelled)) } else { Ok(()) };
        stop()?;
        let chunk = self.chunk(chosen, &asked.job.images, asked.around, asked.labels)?;
        let (margins, layers) = self.graphs.intervals(&chunk)?;
        for (at, &i) in chosen.iter().enumerate() {
            if let Some(value) = odd_layer(&layers, at) {
                certificates[i].verdict = Verdict::Failed(format!("an interval of \"{value}\" is not finite"));
            }
        }
        if asked.methods.contains(&Method::Ibp) {
            chosen.iter().enumerate().for_each(|(at, &i)| asked.add(i, Method::Ibp, &margins, at, certificates));
        }
        if asked.methods.contains(&Method::CrownIbp) && chosen.iter().any(|&i| asked.goes_on(&certificates[i])) {
            stop()?;
            let margins = self.graphs.margins(&chunk, &layers)?;
            for (at, &i) in chosen.iter().enumerate() {
                if asked.goes_on(&certificates[i]) {
                    asked.add(i, Method::CrownIbp, &margins, at, certificates);
                }
            }
        }
        if !asked.methods.iter().any(|method| matches!(method, Method::Crown | Method::AlphaCrown)) {
            return Ok(());
        }
        for (at, &i) in chosen.iter().enumerate() {
            if !asked.goes_on(&certificates[i]) {
                continue;
            }
            stop()?;
            // Which elements are settled differs from sample to sample, so these go one by one.
            let chunk = self.chunk(&[i], &asked.job.images, asked.around, asked.labels)?;
            let layers = crown::layers(&mut self.graphs, &chunk, &of_sample(&layers, at), asked.cancel)?;
            self.answer_one(i, &chunk, &layers, asked, certificates)?;
        }
        Ok(())
    }

    /// The methods that stand on CROWN's intermediate bounds.
    fn answer_one(
        &mut self,
        i: usize,
        chunk: &Chunk,
        layers: &Layers,
        asked: &Asked<'_, '_>,
        certificates: &mut [Certificate],
    ) -> Result<(), CertifyError> {
        if let Some(value) = odd_layer(layers, 0) {
            certificates[i].verdict = Verdict::Failed(format!("a linear bound of \"{value}\" is not finite"));
            return Ok(());
        }
        if asked.methods.contains(&Method::Crown) {
            let margins = self.graphs.margins(chunk, layers)?;
            asked.add(i, Method::Crown, &margins, 0, certificates);
        }
        if asked.methods.contains(&Method::AlphaCrown) && asked.goes_on(&certificates[i]) {
            self.answer_searched(i, chunk, layers, asked, certificates)?;
        }
        Ok(())
    }

    /// α-CROWN: the slopes of the last pass first, which is cheap and often enough; then those of the layers too.
    fn answer_searched(
        &mut self,
        i: usize,
        chunk: &Chunk,
        layers: &Layers,
        asked: &Asked<'_, '_>,
        certificates: &mut [Certificate],
    ) -> Result<(), CertifyError> {
        let mut margins = alpha::margins(&mut self.graphs, chunk, layers, asked.cancel)?;
        let enough = asked.bounds(i, Method::AlphaCrown, &margins, 0).certify();
        if !(enough && asked.job.until == Until::Certified) {
            let layers = alpha::layers(&mut self.graphs, chunk, layers, asked.cancel)?;
            let narrower = alpha::margins(&mut self.graphs, chunk, &layers, asked.cancel)?;
            Zip::from(&mut margins).and(&narrower).for_each(|best, &bound| *best = best.max(bound));
        }
        asked.add(i, Method::AlphaCrown, &margins, 0, certificates);
        Ok(())
    }

    fn chunk(
        &self,
        chosen: &[usize],
        images: &ArrayView2<'_, f32>,
        around: &Around,
        labels: &[usize],
    ) -> Result<Chunk, CertifyError> {
        Chunk::new(chosen, images, around, labels, &self.graphs.sample_shape, self.graphs.classes)
    }

    /// Whether samples of so many values fit the model.
    fn check_width(&self, width: usize) -> Result<(), CertifyError> {
        let spec = self.classifier.spec();
        if width == spec.features() {
            return Ok(());
        }
        Err(CertifyError::Invalid(format!(
            "a sample of this model has shape {:?}, which is {} values: the samples have {width} values each",
            spec.sample_shape,
            spec.features()
        )))
    }

    /// Whether the job fits the model.
    fn check(&self, job: &Job<'_>) -> Result<(), CertifyError> {
        self.check_width(job.images.ncols())?;
        let (spec, n) = (self.classifier.spec(), job.images.nrows());
        let invalid = |text: String| Err(CertifyError::Invalid(text));
        if job.labels.len() != n {
            return invalid(format!("{} labels for {n} samples: one for each is needed", job.labels.len()));
        }
        if spec.classes < 2 {
            return invalid(format!("the model has {} class: a margin needs two", spec.classes));
        }
        if job.methods.is_empty() {
            return invalid(format!("no method: expected some of {}", Method::ALL.map(Method::name).join(", ")));
        }
        match job.labels.iter().position(|label| label.index() >= spec.classes) {
            None => Ok(()),
            Some(i) => invalid(format!(
                "label {} of sample {i} is out of range: the model has {} classes, counted from 0",
                job.labels[i], spec.classes
            )),
        }
    }
}

impl std::fmt::Debug for Certifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certifier").field("classifier", &self.classifier).finish_non_exhaustive()
    }
}

/// What is asked of every sample.
struct Asked<'a, 'j> {
    job: &'a Job<'j>,
    methods: &'a [Method],
    around: &'a Around,
    labels: &'a [usize],
    /// Margins of the samples themselves, `[n, rows]`.
    nominal: &'a Array2<f32>,
    cancel: &'a Cancel,
}

impl Asked<'_, '_> {
    /// Whether another method is asked about a sample.
    fn goes_on(&self, certificate: &Certificate) -> bool {
        match certificate.verdict {
            Verdict::Unknown => true,
            Verdict::Certified => self.job.until == Until::All,
            Verdict::Misclassified | Verdict::Failed(_) => false,
        }
    }

    /// Adds what `method` found for row `at` to the certificate of sample `i`.
    fn add(&self, i: usize, method: Method, margins: &Array2<f32>, at: usize, certificates: &mut [Certificate]) {
        certificates[i].add(self.bounds(i, method, margins, at));
    }

    /// What `method` found for sample `i`, which is row `at`.
    fn bounds(&self, i: usize, method: Method, margins: &Array2<f32>, at: usize) -> Bounds {
        let nominal = self.nominal.index_axis(Axis(0), i).to_vec();
        Bounds::new(method, margins.row(at).to_vec(), &nominal)
    }
}

/// The first of the largest.
fn best<'a>(logits: impl Iterator<Item = &'a f32>) -> Option<usize> {
    let largest = |found: Option<(usize, f32)>, (class, &logit): (usize, &f32)| match found {
        Some((_, most)) if logit <= most => found,
        _ => Some((class, logit)),
    };
    logits.enumerate().fold(None, largest).map(|(class, _)| class)
}
