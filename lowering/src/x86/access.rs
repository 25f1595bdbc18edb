//! Addresses: the place of lane 0, and how the other lanes lie to it.

use super::Emitter;
use super::space::{At, LANE, Mask};
use crate::affine;
use crate::emit::Stride;
use crate::ir::Value;
use sirius_polyhedral::{Access, Aff, DType, Result};

/// The addresses of one access at one position.
pub struct Address<'ctx> {
    /// The address of lane 0 (the array's first element for `Step::Scattered`).
    pub base: Value<'ctx>,
    pub step: Step<'ctx>,
}

/// Distance between neighbouring lanes, in elements.
#[derive(Clone, Copy)]
pub enum Step<'ctx> {
    /// 0: all lanes share the element.
    Constant(i64),
    Dynamic(Value<'ctx>),
    /// No fixed distance: one index per lane.
    Scattered(Value<'ctx>),
}

/// One subscript after folding.
enum Subscript<'ctx> {
    Affine(Aff),
    Data(Value<'ctx>),
}

/// A row-major index, apart by how it is written.
#[derive(Default)]
struct Flat<'ctx> {
    /// Dimensions with constant strides.
    affine: Aff,
    /// Dimensions with run-time strides.
    strided: Vec<(Aff, Value<'ctx>)>,
    /// Data-dependent subscripts, already multiplied by their strides.
    data: Vec<Value<'ctx>>,
}

impl<'ctx> Emitter<'_, '_, 'ctx> {
    pub fn address(&mut self, access: &Access, at: At, mask: Option<Mask<'ctx>>) -> Result<Address<'ctx>> {
        let flat = self.flatten(access, at, mask)?;
        let element = self.frame.operators.memory_type(self.frame.array(access.array).dtype);
        let base = self.frame.base(access.array);
        let scattered = flat.data.iter().any(|&v| self.ir().lanes(v).is_some())
            || flat.affine.divides_iter(LANE)
            || flat.strided.iter().any(|(a, _)| a.divides_iter(LANE));
        if scattered {
            let index = self.index(&flat, at.chunk);
            return Ok(Address { base, step: Step::Scattered(index) });
        }
        let step = self.step(&flat);
        // Constants go last, into the displacement of the instruction: rows then share one register.
        let (first, offsets) = without_lane(flat).split_constants();
        let index = self.index(&first, at.chunk);
        let mut pointer = self.ir().element(element, base, index);
        for offset in [offsets.strided_only(), offsets.affine_only()] {
            if !offset.is_zero() {
                let index = self.index(&offset, at.chunk);
                pointer = self.ir().element(element, pointer, index);
            }
        }
        Ok(Address { base: pointer, step })
    }

    fn flatten(&mut self, access: &Access, at: At, mask: Option<Mask<'ctx>>) -> Result<Flat<'ctx>> {
        let strides = self.frame.strides(access.array);
        let mut flat = Flat::default();
        for (d, stride) in strides.into_iter().enumerate() {
            match (self.subscript(access, d, at, mask)?, stride) {
                (Subscript::Affine(a), Stride::Constant(s)) => flat.affine = flat.affine + a * s,
                (Subscript::Affine(a), Stride::Dynamic(s)) => flat.strided.push((a, s)),
                (Subscript::Data(v), Stride::Constant(1)) => flat.data.push(v),
                (Subscript::Data(v), Stride::Constant(s)) => flat.data.push(self.ir().mul(v, self.ir().i64(s))),
                (Subscript::Data(v), Stride::Dynamic(s)) => flat.data.push(self.ir().mul(v, s)),
            }
        }
        flat.affine = self.simplified(&flat.affine, at.chunk);
        Ok(flat)
    }

    fn subscript(&mut self, access: &Access, d: usize, at: At, mask: Option<Mask<'ctx>>) -> Result<Subscript<'ctx>> {
        let array = self.frame.array(access.array);
        let (index, planes) = (&access.index[d], array.fold[d]);
        if let Some(aff) = index.as_aff() {
            let aff = self.resolve(&aff, at);
            let folded = planes.map_or(aff.clone(), |w| if w == 1 { Aff::constant(0) } else { aff.modulo(w) });
            return Ok(Subscript::Affine(self.simplified(&folded, at.chunk)));
        }
        let value = self.eval(index, at, mask)?;
        let operators = self.frame.operators;
        let value = operators.cast(self.dtype(index), DType::I64, value);
        Ok(match planes {
            Some(1) => Subscript::Affine(Aff::constant(0)),
            Some(w) => Subscript::Data(affine::modulo(self.ir(), value, w)),
            None => Subscript::Data(value),
        })
    }

    fn step(&self, flat: &Flat<'ctx>) -> Step<'ctx> {
        let ir = self.ir();
        let constant = flat.affine.coefficient(LANE);
        let mut dynamic: Option<Value<'ctx>> = None;
        for (a, stride) in &flat.strided {
            let coefficient = a.coefficient(LANE);
            if coefficient != 0 {
                let part = ir.mul(*stride, ir.i64(coefficient));
                dynamic = Some(dynamic.map_or(part, |sum| ir.add(sum, part)));
            }
        }
        match dynamic {
            None => Step::Constant(constant),
            Some(sum) => Step::Dynamic(ir.add(sum, ir.i64(constant))),
        }
    }

    fn index(&mut self, flat: &Flat<'ctx>, chunk: usize) -> Value<'ctx> {
        let mut sum = self.emit_resolved(&flat.affine, chunk);
        for (aff, stride) in &flat.strided {
            let part = self.emit_resolved(aff, chunk);
            let ir = self.ir();
            sum = ir.add(sum, ir.mul(part, *stride));
        }
        flat.data.iter().fold(sum, |sum, v| self.ir().add(sum, *v))
    }
}

/// The index of lane 0.
fn without_lane(flat: Flat<'_>) -> Flat<'_> {
    let first = |a: Aff| a.substitute(&|n| if n == LANE { Aff::constant(0) } else { Aff::iter(n) });
    Flat {
        affine: first(flat.affine),
        strided: flat.strided.into_iter().map(|(a, s)| (first(a), s)).collect(),
        data: flat.data,
    }
}

impl<'ctx> Flat<'ctx> {
    fn split_constants(self) -> (Flat<'ctx>, Flat<'ctx>) {
        let cut = |a: Aff| {
            let constant = Aff::constant(a.offset());
            (a - constant.clone(), constant)
        };
        let (affine, offset) = cut(self.affine);
        let (strided, offsets) = self
            .strided
            .into_iter()
            .map(|(a, s)| {
                let (a, c) = cut(a);
                ((a, s), (c, s))
            })
            .unzip();
        (Flat { affine, strided, data: self.data }, Flat { affine: offset, strided: offsets, data: Vec::new() })
    }

    fn strided_only(&self) -> Flat<'ctx> {
        let nonzero = self.strided.iter().filter(|(a, _)| !a.is_constant(0));
        Flat { strided: nonzero.cloned().collect(), ..Flat::default() }
    }

    fn affine_only(&self) -> Flat<'ctx> {
        Flat { affine: self.affine.clone(), ..Flat::default() }
    }

    fn is_zero(&self) -> bool {
        self.affine.is_constant(0) && self.strided.is_empty() && self.data.is_empty()
    }
}
