//! The only unsafe code of the house: what must happen to the process and the library before `ort` takes over, and what `ort`
//! does not ask it.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use assay_graph::{Tensor, Value};
use ort::AsPointer;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, SessionInputValue, SessionOutputs};
use ort::value::{DynValue, TensorElementType};

/// Tells ONNX Runtime not to report usage. Its official builds for Linux do so from 1.29 on, and they read this variable
/// while the environment is created, before `with_telemetry(false)` can take effect.
///
/// Nothing is changed where the variable is set already, as the container image and `.cargo/config.toml` do.
pub(crate) fn disable_telemetry() {
    const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";
    if std::env::var_os(VARIABLE).is_none_or(|value| value != "1") {
        // SAFETY: unsound only if another thread reads the environment through C at the same moment; Rust's own readers
        // take a lock. It runs once, before the library starts and so before ONNX Runtime has any thread.
        unsafe { std::env::set_var(VARIABLE, "1") };
    }
}

unsafe extern "C" {
    fn _exit(status: c_int) -> !;
}

/// Ends the process with `status` while sessions run.
///
/// `std::process::exit` runs the destructors of ONNX Runtime's library, under the threads that are still in it: now and then
/// such an exit ends in a crash, with a signal in place of the status. Nothing is flushed; standard error has no buffer.
pub fn exit_at_once(status: i32) -> ! {
    // SAFETY: the type is that of the C libraries of all platforms. It takes a number, and does not return.
    unsafe { _exit(status) }
}

/// Gives memory that nothing uses any more back to the system, where the C library is glibc: it keeps freed blocks of up to 32 MiB, and a data set that was
/// received, decoded and laid out leaves several. Takes milliseconds; for after such work, not for within it.
pub fn return_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> c_int;
        }
        // SAFETY: the type is glibc's. It takes the allocator's own locks, and touches free memory only.
        unsafe { malloc_trim(0) };
    }
}

/// Why a file is not ONNX Runtime.
#[derive(Debug)]
pub(crate) enum Unloadable {
    /// The system's loader refused it.
    Loader(String),
    /// It is a library, but not ONNX Runtime.
    NoEntryPoint,
}

/// The version that the library at `path` says it has, for example `1.31.1`.
///
/// Asked before `ort` loads it, because `ort` tells the version only of libraries that it refuses.
pub(crate) fn version(path: &Path) -> Result<String, Unloadable> {
    // SAFETY: opening a library runs its initialisers. The file was chosen by the operator as ONNX Runtime, and `ort` will
    // open the same file next.
    let library = unsafe { libloading::Library::new(path) }.map_err(|e| Unloadable::Loader(e.to_string()))?;
    // SAFETY: the type is that of the function in ONNX Runtime's C header, which has not changed since 1.0.
    let entry = unsafe { library.get::<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(b"OrtGetApiBase") }
        .map_err(|_| Unloadable::NoEntryPoint)?;
    // SAFETY: it takes nothing and returns null or a table that lives as long as the library.
    let base = unsafe { entry().as_ref() }.ok_or(Unloadable::NoEntryPoint)?;
    // SAFETY: as above; the result is null or a string that lives as long as the library, which is still open here.
    let text: *const c_char = unsafe { (base.GetVersionString)() };
    if text.is_null() {
        return Err(Unloadable::NoEntryPoint);
    }
    // SAFETY: not null, and ended by a zero as the header promises.
    Ok(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// Bytes that an arena hands out now, and the most that it has ever handed out at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InUse {
    pub(crate) now: u64,
    pub(crate) most: u64,
}

/// The statistics of an arena. An allocator without an arena has none, which is an error.
pub(crate) fn in_use(allocator: &Allocator) -> Result<InUse, String> {
    let api = ort::api();
    let mut pairs = null_mut();
    // SAFETY: the allocator lives as long as its borrow; `pairs` is a place for the table that the call makes.
    let status = unsafe { (api.AllocatorGetStats)(allocator.ptr(), &raw mut pairs) };
    // SAFETY: the status is the one that the call above gave, and is used once.
    unsafe { ort::Error::<()>::result_from_status(status) }.map_err(|e| e.to_string())?;
    if pairs.is_null() {
        return Err("it gives no statistics".into());
    }
    let number = |key: &CStr| {
        // SAFETY: the table is not null and not released yet; the key ends with a zero.
        let text = unsafe { (api.GetKeyValue)(pairs, key.as_ptr()) };
        // SAFETY: not null, and ended by a zero, as the header promises, for as long as the table lives.
        let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
        text.and_then(|text| text.to_str().ok()?.parse().ok())
            .ok_or_else(|| format!("its statistics have no number {}", key.to_string_lossy()))
    };
    let (now, most) = (number(c"InUse"), number(c"MaxInUse"));
    // SAFETY: the table is the caller's to release, and is not used after.
    unsafe { (api.ReleaseKeyValuePairs)(pairs) };
    Ok(InUse { now: now?, most: most? })
}

/// A session of ONNX Runtime that reads tensors where they lie, without a copy of its own.
pub(crate) struct Session {
    // Dropped in this order: first what reads, then what is read.
    session: ort::session::Session,
    _lent: Vec<Lent>,
    options: Arc<RunOptions>,
}

/// Stops the runs of sessions between two of their operators.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<Stopped>);

#[derive(Default)]
struct Stopped {
    sessions: Vec<Arc<RunOptions>>,
    stopped: AtomicBool,
}

impl Interrupt {
    /// For the runs of these sessions from now on.
    pub(crate) fn new<'s>(sessions: impl IntoIterator<Item = &'s Session>) -> Self {
        let sessions = sessions.into_iter().map(|session| Arc::clone(&session.options)).collect();
        Self(Arc::new(Stopped { sessions, stopped: AtomicBool::new(false) }))
    }

    /// Stops the run that goes on; a session that does not run stops its next one.
    pub(crate) fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        // It is told for as long as there is memory, which is all that can fail.
        self.0.sessions.iter().for_each(|options| drop(options.terminate()));
    }

    /// Whether it was stopped; the next run is not any more.
    pub(crate) fn was_stopped(&self) -> bool {
        let stopped = self.0.stopped.swap(false, Ordering::SeqCst);
        if stopped {
            self.0.sessions.iter().for_each(|options| drop(options.unterminate()));
        }
        stopped
    }
}

