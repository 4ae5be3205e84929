//! Samples are handed over once, and nothing is kept that is not what was announced.

use std::{fs, path::Path};

use crate::harness::{MODEL, Running, audit_request, changed, endless_audit, images, sha256, violated};
use assay_proto::v1::{
    AuditRequest, CancelAuditRequest, DeleteAuditRequest, FindDataRequest, SampleData, StartAuditRequest,
    UploadDataRequest, UploadHeader, UploadedData, start_audit_request::What, upload_data_request::Part,
};
use tonic::Code;

fn files(state: &Path) -> Vec<String> {
    let files = fs::read_dir(state.join("data")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

async fn found(server: &Running, content: &str) -> bool {
    let request = FindDataRequest { content: content.to_owned() };
    server.client().await.find_data(request).await.unwrap().into_inner().found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused_and_leaves_nothing() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().to_owned();
    let server = Running::with(|config| {
        config.audits.state = Some(path);
        config.audits.max_upload_bytes = 1024;
        config.audits.max_data_bytes = 2048;
    })
    .await;
    let header = |size| UploadHeader { content: sha256(b"abc"), size };
    let cases = [
        (header(3), &[b"abd".as_slice()][..], Code::InvalidArgument, "header.content"),
        (header(4), &[b"abc"], Code::InvalidArgument, "chunk"),
        (header(2), &[b"a", b"bc"], Code::InvalidArgument, "chunk"),
        (header(0), &[], Code::InvalidArgument, "header.size"),
        (header(1025), &[], Code::ResourceExhausted, ""),
        (UploadHeader { content: "../x".to_owned(), size: 3 }, &[b"abc"], Code::InvalidArgument, "header.content"),
    ];
    for (header, parts, code, field) in cases {
        let status = server.send(header, parts).await.unwrap_err();
        assert_eq!((status.code(), violated(&status).as_str()), (code, field), "{status}");
    }
    let chunk = UploadDataRequest { part: Some(Part::Chunk(b"abc".to_vec().into())) };
    let status = server.client().await.upload_data(tokio_stream::iter([chunk])).await.unwrap_err();
    assert_eq!(violated(&status), "header", "{status}");
    assert!(files(state.path()).is_empty() && !found(&server, &sha256(b"abc")).await);
    assert_eq!(server.send(header(3), &[b"a", b"bc"]).await.unwrap(), sha256(b"abc"));
    assert!(found(&server, &sha256(b"abc")).await);
    assert_eq!(files(state.path()), [sha256(b"abc")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_batch_of_the_model_is_refused_when_the_audit_is_asked_for() {
    let server = Running::with(|config| config.limits.max_audit_samples = 4).await;
    let (input, labels) = images(4);
    let start = async |data: &SampleData| {
        let content = server.upload(data).await.unwrap();
        let uploaded = Some(UploadedData { content, ..Default::default() });
        let what = Some(What::Audit(AuditRequest { uploaded, ..audit_request(&[MODEL], 0) }));
        server.client().await.start_audit(StartAuditRequest { what, ..Default::default() }).await.unwrap_err()
    };
    let short = SampleData { input: Some(input.clone()), labels: labels[1..].to_vec() };
    let status = start(&short).await;
    assert_eq!(violated(&status), "uploaded.labels", "{status}");
    let status = start(&SampleData { input: None, labels }).await;
    assert_eq!(violated(&status), "uploaded.input", "{status}");
    let (input, labels) = images(5);
    let status = start(&SampleData { input: Some(input), labels }).await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("limits.max_audit_samples"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_stay_as_long_as_an_audit_needs_them() {
    let state = tempfile::tempdir().unwrap();
    let start = || {
        let path = state.path().to_owned();
        Running::with(move |config| config.audits.state = Some(path))
    };
    let mut server = start().await;
    let (input, labels) = images(4);
    let data = SampleData { input: Some(input), labels };
    let content = server.upload(&data).await.unwrap();
    let audit = |seed: u64| {
        let uploaded = Some(UploadedData { content: content.clone(), ..Default::default() });
        let what = Some(What::Audit(AuditRequest {
            uploaded,
            ..changed(endless_audit(), "seed = 0", &format!("seed = {seed}"))
        }));
        StartAuditRequest { what, ..Default::default() }
    };
    let mut client = server.client().await;
    let mut ids = Vec::new();
    for seed in 0..2 {
        let job = client.start_audit(audit(seed)).await.unwrap().into_inner().id;
        client.cancel_audit(CancelAuditRequest { job: job.clone() }).await.unwrap();
        ids.push(job);
    }
    client.delete_audit(DeleteAuditRequest { job: ids.remove(0) }).await.unwrap();
    drop(client);
    // A server that starts has promised nothing to anybody but its audits.
    server.signal();
    server.ended().await;
    let server = start().await;
    assert_eq!(files(state.path()), std::slice::from_ref(&content));
    server.client().await.delete_audit(DeleteAuditRequest { job: ids.remove(0) }).await.unwrap();
    assert!(files(state.path()).is_empty());
}
