//! Where a model comes from, as its metadata says.

use std::collections::BTreeMap;

use assay_data::Dataset;
use assay_graph::Model;
use assay_runtime::{Classifier, OnnxClassifier};
use sha2::{Digest, Sha256};

use crate::{Change, Recipe, RecipeError};

/// What is written into the metadata of a model that was made, under keys that begin with `assay.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// `assay.kind`: how it was made: `trained`, or what was changed, one after the other, for example `upsampled+filter-pruned`.
    pub kind: String,
    /// `assay.recipe`: SHA-256 of the recipe.
    pub recipe: String,
    /// `assay.parent`: SHA-256 of the file that it was made from.
    pub parent: String,
    /// `assay.data`: SHA-256 of the training data, if there are any.
    pub data: Option<String>,
    /// `assay.seed`.
    pub seed: u64,
}

/// What the metadata of a model says of its making.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// Where it comes from.
    pub lineage: Lineage,
    /// `assay.epoch`: the epoch whose weights it has, counted from 1; 0 if it was not trained.
    pub epoch: u32,
    /// `assay.sparsity`: share of the weights of two dimensions or more that are zero, in [0, 1].
    pub sparsity: f64,
}

impl Origin {
    /// What `metadata` says; `None` where it does not say how the model was made and from what. What else is missing is empty or 0.
    #[must_use]
    pub fn read(metadata: &BTreeMap<String, String>) -> Option<Self> {
        let text = |key: &str| metadata.get(key).cloned();
        let lineage = Lineage {
            kind: text("assay.kind")?,
            recipe: text("assay.recipe").unwrap_or_default(),
            parent: text("assay.parent")?,
            data: text("assay.data"),
            seed: text("assay.seed").and_then(|seed| seed.parse().ok()).unwrap_or_default(),
        };
        let sparsity = text("assay.sparsity").and_then(|share| share.parse().ok());
        Some(Self {
            lineage,
            epoch: text("assay.epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default(),
            sparsity: sparsity.filter(|share| (0.0..=1.0).contains(share)).unwrap_or_default(),
        })
    }
}

impl Lineage {
    pub(crate) fn new(recipe: &Recipe, parent: &OnnxClassifier, data: Option<&Dataset>) -> Result<Self, RecipeError> {
        Ok(Self {
            kind: kind(recipe),
            recipe: recipe.digest()?,
            parent: parent.spec().digest.clone(),
            data: data.map(|data| data.digest().to_owned()),
            seed: recipe.seed,
        })
    }

    /// What tells the training of `net` from all others.
    pub(crate) fn run(&self, net: &OnnxClassifier) -> String {
        let text = format!("{}\n{}\n{}\n{}", self.recipe, self.parent, self.data(), net.spec().digest);
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first digits of what tells this recipe, on this data and from this parent, from all others.
    pub(crate) fn start(&self, digits: usize) -> String {
        let digest = Sha256::digest(format!("{}\n{}\n{}", self.recipe, self.parent, self.data()).as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().chars().take(digits).collect()
    }

    fn data(&self) -> &str {
        self.data.as_deref().unwrap_or_default()
    }

    /// Writes it into the metadata of `model`, with the share of its weights that are zero.
    pub(crate) fn write(&self, model: &mut Model, epoch: u32) {
        let (mut zeros, mut all) = (0_u64, 0_u64);
        for tensor in model.graph.initializers.values().filter(|t| t.dtype().is_float() && t.dims().len() > 1) {
            let values = tensor.to_f64().unwrap_or_default();
            all += values.len() as u64;
            zeros += values.iter().filter(|v| **v == 0.0).count() as u64;
        }
        let entries = [
            ("assay.kind", self.kind.clone()),
            ("assay.recipe", self.recipe.clone()),
            ("assay.parent", self.parent.clone()),
            ("assay.seed", self.seed.to_string()),
            ("assay.epoch", epoch.to_string()),
            ("assay.sparsity", format!("{:.6}", zeros as f64 / all.max(1) as f64)),
        ];
        let entries = entries.into_iter().chain(self.data.clone().map(|data| ("assay.data", data)));
        // What a parent says of its own data is not said of this model.
        model.metadata.retain(|key, _| !key.starts_with("assay."));
        model.metadata.extend(entries.map(|(key, value)| (key.to_owned(), value)));
        "assay".clone_into(&mut model.producer);
    }
}

/// What becomes of the net, in the order in which it does.
fn kind(recipe: &Recipe) -> String {
    let steps = [
        recipe.restride.as_ref().map(|_| Change::Restrided.name()),
        recipe.upsample.as_ref().map(|_| Change::Upsampled.name()),
        recipe.prune.as_ref().map(|spec| spec.structure.kind()),
        recipe.compact.then(|| Change::Compacted.name()),
    ];
    let steps: Vec<&str> = steps.into_iter().flatten().collect();
    if steps.is_empty() { "trained".to_owned() } else { steps.join("+") }
}

#[cfg(test)]
mod tests {
    use assay_graph::Graph;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_what_others_wrote_is_none() {
        let lineage = Lineage {
            kind: "trained".to_owned(),
            recipe: "ab".to_owned(),
            parent: "cd".to_owned(),
            data: Some("ef".to_owned()),
            seed: u64::MAX,
        };
        let mut model = Model::new(18, Graph::default());
        assert_eq!(Origin::read(&model.metadata.clone().into_iter().collect()), None);
        lineage.write(&mut model, 7);
        let mut metadata: BTreeMap<String, String> = model.metadata.into_iter().collect();
        assert_eq!(Origin::read(&metadata), Some(Origin { lineage, epoch: 7, sparsity: 0.0 }));
        metadata.insert("assay.sparsity".to_owned(), "NaN".to_owned());
        assert_eq!(Origin::read(&metadata).unwrap().sparsity.to_bits(), 0);
    }
}
