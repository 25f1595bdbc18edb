//! RNN, GRU and LSTM.

use super::context::Step;
use super::site::Site;
use super::table::Family;
use sirius_polyhedral::Aff;

pub const RULES: Family = &[("RNN", |s| recurrent(s, 1)), ("GRU", |s| recurrent(s, 3)), ("LSTM", |s| recurrent(s, 4))];

/// Inputs: x `[time, batch, input]`, w `[directions, gates*hidden, input]`, r `[directions, gates*hidden,
/// hidden]`, bias, sequence lengths, initial states. With `layout` 1 the batch comes first.
fn recurrent(site: &mut Site, gates: i64) -> Step {
    let (dtype, x, w, r) = (site.dtype(0)?, site.shape(0)?, site.shape(1)?, site.shape(2)?);
    if x.len() != 3 || w.len() != 3 || r.len() != 3 {
        return Err(site.invalid(format!("x, w and r must have rank 3, not {}, {}, {}", x.len(), w.len(), r.len())));
    }
    let batch_first = site.flag("layout", false);
    let (time, batch) = if batch_first { (x[1].clone(), x[0].clone()) } else { (x[0].clone(), x[1].clone()) };
    let directions = w[0].clone();
    let wanted = if site.node.string("direction") == Some("bidirectional") { 2 } else { 1 };
    let hidden = r[2].clone();
    site.same(&directions, &Aff::constant(wanted))?;
    site.same(&x[2], &w[2])?;
    site.same(&w[1], &(hidden.clone() * gates))?;
    site.same(&r[1], &(hidden.clone() * gates))?;
    let state = if batch_first {
        vec![batch.clone(), directions.clone(), hidden.clone()]
    } else {
        vec![directions.clone(), batch.clone(), hidden.clone()]
    };
    for n in [5, 6] {
        if site.has(n) {
            initial_state(site, n, &state)?;
        }
    }
    let all = if batch_first { vec![batch, time, directions, hidden] } else { vec![time, directions, batch, hidden] };
    site.set(0, dtype, all)?;
    site.set(1, dtype, state.clone())?;
    site.set(2, dtype, state)
}

fn initial_state(site: &mut Site, n: usize, state: &[Aff]) -> Step {
    let given = site.shape(n)?;
    if given.len() != state.len() {
        return Err(site.invalid(format!("initial state {n} has rank {}, not 3", given.len())));
    }
    for (a, b) in given.iter().zip(state) {
        site.same(a, b)?;
    }
    Ok(())
}
