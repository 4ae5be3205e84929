//! Images that the repository ships, for crates that cannot read data sets.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use ndarray::Array2;

/// The first `n` of the 1,000 test images of Fashion-MNIST, `[n, 784]` in [0, 1], and their classes.
///
/// # Panics
/// If they cannot be read, or `n` is larger.
#[must_use]
pub fn fashion_mnist(n: usize) -> (Array2<f32>, Vec<u32>) {
    // Behind the headers of the IDX format, one byte for each pixel and label.
    let pixels = content("t10k-images-idx3-ubyte.gz", 16);
    let labels = content("t10k-labels-idx1-ubyte.gz", 8);
    let images = Array2::from_shape_fn((n, 784), |(image, pixel)| f32::from(pixels[image * 784 + pixel]) / 255.0);
    (images, labels[..n].iter().copied().map(u32::from).collect())
}

fn content(name: &str, header: usize) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/data/fashion-mnist").join(name);
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    bytes.split_off(header)
}
