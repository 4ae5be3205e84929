//! A disk that is full: audits stop and say so, everything else goes on, and nothing that was kept is lost.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use crate::{
    audit_jobs::timeless,
    harness::{MODEL, PRUNED, Running, audit_request, changed, connect, images, predict_request, sha256},
    program::{start, start_ignoring},
};
use assay_proto::v1::{
    AuditJob, AuditReport, AuditRequest, AuditState, GetAuditRequest, ListAuditsRequest, SampleData, StartAuditRequest,
    UploadDataRequest, UploadHeader, WatchAuditRequest, assay_client::AssayClient, start_audit_request::What,
    upload_data_request::Part, watch_audit_response::Event,
};
use assay_server::Addresses;
use prost::Message;
use tonic::{Code, Status, transport::Channel};

type Client = AssayClient<Channel>;

/// Long enough that the disk is full before it has attacked the first of its models.
fn long() -> AuditRequest {
    changed(audit_request(&[MODEL, PRUNED], 24), "steps = 3", "steps = 100")
}

async fn begin(client: &mut Client, what: What) -> Result<AuditJob, Status> {
    let request = StartAuditRequest { what: Some(what), ..Default::default() };
    Ok(client.start_audit(request).await?.into_inner())
}

/// Follows an audit until it attacks (`None`), or to its report.
async fn follow(client: &mut Client, id: &str, to_the_end: bool) -> Result<Option<AuditReport>, Status> {
    let request = WatchAuditRequest { job: id.to_owned(), ..Default::default() };
    let mut events = client.watch_audit(request).await?.into_inner();
    while let Some(message) = events.message().await? {
        match message.event {
            Some(Event::Progress(p)) if !to_the_end && p.stage != "clean" => return Ok(None),
            Some(Event::Report(report)) => return Ok(Some(report)),
            _ => {}
        }
    }
    panic!("an audit ended without a report");
}

async fn report(client: &mut Client, id: &str) -> AuditReport {
    follow(client, id, true).await.unwrap().unwrap()
}

async fn get(client: &mut Client, id: &str) -> AuditJob {
    let request = GetAuditRequest { job: id.to_owned(), formats: Vec::new() };
    client.get_audit(request).await.unwrap().into_inner()
}

async fn upload(client: &mut Client) -> Result<(), Status> {
    let (input, labels) = images(500);
    let bytes = SampleData { input: Some(input), labels }.encode_to_vec();
    let header = Part::Header(UploadHeader { content: sha256(&bytes), size: bytes.len() as u64 });
    let chunks = bytes.chunks(1 << 16).map(|part| Part::Chunk(part.to_vec().into()));
    let parts: Vec<_> = std::iter::once(header).chain(chunks).collect();
    let parts = parts.into_iter().map(|part| UploadDataRequest { part: Some(part) });
    client.upload_data(tokio_stream::iter(parts)).await.map(drop)
}

/// What went wrong, where, and what to do.
#[track_caller]
fn says(status: &Status, code: Code, parts: &[&str]) {
    assert_eq!(status.code(), code, "{status}");
    for part in parts {
        assert!(status.message().contains(part), "{part:?} is not in: {}", status.message());
    }
}

/// A server's process, which ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Brings an audit to where a full disk ends it, and sees that this is all that ends. `words`: what is said of the disk.
async fn cut_off(client: &mut Client, fill: impl Fn(), free: impl Fn(), words: &str) -> (AuditReport, String) {
    let accepted = begin(client, What::Audit(audit_request(&[MODEL], 4))).await.unwrap().id;
    let accepted_report = report(client, &accepted).await;

    fill();
    let room = ["audits.db", words];
    let status = begin(client, What::Audit(audit_request(&[MODEL], 4))).await.unwrap_err();
    says(&status, Code::ResourceExhausted, &room);
    says(
        &upload(client).await.unwrap_err(),
        Code::ResourceExhausted,
        &["uploaded samples: ", "/state/data", "make room"],
    );
    free();
    upload(client).await.unwrap();

    let job = begin(client, What::Audit(long())).await.unwrap().id;
    assert_eq!(follow(client, &job, false).await.unwrap(), None);
    fill();
    let status = follow(client, &job, true).await.unwrap_err();
    says(&status, Code::FailedPrecondition, &[&room[..], &["ask for the audit again"]].concat());
    let failed = get(client, &job).await;
    assert_eq!((failed.state(), failed.events), (AuditState::Failed, 2), "the beginning and the clean samples");
    says(&begin(client, What::Job(job.clone())).await.unwrap_err(), Code::ResourceExhausted, &room);

    // Everything else goes on.
    assert_eq!(client.predict(predict_request(2)).await.unwrap().into_inner().predictions.len(), 2);
    let states: Vec<_> = client.list_audits(ListAuditsRequest {}).await.unwrap().into_inner().jobs;
    assert_eq!(states.iter().map(AuditJob::state).collect::<Vec<_>>(), [AuditState::Done, AuditState::Failed]);
    assert_eq!(get(client, &accepted).await.report.unwrap().json, accepted_report.json);
    (accepted_report, job)
}

