//! What a prediction of each variant costs beside its parent, through the service: `--write` puts the table into docs/performance.md.
#![allow(clippy::unwrap_used, missing_docs)]

mod hosted;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use assay_benches::{classifier, images, page};
use assay_graph::inspect;
use assay_proto::v1::PredictRequest;

use hosted::{Hosted, request};

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
    let hosted = Hosted::new(PAIRS.as_flattened());
    let mut table = String::from(
        "| variant | of | batch | multiplications, share of the parent's | time, share of the parent's | half of the shares | ms | of the parent, ms |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for names in PAIRS {
        let [variant, parent] = names.map(|name| inspect(classifier(name, 1).model()).macs as f64);
        for batch in BATCHES {
            let data = images(batch);
            let requests = names.map(|name| request(name, &data));
            let rounds = rounds(&hosted, &requests);
            let mut shares: Vec<f64> = rounds.iter().map(|[variant, parent]| variant / parent).collect();
            shares.sort_by(f64::total_cmp);
            let share = |part: f64| shares[(part * (shares.len() - 1) as f64).round() as usize];
            let [name, of] = names;
            let [ms, of_parent] = [0, 1].map(|i| 1e3 * median(rounds.iter().map(|round| round[i]).collect()));
            writeln!(
                table,
                "| {name} | {of} | {batch} | {:.2} | **{:.2}** | {:.2} to {:.2} | {ms:.2} | {of_parent:.2} |",
                variant / parent,
                share(0.5),
                share(0.25),
                share(0.75)
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

/// Seconds of a prediction by the variant and by the parent, round by round.
fn rounds(hosted: &Hosted, requests: &[PredictRequest; 2]) -> Vec<[f64; 2]> {
    let predict = |request: &PredictRequest| {
        let (mut client, request) = (hosted.client.clone(), request.clone());
        let start = Instant::now();
        hosted.tokio.block_on(client.predict(request)).unwrap();
        start.elapsed().as_secs_f64()
    };
    // The first one makes the session.
    requests.iter().for_each(|request| _ = predict(request));
    let (start, mut rounds) = (Instant::now(), Vec::new());
    while start.elapsed() < MEASURED || rounds.len() < FEWEST {
        rounds.push([0, 1].map(|i| predict(&requests[i])));
    }
    rounds
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
