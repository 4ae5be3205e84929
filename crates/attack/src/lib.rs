//! Threat models and adversarial attacks against a [`Classifier`](assay_runtime::Classifier).
//!
//! [`parse`] makes an [`Attack`] from its name and parameters, [`run`] carries it out on a [`Job`], and [`Attacked`] says what
//! became of every sample. An attack is one file that reads like the algorithm of its paper: the [`Threat`] knows the
//! geometry, and [`Samples`] the points, what was found, who is still under attack, and what every evaluation costs.

mod adam;
mod apgd;
mod attack;
mod bim;
mod corruption;
mod cw;
mod ddn;
mod decay;
mod deepfool;
mod engine;
mod eps;
mod error;
mod estimate;
mod fab;
mod fgsm;
mod flag;
mod fmn;
mod hsv;
mod image;
mod l0;
mod l1;
mod l2;
mod linf;
mod mi_fgsm;
mod nes;
mod norm;
mod oracle;
mod outcome;
mod param;
mod pgd;
mod plane;
mod registry;
mod rng;
mod round;
mod rows;
mod samples;
mod shared;
mod simba;
mod spsa;
mod square;
mod suite;
mod threat;
mod validate;

pub use apgd::{Apgd, ApgdTargeted};
pub use attack::Attack;
pub use bim::Bim;
pub use corruption::{Constants, Corruption, CorruptionKind};
pub use cw::CarliniWagner;
pub use ddn::Ddn;
pub use deepfool::DeepFool;
pub use engine::{Job, run};
pub use eps::{Eps, EpsError};
pub use error::AttackError;
pub use fab::Fab;
pub use fgsm::Fgsm;
pub use flag::{Flag, FlagKind};
pub use fmn::Fmn;
pub use mi_fgsm::MiFgsm;
pub use nes::Nes;
pub use norm::Norm;
pub use oracle::{Budget, Halt, Reason};
pub use outcome::{Attacked, Cost, Distance, Outcome, Progress, SampleId, SampleOutcome};
pub use param::{Param, ParamError, ParamKind};
pub use pgd::{Pgd, StepSize};
pub use registry::{Description, attacks, parse};
pub use rng::SampleRng;
pub use samples::{Answer, Keep, Probe, Reading, Samples, Spot, Start, Step, predicted};
pub use simba::{Basis, Simba};
pub use spsa::{Optimizer, Spsa};
pub use square::Square;
pub use suite::{Contents, Part, Suite};
pub use threat::{Bounds, BoundsError, Threat};

pub use assay_runtime::Cancel;
