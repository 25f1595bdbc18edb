//! Counts of what one run of a counted artifact did: the observer of its events (see `sirius_lowering::count`).

use super::cache::{Caches, Moved};
use super::footprint::{Footprint, LINE};
use serde::Serialize;
use sirius_lowering::count::Event;
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
    state: *mut c_void,
    event: extern "C" fn(*mut c_void, i64, i64, *const c_void, i64, u64),
}

/// Counts while a run goes on.
pub struct Counter {
    sizes: Vec<u64>,
    counts: Counts,
    footprint: Footprint,
    caches: Caches,
}

impl Counter {
    pub fn new(info: &CountedInfo) -> Counter {
        Counter {
            sizes: info.arrays.iter().map(|a| a.bytes as u64).collect(),
            counts: Counts { arrays: vec![Bytes::default(); info.arrays.len()], ..Counts::default() },
            footprint: Footprint::default(),
            caches: Caches::new(&info.caches),
        }
    }

    pub fn finish(self) -> Counts {
        Counts { moved: self.caches.moved(), ..self.counts }
    }

    fn access(&mut self, array: usize, at: u64, stride: i64, lanes: u64, writes: bool) {
        let Some(&size) = self.sizes.get(array) else { return };
        let bytes = size * u64::from(lanes.count_ones());
        let counted = &mut self.counts.arrays[array];
        *(if writes { &mut counted.stored } else { &mut counted.loaded }) += bytes;
        if stride == size as i64 && lanes & lanes.wrapping_add(1) == 0 {
            return self.range(array, at, bytes, writes);
        }
        let mut left = lanes;
        while left != 0 {
            let lane = i64::from(left.trailing_zeros());
            self.range(array, at.wrapping_add_signed(lane * stride), size, writes);
            left &= left - 1;
        }
    }

    /// Bytes that follow one another, line by line.
    fn range(&mut self, array: usize, from: u64, bytes: u64, writes: bool) {
        let (mut at, end) = (from, from + bytes);
        while at < end {
            let (line, first) = (at / LINE, at % LINE);
            let count = (LINE - first).min(end - at);
            let mask = (u64::MAX >> (LINE - count)) << first;
            let counted = &mut self.counts.arrays[array];
            match writes {
                true => counted.written += u64::from(self.footprint.write(line, mask)),
                false => counted.read += u64::from(self.footprint.read(line, mask)),
            }
            if self.caches.access(line, writes) > 1 {
                counted.fetched += LINE;
            }
            at += count;
        }
    }

    fn event(&mut self, event: Event, number: i64, at: u64, stride: i64, lanes: u64) {
        match event {
            Event::Load | Event::Store => self.access(number as usize, at, stride, lanes, event == Event::Store),
            Event::Operations => self.counts.operations += number as u64,
            Event::Loop => self.counts.loops += 1,
            Event::Region if number == 0 => {
                self.counts.regions += 1;
                self.footprint.next_region();
            }
            Event::Barrier if number == 0 => self.counts.barriers += 1,
            Event::Region | Event::Barrier => {}
        }
    }
}

impl Observer {
    /// Events go to `counter`, from all threads.
    pub fn new(counter: &Mutex<Counter>, depth: Depth) -> Observer {
        let state = std::ptr::from_ref(counter).cast_mut().cast();
        let event = match depth {
            Depth::Control => on_control,
            Depth::Everything => on_event,
        };
        Observer { state, event }
    }
}

extern "C" fn on_event(state: *mut c_void, kind: i64, number: i64, at: *const c_void, stride: i64, lanes: u64) {
    let Some(event) = Event::of(kind) else { return };
    // SAFETY: `state` is the counter of `Observer::new`, which outlives the run that reports.
    let counter = unsafe { &*state.cast::<Mutex<Counter>>() };
    counter.lock().unwrap_or_else(PoisonError::into_inner).event(event, number, at as u64, stride, lanes);
}

extern "C" fn on_control(state: *mut c_void, kind: i64, number: i64, at: *const c_void, stride: i64, lanes: u64) {
    if !matches!(Event::of(kind), None | Some(Event::Load | Event::Store | Event::Operations)) {
        on_event(state, kind, number, at, stride, lanes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> Counter {
        let array = |class| ArrayInfo { name: String::new(), class, bytes: 4 };
        let arrays = vec![array(ArrayClass::Input), array(ArrayClass::Output)];
        Counter::new(&CountedInfo { arrays, caches: [1024, 4096, 16384] })
    }

    #[test]
    fn lanes_masks_and_strides_count_their_elements() {
        let mut c = counter();
        c.event(Event::Region, 0, 0, 0, 0);
        // Eight neighbours, three of them again, every second of four, and one element for four lanes.
        c.event(Event::Load, 0, 4096, 4, 0xFF);
        c.event(Event::Load, 0, 4096, 4, 0b111);
        c.event(Event::Load, 0, 4096 + 32, 8, 0b1111);
        c.event(Event::Store, 1, 8192, 0, 0b1111);
        c.event(Event::Load, 1, 8192, 4, 1);
        let counts = c.finish();
        assert_eq!(counts.arrays[0], Bytes { loaded: 60, stored: 0, read: 48, written: 0, fetched: 64 });
        assert_eq!(counts.arrays[1], Bytes { loaded: 4, stored: 16, read: 0, written: 4, fetched: 64 });
        assert_eq!((counts.regions, counts.moved[0].filled), (1, 128));
    }

    #[test]
    fn an_access_may_lie_in_two_lines() {
        let mut c = counter();
        c.event(Event::Store, 1, 64 - 8, 4, 0b1111);
        let counts = c.finish();
        assert_eq!((counts.arrays[1].written, counts.moved[2].filled), (16, 128));
    }
}
