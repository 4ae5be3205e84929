//! Where the samples of an audit are, and what they are.

use std::path::PathBuf;

use assay_audit::job::{Asked, DataRef};
use assay_data::{DataSource, Dataset, Draw, Parts};
use assay_proto::v1::SampleData;
use bytes::Bytes;
use prost::Message;

use super::spool::Spool;
use crate::{
    core::Core,
    repository::Hosted,
    rpc::{bounds, expected, labels},
    status::CallError,
    tensor,
};

/// Configuration key of the largest audit.
const LIMIT: &str = "limits.max_audit_samples";

/// Samples that are there, as far as can be told without reading them.
#[derive(Debug)]
pub(super) struct Data<'a> {
    core: &'a Core,
    asked: &'a Asked,
    path: PathBuf,
}

impl<'a> Data<'a> {
    /// Finds the samples.
    ///
    /// # Errors
    /// They are not there, or more are asked for than an audit may have.
    pub(super) fn find(core: &'a Core, spool: &Spool, asked: &'a Asked) -> Result<Self, CallError> {
        let path = match &asked.data {
            DataRef::Registered { name } => {
                let datasets = &core.config.datasets;
                let path = datasets.get(name);
                let path =
                    path.ok_or_else(|| CallError::unknown("data set", name, datasets.keys().map(String::as_str)))?;
                let samples = asked.plan.data.as_ref().and_then(|data| data.samples).unwrap_or(0);
                check_samples(samples, core.config.limits.max_audit_samples)?;
                path.clone()
            }
            DataRef::Uploaded { content, .. } => {
                spool.find("uploaded.content", content)?.ok_or_else(|| CallError::NoData(content.clone()))?
            }
        };
        Ok(Self { core, asked, path })
    }

    /// Reads them for an audit whose first model is `hosted`. Blocks.
    ///
    /// # Errors
    /// They cannot be read, do not fit the model, or are more than an audit may have.
    pub(super) fn open(&self, hosted: &Hosted) -> Result<Dataset, CallError> {
        let most = self.core.config.limits.max_audit_samples;
        match &self.asked.data {
            DataRef::Registered { name } => {
                let wrong = |e| CallError::Precondition(format!("data set `{name}` of this server: {e}"));
                let plan = &self.asked.plan;
                let samples = plan.data.as_ref().and_then(|data| data.samples);
                let samples = samples.and_then(|samples| usize::try_from(samples).ok());
                let draw = plan.data.as_ref().map_or(Draw::First, |data| data.draw);
                // Those that are drawn are drawn from all; else one more than is allowed tells a data set that is too large without reading all of it.
                let read = match (samples, draw) {
                    (Some(samples), Draw::First) => Some(samples),
                    (Some(_), _) => None,
                    (None, _) => Some(most.saturating_add(1)),
                };
                let dataset = Dataset::open(&DataSource::new(&self.path), read).map_err(wrong)?;
                let dataset = match samples {
                    Some(samples) => draw.take(&dataset, samples, plan.seed).map_err(wrong)?,
                    None => dataset,
                };
                check_samples(dataset.len() as u64, most)?;
                Ok(dataset.named(name))
            }
            DataRef::Uploaded { content, name, digest, positions } => {
                let bytes = std::fs::read(&self.path)
                    .map_err(|e| CallError::Internal(format!("uploaded samples {content}: {e}")))?;
                let problem = |e| CallError::field("uploaded.content", format!("expected a message SampleData ({e})"));
                let SampleData { input, labels: given } = SampleData::decode(Bytes::from(bytes)).map_err(problem)?;
                let samples = tensor::decode("uploaded.input", input.as_ref(), expected(hosted, most, LIMIT))?;
                let labels = labels("uploaded.labels", &given, samples.nrows(), hosted.spec().classes)?;
                let parts = Parts {
                    name: name.clone(),
                    samples,
                    labels,
                    sample_shape: hosted.spec().sample_shape.clone(),
                    bounds: bounds(hosted)?,
                    class_names: hosted.manifest.labels.clone(),
                    digest: digest.clone(),
                };
                Dataset::from_parts(parts)
                    .and_then(|data| data.at(positions.clone()))
                    .map_err(|e| CallError::field("uploaded", e.to_string()))
            }
        }
    }

    /// How many there are: as many as the plan asks for, or else all that are read. Blocks.
    fn count(&self, hosted: &Hosted) -> Result<u64, CallError> {
        let asked = self.asked.plan.data.as_ref().and_then(|data| data.samples);
        match (&self.asked.data, asked) {
            (DataRef::Registered { .. }, Some(samples)) => Ok(samples),
            _ => self.open(hosted).map(|dataset| dataset.len() as u64),
        }
    }

    /// Reads what costs little to find out before the audit begins: samples that were uploaded. Gives their number.
    ///
    /// # Errors
    /// As [`Data::open`].
    pub(super) fn check(&self, hosted: &Hosted) -> Result<Option<usize>, CallError> {
        match &self.asked.data {
            DataRef::Registered { .. } => Ok(None),
            DataRef::Uploaded { .. } => self.open(hosted).map(|dataset| Some(dataset.len())),
        }
    }
}

/// How many samples there are at most, for an audit whose first model is `hosted`. Those that are uploaded may be told by a number of which they are not
/// looked at; 0: they are counted. Blocks.
///
/// # Errors
/// As [`Data::find`] and [`Data::open`], where they are looked at; a number is told of a data set that has its own; it is more than an audit may have.
pub(super) fn number(core: &Core, spool: &Spool, asked: &Asked, told: u64, hosted: &Hosted) -> Result<u64, CallError> {
    match (&asked.data, told) {
        (DataRef::Registered { name }, 1..) => Err(CallError::field(
            "samples",
            format!(
                "is for samples that are uploaded, got {told}; how many of data set `{name}` is said by data.samples of the plan"
            ),
        )),
        (DataRef::Uploaded { .. }, 1..) => {
            check_samples(told, core.config.limits.max_audit_samples)?;
            Ok(told)
        }
        (_, 0) => Data::find(core, spool, asked)?.count(hosted),
    }
}

fn check_samples(asked: u64, most: usize) -> Result<(), CallError> {
    if asked <= most as u64 {
        return Ok(());
    }
    Err(CallError::Limit {
        what: "samples of an audit".to_owned(),
        asked,
        limit: most as u64,
        key: LIMIT,
        remedy: "ask for fewer",
    })
}
