//! What counts as success.

use assay_runtime::Class;

use crate::SampleRng;

/// What an attack is to make of a sample's prediction. The engine sees to it: an attack maximises what it is handed, whatever the goal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Goal {
    /// Any class but the label.
    #[default]
    Untargeted,
    /// The sample's target, and no other class: where that is not reached, the sample counts as robust.
    Targeted(Target),
}

/// How the target of each sample is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// These classes, one for each sample of the job, none of them its label.
    Classes(Vec<Class>),
    /// The class with the smallest logit for the clean sample.
    LeastLikely,
    /// Any class but the label, all equally likely, by the sample's random stream.
    Random,
    /// The class with so many-th largest logit for the clean sample among those that are not the label, from 1.
    Rank(u32),
}

impl Goal {
    /// The target of the sample at a position of the job, of whose `rivals` the likeliest is the first; `rng` is only for this choice.
    pub(crate) fn target(&self, sample: usize, rivals: &[Class], rng: &mut SampleRng) -> Option<Class> {
        match self {
            Self::Untargeted => None,
            Self::Targeted(Target::Classes(classes)) => classes.get(sample).copied(),
            Self::Targeted(Target::LeastLikely) => rivals.last().copied(),
            Self::Targeted(Target::Random) => rivals.get(rng.below(rivals.len())).copied(),
            Self::Targeted(Target::Rank(rank)) => rivals.get((*rank as usize).checked_sub(1)?).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SampleId;

    #[test]
    fn targets_are_chosen_among_the_rivals() {
        let rivals = [Class(4), Class(0), Class(2)];
        let classes = vec![Class(7), Class(8)];
        let target = |target, sample: u64| {
            let mut rng = SampleRng::new(1, SampleId(sample), "target", 0);
            Goal::Targeted(target).target(sample as usize, &rivals, &mut rng)
        };
        assert_eq!(target(Target::Classes(classes), 1), Some(Class(8)));
        assert_eq!(target(Target::LeastLikely, 0), Some(Class(2)));
        assert_eq!(
            (1..=4).map(|rank| target(Target::Rank(rank), 0)).collect::<Vec<_>>(),
            [Some(Class(4)), Some(Class(0)), Some(Class(2)), None]
        );
        let mut drawn = [0; 3];
        for sample in 0..3000 {
            drawn[rivals.iter().position(|c| Some(*c) == target(Target::Random, sample)).unwrap()] += 1;
        }
        // Five standard errors.
        assert!(drawn.iter().all(|n| (870..1130).contains(n)), "{drawn:?}");
    }
}
