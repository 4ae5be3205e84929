//! What happens in a run of training, in the words of the contract: the server says it to clients, and a client that trains to itself.

use assay_harden::{EpochResult, RunEvent, Validated};

use crate::v1::{
    HardenBegan, HardenChanged, HardenEpoch, HardenPruned, HardenSteps, HardenValidation,
    harden_response::Event as HardenEvent,
};

impl HardenEvent {
    /// What the contract has of an event; it may have nothing.
    #[must_use]
    pub fn of(event: &RunEvent) -> Option<Self> {
        Some(match event {
            RunEvent::Began { epochs_done, epochs, training, validation } => Self::Began(HardenBegan {
                epochs_done: *epochs_done,
                epochs: *epochs,
                training: *training as u64,
                validation: *validation as u64,
            }),
            RunEvent::Steps { epoch, done, of, loss, rate, left } => Self::Steps(HardenSteps {
                epoch: *epoch,
                done: *done,
                of: *of,
                loss: *loss,
                rate: *rate,
                seconds_left: left.as_secs_f64(),
            }),
            RunEvent::Changed { change, macs, parameters } => Self::Changed(HardenChanged {
                change: change.name().to_owned(),
                macs_before: macs[0],
                macs_after: macs[1],
                parameters_before: parameters[0],
                parameters_after: parameters[1],
            }),
            RunEvent::Pruned { iteration, iterations, removed, macs, parameters, zeros } => {
                Self::Pruned(HardenPruned {
                    iteration: u32::try_from(*iteration).unwrap_or(u32::MAX),
                    iterations: u32::try_from(*iterations).unwrap_or(u32::MAX),
                    channels: removed.channels as u64,
                    blocks: removed.blocks as u64,
                    macs_before: macs[0],
                    macs_after: macs[1],
                    parameters_before: parameters[0],
                    parameters_after: parameters[1],
                    weights: removed.weights as u64,
                    zeros: *zeros,
                })
            }
            RunEvent::Epoch(result) => Self::Epoch(result.into()),
            _ => return None,
        })
    }
}

impl From<&EpochResult> for HardenEpoch {
    fn from(result: &EpochResult) -> Self {
        let EpochResult { epoch, epochs, loss, accuracy, validation, steps, rate } = *result;
        let validation =
            validation.map(|Validated { of, clean, robust }| HardenValidation { samples: of, clean, robust });
        Self { epoch, epochs, loss, accuracy, validation, seconds: steps.as_secs_f64(), rate }
    }
}
