//! Temporaries that were laid out anew: where their elements were, and where they are.
//!
//! The writers of an array tell, one element to one element. Several arrays of the base may become parts of a new one,
//! apart from each other; elements that instances wrote which became one (`merged`) are where the first of them is.

use super::copies::{back, copier};
use super::same::{mapped, now, pairs};
use super::*;
use crate::certificate::ArrayRole;
use std::collections::BTreeSet;

/// From elements of arrays of the base to elements of the last program, for arrays that changed.
pub type Places = HashMap<String, Map>;

pub fn moved_arrays(checker: &mut Checker) -> Result<Places> {
    let mut moved = BTreeSet::new();
    for statement in 0..checker.last.statements.len() {
        for n in 0..checker.origins[statement].len() {
            checker.ask(
                || "are the arrays laid out as in the base".into(),
                |c| {
                    differing(c, statement, &c.origins[statement][n], &mut moved)?;
                    Ok(None)
                },
            )?;
        }
    }
    let mut places = Places::new();
    let mut taken: HashMap<String, Set> = HashMap::new();
    for array in moved {
        checker.ask(
            || format!("where are the elements of {array}"),
            |c| {
                let found = match new_places(c, &array)? {
                    Some(map) if is_apart(&array, &map, &mut taken)? => Some(map),
                    _ => None,
                };
                let name = &c.base.arrays[array.as_str()].entry.name;
                let text = || format!("the accesses to {array} ({name}) are not those of the base");
                let finding = found.is_none().then(|| Finding { rule: Rule::Values, text: text(), witness: None });
                if let Some(map) = found {
                    let map = match merged::firsts_of(c, &array)? {
                        Some(first) => first.apply_range(&map)?,
                        None => map,
                    };
                    places.insert(array.clone(), map);
                }
                Ok(finding)
            },
        )?;
    }
    Ok(places)
}

/// Adds the arrays whose accesses by the statement are not those of the base.
fn differing(c: &Checker, statement: usize, piece: &Piece, moved: &mut BTreeSet<String>) -> Result<()> {
    let (new, old) = (&c.last.statements[statement], &c.base.statements[piece.base]);
    for (n, (here, then)) in pairs(new, old).into_iter().enumerate() {
        if moved.contains(&then.array) {
            continue;
        }
        let temp = c.base.arrays[then.array.as_str()].entry.role == ArrayRole::Temp;
        let renamed = here.array != then.array;
        let differs = match renamed {
            true => n == 0 && temp && copier(c, &here.array, &then.array).is_none(),
            false => !mapped(&piece.map, &c.base, then)?.is_equal(&now(c, piece, here)?)?,
        };
        if differs {
            moved.insert(then.array.clone());
        }
    }
    Ok(())
}

/// Where the elements of a temporary are now, from its writers; `None` when that is not one to one.
fn new_places(c: &Checker, array: &str) -> Result<Option<Map>> {
    let mut places: Option<Map> = None;
    for (statement, piece) in c.pieces() {
        let (new, old) = (&c.last.statements[statement], &c.base.statements[piece.base]);
        if old.write.array != array || new.write.exact.domain_is_wrapping()? {
            continue;
        }
        let mut here = now(c, piece, &new.write)?;
        if new.write.array != array
            && let Some(copy) = copier(c, &new.write.array, array)
        {
            here = here.apply_range(&back(copy)?)?;
        }
        let moves = mapped(&piece.map, &c.base, &old.write)?.reverse()?.apply_range(&here)?;
        places = Some(match places {
            Some(known) if known.name_out() != moves.name_out() => return Ok(None),
            Some(known) => known.union(&moves)?,
            None => moves,
        });
    }
    let Some(map) = places.filter(|map| may_move(c, array, map)) else { return Ok(None) };
    Ok((map.is_single_valued()? && map.is_injective()?).then_some(map))
}

/// Both are the program's own and of one type, and the array is the same or a new one.
fn may_move(c: &Checker, array: &str, map: &Map) -> bool {
    let target = map.name_out().unwrap_or_default();
    let (from, to) = (c.base.arrays[array].entry, c.last.arrays[target.as_str()].entry);
    let own = from.role == ArrayRole::Temp && to.role == ArrayRole::Temp;
    own && from.dtype == to.dtype && (target == array || !c.base.arrays.contains_key(target.as_str()))
}

/// Does the array go to elements that no array before it went to? Notes where it goes.
fn is_apart(array: &str, map: &Map, taken: &mut HashMap<String, Set>) -> Result<bool> {
    let target = map.name_out().unwrap_or_default();
    if target == array {
        return Ok(true);
    }
    let range = map.range()?;
    let all = match taken.get(&target) {
        Some(known) if !known.intersect(&range)?.is_empty()? => return Ok(false),
        Some(known) => known.union(&range)?,
        None => range,
    };
    taken.insert(target, all);
    Ok(true)
}
