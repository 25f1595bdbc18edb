//! Loads and stores of all lanes of a position, and register arrays.

use super::Emitter;
use super::access::{Address, Step};
use super::space::{At, Mask};
use crate::count::Event;
use crate::ir::{Type, Value, undefined, vector_of};
use sirius_polyhedral::program::Placement;
use sirius_polyhedral::{Access, ArrayId, DType, Error, Result, VarId};

/// An access whose address is known.
struct Place<'ctx> {
    array: ArrayId,
    address: Address<'ctx>,
    /// Lanes of the chunk.
    lanes: u32,
    mask: Option<Mask<'ctx>>,
    element: Type<'ctx>,
    align: u32,
}

impl Place<'_> {
    /// Are whole vectors and a shuffle better than one load for each lane, `step` elements apart?
    fn is_dense(&self, step: i64) -> bool {
        self.lanes >= 2 && (step == 2 || ((2..=4).contains(&step) && step * i64::from(self.align) <= 4))
    }
}

impl<'ctx> Emitter<'_, '_, 'ctx> {
    pub fn is_register(&self, array: ArrayId) -> bool {
        self.frame.array(array).placement == Some(Placement::Register)
    }

    /// The element(s) of `access`: a scalar where all lanes share one.
    pub fn load(&mut self, access: &Access, at: At, mask: Option<Mask<'ctx>>) -> Result<Value<'ctx>> {
        if self.is_register(access.array) {
            let (cell, ty) = self.register(access, at)?;
            return Ok(self.ir().load(ty, cell, 1));
        }
        let wanted = mask;
        let mask = mask.filter(|_| !self.in_bounds(access, at));
        let place = self.place(access, at, mask)?;
        self.count_load(access, &place, wanted)?;
        let raw = match place.address.step {
            Step::Constant(0) => self.load_shared(&place),
            Step::Constant(1) => self.load_vector(&place),
            Step::Constant(-1) if mask.is_none() => self.load_reversed(&place),
            Step::Constant(s) if mask.is_none() && place.is_dense(s) => self.load_every(&place, s as u32),
            Step::Scattered(_) => self.gather(&place),
            _ if mask.is_none() => self.load_lanes(&place),
            _ => self.gather(&place),
        };
        Ok(self.frame.operators.loaded(raw, self.frame.array(access.array).dtype))
    }

    /// One element that all lanes share is one access.
    fn count_load(&mut self, access: &Access, place: &Place<'ctx>, wanted: Option<Mask<'ctx>>) -> Result<()> {
        let shared = matches!(place.address.step, Step::Constant(0));
        let (lanes, wanted) = if shared { (1, None) } else { (place.lanes, wanted) };
        self.count_access(Event::Load, access, &place.address, lanes, wanted)
    }

    fn place(&mut self, access: &Access, at: At, mask: Option<Mask<'ctx>>) -> Result<Place<'ctx>> {
        let address = self.address(access, at, mask)?;
        let t = self.frame.array(access.array).dtype;
        Ok(Place {
            array: access.array,
            address,
            lanes: self.chunk_lanes(at.chunk).unwrap_or(1),
            mask,
            element: self.frame.operators.memory_type(t),
            align: t.size() as u32,
        })
    }

    fn tagged(&self, v: Value<'ctx>, array: ArrayId) -> Value<'ctx> {
        self.frame.tag(v, array);
        v
    }

    /// A masked scalar load reads a spare cell when no lane wants it.
    fn load_shared(&self, place: &Place<'ctx>) -> Value<'ctx> {
        let ir = self.ir();
        match place.mask {
            None => self.tagged(ir.load(place.element, place.address.base, place.align), place.array),
            Some(mask) => {
                let pointer = ir.select(ir.any(mask.value), place.address.base, self.frame.spare());
                ir.load(place.element, pointer, place.align)
            }
        }
    }

    fn load_vector(&self, place: &Place<'ctx>) -> Value<'ctx> {
        let ir = self.ir();
        let ty = vector_of(place.element, place.lanes);
        let Some(mask) = place.mask else {
            return self.tagged(ir.load(ty, place.address.base, place.align), place.array);
        };
        self.load_masked(place, place.address.base, ir.widen(mask.value, place.lanes), place.lanes)
    }

    /// A masked load of at most one vector register at a time: LLVM 19 for AVX2 loads the upper half of a wider one
    /// without its mask where that is known to be empty (`and` of a splat and a constant).
    fn load_masked(&self, place: &Place<'ctx>, base: Value<'ctx>, mask: Value<'ctx>, lanes: u32) -> Value<'ctx> {
        let (ir, ty) = (self.ir(), vector_of(place.element, lanes));
        // An element is as aligned as it is large.
        if lanes * place.align > self.width * 4 {
            let half = lanes / 2;
            let part = |from: u32, to: u32| {
                let mask = ir.shuffle(mask, mask, &(from..to).collect::<Vec<_>>());
                let base = ir.element(place.element, base, ir.i64(i64::from(from)));
                self.load_masked(place, base, mask, to - from)
            };
            let (low, high) = (part(0, half), part(half, lanes));
            return ir.shuffle(low, high, &(0..lanes).collect::<Vec<_>>());
        }
        let align = ir.context.i32_type().const_int(u64::from(place.align), false).into();
        let types = [ty, base.get_type()];
        let loaded = ir.intrinsic("llvm.masked.load", &types, &[base, align, mask, ir.zero(ty)]).unwrap_or(ir.zero(ty));
        self.tagged(loaded, place.array)
    }

    fn load_reversed(&self, place: &Place<'ctx>) -> Value<'ctx> {
        let ir = self.ir();
        let ty = vector_of(place.element, place.lanes);
        let first = ir.element(place.element, place.address.base, ir.i64(1 - i64::from(place.lanes)));
        let v = self.tagged(ir.load(ty, first, place.align), place.array);
        ir.shuffle(v, v, &(0..place.lanes).rev().collect::<Vec<_>>())
    }

    /// Every `step`th element: two loads that end with the last lane, so nothing behind it is touched.
    fn load_every(&self, place: &Place<'ctx>, step: u32) -> Value<'ctx> {
        let ir = self.ir();
        let n = place.lanes;
        let each = step * n / 2;
        let start = step * (n - 1) + 1 - each;
        let ty = vector_of(place.element, each);
        let second = ir.element(place.element, place.address.base, ir.i64(i64::from(start)));
        let a = self.tagged(ir.load(ty, place.address.base, place.align), place.array);
        let b = self.tagged(ir.load(ty, second, place.align), place.array);
        let order: Vec<u32> = (0..n).map(|l| if l < n / 2 { step * l } else { each + step * l - start }).collect();
        ir.shuffle(a, b, &order)
    }

    fn lane_pointer(&self, place: &Place<'ctx>, lane: u32) -> Value<'ctx> {
        let ir = self.ir();
        let lane_number = ir.i64(i64::from(lane));
        let index = match place.address.step {
            Step::Constant(s) => ir.i64(s * i64::from(lane)),
            Step::Dynamic(s) => ir.mul(s, lane_number),
            Step::Scattered(index) => ir.extract(index, lane),
        };
        ir.element(place.element, place.address.base, index)
    }

    fn load_lanes(&self, place: &Place<'ctx>) -> Value<'ctx> {
        let ir = self.ir();
        let mut v = undefined(vector_of(place.element, place.lanes));
        for lane in 0..place.lanes {
            let x = ir.load(place.element, self.lane_pointer(place, lane), place.align);
            v = ir.insert(v, self.tagged(x, place.array), lane);
        }
        v
    }

    fn pointers(&self, place: &Place<'ctx>) -> Value<'ctx> {
        let ir = self.ir();
        let iota = || ir.iota(0, place.lanes);
        let index = match place.address.step {
            Step::Constant(s) => ir.mul(iota(), ir.i64(s)),
            Step::Dynamic(s) => ir.mul(iota(), s),
            Step::Scattered(index) => ir.widen(index, place.lanes),
        };
        ir.element(place.element, place.address.base, index)
    }

    fn full_mask(&self, place: &Place<'ctx>) -> Value<'ctx> {
        let ir = self.ir();
        match place.mask {
            Some(mask) => ir.widen(mask.value, place.lanes),
            None => ir.int_like(vector_of(ir.context.bool_type().into(), place.lanes), -1),
        }
    }

    fn gather(&self, place: &Place<'ctx>) -> Value<'ctx> {
        let ir = self.ir();
        let ty = vector_of(place.element, place.lanes);
        let pointers = self.pointers(place);
        let align = ir.context.i32_type().const_int(u64::from(place.align), false).into();
        let arguments = [pointers, align, self.full_mask(place), ir.zero(ty)];
        let types = [ty, pointers.get_type()];
        let loaded = ir.intrinsic("llvm.masked.gather", &types, &arguments).unwrap_or(ir.zero(ty));
        self.tagged(loaded, place.array)
    }

    /// Writes the lanes of `value` that `mask` keeps; where all lanes share the element, the last one wins.
    pub fn store(&mut self, access: &Access, at: At, value: Value<'ctx>, mask: Option<Mask<'ctx>>) -> Result<()> {
        if self.is_register(access.array) {
            return self.store_register(access, at, value, mask);
        }
        let place = self.place(access, at, mask)?;
        let raw = self.frame.operators.stored(value, self.frame.array(access.array).dtype);
        let scalar = self.lanes.is_none();
        self.count_access(Event::Store, access, &place.address, place.lanes, mask)?;
        match (place.address.step, mask) {
            (Step::Constant(0), _) if scalar => self.store_one(&place, raw, place.address.base),
            (Step::Constant(1), None) => {
                let wide = self.ir().widen(raw, place.lanes);
                self.store_one(&place, wide, place.address.base);
            }
            (Step::Constant(1), Some(mask)) => self.store_masked(&place, raw, mask),
            (_, None) => self.store_lanes(&place, raw),
            (_, Some(_)) => self.scatter(&place, raw),
        }
        Ok(())
    }

    fn store_one(&self, place: &Place<'ctx>, raw: Value<'ctx>, pointer: Value<'ctx>) {
        let store = self.ir().store(raw, pointer, place.align);
        self.frame.tag_instruction(store, place.array);
    }

    fn store_masked(&self, place: &Place<'ctx>, raw: Value<'ctx>, mask: Mask<'ctx>) {
        let ir = self.ir();
        let raw = ir.widen(raw, place.lanes);
        let align = ir.context.i32_type().const_int(u64::from(place.align), false).into();
        let arguments = [raw, place.address.base, align, ir.widen(mask.value, place.lanes)];
        self.call_store("llvm.masked.store", &[raw.get_type(), place.address.base.get_type()], &arguments);
    }

    fn store_lanes(&self, place: &Place<'ctx>, raw: Value<'ctx>) {
        let raw = self.ir().widen(raw, place.lanes);
        for lane in 0..place.lanes {
            let x = self.ir().extract(raw, lane);
            self.store_one(place, x, self.lane_pointer(place, lane));
        }
    }

    fn scatter(&self, place: &Place<'ctx>, raw: Value<'ctx>) {
        let ir = self.ir();
        let (raw, pointers) = (ir.widen(raw, place.lanes), self.pointers(place));
        let align = ir.context.i32_type().const_int(u64::from(place.align), false).into();
        let arguments = [raw, pointers, align, self.full_mask(place)];
        self.call_store("llvm.masked.scatter", &[raw.get_type(), pointers.get_type()], &arguments);
    }

    fn call_store(&self, name: &str, types: &[Type<'ctx>], arguments: &[Value<'ctx>]) {
        // Stores return nothing; aliasing facts matter for loads, which carry them.
        let _ = self.ir().intrinsic(name, types, arguments);
    }

    /// `target = target op value` lane by lane, for lanes that may share an element.
    pub fn update_lanes(
        &mut self,
        access: &Access,
        at: At,
        value: Value<'ctx>,
        mask: Option<Mask<'ctx>>,
        op: &dyn Fn(Value<'ctx>, Value<'ctx>) -> Result<Value<'ctx>>,
    ) -> Result<()> {
        let place = self.place(access, at, mask)?;
        let (ir, operators, t) = (self.ir(), self.frame.operators, self.frame.array(access.array).dtype);
        for event in [Event::Load, Event::Store] {
            self.count_access(event, access, &place.address, place.lanes, mask)?;
        }
        let value = ir.widen(value, place.lanes);
        for lane in 0..place.lanes {
            let after = mask.map(|m| {
                let (then, after) = (ir.block("lane"), ir.block("lane.end"));
                ir.cond_br(ir.extract(ir.widen(m.value, place.lanes), lane), then, after);
                ir.goto(then);
                after
            });
            let pointer = self.lane_pointer(&place, lane);
            let old = operators.loaded(ir.load(place.element, pointer, place.align), t);
            let new = op(old, ir.extract(value, lane))?;
            self.store_one(&place, operators.stored(new, t), pointer);
            if let Some(after) = after {
                ir.br(after);
                ir.goto(after);
            }
        }
        Ok(())
    }

    pub fn is_scattered(&mut self, access: &Access, at: At, mask: Option<Mask<'ctx>>) -> Result<bool> {
        let step = self.address(access, at, mask)?.step;
        Ok(matches!(step, Step::Scattered(_) | Step::Constant(0)) && self.lanes.is_some())
    }

    /// The stack cell of a register array's element, and its type.
    fn register(&mut self, access: &Access, at: At) -> Result<(Value<'ctx>, Type<'ctx>)> {
        let t: DType = self.frame.array(access.array).dtype;
        let mut place = Vec::new();
        let mut per_lane = false;
        for index in &access.index {
            let aff = index.as_aff().ok_or_else(|| {
                let name = &self.frame.array(access.array).name;
                Error::bug("E711", format!("register array {name} has a data-dependent subscript"))
            })?;
            per_lane |= self.depends(index).lane;
            place.push(aff.eval(&|_| 0, &|n| self.offset(n as VarId, at)));
        }
        let lanes = if per_lane { self.chunk_lanes(at.chunk).unwrap_or(0) } else { 0 };
        let scalar = self.frame.operators.type_of(t);
        let ty = if lanes == 0 { scalar } else { vector_of(scalar, lanes) };
        let key = (access.array, place, lanes);
        if let Some(cell) = self.cells.get(&key) {
            return Ok((*cell, ty));
        }
        let cell = self.frame.cell(ty);
        self.cells.insert(key, cell);
        Ok((cell, ty))
    }

    /// Where a variable stands relative to the tile: all that tells register elements apart.
    fn offset(&self, var: VarId, at: At) -> i64 {
        let row = self.active[at.instance].rows.iter().find(|r| r.var == var).map(|r| r.offset);
        let fixed = self.fixed.get(&var).map(|f| f.1);
        let lane = self.lanes.as_ref().filter(|l| l.var == var).map(|l| l.chunks[at.chunk].0);
        row.or(fixed).or(lane).unwrap_or(0)
    }

    fn store_register(&mut self, access: &Access, at: At, value: Value<'ctx>, mask: Option<Mask<'ctx>>) -> Result<()> {
        let (cell, ty) = self.register(access, at)?;
        let ir = self.ir();
        let mut value = match ty {
            Type::VectorType(v) => ir.widen(value, v.get_size()),
            // Lanes that share a cell: the last one wins, as in memory.
            _ => ir.lanes(value).map_or(value, |n| ir.extract(value, n - 1)),
        };
        if let Some(mask) = mask.filter(|m| !m.tail) {
            let old = ir.load(ty, cell, 1);
            let scalar = ir.lanes(value).is_none();
            let chosen = if scalar { ir.any(mask.value) } else { mask.value };
            value = ir.select(chosen, value, old);
        }
        ir.store(value, cell, 1);
        Ok(())
    }
}
