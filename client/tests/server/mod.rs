//! The built `assay-server`, started for one test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
}

impl Server {
    /// Starts the server on free ports with the demo's models and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(repository: &Path) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_assay")).with_file_name("assay-server");
        assert!(program.exists(), "{} is missing: build it with `cargo build -p assay-server`", program.display());
        let [grpc, admin] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let mut process = Command::new(program)
            .current_dir(repository)
            .args(["--models", "deploy/models", "--set", &format!("grpc.listen={grpc}")])
            .args(["--set", &format!("admin.listen={admin}")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_ready(admin) {
            assert_eq!(process.try_wait().unwrap(), None, "the server stopped");
            assert!(Instant::now() < deadline, "the server did not start within a minute");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { process, address: format!("http://{grpc}") }
    }

    /// Asks it to stop and returns its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let kill = Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        assert!(kill.success());
        self.process.wait().unwrap().code()
    }
}

/// Whether `/readyz` answers 200.
fn is_ready(admin: std::net::SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(admin) else { return false };
    let mut answer = String::new();
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only where a test failed before it stopped the server.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
