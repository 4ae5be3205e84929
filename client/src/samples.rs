//! Samples from files, and tensors from samples.

use std::ops::Range;
use std::path::{Path, PathBuf};

use assay_data::{DataSource, Dataset};
use assay_proto::v1::{DataType, InputSpec, Tensor};
use ndarray::{Array2, ArrayView2, Axis, CowArray, Slice};

use crate::args::Data;
use crate::error::ClientError;
use crate::output::print;

/// Samples in [0, 1], and their true classes where they are known.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    /// What the data is called: a path, or "images".
    pub(crate) name: String,
    /// What each sample is called; empty: by its number.
    pub(crate) names: Vec<String>,
    /// `[n, features]`.
    pub(crate) values: Array2<f32>,
    pub(crate) shape: Vec<usize>,
    pub(crate) labels: Vec<u32>,
    /// Hexadecimal SHA-256 of the data set's files; empty for single images.
    pub(crate) digest: String,
    /// Position of each in its data set; empty: they are its first ones.
    pub(crate) positions: Vec<u64>,
}

/// A value in [0, 1] in the model's input range.
fn scaled(value: f32, input: &InputSpec) -> f32 {
    // Rounding must not put the brightest pixel outside of the range.
    (input.low + (input.high - input.low) * value).clamp(input.low, input.high)
}

impl From<Dataset> for Samples {
    fn from(data: Dataset) -> Self {
        Self {
            name: data.name().to_owned(),
            names: Vec::new(),
            shape: data.sample_shape().to_vec(),
            labels: data.labels().iter().map(|class| class.0).collect(),
            digest: data.digest().to_owned(),
            positions: data.positions().to_vec(),
            values: data.into_samples(),
        }
    }
}

impl Samples {
    /// The data set that an attack is asked to attack.
    pub(crate) fn labelled(data: &Data) -> Result<Self, ClientError> {
        match &data.data {
            Some(path) => Self::open(path, data),
            None => {
                Err(ClientError::Usage("--data PATH is required: an attack needs samples with their labels".into()))
            }
        }
    }

    /// A data set with its labels.
    pub(crate) fn open(path: &Path, options: &Data) -> Result<Self, ClientError> {
        let limit = options.samples.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let source = DataSource::new(path).with_severity(options.severity);
        Dataset::open(&source, limit).map(Self::from).map_err(|error| ClientError::Usage(error.to_string()))
    }

