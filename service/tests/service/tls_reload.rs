//! Certificates that are replaced while the server serves.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    harness::Running,
    pki::{Authority, Pair},
    tls::{HERE, connect, tls},
};
use assay_proto::v1::ListAttacksRequest;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

const TAKEN: &str = "assay_reloads_total{what=\"tls\",result=\"taken\"}";
const REFUSED: &str = "assay_reloads_total{what=\"tls\",result=\"refused\"}";
const EXPIRY: &str = "assay_tls_certificate_expiry_timestamp_seconds{certificate=\"server\"}";

/// The certificate that a new connection is shown, in DER.
async fn shown(server: &Running, authority: &Authority) -> Vec<u8> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let stream = TcpStream::connect(server.addresses.grpc).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
    let tls = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    tls.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn is_shown(server: &Running, authority: &Authority, pair: &Pair) {
    for _ in 0..500 {
        if shown(server, authority).await == pair.der {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the new certificate is not shown after 10 s");
}

/// A server that looks at its files ten times a second.
async fn server(folder: &Path, pair: &Pair) -> Running {
    let tls = tls(folder, pair, None);
    Running::with(|config| {
        config.grpc.tls = Some(tls);
        config.reload.interval_seconds = 0.1;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_call_is_lost_and_new_connections_get_the_new_certificate() {
    let (authority, folder) = (Arc::new(Authority::new()), tempfile::tempdir().unwrap());
    let server = Arc::new(server(folder.path(), &authority.issue(&HERE)).await);
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new([const { AtomicUsize::new(0) }; 2]));
    let mut load = Vec::new();
    for kind in [0, 0, 1, 1] {
        let (server, authority, stop, calls) = (server.clone(), authority.clone(), stop.clone(), calls.clone());
        load.push(tokio::spawn(async move {
            let mut client = connect(&server, &authority, None).await.unwrap();
            while !stop.load(Ordering::Relaxed) {
                // One kind keeps its connection, the other makes one for each call.
                if kind == 1 {
                    client = connect(&server, &authority, None).await.unwrap();
                }
                client.list_attacks(ListAttacksRequest {}).await.unwrap();
                calls[kind].fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for _ in 0..5 {
        let before = [0, 1].map(|kind: usize| calls[kind].load(Ordering::Relaxed));
        let next = authority.issue(&HERE);
        next.write(folder.path(), "server");
        is_shown(&server, &authority, &next).await;
        let went_on = || (0..2).all(|kind| calls[kind].load(Ordering::Relaxed) > before[kind] + 10);
        server.eventually("going on", |_| went_on()).await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    assert_eq!(server.metric(TAKEN), Some(5.0));
    let failed = ["failed", "closed", "refused", "not_tls", "timed_out"];
    let failed = failed.map(|how| server.metric(&format!("assay_tls_handshakes_total{{result=\"{how}\"}}")));
    assert_eq!(failed, [Some(0.0); 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_or_half_written_is_refused_once_and_the_old_pair_goes_on() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (old, new) = (authority.issue(&HERE), authority.issue(&HERE));
    let server = server(folder.path(), &old).await;
    let ends = server.metric(EXPIRY).unwrap();
    assert!(ends > 1e9, "{ends}");
    let cut = |text: &str| text[..text.len() - 40].to_owned();
    let broken = [
        new.with_key_of(&old),
        Pair { certificate: cut(&new.certificate), ..new.clone() },
        Pair { key: cut(&new.key), ..new.clone() },
        Pair { certificate: String::new(), key: String::new(), ..new.clone() },
        authority.issue_expired(&HERE),
    ];
    for (n, pair) in (1..).zip(&broken) {
        let before = server.metric(REFUSED).unwrap();
        pair.write(folder.path(), "server");
        server.eventually("refused", |server| server.metric(REFUSED).unwrap() > before).await;
        assert_eq!(shown(&server, &authority).await, old.der, "broken in way {n}");
    }
    // What is refused is told once, not at every look.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = server.metric(REFUSED).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((server.metric(REFUSED), server.metric(TAKEN)), (Some(refused), Some(0.0)));
    new.write(folder.path(), "server");
    is_shown(&server, &authority, &new).await;
    fs::remove_file(folder.path().join("server.key")).unwrap();
    server.eventually("refused", |server| server.metric(REFUSED).unwrap() > refused).await;
    assert_eq!(shown(&server, &authority).await, new.der);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_replaced_by_moving_a_link_is_noticed() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let root = folder.path();
    let (old, new) = (authority.issue(&HERE), authority.issue(&HERE));
    // As Kubernetes mounts a Secret: server.crt -> ..data/server.crt, ..data -> ..1
    for (version, pair) in [("..1", &old), ("..2", &new)] {
        fs::create_dir(root.join(version)).unwrap();
        pair.write(&root.join(version), "server");
    }
    symlink("..1", root.join("..data")).unwrap();
    let mut tls = tls(&root.join("..1"), &old, None);
    (tls.certificate, tls.key) = (root.join("server.crt"), root.join("server.key"));
    for file in ["server.crt", "server.key"] {
        symlink(Path::new("..data").join(file), root.join(file)).unwrap();
    }
    let server = Running::with(|config| {
        config.grpc.tls = Some(tls);
        config.reload.interval_seconds = 0.1;
    })
    .await;
    assert_eq!(shown(&server, &authority).await, old.der);
    symlink("..2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    is_shown(&server, &authority, &new).await;
    assert_eq!((server.metric(TAKEN), server.metric(REFUSED)), (Some(1.0), Some(0.0)));
}
