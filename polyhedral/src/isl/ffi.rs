//! Declarations of the isl functions we call, against the static library that the crate isl-rs builds and links.
//!
//! isl-rs wraps most of isl but not AST generation, and its objects carry no lifetime from the context; one
//! small block of our own is easier to keep sound than a mixture of both. `__isl_take` arguments are freed by
//! the callee, `__isl_keep` arguments are not, and `__isl_give` results belong to the caller.

use isl_rs as _;
use std::ffi::{c_char, c_int, c_long, c_ulong};

macro_rules! opaque {
    ($($name:ident),*) => {$(
        #[repr(C)]
        pub struct $name {
            data: (),
            marker: std::marker::PhantomData<(*mut u8, std::marker::PhantomPinned)>,
        }
    )*};
}

opaque!(RawCtx, RawSet, RawMap, RawUnionSet, RawMupa, RawPoint, RawVal, RawId, RawSchedule, RawScheduleNode);
opaque!(RawAstBuild, RawAstNode, RawAstNodeList, RawAstExpr);

/// `isl_on_error`: report through return values only.
pub const ON_ERROR_CONTINUE: c_int = 1;
/// `isl_error_quota`.
pub const ERROR_QUOTA: c_int = 6;
/// `isl_dim_type`.
pub const DIM_IN: c_int = 2;
pub const DIM_OUT: c_int = 3;
/// `isl_ast_loop_type`.
pub const AST_LOOP_ATOMIC: c_int = 1;

