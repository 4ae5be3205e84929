//! What a prediction of each variant costs beside its parent, through the service: `--write` puts the table into docs/performance.md.
#![allow(clippy::unwrap_used, missing_docs)]

mod hosted;

use std::fmt::Write as _;
use std::time::Duration;

use assay_benches::{classifier, images, page, repository};
use assay_graph::inspect;

use hosted::{Hosted, quartiles, request};

/// A variant, and what it was made from.
const PAIRS: [[&str; 2]; 4] = [
    ["fashion-filter-pruned", "fashion-dense"],
    ["fashion-layer-pruned", "fashion-robust"],
    ["fashion-restrided", "fashion-robust"],
    ["fashion-upsampled", "fashion-robust"],
];
const BATCHES: [usize; 3] = [1, 16, 64];
/// How long one line is measured.
const MEASURED: Duration = Duration::from_secs(8);
const FEWEST: usize = 15;

fn main() {
    let write = std::env::args().any(|argument| argument == "--write");
    let hosted = Hosted::new(&repository(), PAIRS.as_flattened());
    let mut table = String::from(
        "| variant | of | batch | multiplications, share of the parent's | time, share of the parent's | half of the shares | ms | of the parent, ms |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for names in PAIRS {
        let [variant, parent] = names.map(|name| inspect(classifier(name, 1).model()).macs as f64);
        for batch in BATCHES {
            let data = images(batch);
            let requests = names.map(|name| request(name, &[1, 28, 28], data.samples().iter().copied()));
            let rounds = hosted.in_turn(&requests, MEASURED, FEWEST);
            let [low, share, high] = quartiles(rounds.iter().map(|[variant, parent]| variant / parent).collect());
            let [name, of] = names;
            let [ms, of_parent] = [0, 1].map(|i| 1e3 * quartiles(rounds.iter().map(|round| round[i]).collect())[1]);
            writeln!(
                table,
                "| {name} | {of} | {batch} | {:.2} | **{share:.2}** | {low:.2} to {high:.2} | {ms:.2} | {of_parent:.2} |",
                variant / parent
            )
            .unwrap();
        }
    }
    hosted.stop();
    let run = format!(
        "`Predict` on this machine's own network, variant and parent in turn for {} s a line",
        MEASURED.as_secs()
    );
    page::give("make bench-variants", &run, &table, write).unwrap();
}
