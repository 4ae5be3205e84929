//! Data sets: labelled samples, read into memory from the formats that people have.
//!
//! | source | what is accepted |
//! |---|---|
//! | IDX | `*images*idx3-ubyte[.gz]` and `*labels*idx1-ubyte[.gz]`: their folder, or the images file with the labels beside it |
//! | NPZ | one file with `images`, `x_test`, `x` or `input`, and `labels`, `y_test`, `y` |
//! | NPY | two files: images, and labels that are named or found beside them |
//! | CIFAR | the binary batches of CIFAR-10 and CIFAR-100 (`.bin`): one, or their folder |
//! | Parquet | as on the Hugging Face hub, PNG or JPEG pictures and a label in each row: a `.parquet` file, or a folder of them |
//! | corrupted images | one severity of an NPY file as in CIFAR-10-C: five of them follow one another, `labels.npy` is beside it |
//! | folder | one subfolder per class with PNG and JPEG files, or files and a `labels.csv` of `file,label` |
//!
//! Of a folder with training and test data, a [`DataSource`] takes the [`Split`] that it is asked for. Bytes become `value / 255`; floats
//! must be in `[0, 1]` already. Sizes in headers are checked before memory is taken.
//!
//! For training, a [`Holdout`] sets validation samples aside, and an [`Epoch`] makes the [`Batches`] of the others.

#![forbid(unsafe_code)]

mod dataset;
mod draw;
mod epoch;
mod error;
mod layout;
mod source;

pub use dataset::{Dataset, Parts};
pub use draw::Draw;
pub use epoch::{Augment, Batch, Batches, Border, Epoch, Holdout, Last};
pub use error::DataError;
pub use layout::laid_out;
pub use source::{DataSource, Severity, Split, decode_image};
