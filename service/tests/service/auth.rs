//! Keys and their roles: every RPC, with every role and without a key that counts.

use std::time::Duration;

use crate::harness::{Running, predict_request};
use assay_proto::{inference, v1};
use assay_server::{ApiKey, Config, Role, hash_key};
use http::uri::PathAndQuery;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

/// Who may call.
#[derive(Clone, Copy, PartialEq)]
enum May {
    /// Everybody.
    All,
    /// Whoever has a key.
    Known,
    /// A key with this role.
    Has(Role),
}
use May::{All, Has, Known};

const ASSAY: &str = "assay.v1.Assay";
const OIP: &str = "inference.GRPCInferenceService";
const RPCS: [(&str, &str, May); 41] = [
    (ASSAY, "Predict", Has(Role::Predict)),
    (ASSAY, "Gradient", Has(Role::Gradient)),
    (ASSAY, "Attack", Has(Role::Attack)),
    (ASSAY, "Certify", Has(Role::Attack)),
    (ASSAY, "VerifyProperty", Has(Role::Attack)),
    (ASSAY, "WeightSurface", Has(Role::Attack)),
    (ASSAY, "QuoteAudit", Has(Role::Audit)),
    (ASSAY, "StartAudit", Has(Role::Audit)),
    (ASSAY, "WatchAudit", Has(Role::Audit)),
    (ASSAY, "GetAudit", Has(Role::Audit)),
    (ASSAY, "ListAudits", Has(Role::Audit)),
    (ASSAY, "CancelAudit", Has(Role::Audit)),
    (ASSAY, "DeleteAudit", Has(Role::Audit)),
    (ASSAY, "UploadData", Has(Role::Audit)),
    (ASSAY, "FindData", Has(Role::Audit)),
    (ASSAY, "Harden", Has(Role::Harden)),
    (ASSAY, "ListHardens", Has(Role::Harden)),
    (ASSAY, "CancelHarden", Has(Role::Harden)),
    (ASSAY, "ListModels", Known),
    (ASSAY, "GetModel", Known),
    (ASSAY, "ListAttacks", Known),
    (OIP, "ServerLive", All),
    (OIP, "ServerReady", All),
    (OIP, "ModelReady", Known),
    (OIP, "ServerMetadata", Known),
    (OIP, "ModelMetadata", Known),
    (OIP, "ModelInfer", Has(Role::Predict)),
    (OIP, "ModelStreamInfer", Has(Role::Predict)),
    (OIP, "ModelConfig", Known),
    (OIP, "ModelStatistics", Known),
    (OIP, "RepositoryIndex", Known),
    (OIP, "RepositoryModelLoad", Has(Role::Admin)),
    (OIP, "RepositoryModelUnload", Has(Role::Admin)),
    (OIP, "SystemSharedMemoryStatus", Has(Role::Admin)),
    (OIP, "SystemSharedMemoryRegister", Has(Role::Admin)),
    (OIP, "SystemSharedMemoryUnregister", Has(Role::Admin)),
    (OIP, "CudaSharedMemoryStatus", Has(Role::Admin)),
    (OIP, "CudaSharedMemoryRegister", Has(Role::Admin)),
    (OIP, "CudaSharedMemoryUnregister", Has(Role::Admin)),
    (OIP, "TraceSetting", Has(Role::Admin)),
    (OIP, "LogSettings", Has(Role::Admin)),
];
const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
const REFUSALS: [Code; 2] = [Code::Unauthenticated, Code::PermissionDenied];

/// The key that these tests have for a role.
fn secret(role: Role) -> String {
    format!("the-secret-of-{role}-0123456789")
}

/// The key that was valid for a role until 2020.
fn old_secret(role: Role) -> String {
    format!("the-old-secret-of-{role}-0123456789")
}

fn key(name: &str, secret: &str, roles: &[Role]) -> ApiKey {
    ApiKey { name: name.to_owned(), sha256: hash_key(secret).unwrap(), roles: roles.to_vec(), not_after: None }
}

/// One key for each role, with its name, and one that has expired.
fn one_of_each(config: &mut Config) {
    let valid = Role::ALL.map(|role| key(role.name(), &secret(role), &[role]));
    let not_after = Some("2020-01-01T00:00:00Z".parse().unwrap());
    let expired = Role::ALL.map(|role| ApiKey { not_after, ..key(role.name(), &old_secret(role), &[role]) });
    config.auth.keys = valid.into_iter().chain(expired).collect();
}

/// What a caller of a role sends.
#[derive(Clone, Copy, Debug)]
enum Credential {
    Right,
    Wrong,
    Expired,
    Missing,
}

impl Credential {
    const ALL: [Self; 4] = [Self::Right, Self::Wrong, Self::Expired, Self::Missing];

    fn of(self, role: Role) -> Option<String> {
        match self {
            Self::Right => Some(bearer(role)),
            Self::Wrong => Some(format!("{}x", bearer(role))),
            Self::Expired => Some(format!("Bearer {}", old_secret(role))),
            Self::Missing => None,
        }
    }

