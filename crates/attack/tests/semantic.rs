//! Attacks that change what a picture looks like and not what it shows, where the points they must propose are known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::num::NonZeroUsize;

use assay_attack::{
    Attack, Attacked, Bounds, Cancel, Colour, Constants, Corruption, Negative, Norm, Occlusion, Outcome, Patch, Search,
    Spatial, parse, run,
};
use common::{Net, Samples, proposals, threat};
use ndarray::{Array2, Axis};

fn bounds(low: f32, high: f32) -> Bounds {
    Bounds::new(low, high).unwrap()
}

/// The points proposed for one image.
fn points(attack: &dyn Attack, shape: &[usize], image: &[f32], bounds: Bounds) -> Vec<Vec<f32>> {
    let images = Array2::from_shape_fn((1, image.len()), |(_, i)| image[i]);
    proposals(attack, shape, &images, bounds, 7).into_iter().map(|points| points.row(0).to_vec()).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    let close = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close, "{found:?}\n{expected:?}");
}

/// A net of two classes: the second where the element `at` exceeds `threshold`.
fn reader(shape: &[usize], at: usize, threshold: f64) -> Net {
    let features = shape.iter().product();
    let weights = Array2::from_shape_fn((2, features), |(class, i)| if class == 1 && i == at { 1.0 } else { 0.0 });
    Net::linear(shape, weights, vec![threshold, 0.0])
}

#[test]
fn a_negative_mirrors_the_range_and_breaks_what_the_net_says_it_breaks() {
    assert_eq!(points(&Negative, &[2, 2], &[0.0, 0.25, 0.5, 1.0], bounds(0.0, 1.0)), [[1.0, 0.75, 0.5, 0.0]]);
    assert_eq!(points(&Negative, &[4], &[-1.0, 0.0, 2.0, 3.0], bounds(-1.0, 3.0)), [[3.0, 2.0, 0.0, -1.0]]);
    for classes in [2, 3, 4, 10] {
        let mut net = Net::random_linear(&[1, 4, 7], classes, 3);
        net.bias[0] += 3.0;
        let samples = Samples::random(&net, 60, 4);
        let negatives = Samples::labelled(&net, samples.images.mapv(|v| 1.0 - v));
        let attacked = samples.attack(&net, &Negative, &threat(Norm::L1, "inf"));
        let broken: Vec<bool> = attacked.outcomes.iter().map(|o| o.outcome == Outcome::Broken).collect();
        let expected: Vec<bool> = samples.labels.iter().zip(&negatives.labels).map(|(a, b)| a != b).collect();
        assert_eq!(broken, expected);
        assert!(broken.contains(&true) && broken.contains(&false));
    }
}

/// One light pixel on black, and a net that sees one place: the sample is broken where a shift brings the one to the other.
#[test]
fn a_translation_breaks_where_it_moves_the_light_to_where_the_net_looks() {
    let (height, width, looks) = (6, 9, (2, 5));
    let net = reader(&[1, height, width], looks.0 * width + looks.1, 0.5);
    let lights = Array2::from_shape_fn((height * width, height * width), |(i, j)| f32::from(u8::from(i == j)));
    let samples = Samples::labelled(&net, lights);
    let attack = Spatial { pixels: 2.0, degrees: 0.0, ..Spatial::default() };
    assert_eq!(attack.evaluations(), 24);
    let attacked = samples.attack(&net, &attack, &threat(Norm::L2, "inf"));
    for (i, outcome) in attacked.outcomes.iter().enumerate() {
        let (row, column) = (i / width, i % width);
        let near = row.abs_diff(looks.0) <= 2 && column.abs_diff(looks.1) <= 2;
        assert_eq!(outcome.outcome == Outcome::Broken, near, "{row} {column}");
        if !near {
            assert_eq!(outcome.cost.queries, 1 + 24);
        }
    }
}

#[test]
fn shifts_bring_in_black_and_are_interpolated() {
    let image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let attack = Spatial { pixels: 1.0, degrees: 0.0, shifts: 3, ..Spatial::default() };
    let range = bounds(-1.0, 7.0);
    let found = points(&attack, &[1, 2, 3], &image, range);
    // Up and left first, then column by column, row by row, without the picture as it is.
    assert_eq!(found.len(), 8);
    assert_close(&found[0], &[5.0, 6.0, -1.0, -1.0, -1.0, -1.0]);
    assert_close(&found[1], &[4.0, 5.0, 6.0, -1.0, -1.0, -1.0]);
    assert_close(&found[3], &[2.0, 3.0, -1.0, 5.0, 6.0, -1.0]);
    assert_close(&found[7], &[-1.0, -1.0, -1.0, -1.0, 1.0, 2.0]);
    // Half a pixel down and right: the mean of four, of which those outside are black.
    let half = Spatial { pixels: 0.5, degrees: 0.0, shifts: 2, ..Spatial::default() };
    let found = points(&half, &[1, 2, 3], &image, range);
    assert_eq!(found.len(), 4);
    assert_close(&found[3], &[-0.5, 0.25, 0.75, 0.75, 3.0, 4.0]);
}

