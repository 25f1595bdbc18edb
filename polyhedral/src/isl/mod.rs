//! A thin, checked layer over isl: the only place of the compiler with `unsafe` calls into it.
//!
//! Every object owns its isl handle and a reference to its context, so the context is freed last. Operations
//! take references (isl objects are reference counted, a copy is a counter) and report errors as [`Error`]:
//! `Limit` when an operation quota ran out, `Bug` otherwise. Objects of one context must not meet objects of
//! another; that is checked. Nothing here is `Send`: a context belongs to one thread.

mod ast;
mod ffi;
mod objects;
mod owned;
mod schedule;
pub mod text;

pub use ast::{AstBuild, AstExpr, AstNode, AstOp};
pub use objects::{Map, Set};
pub use schedule::Schedule;

use crate::error::{Error, Result};
use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::rc::Rc;

/// An isl context; clones are the same context.
#[derive(Clone)]
pub struct Ctx(Rc<Inner>);

struct Inner(NonNull<ffi::RawCtx>);

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: every object holds an `Rc` of this, so none is left.
        unsafe { ffi::isl_ctx_free(self.0.as_ptr()) }
    }
}

impl Ctx {
    pub fn new() -> Result<Ctx> {
        // SAFETY: the options are plain integers of a context that was just made.
        unsafe {
            let Some(raw) = NonNull::new(ffi::isl_ctx_alloc()) else {
                return Err(Error::limit("E901", "isl could not allocate a context"));
            };
            let ctx = raw.as_ptr();
            ffi::isl_options_set_on_error(ctx, ffi::ON_ERROR_CONTINUE);
            ffi::isl_options_set_ast_build_allow_else(ctx, 0);
            ffi::isl_options_set_ast_build_allow_or(ctx, 0);
            ffi::isl_options_set_ast_build_detect_min_max(ctx, 1);
            ffi::isl_options_set_ast_build_scale_strides(ctx, 1);
            Ok(Ctx(Rc::new(Inner(raw))))
        }
    }

    fn raw(&self) -> *mut ffi::RawCtx {
        self.0.0.as_ptr()
    }

    /// Bounds the isl operations until the guard is dropped; at the bound calls fail with `Error::Limit`.
    pub fn budget(&self, operations: u64) -> Budget {
        self.set_budget(operations);
        Budget(self.clone())
    }

    fn set_budget(&self, operations: u64) {
        // SAFETY: a live context.
        unsafe {
            ffi::isl_ctx_reset_operations(self.raw());
            ffi::isl_ctx_set_max_operations(self.raw(), operations);
        }
    }

    /// Runs `f` without the quota: parsing and printing must not fail half way.
    fn unbounded<T>(&self, f: impl FnOnce() -> T) -> T {
        // SAFETY: a live context.
        unsafe {
            let limit = ffi::isl_ctx_get_max_operations(self.raw());
            ffi::isl_ctx_set_max_operations(self.raw(), 0);
            let out = f();
            ffi::isl_ctx_set_max_operations(self.raw(), limit);
            out
        }
    }

    /// The error of the call that just failed; the context is usable afterwards.
    fn take_error(&self) -> Error {
        // SAFETY: a live context; the message is copied before it can change.
        unsafe {
            let kind = ffi::isl_ctx_last_error(self.raw());
            let message = ffi::isl_ctx_last_error_msg(self.raw());
            let message =
                if message.is_null() { "unknown error".into() } else { CStr::from_ptr(message).to_string_lossy() };
            let message = message.into_owned();
            ffi::isl_ctx_reset_error(self.raw());
            match kind {
                ffi::ERROR_QUOTA => Error::limit("E902", "isl reached its operation quota"),
                _ => Error::bug("E903", format!("isl: {message}")),
            }
        }
    }

    fn boolean(&self, value: i32) -> Result<bool> {
        if value < 0 { Err(self.take_error()) } else { Ok(value != 0) }
    }

