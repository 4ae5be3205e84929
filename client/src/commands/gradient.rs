//! `assay gradient`.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use assay_proto::v1::gradient_request::Objective;
use assay_proto::v1::{
    DataType, GetModelResponse, GradientRequest, GradientResponse, Gradients, InputSpec, LossAt, Tensor,
};
use ndarray::{Array1, Array2, ArrayD, IxDyn, s};
use ndarray_npy::NpzWriter;
use serde_json::json;

use super::models::{gradient_in_words, gradients_as_json};
use super::predict::predictions;
use super::{ROWS, Session, class_name};
use crate::args::{Gradient, LossName, Output};
use crate::error::ClientError;
use crate::output::{Verdict, must_be_writable, print, print_json, table};
use crate::progress::Progress;
use crate::saliency::{self, Layout};
use crate::samples::Samples;
use crate::spec;

pub(crate) async fn run(session: &mut Session, command: &Gradient) -> Result<Verdict, ClientError> {
    if command.data.data.is_none() && command.images.is_empty() {
        return Err(ClientError::Usage("name the samples: --image FILE, or --data PATH".into()));
    }
    if let Some(file) = &command.save {
        must_be_writable("--save", file)?;
    }
    let model = spec::model(&command.model);
    let (info, input) = session.model(&model).await?;
    let layout = layout(command, &input)?;
    let mut samples = match &command.data.data {
        Some(path) => Samples::open(path, &command.data)?,
        None => Samples::images(&command.images, &input)?,
    };
    samples.fit(&info.name, &input)?;
    let mut progress = Progress::new();
    let wanted = wanted(session, command, &info, &input, &samples, &mut progress).await?;

    let mut found = Found::new(samples.len(), info.classes as usize, &input);
    for range in samples.chunks(input.max_gradient_batch) {
        let request = session.request(GradientRequest {
            model: info.name.clone(),
            version: info.version.clone(),
            // Floats, so that the answer is per unit of the model's input whatever the samples are stored as.
            input: Some(samples.floats(range.clone(), &input)),
            objective: Some(wanted.objective(range.clone())),
        });
        let answer = session.client.gradient(request).await?.into_inner();
        let done = range.end as u64;
        found.add(range, answer)?;
        progress.update(&format!("gradient {}", info.name), done, samples.len() as u64, &format!("{done} samples"));
    }
    progress.finish();

    if let Some(file) = &command.save {
        found.save(file, &wanted, &input)?;
    }
    if let (Some(folder), Some(layout)) = (&command.saliency, layout) {
        for (i, gradient) in found.gradient.rows().into_iter().enumerate() {
            saliency::write(folder, &i.to_string(), &gradient.to_vec(), layout)?;
        }
    }
    match session.output {
        Output::Json => print_json(&found.as_json(&info, &samples, &wanted))?,
        Output::Human => {
            found.print(&info, &samples, &wanted)?;
            samples.say_where_from(&command.data)?;
        }
    }
    Ok(Verdict::Pass)
}

/// How to draw saliency maps, if they are wanted. Makes their folder.
fn layout(command: &Gradient, input: &InputSpec) -> Result<Option<Layout>, ClientError> {
    let Some(folder) = &command.saliency else { return Ok(None) };
    let layout = Layout::of(&input.shape).ok_or_else(|| {
        ClientError::Usage(format!("--saliency: the model takes samples of shape {:?}, not images", input.shape))
    })?;
    std::fs::create_dir_all(folder)
        .map_err(|error| ClientError::Usage(format!("--saliency {}: {error}", folder.display())))?;
    Ok(Some(layout))
}

/// What is differentiated, for all samples.
enum Wanted {
    Loss { loss: LossName, labels: Vec<u32>, target: Option<u32> },
    Cotangent(Array2<f32>),
}