#[test]
fn rotations_turn_around_the_centre() {
    let side = 4;
    let image: Vec<f32> = (0..2 * side * side).map(|i| i as f32 / 40.0).collect();
    let attack = Spatial { pixels: 0.0, degrees: 90.0, angles: 3, ..Spatial::default() };
    let found = points(&attack, &[2, side, side], &image, bounds(0.0, 1.0));
    assert_eq!((found.len(), attack.evaluations()), (2, 2));
    let turned = |at: fn(usize, usize) -> (usize, usize)| -> Vec<f32> {
        let source = |i: usize| {
            let (row, column) = at(i / 4 % 4, i % 4);
            image[i / 16 * 16 + row * 4 + column]
        };
        (0..image.len()).map(source).collect()
    };
    // Anticlockwise, then clockwise.
    assert_close(&found[0], &turned(|row, column| (column, 3 - row)));
    assert_close(&found[1], &turned(|row, column| (3 - column, row)));
    // By 45 degrees, the middle of three by three stays, and its corners come from beyond the edge.
    let attack = Spatial { pixels: 0.0, degrees: 45.0, angles: 2, ..Spatial::default() };
    let found = points(&attack, &[3, 3], &[1.0; 9], bounds(0.0, 1.0));
    assert!(found.iter().all(|p| p[4] == 1.0 && p[0] < 0.6 && p[0] == p[8]), "{found:?}");
}

#[test]
fn the_grid_is_that_of_the_paper_and_random_moves_are_each_samples_own() {
    assert_eq!(Spatial::default().evaluations(), 5 * 5 * 31 - 1);
    assert_eq!(points(&Spatial::default(), &[3, 4], &[0.5; 12], bounds(0.0, 1.0)).len(), 774);
    let attack = parse("spatial", &[("search".to_owned(), "random".to_owned())]).unwrap();
    let images = Array2::from_elem((2, 30), 0.5) * Array2::from_shape_fn((1, 30), |(_, i)| i as f32 / 29.0);
    let unit = bounds(0.0, 1.0);
    let first = proposals(&*attack, &[1, 5, 6], &images, unit, 7);
    assert_eq!(first.len(), 10);
    assert_eq!(first, proposals(&*attack, &[1, 5, 6], &images, unit, 7));
    assert_ne!(first, proposals(&*attack, &[1, 5, 6], &images, unit, 8));
    assert!(first.iter().all(|points| points.row(0) != points.row(1)));
    assert!(first.windows(2).all(|two| two[0] != two[1]));
}

/// A white picture and a black square in its middle: it is broken where the net looks at a pixel that is hidden.
#[test]
fn a_square_breaks_where_it_hides_what_the_net_looks_at() {
    let (height, width) = (6, 8);
    let attack = Occlusion { side: 0.34, places: 1, colour: Patch::Black };
    for at in 0..height * width {
        let net = reader(&[1, height, width], at, 0.5);
        let samples = Samples::labelled(&net, Array2::ones((1, height * width)));
        let attacked = samples.attack(&net, &attack, &threat(Norm::L0, "inf"));
        let hidden = (2..4).contains(&(at / width)) && (3..5).contains(&(at % width));
        assert_eq!(attacked.count(Outcome::Broken) == 1, hidden, "{at}");
    }
    // Slid over the whole, it hides every pixel once.
    let net = reader(&[1, height, width], 13, 0.5);
    let samples = Samples::labelled(&net, Array2::ones((1, height * width)));
    let slid = Occlusion { places: 7, ..attack };
    assert_eq!(samples.attack(&net, &slid, &threat(Norm::L0, "inf")).count(Outcome::Broken), 1);
}

#[test]
fn squares_have_the_colour_that_was_asked_for() {
    // Two channels, last: the second is three times the first.
    let image: Vec<f32> = (0..24).map(|i| [0.25, 0.75][i % 2] + if i < 2 { 0.24 } else { 0.0 }).collect();
    let square = |colour| {
        let attack = Occlusion { side: 0.3, places: 2, colour };
        let found = points(&attack, &[6, 2, 2], &image, bounds(-0.5, 1.0));
        let last = found.last().unwrap();
        assert_eq!(last[..20], image[..20]);
        [last[22], last[23]]
    };
    assert_close(&square(Patch::Grey), &[0.25, 0.25]);
    assert_close(&square(Patch::Black), &[-0.5, -0.5]);
    assert_close(&square(Patch::White), &[1.0, 1.0]);
    assert_close(&square(Patch::Mean), &[0.27, 0.77]);
}

