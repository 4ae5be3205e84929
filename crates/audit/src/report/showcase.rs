//! A larger audit for the tests of pages: two models, several radii, a search for the nearest sample, and corruptions.

use assay_attack::{Bounds, Cost, Distance, Flag, FlagKind};

use super::fixture;
use crate::event::{
    AttackFacts, Attacked, Clean, Event, Example, Fate, Found, ModelId, Pictures, SampleResult, Setup, Started,
    ThreatFacts, ThreatId,
};
use crate::plan::{Order, Plan};
use crate::report::Report;

const PLAN: &str = r#"
schema = 1
models = [{ name = "sneaker-net" }, { name = "sneaker-net-pruned", version = "2" }]
gates = [{ min_clean_accuracy = 0.6 }, { max_drop = 0.05 }]
seed = 7
[[evaluations]]
norm = "Linf"
eps = ["2/255", "4/255", "8/255"]
attacks = [{ name = "fgsm" }, { name = "pgd", parameters = { steps = 40 } }]
[[evaluations]]
name = "nearest L2"
norm = "L2"
eps = "inf"
attacks = [{ name = "fmn" }]
[[evaluations]]
name = "weather and noise"
norm = "L2"
eps = "inf"
order = "separate"
attacks = [
    { name = "corruption", parameters = { kind = "gaussian_noise", severity = 2 } },
    { name = "corruption", parameters = { kind = "gaussian_noise", severity = 4 } },
    { name = "corruption", parameters = { kind = "fog", severity = 3 } },
]
"#;

const CLASSES: [&str; 4] = ["ankle boot", "sandal", "sneaker", "trousers"];

/// The report of so many samples.
pub(crate) fn report(samples: u32) -> Report {
    Report::fold(&events(samples)).unwrap()
}

fn setup(samples: u32) -> Setup {
    let plan = Plan::parse(PLAN).unwrap();
    let threats = plan.evaluations.iter().flat_map(|evaluation| {
        evaluation.eps.iter().map(|eps| ThreatFacts {
            name: evaluation.name.clone(),
            norm: evaluation.norm,
            eps: eps.clone(),
            attacks: evaluation
                .attacks
                .iter()
                .map(|spec| AttackFacts {
                    name: spec.name.clone(),
                    parameters: spec.parameters.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
                })
                .collect(),
            order: evaluation.order,
        })
    });
    let mut setup = fixture::setup();
    setup.threats = threats.collect();
    setup.plan = plan;
    setup.chunk = samples;
    setup.data.samples = samples.into();
    setup.data.classes = CLASSES.len() as u32;
    setup.data.class_names = CLASSES.map(str::to_owned).to_vec();
    setup.data.sample_shape = vec![1, 8, 8];
    setup
}

/// A number in `[0, 1)` that looks like chance.
fn chance(a: u64, b: u64) -> f64 {
    let mixed = (a + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (b + 1).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 11) as f64 / (1u64 << 53) as f64
}

/// Distance of a sample from the boundary of a model, in Linf; the second model's is nearer.
fn margin(model: u32, sample: u64) -> f64 {
    let spread = if model == 0 { 0.05 } else { 0.036 };
    spread * (0.1 + chance(sample, 3) + 0.3 * chance(sample, 10 + u64::from(model)))
}

fn events(samples: u32) -> Vec<Event> {
    let setup = setup(samples);
    let labels: Vec<u32> = (0..samples).map(|i| (chance(i.into(), 1) * 4.0) as u32).collect();
    let circumstances = match &fixture::events(["a", "b"], ["c", "d"])[0] {
        Event::Started(started) => started.circumstances.clone(),
        _ => unreachable!(),
    };
    let started = Started { setup: setup.clone(), labels: labels.clone(), positions: Vec::new(), circumstances };
    let mut events = vec![Event::Started(Box::new(started))];
    for model in 0..2 {
        let cost = Cost { queries: samples.into(), gradients: 0 };
        let prediction = |i: u64| match chance(i, 20 + u64::from(model)) {
            c if c < 0.01 => None,
            c if c < 0.12 + 0.1 * f64::from(model) => Some((labels[i as usize] + 1) % 4),
            _ => Some(labels[i as usize]),
        };
        let predictions: Vec<_> = (0..samples.into()).map(prediction).collect();
        events.push(Event::Clean(Clean {
            model: ModelId(model),
            chunk: 0,
            predictions: predictions.clone(),
            cost,
            seconds: 0.02,
        }));
        for (t, threat) in setup.threats.iter().enumerate() {
            let mut standing: Vec<u64> = (0..samples.into()).filter(|i| predictions[*i as usize].is_some()).collect();
            for (a, attack) in threat.attacks.iter().enumerate() {
                let attacked = Step { model, t: t as u32, a: a as u32, threat, attack, labels: &labels };
                let event = attacked.event(&standing, &predictions);
                if threat.order == Order::Sequence {
                    standing = event.outcomes.iter().filter(|o| o.fate == Fate::Held).map(|o| o.sample).collect();
                }
                events.push(Event::Attacked(event));
            }
        }
    }
    events.push(Event::Finished);
    events
}