    /// How a call ends that needs a role, or any key; `None`: it is let in.
    fn refusal(self, role: Role, needed: Option<Role>) -> Option<(Code, String)> {
        let unknown = |says: &str| Some((Code::Unauthenticated, says.to_owned()));
        match (self, needed) {
            (Self::Missing, _) => unknown("there is no key; "),
            (Self::Wrong, _) => unknown("this key is not known; "),
            (Self::Expired, _) => unknown(&format!("the key `{role}` expired at 2020-01-01T00:00:00Z; ")),
            (Self::Right, Some(needed)) if role != needed && role != Role::Admin => {
                Some((Code::PermissionDenied, format!("needs the role `{needed}`, which `{role}` does not have")))
            }
            (Self::Right, _) => None,
        }
    }
}

fn bearer(role: Role) -> String {
    format!("Bearer {}", secret(role))
}

async fn channel(server: &Running) -> Channel {
    Channel::from_shared(format!("http://{}", server.addresses.grpc)).unwrap().connect().await.unwrap()
}

/// The answer to an empty message with these values of `authorization`.
async fn call(channel: &Channel, path: &str, authorization: &[&str]) -> Status {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut request = Request::new(());
    for value in authorization {
        request.metadata_mut().append("authorization", value.parse().unwrap());
    }
    let path = PathAndQuery::try_from(path).unwrap();
    match grpc.server_streaming(request, path, ProstCodec::<(), ()>::default()).await {
        Ok(answer) => answer.into_inner().message().await.err().unwrap_or_else(|| Status::ok("")),
        Err(status) => status,
    }
}

fn path(service: &str, rpc: &str) -> String {
    format!("/{service}/{rpc}")
}

