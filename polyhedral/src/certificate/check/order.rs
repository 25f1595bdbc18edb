//! When is one instance surely over before another begins?
//!
//! Instances are compared on the loops around both statements. A sequential loop orders its iterations; any other
//! loop does not, save that one worker of a team runs its own iterations in order. Where all loops agree, the place in
//! the list decides. Workers of a team pass the tree side by side: between two of them only a barrier orders, one that
//! is around the second instance and was not entered before the first, that stands among the roots between them, or
//! that stands behind the first in the body of a loop that has gone on since (and is there in every iteration).

use super::read::malformed;
use crate::certificate::{Listing, Tree};
use crate::error::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Sequential or unrolled.
    InOrder,
    Barrier,
    /// Lanes of a vector, which may each keep a partial result of a reduction.
    Lanes,
    /// Rows of a tile, or threads of a launch.
    AnyOrder,
    /// Iteration `v` belongs to worker `v mod n`.
    Team(u32),
}

impl Mark {
    pub fn parse(text: &str) -> Result<Mark> {
        let (name, size) = text.strip_suffix(')').and_then(|t| t.split_once('(')).unwrap_or((text, "1"));
        let size: u32 = size.parse().map_err(|_| malformed(format!("the mark {text}")))?;
        Ok(match name {
            "seq" | "unroll" => Mark::InOrder,
            "barrier" => Mark::Barrier,
            "lanes" => Mark::Lanes,
            "rows" | "parallel" => Mark::AnyOrder,
            "team" if size > 1 => Mark::Team(size),
            _ => return Err(malformed(format!("the mark {text}"))),
        })
    }
}

/// A loop around a statement.
#[derive(Clone)]
pub struct Band {
    pub mark: Mark,
    /// Its value at the statement's instances.
    pub text: String,
}

/// The way from the root to a statement.
#[derive(Clone, Default)]
pub struct Path {
    /// Number of the node in its list, at each level; one more than there are bands.
    pub positions: Vec<usize>,
    pub bands: Vec<Band>,
    /// For the list at each level: the statements of every barrier behind the node.
    pub barriers: Vec<Vec<String>>,
    /// Is one of them met whenever the node runs?
    pub meets_barrier: Vec<bool>,
}

impl Path {
    /// Is a barrier met after the statement, before the next iteration of loop `d`?
    fn leaves_through_barrier(&self, d: usize) -> bool {
        let step = |level: &usize| self.bands[d + 1..*level].iter().all(|b| b.mark == Mark::Barrier);
        let met = |level: usize| self.meets_barrier.get(level) == Some(&true);
        (d + 1..=self.bands.len()).take_while(step).any(met)
    }

    /// Number of loops around both.
    pub fn shared(&self, other: &Path) -> usize {
        let same = self.positions.iter().zip(&other.positions).take_while(|(a, b)| a == b).count();
        same.min(self.bands.len()).min(other.bands.len())
    }

    fn waits_inside(&self, from: usize) -> bool {
        self.bands[from..].iter().any(|b| b.mark == Mark::Barrier)
    }

    /// The loop whose iterations are handed to workers.
    pub fn team_band(&self) -> Option<&Band> {
        self.bands.iter().find(|b| matches!(b.mark, Mark::Team(_)))
    }
}

/// The team that runs a program.
pub struct Team {
    pub size: u32,
    /// Roots that are barriers.
    barriers: Vec<usize>,
    /// Roots that every worker walks.
    shared: Vec<bool>,
}

impl Team {
    pub fn of(listing: &Listing) -> Result<Option<Team>> {
        let mut sizes = Vec::new();
        let (mut barriers, mut shared) = (Vec::new(), Vec::new());
        for (n, root) in listing.schedule.iter().enumerate() {
            let before = sizes.len();
            collect(root, false, &mut sizes)?;
            shared.push(sizes.len() > before);
            if matches!(root, Tree::Band { mark, .. } if Mark::parse(mark)? == Mark::Barrier) {
                barriers.push(n);
            }
        }
        match (sizes.first(), sizes.iter().any(|s| *s != sizes[0])) {
            (None, _) => Ok(None),
            (Some(_), true) => Err(malformed("teams of different sizes")),
            (Some(size), false) => Ok(Some(Team { size: *size, barriers, shared })),
        }
    }

    pub fn walks(&self, path: &Path) -> bool {
        self.shared[path.positions[0]]
    }

    fn waits_between(&self, first: usize, second: usize) -> bool {
        self.barriers.iter().any(|at| first < *at && *at <= second)
    }
}

