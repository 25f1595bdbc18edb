//! Branches and loops in formulas. All lanes take them together, as long as any of them needs it.

use super::value::V;
use inkwell::basic_block::BasicBlock;
use inkwell::values::{BasicValueEnum, FunctionValue, IntValue};

impl<'k, 'ctx> V<'k, 'ctx> {
    /// Is this mask true in any lane? A scalar `i1`.
    fn any(self) -> Option<IntValue<'ctx>> {
        match self.value {
            BasicValueEnum::IntValue(bit) => Some(bit),
            _ => match self.intrinsic("llvm.vector.reduce.or", &[]).value {
                BasicValueEnum::IntValue(bit) => Some(bit),
                _ => None,
            },
        }
    }

    fn lane(self, at: u32) -> V<'k, 'ctx> {
        let at = self.kit.context.i32_type().const_int(u64::from(at), false);
        match self.value {
            BasicValueEnum::VectorValue(v) => self.or_failed(self.kit.builder.build_extract_element(v, at, "")),
            _ => self,
        }
    }

    fn with_lane(self, at: u32, lane: V<'k, 'ctx>) -> V<'k, 'ctx> {
        let at = self.kit.context.i32_type().const_int(u64::from(at), false);
        match self.value {
            BasicValueEnum::VectorValue(v) => {
                let inserted = self.kit.builder.build_insert_element(v, lane.value, at, "");
                self.or_failed(inserted.map(Into::into))
            }
            _ => lane,
        }
    }

    fn phi(self, edges: &[(V<'k, 'ctx>, BasicBlock<'ctx>)]) -> V<'k, 'ctx> {
        let Some(phi) = self.kit.keep(self.kit.builder.build_phi(self.value.get_type(), "")) else { return self };
        for (v, block) in edges {
            phi.add_incoming(&[(&v.value, *block)]);
        }
        self.with(phi.as_basic_value())
    }

    /// This value, with the lanes where `rare` is true replaced by the scalar function `slow` of `x`.
    /// Costs one branch while no lane is rare.
    pub fn patched(self, rare: V<'k, 'ctx>, x: V<'k, 'ctx>, slow: FunctionValue<'ctx>) -> V<'k, 'ctx> {
        self.try_patched(rare, x, slow).unwrap_or_else(|| self.failed("a branch"))
    }

    fn try_patched(self, rare: V<'k, 'ctx>, x: V<'k, 'ctx>, slow: FunctionValue<'ctx>) -> Option<V<'k, 'ctx>> {
        let (kit, b) = (self.kit, &self.kit.builder);
        let (from, rare_block, done) = (b.get_insert_block()?, kit.block("rare")?, kit.block("done")?);
        kit.keep(b.build_conditional_branch(rare.any()?, rare_block, done))?;
        b.position_at_end(rare_block);
        let mut exact = self;
        for at in 0..kit.lanes.unwrap_or(1) {
            let call = kit.keep(b.build_call(slow, &[x.lane(at).value.into()], ""))?;
            exact = exact.with_lane(at, self.with(call.try_as_basic_value().basic()?));
        }
        let exact = rare.select(exact, self);
        kit.keep(b.build_unconditional_branch(done))?;
        b.position_at_end(done);
        Some(self.phi(&[(self, from), (exact, rare_block)]))
    }

    /// Repeats `next` on a value, starting with this one, while `next` says so for any lane. Lanes that are
    /// done must come out of `next` unchanged.
    pub fn repeat(self, next: impl Fn(V<'k, 'ctx>) -> (V<'k, 'ctx>, V<'k, 'ctx>)) -> V<'k, 'ctx> {
        self.try_repeat(next).unwrap_or_else(|| self.failed("a loop"))
    }

    fn try_repeat(self, next: impl Fn(V<'k, 'ctx>) -> (V<'k, 'ctx>, V<'k, 'ctx>)) -> Option<V<'k, 'ctx>> {
        let (kit, b) = (self.kit, &self.kit.builder);
        let (from, body, done) = (b.get_insert_block()?, kit.block("again")?, kit.block("done")?);
        kit.keep(b.build_unconditional_branch(body))?;
        b.position_at_end(body);
        let phi = kit.keep(b.build_phi(self.value.get_type(), ""))?;
        let (more, value) = next(self.with(phi.as_basic_value()));
        phi.add_incoming(&[(&self.value, from), (&value.value, b.get_insert_block()?)]);
        kit.keep(b.build_conditional_branch(more.any()?, body, done))?;
        b.position_at_end(done);
        Some(value)
    }
}
