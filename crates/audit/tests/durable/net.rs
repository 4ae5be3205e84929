//! A model that is quick and broken by some attacks, its data, and a job on both.

use std::num::NonZeroUsize;

use assay_attack::{Bounds, Cancel, Norm};
use assay_audit::job::{
    Asked, AuditStore, DataRef, Input, JobError, ModelDigest, Moment, Record, Watcher, Work, carry_out,
};
use assay_audit::{Certifies, Circumstances, Environment, Json, Plan, Render, Report, Subject};
use assay_certify::{Certificate, CertifyError, Method, Neighbourhood, Verdict};
use assay_data::{Dataset, Parts};
use assay_graph::Loss;
use assay_runtime::{Class, Classifier, ClassifierSpec, Evaluated, Gradients, RunError};
use ndarray::{Array2, ArrayView2};

/// Class 1 where the mean of four values is above one half.
pub(crate) struct Mean {
    spec: ClassifierSpec,
}

impl Mean {
    pub(crate) fn new(digest: &str) -> Self {
        let spec = ClassifierSpec {
            digest: digest.to_owned(),
            sample_shape: vec![1, 2, 2],
            classes: 2,
            provider: "cpu".into(),
            gradients: Gradients::Exact,
        };
        Self { spec }
    }
}

impl Classifier for Mean {
    fn spec(&self) -> &ClassifierSpec {
        &self.spec
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        let score = |i: usize| x.row(i).sum() / 4.0 - 0.5;
        Ok(Array2::from_shape_fn((x.nrows(), 2), |(i, class)| if class == 0 { -score(i) } else { score(i) }))
    }

    fn gradient(
        &self,
        x: ArrayView2<'_, f32>,
        _: Loss,
        labels: &[Class],
        _: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        let slope = |i: usize| if labels[i].0 == 1 { -0.25 } else { 0.25 };
        let gradient = Array2::from_shape_fn(x.dim(), |(i, _)| slope(i));
        Ok(Evaluated { loss: vec![0.0; x.nrows()], logits: self.logits(x)?, gradient })
    }

    fn vjp(&self, x: ArrayView2<'_, f32>, cotangent: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        let gradient = Array2::from_shape_fn(x.dim(), |(i, _)| 0.25 * (cotangent[[i, 1]] - cotangent[[i, 0]]));
        Ok(Evaluated { loss: Vec::new(), logits: self.logits(x)?, gradient })
    }
}

/// Its margins are known: by `crown` exactly, by `ibp` as if the threat were three times as large.
impl Certifies for Mean {
    fn supports(&self, _: &[Method]) -> Result<(), String> {
        Ok(())
    }

    fn certify(
        &self,
        job: &assay_certify::Job<'_>,
        observer: &mut dyn FnMut(assay_certify::Progress),
        _: &Cancel,
    ) -> Result<Vec<Certificate>, CertifyError> {
        let Neighbourhood::Threat(threat) = job.neighbourhood else { panic!("a box") };
        let reach = if threat.norm == Norm::L2 { threat.eps.up() / 2.0 } else { threat.eps.up() };
        let margin = |i: usize, times: f64| {
            let mean = f64::from(job.images.row(i).sum() / 4.0);
            (2.0 * ((mean - 0.5).abs() - times * reach)) as f32
        };
        let certificate = |i: usize| {
            let by = |&method: &Method| assay_certify::Bounds {
                method,
                margins: vec![margin(i, if method == Method::Ibp { 3.0 } else { 1.0 })],
                slack: 1e-4,
            };
            let bounds: Vec<_> = job.methods.iter().map(by).collect();
            let proved = bounds.iter().any(assay_certify::Bounds::certify);
            Certificate { verdict: if proved { Verdict::Certified } else { Verdict::Unknown }, bounds }
        };
        let of = job.labels.len();
        observer(assay_certify::Progress { done: of, of, certified: 0 });
        Ok((0..of).map(certificate).collect())
    }
}

