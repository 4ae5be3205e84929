//! Attacks that are sequences of others.

use std::fmt;
use std::sync::LazyLock;

use crate::registry::{Description, Row, unknown};
use crate::{Attack, Cost, Halt, Norm, ParamError, Samples, parse};

/// Attacks one after the other, each on the samples that withstood the ones before, from the clean sample: what is left withstood the worst case. Where
/// the parts keep the nearest adversarial sample, the nearest of all parts is kept.
///
/// A suite has no parameters: its name and version say what was done. What it consists of changes only with the version.
pub struct Suite {
    recipe: &'static Recipe,
    parts: Vec<(&'static [Norm], Box<dyn Attack>)>,
}

/// An attack in a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub attack: &'static str,
    /// The parameters that do not have the attack's default.
    pub parameters: Vec<(&'static str, &'static str)>,
    /// The norms in which it is part of the suite.
    pub norms: &'static [Norm],
}

/// What a suite consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Goes up whenever a part or one of its parameters changes.
    pub version: u32,
    /// In order.
    pub parts: Vec<Part>,
}

struct Recipe {
    description: Description,
    contents: Contents,
}

const LINF: &[Norm] = &[Norm::Linf];
const L2: &[Norm] = &[Norm::L2];
const L1: &[Norm] = &[Norm::L1];
const L0: &[Norm] = &[Norm::L0];
const LINF_L2: &[Norm] = &[Norm::Linf, Norm::L2];
const LINF_L2_L1: &[Norm] = &[Norm::Linf, Norm::L2, Norm::L1];
const ANY: &[Norm] = &Norm::ALL;

const AUTOATTACK: &str = "Croce, Hein: Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks, ICML 2020; Mind the Box: L1-APGD for Sparse Adversarial Attacks on Image Classifiers, ICML 2021";
const RCM: &str = "the settings that the authors of RCM (robustness from feature maps of convolutional layers) published with their code; without its Brendel-Bethge attack";

const CORRUPTION: &str =
    "Hendrycks, Dietterich: Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR 2019";

/// The corruptions that means are published of, and the four that were held back for validation.
const KINDS: [&str; 15] = [
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
];
const EXTRA_KINDS: [&str; 4] = ["speckle_noise", "gaussian_blur", "spatter", "saturate"];
const SEVERITIES: [&str; 5] = ["1", "2", "3", "4", "5"];

