//! The ordered list of passes.

use crate::classical::cse::Cse;
use crate::classical::dce::Dce;
use crate::classical::dot::Dot;
use crate::classical::fold::Fold;
use crate::classical::forward::Forward;
use crate::classical::hoist::Hoist;
use crate::classical::online::Online;
use crate::classical::predicates::Predicates;
use crate::classical::reroll::Reroll;
use crate::classical::sink::Sink;
use crate::classical::unit_loops::UnitLoops;
use crate::error::{Error, Result};
use crate::pass::Pass;
use crate::schedule::barriers::Barriers;
use crate::schedule::contract::Contract;
use crate::schedule::distribute::Distribute;
use crate::schedule::fission::Fission;
use crate::schedule::fuse::Fuse;
use crate::schedule::fuse_tiles::FuseTiles;
use crate::schedule::layout::Layout;
use crate::schedule::map_gpu::MapGpu;
use crate::schedule::overlap::Overlap;
use crate::schedule::plan_memory::PlanMemory;
use crate::schedule::scalar_replace::ScalarReplace;
use crate::schedule::split_dims::SplitDims;
use crate::schedule::team::Team;
use crate::schedule::tile::Tile;
use crate::schedule::unroll::Unroll;
use crate::schedule::wavefront::Wavefront;

/// The standard pipeline. Every line that depends on its place says why.
pub const PIPELINE: &[&dyn Pass] = &[
    // First, so that no later pass spends time on statements without effect.
    &Dce,
    // Before all that compares statements or nests: what differs only in loops of one iteration is alike.
    &UnitLoops,
    // Before forward: a value that is copied into two readers can no longer be shared.
    &Cse,
    // Before forward: a constant is loaded, not recomputed by its readers.
    &Fold,
    // After fold, so that what steps compute alike from constants is one array; before all that is slow on many nests.
    &Reroll,
    // Before forward and fuse: what runs under a condition stands with what else does.
    &Sink,
    // Before fuse: what is substituted needs no loop of its own.
    &Forward,
    // After sink and forward, which bring conditions to where the domain of a reader decides them; before all that judges
    // nests by what they compute.
    &Predicates,
    // After forward: elements are read from one array then. Before all that works on nests: it makes new ones.
    &Online,
    // Before fuse and tile: both see loops only where subscripts are linear.
    &SplitDims,
    // After forward and split-dims: factors are functions of one element each, at plain subscripts. Before all that chooses
    // loops and layouts: words are elements like others.
    &Dot,
    // Before fuse, which would tie to a loop what should leave it.
    &Distribute,
    &Fuse,
    // After fuse, which decides what shares a vector loop; before tile, which takes strides as they are.
    &Layout,
    // After layout, which may have taken the vector loop from nests that share it.
    &Fission,
    // After fuse: a tile covers the whole fused nest. (Does nothing for a GPU.)
    &Tile,
    // After tile, which says how many rows are computed at once. Before fuse-tiles, which joins pairs where this joins
    // chains. (Does nothing for a GPU or one thread.)
    &Overlap,
    // After tile: whole register tiles meet, and copied operands too.
    &FuseTiles,
    // After tile, which copies operands inside the loops that use them.
    &Hoist,
    // After tile: a tile says what fits into registers. Before contract, which puts it there.
    &ScalarReplace,
    // After fuse: one launch per fused nest. (Does nothing for a CPU.)
    &MapGpu,
    // After tile: what time loops share is in blocks of rows. Before contract, which sees in what order memory is used.
    // (Does nothing for a GPU or one thread.)
    &Wavefront,
    // After tile: windows and registers depend on the final loops.
    &Contract,
    // After tile, whose packed copies replace operands.
    &Dce,
    // Lifetimes are those of the final tree.
    &PlanMemory,
    // On the final loops and memory: blocks are what workers share, and memory that is used again makes them wait. (Does
    // nothing for a GPU or one thread.)
    &Team,
    // After team, which makes everybody wait for everybody.
    &Barriers,
];

/// Passes that run by name only, as they gain nothing: `unroll`, last, makes code longer.
pub const BY_NAME: &[&dyn Pass] = &[&Unroll];

/// The passes of an optimization level: 0 only what is required, 1 to 3 everything.
pub fn for_level(level: u8) -> Vec<&'static dyn Pass> {
    PIPELINE.iter().copied().filter(|p| level > 0 || p.required()).collect()
}

/// All passes of the standard pipeline, each once, in its order.
pub fn all() -> Vec<&'static dyn Pass> {
    let mut out: Vec<&'static dyn Pass> = Vec::new();
    for pass in PIPELINE {
        if out.iter().all(|p| p.name() != pass.name()) {
            out.push(*pass);
        }
    }
    out
}

/// The passes named in a comma-separated list.
pub fn parse_list(list: &str) -> Result<Vec<&'static dyn Pass>> {
    list.split(',').map(str::trim).filter(|n| !n.is_empty()).map(find).collect()
}

/// The pass with this name; the error lists the names there are.
pub fn find(name: &str) -> Result<&'static dyn Pass> {
    let known = || all().into_iter().chain(BY_NAME.iter().copied());
    known().find(|p| p.name() == name).ok_or_else(|| {
        let names: Vec<_> = known().map(|p| p.name()).collect();
        Error::invalid("E201", format!("there is no pass \"{name}\"")).help(format!("passes are: {}", names.join(", ")))
    })
}
