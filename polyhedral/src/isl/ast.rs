//! AST generation: schedule tree in, isl's small syntax tree out.

use super::owned::owned;
use super::{Ctx, Schedule, Set, ffi, take_string, take_val};
use crate::error::{Error, Result};
use std::ffi::{CStr, c_int};
use std::ptr::NonNull;

owned!(
    /// The generator: what is known about the parameters.
    AstBuild, RawAstBuild, isl_ast_build_free
);
owned!(NodeHandle, RawAstNode, isl_ast_node_free);
owned!(NodeList, RawAstNodeList, isl_ast_node_list_free);
owned!(ExprHandle, RawAstExpr, isl_ast_expr_free);

/// isl's syntax tree.
#[derive(Clone, Debug)]
pub enum AstNode {
    /// `for (iterator = init; condition; iterator += step)`; one iteration when `degenerate`.
    For {
        iterator: String,
        init: AstExpr,
        condition: AstExpr,
        step: AstExpr,
        degenerate: bool,
        body: Box<AstNode>,
    },
    If {
        condition: AstExpr,
        then: Box<AstNode>,
        otherwise: Option<Box<AstNode>>,
    },
    Block(Vec<AstNode>),
    Mark(String, Box<AstNode>),
    /// A statement instance: a call of the statement's name.
    User(AstExpr),
}

#[derive(Clone, Debug)]
pub enum AstExpr {
    Int(i64),
    Name(String),
    Op(AstOp, Vec<AstExpr>),
}

/// Operators, as in `isl_ast_expr_op_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AstOp {
    And,
    Or,
    Max,
    Min,
    Minus,
    Add,
    Sub,
    Mul,
    /// The division is exact.
    Div,
    FloorDiv,
    /// The dividend is not negative.
    NonNegativeDiv,
    NonNegativeRem,
    /// Only compared with zero.
    ZeroRem,
    Select,
    Eq,
    Le,
    Lt,
    Ge,
    Gt,
    Call,
}

impl AstBuild {
    /// `context` is a parameter set that holds at run time.
    pub fn new(context: &Set) -> Result<AstBuild> {
        // SAFETY: the set is given with a reference of its own.
        let raw = unsafe { ffi::isl_ast_build_from_context(context.give()) };
        AstBuild::own(context.ctx(), raw)
    }

    /// The loops of a schedule tree; `Error::Limit` where the operations of the context's budget do not suffice.
    pub fn generate(&self, schedule: Schedule) -> Result<AstNode> {
        self.ctx.same(schedule.ctx())?;
        let (raw, ctx) = schedule.into_raw();
        // SAFETY: the schedule is given away; the build is borrowed.
        let node = unsafe { ffi::isl_ast_build_node_from_schedule(self.keep(), raw) };
        NodeHandle::own(&ctx, node)?.convert()
    }
}

impl NodeHandle {
    fn convert(&self) -> Result<AstNode> {
        // SAFETY: a live node.
        match unsafe { ffi::isl_ast_node_get_type(self.keep()) } {
            1 => self.convert_for(),
            2 => self.convert_if(),
            3 => self.convert_block(),
            4 => self.convert_mark(),
            5 => Ok(AstNode::User(self.expr(ffi::isl_ast_node_user_get_expr)?)),
            _ => Err(self.ctx.take_error()),
        }
    }

    fn expr(&self, get: unsafe extern "C" fn(*mut ffi::RawAstNode) -> *mut ffi::RawAstExpr) -> Result<AstExpr> {
        // SAFETY: a live node of the kind that `get` wants; isl checks the kind.
        ExprHandle::own(&self.ctx, unsafe { get(self.keep()) })?.convert()
    }

    fn child(&self, get: unsafe extern "C" fn(*mut ffi::RawAstNode) -> *mut ffi::RawAstNode) -> Result<Box<AstNode>> {
        // SAFETY: as in `expr`.
        Ok(Box::new(NodeHandle::own(&self.ctx, unsafe { get(self.keep()) })?.convert()?))
    }

    fn convert_for(&self) -> Result<AstNode> {
        // SAFETY: a live `for` node.
        let degenerate = self.ctx.boolean(unsafe { ffi::isl_ast_node_for_is_degenerate(self.keep()) })?;
        let init = self.expr(ffi::isl_ast_node_for_get_init)?;
        let AstExpr::Name(iterator) = self.expr(ffi::isl_ast_node_for_get_iterator)? else {
            return Err(Error::bug("E907", "an isl loop without a loop variable"));
        };
        // isl gives a degenerate loop no condition and no step.
        let (condition, step) = match degenerate {
            true => (AstExpr::Int(1), AstExpr::Int(1)),
            false => (self.expr(ffi::isl_ast_node_for_get_cond)?, self.expr(ffi::isl_ast_node_for_get_inc)?),
        };
        let body = self.child(ffi::isl_ast_node_for_get_body)?;
        Ok(AstNode::For { iterator, init, condition, step, degenerate, body })
    }