const STILL: Colour =
    Colour { search: Search::Grid, hue: 0.0, saturation: 0.0, brightness: 0.0, contrast: 0.0, levels: 2, tries: 1 };

#[test]
fn colours_change_as_their_names_say() {
    let unit = bounds(0.0, 1.0);
    // A red and a dark yellow pixel.
    let image = [1.0, 0.5, 0.0, 0.5, 0.0, 0.25];
    let of = |attack: Colour| points(&attack, &[3, 1, 2], &image, unit);
    // Half the circle each way is the same: cyan and blue.
    for found in of(Colour { hue: 0.5, ..STILL }) {
        assert_close(&found, &[0.0, 0.25, 1.0, 0.25, 1.0, 0.5]);
    }
    let [less, more] = <[_; 2]>::try_from(of(Colour { saturation: 0.25, ..STILL })).unwrap();
    assert_close(&less, &[1.0, 0.5, 0.25, 0.5, 0.25, 0.375]);
    assert_close(&more, &[1.0, 0.5, 0.0, 0.5, 0.0, 0.125]);
    let [darker, lighter] = <[_; 2]>::try_from(of(Colour { brightness: 0.25, ..STILL })).unwrap();
    assert_close(&darker, &[0.75, 0.25, 0.0, 0.25, 0.0, 0.125]);
    assert_close(&lighter, &[1.0, 0.75, 0.0, 0.75, 0.0, 0.375]);
    // Means of the channels: 0.75, 0.25, 0.125.
    let [flatter, steeper] = <[_; 2]>::try_from(of(Colour { contrast: 0.5, ..STILL })).unwrap();
    assert_close(&flatter, &[0.875, 0.625, 0.125, 0.375, 0.0625, 0.1875]);
    assert_close(&steeper, &[1.0, 0.375, 0.0, 0.625, 0.0, 0.3125]);
    // With the channels last and in another range, the same.
    let last = [[2.0, -2.0, -2.0], [0.0, 0.0, -1.0], [0.0, 0.0, -1.0], [2.0, -2.0, -2.0], [-2.0; 3]].concat();
    let cyan = [[-2.0, 2.0, 2.0], [-1.0, -1.0, 0.0], [-1.0, -1.0, 0.0], [-2.0, 2.0, 2.0], [-2.0; 3]].concat();
    assert_close(&points(&Colour { hue: 0.5, ..STILL }, &[5, 1, 3], &last, bounds(-2.0, 2.0))[0], &cyan);
    // A grid of all four, without the picture as it is.
    let all = Colour { hue: 0.5, saturation: 0.5, brightness: 0.1, contrast: 0.1, levels: 3, ..STILL };
    assert_eq!((all.evaluations(), of(all).len()), (80, 80));
}

#[test]
fn random_colours_stay_within_what_was_asked_for_and_grow() {
    let image: Vec<f32> = (0..27).map(|i| 0.3 + 0.4 * (i as f32 * 0.77).sin().abs()).collect();
    let attack = Colour { search: Search::Random, brightness: 0.2, tries: 40, ..STILL };
    let found = points(&attack, &[3, 3, 3], &image, bounds(0.0, 1.0));
    let largest = |points: &[Vec<f32>]| {
        let of = |point: &Vec<f32>| point.iter().zip(&image).map(|(p, x)| (p - x).abs()).fold(0.0, f32::max);
        points.iter().map(of).fold(0.0, f32::max)
    };
    assert_eq!(found.len(), 40);
    assert!(largest(&found[..10]) <= 0.05 + 1e-5 && largest(&found) <= 0.2 + 1e-5);
    assert!(largest(&found[30..]) > 0.12, "{}", largest(&found[30..]));
}

