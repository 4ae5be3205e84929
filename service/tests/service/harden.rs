//! Harden: durable jobs that end with a version in the repository.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    harness::{Running, connect, deploy, endless_attack, images, violated},
    program,
};
use assay_proto::v1::{
    CancelHardenRequest, GetModelRequest, HardenEpoch, HardenJob, HardenRequest, HardenState, ListHardensRequest,
    ListModelsRequest, PredictRequest, assay_client::AssayClient, harden_request::What, harden_response::Event,
};
use assay_server::{Config, Server};
use tempfile::TempDir;
use tonic::{Code, Status, Streaming, transport::Channel};

type Client = AssayClient<Channel>;
type Events = Streaming<assay_proto::v1::HardenResponse>;

/// Epochs of a run that is to be met while it runs.
const LONG: u32 = 8;
/// Epochs of a run that is never met at its end.
const ENDLESS: u32 = 1_000_000;

/// A folder with a repository and the state of a server.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("models/fashion-robust");
        fs::create_dir_all(model.join("1")).unwrap();
        for file in ["model.toml", "1/model.onnx"] {
            fs::copy(deploy("models/fashion-robust").join(file), model.join(file)).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn configure(&self, config: &mut Config) {
        config.models = self.path("models");
        config.harden.state = Some(self.path("state"));
        config.harden.data = Some(deploy("data/fashion-mnist"));
        config.shutdown.drain_seconds = 60.0;
    }

    async fn server(&self) -> Running {
        Running::with(|config| self.configure(config)).await
    }

    fn made(&self, version: &str) -> Vec<u8> {
        fs::read(self.path("models").join(version).join("model.onnx")).unwrap()
    }
}

/// A net on a few images, with what tells how a run goes on where it was cut off: momentum, shuffling, augmentation.
fn recipe(name: &str, epochs: u32) -> String {
    format!(
        r#"
        schema = 1
        name = "{name}"
        seed = 3
        epochs = {epochs}
        batch = 32
        model = {{ architecture = "cnn-4-8" }}
        data = {{ path = "t10k-images-idx3-ubyte.gz", samples = 200, validation = 40, augment = {{ flip = true }} }}
        objective = {{ kind = "standard" }}
        optimizer = {{ kind = "sgd", rate = 0.05, momentum = 0.9 }}
        "#
    )
}

async fn start(client: &mut Client, recipe: &str) -> Result<(Events, HardenJob), Status> {
    follow(client, What::Recipe(recipe.to_owned())).await
}

async fn follow(client: &mut Client, what: What) -> Result<(Events, HardenJob), Status> {
    let mut events = client.harden(HardenRequest { what: Some(what) }).await?.into_inner();
    match events.message().await?.unwrap().event.unwrap() {
        Event::Accepted(job) => Ok((events, job)),
        other => panic!("{other:?} before the job"),
    }
}

/// Reads to the end: the epochs, and the job with its model.
async fn end(mut events: Events) -> Result<(Vec<HardenEpoch>, HardenJob), Status> {
    let (mut epochs, mut done) = (Vec::new(), None);
    while let Some(response) = events.message().await? {
        match response.event.unwrap() {
            Event::Epoch(epoch) => epochs.push(epoch),
            Event::Done(job) => done = Some(job),
            _ => {}
        }
    }
    Ok((epochs, done.expect("no model")))
}

/// Reads until so many epochs are done.
async fn epochs(events: &mut Events, count: u32) {
    loop {
        match events.message().await.unwrap().unwrap().event.unwrap() {
            Event::Epoch(epoch) if epoch.epoch == count => return,
            Event::Done(_) => panic!("done before epoch {count} was met"),
            _ => {}
        }
    }
}

async fn jobs(client: &mut Client) -> Vec<HardenJob> {
    client.list_hardens(ListHardensRequest {}).await.unwrap().into_inner().jobs
}

async fn states(client: &mut Client) -> Vec<HardenState> {
    jobs(client).await.iter().map(HardenJob::state).collect()
}

