//! Worker processes: machine code under test may crash or never return, and must not take the run with it.
//!
//! A worker is the test's own program with an environment variable set. It reads a line for each request and writes
//! a line for each answer.

use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// The environment variable that makes a process of a test a worker.
const MARK: &str = "SIRIUS_TEST_WORKER";

/// Answers start with this: nothing else that a worker may print does.
const PREFIX: &str = "@answer ";

pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// Where this process is a worker: answers requests until there are no more. Neither may contain a line break; a
/// panic is answered by what `panicked` makes of its message.
pub fn serve(answer: impl Fn(&str) -> String, panicked: impl Fn(&str) -> String) -> Option<ExitCode> {
    std::env::var_os(MARK)?;
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let result = catch_unwind(AssertUnwindSafe(|| answer(&line))).unwrap_or_else(|p| panicked(panic_text(&*p)));
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{PREFIX}{result}").and_then(|()| out.flush()).is_err() {
            return Some(ExitCode::FAILURE);
        }
    }
    Some(ExitCode::SUCCESS)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// A fixed number of places for workers; a place is `None` until its worker is started, and after a crash.
pub struct Pool {
    idle: Mutex<Vec<Option<Worker>>>,
    returned: Condvar,
    limit: Duration,
}

struct Worker {
    process: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
}

impl Pool {
    /// `limit` is how long an answer may take.
    pub fn new(places: usize, limit: Duration) -> Pool {
        Pool { idle: Mutex::new((0..places.max(1)).map(|_| None).collect()), returned: Condvar::new(), limit }
    }

    /// The answer, or how the worker failed to give one.
    pub fn ask(&self, request: &str) -> Result<String, String> {
        let place = self.take();
        let (worker, answer) = match place.map_or_else(Worker::start, Ok) {
            Ok(worker) => worker.ask(request, self.limit),
            Err(error) => (None, Err(format!("no worker process: {error}"))),
        };
        self.idle.lock().expect("no thread panics here").push(worker);
        self.returned.notify_one();
        answer
    }

    fn take(&self) -> Option<Worker> {
        let mut idle = self.idle.lock().expect("no thread panics here");
        loop {
            match idle.pop() {
                Some(place) => return place,
                None => idle = self.returned.wait(idle).expect("no thread panics here"),
            }
        }
    }
}

impl Worker {
    fn start() -> std::io::Result<Worker> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(MARK, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let missing = || std::io::Error::other("a pipe is missing");
        let requests = process.stdin.take().ok_or_else(missing)?;
        let output = process.stdout.take().ok_or_else(missing)?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            for answer in lines.filter_map(|line| line.strip_prefix(PREFIX).map(str::to_string)) {
                let _ = sender.send(answer);
            }
        });
        Ok(Worker { process, requests, answers })
    }

    /// The answer, and the worker if it lived.
    fn ask(mut self, request: &str, limit: Duration) -> (Option<Worker>, Result<String, String>) {
        // A worker that has died does not take the request; that shows as a missing answer.
        let _ = self.requests.write_all(format!("{request}\n").as_bytes());
        match self.answers.recv_timeout(limit) {
            Ok(answer) => (Some(self), Ok(answer)),
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.process.kill();
                let _ = self.process.wait();
                (None, Err(format!("no result after {} s", limit.as_secs())))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let how = self.process.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
                (None, Err(format!("the process died: {how}")))
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