    fn convert_if(&self) -> Result<AstNode> {
        let condition = self.expr(ffi::isl_ast_node_if_get_cond)?;
        let then = self.child(ffi::isl_ast_node_if_get_then)?;
        // SAFETY: a live `if` node.
        let has_else = self.ctx.boolean(unsafe { ffi::isl_ast_node_if_has_else(self.keep()) })?;
        let otherwise = if has_else { Some(self.child(ffi::isl_ast_node_if_get_else)?) } else { None };
        Ok(AstNode::If { condition, then, otherwise })
    }

    fn convert_block(&self) -> Result<AstNode> {
        // SAFETY: a live block; every element is owned.
        unsafe {
            let list = NodeList::own(&self.ctx, ffi::isl_ast_node_block_get_children(self.keep()))?;
            let n = ffi::isl_ast_node_list_size(list.keep());
            let at = |i| NodeHandle::own(&list.ctx, ffi::isl_ast_node_list_get_at(list.keep(), i))?.convert();
            Ok(AstNode::Block((0..n).map(at).collect::<Result<_>>()?))
        }
    }

    fn convert_mark(&self) -> Result<AstNode> {
        // SAFETY: a live mark node.
        let name = unsafe { take_name(ffi::isl_ast_node_mark_get_id(self.keep())) };
        Ok(AstNode::Mark(name, self.child(ffi::isl_ast_node_mark_get_node)?))
    }
}

impl ExprHandle {
    fn convert(&self) -> Result<AstExpr> {
        // SAFETY: a live expression of the kind just asked for.
        unsafe {
            match ffi::isl_ast_expr_get_type(self.keep()) {
                0 => self.convert_op(),
                1 => Ok(AstExpr::Name(take_name(ffi::isl_ast_expr_id_get_id(self.keep())))),
                2 => take_val(ffi::isl_ast_expr_int_get_val(self.keep()))
                    .map(AstExpr::Int)
                    .ok_or_else(|| Error::limit("E908", "a loop bound or subscript does not fit in 64 bits")),
                _ => Err(self.ctx.take_error()),
            }
        }
    }

    fn convert_op(&self) -> Result<AstExpr> {
        // SAFETY: a live operation; arguments are owned.
        unsafe {
            let code = ffi::isl_ast_expr_op_get_type(self.keep());
            let op = operator(code).ok_or_else(|| {
                let text = take_string(ffi::isl_ast_expr_to_C_str(self.keep()));
                Error::bug("E907", format!("isl operator {code} in `{text}`"))
            })?;
            let n = ffi::isl_ast_expr_op_get_n_arg(self.keep());
            let at = |i| ExprHandle::own(&self.ctx, ffi::isl_ast_expr_op_get_arg(self.keep(), i))?.convert();
            Ok(AstExpr::Op(op, (0..n).map(at).collect::<Result<_>>()?))
        }
    }
}

/// The numbering of `enum isl_ast_expr_op_type`.
fn operator(code: c_int) -> Option<AstOp> {
    Some(match code {
        0 | 1 => AstOp::And,
        2 | 3 => AstOp::Or,
        4 => AstOp::Max,
        5 => AstOp::Min,
        6 => AstOp::Minus,
        7 => AstOp::Add,
        8 => AstOp::Sub,
        9 => AstOp::Mul,
        10 => AstOp::Div,
        11 => AstOp::FloorDiv,
        12 => AstOp::NonNegativeDiv,
        13 => AstOp::NonNegativeRem,
        14 => AstOp::ZeroRem,
        15 | 16 => AstOp::Select,
        17 => AstOp::Eq,
        18 => AstOp::Le,
        19 => AstOp::Lt,
        20 => AstOp::Ge,
        21 => AstOp::Gt,
        22 => AstOp::Call,
        _ => return None,
    })
}

/// # Safety
/// `id` is null or owned.
unsafe fn take_name(id: *mut ffi::RawId) -> String {
    if id.is_null() {
        return String::new();
    }
    // SAFETY: by contract; the name is copied before the id is freed.
    unsafe {
        let name = ffi::isl_id_get_name(id);
        let text = if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() };
        ffi::isl_id_free(id);
        text
    }
}
