//! Loads an artifact and runs it through its C interface, as any other program would.
//!
//! A counted artifact runs on threads of ours, since its observer may not be called from threads that the standard
//! library does not know.

use crate::graph::{Port, Signature};
use crate::run::bind::{Buffer, DlTensor};
use crate::run::clock::{Clock, Span};
use crate::run::count::{Counter, Counts, Depth, Observer};
use crate::run::value::Value;
use libloading::Library;
use sirius_lowering::artifact::ABI_VERSION;
use sirius_lowering::count::observer_symbol;
use sirius_lowering::metadata::{CountedInfo, Manifest, PortInfo, TensorInfo};
use sirius_polyhedral::{DType, Error, Result};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

type Handle = *mut c_void;
type OpenFn = unsafe extern "C" fn(*const c_char, *mut Handle) -> c_int;
type CreateFn = unsafe extern "C" fn(Handle, *const Options, *mut Handle) -> c_int;
type FreeFn = unsafe extern "C" fn(Handle);
type ShapesFn = unsafe extern "C" fn(Handle, *const DlTensor, usize, *mut i64, usize) -> c_int;
type RunFn = unsafe extern "C" fn(Handle, *const DlTensor, usize, *mut DlTensor, usize) -> c_int;
type LastErrorFn = unsafe extern "C" fn(Handle) -> *const c_char;
type WorkspaceFn = unsafe extern "C" fn(Handle, *const i64, usize) -> usize;
type ParallelFn = extern "C" fn(*mut c_void, u32, TaskFn, *mut c_void);
type TaskFn = extern "C" fn(*mut c_void, u32);
type StatusTextFn = unsafe extern "C" fn(c_int) -> *const c_char;
type CheckHostFn = unsafe extern "C" fn(*mut *const c_char) -> c_int;

/// `sirius_options`.
#[repr(C)]
struct Options {
    size: usize,
    dims: *const i64,
    n_dims: usize,
    workspace: *mut c_void,
    workspace_bytes: usize,
    threads: u32,
    parallel: Option<ParallelFn>,
    user: *mut c_void,
}

/// An artifact in this process: opened, with one context.
pub struct Loaded {
    pub manifest: Manifest,
    /// Worker threads of the context.
    pub threads: u32,
    model: Handle,
    context: Handle,
    functions: Functions,
    /// Who hears what a counted artifact does.
    observer: Option<*mut Observer>,
    /// Dropped last: the functions live in it.
    _library: Library,
}

#[derive(Clone, Copy)]
struct Functions {
    destroy: FreeFn,
    close: FreeFn,
    output_shapes: ShapesFn,
    run: RunFn,
    last_error: LastErrorFn,
    workspace_bytes: WorkspaceFn,
}

impl Loaded {
    /// Opens the artifact in folder `path`, or the one that the manifest file `path` describes.
    pub fn open(path: &Path) -> Result<Loaded> {
        Loaded::with_threads(path, None)
    }

    /// The model's own inputs and outputs, where one of them is a sequence or optional.
    pub fn ports(&self) -> Result<Signature> {
        let port = |info: &PortInfo| match info.form.parse() {
            Ok(form) => Ok(Port { name: info.name.clone(), form }),
            Err(why) => Err(Error::invalid("E817", why)),
        };
        let ports = |list: &[PortInfo]| list.iter().map(port).collect::<Result<Vec<_>>>();
        Ok(Signature { inputs: ports(&self.manifest.input_values)?, outputs: ports(&self.manifest.output_values)? })
    }

    /// The same with fewer worker threads than the artifact was made for.
    pub fn with_threads(path: &Path, threads: Option<u32>) -> Result<Loaded> {
        let json = manifest_path(path)?;
        let manifest = read_manifest(&json)?;
        let file = json.with_file_name(&manifest.library);
        let file = std::path::absolute(&file).unwrap_or(file);
        // SAFETY: an artifact has no initializers; loading it runs no code.
        let library = unsafe { Library::new(&file) }
            .map_err(|e| Error::environment("E812", format!("{} does not load: {e}", file.display())))?;
        let symbols = Symbols { library: &library, tag: &manifest.tag };
        symbols.check_host()?;
        let (model, context) = symbols.open(&Options::new(threads.unwrap_or(0), &manifest))?;
        let functions = symbols.functions()?;
        let observer = manifest.counted.as_ref().map(|_| symbols.observer()).transpose()?;
        let threads = team_size(manifest.threads, threads);
        Ok(Loaded { manifest, threads, model, context, functions, observer, _library: library })
    }

