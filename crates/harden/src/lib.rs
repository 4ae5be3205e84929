//! Training and hardening of ONNX classifiers, on ONNX Runtime alone.
//!
//! [`architecture()`] knows the nets of the literature by name and makes one as a [`Model`](assay_graph::Model) with fresh weights.
//!
//! A step of training is one graph, which [`assay_graph::training`] derives from the model: its weights are inputs, its outputs the loss, the
//! gradients and the statistics of the batch. [`Trainer`] runs it, an [`Objective`] says what is minimised and on which versions of the
//! samples, and an [`Optimizer`] moves the weights. A [`Recipe`] says all of that in a file, and [`harden`] carries it out: with validation after each
//! epoch and a checkpoint from which a run goes on. What comes out is an ONNX model again.

#![forbid(unsafe_code)]

mod architecture;
mod average;
mod checkpoint;
mod enlarge;
mod error;
mod importance;
mod lineage;
mod mask;
mod net;
mod objective;
mod optimizer;
mod perturb;
mod prune;
mod recipe;
mod run;
mod schedule;
mod step;
mod trainer;

pub use architecture::{Architecture, ArchitectureError, Task, architecture};
pub use average::Average;
pub use checkpoint::replace;
pub use enlarge::{PoolSpec, RestrideSpec, UpsampleMode, UpsampleSpec};
pub use error::{CheckpointError, RecipeError, TrainError};
pub use importance::{Importance, Judged};
pub use lineage::{Lineage, Origin};
pub use net::Net;
pub use objective::{Adversarial, Alp, Attacker, Free, Mart, Objective, Standard, Trades};
pub use optimizer::{Method, Optimizer};
pub use perturb::{Begin, Climb, Perturbation};
pub use prune::{End, PruneSpec, Removed, Scope, Structure};
pub use recipe::{
    AdamSpec, BeginSpec, Data, FreshSpec, Keep, ModelSpec, ObjectiveSpec, OptimizerSpec, PerturbationSpec, Recipe,
    SCHEMA, ScheduleSpec, Validation,
};
pub use run::{Change, EpochResult, Gate, Hardened, Place, RunEvent, Validated, finish, harden};
pub use schedule::{Moment, Schedule};
pub use trainer::{Batch, Stepped, Trainer, TrainerOptions, WeightPerturbation};