/// Memory that a session reads.
#[derive(Debug)]
enum Lent {
    Shared(Tensor),
    /// A copy at an address that is a multiple of the element's size, as kernels want it.
    Aligned(Vec<u64>, Tensor),
}

impl Lent {
    fn new(tensor: Tensor) -> Self {
        let size = tensor.dtype().size().unwrap_or(1);
        if tensor.bytes().as_ptr().align_offset(size) == 0 {
            return Self::Shared(tensor);
        }
        let words = tensor.bytes().chunks(size_of::<u64>()).map(|chunk| {
            let mut word = [0; size_of::<u64>()];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        });
        Self::Aligned(words.collect(), tensor)
    }

    fn tensor(&self) -> &Tensor {
        let (Self::Shared(tensor) | Self::Aligned(_, tensor)) = self;
        tensor
    }

    fn address(&self) -> *const u8 {
        match self {
            Self::Shared(tensor) => tensor.bytes().as_ptr(),
            Self::Aligned(words, _) => words.as_ptr().cast(),
        }
    }

    /// As a tensor of ONNX Runtime over the same memory.
    ///
    /// # Safety
    /// The memory must outlive it, and whatever took hold of it.
    unsafe fn value(&self, element: TensorElementType) -> Result<DynValue, String> {
        let api = ort::api();
        let (tensor, memory) = (self.tensor(), MemoryInfo::default());
        let shape: Vec<i64> =
            tensor.dims().iter().map(|&d| i64::try_from(d)).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        let mut value = null_mut();
        // SAFETY: address and length are those of one allocation, and the length is that of the shape and the type, which
        // the call checks too. It is `mut` only for tensors that are outputs: an initializer is never written.
        let status = unsafe {
            (api.CreateTensorWithDataAsOrtValue)(
                memory.ptr(),
                self.address().cast_mut().cast(),
                tensor.bytes().len(),
                shape.as_ptr(),
                shape.len(),
                element.into(),
                &raw mut value,
            )
        };
        // SAFETY: the status is the one that the call above gave, and is used once.
        unsafe { ort::Error::<()>::result_from_status(status) }.map_err(|e| e.to_string())?;
        let value = NonNull::new(value).ok_or("a tensor was not made")?;
        // SAFETY: a new value that nobody else releases. Its allocator is asked for nothing: the memory is not its own.
        Ok(unsafe { DynValue::from_ptr(value, Some(&Allocator::default())) })
    }
}

impl Session {
    /// A session without tensors of others.
    pub(crate) fn new(session: ort::session::Session) -> Result<Self, String> {
        Self::with(session, Vec::new())
    }

    fn with(session: ort::session::Session, lent: Vec<Lent>) -> Result<Self, String> {
        let options = RunOptions::new().map_err(|e| e.to_string())?;
        Ok(Self { session, _lent: lent, options: Arc::new(options) })
    }

    /// One run, which an [`Interrupt`] can stop.
    pub(crate) fn run<'s>(&'s mut self, inputs: Vec<(&str, SessionInputValue<'_>)>) -> ort::Result<SessionOutputs<'s>> {
        self.session.run_with_options(inputs, &self.options)
    }

    /// A session of the ONNX file `content`, with the initializers whose content it lacks.
    pub(crate) fn lend(
        mut builder: SessionBuilder,
        content: &[u8],
        initializers: Vec<(Value, Tensor, TensorElementType)>,
    ) -> Result<Self, String> {
        let mut lent = Vec::with_capacity(initializers.len());
        for (name, tensor, element) in initializers {
            let tensor = Lent::new(tensor);
            // SAFETY: builder and session hold the value. The builder is gone when this function returns, and the session
            // is dropped before what it was lent. Neither moves with the vector: both kinds point to the heap.
            let value = unsafe { tensor.value(element) }?;
            builder = builder.with_external_initializer(name.as_str(), value).map_err(|e| e.to_string())?;
            lent.push(tensor);
        }
        let session = builder.commit_from_memory(content).map_err(|e| e.to_string())?;
        Self::with(session, lent)
    }
}

impl Deref for Session {
    type Target = ort::session::Session;

    fn deref(&self) -> &Self::Target {
        &self.session
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.session
    }
}