async fn wanted(
    session: &mut Session,
    command: &Gradient,
    info: &GetModelResponse,
    input: &InputSpec,
    samples: &Samples,
    progress: &mut Progress,
) -> Result<Wanted, ClientError> {
    if let Some(file) = &command.cotangent {
        let usage = |problem: String| ClientError::Usage(format!("--cotangent {}: {problem}", file.display()));
        let cotangent: Array2<f32> = ndarray_npy::read_npy(file).map_err(|error| usage(error.to_string()))?;
        let expected = [samples.len(), info.classes as usize];
        if cotangent.shape() != expected {
            return Err(usage(format!("expected {expected:?}, samples and classes, got {:?}", cotangent.shape())));
        }
        return Ok(Wanted::Cotangent(cotangent));
    }
    let target = match (command.loss, command.target) {
        (LossName::MarginTargeted | LossName::DlrTargeted, None) => {
            return Err(ClientError::Usage("a targeted --loss needs --target CLASS".into()));
        }
        (LossName::MarginTargeted | LossName::DlrTargeted, target) => target,
        (_, Some(_)) => {
            let text = "--target goes with --loss margin-targeted or dlr-targeted only";
            return Err(ClientError::Usage(text.into()));
        }
        (_, None) => None,
    };
    let labels = match command.label {
        Some(label) => vec![label; samples.len()],
        None if samples.labels.is_empty() => {
            let predictions = predictions(session, info, input, samples, 1, progress).await?;
            predictions.iter().map(|prediction| prediction.classes[0].class).collect()
        }
        None => samples.labels.clone(),
    };
    Ok(Wanted::Loss { loss: command.loss, labels, target })
}

impl Wanted {
    fn objective(&self, range: Range<usize>) -> Objective {
        match self {
            Self::Loss { loss, labels, target } => Objective::Loss(LossAt {
                loss: match loss {
                    LossName::CrossEntropy => assay_proto::v1::Loss::CrossEntropy,
                    LossName::Margin => assay_proto::v1::Loss::Margin,
                    LossName::Dlr => assay_proto::v1::Loss::Dlr,
                    LossName::MarginTargeted => assay_proto::v1::Loss::MarginTargeted,
                    LossName::DlrTargeted => assay_proto::v1::Loss::DlrTargeted,
                }
                .into(),
                labels: labels[range.clone()].to_vec(),
                targets: target.iter().flat_map(|&target| range.clone().map(move |_| target)).collect(),
            }),
            Self::Cotangent(cotangent) => {
                let rows = cotangent.slice(s![range, ..]);
                Objective::Cotangent(Tensor {
                    shape: rows.shape().iter().map(|&size| size as u64).collect(),
                    datatype: DataType::Fp32.into(),
                    data: rows.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into(),
                })
            }
        }
    }

    fn labels(&self) -> &[u32] {
        match self {
            Self::Loss { labels, .. } => labels,
            Self::Cotangent(_) => &[],
        }
    }
}

/// Everything the server said, over all requests.
struct Found {
    logits: Array2<f32>,
    /// Empty for a cotangent.
    loss: Vec<f32>,
    /// Per unit of the model's input.
    gradient: Array2<f32>,
    gradients: Option<Gradients>,
}

impl Found {
    fn new(samples: usize, classes: usize, input: &InputSpec) -> Self {
        let features = input.shape.iter().map(|&size| usize::try_from(size).unwrap_or(usize::MAX)).product();
        Self {
            logits: Array2::zeros((samples, classes)),
            loss: Vec::new(),
            gradient: Array2::zeros((samples, features)),
            gradients: None,
        }
    }

    fn add(&mut self, range: Range<usize>, answer: GradientResponse) -> Result<(), ClientError> {
        for (rows, tensor) in [(&mut self.logits, &answer.logits), (&mut self.gradient, &answer.gradient)] {
            let data = tensor.as_ref().map_or(&[][..], |tensor| &tensor.data);
            let (values, rest) = data.as_chunks::<4>();
            let mut rows = rows.slice_mut(s![range.clone(), ..]);
            if !rest.is_empty() || values.len() != rows.len() {
                return Err(ClientError::Protocol(format!("{} bytes for {:?} numbers", data.len(), rows.shape())));
            }
            rows.iter_mut().zip(values).for_each(|(to, from)| *to = f32::from_le_bytes(*from));
        }
        self.loss.extend(answer.loss);
        self.gradients = answer.gradients;
        Ok(())
    }

