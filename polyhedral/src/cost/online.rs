//! Is an online reduction wanted, and in which blocks? A pure function of sizes and a machine; bytes and cycles.
//!
//! In the plain form the elements of all rows (the scores of an attention) are written, and read again when the extremes
//! are known: they come from the cache that holds all of them. In the online form a block of some rows and keys is
//! written and read at once; in return every sum is scaled once for every block of keys, and what belongs to the keys is
//! read again for every block of rows.

use super::overhead::LOOP_CYCLES;
use super::reuse::cycles_per_byte;
use crate::machine::Machine;
use std::fmt;

/// Sizes at the parameters' typical values.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// Of the loop that is cut into blocks of rows.
    pub rows: i64,
    pub keys: i64,
    /// Bytes of one element of a row.
    pub element: i64,
    /// Arrays of all rows and keys that the plain form keeps and the online form does not.
    pub arrays: i64,
    /// Bytes of all running values of one row.
    pub state: i64,
    /// Bytes that the sums and the elements read for every key, and for every row.
    pub of_key: i64,
    pub of_row: i64,
}

/// How many rows and keys are in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub rows: i64,
    pub keys: i64,
}

/// Cycles for the bytes that depend on the form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cycles {
    pub plain: f64,
    pub online: f64,
}

/// Why the plain form stays.
#[derive(Clone, Debug, PartialEq)]
pub enum Declined {
    /// Others read all elements as well: they are kept in any case.
    Needed,
    /// All keys are one block.
    Short {
        keys: i64,
        block: i64,
    },
    /// The elements of all rows stay in the second level of cache as it is.
    Near {
        bytes: i64,
    },
    Slower(Cycles),
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Declined::Needed => f.write_str("all elements are read elsewhere too, so they are kept in any case"),
            Declined::Short { keys, block } => {
                write!(f, "the {keys} elements of a typical row are one block of {block}")
            }
            Declined::Near { bytes } => {
                write!(f, "the elements of all rows, {} KB, stay in the second level of cache", bytes / 1024)
            }
            Declined::Slower(c) => {
                write!(f, "blocks would cost {:.0} cycles where whole rows cost {:.0}", c.online, c.plain)
            }
        }
    }
}

/// Keys of a block: a few vectors.
const KEYS: [i64; 6] = [256, 128, 64, 32, 16, 8];
/// Rows for every block size that is tried: multiples of all usual heights of a register tile.
const ROWS: [i64; 6] = [192, 96, 48, 24, 12, 6];

/// Rows that the plain form works on at once: those of a register tile.
const PLAIN_ROWS: i64 = 6;

/// The blocks to use, or why not.
pub fn blocks(sizes: &Sizes, machine: &Machine) -> Result<Blocks, Declined> {
    if sizes.arrays == 0 {
        return Err(Declined::Needed);
    }
    let blocks = cheapest(sizes, machine);
    if sizes.keys <= blocks.keys {
        return Err(Declined::Short { keys: sizes.keys, block: blocks.keys });
    }
    // Attention with 64 columns on a core with 1 MB (Zen 4, 2026-11-27): 5 % slower in blocks at 512 rows of 512, 9 %
    // faster at 1024 of 1024.
    let all = sizes.rows.saturating_mul(sizes.keys).saturating_mul(sizes.element);
    if all <= machine.l2_bytes as i64 {
        return Err(Declined::Near { bytes: all });
    }
    let cycles = cycles(sizes, blocks, machine);
    if cycles.online < cycles.plain { Ok(blocks) } else { Err(Declined::Slower(cycles)) }
}

/// The cheapest blocks that stay in the second level of cache, of which a part is left to others.
fn cheapest(sizes: &Sizes, machine: &Machine) -> Blocks {
    let all = ROWS.iter().flat_map(|rows| KEYS.iter().map(|keys| Blocks { rows: *rows, keys: *keys }));
    let fits = |b: &Blocks| 2.0 * bytes(sizes, *b) <= machine.l2_bytes as f64;
    let cost = |b: &Blocks| cycles(sizes, *b, machine).online;
    let best = all.filter(fits).min_by(|a, b| cost(a).total_cmp(&cost(b)));
    let Blocks { rows, keys } = best.unwrap_or(Blocks { rows: ROWS[5], keys: KEYS[5] });
    Blocks { rows: rows.min(sizes.rows.max(1)), keys }
}

