//! Counts of what one run of a counted artifact did: the observer of its events (see `sirius_lowering::count`).

use super::cache::{Memory, Moved};
use super::footprint::LINE;
use super::stream::{self, Range, Stream};
use serde::Serialize;
use sirius_lowering::count::{Event, Record};
use sirius_lowering::metadata::{ArrayInfo, CountedInfo};
use sirius_polyhedral::cost::ArrayClass;
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Loops, regions and barriers.
    Control,
    /// Accesses and operations as well.
    Everything,
}

/// Bytes that code read and wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// By every access that was executed.
    pub loaded: u64,
    pub stored: u64,
    /// Distinct bytes of every region, summed over the regions: what an ideal cache would read and write. What a region
    /// reads after it has written it is not read from memory.
    pub read: u64,
    pub written: u64,
    /// In lines that came into the second level of cache.
    pub fetched: u64,
}

impl std::ops::AddAssign for Bytes {
    fn add_assign(&mut self, other: Bytes) {
        self.loaded += other.loaded;
        self.stored += other.stored;
        self.read += other.read;
        self.written += other.written;
        self.fetched += other.fetched;
    }
}

/// What one run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By number of the array.
    pub arrays: Vec<Bytes>,
    /// Floating-point operations.
    pub operations: u64,
    /// Sequential loops entered.
    pub loops: u64,
    /// Root loop nests that were run.
    pub regions: u64,
    /// Barriers that all workers waited at.
    pub barriers: u64,
    /// Between the first level of cache and the second, the second and the third, the third and memory, from cold.
    pub moved: Vec<Moved>,
    /// Region by region; what comes before the first is none's.
    pub phases: Vec<Phase>,
}

/// What one region did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phase {
    /// Its number in the manifest.
    pub region: usize,
    /// Floating-point operations.
    pub operations: u64,
    /// Bytes between the levels of [`Counts::moved`], in the direction of the more: both are ways of their own.
    pub moved: [u64; 3],
}

impl Counts {
    /// The bytes of one class of arrays.
    pub fn class(&self, info: &CountedInfo, class: ArrayClass) -> Bytes {
        let mut sum = Bytes::default();
        let of_class = |a: &ArrayInfo| a.class == class;
        info.arrays.iter().zip(&self.arrays).filter(|(a, _)| of_class(a)).for_each(|(_, b)| sum += *b);
        sum
    }

    /// The bytes of all arrays.
    pub fn total(&self) -> Bytes {
        let mut sum = Bytes::default();
        self.arrays.iter().for_each(|b| sum += *b);
        sum
    }
}

/// `sirius_<tag>_observer`.
#[repr(C)]
pub struct Observer {
    pub(super) state: *mut c_void,
    pub(super) event: extern "C" fn(*mut c_void, i64, i64, *const c_void, i64, u64),
}

/// Counts while a run goes on.
pub struct Counter {
    sizes: Vec<u64>,
    counts: Counts,
    memory: Memory,
    /// The streams of the present loop; kept for their memory.
    streams: Vec<Stream>,
    /// The present region.
    region: usize,
    /// Operations and traffic when it began.
    begun: (u64, Vec<Moved>),
}

impl Counter {
    pub fn new(info: &CountedInfo) -> Counter {
        Counter {
            sizes: info.arrays.iter().map(|a| a.bytes as u64).collect(),
            counts: Counts { arrays: vec![Bytes::default(); info.arrays.len()], ..Counts::default() },
            memory: Memory::new(info.caches),
            streams: Vec::new(),
            region: 0,
            begun: (0, vec![Moved::default(); 3]),
        }
    }

    pub fn finish(mut self) -> Counts {
        self.end_region();
        Counts { moved: self.memory.moved(), ..self.counts }
    }

