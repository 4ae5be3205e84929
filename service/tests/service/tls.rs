//! TLS on the gRPC port: who gets a connection, who does not, and who a certificate stands for.

use std::{io::Write, net::TcpStream, path::Path, time::Duration};

use crate::{
    harness::{Running, config, get, predict_request},
    pki::{Authority, Pair},
};
use assay_proto::v1::{ListAttacksRequest, assay_client::AssayClient};
use assay_server::{ApiKey, Auth, ClientCertificate, Config, Role, Server, Tls, hash_key};
use tonic::{
    Code, Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

/// The server's name and address.
pub(crate) const HERE: [&str; 2] = ["localhost", "127.0.0.1"];

/// TLS with the files of `pair` in a folder, and the authority of the clients where there is one.
pub(crate) fn tls(folder: &Path, pair: &Pair, clients: Option<&Authority>) -> Tls {
    let [certificate, key] = pair.write(folder, "server");
    let client_ca = clients.map(|authority| {
        let file = folder.join("clients.crt");
        std::fs::write(&file, &authority.pem).unwrap();
        file
    });
    Tls { certificate, key, client_ca }
}

/// A server with TLS, and whatever else.
async fn server(tls: Tls, change: impl FnOnce(&mut Config)) -> Running {
    Running::with(|config| {
        config.grpc.tls = Some(tls);
        change(config);
    })
    .await
}

/// A client that believes an authority, with a certificate of its own.
pub(crate) async fn connect(
    server: &Running,
    believes: &Authority,
    identity: Option<&Pair>,
) -> Result<AssayClient<Channel>, String> {
    let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&believes.pem));
    if let Some(pair) = identity {
        config = config.identity(Identity::from_pem(&pair.certificate, &pair.key));
    }
    let address = format!("https://{}", server.addresses.grpc);
    let endpoint = Channel::from_shared(address).unwrap().tls_config(config).unwrap();
    let channel = endpoint.connect().await.map_err(|e| format!("{e:?}"))?;
    Ok(AssayClient::new(channel))
}

/// How the simplest of calls ends; one that has no answer because the connection broke is none.
async fn call(
    server: &Running,
    believes: &Authority,
    identity: Option<&Pair>,
    key: Option<&str>,
) -> Result<Result<(), Status>, String> {
    let mut client = connect(server, believes, identity).await?;
    let mut request = Request::new(ListAttacksRequest {});
    if let Some(key) = key {
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    }
    match client.list_attacks(request).await {
        Ok(_) => Ok(Ok(())),
        Err(status) if std::error::Error::source(&status).is_some() => Err(format!("{status:?}")),
        Err(status) => Ok(Err(status)),
    }
}

