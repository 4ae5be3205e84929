//! Attack streams progress and ends with one result.

use crate::harness::{Running, attack_request, floats, fp32, images, linf};
use assay_proto::v1::{
    AttackProgress, AttackRequest, AttackResult, Budget, Cost, ListAttacksRequest, Outcome, SampleOutcome, Target,
    TargetChoice, attack_response::Event,
};

async fn run(server: &Running, request: AttackRequest) -> (Vec<AttackProgress>, AttackResult) {
    let mut events = server.client().await.attack(request).await.unwrap().into_inner();
    let (mut progress, mut result) = (Vec::new(), None);
    while let Some(response) = events.message().await.unwrap() {
        assert!(result.is_none(), "an event after the result");
        match response.event.unwrap() {
            Event::Progress(event) => progress.push(event),
            Event::Result(event) => result = Some(event),
        }
    }
    (progress, result.expect("no result"))
}

/// What was found, without the time that it took.
fn timeless(result: &AttackResult) -> Vec<SampleOutcome> {
    result.outcomes.iter().map(|outcome| SampleOutcome { seconds: 0.0, ..outcome.clone() }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_never_falls_and_the_result_comes_last() {
    let server = Running::start().await;
    let (progress, result) = run(&server, attack_request(16, &[("steps", "200")])).await;
    assert!(!progress.is_empty());
    assert!(progress.is_sorted_by(|a, b| a.steps_done <= b.steps_done && a.broken <= b.broken));
    assert!(progress.iter().all(|event| event.samples == 16 && event.steps_done <= event.steps_total));
    let last = progress.last().unwrap();
    assert_eq!((last.finished, last.steps_done), (16, last.steps_total));
    assert_eq!(result.outcomes.len(), 16);
    assert_eq!(result.version, "1");
    let cost = result.cost.unwrap();
    assert!(cost.gradients > 0 && cost.queries >= 16, "{cost:?}");
    let shares: f64 = result.outcomes.iter().map(|outcome| outcome.seconds).sum();
    assert!(result.outcomes.iter().all(|outcome| outcome.seconds > 0.0) && shares < result.seconds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adversarial_samples_stay_within_the_threat_and_change_the_class() {
    let server = Running::start().await;
    let request = AttackRequest { return_adversarial: true, ..attack_request(64, &[("steps", "10")]) };
    let (_, result) = run(&server, request).await;
    let (clean, labels) = images(64);
    let adversarial = result.adversarial.unwrap();
    assert_eq!(adversarial.shape, clean.shape);
    let (clean, adversarial) = (floats(&clean), floats(&adversarial));
    let mut broken = 0;
    for (i, outcome) in result.outcomes.iter().enumerate() {
        let pixels = 784 * i..784 * (i + 1);
        let distances =
            clean[pixels.clone()].iter().zip(&adversarial[pixels]).map(|(x, y)| f64::from(*y) - f64::from(*x));
        let distance = distances.fold(0.0, |largest: f64, d| largest.max(d.abs()));
        assert_eq!(outcome.label, labels[i]);
        assert!(distance <= 0.1, "sample {i}: {distance}");
        if outcome.outcome() == Outcome::Broken {
            broken += 1;
            assert!((distance - outcome.distance_linf).abs() < 1e-12);
            assert_ne!(outcome.adversarial_prediction, outcome.label);
        } else {
            assert!(distance == 0.0, "sample {i} is {:?} and differs by {distance}", outcome.outcome());
        }
    }
    assert!(broken > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_is_reached_or_the_sample_is_robust() {
    let server = Running::start().await;
    let target = |choice: TargetChoice, classes: Vec<u32>, rank| Some(Target { choice: choice.into(), classes, rank });
    let (_, labels) = images(32);
    let next: Vec<u32> = labels.iter().map(|label| (label + 1) % 10).collect();
    let request = attack_request(32, &[("steps", "20")]);
    let aim = |target| AttackRequest { threat: Some(linf("0.2")), target, ..request.clone() };
    let given = run(&server, aim(target(TargetChoice::Classes, next.clone(), 0))).await.1;
    let mut broken = 0;
    for (outcome, next) in given.outcomes.iter().zip(next) {
        assert_eq!(outcome.target, Some(next));
        if outcome.outcome() == Outcome::Broken {
            assert_eq!(outcome.adversarial_prediction, next);
            broken += 1;
        }
    }
    assert!(broken > 0);
    let last = run(&server, aim(target(TargetChoice::Rank, vec![], 9))).await.1;
    let least = run(&server, aim(target(TargetChoice::LeastLikely, vec![], 0))).await.1;
    assert_eq!(timeless(&last), timeless(&least));
    let untargeted = run(&server, aim(None)).await.1;
    assert!(untargeted.outcomes.iter().all(|outcome| outcome.target.is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_seed_gives_the_same_result_whatever_the_batch() {
    let server = Running::start().await;
    let together = run(&server, attack_request(8, &[("steps", "5")])).await.1;
    let (input, labels) = images(8);
    let row = input.data.len() / 8;
    let alone = AttackRequest {
        input: Some(assay_proto::v1::Tensor {
            shape: vec![1, 1, 28, 28],
            data: input.data.slice(5 * row..6 * row),
            ..input
        }),
        labels: vec![labels[5]],
        sample_ids: vec![5],
        ..attack_request(1, &[("steps", "5")])
    };
    let alone = run(&server, alone).await.1;
    assert_eq!(alone.outcomes[0].outcome, together.outcomes[5].outcome);
    assert_eq!(alone.outcomes[0].cost, together.outcomes[5].cost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quote_runs_nothing_and_is_never_exceeded() {
    let server = Running::start().await;
    let request = attack_request(16, &[("steps", "7"), ("restarts", "2")]);
    let quoted = run(&server, AttackRequest { quote: true, ..request.clone() }).await.1;
    assert_eq!((quoted.outcomes.len(), quoted.cost, quoted.version.as_str()), (0, None, "1"));
    let (_, result) = run(&server, request).await;
    let (worst, cost) = (quoted.worst_case.unwrap(), result.cost.unwrap());
    assert_eq!(result.worst_case, Some(worst));
    assert_eq!((worst.queries, worst.gradients), (16 * 3, 16 * 2 * 8));
    // The last point of a restart is evaluated forward only, which is quoted as a gradient.
    assert!(cost.gradients <= worst.gradients && cost.queries + cost.gradients <= worst.queries + worst.gradients);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_ends_the_attack_with_what_was_found() {
    let server = Running::start().await;
    let request = attack_request(32, &[("steps", "50")]);
    let few = Budget { gradients: 3, ..Default::default() };
    let (_, result) = run(&server, AttackRequest { budget: Some(few), ..request.clone() }).await;
    assert_eq!(result.stopped, "gradients");
    assert!(result.outcomes.iter().all(|outcome| outcome.cost.unwrap().gradients <= 3));
    let flag = result.flags.iter().find(|flag| flag.kind == "budget-spent").unwrap();
    let robust = result.outcomes.iter().filter(|outcome| outcome.outcome() == Outcome::Robust).count() as u64;
    assert!(robust > 0 && flag.samples == robust && !flag.remedy.is_empty(), "{flag:?}");

    let short = Budget { seconds: 1e-9, ..Default::default() };
    let (_, result) = run(&server, AttackRequest { budget: Some(short), ..request.clone() }).await;
    assert_eq!(result.stopped, "seconds");
    assert!(
        result
            .outcomes
            .iter()
            .all(|outcome| outcome.outcome() == Outcome::Error && outcome.error.contains("not measured"))
    );
    let (_, ended) = run(&server, AttackRequest { budget: Some(Budget::default()), ..request }).await;
    assert_eq!(ended.stopped, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_for_flags_is_counted_apart_and_can_be_left_out() {
    let server = Running::start().await;
    let request = attack_request(16, &[("steps", "5")]);
    let looked = run(&server, request.clone()).await.1;
    let plain = run(&server, AttackRequest { skip_checks: true, ..request }).await.1;
    assert_eq!((looked.cost, timeless(&looked)), (plain.cost, timeless(&plain)));
    assert!(looked.checks.unwrap().queries > 0);
    assert_eq!(plain.checks, Some(Cost::default()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suite_says_what_it_consists_of() {
    let server = Running::start().await;
    let attacks = server.client().await.list_attacks(ListAttacksRequest {}).await.unwrap().into_inner().attacks;
    let suite = |name: &str| attacks.iter().find(|attack| attack.name == name).unwrap().suite.clone();
    let standard = suite("autoattack-standard").unwrap();
    let parts: Vec<_> = standard.parts.iter().map(|part| part.attack.clone().unwrap().name).collect();
    assert!(standard.version >= 1);
    for name in ["apgd", "apgd-t", "fab-t", "square"] {
        assert!(parts.iter().any(|part| part == name), "{parts:?}");
    }
    assert_eq!(suite("pgd"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_found_is_an_image_of_8_bits_where_that_is_asked_for() {
    let server = Running::start().await;
    let eight_bit =
        AttackRequest { eight_bit: true, return_adversarial: true, ..attack_request(32, &[("steps", "10")]) };
    let (_, result) = run(&server, eight_bit.clone()).await;
    let adversarial = floats(&result.adversarial.unwrap());
    assert!(adversarial.iter().all(|v| (255.0 * v - (255.0 * v).round()).abs() < 1e-4));
    assert!(result.outcomes.iter().any(|outcome| outcome.outcome() == Outcome::Broken));
    let between = AttackRequest { input: Some(fp32(&[32, 1, 28, 28], &[0.5; 32 * 784])), ..eight_bit };
    let refused = server.client().await.attack(between).await.unwrap().into_inner().message().await.unwrap_err();
    assert!(refused.message().contains("none of the 256 values"), "{refused}");
}