static RECIPES: LazyLock<Vec<Recipe>> = LazyLock::new(|| {
    vec![
        Recipe {
            description: Description {
                name: "autoattack-plus",
                summary: "AutoAttack, version plus: apgd (cross-entropy and DLR) and fab with five restarts each, square, apgd-t, fab-t. In L1 every apgd has the large radii of the standard; fab looks at the nine likeliest classes, of ten all.",
                source: AUTOATTACK,
                norms: LINF_L2_L1,
                needs_gradient: true,
                needs_eps: true,
                parameters: Vec::new(),
            },
            contents: Contents {
                version: 1,
                parts: vec![
                    part(ANY, "apgd", &[("restarts", "5")]),
                    part(ANY, "apgd", &[("loss", "dlr"), ("restarts", "5")]),
                    part(ANY, "fab", &[("restarts", "5")]),
                    part(ANY, "square", &[]),
                    part(ANY, "apgd-t", &[]),
                    part(ANY, "fab-t", &[]),
                ],
            },
        },
        Recipe {
            description: Description {
                name: "autoattack-rand",
                summary: "AutoAttack, version rand, for models that draw random numbers: apgd on cross-entropy and DLR, gradients averaged over 20 draws.",
                source: AUTOATTACK,
                norms: LINF_L2_L1,
                needs_gradient: true,
                needs_eps: true,
                parameters: Vec::new(),
            },
            contents: Contents {
                version: 1,
                parts: vec![part(ANY, "apgd", &[("eot", "20")]), part(ANY, "apgd", &[("loss", "dlr"), ("eot", "20")])],
            },
        },
        Recipe {
            description: Description {
                name: "autoattack-standard",
                summary: "AutoAttack, version standard: apgd (cross-entropy), apgd-t (9 classes), fab-t (9 classes), square (5,000 queries); in L1 with 5 restarts of apgd and 5 classes of apgd-t.",
                source: AUTOATTACK,
                norms: LINF_L2_L1,
                needs_gradient: true,
                needs_eps: true,
                parameters: Vec::new(),
            },
            contents: Contents {
                version: 1,
                parts: vec![
                    part(LINF_L2, "apgd", &[]),
                    part(L1, "apgd", &[("restarts", "5")]),
                    part(LINF_L2, "apgd-t", &[]),
                    part(L1, "apgd-t", &[("targets", "5")]),
                    part(ANY, "fab-t", &[]),
                    part(ANY, "square", &[]),
                ],
            },
        },
        Recipe {
            description: Description {
                name: "ci-fast",
                summary: "A quick look on every commit: a short apgd, apgd-t towards three classes, and 500 queries of square. Weaker than AutoAttack.",
                source: "assay",
                norms: LINF_L2_L1,
                needs_gradient: true,
                needs_eps: true,
                parameters: Vec::new(),
            },
            contents: Contents {
                version: 1,
                parts: vec![
                    part(ANY, "apgd", &[("steps", "25")]),
                    part(ANY, "apgd-t", &[("steps", "25"), ("targets", "3"), ("loss", "margin-targeted")]),
                    part(ANY, "square", &[("queries", "500")]),
                ],
            },
        },
        Recipe {
            description: Description {
                name: "corruptions",
                summary: "The 15 common corruptions, each in five severities.",
                source: CORRUPTION,
                norms: ANY,
                needs_gradient: false,
                needs_eps: false,
                parameters: Vec::new(),
            },
            contents: Contents { version: 1, parts: corruptions(&KINDS) },
        },
        Recipe {
            description: Description {
                name: "corruptions-extra",
                summary: "The four corruptions that were held back for validation, each in five severities.",
                source: CORRUPTION,
                norms: ANY,
                needs_gradient: false,
                needs_eps: false,
                parameters: Vec::new(),
            },
            contents: Contents { version: 1, parts: corruptions(&EXTRA_KINDS) },
        },
        Recipe {
            description: Description {
                name: "curve",
                summary: "The nearest adversarial sample that any minimum-norm attack of the norm finds: for curves of accuracy over eps. Use it with eps = inf.",
                source: "assay",
                norms: ANY,
                needs_gradient: true,
                needs_eps: false,
                parameters: Vec::new(),
            },
            contents: Contents {
                version: 1,
                parts: vec![
                    part(ANY, "fmn", &[]),
                    part(L2, "ddn", &[]),
                    part(L2, "cw", &[]),
                    part(LINF_L2_L1, "fab-t", &[("keep", "nearest")]),
                    part(L0, "sigma-zero", &[]),
                ],
            },
        },
        Recipe {
            description: Description {
                name: "decision",
                summary: "Attacks that see only whether a point is misclassified, after random noise as a floor: noise, boundary (in L2), geoda, hopskipjump.",
                source: "assay",
                norms: LINF_L2,
                needs_gradient: false,
                needs_eps: true,
                parameters: Vec::new(),
            },
            contents: Contents {
                version: 1,
                parts: vec![
                    part(ANY, "noise", &[]),
                    part(L2, "boundary", &[("keep", "first")]),
                    part(ANY, "geoda", &[("keep", "first")]),
                    part(ANY, "hopskipjump", &[("keep", "first")]),
                ],
            },
        },
        Recipe {
            description: Description {
                name: "hydra-era",
                summary: "Empirical robust accuracy as the authors of HYDRA measured it: pgd, 50 steps of 0.0078 from a random start. Theirs is Linf 0.031.",
                source: "Sehwag, Wang, Mittal, Jana: HYDRA: Pruning Adversarially Robust Neural Networks, NeurIPS 2020",
                norms: LINF,
                needs_gradient: true,
                needs_eps: true,
                parameters: Vec::new(),
            },
            contents: Contents { version: 1, parts: vec![part(ANY, "pgd", &[("steps", "50"), ("step", "0.0078")])] },
        },
        Recipe {
            description: Description {
                name: "pruning-basic",
                summary: "The families that pruning was shown as a defence against: one step of 8/255 along the gradient, a square over half of the side, the negative, shifts of up to 4 pixels. For inputs in [0, 1] and eps = inf.",
                source: "Jordao, Pedrini: On the Effect of Pruning on Adversarial Robustness, ICCV Workshops 2021",
                norms: LINF,
                needs_gradient: true,
                needs_eps: false,
                parameters: Vec::new(),
            },
            contents: Contents {
                version: 1,
                parts: vec![
                    part(ANY, "pgd", &[("steps", "1"), ("step", "0.03137255"), ("random_start", "false")]),
                    part(ANY, "occlusion", &[("side", "0.5")]),
                    part(ANY, "negative", &[]),
                    part(ANY, "spatial", &[("pixels", "4"), ("degrees", "0"), ("angles", "1"), ("shifts", "9")]),
                ],
            },
        },
        Recipe {
            description: Description {
                name: "rcm-l1",
                summary: "The grid of RCM in L1: pgd of 50 steps, which is sparse descent here. Theirs is eps 12.",
                source: RCM,
                norms: L1,
                needs_gradient: true,
                needs_eps: true,
                parameters: Vec::new(),
            },
            contents: Contents { version: 1, parts: vec![part(ANY, "pgd", &[("steps", "50"), ("step", "0.05*eps")])] },
        },
        Recipe {
            description: Description {
                name: "rcm-l2",
                summary: "The grid of RCM in L2: pgd of 50 steps, deepfool, cw, AutoAttack. Theirs is eps 0.5.",
                source: RCM,
                norms: L2,
                needs_gradient: true,
                needs_eps: true,
                parameters: Vec::new(),
            },
            contents: Contents {
                version: 1,
                parts: vec![
                    part(ANY, "pgd", &[("steps", "50"), ("step", "0.1*eps")]),
                    part(ANY, "deepfool", &[]),
                    part(ANY, "cw", &[]),
                    part(ANY, "autoattack-standard", &[]),
                ],
            },
        },
        Recipe {
            description: Description {
                name: "rcm-linf",
                summary: "The grid of RCM in Linf: fgsm, pgd of 10, 20 and 40 steps, deepfool, AutoAttack. Theirs are eps 8/255 and 16/255.",
                source: RCM,
                norms: LINF,
                needs_gradient: true,
                needs_eps: true,
                parameters: Vec::new(),
            },
            contents: Contents {
                version: 1,
                parts: vec![
                    part(ANY, "fgsm", &[]),
                    part(ANY, "pgd", &[("steps", "10"), ("step", "0.25*eps")]),
                    part(ANY, "pgd", &[("steps", "20"), ("step", "0.1*eps")]),
                    part(ANY, "pgd", &[("steps", "40"), ("step", "0.1*eps")]),
                    part(ANY, "deepfool", &[]),
                    part(ANY, "autoattack-standard", &[]),
                ],
            },
        },
        Recipe {
            description: Description {
                name: "semantic",
                summary: "Changes that keep the meaning: the negative image, shifts and rotations, an occluding square, colours. Use it with eps = inf.",
                source: "Hosseini, Xiao, Jaiswal, Poovendran: On the Limitation of Convolutional Neural Networks in Recognizing Negative Images, 2017; Engstrom, Tran, Tsipras, Schmidt, Madry: Exploring the Landscape of Spatial Robustness, ICML 2019",
                norms: ANY,
                needs_gradient: false,
                needs_eps: false,
                parameters: Vec::new(),
            },
            contents: Contents {
                version: 1,
                parts: vec![
                    part(ANY, "negative", &[]),
                    part(ANY, "spatial", &[]),
                    part(ANY, "occlusion", &[]),
                    part(ANY, "colour", &[]),
                ],
            },
        },
    ]
});