    /// Single images for a model's input, without labels.
    pub(crate) fn images(paths: &[PathBuf], input: &InputSpec) -> Result<Self, ClientError> {
        let shape = shape(input);
        let features = shape.iter().product();
        let mut values = Vec::with_capacity(paths.len() * features);
        for path in paths {
            let name = path.display().to_string();
            let bytes = std::fs::read(path).map_err(|error| ClientError::Usage(format!("{name}: {error}")))?;
            let image = assay_data::decode_image(&name, &bytes, &shape);
            values.extend(image.map_err(|error| ClientError::Usage(error.to_string()))?);
        }
        let values = Array2::from_shape_vec((paths.len(), features), values)
            .map_err(|error| ClientError::Usage(format!("the images do not fit the model's input: {error}")))?;
        let names = paths.iter().map(|path| path.display().to_string()).collect();
        Ok(Self {
            name: "images".to_owned(),
            names,
            values,
            shape,
            labels: Vec::new(),
            digest: String::new(),
            positions: Vec::new(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.values.nrows()
    }

    /// What to call sample `i`.
    pub(crate) fn name_of(&self, i: usize) -> String {
        self.names.get(i).cloned().unwrap_or_else(|| i.to_string())
    }

    /// The samples in these rows only.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        Self {
            name: self.name.clone(),
            names: rows.iter().filter_map(|&i| self.names.get(i).cloned()).collect(),
            values: self.values.select(Axis(0), rows),
            shape: self.shape.clone(),
            labels: rows.iter().filter_map(|&i| self.labels.get(i).copied()).collect(),
            digest: self.digest.clone(),
            positions: rows.iter().filter_map(|&i| self.positions.get(i).copied()).collect(),
        }
    }

    /// Prints what data this is where a reader must know: corrupted images that the user supplies.
    pub(crate) fn say_where_from(&self, options: &Data) -> Result<(), ClientError> {
        match options.severity {
            Some(_) => print(&format!("data: {}", self.name)),
            None => Ok(()),
        }
    }

    /// The ranges of samples of one request each, which takes at most `most`.
    pub(crate) fn chunks(&self, most: u64) -> impl Iterator<Item = Range<usize>> + use<> {
        let (len, size) = (self.len(), usize::try_from(most).unwrap_or(usize::MAX).max(1));
        (0..len).step_by(size).map(move |start| start..len.min(start + size))
    }

    /// Samples `range` as a batch for the model: bytes where every value is a pixel k/255, else floats.
    pub(crate) fn tensor(&self, range: Range<usize>, input: &InputSpec) -> Tensor {
        let rows = self.values.slice_axis(Axis(0), Slice::from(range.clone()));
        match rows.iter().map(|&value| pixel(value)).collect::<Option<Vec<u8>>>() {
            Some(bytes) => Tensor { shape: self.batch(&range), datatype: DataType::Uint8.into(), data: bytes.into() },
            None => self.floats(range, input),
        }
    }

    /// Samples `range` as a batch of floats for the model.
    pub(crate) fn floats(&self, range: Range<usize>, input: &InputSpec) -> Tensor {
        let shape = self.batch(&range);
        let rows = self.values.slice_axis(Axis(0), Slice::from(range));
        let mut data = Vec::with_capacity(rows.len() * size_of::<f32>());
        rows.iter().for_each(|value| data.extend(scaled(*value, input).to_le_bytes()));
        Tensor { shape, datatype: DataType::Fp32.into(), data: data.into() }
    }

    /// Samples `range` in the model's input range, `[n, features]`.
    pub(crate) fn scaled(&self, range: Range<usize>, input: &InputSpec) -> Array2<f32> {
        self.values.slice_axis(Axis(0), Slice::from(range)).map(|value| scaled(*value, input))
    }

    /// These samples with values from a model's input range, `[n, features]`: [`Samples::scaled`] backwards, exactly where the range is [0, 1].
    pub(crate) fn with_values(&self, values: &ArrayView2<'_, f32>, input: &InputSpec) -> Self {
        let scale = input.high - input.low;
        let values = values.map(|value| ((value - input.low) / scale).clamp(0.0, 1.0));
        Self { values, ..self.clone() }
    }

    /// Shape of the batch of samples `range`.
    fn batch(&self, range: &Range<usize>) -> Vec<u64> {
        std::iter::once(range.len()).chain(self.shape.iter().copied()).map(|size| size as u64).collect()
    }

    /// Puts three channels where the model has them, and fails unless the samples then have the model's shape.
    pub(crate) fn fit(&mut self, model: &str, input: &InputSpec) -> Result<(), ClientError> {
        let expected = shape(input);
        if self.shape == expected {
            return Ok(());
        }
        let last =
            |first: &[usize], last: &[usize]| matches!((first, last), ([c, h, w], [a, b, d]) if [c, h, w] == [d, a, b]);
        if last(&self.shape, &expected) || last(&expected, &self.shape) {
            let moved = assay_data::laid_out(&self.values.view(), &self.shape, &expected).map(CowArray::into_owned);
            if let Some(values) = moved {
                (self.values, self.shape) = (values, expected);
                return Ok(());
            }
        }
        Err(ClientError::Usage(format!(
            "{}: samples have shape {:?}, but {model} takes {expected:?}",
            self.name, self.shape
        )))
    }

    /// [`Samples::fit`] of a data set, whose labels must be classes of the model.
    pub(crate) fn fit_labelled(&mut self, model: &str, input: &InputSpec, classes: usize) -> Result<(), ClientError> {
        self.fit(model, input)?;
        match self.labels.iter().position(|&label| label as usize >= classes) {
            None => Ok(()),
            Some(at) => Err(ClientError::Usage(format!(
                "{}: sample {at} has label {}, and {model} has {classes} classes, counted from 0",
                self.name, self.labels[at]
            ))),
        }
    }
}

/// Shape of one sample of the model.
fn shape(input: &InputSpec) -> Vec<usize> {
    input.shape.iter().map(|&size| usize::try_from(size).unwrap_or(usize::MAX)).collect()
}

/// `k` if `value` is exactly the float nearest to `k / 255`.
fn pixel(value: f32) -> Option<u8> {
    let k = (value * 255.0).round();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    ((0.0..=255.0).contains(&k) && k / 255.0 == value).then_some(k as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: Vec<f32>) -> Samples {
        let values = Array2::from_shape_vec((values.len() / 2, 2), values).unwrap();
        Samples {
            name: "test".into(),
            names: vec![],
            values,
            shape: vec![1, 1, 2],
            labels: vec![],
            digest: String::new(),
            positions: vec![],
        }
    }

    fn input(low: f32, high: f32) -> InputSpec {
        InputSpec { shape: vec![1, 1, 2], low, high, max_batch: 1, max_gradient_batch: 1 }
    }

    #[test]
    fn pixels_travel_as_bytes() {
        let all: Vec<f32> = (0..=255u8).map(|k| f32::from(k) / 255.0).collect();
        let tensor = samples(all).tensor(0..128, &input(0.0, 1.0));
        assert_eq!(tensor.datatype(), DataType::Uint8);
        assert_eq!(tensor.shape, [128, 1, 1, 2]);
        assert_eq!(tensor.data, (0..=255u8).collect::<Vec<u8>>());
    }

    #[test]
    fn other_values_travel_as_floats_in_the_models_range() {
        let tensor = samples(vec![0.25, 0.501]).tensor(0..1, &input(-1.0, 1.0));
        assert_eq!(tensor.datatype(), DataType::Fp32);
        let expected: Vec<u8> = [-0.5f32, -1.0 + 2.0 * 0.501].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(tensor.data, expected);
    }

    #[test]
    fn selected_rows_keep_their_labels() {
        let all = Samples { labels: vec![5, 6, 7], ..samples(vec![0.0, 0.1, 0.2, 0.3, 0.4, 0.5]) };
        let few = all.select(&[2, 0]);
        assert_eq!((few.len(), few.values.row(0).to_vec(), few.labels), (2, vec![0.4, 0.5], vec![7, 5]));
    }

    #[test]
    fn chunks_cover_every_sample_once() {
        let samples = samples(vec![0.0; 14]);
        let chunks: Vec<_> = samples.chunks(3).collect();
        assert_eq!(chunks, [0..3, 3..6, 6..7]);
    }

    #[test]
    fn channels_move_to_where_the_model_has_them() {
        let values = Array2::from_shape_vec((1, 12), (0..12u8).map(f32::from).collect()).unwrap();
        let mut samples = Samples { values, shape: vec![3, 2, 2], ..samples(vec![]) };
        samples.fit("m", &InputSpec { shape: vec![2, 2, 3], ..input(0.0, 1.0) }).unwrap();
        assert_eq!(samples.shape, [2, 2, 3]);
        assert_eq!(samples.values.row(0).to_vec(), [0., 4., 8., 1., 5., 9., 2., 6., 10., 3., 7., 11.]);
        samples.fit("m", &InputSpec { shape: vec![3, 2, 2], ..input(0.0, 1.0) }).unwrap();
        assert_eq!(samples.values.row(0).to_vec(), (0..12u8).map(f32::from).collect::<Vec<_>>());
    }

    #[test]
    fn a_wrong_shape_is_refused() {
        let error = samples(vec![0.0; 2]).fit("m", &InputSpec { shape: vec![2, 2], ..input(0.0, 1.0) });
        assert!(error.unwrap_err().to_string().contains("[1, 1, 2], but m takes [2, 2]"));
    }
}
