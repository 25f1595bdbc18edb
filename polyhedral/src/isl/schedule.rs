//! isl schedule trees, built bottom up: a statement's domain, sequences, bands of one member, marks.

use super::owned::owned;
use super::{Ctx, ffi, take_string};
use crate::error::{Error, Result};
use std::ffi::CString;
use std::ptr::NonNull;

owned!(
    /// A schedule tree.
    Schedule, RawSchedule, isl_schedule_free
);

impl Schedule {
    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// Gives up the handle for a callee that frees its argument.
    pub(super) fn into_raw(self) -> (*mut ffi::RawSchedule, Ctx) {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so its context is moved out exactly once.
        (this.raw.as_ptr(), unsafe { std::ptr::read(&this.ctx) })
    }

    /// The tree of one domain, in isl's notation of union sets.
    pub fn leaf(ctx: &Ctx, domain: &str) -> Result<Schedule> {
        let set = ctx.read(domain, ffi::isl_union_set_read_from_str)?;
        // SAFETY: the set is given away.
        Schedule::own(ctx, unsafe { ffi::isl_schedule_from_domain(set.as_ptr()) })
    }

    /// The trees one after another. Built balanced: a left-linear sequence is quadratic in its length.
    pub fn sequence(mut parts: Vec<Schedule>) -> Result<Schedule> {
        if parts.len() > 1 {
            let second = Schedule::sequence(parts.split_off(parts.len().div_ceil(2)))?;
            let first = Schedule::sequence(parts)?;
            first.ctx.same(&second.ctx)?;
            let ((a, ctx), (b, _)) = (first.into_raw(), second.into_raw());
            // SAFETY: both trees are given away.
            return Schedule::own(&ctx, unsafe { ffi::isl_schedule_sequence(a, b) });
        }
        parts.pop().ok_or_else(|| Error::bug("E906", "an empty sequence in the schedule tree"))
    }

    /// Puts a band of one member around the tree: `partial` in isl's notation of multi union affine functions.
    /// The band is *atomic*: one loop with all its statements.
    pub fn band(self, partial: &str) -> Result<Schedule> {
        let partial = self.ctx.read(partial, ffi::isl_multi_union_pw_aff_read_from_str)?;
        let (raw, ctx) = self.into_raw();
        // SAFETY: every intermediate object is given to the next call; isl passes null through.
        unsafe {
            let schedule = ffi::isl_schedule_insert_partial_schedule(raw, partial.as_ptr());
            let root = ffi::isl_schedule_get_root(schedule);
            ffi::isl_schedule_free(schedule);
            let mut node = ffi::isl_schedule_node_child(root, 0);
            node = ffi::isl_schedule_node_band_member_set_ast_loop_type(node, 0, ffi::AST_LOOP_ATOMIC);
            let out = ffi::isl_schedule_node_get_schedule(node);
            ffi::isl_schedule_node_free(node);
            Schedule::own(&ctx, out)
        }
    }

    /// Names the tree for the reader of the AST.
    pub fn marked(self, mark: &str) -> Result<Schedule> {
        let mark = CString::new(mark).map_err(|_| Error::bug("E905", "a NUL byte in a mark"))?;
        let (raw, ctx) = self.into_raw();
        // SAFETY: as in `band`.
        unsafe {
            let root = ffi::isl_schedule_get_root(raw);
            ffi::isl_schedule_free(raw);
            let id = ffi::isl_id_alloc(ctx.raw(), mark.as_ptr(), std::ptr::null_mut());
            let node = ffi::isl_schedule_node_insert_mark(ffi::isl_schedule_node_child(root, 0), id);
            let out = ffi::isl_schedule_node_get_schedule(node);
            ffi::isl_schedule_node_free(node);
            Schedule::own(&ctx, out)
        }
    }
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SAFETY: a live object; the string is ours.
        f.write_str(&self.ctx.unbounded(|| unsafe { take_string(ffi::isl_schedule_to_str(self.keep())) }))
    }
}