    /// Notes what the region did that ends here, if any has begun.
    fn end_region(&mut self) {
        let now = (self.counts.operations, self.memory.moved());
        let (operations, moved) = std::mem::replace(&mut self.begun, now);
        if self.counts.regions > 0 {
            let more = |(now, before): (&Moved, &Moved)| {
                (now.filled - before.filled).max(now.written_back - before.written_back)
            };
            let mut phase = Phase { region: self.region, operations: self.begun.0 - operations, moved: [0; 3] };
            phase.moved.iter_mut().zip(self.begun.1.iter().zip(&moved).map(more)).for_each(|(sum, m)| *sum = m);
            self.counts.phases.push(phase);
        }
    }

    fn access(&mut self, access: Access) {
        if let Some(size) = self.tally(access, 1) {
            access.ranges(size, |range| {
                touch(&mut self.memory, &mut self.counts, range);
            });
        }
    }

    /// Counts the bytes of an access that was executed `times` times; the size of an element, where there is such an
    /// array.
    fn tally(&mut self, access: Access, times: u64) -> Option<u64> {
        let size = *self.sizes.get(access.array)?;
        let bytes = times * size * u64::from(access.lanes.count_ones());
        let counted = &mut self.counts.arrays[access.array];
        *(if access.writes { &mut counted.stored } else { &mut counted.loaded }) += bytes;
        Some(size)
    }

    /// A loop that did the same `iterations` times, with other addresses.
    fn repeat(&mut self, iterations: u64, records: &[Record]) {
        let mut streams = std::mem::take(&mut self.streams);
        streams.clear();
        for record in records {
            let event = Event::of(record.kind);
            match event {
                Some(Event::Operations) => self.counts.operations += record.number as u64 * iterations,
                Some(Event::Load | Event::Store) => {
                    let back = record.step.wrapping_mul(iterations as i64 - 1);
                    let access = Access {
                        array: record.number as usize,
                        at: record.at.wrapping_add_signed(back.wrapping_neg()),
                        stride: record.stride,
                        lanes: record.lanes,
                        writes: event == Some(Event::Store),
                    };
                    let Some(size) = self.tally(access, iterations) else { continue };
                    access.ranges(size, |range| streams.push(Stream { range, step: record.step }));
                }
                _ => {}
            }
        }
        stream::run(&mut streams, iterations, &mut |range| touch(&mut self.memory, &mut self.counts, range));
        self.streams = streams;
    }

    fn event(&mut self, event: Event, number: i64, at: *const c_void, stride: i64, lanes: u64) {
        match event {
            Event::Load | Event::Store => {
                let (array, writes) = (number as usize, event == Event::Store);
                self.access(Access { array, at: at as u64, stride, lanes, writes });
            }
            Event::Operations => self.counts.operations += number as u64,
            Event::Loop => self.counts.loops += 1,
            Event::Region if number == 0 => {
                self.end_region();
                self.region = stride as usize;
                self.counts.regions += 1;
                self.memory.next_region();
            }
            Event::Barrier if number == 0 => self.counts.barriers += 1,
            Event::Region | Event::Barrier | Event::Resume | Event::Finish => {}
            Event::Repeat => {
                // SAFETY: the code has just written as many records there, and goes on when this is done.
                let records = unsafe { std::slice::from_raw_parts(at.cast::<Record>(), lanes as usize) };
                self.repeat(number as u64, records);
            }
        }
    }
}

/// Bytes that follow one another are touched, line by line; were all lines in the first level of cache?
#[inline]
fn touch(memory: &mut Memory, counts: &mut Counts, range: Range) -> bool {
    let (mut at, end) = (range.from, range.from + range.bytes);
    let mut near = true;
    let counted = &mut counts.arrays[range.array];
    while at < end {
        let (line, first) = (at / LINE, at % LINE);
        let count = (LINE - first).min(end - at);
        let met = memory.access(line, (u64::MAX >> (LINE - count)) << first, range.writes);
        *(if range.writes { &mut counted.written } else { &mut counted.read }) += met.new;
        counted.fetched += u64::from(met.lacked > 1) * LINE;
        near &= met.lacked == 0;
        at += count;
    }
    near
}