/// Twelve samples, some of them within reach of the other class.
pub(crate) fn data(shift: f32) -> Dataset {
    let value = |i: usize| 0.05 + 0.08 * i as f32 + shift;
    Dataset::from_parts(Parts {
        name: "ramp".into(),
        samples: Array2::from_shape_fn((12, 4), |(i, _)| value(i)),
        labels: (0..12).map(|i| Class(u32::from(value(i) > 0.5))).collect(),
        sample_shape: vec![1, 2, 2],
        bounds: Bounds::new(0.0, 1.0).unwrap(),
        class_names: Vec::new(),
        digest: format!("{shift:0>64}"),
    })
    .unwrap()
}

/// What a job is asked to do: two models, two threats, three attacks, and certificates against one of the threats.
pub(crate) fn asked(key: Option<&str>) -> Asked {
    let plan = Plan::parse(
        "schema = 1\nseed = 7\nmodels = [{ name = \"one\", version = \"1\" }, { name = \"two\", version = \"1\" }]\n\
         gates = [{ min_robust_accuracy = 0.5 }]\n\
         [[evaluations]]\nnorm = \"Linf\"\neps = \"0.1\"\nattacks = [{ name = \"fgsm\" }, { name = \"pgd\", parameters = { steps = 2 } }]\n\
         [[evaluations]]\nnorm = \"L2\"\neps = \"0.1\"\nattacks = [{ name = \"fgsm\" }]\n\
         [certification]\nmethods = [\"ibp\", \"crown\"]\nthreats = [\"Linf 0.1\"]",
    )
    .unwrap();
    let model = |name: &str| ModelDigest { name: name.into(), version: "1".into(), digest: format!("{name:0>64}") };
    Asked {
        owner: None,
        key: key.map(str::to_owned),
        plan,
        data: DataRef::Registered { name: "ramp".into() },
        shard: None,
        baseline: None,
        models: vec![model("one"), model("two")],
        environment: Environment { assay: "0.1.0".into(), onnxruntime: "none".into(), optimization: "none".into() },
    }
}

fn subject<'a>(model: &'a Mean, name: &str) -> Subject<'a> {
    Subject {
        name: name.into(),
        version: "1".into(),
        kind: String::new(),
        parameters: 5,
        bounds: Bounds::new(0.0, 1.0).unwrap(),
        labels: Vec::new(),
        batch: NonZeroUsize::new(5).unwrap(),
        classifier: model,
        certifier: Some(model),
    }
}

/// Carries a job out on these models and data.
pub(crate) fn carried(
    store: &dyn AuditStore,
    job: &Record,
    digests: [&str; 2],
    data: &Dataset,
    watcher: &mut dyn Watcher,
) -> Result<Report, JobError> {
    let models = digests.map(|digest| Mean::new(&format!("{digest:0>64}")));
    let subjects: Vec<Subject<'_>> =
        models.iter().zip(["one", "two"]).map(|(model, name)| subject(model, name)).collect();
    let circumstances = Circumstances::default();
    carry_out(
        &Work { job, subjects: &subjects, data, circumstances: &circumstances },
        store,
        watcher,
        &Cancel::default(),
    )
}

/// What a server does with a job from when it is asked for: takes it or finds it again, carries it out, and says how it ended. Each change is written down
/// before it is acted upon.
pub(crate) fn served(store: &dyn AuditStore) -> Result<(), JobError> {
    let known = store.records()?.into_iter().find(|record| record.asked.key.as_deref() == Some("k"));
    let mut job = match known {
        Some(job) => job,
        None => store.create(&asked(Some("k")), Moment(1))?,
    };
    let enter = |job: &mut Record, input: Input, now: u64| {
        *job = job.on(input, Moment(now)).unwrap();
        store.change(job)
    };
    if job.state == assay_audit::job::State::Running {
        enter(&mut job, Input::LeftOff, 2)?;
    }
    enter(&mut job, Input::AskedAgain, 3)?;
    if job.state.has_ended() {
        return Ok(());
    }
    enter(&mut job, Input::Begun, 4)?;
    let report = carried(store, &job, ["one", "two"], &data(0.0), &mut ())?;
    enter(&mut job, Input::Reached(report.verdict), 5)?;
    Ok(())
}

/// The report's JSON without what measures time.
pub(crate) fn json(report: &Report) -> String {
    Json.to_text(&report.clone().without_run())
}