unsafe extern "C" {
    pub fn free(p: *mut std::ffi::c_void);

    pub fn isl_ctx_alloc() -> *mut RawCtx;
    pub fn isl_ctx_free(ctx: *mut RawCtx);
    pub fn isl_ctx_set_max_operations(ctx: *mut RawCtx, n: c_ulong);
    pub fn isl_ctx_get_max_operations(ctx: *mut RawCtx) -> c_ulong;
    pub fn isl_ctx_reset_operations(ctx: *mut RawCtx);
    pub fn isl_ctx_last_error(ctx: *mut RawCtx) -> c_int;
    pub fn isl_ctx_last_error_msg(ctx: *mut RawCtx) -> *const c_char;
    pub fn isl_ctx_reset_error(ctx: *mut RawCtx);
    pub fn isl_options_set_on_error(ctx: *mut RawCtx, value: c_int) -> c_int;
    pub fn isl_options_set_ast_build_allow_else(ctx: *mut RawCtx, value: c_int) -> c_int;
    pub fn isl_options_set_ast_build_allow_or(ctx: *mut RawCtx, value: c_int) -> c_int;
    pub fn isl_options_set_ast_build_detect_min_max(ctx: *mut RawCtx, value: c_int) -> c_int;
    pub fn isl_options_set_ast_build_scale_strides(ctx: *mut RawCtx, value: c_int) -> c_int;

    pub fn isl_set_read_from_str(ctx: *mut RawCtx, text: *const c_char) -> *mut RawSet;
    pub fn isl_set_copy(keep: *mut RawSet) -> *mut RawSet;
    pub fn isl_set_free(take: *mut RawSet) -> *mut RawSet;
    pub fn isl_set_to_str(keep: *mut RawSet) -> *mut c_char;
    pub fn isl_set_intersect(a: *mut RawSet, b: *mut RawSet) -> *mut RawSet;
    pub fn isl_set_intersect_params(a: *mut RawSet, b: *mut RawSet) -> *mut RawSet;
    pub fn isl_set_union(a: *mut RawSet, b: *mut RawSet) -> *mut RawSet;
    pub fn isl_set_subtract(a: *mut RawSet, b: *mut RawSet) -> *mut RawSet;
    pub fn isl_set_coalesce(a: *mut RawSet) -> *mut RawSet;
    pub fn isl_set_apply(a: *mut RawSet, b: *mut RawMap) -> *mut RawSet;
    pub fn isl_set_unwrap(a: *mut RawSet) -> *mut RawMap;
    pub fn isl_set_lexmin(a: *mut RawSet) -> *mut RawSet;
    pub fn isl_set_is_empty(keep: *mut RawSet) -> c_int;
    pub fn isl_set_is_subset(a: *mut RawSet, b: *mut RawSet) -> c_int;
    pub fn isl_set_is_equal(a: *mut RawSet, b: *mut RawSet) -> c_int;
    pub fn isl_set_sample_point(take: *mut RawSet) -> *mut RawPoint;
    pub fn isl_set_dim(keep: *mut RawSet, kind: c_int) -> c_int;
    pub fn isl_set_identity(take: *mut RawSet) -> *mut RawMap;
    pub fn isl_set_project_out(take: *mut RawSet, kind: c_int, first: u32, n: u32) -> *mut RawSet;

    pub fn isl_map_read_from_str(ctx: *mut RawCtx, text: *const c_char) -> *mut RawMap;
    pub fn isl_map_copy(keep: *mut RawMap) -> *mut RawMap;
    pub fn isl_map_free(take: *mut RawMap) -> *mut RawMap;
    pub fn isl_map_to_str(keep: *mut RawMap) -> *mut c_char;
    pub fn isl_map_intersect(a: *mut RawMap, b: *mut RawMap) -> *mut RawMap;
    pub fn isl_map_intersect_domain(a: *mut RawMap, b: *mut RawSet) -> *mut RawMap;
    pub fn isl_map_intersect_range(a: *mut RawMap, b: *mut RawSet) -> *mut RawMap;
    pub fn isl_map_union(a: *mut RawMap, b: *mut RawMap) -> *mut RawMap;
    pub fn isl_map_subtract(a: *mut RawMap, b: *mut RawMap) -> *mut RawMap;
    pub fn isl_map_coalesce(a: *mut RawMap) -> *mut RawMap;
    pub fn isl_map_reverse(a: *mut RawMap) -> *mut RawMap;
    pub fn isl_map_apply_range(a: *mut RawMap, b: *mut RawMap) -> *mut RawMap;
    pub fn isl_map_apply_domain(a: *mut RawMap, b: *mut RawMap) -> *mut RawMap;
    pub fn isl_map_domain(a: *mut RawMap) -> *mut RawSet;
    pub fn isl_map_range(a: *mut RawMap) -> *mut RawSet;
    pub fn isl_map_wrap(a: *mut RawMap) -> *mut RawSet;
    pub fn isl_map_deltas(a: *mut RawMap) -> *mut RawSet;
    pub fn isl_map_lexmin(a: *mut RawMap) -> *mut RawMap;
    pub fn isl_map_lexmax(a: *mut RawMap) -> *mut RawMap;
    pub fn isl_map_is_empty(keep: *mut RawMap) -> c_int;
    pub fn isl_map_is_injective(keep: *mut RawMap) -> c_int;
    pub fn isl_map_is_single_valued(keep: *mut RawMap) -> c_int;
    pub fn isl_map_is_subset(a: *mut RawMap, b: *mut RawMap) -> c_int;
    pub fn isl_map_is_equal(a: *mut RawMap, b: *mut RawMap) -> c_int;
    pub fn isl_map_dim(keep: *mut RawMap, kind: c_int) -> c_int;
    pub fn isl_map_product(a: *mut RawMap, b: *mut RawMap) -> *mut RawMap;
    pub fn isl_map_domain_factor_domain(a: *mut RawMap) -> *mut RawMap;
    pub fn isl_map_domain_is_wrapping(keep: *mut RawMap) -> c_int;
    pub fn isl_map_get_tuple_name(keep: *mut RawMap, kind: c_int) -> *const c_char;
    pub fn isl_set_get_tuple_name(keep: *mut RawSet) -> *const c_char;
    pub fn isl_map_project_out(take: *mut RawMap, kind: c_int, first: u32, n: u32) -> *mut RawMap;

    pub fn isl_point_free(take: *mut RawPoint) -> *mut RawPoint;
    pub fn isl_point_is_void(keep: *mut RawPoint) -> c_int;
    pub fn isl_point_get_coordinate_val(keep: *mut RawPoint, kind: c_int, at: c_int) -> *mut RawVal;
    pub fn isl_val_free(take: *mut RawVal) -> *mut RawVal;
    pub fn isl_val_is_int(keep: *mut RawVal) -> c_int;
    pub fn isl_val_cmp_si(keep: *mut RawVal, i: c_long) -> c_int;
    pub fn isl_val_get_num_si(keep: *mut RawVal) -> c_long;

    pub fn isl_id_free(take: *mut RawId) -> *mut RawId;
    pub fn isl_id_get_name(keep: *mut RawId) -> *const c_char;
    pub fn isl_id_alloc(ctx: *mut RawCtx, name: *const c_char, user: *mut std::ffi::c_void) -> *mut RawId;

    pub fn isl_union_set_read_from_str(ctx: *mut RawCtx, text: *const c_char) -> *mut RawUnionSet;
    pub fn isl_multi_union_pw_aff_read_from_str(ctx: *mut RawCtx, text: *const c_char) -> *mut RawMupa;

    pub fn isl_schedule_from_domain(take: *mut RawUnionSet) -> *mut RawSchedule;
    pub fn isl_schedule_free(take: *mut RawSchedule) -> *mut RawSchedule;
    pub fn isl_schedule_to_str(keep: *mut RawSchedule) -> *mut c_char;
    pub fn isl_schedule_sequence(a: *mut RawSchedule, b: *mut RawSchedule) -> *mut RawSchedule;
    pub fn isl_schedule_insert_partial_schedule(a: *mut RawSchedule, partial: *mut RawMupa) -> *mut RawSchedule;
    pub fn isl_schedule_get_root(keep: *mut RawSchedule) -> *mut RawScheduleNode;
    pub fn isl_schedule_node_child(take: *mut RawScheduleNode, at: c_int) -> *mut RawScheduleNode;
    pub fn isl_schedule_node_insert_mark(take: *mut RawScheduleNode, mark: *mut RawId) -> *mut RawScheduleNode;
    pub fn isl_schedule_node_band_member_set_ast_loop_type(
        take: *mut RawScheduleNode,
        at: c_int,
        kind: c_int,
    ) -> *mut RawScheduleNode;
    pub fn isl_schedule_node_get_schedule(keep: *mut RawScheduleNode) -> *mut RawSchedule;
    pub fn isl_schedule_node_free(take: *mut RawScheduleNode) -> *mut RawScheduleNode;

    pub fn isl_ast_build_from_context(take: *mut RawSet) -> *mut RawAstBuild;
    pub fn isl_ast_build_free(take: *mut RawAstBuild) -> *mut RawAstBuild;
    pub fn isl_ast_build_node_from_schedule(keep: *mut RawAstBuild, take: *mut RawSchedule) -> *mut RawAstNode;
    pub fn isl_ast_node_free(take: *mut RawAstNode) -> *mut RawAstNode;
    pub fn isl_ast_node_get_type(keep: *mut RawAstNode) -> c_int;
    pub fn isl_ast_node_for_get_iterator(keep: *mut RawAstNode) -> *mut RawAstExpr;
    pub fn isl_ast_node_for_get_init(keep: *mut RawAstNode) -> *mut RawAstExpr;
    pub fn isl_ast_node_for_get_cond(keep: *mut RawAstNode) -> *mut RawAstExpr;
    pub fn isl_ast_node_for_get_inc(keep: *mut RawAstNode) -> *mut RawAstExpr;
    pub fn isl_ast_node_for_get_body(keep: *mut RawAstNode) -> *mut RawAstNode;
    pub fn isl_ast_node_for_is_degenerate(keep: *mut RawAstNode) -> c_int;
    pub fn isl_ast_node_if_get_cond(keep: *mut RawAstNode) -> *mut RawAstExpr;
    pub fn isl_ast_node_if_get_then(keep: *mut RawAstNode) -> *mut RawAstNode;
    pub fn isl_ast_node_if_has_else(keep: *mut RawAstNode) -> c_int;
    pub fn isl_ast_node_if_get_else(keep: *mut RawAstNode) -> *mut RawAstNode;
    pub fn isl_ast_node_block_get_children(keep: *mut RawAstNode) -> *mut RawAstNodeList;
    pub fn isl_ast_node_list_free(take: *mut RawAstNodeList) -> *mut RawAstNodeList;
    pub fn isl_ast_node_list_size(keep: *mut RawAstNodeList) -> c_int;
    pub fn isl_ast_node_list_get_at(keep: *mut RawAstNodeList, at: c_int) -> *mut RawAstNode;
    pub fn isl_ast_node_mark_get_id(keep: *mut RawAstNode) -> *mut RawId;
    pub fn isl_ast_node_mark_get_node(keep: *mut RawAstNode) -> *mut RawAstNode;
    pub fn isl_ast_node_user_get_expr(keep: *mut RawAstNode) -> *mut RawAstExpr;

    pub fn isl_ast_expr_free(take: *mut RawAstExpr) -> *mut RawAstExpr;
    pub fn isl_ast_expr_to_C_str(keep: *mut RawAstExpr) -> *mut c_char;
    pub fn isl_ast_expr_get_type(keep: *mut RawAstExpr) -> c_int;
    pub fn isl_ast_expr_int_get_val(keep: *mut RawAstExpr) -> *mut RawVal;
    pub fn isl_ast_expr_id_get_id(keep: *mut RawAstExpr) -> *mut RawId;
    pub fn isl_ast_expr_op_get_type(keep: *mut RawAstExpr) -> c_int;
    pub fn isl_ast_expr_op_get_n_arg(keep: *mut RawAstExpr) -> c_int;
    pub fn isl_ast_expr_op_get_arg(keep: *mut RawAstExpr, at: c_int) -> *mut RawAstExpr;
}
