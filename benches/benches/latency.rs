//! What predictions of variants cost beside their parents', through the service, as JSON: `FILE REPOSITORY VARIANT:PARENT...`.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod hosted;

use std::path::Path;
use std::time::Duration;

use assay_proto::v1::GetModelRequest;

use hosted::{Hosted, quartiles, request};

const BATCHES: [usize; 2] = [1, 64];
/// How long a model is measured at one size.
const MEASURED: Duration = Duration::from_secs(2);
const FEWEST: usize = 15;

fn main() {
    // Cargo gives benchmarks a word of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [file, repository, pairs @ ..] = &*arguments else { panic!("usage: FILE REPOSITORY VARIANT:PARENT...") };
    let pairs: Vec<[&str; 2]> = pairs.iter().map(|pair| pair.split_once(':').unwrap().into()).collect();
    let hosted = Hosted::new(Path::new(repository), pairs.as_flattened());
    let asked = GetModelRequest { model: pairs[0][0].into(), ..Default::default() };
    let info = hosted.tokio.block_on(hosted.client.clone().get_model(asked)).unwrap().into_inner();
    let sample: Vec<usize> = info.input.unwrap().shape.iter().map(|size| *size as usize).collect();

    let mut lines = Vec::new();
    for pair in &pairs {
        let shares = BATCHES.map(|batch| {
            // What the images show does not matter to how long it takes.
            let values = (0..batch * sample.iter().product::<usize>()).map(|i| (i % 251) as f32 / 250.0);
            let requests = pair.map(|name| request(name, &sample, values.clone()));
            let rounds = hosted.in_turn(&requests, MEASURED, FEWEST);
            let [_, share, _] = quartiles(rounds.iter().map(|[variant, parent]| variant / parent).collect());
            let [_, ms, _] = quartiles(rounds.iter().map(|round| 1e3 * round[0]).collect());
            format!("\"{batch}\": {{\"share\": {share:.4}, \"ms\": {ms:.4}}}")
        });
        lines.push(format!("\"{}\": {{{}}}", pair[0], shares.join(", ")));
    }
    hosted.stop();
    std::fs::write(file, format!("{{\n{}\n}}\n", lines.join(",\n"))).unwrap();
}