    /// Bytes of workspace for these values of the named dimensions; `None` where the artifact refuses them.
    pub fn workspace_bytes(&self, dims: &[i64]) -> Option<usize> {
        // SAFETY: the model is open, and the pointer is to as many numbers as the call is told.
        let bytes = unsafe { (self.functions.workspace_bytes)(self.model, dims.as_ptr(), dims.len()) };
        Some(bytes).filter(|b| *b != usize::MAX)
    }

    /// One inference; the outputs in the manifest's order.
    pub fn run(&self, inputs: &[Value]) -> Result<Vec<Value>> {
        let mut bound = self.bind(inputs)?;
        bound.run()?;
        bound.outputs()
    }

    /// One inference of a counted artifact, and what it did.
    pub fn count(&self, inputs: &[Value], depth: Depth) -> Result<Counts> {
        let mut counter = Mutex::new(Counter::new(self.counted()?));
        let listener = match (self.threads, counter.get_mut()) {
            (1, Ok(alone)) => Observer::alone(alone, depth),
            _ => Observer::of_team(&counter, depth),
        };
        self.bind(inputs)?.heard_by(listener)?;
        Ok(counter.into_inner().unwrap_or_else(PoisonError::into_inner).finish())
    }

    fn counted(&self) -> Result<&CountedInfo> {
        self.manifest.counted.as_ref().ok_or_else(|| {
            Error::invalid("E824", format!("{} was not made to count", self.manifest.library))
                .help("compile it with --count")
        })
    }

    /// Copies the inputs into aligned memory and allocates the outputs, for one run or many.
    pub fn bind(&self, inputs: &[Value]) -> Result<Bound<'_>> {
        let mut input_buffers: Vec<Buffer> = inputs.iter().map(Buffer::of).collect::<Result<_>>()?;
        let input_tensors: Vec<DlTensor> = input_buffers.iter_mut().map(Buffer::tensor).collect();
        let mut extents = vec![0i64; self.manifest.outputs.iter().map(|t| t.shape.len()).sum()];
        let shapes = self.functions.output_shapes;
        // SAFETY: tensors and extents are valid for the call.
        let status = unsafe {
            shapes(self.context, input_tensors.as_ptr(), input_tensors.len(), extents.as_mut_ptr(), extents.len())
        };
        self.check(status)?;
        let mut rest = extents.as_slice();
        let mut outputs = Vec::new();
        for info in &self.manifest.outputs {
            let (shape, after) = rest.split_at(info.shape.len());
            outputs.push(Buffer::zeros(dtype_of(info)?, shape.to_vec())?);
            rest = after;
        }
        let output_tensors = outputs.iter_mut().map(Buffer::tensor).collect();
        Ok(Bound { loaded: self, _inputs: input_buffers, outputs, input_tensors, output_tensors })
    }

    fn check(&self, status: c_int) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the context is live and keeps its message until the next call.
        let message = unsafe { text((self.functions.last_error)(self.context)) };
        Err(match status {
            1 => {
                let help = format!("{}{}", self.signature(), empty(&message));
                Error::invalid("E820", message).help(help)
            }
            2 => Error::environment("E821", message),
            _ => Error::invalid("E822", message),
        })
    }

    /// What the model takes, for messages.
    fn signature(&self) -> String {
        let show = |t: &TensorInfo| format!("{}: {}[{}]", t.name, t.dtype, t.shape.join(", "));
        let inputs: Vec<String> = self.manifest.inputs.iter().map(show).collect();
        format!("the model takes {}", inputs.join("; "))
    }
}