async fn cancel(client: &mut Client, job: &str) -> Result<HardenJob, Status> {
    Ok(client.cancel_harden(CancelHardenRequest { job: job.to_owned() }).await?.into_inner())
}

/// The file that a run without an interruption makes.
async fn uninterrupted(recipe: &str) -> Vec<u8> {
    let place = Place::new();
    let server = place.server().await;
    let (events, _) = start(&mut server.client().await, recipe).await.unwrap();
    let (_, job) = end(events).await.unwrap();
    place.made(&format!("{}/{}", job.name, job.version))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_off_unless_it_is_configured() {
    let server = Running::start().await;
    let mut client = server.client().await;
    let refused = [
        start(&mut client, &recipe("tiny", 1)).await.map(drop).unwrap_err(),
        client.list_hardens(ListHardensRequest {}).await.unwrap_err(),
        cancel(&mut client, "1").await.unwrap_err(),
    ];
    for status in refused {
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
        assert!(status.message().contains("set harden.state and harden.data"), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipe_becomes_a_model_and_then_its_next_version() {
    let place = Place::new();
    let server = place.server().await;
    let mut client = server.client().await;
    let (events, job) = start(&mut client, &recipe("tiny", 2)).await.unwrap();
    assert_eq!((job.id.as_str(), job.name.as_str()), ("1", "tiny"));
    let (epochs, job) = end(events).await.unwrap();
    assert_eq!(epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(epochs[1].validation.as_ref().unwrap().samples, 40);
    assert_eq!((job.state(), job.version.as_str(), job.epochs_done), (HardenState::Done, "1", 2));

    // It serves at once, under the name of its recipe.
    let predict = PredictRequest { model: "tiny".to_owned(), input: Some(images(3).0), ..Default::default() };
    assert_eq!(client.predict(predict).await.unwrap().into_inner().predictions.len(), 3);
    let models = client.list_models(ListModelsRequest {}).await.unwrap().into_inner().models;
    assert_eq!(models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>(), ["fashion-robust", "tiny"]);
    assert!(models[1].ready && models[1].kind == "trained", "{models:?}");
    let get = GetModelRequest { model: "tiny".to_owned(), ..Default::default() };
    let model = client.get_model(get.clone()).await.unwrap().into_inner();
    assert_eq!((&model.digest, model.input.unwrap().high.to_bits()), (&job.digest, 1.0_f32.to_bits()));
    let lineage = model.lineage.unwrap();
    assert_eq!((lineage.kind.as_str(), lineage.epoch, lineage.seed), ("trained", 2, 3));
    assert_eq!((lineage.recipe, lineage.parent_model), (job.recipe, None));
    assert!(!place.path("state/1/run").exists(), "the checkpoint of a job that is done");

    // Trained further, it is the next version, and says of which it is.
    let further = recipe("tiny", 1).replace(r#"{ architecture = "cnn-4-8" }"#, "\"tiny\"");
    let (events, _) = start(&mut client, &further).await.unwrap();
    let (_, job) = end(events).await.unwrap();
    assert_eq!((job.id.as_str(), job.version.as_str()), ("2", "2"));
    let parent = client.get_model(get).await.unwrap().into_inner().lineage.unwrap().parent_model.unwrap();
    assert_eq!((parent.model.as_str(), parent.version.as_str()), ("tiny", "1"));

    // The same recipe on the same model has the same result, which is there already.
    let (events, _) = start(&mut client, &recipe("tiny", 2)).await.unwrap();
    let (_, again) = end(events).await.unwrap();
    assert_eq!((again.id.as_str(), again.version.as_str()), ("3", "1"));
    for (series, value) in [
        ("assay_harden_jobs{state=\"done\"}", 3.0),
        ("assay_harden_jobs{state=\"running\"}", 0.0),
        ("assay_harden_epochs_total", 5.0),
        ("assay_harden_samples_total", 5.0 * 160.0),
        ("assay_models_loaded", 3.0),
        ("assay_requests_total{rpc=\"Predict\",model=\"tiny\",code=\"OK\"}", 1.0),
    ] {
        assert_eq!(server.metric(series), Some(value), "{series}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_without_its_client_and_is_followed_by_its_id_or_its_recipe() {
    let place = Place::new();
    let server = place.server().await;
    let mut client = server.client().await;
    let (mut events, job) = start(&mut client, &recipe("tiny", LONG)).await.unwrap();
    epochs(&mut events, 1).await;
    drop((events, client));
    let mut client = server.client().await;
    let (events, found) = follow(&mut client, What::Job(job.id.clone())).await.unwrap();
    assert_eq!((&found.id, found.state()), (&job.id, HardenState::Running));
    let (_, same) = start(&mut client, &recipe("tiny", LONG)).await.unwrap();
    assert_eq!(same.id, job.id, "the same recipe is the same job");
    let (epochs, done) = end(events).await.unwrap();
    assert_eq!(epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(), (1..=LONG).collect::<Vec<_>>());
    // Whoever asks for a job that is done is told so.
    let (events, _) = follow(&mut client, What::Job(job.id)).await.unwrap();
    assert_eq!(end(events).await.unwrap().1, done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_was_cancelled_goes_on_to_the_same_bytes() {
    let place = Place::new();
    let server = place.server().await;
    let mut client = server.client().await;
    let (mut events, job) = start(&mut client, &recipe("tiny", LONG)).await.unwrap();
    epochs(&mut events, 2).await;
    assert_eq!(cancel(&mut client, &job.id).await.unwrap().state(), HardenState::Stopped);
    let status = end(events).await.unwrap_err();
    assert_eq!(status.code(), Code::Cancelled, "{status}");
    assert!(status.message().contains("job 1 was stopped"), "{status}");
    assert_eq!(states(&mut client).await, [HardenState::Stopped]);
    let refused = cancel(&mut client, &job.id).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let (events, _) = follow(&mut client, What::Job(job.id)).await.unwrap();
    let (_, done) = end(events).await.unwrap();
    assert_eq!(done.version, "1");
    assert!(place.made("tiny/1") == uninterrupted(&recipe("tiny", LONG)).await);
}

/// Stopped in order, and killed: either way the job goes on by itself, to the same bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_outlives_its_server() {
    let place = Place::new();
    let mut server = place.server().await;
    let mut client = server.client().await;
    let (mut events, _) = start(&mut client, &recipe("tiny", LONG)).await.unwrap();
    epochs(&mut events, 1).await;
    server.signal();
    let status = end(events).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    drop(client);
    server.ended().await;

    let settings = [
        format!("models={}", place.path("models").display()),
        format!("harden.state={}", place.path("state").display()),
        format!("harden.data={}", deploy("data/fashion-mnist").display()),
    ];
    let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let folder = tempfile::tempdir().unwrap();
    let (mut child, addresses) = program::start(folder.path(), &arguments);
    let mut client = connect(addresses.grpc).await;
    let (mut events, _) = follow(&mut client, What::Job("1".to_owned())).await.unwrap();
    match events.message().await.unwrap().unwrap().event.unwrap() {
        Event::Began(began) => assert!(began.epochs_done >= 1, "it began anew"),
        other => panic!("{other:?}"),
    }
    // An epoch of this server's own, and then nothing but the disk.
    while !matches!(events.message().await.unwrap().unwrap().event.unwrap(), Event::Epoch(_)) {}
    child.kill().unwrap();
    child.wait().unwrap();

    let server = place.server().await;
    let (events, job) = follow(&mut server.client().await, What::Job("1".to_owned())).await.unwrap();
    assert_ne!(job.state(), HardenState::Stopped);
    end(events).await.unwrap();
    assert!(place.made("tiny/1") == uninterrupted(&recipe("tiny", LONG)).await);
}

/// Killed between the version and the word that the job is done: the same version is its result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_end_was_not_written_makes_no_second_version() {
    let place = Place::new();
    let mut server = place.server().await;
    let mut client = server.client().await;
    let (events, _) = start(&mut client, &recipe("tiny", 1)).await.unwrap();
    let (_, made) = end(events).await.unwrap();
    drop(client);
    server.signal();
    server.ended().await;
    let record = place.path("state/1/job.json");
    let mut said: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    assert_eq!(said["state"]["done"]["digest"], made.digest);
    said["state"] = "unfinished".into();
    fs::write(&record, said.to_string()).unwrap();

    let server = place.server().await;
    let (events, _) = follow(&mut server.client().await, What::Job("1".to_owned())).await.unwrap();
    let (_, again) = end(events).await.unwrap();
    assert_eq!((again.version, again.digest), (made.version, made.digest));
    assert_eq!(fs::read_dir(place.path("models/tiny")).unwrap().count(), 2, "the version and model.toml");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_work_comes_first() {
    let place = Place::new();
    let server = place.server().await;
    let mut client = server.client().await;
    let mut attack = client.attack(endless_attack()).await.unwrap().into_inner();
    attack.message().await.unwrap().unwrap();
    let (events, _) = start(&mut client, &recipe("tiny", 2)).await.unwrap();
    let waiting = loop {
        let job = jobs(&mut client).await.remove(0);
        assert_ne!(job.state(), HardenState::Done, "it trained beside an attack");
        if job.waiting {
            break job;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!((waiting.state(), waiting.epochs_done), (HardenState::Running, 0));
    drop(attack);
    assert!(!end(events).await.unwrap().1.waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_job_runs_and_others_wait_in_order() {
    let place = Place::new();
    let server = Running::with(|config| {
        place.configure(config);
        config.harden.jobs = 2;
    })
    .await;
    let mut client = server.client().await;
    let (mut first, _) = start(&mut client, &recipe("endless", ENDLESS)).await.unwrap();
    epochs(&mut first, 1).await;
    let (second, _) = start(&mut client, &recipe("second", 1)).await.unwrap();
    let (_third, job) = start(&mut client, &recipe("third", 1)).await.unwrap();
    let [running, queued] = [HardenState::Running, HardenState::Queued];
    assert_eq!(states(&mut client).await, [running, queued, queued]);
    let full = start(&mut client, &recipe("fourth", 1)).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
    assert!(full.message().contains("harden.jobs"), "{full}");
    assert_eq!(cancel(&mut client, &job.id).await.unwrap().state(), HardenState::Stopped);
    cancel(&mut client, "1").await.unwrap();
    assert_eq!(end(second).await.unwrap().1.version, "1");
    assert_eq!(states(&mut client).await, [HardenState::Stopped, HardenState::Done, HardenState::Stopped]);
    assert!(!place.path("models/third").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_by_its_field_and_leaves_nothing() {
    let place = Place::new();
    let data = place.path("data");
    fs::create_dir(&data).unwrap();
    for file in ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"] {
        fs::copy(deploy("data/fashion-mnist").join(file), data.join(file)).unwrap();
    }
    std::os::unix::fs::symlink(deploy("data"), data.join("out")).unwrap();
    fs::create_dir_all(place.path("models/bytes/1")).unwrap();
    fs::copy(deploy("models/fashion-robust/1/model.onnx"), place.path("models/bytes/1/model.onnx")).unwrap();
    fs::write(place.path("models/bytes/model.toml"), "[input]\nrange = [0.0, 255.0]\n").unwrap();
    let server = Running::with(|config| {
        place.configure(config);
        config.harden.data = Some(data.clone());
    })
    .await;
    let mut client = server.client().await;
    let path = "t10k-images-idx3-ubyte.gz";
    let net = r#"{ architecture = "cnn-4-8" }"#;
    let cases = [
        ("data.path", (path, "../models"), "without `..`"),
        ("data.path", (path, "/etc"), "without `..`"),
        ("data.path", (path, "out"), "leads out"),
        ("data.path", (path, "nothing"), "nothing"),
        ("data.path", (path, "."), "leads out"),
        ("epochs", ("epochs = 1", "epochs = 0"), "at least 1"),
        ("optimizer.rate", ("rate = 0.05", "rate = -1"), "above 0"),
        ("name", ("\"tiny\"", "\"-tiny\""), "a letter or digit first"),
        ("name", ("\"tiny\"", "\"bytes\""), "input.range"),
        ("model.architecture", ("cnn-4-8", "resnet-9"), "resnet-9"),
        ("model", (net, "\"bytes\""), "[0, 255]"),
    ];
    for (field, (from, to), says) in cases {
        let text = recipe("tiny", 1);
        assert!(text.contains(from));
        let status = start(&mut client, &text.replace(from, to)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert_eq!(violated(&status), format!("recipe.{field}"), "{status}");
        assert!(status.message().contains(says), "{status}");
    }
    let text = recipe("tiny", 1);
    let unknown = start(&mut client, &text.replace(net, "\"fashion-rubust\"")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
    assert!(unknown.message().contains("did you mean `fashion-robust`"), "{unknown}");
    let unknown = start(&mut client, &text.replace("epochs", "epoch")).await.unwrap_err();
    assert!(violated(&unknown) == "recipe" && unknown.message().contains("`epoch`"), "{unknown}");
    let missing = client.harden(HardenRequest { what: None }).await.unwrap_err();
    assert_eq!(violated(&missing), "what");
    for refused in
        [follow(&mut client, What::Job("7".to_owned())).await.unwrap_err(), cancel(&mut client, "7").await.unwrap_err()]
    {
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
    }
    // Whatever the reason: here something is in the way of the folder that is tried.
    fs::write(place.path("models/.probe"), "").unwrap();
    let unwritable = start(&mut client, &text).await.unwrap_err();
    assert_eq!(unwritable.code(), Code::FailedPrecondition, "{unwritable}");
    assert!(unwritable.message().contains("cannot be written"), "{unwritable}");
    assert!(jobs(&mut client).await.is_empty());
    assert_eq!(fs::read_dir(place.path("state")).unwrap().count(), 1, "the lock");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_fails_says_why_and_can_be_tried_again() {
    let place = Place::new();
    let server = place.server().await;
    let mut client = server.client().await;
    let explodes = recipe("tiny", 2).replace("rate = 0.05", "rate = 1e30");
    let (events, job) = start(&mut client, &explodes).await.unwrap();
    let status = end(events).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(status.message().contains("job 1 failed") && status.message().contains("not finite"), "{status}");
    let failed = jobs(&mut client).await.remove(0);
    assert_eq!(failed.state(), HardenState::Failed);
    assert!(failed.reason.contains("not finite"), "{failed:?}");
    let (events, again) = follow(&mut client, What::Job(job.id)).await.unwrap();
    assert!([HardenState::Queued, HardenState::Running, HardenState::Failed].contains(&again.state()));
    end(events).await.unwrap_err();
    // A recipe that failed is tried anew when it is given again.
    let (_, anew) = start(&mut client, &explodes).await.unwrap();
    assert_eq!(anew.id, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_holds_no_job_is_told_of_and_left_alone() {
    let place = Place::new();
    let broken = place.path("state/7");
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join("job.json"), "{").unwrap();
    let server = place.server().await;
    let mut client = server.client().await;
    let list = client.list_hardens(ListHardensRequest {}).await.unwrap().into_inner();
    assert!(list.jobs.is_empty() && list.unreadable.len() == 1, "{list:?}");
    assert!(list.unreadable[0].contains("job.json"), "{list:?}");
    let (_, job) = start(&mut client, &recipe("tiny", 1)).await.unwrap();
    assert_eq!(job.id, "8");
    assert!(broken.join("job.json").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_that_cannot_be_used_keep_the_server_from_starting() {
    let place = Place::new();
    let _server = place.server().await;
    let refused = |change: &dyn Fn(&mut Config)| {
        let mut config = crate::harness::config();
        place.configure(&mut config);
        change(&mut config);
        async move { Server::bind(config).await.unwrap_err().to_string() }
    };
    let taken = refused(&|_| {}).await;
    assert!(taken.contains("`harden.state`") && taken.contains("another server"), "{taken}");
    let missing = refused(&|config| config.harden.data = Some(Path::new("no/such").to_owned())).await;
    assert!(missing.contains("`harden.data`") && missing.contains("no/such"), "{missing}");
}