/// What one block touches: elements as they come and as they are summed, running values before and after.
fn bytes(sizes: &Sizes, block: Blocks) -> f64 {
    let elements = 2 * block.rows * block.keys * sizes.element;
    (elements + block.rows * (2 * sizes.state + sizes.of_row) + block.keys * sizes.of_key) as f64
}

fn cycles(sizes: &Sizes, block: Blocks, machine: &Machine) -> Cycles {
    let count = |all: i64, of: i64| ((all + of - 1) / of.max(1)) as f64;
    let (rows, keys) = (count(sizes.rows, block.rows), count(sizes.keys, block.keys));
    let elements = (sizes.rows * sizes.keys * sizes.element) as f64;
    let (near, all_keys) = (cycles_per_byte(bytes(sizes, block), machine), (sizes.keys * sizes.of_key) as f64);
    // The arrays behind the first one live for a few rows.
    let some_rows = (PLAIN_ROWS * sizes.keys * sizes.element * sizes.arrays) as f64;
    let others = (sizes.arrays - 1) as f64 * cycles_per_byte(some_rows, machine);
    let plain = 2.0 * elements * (cycles_per_byte(elements, machine) + others);
    let scaled = 2.0 * keys * (sizes.rows * sizes.state) as f64 * near;
    let again = (rows - 1.0) * all_keys * cycles_per_byte(all_keys, machine);
    // Every row of a block ends two reductions.
    let ends = keys * sizes.rows as f64 * LOOP_CYCLES;
    Cycles { plain, online: 4.0 * elements * near + scaled + again + ends }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(l2_bytes: usize) -> Machine {
        Machine {
            vector_bytes: 64,
            vector_registers: 32,
            l1_bytes: l2_bytes / 32,
            l2_bytes,
            l3_bytes: 32 * l2_bytes,
            threads: 1,
            barrier_ns: 200.0,
            gpu: false,
            byte_dots: false,
            numeric: crate::Numeric::Fast,
        }
    }

    /// One head of attention with 64 columns.
    fn attention(n: i64) -> Sizes {
        Sizes { rows: n, keys: n, element: 4, arrays: 3, state: 4 * 66, of_key: 4 * 128, of_row: 4 * 64 }
    }

    #[test]
    fn rows_that_stay_in_the_cache_are_left_alone() {
        assert!(matches!(blocks(&attention(64), &machine(1 << 20)), Err(Declined::Short { .. })));
        assert!(matches!(blocks(&attention(512), &machine(1 << 20)), Err(Declined::Near { .. })));
        assert!(blocks(&attention(1024), &machine(1 << 20)).is_ok());
        assert!(matches!(blocks(&attention(1), &machine(1 << 20)), Err(Declined::Short { .. })));
    }

    #[test]
    fn long_rows_come_in_blocks_that_fit() {
        let machine = machine(1 << 20);
        for n in [2048, 8192, 100_000] {
            let found = blocks(&attention(n), &machine).unwrap();
            assert!(2.0 * bytes(&attention(n), found) <= machine.l2_bytes as f64, "{n}: {found:?}");
            assert!(found.rows >= 96 && found.keys >= 64, "{n}: {found:?}");
        }
    }

    #[test]
    fn a_small_cache_takes_small_blocks() {
        let small = Sizes { state: 4 * 6, of_key: 4 * 8, of_row: 4 * 4, ..attention(400) };
        let found = blocks(&small, &machine(16384)).unwrap();
        assert!(found.keys <= 64 && found.rows <= 48, "{found:?}");
    }

    #[test]
    fn what_others_need_is_kept() {
        let whole = Sizes { arrays: 0, ..attention(8192) };
        assert_eq!(blocks(&whole, &machine(1 << 20)), Err(Declined::Needed));
    }
}
