//! The `assay-server` program.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use assay_server::{Addresses, CALLS, Config, ConfigError, LogFormat, Server, ServerError, Setting, Tracing, hash_key};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{Targets, filter_fn},
    fmt::{self, writer::BoxMakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Time that work which was told to stop has to leave its threads when the process ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Hosts ONNX classifiers and offers predict, attack and audit over gRPC.
///
/// Settings come, weakest first, from the defaults, the files of --config, the environment (ASSAY__LIMITS__MAX_BATCH=64) and
/// --set. The first SIGTERM or SIGINT drains, the second one exits at once; SIGHUP has certificates and auth.file read again.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// TOML file with settings; may be repeated, and a later file wins.
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// One setting, for example limits.max_batch=64; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Setting>,
    /// Folder of the model repository; short for --set models=DIR.
    #[arg(long, value_name = "DIR")]
    models: Option<String>,
    /// Writes the addresses that were bound, as JSON, once the server listens.
    #[arg(long, value_name = "FILE")]
    addresses_file: Option<PathBuf>,
    /// Prints the configuration in force and exits.
    #[arg(long)]
    print_config: bool,
    /// Checks the configuration and exits.
    #[arg(long, conflicts_with = "print_config")]
    check: bool,
    /// Reads a key from standard input, prints its digest for auth.keys and exits. `openssl rand -base64 32` makes a good key.
    #[arg(long, conflicts_with_all = ["print_config", "check"])]
    hash_key: bool,
}

fn main() -> ExitCode {
    match run(Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do where standard error is closed.
            let _ = writeln!(io::stderr(), "assay-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> Result<(), ServerError> {
    if flags.hash_key {
        let mut key = String::new();
        io::stdin().read_to_string(&mut key).map_err(|e| ServerError::Serve(format!("standard input: {e}")))?;
        // What ends the line is no part of the key.
        let key = key.strip_suffix('\n').unwrap_or(&key);
        return print(&format!("sha256 = \"{}\"\n", hash_key(key.strip_suffix('\r').unwrap_or(key))?));
    }
    let models = flags.models.as_deref().map(|folder| Setting::new("models", folder));
    let settings: Vec<Setting> = flags.set.into_iter().chain(models).collect();
    let config = Config::load(&flags.config, &settings)?;
    if flags.check {
        return print("the configuration is valid\n");
    }
    if flags.print_config {
        let text = toml::to_string(&config).map_err(|e| ConfigError::Malformed(e.to_string()))?;
        return print(&text);
    }
    let failed = |e: io::Error| ServerError::Serve(e.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    let tracing = {
        let _entered = runtime.enter();
        Tracing::start(&config.traces)?
    };
    start_log(&config, tracing.as_ref())?;
    let served = runtime.block_on(serve(config, flags.addresses_file.as_deref()));
    if let Some(tracing) = tracing {
        tracing.finish();
    }
    runtime.shutdown_timeout(FAREWELL);
    served
}

async fn serve(config: Config, addresses_file: Option<&Path>) -> Result<(), ServerError> {
    let mut signals = Signals::new().map_err(|e| ServerError::Serve(format!("signals: {e}")))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(|e| ServerError::Serve(format!("signals: {e}")))?;
    let server = Server::bind(config).await?;
    if let Some(path) = addresses_file {
        write_addresses(path, server.addresses())
            .map_err(|source| ServerError::Write { path: path.to_owned(), source })?;
    }
    let reloader = server.reloader();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            reloader.reload();
        }
    });
    let stop = async move {
        signals.next().await;
        tokio::spawn(async move {
            signals.next().await;
            tracing::warn!("second signal: exiting at once");
            assay_runtime::exit_at_once(1);
        });
    };
    server.run(stop).await
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn start_log(config: &Config, tracing: Option<&Tracing>) -> Result<(), ServerError> {
    // The level is validated with the configuration. ONNX Runtime's binding tells of every session; whoever wants that names it.
    let filter = EnvFilter::new(format!("ort=warn,{}", config.log.level));
    let log = fmt::layer().with_writer(io::stderr);
    let log = match config.log.format {
        LogFormat::Json => log.json().flatten_event(true).boxed(),
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).boxed(),
    };
    let calls = config.log.calls.as_deref().map(calls).transpose()?.map(|sink| {
        let calls = fmt::layer().with_writer(sink).json().flatten_event(true).with_target(false).with_level(false);
        calls.with_filter(Targets::new().with_target(CALLS, tracing::Level::INFO))
    });
    // Spans are for traces; a log line says of itself what is to be known.
    let log = log.with_filter(filter_fn(|about| about.is_event())).with_filter(filter);
    let traces = tracing.map(Tracing::layer);
    tracing_subscriber::registry().with(log).with(calls).with(traces).init();
    Ok(())
}

/// Where the records of calls go.
fn calls(path: &Path) -> Result<BoxMakeWriter, ServerError> {
    if path == Path::new("-") {
        return Ok(BoxMakeWriter::new(io::stdout));
    }
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    let file = file.map_err(|source| ServerError::Write { path: path.to_owned(), source })?;
    Ok(BoxMakeWriter::new(Arc::new(file)))
}

/// Whoever waits for the file sees all of it or nothing: it is written beside its place and moved there.
fn write_addresses(path: &Path, addresses: Addresses) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    fs::write(&draft, serde_json::to_string(&addresses)?)?;
    fs::rename(&draft, path)
}

fn print(text: &str) -> Result<(), ServerError> {
    io::stdout().write_all(text.as_bytes()).map_err(|e| ServerError::Serve(format!("standard output: {e}")))
}
