//! Clouds by the diamond-square algorithm (Fournier, Fussell and Carpenter, 1982).

use super::picture::Plane;
use crate::SampleRng;

/// Wibble of the coarsest points; its square is the largest change.
const FIRST_WIBBLE: f64 = 100.0;

/// A cloud of at least the given size, from 0 to 1 over a square with a power of two as its side, whose edges fit together.
///
/// `decay` is how much smaller the changes become from one scale to the next: the larger, the smoother.
pub(super) fn plasma(height: usize, width: usize, decay: f64, rng: &mut SampleRng) -> Plane {
    let side = height.max(width).max(2).next_power_of_two();
    let mut map = vec![0.0_f64; side * side];
    let (mut step, mut wibble) = (side, FIRST_WIBBLE);
    let at = |row: usize, column: usize| row % side * side + column % side;
    while step >= 2 {
        let half = step / 2;
        let points = |row: usize, column: usize| {
            (row..side).step_by(step).flat_map(move |r| (column..side).step_by(step).map(move |c| (r, c)))
        };
        let mut wibbled = |sum: f64| sum / 4.0 + wibble * wibble * (2.0 * rng.uniform() - 1.0);
        // The middle of each square, from its corners.
        for (r, c) in points(half, half) {
            let corners =
                [at(r - half, c - half), at(r - half, c + half), at(r + half, c - half), at(r + half, c + half)];
            map[at(r, c)] = wibbled(corners.iter().map(|i| map[*i]).sum());
        }
        // The middle of each side, from its ends and the middles of the squares beside it.
        for (r, c) in points(0, half).chain(points(half, 0)) {
            let around = [at(r + side - half, c), at(r + half, c), at(r, c + side - half), at(r, c + half)];
            map[at(r, c)] = wibbled(around.iter().map(|i| map[*i]).sum());
        }
        (step, wibble) = (half, wibble / decay);
    }
    let lowest = map.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = map.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = (highest - lowest).max(f64::MIN_POSITIVE);
    Plane::from_fn(height, width, |row, column| ((map[row * side + column] - lowest) / range) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SampleId;

    #[test]
    fn a_cloud_spans_its_range_and_is_smoother_the_faster_the_changes_fall() {
        let mut rng = SampleRng::new(1, SampleId(2), "test", 0);
        let roughness = |decay: f64, rng: &mut SampleRng| {
            let cloud = plasma(64, 64, decay, rng);
            assert_eq!((cloud.values.iter().copied().fold(1.0, f32::min), cloud.max()), (0.0, 1.0));
            let steps = (0..64).flat_map(|r| (1..64).map(move |c| (r, c)));
            steps.map(|(r, c)| (cloud.at(r, c) - cloud.at(r, c - 1)).abs()).sum::<f32>()
        };
        let [rough, middle, smooth] = [1.4, 1.75, 3.0].map(|decay| roughness(decay, &mut rng));
        assert!(rough > 1.2 * middle && middle > 1.5 * smooth, "{rough} {middle} {smooth}");
        let strip = plasma(3, 40, 2.0, &mut rng);
        assert_eq!((strip.height, strip.width), (3, 40));
        assert!(plasma(1, 1, 2.0, &mut rng).at(0, 0).is_finite());
    }
}
