//! What the admin port shows beside metrics and audits.

use assay_server::{Config, Role};

use crate::harness::{Running, key, secret};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_in_force_is_shown_without_what_helps_to_guess_a_key() {
    let ci = key("ci", &[Role::Predict]);
    let digest = ci.sha256.clone();
    let server = Running::with(|config| {
        config.auth.keys = vec![ci];
        config.limits.max_batch = 77;
        config.log.level = "warn".to_owned();
    })
    .await;
    let (status, shown) = server.admin("/config");
    assert_eq!(status, 200);
    let table: toml::Table = toml::from_str(&shown).unwrap();
    assert_eq!(table["limits"]["max_batch"].as_integer(), Some(77));
    assert_eq!(table["log"]["level"].as_str(), Some("warn"));
    assert_eq!(table["auth"]["keys"][0]["name"].as_str(), Some("ci"));
    assert!(!shown.contains(&digest) && !shown.contains(&secret("ci")), "{shown}");
    // Every key of the configuration is there, so that nobody has to know the defaults.
    let all: toml::Table = toml::from_str(&toml::to_string(&Config::default()).unwrap()).unwrap();
    assert!(all.keys().all(|key| table.contains_key(key)));
}