/// What to do where the run refuses an empty tensor, because a named dimension is at least 1: `dimension 0 (n): ..`.
fn empty(message: &str) -> String {
    let name = || message.split_once(" (")?.1.split_once("): wanted 1 to ").filter(|(_, rest)| rest.ends_with("got 0"));
    name().map_or(String::new(), |(name, _)| format!("; --dim {name}=0.. compiles it for empty tensors, too"))
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: both were made by this library, and nothing refers to them any more.
        unsafe {
            (self.functions.destroy)(self.context);
            (self.functions.close)(self.model);
        }
    }
}

/// Inputs and outputs in place; may run many times.
pub struct Bound<'a> {
    loaded: &'a Loaded,
    _inputs: Vec<Buffer>,
    outputs: Vec<Buffer>,
    input_tensors: Vec<DlTensor>,
    output_tensors: Vec<DlTensor>,
}

impl Bound<'_> {
    pub fn run(&mut self) -> Result<()> {
        self.outputs.iter_mut().for_each(Buffer::offer_all);
        let (inputs, outputs) = (&self.input_tensors, &mut self.output_tensors);
        let run = self.loaded.functions.run;
        // SAFETY: the buffers behind the tensors live in `self` and have not moved.
        let status =
            unsafe { run(self.loaded.context, inputs.as_ptr(), inputs.len(), outputs.as_mut_ptr(), outputs.len()) };
        self.loaded.check(status)
    }

    /// One run, and what every worker did in every region (see [`Clock::finish`]).
    pub fn clocked(&mut self) -> Result<Vec<Vec<Span>>> {
        let regions = self.loaded.counted()?.regions.len();
        let clock = Clock::new(self.loaded.threads, regions);
        self.heard_by(clock.observer())?;
        Ok(clock.finish())
    }

    /// One run, whose events `listener` hears. One such run goes on at a time in a process.
    fn heard_by(&mut self, listener: Observer) -> Result<()> {
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(observer) = self.loaded.observer else { return self.run() };
        // SAFETY: the library exports an observer under this name, and nobody else in this process sets or reads one
        // while the lock is held: only runs that are heard would, and they are made here.
        let before = unsafe { observer.replace(listener) };
        let done = self.run();
        // SAFETY: as above; the run is over.
        unsafe { observer.write(before) };
        done
    }

    pub fn outputs(&mut self) -> Result<Vec<Value>> {
        self.outputs.iter_mut().map(Buffer::to_value).collect()
    }
}

impl Options {
    /// Defaults but for the number of threads; 0 is the artifact's own.
    fn new(threads: u32, manifest: &Manifest) -> Options {
        let (size, null) = (std::mem::size_of::<Options>(), std::ptr::null_mut());
        let dims = std::ptr::null();
        let parallel = manifest.counted.as_ref().map(|_| lend_threads as ParallelFn);
        Options { size, dims, n_dims: 0, workspace: null, workspace_bytes: 0, threads, parallel, user: null }
    }
}

/// What an argument of a task is to whoever hands it on.
#[derive(Clone, Copy)]
struct Argument(*mut c_void);

// SAFETY: the artifact asks for its tasks to be run on several threads, with this argument.
unsafe impl Send for Argument {}

/// Runs the tasks of an artifact, each on a thread of its own.
extern "C" fn lend_threads(_user: *mut c_void, n: u32, task: TaskFn, argument: *mut c_void) {
    let argument = Argument(argument);
    std::thread::scope(|scope| {
        for index in 0..n {
            scope.spawn(move || {
                let all = argument;
                task(all.0, index);
            });
        }
    });
}

/// The number of workers for `wanted` threads, as the run time chooses it: the largest divisor.
fn team_size(most: u32, wanted: Option<u32>) -> u32 {
    let most = most.max(1);
    let wanted = wanted.unwrap_or(most).clamp(1, most);
    (1..=wanted).rev().find(|n| most.is_multiple_of(*n)).unwrap_or(1)
}

