//! Bytes that move into a cache of some size.
//!
//! The classical argument about loops: what a loop touches is fetched once if all of it fits, or if one iteration
//! fits, so that what the next one needs again is still there; otherwise every iteration fetches its own. The positions of
//! a lockstep tile are one iteration. Conflicts and
//! unused bytes of a line are left out, so the figure is one of a fully associative cache with lines of one element.
//! Source: McKinley, Carr and Tseng (1996), applied to footprints instead of references.

use super::footprint::{Footprint, Ranges, footprint, loop_range};
use super::values::Values;
use crate::loop_nest::{LoopNest, Nest};
use crate::schedule_tree::Mark;

/// Bytes that a whole nest moves into a cache of `capacity` bytes, from cold, region by region.
pub fn moved(nest: &LoopNest, values: &Values, capacity: u64) -> u64 {
    let model = Model { nest, values, capacity };
    nest.body.iter().map(|root| model.node(root, &Ranges::new())).fold(0, u64::saturating_add)
}

struct Model<'a> {
    nest: &'a LoopNest,
    values: &'a Values,
    capacity: u64,
}

impl Model<'_> {
    fn total(&self, body: &[Nest], ranges: &Ranges) -> u64 {
        let all: Footprint = footprint(self.nest, body, self.values, ranges);
        all.total(self.nest)
    }

    fn list(&self, body: &[Nest], ranges: &Ranges) -> u64 {
        let total = self.total(body, ranges);
        match body {
            _ if total <= self.capacity => total,
            [only] => self.node(only, ranges),
            several => several.iter().map(|n| self.node(n, ranges)).fold(0, u64::saturating_add),
        }
    }

    fn node(&self, node: &Nest, ranges: &Ranges) -> u64 {
        let total = self.total(std::slice::from_ref(node), ranges);
        if total <= self.capacity {
            return total;
        }
        let Nest::Loop { body, kind, .. } = node else {
            let Nest::If { body, .. } = node else { return total };
            return self.list(body, ranges);
        };
        let Some((var, (low, high))) = loop_range(node, self.values, ranges) else { return total };
        let mut inside = ranges.clone();
        if matches!(kind, Mark::Rows(_) | Mark::Lanes(_)) {
            inside.insert(var, (low, high));
            return self.list(body, &inside);
        }
        // An iteration in the middle stands for all.
        inside.insert(var, (low + (high - low) / 2, low + (high - low) / 2));
        if self.total(body, &inside) <= self.capacity {
            return total;
        }
        self.list(body, &inside).saturating_mul((high - low + 1).max(0) as u64)
    }
}
