//! What a run needs to go on: one file, which is replaced as a whole.
//!
//! The format is safetensors. A tensor's name is its part, its place among the others of the part, and the name of the initializer:
//! `weights/00003/layer1.conv.weight`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use assay_graph::Value;
use indexmap::IndexMap;
use ndarray::ArrayD;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::trainer::State;
use crate::{CheckpointError, Net};

/// The state of a run between two epochs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Checkpoint {
    /// Digest of the recipe and of what it reads: with a checkpoint of something else no run goes on.
    pub(crate) run: String,
    /// Epochs that are done.
    pub(crate) epochs: u32,
    pub(crate) state: State,
    /// The best net so far, if that is kept.
    pub(crate) best: Option<Best>,
}

/// The net of the epoch that got the most validation samples right.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Best {
    pub(crate) epoch: u32,
    pub(crate) right: u64,
    pub(crate) net: Net,
}

const PARTS: [&str; 8] =
    ["weights", "statistics", "first moments", "second moments", "average", "best weights", "best statistics", "end"];

/// A tensor of a part: its part's name, its own and its content.
type Entry<'a> = (&'static str, &'a str, &'a ArrayD<f32>);

impl Checkpoint {
    /// Writes it in the place of what `file` held: after a crash there is the old content or the new one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, file: &Path) -> Result<(), CheckpointError> {
        let content = self.encode().map_err(|e| CheckpointError::new(file, e))?;
        replace(file, &content).map_err(|e| CheckpointError::new(file, e))
    }

    /// What `file` holds; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is no checkpoint.
    pub(crate) fn read(file: &Path) -> Result<Option<Self>, CheckpointError> {
        match fs::read(file) {
            Ok(content) => Self::decode(&content).map(Some).map_err(|reason| CheckpointError::new(file, reason)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(CheckpointError::new(file, e)),
        }
    }

    fn entries(&self) -> Vec<Entry<'_>> {
        fn named<'a>(part: &'static str, values: &'a IndexMap<Value, ArrayD<f32>>) -> impl Iterator<Item = Entry<'a>> {
            values.iter().map(move |(value, array)| (part, value.as_str(), array))
        }
        let State { net, moments, average, .. } = &self.state;
        let names = || net.weights.keys().map(Value::as_str);
        let moments = |i: usize| names().zip(moments).map(move |(name, both)| (PARTS[2 + i], name, &both[i]));
        let average = average.iter().flat_map(|all| names().zip(all)).map(|(name, a)| (PARTS[4], name, a));
        let best = self
            .best
            .iter()
            .flat_map(|best| named(PARTS[5], &best.net.weights).chain(named(PARTS[6], &best.net.statistics)));
        let net = named(PARTS[0], &net.weights).chain(named(PARTS[1], &net.statistics));
        net.chain(moments(0)).chain(moments(1)).chain(average).chain(best).collect()
    }

    fn encode(&self) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let bytes = |array: &ArrayD<f32>| array.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let contents: Vec<(String, Vec<usize>, Vec<u8>)> = self
            .entries()
            .into_iter()
            .enumerate()
            .map(|(place, (part, name, array))| {
                (format!("{part}/{place:05}/{name}"), array.shape().to_vec(), bytes(array))
            })
            .collect();
        let views = contents
            .iter()
            .map(|(name, shape, data)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        let mut words = HashMap::from([
            ("run".to_owned(), self.run.clone()),
            ("epochs".to_owned(), self.epochs.to_string()),
            ("steps".to_owned(), self.state.steps.to_string()),
        ]);
        if let Some(best) = &self.best {
            words.insert("best epoch".to_owned(), best.epoch.to_string());
            words.insert("best right".to_owned(), best.right.to_string());
        }
        safetensors::serialize(views, Some(words))
    }

    fn decode(content: &[u8]) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(content).map_err(|e| e.to_string())?;
        let words = header.metadata().clone().unwrap_or_default();
        let word = |key: &str| words.get(key).ok_or_else(|| format!("it does not say \"{key}\""));
        let tensors = SafeTensors::deserialize(content).map_err(|e| e.to_string())?;
        let mut names: Vec<(usize, &str)> = tensors.names().into_iter().map(|name| (place(name), name)).collect();
        names.sort_unstable();
        let mut parts: IndexMap<&str, IndexMap<Value, ArrayD<f32>>> = IndexMap::new();
        for (_, full) in names {
            let (part, name) = full
                .split_once('/')
                .and_then(|(part, rest)| Some((part, rest.split_once('/')?.1)))
                .ok_or("a tensor has another name")?;
            let view = tensors.tensor(full).map_err(|e| e.to_string())?;
            let numbers = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let array = ArrayD::from_shape_vec(view.shape().to_vec(), numbers).map_err(|e| e.to_string())?;
            parts.entry(part).or_default().insert(Value::from(name), array);
        }
        let mut part = |i: usize| parts.swap_remove(PARTS[i]).unwrap_or_default();
        let number = |key: &str| word(key)?.parse::<u64>().map_err(|e| format!("\"{key}\": {e}"));
        let epochs = |key: &str| word(key)?.parse::<u32>().map_err(|e| format!("\"{key}\": {e}"));
        let net = Net { weights: part(0), statistics: part(1) };
        let moments = part(2).into_values().zip(part(3).into_values()).map(|(first, second)| [first, second]).collect();
        let average = Some(part(4)).filter(|all| !all.is_empty()).map(|all| all.into_values().collect());
        let best = Net { weights: part(5), statistics: part(6) };
        let best = match words.contains_key("best epoch") {
            true => Some(Best { epoch: epochs("best epoch")?, right: number("best right")?, net: best }),
            false => None,
        };
        Ok(Self {
            run: word("run")?.clone(),
            epochs: epochs("epochs")?,
            state: State { net, steps: number("steps")?, moments, average },
            best,
        })
    }
}

