//! The built `assay-server`, started for one test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The root of the project.
#[allow(dead_code, reason = "not all tests use what is shipped")]
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A folder with shipped models, each at `NAME/VERSION` of its repository `models`, and room for a server's state.
#[allow(dead_code, reason = "not all tests use what is shipped")]
pub(crate) fn folder(models: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (model, shipped) in models {
        let to = folder.path().join("models").join(model);
        std::fs::create_dir_all(&to).unwrap();
        let from = repository().join("deploy/models").join(shipped).join("1/model.onnx");
        std::fs::copy(from, to.join("model.onnx")).unwrap();
    }
    folder
}

pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
    admin: SocketAddr,
    given: Given,
}

/// A server that was killed.
#[allow(dead_code, reason = "not all tests kill")]
pub(crate) struct Killed(Given);

#[allow(dead_code, reason = "not all tests kill")]
impl Killed {
    /// Starts another one of the same, at the same address.
    #[track_caller]
    pub(crate) fn started_again(self) -> Server {
        Server::from(self.0)
    }
}

/// What a server was started with.
#[derive(Clone)]
struct Given {
    folder: PathBuf,
    models: String,
    settings: Vec<String>,
    ports: [SocketAddr; 2],
}

impl Server {
    /// Starts the server in a folder, on free ports, with these models and settings, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(folder: &Path, models: &str, settings: &[&str]) -> Self {
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Self::from(Given { folder: folder.to_owned(), models: models.to_owned(), settings, ports })
    }

    #[track_caller]
    fn from(given: Given) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_assay")).with_file_name("assay-server");
        assert!(program.exists(), "{} is missing: build it with `cargo build -p assay-server`", program.display());
        let [grpc, admin] = given.ports;
        let mut process = Command::new(program)
            .current_dir(&given.folder)
            .args(["--models", &given.models, "--set", &format!("grpc.listen={grpc}")])
            .args(["--set", &format!("admin.listen={admin}")])
            .args(given.settings.iter().flat_map(|setting| ["--set", setting]))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_ready(admin) {
            assert_eq!(process.try_wait().unwrap(), None, "the server stopped");
            assert!(Instant::now() < deadline, "the server did not start within a minute");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { process, address: format!("http://{grpc}"), admin, given }
    }

    /// Kills it without a warning, and starts another one of the same, at the same address.
    #[track_caller]
    #[allow(dead_code, reason = "not all tests kill")]
    pub(crate) fn killed_and_started_again(self) -> Self {
        self.killed().started_again()
    }

    /// Kills it without a warning.
    #[allow(dead_code, reason = "not all tests kill")]
    pub(crate) fn killed(mut self) -> Killed {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        Killed(self.given.clone())
    }

    /// Waits until the metric with exactly these labels satisfies a condition.
    #[track_caller]
    pub(crate) fn wait_until(&self, series: &str, holds: impl Fn(f64) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let scraped = get(self.admin, "/metrics").unwrap_or_default();
            let value = scraped.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
            if value.is_some_and(&holds) {
                return;
            }
            assert!(Instant::now() < deadline, "{series} is {value:?} after a minute");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks it to stop and returns its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let kill = Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        assert!(kill.success());
        self.process.wait().unwrap().code()
    }
}

/// Whether `/readyz` answers 200.
fn is_ready(admin: SocketAddr) -> bool {
    get(admin, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// The answer with its head; `None`: nobody answers.
fn get(admin: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(admin).ok()?;
    let mut answer = String::new();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").ok()?;
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only where a test failed before it stopped the server.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
