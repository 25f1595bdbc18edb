//! Counts of a run as tables and numbers for people.

use crate::report::render;
use crate::run::count::{Bytes, Counts};
use sirius_lowering::metadata::CountedInfo;
use sirius_polyhedral::cost::ArrayClass;

/// One table of bytes by class of array, and the other counts in words.
pub fn text(counts: &Counts, info: &CountedInfo) -> String {
    let mut rows = vec![["", "loaded", "stored", "read", "written", "fetched"].map(String::from).to_vec()];
    let row = |name: &str, b: Bytes| {
        let numbers = [b.loaded, b.stored, b.read, b.written, b.fetched].map(|n| n.to_string());
        [name.to_string()].into_iter().chain(numbers).collect::<Vec<_>>()
    };
    rows.extend(ArrayClass::ALL.iter().map(|class| row(class.name(), counts.class(info, *class))));
    rows.push(row("bytes in all", counts.total()));
    let mut text = render::table(&rows);
    for ((name, moved), bytes) in LEVELS.iter().zip(&counts.moved).zip(info.caches) {
        text.push_str(&format!(
            "{name} cache of {bytes} bytes, from cold: {} bytes in, {} bytes back\n",
            moved.filled, moved.written_back
        ));
    }
    let Counts { regions, loops, barriers, operations, .. } = counts;
    text.push_str(&format!(
        "{regions} regions, {loops} loops entered, {barriers} barriers, {operations} floating-point operations\n"
    ));
    text
}

const LEVELS: [&str; 3] = ["first-level", "second-level", "third-level"];