/// The place that a tensor's name states.
fn place(name: &str) -> usize {
    name.split('/').nth(1).and_then(|place| place.parse().ok()).unwrap_or(usize::MAX)
}

/// Writes a file beside `file`, makes sure that it is on the disk, and gives it the name: after a crash there is the old content or the new one.
///
/// # Errors
/// The file cannot be written; what was there before still is.
pub fn replace(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let beside = file.with_extension("new");
    let mut new = File::create(&beside)?;
    new.write_all(content)?;
    new.sync_all()?;
    fs::rename(&beside, file)?;
    // The name is on the disk when its folder is.
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{arr1, arr2};

    use super::*;

    fn net(scale: f32) -> Net {
        let weights =
            [("b".into(), arr2(&[[1.0, 2.0], [3.0, scale]]).into_dyn()), ("a/1".into(), arr1(&[scale]).into_dyn())];
        Net { weights: weights.into(), statistics: [("m".into(), arr1(&[0.5, scale]).into_dyn())].into() }
    }

    fn checkpoint() -> Checkpoint {
        let moments = |w: &ArrayD<f32>| [w.mapv(|v| v + 1.0), w.mapv(|v| v - 1.0)];
        let moments = net(7.0).weights.values().map(moments).collect();
        let state = State { net: net(7.0), steps: 42, moments, average: None };
        Checkpoint { run: "abc".into(), epochs: 3, state, best: None }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.safetensors");
        assert_eq!(Checkpoint::read(&file).unwrap(), None);
        let plain = checkpoint();
        let average = Some(net(9.0).weights.into_values().collect());
        let best = Some(Best { epoch: 1, right: 77, net: net(-0.0) });
        let full = State { average, ..plain.state.clone() };
        for state in [plain.clone(), Checkpoint { state: full, best, ..plain }] {
            state.write(&file).unwrap();
            assert_eq!(Checkpoint::read(&file).unwrap().as_ref(), Some(&state));
            let order: Vec<_> = Checkpoint::read(&file).unwrap().unwrap().state.net.weights.into_keys().collect();
            assert_eq!(order, [Value::from("b"), "a/1".into()]);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_broken_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.safetensors");
        let whole = checkpoint().encode().unwrap();
        for content in [&whole[..whole.len() / 2], b"", b"hello, this is no checkpoint"] {
            fs::write(&file, content).unwrap();
            let error = Checkpoint::read(&file).unwrap_err().to_string();
            assert!(error.contains("state.safetensors"), "{error}");
        }
    }
}