struct Step<'a> {
    model: u32,
    t: u32,
    a: u32,
    threat: &'a ThreatFacts,
    attack: &'a AttackFacts,
    labels: &'a [u32],
}

impl Step<'_> {
    /// How far away this attack finds something; `None`: nowhere within the threat.
    fn reach(&self, sample: u64) -> Option<f64> {
        let margin = margin(self.model, sample);
        let found = match self.attack.name.as_str() {
            "fgsm" => margin * 1.5,
            "corruption" => {
                let severity: f64 =
                    self.attack.parameters.iter().find(|(name, _)| name == "severity").unwrap().1.parse().unwrap();
                return (margin * (6.0 + 40.0 * chance(sample, 40)) < severity / 5.0).then_some(severity / 10.0);
            }
            _ => margin,
        };
        (found <= self.threat.eps.limit())
            .then(|| if self.threat.eps.is_finite() { self.threat.eps.limit() } else { found })
    }

    fn event(&self, standing: &[u64], predictions: &[Option<u32>]) -> Attacked {
        let outcome = |&sample: &u64| {
            let own = predictions[sample as usize].unwrap();
            let unstable = self.attack.name == "pgd" && chance(sample, 50) < 0.02;
            let found = self.reach(sample).filter(|_| !unstable).map(|reach| Found {
                prediction: (own + 1 + (chance(sample, 60) * 3.0) as u32) % 4,
                elsewhere: None,
                by: self.attack.name.clone(),
                distance: Distance { linf: reach, l2: reach * 5.0, l1: reach * 30.0, l0: 64 },
            });
            let fate = match (&found, unstable) {
                (_, true) => Fate::Unstable,
                (Some(found), _) if found.prediction != own => Fate::Changed,
                _ => Fate::Held,
            };
            SampleResult { sample, fate, found: found.filter(|_| fate == Fate::Changed), error: None }
        };
        let outcomes: Vec<_> = standing.iter().map(outcome).collect();
        let broken = outcomes.iter().filter(|o| predictions[o.sample as usize] == Some(self.labels[o.sample as usize]));
        let examples =
            broken.filter_map(|o| o.found.as_ref().map(|found| self.example(o.sample, found))).take(1).collect();
        let flag = |kind, detail: &str, samples| Flag { kind, samples, detail: detail.to_owned() };
        let flags = match (self.model, self.attack.name.as_str()) {
            (1, "pgd") => vec![
                flag(FlagKind::ZeroGradient, "gradients were exactly zero at some step", 3),
                flag(FlagKind::IncompleteOptimization, "the loss still rose when the attack ended", 5),
            ],
            _ => Vec::new(),
        };
        Attacked {
            model: ModelId(self.model),
            threat: ThreatId(self.t),
            attack: self.a,
            chunk: 0,
            cost: Cost { queries: standing.len() as u64, gradients: 40 * standing.len() as u64 },
            outcomes,
            flags,
            examples,
            checks: Cost::default(),
            seconds: 0.5,
        }
    }

    fn example(&self, sample: u64, found: &Found) -> Example {
        let wave = |i: usize| 0.5 + 0.4 * ((i % 8) as f32 * 0.9 + sample as f32).sin() * ((i / 8) as f32 * 0.7).cos();
        let original = ndarray::Array1::from_shape_fn(64, wave);
        let change = |i: usize| if chance(i as u64, sample) < 0.5 { 0.03 } else { -0.03 };
        let adversarial = ndarray::Array1::from_shape_fn(64, |i| original[i] + change(i));
        let bounds = Bounds::new(0.0, 1.0).unwrap();
        Example {
            model: ModelId(self.model),
            threat: ThreatId(self.t),
            attack: self.a,
            sample,
            label: self.labels[sample as usize],
            clean_prediction: self.labels[sample as usize],
            adversarial_prediction: found.prediction,
            distance: found.distance,
            pictures: Pictures::draw(&[1, 8, 8], bounds, &original.view(), &adversarial.view()),
        }
    }
}
