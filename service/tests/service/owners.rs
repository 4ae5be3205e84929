//! Jobs belong to who started them, and to nobody else but admins.

use std::path::Path;

use crate::harness::{Known, MODEL, Running, audit_request, endless_audit, key, known};
use assay_proto::v1::{
    AuditJob, AuditRequest, AuditState, CancelAuditRequest, CancelHardenRequest, DeleteAuditRequest, GetAuditRequest,
    HardenRequest, ListAuditsRequest, ListHardensRequest, StartAuditRequest, WatchAuditRequest, harden_request,
    start_audit_request::What,
};
use assay_server::{Config, Role};
use tonic::{Code, Status};

const EVERYTHING: [Role; 2] = [Role::Audit, Role::Harden];

fn three(config: &mut Config, state: &Path) {
    config.auth.keys = vec![key("ann", &EVERYTHING), key("bob", &EVERYTHING), key("boss", &[Role::Admin])];
    config.audits.state = Some(state.join("audits"));
    config.harden.state = Some(state.join("hardens"));
    config.harden.data = Some(state.to_owned());
}

async fn start(client: &mut Known, audit: AuditRequest, key: &str, join: bool) -> AuditJob {
    let request = StartAuditRequest { what: Some(What::Audit(audit)), idempotency_key: key.to_owned(), join };
    client.start_audit(request).await.unwrap().into_inner()
}

async fn audits(client: &mut Known) -> Vec<(String, String)> {
    let jobs = client.list_audits(ListAuditsRequest {}).await.unwrap().into_inner().jobs;
    jobs.into_iter().map(|job| (job.id, job.owner)).collect()
}

/// What is answered to everything that can be done with a job.
async fn tried(client: &mut Known, id: &str) -> Vec<Status> {
    let job = id.to_owned();
    let again = StartAuditRequest { what: Some(What::Job(job.clone())), ..Default::default() };
    let watch = async |job| client.clone().watch_audit(WatchAuditRequest { job, ..Default::default() }).await;
    let watched = watch(job.clone()).await.err();
    [
        watched,
        client.get_audit(GetAuditRequest { job: job.clone(), formats: vec![] }).await.err(),
        client.start_audit(again).await.err(),
        client.cancel_audit(CancelAuditRequest { job: job.clone() }).await.err(),
        client.delete_audit(DeleteAuditRequest { job }).await.err(),
    ]
    .into_iter()
    .map(|error| error.unwrap_or_else(|| Status::ok("")))
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_is_there_for_its_owner_and_for_admins_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Running::with(|config| three(config, folder.path())).await;
    let (mut ann, mut bob, mut boss) =
        (known(&server, "ann").await, known(&server, "bob").await, known(&server, "boss").await);
    let anns = start(&mut ann, endless_audit(), "nightly", false).await;
    assert_eq!((anns.id.as_str(), anns.owner.as_str()), ("1", "ann"));

    // To somebody else it is as if there were none, and what is said does not tell its number.
    assert_eq!(audits(&mut bob).await, []);
    for status in tried(&mut bob, "1").await {
        assert_eq!(status.code(), Code::NotFound, "{status}");
        assert_eq!(status.message(), "there is no audit `1`; there are none");
    }
    // Nor is it joined, and a key is everybody's own.
    let bobs = start(&mut bob, endless_audit(), "nightly", true).await;
    assert_eq!((bobs.id.as_str(), bobs.owner.as_str()), ("2", "bob"));
    assert_eq!(start(&mut ann, endless_audit(), "nightly", false).await.id, "1");
    assert_eq!(start(&mut ann, endless_audit(), "", true).await.id, "1");
    assert_eq!(audits(&mut ann).await, [("1".to_owned(), "ann".to_owned())]);
    let all = [("1", "ann"), ("2", "bob")].map(|(id, owner)| (id.to_owned(), owner.to_owned()));
    assert_eq!(audits(&mut boss).await, all);

    // The server stops, and another one has them with their owners.
    server.signal();
    server.ended().await;
    let server = Running::with(|config| three(config, folder.path())).await;
    let (mut ann, mut bob, mut boss) =
        (known(&server, "ann").await, known(&server, "bob").await, known(&server, "boss").await);
    assert_eq!(audits(&mut boss).await, all);
    assert_eq!(audits(&mut bob).await, all[1..]);
    assert!(tried(&mut bob, "1").await.iter().all(|status| status.code() == Code::NotFound));
    for (client, job) in [(&mut ann, "1"), (&mut boss, "2")] {
        let cancelled = client.cancel_audit(CancelAuditRequest { job: job.to_owned() }).await.unwrap().into_inner();
        assert_eq!(cancelled.state(), AuditState::Cancelled);
    }
}

const RECIPE: &str = "schema = 1\nname = \"net\"\nepochs = 3\nmodel = { architecture = \"cnn-8\" }\n\
                      data = { path = \"no-such-data\" }\nobjective = { kind = \"standard\" }\n\
                      optimizer = { kind = \"sgd\", rate = 0.1 }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_harden_is_there_for_its_owner_and_for_admins_only() {
    let folder = tempfile::tempdir().unwrap();
    // A job that an earlier server left, as it wrote it.
    let job = folder.path().join("hardens/1");
    std::fs::create_dir_all(&job).unwrap();
    std::fs::write(job.join("recipe.toml"), RECIPE).unwrap();
    let record = "{ \"schema\": 2, \"owner\": \"ann\", \"parent\": null, \"state\": \"stopped\" }";
    std::fs::write(job.join("job.json"), record).unwrap();
    let server = Running::with(|config| three(config, folder.path())).await;
    for (name, seen) in [("ann", 1), ("bob", 0), ("boss", 1)] {
        let mut client = known(&server, name).await;
        let jobs = client.list_hardens(ListHardensRequest {}).await.unwrap().into_inner().jobs;
        assert_eq!(jobs.iter().filter(|job| job.owner == "ann").count(), seen, "{name}");
        let cancelled = client.cancel_harden(CancelHardenRequest { job: "1".to_owned() }).await.unwrap_err();
        let again = HardenRequest { what: Some(harden_request::What::Job("1".to_owned())) };
        if seen == 1 {
            // It is there, and stopped already.
            assert_eq!(cancelled.code(), Code::FailedPrecondition, "{name}: {cancelled}");
        } else {
            assert_eq!(cancelled.message(), "there is no job `1`; there are none");
            let again = client.harden(again).await.unwrap_err();
            assert_eq!((cancelled.code(), again.code()), (Code::NotFound, Code::NotFound));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_is_asked_jobs_are_everybodys_and_later_the_admins() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("audits");
    let mut server = Running::with(|config| config.audits.state = Some(state.clone())).await;
    let audit = StartAuditRequest { what: Some(What::Audit(audit_request(&[MODEL], 2))), ..Default::default() };
    let job = server.client().await.start_audit(audit).await.unwrap().into_inner();
    assert_eq!(job.owner, "");
    assert_eq!(server.client().await.list_audits(ListAuditsRequest {}).await.unwrap().into_inner().jobs.len(), 1);
    server.signal();
    server.ended().await;
    let server = Running::with(|config| three(config, folder.path())).await;
    assert_eq!(audits(&mut known(&server, "ann").await).await, []);
    assert_eq!(audits(&mut known(&server, "boss").await).await, [("1".to_owned(), String::new())]);
}
