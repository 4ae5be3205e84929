//! The short forms in which flags name models, threats and attacks.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use assay_attack::{Attack, Bounds, Eps, EpsError, Goal, Norm, ParamError, Target, Threat};
use assay_audit::AttackSpec;
use assay_proto::v1;
use assay_runtime::Class;

/// `NAME` or `NAME/VERSION`.
pub(crate) fn model(text: &str) -> v1::ModelRef {
    let (name, version) = text.split_once('/').unwrap_or((text, ""));
    v1::ModelRef { model: name.to_owned(), version: version.to_owned() }
}

/// As the contract has it.
pub(crate) fn norm(norm: Norm) -> v1::Norm {
    match norm {
        Norm::Linf => v1::Norm::Linf,
        Norm::L2 => v1::Norm::L2,
        Norm::L1 => v1::Norm::L1,
        Norm::L0 => v1::Norm::L0,
    }
}

/// `NORM:EPS`, for example `Linf:8/255`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ThreatArg {
    norm: Norm,
    eps: Eps,
}

impl fmt::Display for ThreatArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.norm, self.eps)
    }
}

impl ThreatArg {
    /// As plans have it: the norm, and the radius.
    pub(crate) fn parts(&self) -> (Norm, Eps) {
        (self.norm, self.eps.clone())
    }

    pub(crate) fn message(&self) -> v1::Threat {
        v1::Threat { norm: norm(self.norm).into(), eps: self.eps.to_string() }
    }

    /// For inputs in this range.
    pub(crate) fn threat(&self, bounds: Bounds) -> Threat {
        Threat { norm: self.norm, eps: self.eps.clone(), bounds }
    }
}

impl FromStr for ThreatArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (norm, eps) =
            text.split_once(':').ok_or_else(|| "expected NORM:EPS, for example Linf:8/255 or L2:0.5".to_owned())?;
        Ok(Self { norm: norm.parse()?, eps: eps.parse().map_err(|error: EpsError| error.to_string())? })
    }
}

/// `CLASS`, `least-likely`, `random` or `rank:N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetArg {
    Class(u32),
    LeastLikely,
    Random,
    Rank(u32),
}

impl TargetArg {
    /// For `n` samples.
    pub(crate) fn message(self, n: usize) -> v1::Target {
        let (choice, classes, rank) = match self {
            Self::Class(class) => (v1::TargetChoice::Classes, vec![class; n], 0),
            Self::LeastLikely => (v1::TargetChoice::LeastLikely, Vec::new(), 0),
            Self::Random => (v1::TargetChoice::Random, Vec::new(), 0),
            Self::Rank(rank) => (v1::TargetChoice::Rank, Vec::new(), rank),
        };
        v1::Target { choice: choice.into(), classes, rank }
    }

    /// For `n` samples, for a run in this process.
    pub(crate) fn goal(self, n: usize) -> Goal {
        Goal::Targeted(match self {
            Self::Class(class) => Target::Classes(vec![Class(class); n]),
            Self::LeastLikely => Target::LeastLikely,
            Self::Random => Target::Random,
            Self::Rank(rank) => Target::Rank(rank),
        })
    }

    /// The class, if it is the same for all samples.
    pub(crate) fn class(self) -> Option<u32> {
        if let Self::Class(class) = self { Some(class) } else { None }
    }
}

impl FromStr for TargetArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok();
        let target = match (text, text.split_once(':')) {
            ("least-likely", _) => Some(Self::LeastLikely),
            ("random", _) => Some(Self::Random),
            (_, Some(("rank", rank))) => number(rank).filter(|rank| *rank > 0).map(Self::Rank),
            _ => number(text).map(Self::Class),
        };
        target.ok_or_else(|| "expected a class, such as 3, or least-likely, random, or rank:N with N from 1".to_owned())
    }
}

/// `NAME` or `NAME:KEY=VALUE,...`. Names and ranges are the server's to check: it knows its attacks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AttackArg {
    name: String,
    parameters: HashMap<String, String>,
}