/// The report of the audit that nothing happens to.
async fn undisturbed() -> serde_json::Value {
    let server = Running::start().await;
    let mut client = server.client().await;
    let job = begin(&mut client, What::Audit(long())).await.unwrap();
    timeless(&report(&mut client, &job.id).await)
}

fn settings(state: &Path) -> [String; 3] {
    let datasets = crate::harness::deploy("data/fashion-mnist");
    [
        format!("audits.state={}", state.display()),
        format!("datasets.fashion-mnist={}", datasets.display()),
        "log.level=off".to_owned(),
    ]
}

fn set(settings: &[String; 3]) -> Vec<&str> {
    settings.iter().flat_map(|setting| ["--set", setting]).collect()
}

/// The largest file that a process may write; `None`: any.
fn limit(process: u32, bytes: Option<u64>) -> bool {
    let soft = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    let command = Command::new("prlimit").args([format!("--pid={process}"), format!("--fsize={soft}:")]).status();
    command.is_ok_and(|status| status.success())
}

/// A limit on the size of files is what a quota is: the system refuses to write on, and the disk as such has room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_that_a_limit_on_files_ends_goes_on_when_it_is_lifted() {
    if !limit(std::process::id(), None) {
        eprintln!("skipped: prlimit is not there, or sets no limits (it comes with util-linux)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let (child, Addresses { grpc, .. }) = start_ignoring("XFSZ", folder.path(), &set(&settings(&state)));
    let server = Process(child);
    let mut client = connect(grpc).await;
    let log = state.join("audits.db-wal");
    let fill = || assert!(limit(server.0.id(), Some(fs::metadata(&log).unwrap().len())));
    let free = || assert!(limit(server.0.id(), None));
    let (accepted, job) = cut_off(&mut client, fill, free, "room").await;
    free();
    begin(&mut client, What::Job(job.clone())).await.unwrap();
    assert_eq!(timeless(&report(&mut client, &job).await), undisturbed().await);
    assert_eq!(report(&mut client, "1").await.json, accepted.json);
}

/// A file system of its own.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts memory; `None`: who runs this test may not.
    fn new(folder: PathBuf) -> Option<Self> {
        fs::create_dir(&folder).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&folder).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }

    fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[0xa5; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_that_a_full_disk_ends_goes_on_with_the_next_server() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::new(folder.path().join("disk")) else {
        eprintln!("skipped: mounting a small file system takes more rights than this test has");
        return;
    };
    let settings = settings(&disk.0.join("state"));
    let (child, Addresses { grpc, .. }) = start(folder.path(), &set(&settings));
    let server = Process(child);
    let mut client = connect(grpc).await;
    let (accepted, job) = cut_off(&mut client, || disk.fill(), || disk.free(), "is full; make room").await;

    // The server that comes after one that was killed there serves too. Its audits have the room that its database had, and may need more.
    drop((client, server));
    let (child, Addresses { grpc, .. }) = start(folder.path(), &set(&settings));
    let _server = Process(child);
    let mut client = connect(grpc).await;
    assert_eq!(client.predict(predict_request(2)).await.unwrap().into_inner().predictions.len(), 2);
    assert_eq!(get(&mut client, "1").await.report.unwrap().json, accepted.json);
    disk.free();
    begin(&mut client, What::Job(job.clone())).await.unwrap();
    assert_eq!(timeless(&report(&mut client, &job).await), undisturbed().await);
}
