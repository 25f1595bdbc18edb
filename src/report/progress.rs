//! Progress on standard error: a phase speaks up only when it takes over a second.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a phase stays silent.
const PATIENCE: Duration = Duration::from_secs(1);

/// A thread that watches the phases of one command. Dropping it ends the last phase.
pub struct Progress {
    phases: Option<Sender<String>>,
    watcher: Option<JoinHandle<()>>,
}

impl Progress {
    pub fn start() -> Progress {
        let (phases, receiver) = channel();
        let watcher = std::thread::Builder::new().name("progress".into()).spawn(move || watch(&receiver)).ok();
        Progress { phases: Some(phases), watcher }
    }

    /// The command now does `name`.
    pub fn phase(&self, name: &str) {
        if let Some(phases) = &self.phases {
            // The watcher only stops after this sender is gone.
            let _ = phases.send(name.to_string());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.phases = None;
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

fn watch(receiver: &Receiver<String>) {
    let mut next = receiver.recv().ok();
    while let Some(name) = next {
        let start = Instant::now();
        next = match receiver.recv_timeout(PATIENCE) {
            Ok(name) => Some(name),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                eprint!("  {name} ...");
                let after = receiver.recv().ok();
                eprintln!(" {:.1} s", start.elapsed().as_secs_f64());
                after
            }
        };
    }
}