/// The manifest in a folder (exactly one), or the file itself.
pub fn manifest_path(path: &Path) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path.to_path_buf());
    }
    let entries =
        std::fs::read_dir(path).map_err(|e| Error::environment("E813", format!("{}: {e}", path.display())))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| read_manifest(p).is_ok()).collect();
    found.sort();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Error::invalid("E814", format!("no artifact in {}", path.display()))
            .help("make one: sirius compile MODEL.onnx -o DIR")),
        many => Err(Error::invalid("E815", format!("{} artifacts in {}", many.len(), path.display()))
            .help(format!("name one by its manifest: {}", many[0].display()))),
    }
}

/// Reads `NAME.json`.
pub fn read_manifest(path: &Path) -> Result<Manifest> {
    let wrong = |what: String| Error::invalid("E816", format!("{}: {what}", path.display()));
    if path.extension().is_none_or(|e| e != "json") {
        return Err(wrong("an artifact's manifest ends in .json".to_string()));
    }
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|e| wrong(format!("not a manifest: {e}")))?;
    if manifest.format != "sirius-artifact" || manifest.abi != ABI_VERSION {
        return Err(wrong(format!("{} with interface {}, wanted {ABI_VERSION}", manifest.format, manifest.abi)));
    }
    Ok(manifest)
}

fn dtype_of(info: &TensorInfo) -> Result<DType> {
    DType::parse(&info.dtype)
        .ok_or_else(|| Error::invalid("E817", format!("output \"{}\" has unknown type {}", info.name, info.dtype)))
}

/// The functions of one model in a library.
struct Symbols<'a> {
    library: &'a Library,
    tag: &'a str,
}

impl Symbols<'_> {
    fn get<T: Copy>(&self, name: &str) -> Result<T> {
        let symbol = format!("sirius_{}_{name}", self.tag);
        // SAFETY: the type is the one that the header of interface version 1 declares for this name.
        let found = unsafe { self.library.get::<T>(symbol.as_bytes()) };
        found.map(|f| *f).map_err(|e| Error::invalid("E818", format!("the library lacks {symbol}: {e}")))
    }

    fn check_host(&self) -> Result<()> {
        let check: CheckHostFn = self.get("check_host")?;
        let mut why = std::ptr::null();
        // SAFETY: `why` receives a string that lives as long as the library.
        match unsafe { check(&mut why) } {
            0 => Ok(()),
            _ => Err(Error::environment("E819", format!("this processor lacks {}", unsafe { text(why) }))
                .help("compile for this machine: sirius compile MODEL --target-cpu native")),
        }
    }

    fn open(&self, options: &Options) -> Result<(Handle, Handle)> {
        let (open, create) = (self.get::<OpenFn>("open")?, self.get::<CreateFn>("context_create")?);
        let status_text: StatusTextFn = self.get("status_text")?;
        let check = |status: c_int| match status {
            0 => Ok(()),
            // SAFETY: every status has a constant text.
            _ => Err(Error::environment("E823", unsafe { text(status_text(status)) })),
        };
        let (mut model, mut context) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: both handles are written on success only.
        check(unsafe { open(std::ptr::null(), &mut model) })?;
        check(unsafe { create(model, options, &mut context) }).inspect_err(|_| {
            let close = self.get::<FreeFn>("close");
            // SAFETY: the model was opened above, and no context refers to it.
            close.iter().for_each(|close| unsafe { close(model) });
        })?;
        Ok((model, context))
    }

    fn observer(&self) -> Result<*mut Observer> {
        let symbol = observer_symbol(self.tag);
        // SAFETY: a counted artifact exports two pointers under this name, as `sirius_lowering::count` says.
        let found = unsafe { self.library.get::<*mut Observer>(symbol.as_bytes()) };
        found.map(|at| *at).map_err(|e| Error::invalid("E818", format!("the library lacks {symbol}: {e}")))
    }

    fn functions(&self) -> Result<Functions> {
        Ok(Functions {
            destroy: self.get("context_destroy")?,
            close: self.get("close")?,
            output_shapes: self.get("output_shapes")?,
            run: self.get("run")?,
            last_error: self.get("last_error")?,
            workspace_bytes: self.get("workspace_bytes")?,
        })
    }
}

/// # Safety
/// `at` is NULL or a zero-terminated string.
unsafe fn text(at: *const c_char) -> String {
    if at.is_null() { String::new() } else { unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned() }
}