fn part(norms: &'static [Norm], attack: &'static str, parameters: &[(&'static str, &'static str)]) -> Part {
    Part { attack, parameters: parameters.to_vec(), norms }
}

fn corruptions(kinds: &[&'static str]) -> Vec<Part> {
    let severities =
        |kind| SEVERITIES.map(|severity| part(ANY, "corruption", &[("kind", kind), ("severity", severity)]));
    kinds.iter().copied().flat_map(severities).collect()
}

/// What the suite of this name consists of, if it is one.
#[must_use]
pub fn contents(name: &str) -> Option<&'static Contents> {
    RECIPES.iter().find(|recipe| recipe.description.name == name).map(|recipe| &recipe.contents)
}

impl Suite {
    /// All of them, in order of name.
    pub(crate) fn rows() -> Vec<Row> {
        let row = |recipe: &'static Recipe| Row {
            description: &recipe.description,
            parse: |arguments| Ok(Box::new(Self::named(arguments.attack)?)),
        };
        RECIPES.iter().map(row).collect()
    }

    /// The suite of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self, ParamError> {
        let recipe = RECIPES.iter().find(|recipe| recipe.description.name == name);
        let recipe = recipe.ok_or_else(|| unknown(name))?;
        let make = |part: &Part| {
            let parameters: Vec<_> =
                part.parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Ok((part.norms, parse(part.attack, &parameters)?))
        };
        Ok(Self { recipe, parts: recipe.contents.parts.iter().map(make).collect::<Result<_, _>>()? })
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("name", &self.recipe.description.name).field("parts", &self.parts).finish()
    }
}

