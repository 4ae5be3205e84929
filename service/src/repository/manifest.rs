//! `model.toml`: what a model's files do not say.

use std::{collections::BTreeMap, fs, io, path::Path};

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
    /// Which versions are served.
    #[serde(skip_serializing_if = "Versions::is_default")]
    pub(crate) versions: Versions,
}

/// Which versions of a model are served; without any of this, all that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Versions {
    /// Only the newest so many, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latest: Option<usize>,
    /// Only these. Not with `latest`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) only: Vec<u32>,
    /// The SHA-256 of each version's file, in 64 hexadecimal digits, as `assay models` shows it: version = digest. Where there are any, a version that has none
    /// or another one is not loaded.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sha256: BTreeMap<String, String>,
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
        let checked = manifest.input.check().and_then(|()| manifest.versions.check());
        checked.map_err(|problem| format!("{}: {problem}", path.display()))?;
        Ok(manifest)
    }

    /// `options` for the file of a version of this model.
    ///
    /// # Errors
    /// Other versions have a digest that they must have, and this one has none.
    pub(crate) fn options(&self, version: u32, options: &ClassifierOptions) -> Result<ClassifierOptions, String> {
        let pins = &self.versions.sha256;
        let digest = pins.get(&version.to_string()).cloned();
        if digest.is_none() && !pins.is_empty() {
            return Err(format!(
                "model.toml: versions.sha256 has no digest of version {version}, and only versions with one are served"
            ));
        }
        Ok(ClassifierOptions {
            digest,
            sample_shape: self.input.shape.clone(),
            normalization: normalization(&self.input),
            logits: self.logits.clone(),
            ..options.clone()
        })
    }
}

impl Versions {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Those of `there` that are served.
    ///
    /// # Errors
    /// `only` names one that is not there.
    pub(crate) fn chosen<T>(&self, mut there: BTreeMap<u32, T>) -> Result<BTreeMap<u32, T>, String> {
        if let Some(missing) = self.only.iter().find(|number| !there.contains_key(number)) {
            let known: Vec<String> = there.keys().map(u32::to_string).collect();
            return Err(format!("model.toml: versions.only has {missing}; there is {}", known.join(", ")));
        }
        if !self.only.is_empty() {
            there.retain(|number, _| self.only.contains(number));
        }
        while self.latest.is_some_and(|latest| there.len() > latest) {
            there.pop_first();
        }
        Ok(there)
    }

    fn check(&self) -> Result<(), String> {
        if self.latest == Some(0) {
            return Err("versions.latest: expected at least 1, got 0".to_owned());
        }
        if self.latest.is_some() && !self.only.is_empty() {
            return Err("versions: expected latest or only, got both".to_owned());
        }
        for (version, digest) in &self.sha256 {
            if version.parse::<u32>().is_err() {
                return Err(format!("versions.sha256: expected a version's number, got {version:?}"));
            }
            if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(format!("versions.sha256.{version}: expected 64 hexadecimal digits, got {digest:?}"));
            }
        }
        Ok(())
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
    fn some_versions_are_served_or_all() {
        let there = || BTreeMap::from([(1, ()), (2, ()), (10, ())]);
        let chosen = |text: &str| {
            let versions = read(text)?.versions;
            versions.chosen(there()).map(|chosen| chosen.into_keys().collect::<Vec<_>>())
        };
        assert_eq!(chosen(""), Ok(vec![1, 2, 10]));
        assert_eq!(chosen("[versions]\nlatest = 2\n"), Ok(vec![2, 10]));
        assert_eq!(chosen("[versions]\nonly = [10, 1]\n"), Ok(vec![1, 10]));
        assert_eq!(
            chosen("[versions]\nonly = [3]\n"),
            Err("model.toml: versions.only has 3; there is 1, 2, 10".to_owned())
        );
        for (text, problem) in [
            ("latest = 0", "versions.latest: expected at least 1, got 0"),
            ("latest = 1\nonly = [1]", "versions: expected latest or only, got both"),
            ("sha256 = { first = \"\" }", "versions.sha256: expected a version's number, got \"first\""),
            ("sha256 = { 1 = \"abc\" }", "versions.sha256.1: expected 64 hexadecimal digits, got \"abc\""),
        ] {
            let message = chosen(&format!("[versions]\n{text}\n")).unwrap_err();
            assert!(message.ends_with(problem), "{message}");
        }
    }

    #[test]
    fn where_digests_are_pinned_a_version_without_one_is_not_served() {
        let digest = "ab".repeat(32);
        let manifest = read(&format!("[versions]\nsha256 = {{ 1 = \"{digest}\" }}\n")).unwrap();
        let options = |version| manifest.options(version, &ClassifierOptions::default());
        assert_eq!(options(1).unwrap().digest, Some(digest));
        assert!(options(2).unwrap_err().contains("no digest of version 2"));
        assert_eq!(Manifest::default().options(2, &ClassifierOptions::default()).unwrap().digest, None);
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