async fn counted(server: &Running, result: &str, n: f64) {
    let series = format!("assay_tls_handshakes_total{{result=\"{result}\"}}");
    // A client tries a second time where its first connection is shut before it was used.
    server.eventually(&format!("{series} {n}"), |server| server.metric(&series) >= Some(n)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_believes_the_servers_authority_is_served_and_nobody_else() {
    let (authority, other, folder) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let server = server(tls(folder.path(), &authority.issue(&HERE), None), |_| {}).await;
    let mut client = connect(&server, &authority, None).await.unwrap();
    assert_eq!(client.predict(predict_request(1)).await.unwrap().into_inner().predictions.len(), 1);
    counted(&server, "done", 1.0).await;
    let refused = connect(&server, &other, None).await.unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    counted(&server, "refused", 1.0).await;
    // Plain text is answered by nobody, on this port. The other one stays as it is.
    let mut plain = TcpStream::connect(server.addresses.grpc).unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    counted(&server, "not_tls", 1.0).await;
    assert_eq!(get(server.addresses.admin, "/livez").0, 200);
    // Some look whether a port is open.
    drop(TcpStream::connect(server.addresses.grpc).unwrap());
    counted(&server, "closed", 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_name_than_that_of_the_certificate_is_refused_by_the_client() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = server(tls(folder.path(), &authority.issue(&["assay.example.org"]), None), |_| {}).await;
    let refused = connect(&server, &authority, None).await.unwrap_err();
    assert!(refused.contains("NotValidForName"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_long_for_a_handshake_holds_nobody_up() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = server(tls(folder.path(), &authority.issue(&HERE), None), |_| {}).await;
    let slow: Vec<_> = (0..64).map(|_| TcpStream::connect(server.addresses.grpc).unwrap()).collect();
    let served = tokio::time::timeout(Duration::from_secs(5), call(&server, &authority, None, None));
    served.await.expect("it waits for the slow ones").unwrap().unwrap();
    counted(&server, "timed_out", 64.0).await;
    drop(slow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_clients_need_certificates_only_a_good_one_connects() {
    let (ours, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let server = server(tls(folder.path(), &ours.issue(&HERE), Some(&clients)), |_| {}).await;
    let good = clients.issue(&["ci.example.org"]);
    call(&server, &ours, Some(&good), None).await.unwrap().unwrap();
    for (identity, how) in [
        (None, "no_certificate"),
        (Some(others.issue(&["ci.example.org"])), "bad_certificate"),
        (Some(clients.issue_expired(&["ci.example.org"])), "bad_certificate"),
    ] {
        let series = format!("assay_tls_handshakes_total{{result=\"{how}\"}}");
        let before = server.metric(&series).unwrap();
        // What the server says of it does not always get through before the connection is shut.
        call(&server, &ours, identity.as_ref(), None).await.unwrap_err();
        counted(&server, how, before + 1.0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_stands_for_a_name_where_a_call_carries_no_key() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let key = "a-key-that-only-this-test-has";
    let [robot, stranger, admin] =
        ["spiffe://example.org/robot", "spiffe://example.org/x", "spiffe://example.org/admin"]
            .map(|uri| authority.issue_uri(uri));
    let named = |name: &str, uri: &str, role| ClientCertificate {
        name: name.to_owned(),
        uri: Some(uri.to_owned()),
        roles: vec![role],
        ..ClientCertificate::default()
    };
    let auth = Auth {
        keys: vec![ApiKey {
            name: "ci".to_owned(),
            sha256: hash_key(key).unwrap(),
            roles: vec![Role::Audit],
            not_after: None,
        }],
        certificates: vec![
            named("robot", "spiffe://example.org/robot", Role::Predict),
            named("boss", "spiffe://example.org/admin", Role::Admin),
        ],
        ..Auth::default()
    };
    let server =
        server(tls(folder.path(), &authority.issue(&HERE), Some(&authority)), |config| config.auth = auth).await;
    let catalogue =
        async |identity: &Pair, key: Option<&str>| call(&server, &authority, Some(identity), key).await.unwrap();
    catalogue(&robot, None).await.unwrap();
    catalogue(&stranger, Some(key)).await.unwrap();
    let unknown = catalogue(&stranger, None).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unauthenticated, "{unknown}");
    assert!(unknown.message().contains("client's certificate is none that stands for a name"), "{unknown}");
    // A key counts where there is one, good or bad.
    let wrong = catalogue(&admin, Some("another-key-0123456789abc")).await.unwrap_err();
    assert!(wrong.message().starts_with("this key is not known"), "{wrong}");
    let mut client = connect(&server, &authority, Some(&robot)).await.unwrap();
    client.predict(predict_request(1)).await.unwrap();
    let denied = client.list_audits(assay_proto::v1::ListAuditsRequest {}).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied}");
    assert!(denied.message().contains("ListAudits needs the role `audit`, which `robot` does not have"), "{denied}");
}

/// Why a server with these files does not start.
async fn refused(tls: Tls) -> String {
    let mut config = config();
    config.grpc.tls = Some(tls);
    Server::bind(config).await.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_used_are_named_with_what_is_wrong() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    let (good, expired) = (authority.issue(&HERE), authority.issue_expired(&HERE));
    let swapped = good.with_key_of(&authority.issue(&HERE));
    let locked = Pair { key: good.key.replace("PRIVATE", "ENCRYPTED PRIVATE"), ..good.clone() };
    let cut = Pair { certificate: good.certificate[..good.certificate.len() / 2].to_owned(), ..good.clone() };
    let upside_down = Pair { certificate: good.key.clone(), key: good.certificate.clone(), ..good.clone() };
    for (pair, says) in [
        (&swapped, ["grpc.tls.key ", "server.key: is not the key of the certificate in "]),
        (&expired, ["grpc.tls.certificate ", "server.crt: the certificate expired at 2020-01-02T00:00:00Z"]),
        (&locked, ["grpc.tls.key ", "server.key: holds a key with a passphrase; expected"]),
        (&cut, ["grpc.tls.certificate ", "server.crt: is not well-formed PEM"]),
        (
            &upside_down,
            ["grpc.tls.certificate ", "server.crt: holds no certificate; expected the server's certificate"],
        ),
    ] {
        let message = refused(tls(folder, pair, None)).await;
        assert!(says.iter().all(|part| message.contains(part)), "{message}");
    }
    let missing = Tls { key: folder.join("none"), ..tls(folder, &good, None) };
    assert!(refused(missing).await.contains("none: cannot be read (No such file"));
    let no_authority = Tls { client_ca: Some(folder.join("server.key")), ..tls(folder, &good, None) };
    let message = refused(no_authority).await;
    assert!(message.contains("grpc.tls.client_ca ") && message.contains("holds no certificate"), "{message}");
    assert!(!message.contains("PRIVATE KEY"), "{message}");
}

#[test]
fn certificates_that_stand_for_names_need_an_authority() {
    let mut config = config();
    let dns = Some("ci.example.org".to_owned());
    config.auth.certificates =
        vec![ClientCertificate { name: "ci".to_owned(), dns, roles: vec![Role::Audit], ..Default::default() }];
    let message = config.validate().unwrap_err().to_string();
    assert!(message.contains("`grpc.tls.client_ca` is unset") && message.contains("auth.certificates"), "{message}");
}
