//! Jobs that are cut off at every operation of their store end with the report of one that was not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod crash;
mod damage;
mod fake;
mod net;
mod retold;
