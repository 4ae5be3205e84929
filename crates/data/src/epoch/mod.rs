//! What training needs of data: samples set aside for validation, and the batches of an epoch.

mod augment;
mod batches;
mod holdout;
mod prefetch;

pub use augment::{Augment, Border};
pub use batches::{Batch, Batches, Epoch, Last};
pub use holdout::Holdout;