/// One access of a vector.
#[derive(Clone, Copy)]
struct Access {
    array: usize,
    /// Of lane 0.
    at: u64,
    /// Bytes from lane to lane.
    stride: i64,
    lanes: u64,
    writes: bool,
}

impl Access {
    /// The bytes, in as few ranges as possible.
    fn ranges(self, size: u64, mut each: impl FnMut(Range)) {
        let Access { array, at, stride, lanes, writes } = self;
        let range = |from, bytes| Range { array, from, bytes, writes };
        if stride == size as i64 && lanes & lanes.wrapping_add(1) == 0 {
            return each(range(at, size * u64::from(lanes.count_ones())));
        }
        let mut left = if stride == 0 { lanes.min(1) } else { lanes };
        while left != 0 {
            let lane = i64::from(left.trailing_zeros());
            each(range(at.wrapping_add_signed(lane * stride), size));
            left &= left - 1;
        }
    }
}

impl Observer {
    /// Events go to `counter`, from one thread.
    pub fn alone(counter: &mut Counter, depth: Depth) -> Observer {
        let state = std::ptr::from_mut(counter).cast();
        let event = match depth {
            Depth::Control => on_control::<Alone>,
            Depth::Everything => on_event::<Alone>,
        };
        Observer { state, event }
    }

    /// Events go to `counter`, from all threads of a team.
    pub fn of_team(counter: &Mutex<Counter>, depth: Depth) -> Observer {
        let state = std::ptr::from_ref(counter).cast_mut().cast();
        let event = match depth {
            Depth::Control => on_control::<Team>,
            Depth::Everything => on_event::<Team>,
        };
        Observer { state, event }
    }
}

/// How the state of an observer is reached.
trait Reach {
    /// # Safety
    /// `state` is that of an observer made for this way, and its counter outlives the run that reports.
    unsafe fn with(state: *mut c_void, then: impl FnOnce(&mut Counter));
}

struct Alone;
struct Team;

impl Reach for Alone {
    unsafe fn with(state: *mut c_void, then: impl FnOnce(&mut Counter)) {
        // SAFETY: one thread reports, and nobody else uses the counter while the run goes on.
        then(unsafe { &mut *state.cast::<Counter>() });
    }
}