    fn same(&self, other: &Ctx) -> Result<()> {
        if Rc::ptr_eq(&self.0, &other.0) { Ok(()) } else { Err(Error::bug("E904", "objects of two isl contexts meet")) }
    }

    /// Parses `text` with `parse`; the text is part of the error.
    fn read<T>(
        &self,
        text: &str,
        parse: unsafe extern "C" fn(*mut ffi::RawCtx, *const c_char) -> *mut T,
    ) -> Result<NonNull<T>> {
        let c = CString::new(text).map_err(|_| Error::bug("E905", "a NUL byte in isl text"))?;
        // SAFETY: a live context and a terminated string.
        let raw = self.unbounded(|| unsafe { parse(self.raw(), c.as_ptr()) });
        NonNull::new(raw).ok_or_else(|| {
            let error = self.take_error();
            Error::bug("E905", format!("isl cannot read `{text}`: {error}"))
        })
    }
}

/// See [`Ctx::budget`].
pub struct Budget(Ctx);

impl Drop for Budget {
    fn drop(&mut self) {
        self.0.set_budget(0);
    }
}

/// Takes a string that isl allocated.
///
/// # Safety
/// `raw` is null or a string from `malloc` that nobody else frees.
unsafe fn take_string(raw: *mut c_char) -> String {
    if raw.is_null() {
        return String::new();
    }
    // SAFETY: by contract.
    unsafe {
        let text = CStr::from_ptr(raw).to_string_lossy().into_owned();
        ffi::free(raw.cast());
        text
    }
}

/// Takes an isl integer; `None` when it does not fit.
///
/// # Safety
/// `raw` is null or an owned value.
unsafe fn take_val(raw: *mut ffi::RawVal) -> Option<i64> {
    if raw.is_null() {
        return None;
    }
    // SAFETY: by contract.
    unsafe {
        let fits = ffi::isl_val_is_int(raw) == 1
            && ffi::isl_val_cmp_si(raw, i64::MAX) <= 0
            && ffi::isl_val_cmp_si(raw, i64::MIN) >= 0;
        let value = if fits { Some(ffi::isl_val_get_num_si(raw)) } else { None };
        ffi::isl_val_free(raw);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_maps_compute() {
        let ctx = Ctx::new().unwrap();
        let a = Set::read(&ctx, "[N] -> { S1[i] : 0 <= i < N }").unwrap();
        let b = Set::read(&ctx, "{ S1[i] : i >= 5 }").unwrap();
        let both = a.intersect(&b).unwrap();
        assert!(!both.is_empty().unwrap());
        assert_eq!(both.sample().unwrap().unwrap(), vec![5]);
        let m = Map::read(&ctx, "{ S1[i] -> [2*i] }").unwrap();
        let image = both.apply(&m).unwrap();
        assert!(!image.is_subset(&Set::read(&ctx, "{ [i] : i > 10 }").unwrap()).unwrap());
    }

    #[test]
    fn errors_are_values_and_the_context_survives() {
        let ctx = Ctx::new().unwrap();
        let error = Set::read(&ctx, "{ S1[i] : 0 <= }").err().unwrap();
        assert!(matches!(error, Error::Bug(_)), "{error}");
        assert!(Set::read(&ctx, "{ S1[i] : 0 <= i }").is_ok());
        let other = Ctx::new().unwrap();
        let (a, b) = (Set::read(&ctx, "{ [i] }").unwrap(), Set::read(&other, "{ [i] }").unwrap());
        assert!(matches!(a.intersect(&b), Err(Error::Bug(_))));
    }

    #[test]
    fn the_quota_is_a_limit_and_ends_with_its_guard() {
        let ctx = Ctx::new().unwrap();
        let hard =
            Set::read(&ctx, "[n] -> { [i,j,k] : 7i + 11j + 13k = n and 0 <= i,j,k <= 100 and exists a : 3a = i + j }");
        let hard = hard.unwrap();
        let guard = ctx.budget(3);
        assert!(matches!(hard.lexmin(), Err(Error::Limit(_))));
        drop(guard);
        assert!(hard.lexmin().is_ok());
    }
}