/// The mean of a grey picture decides; its contrast does not move it.
#[test]
fn brightness_breaks_grey_pictures_where_the_formula_says_so() {
    let weights = Array2::from_shape_fn((2, 6), |(class, _)| if class == 1 { 1.0 / 6.0 } else { 0.0 });
    let net = Net::linear(&[2, 3, 1], weights, vec![0.5, 0.0]);
    let samples = Samples::labelled(&net, Array2::from_shape_fn((50, 6), |(i, _)| 0.25 + i as f32 / 98.0));
    let attack = Colour { brightness: 0.2, contrast: 0.3, hue: 0.5, ..STILL };
    let attacked = samples.attack(&net, &attack, &threat(Norm::Linf, "inf"));
    for (i, outcome) in attacked.outcomes.iter().enumerate() {
        let mean = 0.25 + i as f64 / 98.0;
        assert_eq!(outcome.outcome == Outcome::Broken, (mean - 0.5).abs() < 0.2, "{mean}");
    }
    assert!(attacked.count(Outcome::Broken) > 30 && attacked.count(Outcome::Robust) > 5);
    // Within a radius only what lies inside is a find.
    let near = samples.attack(&net, &attack, &threat(Norm::Linf, "0.1"));
    assert_eq!((near.count(Outcome::Broken), near.count(Outcome::Error)), (0, 0));
}

#[test]
fn changes_that_change_nothing_are_refused() {
    let error = |name: &str, parameters: &[(&str, &str)]| {
        let parameters: Vec<_> = parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        parse(name, &parameters).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(error("spatial", &[("pixels", "0"), ("degrees", "0")]).ends_with("nothing moves"));
    assert!(error("spatial", &[("shifts", "1"), ("angles", "1")]).ends_with("nothing moves"));
    let still = [("hue", "0"), ("saturation", "0"), ("brightness", "0"), ("contrast", "0")];
    assert!(error("colour", &still).ends_with("nothing changes"));
    let net = Net::random_linear(&[1, 3, 4], 2, 1);
    let samples = Samples::random(&net, 2, 1);
    let refused = |attack: &dyn Attack| {
        let threat = threat(Norm::L2, "inf");
        run(&samples.job(&net, attack, &threat), &mut |_| {}, &Cancel::default()).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&Colour { hue: 0.5, ..STILL }),
        "attack \"colour\": samples of shape [1, 3, 4] have no colours, so that nothing changes: expected brightness or contrast above 0"
    );
    let flat = Net::random_linear(&[12], 2, 1);
    for attack in [&Spatial::default() as &dyn Attack, &Occlusion::default(), &Colour::default()] {
        let threat = threat(Norm::L2, "inf");
        let error = run(&samples.job(&flat, attack, &threat), &mut |_| {}, &Cancel::default()).unwrap_err();
        assert!(
            error.to_string().contains("takes samples of shape [12]: expected [channels, height, width]"),
            "{error}"
        );
    }
}

fn told(attacked: &Attacked) -> Vec<(String, Vec<u32>)> {
    let rows = attacked.adversarial.rows().into_iter().map(|row| row.iter().map(|v| v.to_bits()).collect());
    attacked.outcomes.iter().map(|o| serde_json::to_string(o).unwrap()).zip(rows).collect()
}

#[test]
fn results_without_a_radius_do_not_depend_on_batch_or_company() {
    let random = Spatial { search: Search::Random, tries: 6, ..Spatial::default() };
    let grid = Spatial { shifts: 3, angles: 5, ..Spatial::default() };
    let colours = Colour { tries: 12, ..Colour::default() };
    let noise = Corruption { severity: 5, constants: Constants::Imagenet, ..Corruption::default() };
    let attacks: [&dyn Attack; 6] = [&Negative, &random, &grid, &colours, &Occlusion::default(), &noise];
    for (shape, classes) in [([3, 5, 7], 4), ([4, 6, 3], 2)] {
        let net = Net::random_linear(&shape, classes, 11);
        let samples = Samples::random(&net, 40, 12);
        for attack in attacks {
            let threat = threat(Norm::L2, "inf");
            let attacked = samples.attack(&net, attack, &threat);
            let name = attack.description().name;
            assert!(attacked.count(Outcome::Broken) > 3, "{name}: too few finds to mean much");
            for batch in [1, 7, 64] {
                let mut job = samples.job(&net, attack, &threat);
                job.batch = NonZeroUsize::new(batch).unwrap();
                let again = run(&job, &mut |_| {}, &Cancel::default()).unwrap();
                assert_eq!(told(&again), told(&attacked), "{name}: batches of {batch}");
            }
            let rows = [31, 4, 17];
            let few = Samples {
                images: samples.images.select(Axis(0), &rows),
                labels: rows.iter().map(|&i| samples.labels[i]).collect(),
                ids: rows.iter().map(|&i| samples.ids[i]).collect(),
            };
            let alone = told(&few.attack(&net, attack, &threat));
            let whole = told(&attacked);
            assert_eq!(alone, rows.map(|i| whole[i].clone()), "{name}: three of forty");
        }
    }
}