/// Sizes of the teams below; a team or a barrier inside a loop that not every worker runs in step is no program.
fn collect(node: &Tree, inside: bool, sizes: &mut Vec<u32>) -> Result<()> {
    let Tree::Band { mark, body, values } = node else { return Ok(()) };
    let mark = Mark::parse(mark)?;
    let of_team = matches!(mark, Mark::Team(_) | Mark::Barrier);
    if of_team && inside {
        return Err(malformed("a team's loop or barrier inside a loop that is not in step"));
    }
    if mark == Mark::Barrier && values.values().any(|v| v != "0") {
        return Err(malformed("a barrier that is a loop"));
    }
    if let Mark::Team(size) = mark {
        sizes.push(size);
    }
    let inside = inside || !matches!(mark, Mark::InOrder | Mark::Barrier);
    body.iter().try_for_each(|n| collect(n, inside, sizes))
}

/// One side of a comparison.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    pub path: &'a Path,
    /// Do all workers do it, whoever runs the statement?
    pub everyone: bool,
}

/// The pairs of times, `b0, .., b_n` and `e0, .., e_n` (the last is what decides the worker), for which `first` is
/// *not* surely over when `second` begins. `n` is the number of loops around both.
pub fn not_over(team: Option<&Team>, first: Side, second: Side) -> String {
    let n = first.path.shared(second.path);
    let mut pieces = Vec::new();
    for d in 0..n {
        match first.path.bands[d].mark {
            Mark::InOrder | Mark::Barrier => {
                pieces.push(format!("{}b{d} > e{d}", agree(d)));
                if !second.path.waits_inside(d + 1) && !first.path.leaves_through_barrier(d) {
                    pieces.extend(others(team, n, first, second).map(|o| format!("{}b{d} < e{d} and {o}", agree(d))));
                }
            }
            Mark::Team(size) => {
                pieces.push(format!("{}b{d} > e{d}", agree(d)));
                let own = format!(" and (e{d} - b{d}) mod {size} > 0");
                let apart = if first.everyone || second.everyone { "" } else { &own };
                pieces.push(format!("{}b{d} < e{d}{apart}", agree(d)));
            }
            Mark::Lanes | Mark::AnyOrder => pieces.push(format!("{}b{d} != e{d}", agree(d))),
        }
    }
    let (at, then) = (&first.path.positions, &second.path.positions);
    if at[n..] >= then[n..] {
        pieces.push(format!("{}true", agree(n)));
    } else if !second.path.waits_inside(n) && !team.is_some_and(|t| n == 0 && t.waits_between(at[0], then[0])) {
        pieces.extend(others(team, n, first, second).map(|o| format!("{}{o}", agree(n))));
    }
    any(&pieces)
}

/// The pairs of times at which two accumulations into one element may go on at once, for different instances.
pub fn at_once(team: Option<&Team>, first: Side, second: Side) -> String {
    let n = first.path.shared(second.path);
    let mut pieces = Vec::new();
    let apart = others(team, n, first, second);
    for d in 0..n {
        match first.path.bands[d].mark {
            Mark::InOrder | Mark::Barrier => {
                for (relation, sooner, later) in [("<", first, second), (">", second, first)] {
                    if !later.path.waits_inside(d + 1) && !sooner.path.leaves_through_barrier(d) {
                        pieces.extend(apart.iter().map(|o| format!("{}b{d} {relation} e{d} and {o}", agree(d))));
                    }
                }
            }
            Mark::Team(size) => pieces.push(format!("{}(e{d} - b{d}) mod {size} > 0", agree(d))),
            Mark::AnyOrder => pieces.push(format!("{}b{d} != e{d}", agree(d))),
            Mark::Lanes => {}
        }
    }
    let (at, then) = (&first.path.positions, &second.path.positions);
    let (sooner, later) = if at <= then { (at, second) } else { (then, first) };
    let between = team.is_some_and(|t| n == 0 && t.waits_between(sooner[0], later.path.positions[0]));
    if at != then && !later.path.waits_inside(n) && !between {
        pieces.extend(apart.iter().map(|o| format!("{}{o}", agree(n))));
    }
    any(&pieces)
}

/// The pairs of times of a program without loops in any order: is the first before the second?
pub fn before(first: &Path, second: &Path) -> String {
    let n = first.shared(second);
    let mut pieces: Vec<String> = (0..n).map(|d| format!("{}b{d} < e{d}", agree(d))).collect();
    if first.positions[n..] < second.positions[n..] {
        pieces.push(format!("{}true", agree(n)));
    }
    any(&pieces)
}

/// The condition that two workers do it.
fn others(team: Option<&Team>, n: usize, first: Side, second: Side) -> Option<String> {
    let team = team?;
    let alone = |s: Side| !s.everyone && !team.walks(s.path);
    if alone(first) && alone(second) {
        return None;
    }
    Some(match first.everyone || second.everyone {
        true => "true".into(),
        false => format!("(e{n} - b{n}) mod {} > 0", team.size),
    })
}

fn agree(d: usize) -> String {
    (0..d).map(|n| format!("b{n} = e{n} and ")).collect()
}

/// The disjunction; `false` when there is nothing.
fn any(pieces: &[String]) -> String {
    match pieces {
        [] => "false".into(),
        pieces => pieces.iter().map(|p| format!("({p})")).collect::<Vec<_>>().join(" or "),
    }
}
