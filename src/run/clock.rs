//! How long every region of a run took, for every worker: the observer of an artifact that reports regions and waits.

use super::count::Observer;
use sirius_lowering::count::Event;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::time::{Duration, Instant};

/// Time of one worker in one region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub busy: Duration,
    /// At barriers inside the region, and at the one behind it.
    pub waited: Duration,
}

/// What one worker does. Between two events it is in one region, at work or waiting.
struct Timeline {
    /// Of the region that goes on, and when that was last noted; `None` outside.
    since: Option<(usize, Instant)>,
    spans: Vec<Span>,
}

impl Timeline {
    fn event(&mut self, event: Event, region: usize, now: Instant) {
        if let Some((region, since)) = self.since
            && let Some(span) = self.spans.get_mut(region)
        {
            let part = if event == Event::Resume { &mut span.waited } else { &mut span.busy };
            *part += now - since;
            self.since = Some((region, now));
        }
        match event {
            Event::Region => self.since = Some((region, now)),
            Event::Finish => self.since = None,
            _ => {}
        }
    }
}

/// A clock for each worker.
pub struct Clock {
    workers: Vec<UnsafeCell<Timeline>>,
}

// SAFETY: during a run every worker reports with its own number, and touches nothing but its own timeline.
unsafe impl Sync for Clock {}

impl Clock {
    pub fn new(workers: u32, regions: usize) -> Clock {
        let timeline = || UnsafeCell::new(Timeline { since: None, spans: vec![Span::default(); regions] });
        Clock { workers: (0..workers).map(|_| timeline()).collect() }
    }

    /// One list for each worker, by number of the region.
    pub fn finish(self) -> Vec<Vec<Span>> {
        self.workers.into_iter().map(|cell| cell.into_inner().spans).collect()
    }

    /// Events go to this clock.
    pub fn observer(&self) -> Observer {
        Observer { state: std::ptr::from_ref(self).cast_mut().cast(), event: on_event }
    }
}

extern "C" fn on_event(state: *mut c_void, kind: i64, worker: i64, _at: *const c_void, region: i64, _lanes: u64) {
    let now = Instant::now();
    // SAFETY: only `Clock::observer` makes pairs of a state and this function, and the clock outlives the run.
    let clock = unsafe { &*state.cast::<Clock>() };
    if let (Some(event), Some(cell)) = (Event::of(kind), clock.workers.get(worker as usize)) {
        // SAFETY: see `Sync`.
        unsafe { &mut *cell.get() }.event(event, region as usize, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_waits_belong_to_the_region_that_goes_on() {
        let begun = Instant::now();
        let mut line = Timeline { since: None, spans: vec![Span::default(); 3] };
        let events = [
            (1, Event::Region, 0),
            (4, Event::Barrier, 0),
            (9, Event::Resume, 0),
            (10, Event::Region, 2),
            (17, Event::Finish, 0),
            (90, Event::Barrier, 0),
        ];
        for (at, event, region) in events {
            line.event(event, region, begun + Duration::from_millis(at));
        }
        let span = |busy, waited| Span { busy: Duration::from_millis(busy), waited: Duration::from_millis(waited) };
        assert_eq!(line.spans, [span(4, 5), Span::default(), span(7, 0)]);
    }
}
