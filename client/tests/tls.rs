//! The built `assay` and servers with TLS: what it takes, what it refuses, and what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../service/tests/service/pki.rs"]
mod pki;
mod server;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::pki::{Authority, Pair};
use crate::server::{Server, repository};

const HERE: [&str; 2] = ["localhost", "127.0.0.1"];

fn assay(address: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    for variable in ["ASSAY_API_KEY", "ASSAY_CA", "ASSAY_CERT", "ASSAY_CERT_KEY", "ASSAY_PLAIN_TEXT_KEY"] {
        command.env_remove(variable);
    }
    command.current_dir(repository()).env("ASSAY_SERVER", address).args(arguments).output().unwrap()
}

#[track_caller]
fn says(output: &Output, code: i32, parts: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }
}

/// A file with the certificate of an authority.
fn file(folder: &Path, name: &str, authority: &Authority) -> String {
    let file = folder.join(name);
    fs::write(&file, &authority.pem).unwrap();
    file.to_str().unwrap().to_owned()
}

fn files(folder: &Path, name: &str, pair: &Pair) -> [String; 2] {
    pair.write(folder, name).map(|file| file.to_str().unwrap().to_owned())
}

/// A server with this certificate; asks clients for one of the authority in a file, if there is one.
fn start(folder: &Path, pair: &Pair, clients: Option<&str>) -> (Server, String) {
    let [certificate, key] = files(folder, "server", pair);
    let mut settings = vec![format!("grpc.tls.certificate={certificate}"), format!("grpc.tls.key={key}")];
    settings.extend(clients.map(|file| format!("grpc.tls.client_ca={file}")));
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let server = Server::start(&repository(), "deploy/models", &settings);
    let address = server.address.replace("http://", "https://");
    (server, address)
}

#[test]
fn a_server_is_believed_for_its_authority_and_its_name() {
    let (authority, other, folder) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    let (ca, wrong) = (file(folder, "ca.crt", &authority), file(folder, "wrong.crt", &other));
    let (server, address) = start(folder, &authority.issue(&["127.0.0.1"]), None);

    says(&assay(&address, &["--ca", &ca, "models"]), 0, &[]);
    let unknown = ["its certificate is of an authority that is not known here", "--ca FILE"];
    says(&assay(&address, &["--ca", &wrong, "models"]), 3, &[&[address.as_str()], &unknown[..]].concat());
    let by_name = address.replace("127.0.0.1", "localhost");
    says(&assay(&by_name, &["--ca", &ca, "models"]), 3, &["its certificate is for ", "not for localhost"]);
    says(&assay(&server.address, &["models"]), 3, &["it speaks TLS", "https://"]);
    says(&assay(&address, &["--ca", "no/such.crt", "models"]), 2, &["--ca no/such.crt: No such file"]);
    let none = folder.join("none.crt");
    fs::write(&none, "nothing").unwrap();
    says(&assay(&address, &["--ca", none.to_str().unwrap(), "models"]), 2, &["none.crt: holds no certificate"]);

    // Models of other servers are reached in the same way.
    let attack = |url: &str, ca: &str| {
        let model = format!("{}/no-such-model", url.replace("https://", "oips://"));
        let attack = ["attack", &model, "--data", "deploy/data/fashion-mnist", "--threat", "Linf:0.1"];
        assay(url, &[&attack[..], &["--attack", "square", "--samples", "1", "--ca", ca]].concat())
    };
    let answered = attack(&address, &ca);
    let message = String::from_utf8_lossy(&answered.stderr);
    assert!(message.contains("no-such-model") && !message.contains("certificate"), "{message}");
    says(&attack(&address, &wrong), 3, &unknown);
    // Two did not know the authority, one had another name; and one spoke plain text, and asked again whether it was that.
    server.wait_until("assay_tls_handshakes_total{result=\"refused\"}", |n| n >= 3.0);
    server.wait_until("assay_tls_handshakes_total{result=\"not_tls\"}", |n| n >= 2.0);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_certificate_that_has_expired_is_named() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = file(folder.path(), "ca.crt", &authority);
    let pair = authority.issue_expired(&HERE);
    let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    // assay-server would not start with it.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    says(&assay(&address, &["--ca", &ca, "models"]), 3, &[&address, "its certificate has expired"]);
}

#[test]
fn a_server_that_asks_for_certificates_is_shown_one() {
    let (authority, clients, folder) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    let (ca, clients_ca) = (file(folder, "ca.crt", &authority), file(folder, "clients.crt", &clients));
    let (server, address) = start(folder, &authority.issue(&HERE), Some(&clients_ca));
    let [good, key] = files(folder, "good", &clients.issue(&["ci.example.org"]));
    let [bad, bad_key] = files(folder, "bad", &authority.issue(&["ci.example.org"]));
    let with = |more: &[&str]| assay(&address, &[&["--ca", &ca, "models"], more].concat());

    says(&with(&["--cert", &good, "--cert-key", &key]), 0, &[]);
    says(&with(&[]), 3, &["a client certificate", "--cert FILE and --cert-key FILE"]);
    says(&with(&["--cert", &bad, "--cert-key", &bad_key]), 3, &["take the certificate of --cert"]);
    says(&with(&["--cert", &good]), 2, &["--cert-key"]);
    says(&with(&["--cert", &good, "--cert-key", &bad_key]), 2, &["expected a certificate and its key"]);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_server_without_tls_is_told_from_one_with_it() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = file(folder.path(), "ca.crt", &authority);
    let server = Server::start(&repository(), "deploy/models", &[]);
    let address = server.address.replace("http://", "https://");
    says(&assay(&address, &["--ca", &ca, "models"]), 3, &["it does not speak TLS", "http://"]);
    says(&assay("ftp://127.0.0.1:1", &["models"]), 2, &["expected http://HOST:PORT, or https://HOST:PORT"]);
    assert_eq!(server.stop(), Some(0));
}