impl fmt::Display for AttackArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (i, (key, value)) in self.sorted().iter().enumerate() {
            write!(f, "{}{key}={value}", if i == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

impl AttackArg {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn message(&self) -> v1::AttackSpec {
        v1::AttackSpec { name: self.name.clone(), parameters: self.parameters.clone() }
    }

    /// The attack itself, for a run in this process.
    pub(crate) fn attack(&self) -> Result<Box<dyn Attack>, ParamError> {
        // In order of name: of two that are wrong the same is told every time.
        assay_attack::parse(&self.name, &self.sorted())
    }

    /// As plans have it.
    pub(crate) fn planned(&self) -> AttackSpec {
        AttackSpec { name: self.name.clone(), parameters: self.sorted().into_iter().collect() }
    }

    fn sorted(&self) -> Vec<(String, String)> {
        let mut parameters: Vec<_> = self.parameters.clone().into_iter().collect();
        parameters.sort();
        parameters
    }
}

impl FromStr for AttackArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() {
            return Err("expected NAME or NAME:KEY=VALUE,..., for example pgd:steps=40".to_owned());
        }
        let mut parameters = HashMap::new();
        for pair in rest.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("expected KEY=VALUE after \"{name}:\", got \"{pair}\""))?;
            if parameters.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(format!("parameter \"{key}\" is given twice"));
            }
        }
        Ok(Self { name: name.to_owned(), parameters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threat_keeps_its_fraction() {
        let threat: ThreatArg = "Linf:8/255".parse().unwrap();
        assert_eq!(threat.message(), v1::Threat { norm: v1::Norm::Linf.into(), eps: "8/255".into() });
        assert_eq!(threat.to_string(), "Linf:8/255");
        let any: ThreatArg = "L2:inf".parse().unwrap();
        assert_eq!(any.message(), v1::Threat { norm: v1::Norm::L2.into(), eps: "inf".into() });
    }

    #[test]
    fn bad_threats_say_what_is_expected() {
        for text in ["Linf", "L7:0.1", "Linf:", "Linf:-1", "Linf:1/0", "L2:x"] {
            assert!(text.parse::<ThreatArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_target_is_a_class_or_a_rule() {
        for (text, choice, classes, rank) in [
            ("3", v1::TargetChoice::Classes, vec![3, 3], 0),
            ("least-likely", v1::TargetChoice::LeastLikely, vec![], 0),
            ("random", v1::TargetChoice::Random, vec![], 0),
            ("rank:2", v1::TargetChoice::Rank, vec![], 2),
        ] {
            let target: TargetArg = text.parse().unwrap();
            assert_eq!(target.message(2), v1::Target { choice: choice.into(), classes, rank });
            assert_eq!(target.class(), (text == "3").then_some(3));
        }
        for text in ["", "-1", "3.5", "likely", "rank", "rank:", "rank:0", "rank:x", "random:1"] {
            assert!(text.parse::<TargetArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_attack_has_parameters() {
        let attack: AttackArg = "pgd:steps=40,step=0.01".parse().unwrap();
        assert_eq!(attack.name(), "pgd");
        assert_eq!(attack.message().parameters["steps"], "40");
        assert_eq!(attack.message().parameters["step"], "0.01");
        assert_eq!(attack.to_string(), "pgd:step=0.01,steps=40");
        let plain: AttackArg = "fgsm".parse().unwrap();
        assert_eq!((plain.message().parameters.len(), plain.to_string()), (0, "fgsm".to_owned()));
    }

    #[test]
    fn bad_attacks_are_refused() {
        for text in ["", ":steps=4", "pgd:steps", "pgd:steps=1,steps=2"] {
            assert!(text.parse::<AttackArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_model_may_have_a_version() {
        assert_eq!(model("a"), v1::ModelRef { model: "a".into(), version: String::new() });
        assert_eq!(model("a/2"), v1::ModelRef { model: "a".into(), version: "2".into() });
    }
}
