//! `model.toml`: what a model's files do not say.

use std::{fs, io, path::Path};

use assay_graph::Normalization;
use assay_runtime::ClassifierOptions;
use serde::{Deserialize, Serialize};

/// What `model.toml` says of a model; everything is optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Manifest {
    /// One line for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// What the model is: "dense", "filter-pruned", ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) kind: String,
    /// Name of the model that this one was derived from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) parent: String,
    /// Class names, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) labels: Vec<String>,
    /// Name of the output that gives the logits, for files with several outputs `[batch, classes]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logits: Option<String>,
    /// The input.
    pub(crate) input: Input,
}

/// The input of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Input {
    /// Range of valid values, low < high. Default [0, 1]; that of the bytes for a file that takes bytes and no normalisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) range: Option<[f32; 2]>,
    /// Subtracted from each channel before the file sees it: one value, or one a channel. For files without normalisation. The
    /// channels are the first dimension of a sample, or the last where only that is 1 or 3.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mean: Vec<f32>,
    /// Divides each channel after that; as `mean`, each > 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) std: Vec<f32>,
    /// Shape of one sample, for files that leave it open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shape: Option<Vec<usize>>,
}

impl Manifest {
    /// Reads a `model.toml`; a missing one says nothing.
    ///
    /// # Errors
    /// The file cannot be read or has an unknown key, a duplicate key or a wrong value: the text names file and line.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = match fs::read_to_string(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text.map_err(|e| format!("{}: {e}", path.display()))?,
        };
        let manifest: Self =
            toml::from_str(&text).map_err(|e| format!("{}: {}", path.display(), e.to_string().trim_end()))?;
        manifest.input.check().map_err(|problem| format!("{}: {problem}", path.display()))?;
        Ok(manifest)
    }

    /// `options` for the files of this model.
    pub(crate) fn options(&self, options: &ClassifierOptions) -> ClassifierOptions {
        ClassifierOptions {
            sample_shape: self.input.shape.clone(),
            normalization: normalization(&self.input),
            logits: self.logits.clone(),
            ..options.clone()
        }
    }
}

impl Input {
    fn check(&self) -> Result<(), String> {
        if let Some([low, high]) = self.range.filter(|[low, high]| !(low.is_finite() && high.is_finite() && low < high))
        {
            return Err(format!("input.range: expected two finite numbers, low < high, got [{low}, {high}]"));
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(format!("input.mean: expected finite numbers, got {mean}"));
        }
        if let Some(std) = self.std.iter().find(|std| !(std.is_finite() && **std > 0.0)) {
            return Err(format!("input.std: expected finite numbers > 0, got {std}"));
        }
        Ok(())
    }
}

/// What `model.toml` says of normalisation; the half that it leaves out changes nothing.
fn normalization(input: &Input) -> Option<Normalization> {
    let (mean, std) = (&input.mean, &input.std);
    if mean.is_empty() && std.is_empty() {
        return None;
    }
    let or = |values: &[f32], neutral: f32, other: &[f32]| match values {
        [] => vec![neutral; other.len()],
        values => values.to_vec(),
    };
    Some(Normalization { mean: or(mean, 0.0, std), std: or(std, 1.0, mean), axis: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Manifest, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.toml");
        fs::write(&path, text).unwrap();
        Manifest::read(&path)
    }

    #[test]
    fn a_missing_file_says_nothing() {
        assert_eq!(Manifest::read(Path::new("no/such/model.toml")), Ok(Manifest::default()));
    }

    #[test]
    fn what_is_said_is_kept() {
        let manifest =
            read("kind = \"dense\"\nlabels = [\"a\", \"b\"]\nlogits = \"head\"\n[input]\nrange = [-1.0, 1.0]\n")
                .unwrap();
        assert_eq!(manifest.kind, "dense");
        assert_eq!(manifest.labels, ["a", "b"]);
        assert_eq!(manifest.logits.as_deref(), Some("head"));
        assert_eq!(manifest.input.range, Some([-1.0, 1.0]));
    }

    #[test]
    fn unknown_and_duplicate_keys_are_named_with_file_and_line() {
        for (text, key, line) in [
            ("kind = \"dense\"\nlables = []\n", "lables", "line 2"),
            ("kind = \"a\"\n\nkind = \"b\"\n", "duplicate key", "line 3"),
            ("[input]\nrage = [0, 1]\n", "rage", "line 2"),
        ] {
            let message = read(text).unwrap_err();
            for part in ["model.toml", key, line] {
                assert!(message.contains(part), "{message}");
            }
        }
    }

    #[test]
    fn ranges_that_are_none_are_refused() {
        for text in
            ["[input]\nrange = [1, 0]", "[input]\nrange = [0, nan]", "[input]\nstd = [0.0]", "[input]\nmean = [inf]"]
        {
            assert!(read(text).unwrap_err().contains("input."), "{text}");
        }
    }

    #[test]
    fn the_half_that_is_left_out_changes_nothing() {
        let input = |mean: &[f32], std: &[f32]| Input { mean: mean.to_vec(), std: std.to_vec(), ..Input::default() };
        assert_eq!(normalization(&input(&[], &[])), None);
        let only_mean = normalization(&input(&[0.1, 0.2], &[])).unwrap();
        assert_eq!((only_mean.mean, only_mean.std), (vec![0.1, 0.2], vec![1.0, 1.0]));
        let only_std = normalization(&input(&[], &[0.5])).unwrap();
        assert_eq!((only_std.mean, only_std.std), (vec![0.0], vec![0.5]));
    }
}