#[test]
fn these_tests_know_every_rpc_of_the_contracts() {
    let mut contract: Vec<String> = Vec::new();
    for descriptors in [v1::FILE_DESCRIPTOR_SET, inference::FILE_DESCRIPTOR_SET] {
        let files = FileDescriptorSet::decode(descriptors).unwrap();
        for service in files.file.into_iter().flat_map(|file| file.service) {
            contract.extend(service.method.into_iter().map(|method| method.name().to_owned()));
        }
    }
    let mut known = RPCS.map(|(_, rpc, _)| rpc);
    contract.sort_unstable();
    known.sort_unstable();
    assert_eq!(known.to_vec(), contract);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_calls_its_rpcs_with_a_key_that_is_valid_and_nothing_else() {
    let server = Running::with(one_of_each).await;
    let channel = channel(&server).await;
    for (service, rpc, may) in RPCS {
        for role in Role::ALL {
            for credential in Credential::ALL {
                let sent = credential.of(role);
                let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
                let status = call(&channel, &path(service, rpc), &sent).await;
                let case = format!("{rpc} with a key of {role}, {credential:?}: {status}");
                let needed = if let Has(role) = may { Some(role) } else { None };
                let refusal = if may == All { None } else { credential.refusal(role, needed) };
                let Some((code, says)) = refusal else {
                    assert!(!REFUSALS.contains(&status.code()), "{case}");
                    continue;
                };
                assert_eq!(status.code(), code, "{case}");
                assert!(status.message().contains(&says), "{case}");
                let is_shown = [secret(role), old_secret(role)].iter().any(|secret| status.message().contains(secret));
                assert!(!is_shown, "{case}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_that_counts_nothing_is_answered() {
    let server = Running::with(one_of_each).await;
    let channel = channel(&server).await;
    let (right, wrong) = (bearer(Role::Admin), format!("{}x", bearer(Role::Admin)));
    let basic = right.replace("Bearer", "Basic");
    let cases: [(&[&str], &str); 6] = [
        (&[], "there is no key"),
        (&[&wrong], "this key is not known"),
        (&[&basic], "`authorization` is malformed"),
        (&[right.trim_start_matches("Bearer ")], "`authorization` is malformed"),
        (&["Bearer"], "`authorization` is malformed"),
        (&[&right, &right], "`authorization` is there more than once"),
    ];
    let closed = RPCS.into_iter().filter(|(_, _, may)| *may != All);
    let paths = closed.map(|(service, rpc, _)| path(service, rpc)).chain(REFLECTION.map(str::to_owned));
    for path in paths.chain([path(ASSAY, "NoSuchRpc"), path(OIP, "NoSuchRpc"), "/no.such.Service/Call".to_owned()]) {
        for (authorization, says) in cases {
            let status = call(&channel, &path, authorization).await;
            assert_eq!(status.code(), Code::Unauthenticated, "{path} with {authorization:?}: {status}");
            assert!(status.message().starts_with(says), "{path} with {authorization:?}: {status}");
            assert!(status.message().contains("`authorization: Bearer KEY`"), "{status}");
        }
    }
    for (rpc, model, count) in [("Predict", "_unknown", 6.0), ("ListModels", "_none", 6.0), ("_unknown", "_none", 12.0)]
    {
        let refused = format!("assay_requests_total{{rpc=\"{rpc}\",model=\"{model}\",code=\"UNAUTHENTICATED\"}}");
        server.eventually("counted", |server| server.metric(&refused) == Some(count)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_needs_no_key_and_reflection_any() {
    let server = Running::with(one_of_each).await;
    let channel = channel(&server).await;
    for rpc in ["Check", "Watch"] {
        let status = call(&channel, &format!("/grpc.health.v1.Health/{rpc}"), &[]).await;
        assert_eq!(status.code(), Code::Ok, "{rpc}: {status}");
    }
    for (service, rpc, _) in RPCS.into_iter().filter(|(_, _, may)| *may == All) {
        for authorization in [&[][..], &["Bearer of-another-server"]] {
            let status = call(&channel, &path(service, rpc), authorization).await;
            assert_eq!(status.code(), Code::Ok, "{rpc}: {status}");
        }
    }
    for path in REFLECTION {
        for role in Role::ALL {
            let status = call(&channel, path, &[&bearer(role)]).await;
            assert!(!REFUSALS.contains(&status.code()), "{path} with {role}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_spelling_of_a_path_goes_past_the_keys() {
    let server = Running::with(one_of_each).await;
    let channel = channel(&server).await;
    for path in [
        "//assay.v1.Assay/ListModels",
        "/assay.v1.Assay//ListModels",
        "/assay.v1.Assay/ListModels/",
        "/assay.v1%2EAssay/ListModels",
        "/ASSAY.V1.ASSAY/ListModels",
    ] {
        let status = call(&channel, path, &[]).await;
        assert_eq!(status.code(), Code::Unauthenticated, "{path}: {status}");
    }
    for path in
        ["/grpc.health.v1.Health/../../assay.v1.Assay/ListModels", "/grpc.health.v1.Health//assay.v1.Assay/ListModels"]
    {
        let status = call(&channel, path, &[]).await;
        assert_eq!(status.code(), Code::Unimplemented, "{path}: {status}");
    }
    let unknown = path(ASSAY, "NoSuchRpc");
    assert_eq!(call(&channel, &unknown, &[&bearer(Role::Predict)]).await.code(), Code::PermissionDenied);
    assert_eq!(call(&channel, &unknown, &[&bearer(Role::Admin)]).await.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_waits_for_no_message() {
    let server = Running::with(one_of_each).await;
    let mut grpc = Grpc::new(channel(&server).await);
    for (authorization, code) in
        [("Bearer wrong", Code::Unauthenticated), (&bearer(Role::Audit), Code::PermissionDenied)]
    {
        grpc.ready().await.unwrap();
        let mut request = Request::new(tokio_stream::pending::<()>());
        request.metadata_mut().insert("authorization", authorization.parse().unwrap());
        let path = PathAndQuery::from_static("/assay.v1.Assay/Predict");
        let answer = grpc.streaming(request, path, ProstCodec::<(), ()>::default());
        let answer = tokio::time::timeout(Duration::from_secs(20), answer).await.expect("it waits for the message");
        assert_eq!(answer.unwrap_err().code(), code);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_keys_of_one_name_are_valid_at_once_and_names_are_no_labels() {
    let (old, new) = ("the-old-key-0123456789-abc", "the-new-key-0123456789-abc");
    let server = Running::with(|config| {
        config.auth.keys =
            vec![key("rotated-name", old, &[Role::Predict]), key("rotated-name", new, &[Role::Predict, Role::Audit])];
    })
    .await;
    let mut client = server.client().await;
    for secret in [old, new] {
        let mut request = Request::new(predict_request(1));
        request.metadata_mut().insert("authorization", format!("Bearer {secret}").parse().unwrap());
        assert_eq!(client.predict(request).await.unwrap().into_inner().predictions.len(), 1);
    }
    // Each has its own roles.
    let channel = channel(&server).await;
    let denied = call(&channel, &path(ASSAY, "StartAudit"), &[&format!("Bearer {old}")]).await;
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied}");
    let admitted = call(&channel, &path(ASSAY, "StartAudit"), &[&format!("Bearer {new}")]).await;
    assert!(!REFUSALS.contains(&admitted.code()), "{admitted}");
    let counted = "assay_requests_total{rpc=\"StartAudit\",model=\"_unknown\",code=\"PERMISSION_DENIED\"}";
    server.eventually("counted", |server| server.metric(counted) == Some(1.0)).await;
    assert!(!server.admin("/metrics").1.contains("rotated-name"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_everybody_is_answered() {
    let server = Running::start().await;
    let channel = channel(&server).await;
    for (service, rpc, _) in RPCS {
        for authorization in [&[][..], &["Bearer of-another-server"]] {
            let status = call(&channel, &path(service, rpc), authorization).await;
            assert!(!REFUSALS.contains(&status.code()), "{rpc} with {authorization:?}: {status}");
        }
    }
}