    fn predicted(&self, i: usize) -> u32 {
        let row = self.logits.row(i);
        let best = (0..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best });
        u32::try_from(best).unwrap_or(u32::MAX)
    }

    /// Euclidean and maximum norm of a sample's gradient.
    fn norms(&self, i: usize) -> [f64; 2] {
        let sizes = || self.gradient.row(i).into_iter().map(|&value| f64::from(value).abs());
        [sizes().map(|size| size * size).sum::<f64>().sqrt(), sizes().fold(0.0, f64::max)]
    }

    fn print(&self, info: &GetModelResponse, samples: &Samples, wanted: &Wanted) -> Result<(), ClientError> {
        let labels = wanted.labels();
        let mut heads = vec!["sample", "predicted"];
        if !labels.is_empty() {
            heads.extend(["label", "loss"]);
        }
        heads.extend(["gradient, L2", "gradient, Linf"]);
        let mut rows = table(&heads, &(2 + labels.len().min(1)..heads.len()).collect::<Vec<_>>());
        for i in 0..samples.len().min(ROWS) {
            let mut row = vec![samples.name_of(i), class_name(&info.labels, self.predicted(i))];
            if let (Some(&label), Some(loss)) = (labels.get(i), self.loss.get(i)) {
                row.extend([class_name(&info.labels, label), format!("{loss:.4}")]);
            }
            row.extend(self.norms(i).map(|norm| format!("{norm:.4}")));
            rows.add_row(row);
        }
        print(&rows)?;
        if samples.len() > ROWS {
            print(&format!("... and {} more (all of them with --output json)", samples.len() - ROWS))?;
        }
        print(&format!("gradient: {}, per unit of the model's input", gradient_in_words(self.gradients.as_ref())))
    }

    fn as_json(&self, info: &GetModelResponse, samples: &Samples, wanted: &Wanted) -> serde_json::Value {
        let sample = |i: usize| {
            let [l2, linf] = self.norms(i);
            json!({
                "sample": samples.name_of(i),
                "label": wanted.labels().get(i),
                "predicted": self.predicted(i),
                "loss": self.loss.get(i),
                "l2": l2,
                "linf": linf,
            })
        };
        json!({
            "model": info.name,
            "version": info.version,
            "data": samples.name,
            "gradients": gradients_as_json(self.gradients.as_ref()),
            "samples": (0..samples.len()).map(sample).collect::<Vec<_>>(),
        })
    }

    /// `gradient`, `[n, sample shape...]`, and `logits`; of a loss, `loss` and `labels` too.
    fn save(&self, file: &Path, wanted: &Wanted, input: &InputSpec) -> Result<(), ClientError> {
        let failed =
            |e: &dyn std::fmt::Display| ClientError::Environment(format!("cannot write {}: {e}", file.display()));
        let sample = input.shape.iter().map(|&size| usize::try_from(size).unwrap_or(usize::MAX));
        let shape: Vec<usize> = std::iter::once(self.gradient.nrows()).chain(sample).collect();
        let values = self.gradient.iter().copied().collect();
        let gradient = ArrayD::from_shape_vec(IxDyn(&shape), values).map_err(|e| failed(&e))?;
        let mut archive = NpzWriter::new_compressed(File::create(file).map_err(|e| failed(&e))?);
        archive.add_array("gradient", &gradient).map_err(|e| failed(&e))?;
        archive.add_array("logits", &self.logits).map_err(|e| failed(&e))?;
        if let Wanted::Loss { labels, .. } = wanted {
            archive.add_array("loss", &Array1::from_vec(self.loss.clone())).map_err(|e| failed(&e))?;
            archive.add_array("labels", &Array1::from_vec(labels.clone())).map_err(|e| failed(&e))?;
        }
        archive.finish().map_err(|e| failed(&e))?;
        Ok(())
    }
}