impl Attack for Suite {
    fn description(&self) -> &'static Description {
        &self.recipe.description
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn evaluations(&self) -> u64 {
        let in_norm = |norm: &Norm| {
            let parts = self.parts.iter().filter(|(norms, _)| norms.contains(norm));
            parts.map(|(_, part)| part.evaluations()).sum()
        };
        self.recipe.description.norms.iter().map(in_norm).max().unwrap_or(0)
    }

    fn worst_case(&self) -> Cost {
        let in_norm = |norm: &Norm| {
            let mut sum = Cost { queries: 3, gradients: 0 };
            for (_, part) in self.parts.iter().filter(|(norms, _)| norms.contains(norm)) {
                let Cost { queries, gradients } = part.worst_case();
                sum += Cost { queries: queries - 3, gradients };
            }
            sum
        };
        let norms = self.recipe.description.norms.iter();
        norms.map(in_norm).max_by_key(|cost| (cost.gradients, cost.queries)).unwrap_or_default()
    }

    fn needs_eps(&self) -> bool {
        self.parts.iter().any(|(_, part)| part.needs_eps())
    }

    fn min_classes(&self) -> usize {
        self.parts.iter().map(|(_, part)| part.min_classes()).max().unwrap_or(2)
    }

    fn substitution(&self, classes: usize) -> Option<String> {
        self.parts.iter().find_map(|(_, part)| part.substitution(classes))
    }

    fn fits(&self, sample_shape: &[usize]) -> Result<(), String> {
        self.parts.iter().try_for_each(|(_, part)| part.fits(sample_shape))
    }

    fn aims(&self) -> Result<(), String> {
        self.parts.iter().try_for_each(|(_, part)| part.aims())
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let norm = samples.threat().norm;
        for (_, part) in self.parts.iter().filter(|(norms, _)| norms.contains(&norm)) {
            samples.begin(&**part);
            part.run(samples)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_works_in_its_norms_and_what_it_needs_is_said_of_the_suite() {
        for recipe in RECIPES.iter() {
            let (suite, description) = (Suite::named(recipe.description.name).unwrap(), &recipe.description);
            for norm in description.norms {
                assert!(suite.parts.iter().any(|(norms, _)| norms.contains(norm)), "{} {norm}", description.name);
            }
            for (norms, part) in &suite.parts {
                for norm in norms.iter().filter(|norm| description.norms.contains(norm)) {
                    assert!(part.description().norms.contains(norm), "{} {part:?} {norm}", description.name);
                }
                // All parts judge the same samples.
                assert!(part.fitted_share().is_none(), "{} {part:?}", description.name);
            }
            let any = |needs: fn(&Description) -> bool| suite.parts.iter().any(|(_, part)| needs(part.description()));
            assert_eq!(description.needs_gradient, any(|part| part.needs_gradient), "{}", description.name);
            assert_eq!(description.needs_eps, suite.needs_eps(), "{}", description.name);
        }
    }

    #[test]
    fn a_suite_that_is_not_there_is_named_in_the_error() {
        assert!(
            Suite::named("autoattack-standart")
                .unwrap_err()
                .to_string()
                .contains("did you mean \"autoattack-standard\"")
        );
    }
}