impl Reach for Team {
    unsafe fn with(state: *mut c_void, then: impl FnOnce(&mut Counter)) {
        // SAFETY: as the caller promises.
        let counter = unsafe { &*state.cast::<Mutex<Counter>>() };
        then(&mut counter.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

extern "C" fn on_event<R: Reach>(
    state: *mut c_void,
    kind: i64,
    number: i64,
    at: *const c_void,
    stride: i64,
    lanes: u64,
) {
    let Some(event) = Event::of(kind) else { return };
    // SAFETY: only `Observer` makes pairs of a state and this function.
    unsafe { R::with(state, |counter| counter.event(event, number, at, stride, lanes)) };
}

extern "C" fn on_control<R: Reach>(
    state: *mut c_void,
    kind: i64,
    number: i64,
    at: *const c_void,
    stride: i64,
    lanes: u64,
) {
    if matches!(Event::of(kind), Some(Event::Loop | Event::Region | Event::Barrier)) {
        on_event::<R>(state, kind, number, at, stride, lanes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> Counter {
        let array = |class| ArrayInfo { name: String::new(), class, bytes: 4 };
        let arrays = vec![array(ArrayClass::Input), array(ArrayClass::Output)];
        Counter::new(&CountedInfo { arrays, regions: Vec::new(), caches: [1024, 4096, 16384] })
    }

    fn at(address: usize) -> *const c_void {
        std::ptr::without_provenance(address)
    }

    #[test]
    fn lanes_masks_and_strides_count_their_elements() {
        let mut c = counter();
        c.event(Event::Region, 0, std::ptr::null(), 0, 0);
        // Eight neighbours, three of them again, every second of four, and one element for four lanes.
        c.event(Event::Load, 0, at(4096), 4, 0xFF);
        c.event(Event::Load, 0, at(4096), 4, 0b111);
        c.event(Event::Load, 0, at(4096 + 32), 8, 0b1111);
        c.event(Event::Store, 1, at(8192), 0, 0b1111);
        c.event(Event::Load, 1, at(8192), 4, 1);
        let counts = c.finish();
        assert_eq!(counts.arrays[0], Bytes { loaded: 60, stored: 0, read: 48, written: 0, fetched: 64 });
        assert_eq!(counts.arrays[1], Bytes { loaded: 4, stored: 16, read: 0, written: 4, fetched: 64 });
        assert_eq!((counts.regions, counts.moved[0].filled), (1, 128));
    }

    #[test]
    fn an_access_may_lie_in_two_lines() {
        let mut c = counter();
        c.event(Event::Store, 1, at(64 - 8), 4, 0b1111);
        let counts = c.finish();
        assert_eq!((counts.arrays[1].written, counts.moved[2].filled), (16, 128));
    }

    #[test]
    fn regions_are_phases() {
        let mut c = counter();
        for (region, operations) in [(0, 3), (2, 5)] {
            c.event(Event::Region, 0, std::ptr::null(), region, 0);
            c.event(Event::Load, 0, at(4096), 4, 1);
            c.event(Event::Operations, operations, std::ptr::null(), 0, 0);
        }
        let phase = |region, operations, moved| Phase { region, operations, moved: [moved; 3] };
        assert_eq!(c.finish().phases, [phase(0, 3, 64), phase(2, 5, 0)]);
    }

    /// A loop in one report is the same as its events one by one: strided and overlapping, up and down, in lines and
    /// across them, through caches that are too small.
    #[test]
    fn a_repeated_table_counts_like_its_events() {
        let record = |event: Event, number, at, stride, lanes, step| Record {
            kind: event as i64,
            number,
            at,
            stride,
            lanes,
            step,
        };
        let tables: Vec<Vec<Record>> = vec![
            vec![record(Event::Load, 0, 8000, 4, 1, 4), record(Event::Store, 1, 50_000, 4, 1, 0)],
            vec![record(Event::Load, 0, 8000, 4, 0xFF, 4), record(Event::Load, 0, 90_004, 8, 0xF, -4)],
            vec![record(Event::Load, 1, 8000, 4, 1, 4), record(Event::Store, 1, 8004, 4, 1, 4)],
            vec![record(Event::Store, 1, 8004, 4, 1, 4), record(Event::Load, 1, 8000, 4, 1, 4)],
            vec![record(Event::Load, 1, 8000, 4, 1, 0), record(Event::Store, 1, 8000, 4, 1, 0)],
            vec![record(Event::Load, 0, 8000, 128, 0b1011, 132), record(Event::Operations, 3, 0, 0, 0, 0)],
            (0..40).map(|n| record(Event::Load, n % 2, 1_000_000 + 512 * n as u64, 4, 0xFFFF, 4 * (n % 3))).collect(),
        ];
        for (n, table) in tables.iter().enumerate() {
            for iterations in [1, 2, 3, 17, 100, 333] {
                let (mut one, mut all) = (counter(), counter());
                for i in 0..iterations {
                    for r in table {
                        let from = r.at as i64 - r.step * (iterations - 1 - i);
                        one.event(Event::of(r.kind).unwrap(), r.number, at(from as usize), r.stride, r.lanes);
                    }
                }
                let at = table.as_ptr().cast();
                // What was there before is there still.
                all.event(Event::Repeat, iterations, at, 0, table.len() as u64);
                for c in [&mut one, &mut all] {
                    (0..64).for_each(|n| c.range_of_test(7000 + 64 * n));
                }
                assert_eq!(one.finish(), all.finish(), "table {n}, {iterations} iterations");
            }
        }
    }

    impl Counter {
        fn range_of_test(&mut self, from: usize) {
            self.event(Event::Load, 0, at(from), 4, 1);
        }
    }
}
