//! Never a panic on the screen, never a signal: commands run on a thread with a deep stack, a panic becomes exit
//! code 70 with a reproducer file, and so does a fatal error inside LLVM.

use crate::report::render::INTERNAL;
use sirius_polyhedral::Error;
use std::path::PathBuf;

/// Expression trees and schedule trees are walked recursively; memory is only committed when touched.
const STACK_BYTES: usize = 512 << 20;

/// Runs `command` guarded; its exit code.
pub fn run(command: impl FnOnce() -> u8 + Send + 'static) -> u8 {
    std::panic::set_hook(Box::new(|info| {
        let what = format!("panic: {info}\n{}", std::backtrace::Backtrace::force_capture());
        internal_error(&info.to_string(), &what);
    }));
    sirius_lowering::target::on_fatal_error(|message| {
        internal_error(message, message);
        std::process::exit(i32::from(INTERNAL));
    });
    let thread = std::thread::Builder::new().name("sirius".into()).stack_size(STACK_BYTES).spawn(command);
    match thread {
        Ok(thread) => thread.join().unwrap_or(INTERNAL),
        Err(e) => {
            eprintln!("error[E612]: no thread with a stack of {} MiB: {e}", STACK_BYTES >> 20);
            6
        }
    }
}

/// Writes the reproducer for an error that is our own mistake.
pub fn report_bug(error: &Error) {
    if matches!(error, Error::Bug(_)) {
        say_where(&error.to_string());
    }
}

/// Says what happened and where the reproducer is. Nothing here may fail loudly: it runs while something has already gone wrong.
fn internal_error(short: &str, details: &str) {
    eprintln!("internal error: {}", short.lines().next().unwrap_or_default());
    say_where(details);
}

fn say_where(details: &str) {
    match write_reproducer(details) {
        Ok(path) => eprintln!("  = help: this is our mistake; please report it with {}", path.display()),
        Err(e) => eprintln!("  = help: this is our mistake; please report it (no reproducer was written: {e})"),
    }
}

/// Version, command line, folder and what happened: with the model, enough to see it again.
fn write_reproducer(details: &str) -> std::io::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("sirius-reproducer-{}.txt", std::process::id()));
    let command: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let folder = std::env::current_dir().unwrap_or_default();
    let text = format!(
        "sirius {}\ncommand: {}\nfolder: {}\n\n{details}\n",
        env!("CARGO_PKG_VERSION"),
        command.join(" "),
        folder.display()
    );
    std::fs::write(&path, text)?;
    Ok(path)
}
