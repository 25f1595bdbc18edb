//! Sets and maps.

use super::owned::owned;
use super::{Ctx, ffi, take_string, take_val};
use crate::error::Result;
use std::ptr::NonNull;

/// A handle type that can be read, copied and shown.
macro_rules! handle {
    ($(#[$doc:meta])* $name:ident, $raw:ident, $read:ident, $copy:ident, $free:ident, $to_str:ident) => {
        owned!($(#[$doc])* $name, $raw, $free);

        impl $name {
            /// Parses isl's notation.
            pub fn read(ctx: &Ctx, text: &str) -> Result<$name> {
                Ok($name { raw: ctx.read(text, ffi::$read)?, ctx: ctx.clone() })
            }

            /// A reference of its own, for a callee that frees its argument.
            pub(super) fn give(&self) -> *mut ffi::$raw {
                // SAFETY: a live object.
                unsafe { ffi::$copy(self.raw.as_ptr()) }
            }

            pub fn ctx(&self) -> &Ctx {
                &self.ctx
            }
        }

        impl Clone for $name {
            fn clone(&self) -> $name {
                // SAFETY: copying a live object counts a reference and returns the same pointer.
                let raw = unsafe { NonNull::new_unchecked(self.give()) };
                $name { raw, ctx: self.ctx.clone() }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                // SAFETY: a live object; the string is ours.
                f.write_str(&self.ctx.unbounded(|| unsafe { take_string(ffi::$to_str(self.keep())) }))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

/// Operations that consume their arguments and give an object.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $function:ident($($arg:ident: $type:ident),*) -> $out:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self $(, $arg: &$type)*) -> Result<$out> {
            $(self.ctx.same(&$arg.ctx)?;)*
            // SAFETY: live objects of one context, each given with a reference of its own.
            let raw = unsafe { ffi::$function(self.give() $(, $arg.give())*) };
            $out::own(&self.ctx, raw)
        }
    )*};
}

/// Tests that keep their arguments.
macro_rules! predicates {
    ($($(#[$doc:meta])* $name:ident = $function:ident($($arg:ident: $type:ident),*);)*) => {$(
        $(#[$doc])*
        pub fn $name(&self $(, $arg: &$type)*) -> Result<bool> {
            $(self.ctx.same(&$arg.ctx)?;)*
            // SAFETY: live objects of one context, borrowed for the call.
            self.ctx.boolean(unsafe { ffi::$function(self.keep() $(, $arg.keep())*) })
        }
    )*};
}

handle!(
    /// A set of integer points, parametric.
    Set, RawSet, isl_set_read_from_str, isl_set_copy, isl_set_free, isl_set_to_str
);
handle!(
    /// A relation between integer points, parametric.
    Map, RawMap, isl_map_read_from_str, isl_map_copy, isl_map_free, isl_map_to_str
);

/// Copies a name that isl keeps. A tuple without a name is an error to isl, which the caller must not see.
///
/// # Safety
/// `raw` is null or a terminated string.
unsafe fn take_name(raw: *const std::ffi::c_char) -> Option<String> {
    // SAFETY: by contract.
    (!raw.is_null()).then(|| unsafe { std::ffi::CStr::from_ptr(raw) }.to_string_lossy().into_owned())
}

impl Set {
    operations! {
        intersect = isl_set_intersect(other: Set) -> Set;
        intersect_params = isl_set_intersect_params(params: Set) -> Set;
        union = isl_set_union(other: Set) -> Set;
        subtract = isl_set_subtract(other: Set) -> Set;
        /// The image under `map`.
        apply = isl_set_apply(map: Map) -> Set;
        coalesce = isl_set_coalesce() -> Set;
        lexmin = isl_set_lexmin() -> Set;
        /// `[A -> B]` as the map from `A` to `B`.
        unwrap = isl_set_unwrap() -> Map;
        /// Every point to itself.
        identity = isl_set_identity() -> Map;
    }

    predicates! {
        is_empty = isl_set_is_empty();
        is_subset = isl_set_is_subset(other: Set);
        is_equal = isl_set_is_equal(other: Set);
    }

    /// The name of the tuple, where it has one.
    pub fn name(&self) -> Option<String> {
        // SAFETY: a live object; the string is copied before the object can change.
        unsafe { take_name(ffi::isl_set_get_tuple_name(self.keep())) }
    }

    /// Number of set dimensions.
    pub fn dims(&self) -> usize {
        // SAFETY: a live object.
        unsafe { ffi::isl_set_dim(self.keep(), ffi::DIM_OUT).max(0) as usize }
    }

    /// Projects out dimensions `first..first + n`.
    pub fn project_out(&self, first: usize, n: usize) -> Result<Set> {
        // SAFETY: isl checks the range.
        let raw = unsafe { ffi::isl_set_project_out(self.give(), ffi::DIM_OUT, first as u32, n as u32) };
        Set::own(&self.ctx, raw)
    }

    /// One point of the set (parameters chosen too); `None` when it is empty. Coordinates beyond `i64` read 0.
    pub fn sample(&self) -> Result<Option<Vec<i64>>> {
        let dims = self.dims();
        // SAFETY: `point` is owned here, freed once, and every value is taken.
        unsafe {
            let point = ffi::isl_set_sample_point(self.give());
            if point.is_null() {
                return Err(self.ctx.take_error());
            }
            let found = (ffi::isl_point_is_void(point) == 0).then(|| {
                let at = |d| take_val(ffi::isl_point_get_coordinate_val(point, ffi::DIM_OUT, d as i32)).unwrap_or(0);
                (0..dims).map(at).collect()
            });
            ffi::isl_point_free(point);
            Ok(found)
        }
    }
}

impl Map {
    operations! {
        intersect = isl_map_intersect(other: Map) -> Map;
        intersect_domain = isl_map_intersect_domain(set: Set) -> Map;
        intersect_range = isl_map_intersect_range(set: Set) -> Map;
        union = isl_map_union(other: Map) -> Map;
        subtract = isl_map_subtract(other: Map) -> Map;
        coalesce = isl_map_coalesce() -> Map;
        reverse = isl_map_reverse() -> Map;
        /// `self` first, then `next`.
        apply_range = isl_map_apply_range(next: Map) -> Map;
        /// Maps the inputs by `by`.
        apply_domain = isl_map_apply_domain(by: Map) -> Map;
        domain = isl_map_domain() -> Set;
        range = isl_map_range() -> Set;
        /// The pairs as the set `[A -> B]`.
        wrap = isl_map_wrap() -> Set;
        /// Output minus input; both in the same space.
        deltas = isl_map_deltas() -> Set;
        lexmin = isl_map_lexmin() -> Map;
        lexmax = isl_map_lexmax() -> Map;
        /// `[A -> B] -> [C -> D]` from `A -> C` and `B -> D`.
        product = isl_map_product(other: Map) -> Map;
        /// `A -> C` from `[A -> B] -> C`.
        domain_factor_domain = isl_map_domain_factor_domain() -> Map;
    }

    predicates! {
        is_empty = isl_map_is_empty();
        is_injective = isl_map_is_injective();
        is_single_valued = isl_map_is_single_valued();
        is_subset = isl_map_is_subset(other: Map);
        is_equal = isl_map_is_equal(other: Map);
        /// Is the domain a product `[A -> B]`?
        domain_is_wrapping = isl_map_domain_is_wrapping();
    }

    /// The name of the input tuple, where it has one.
    pub fn name_in(&self) -> Option<String> {
        // SAFETY: a live object; the string is copied before the object can change.
        unsafe { take_name(ffi::isl_map_get_tuple_name(self.keep(), ffi::DIM_IN)) }
    }

    /// The name of the output tuple, where it has one.
    pub fn name_out(&self) -> Option<String> {
        // SAFETY: as above.
        unsafe { take_name(ffi::isl_map_get_tuple_name(self.keep(), ffi::DIM_OUT)) }
    }

    /// Number of input dimensions.
    pub fn dims_in(&self) -> usize {
        // SAFETY: a live object.
        unsafe { ffi::isl_map_dim(self.keep(), ffi::DIM_IN).max(0) as usize }
    }

    /// Number of output dimensions.
    pub fn dims_out(&self) -> usize {
        // SAFETY: a live object.
        unsafe { ffi::isl_map_dim(self.keep(), ffi::DIM_OUT).max(0) as usize }
    }

    /// Projects out output dimensions `first..first + n`; the tuple loses its name.
    pub fn project_out(&self, first: usize, n: usize) -> Result<Map> {
        // SAFETY: isl checks the range.
        let raw = unsafe { ffi::isl_map_project_out(self.give(), ffi::DIM_OUT, first as u32, n as u32) };
        Map::own(&self.ctx, raw)
    }

    /// One pair of the relation: input and output coordinates.
    pub fn sample(&self) -> Result<Option<(Vec<i64>, Vec<i64>)>> {
        let inputs = self.dims_in();
        Ok(self.wrap()?.sample()?.map(|mut point| {
            let outputs = point.split_off(inputs);
            (point, outputs)
        }))
    }
}
