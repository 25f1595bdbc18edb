//! Worker processes: machine code under test may crash or never return, and must not take the run with it.

use crate::cases::Case;
use crate::protocol::{self, Verdict};
use crate::worker;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// The largest case takes 8 s of processor time; a machine that is shared with ten other programs has taken 200 s.
const LIMIT: Duration = Duration::from_secs(600);

/// A fixed number of places for workers; a place is `None` until its worker is started, and after a crash.
pub struct Pool {
    idle: Mutex<Vec<Option<Worker>>>,
    returned: Condvar,
}

struct Worker {
    process: Child,
    requests: ChildStdin,
    answers: Receiver<Verdict>,
}

impl Pool {
    pub fn new(places: usize) -> Pool {
        Pool { idle: Mutex::new((0..places.max(1)).map(|_| None).collect()), returned: Condvar::new() }
    }

    pub fn run(&self, case: &Case) -> Verdict {
        let place = self.take();
        let (worker, verdict) = match place.map_or_else(Worker::start, Ok) {
            Ok(worker) => worker.run(case),
            Err(error) => (None, Verdict::Wrong(format!("no worker process: {error}"))),
        };
        self.idle.lock().expect("no thread panics here").push(worker);
        self.returned.notify_one();
        verdict
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
        command.env(worker::MARK, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let missing = || std::io::Error::other("a pipe is missing");
        let requests = process.stdin.take().ok_or_else(missing)?;
        let output = process.stdout.take().ok_or_else(missing)?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            for verdict in lines.filter_map(|line| protocol::parse_answer(&line)) {
                let _ = sender.send(verdict);
            }
        });
        Ok(Worker { process, requests, answers })
    }

    /// The verdict, and the worker if it lived.
    fn run(mut self, case: &Case) -> (Option<Worker>, Verdict) {
        // A worker that has died does not take the request; that shows as a missing answer.
        let _ = self.requests.write_all(protocol::request(case).as_bytes());
        match self.answers.recv_timeout(LIMIT) {
            Ok(verdict) => (Some(self), verdict),
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.process.kill();
                let _ = self.process.wait();
                (None, Verdict::Wrong(format!("no result after {} s", LIMIT.as_secs())))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let how = self.process.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
                (None, Verdict::Wrong(format!("the process died: {how}")))
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
