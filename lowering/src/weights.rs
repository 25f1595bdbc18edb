//! The weights blob: the constant arrays that the code reads, each at a multiple of 64 bytes.

use sirius_polyhedral::{Condition, ConstantData, Expr, LoopNest, Nest, ParamDef, Role};
use std::io::Write;
use xxhash_rust::xxh64::Xxh64;

/// Alignment of every constant array: a cache line, and the widest vector.
const ALIGNMENT: u64 = 64;

/// Where each constant goes, and the bytes.
pub struct Blob {
    /// Indexed by array; `None` for what is no constant or is never read.
    pub offsets: Vec<Option<u64>>,
    pub bytes: u64,
    parts: Vec<(u64, ConstantData)>,
}

/// Lays out the constants of `nest` that are `used`; equal shared data is stored once.
pub fn layout(nest: &LoopNest, used: &[bool]) -> Blob {
    let mut blob = Blob { offsets: vec![None; nest.arrays.len()], bytes: 0, parts: Vec::new() };
    for (n, array) in nest.arrays.iter().enumerate() {
        let Role::Constant(data) = &array.role else { continue };
        if used[n] {
            blob.offsets[n] = Some(blob.place(data));
        }
    }
    blob
}

impl Blob {
    fn place(&mut self, data: &ConstantData) -> u64 {
        if let Some((at, _)) = self.parts.iter().find(|(_, d)| std::sync::Arc::ptr_eq(&d.0, &data.0)) {
            return *at;
        }
        let at = self.bytes.next_multiple_of(ALIGNMENT);
        self.bytes = at + data.bytes().len() as u64;
        self.parts.push((at, data.clone()));
        at
    }

    /// Writes the blob, gaps as zeros; the hash of what was written.
    pub fn write(&self, out: &mut dyn Write) -> std::io::Result<u64> {
        let mut hash = Xxh64::new(0);
        let mut written = 0;
        for (at, data) in &self.parts {
            let gap = [0u8; ALIGNMENT as usize];
            for bytes in [&gap[..(at - written) as usize], data.bytes()] {
                hash.update(bytes);
                out.write_all(bytes)?;
            }
            written = at + data.bytes().len() as u64;
        }
        Ok(hash.digest())
    }
}

/// Which arrays the code touches.
pub fn used_arrays(nest: &LoopNest) -> Vec<bool> {
    let mut used = vec![false; nest.arrays.len()];
    for id in nest.inputs.iter().chain(&nest.outputs) {
        used[id.0 as usize] = true;
    }
    for (_, param) in nest.params.iter() {
        if let ParamDef::Value { array } = &param.def {
            nest.arrays.iter().zip(&mut used).filter(|(a, _)| a.name == *array).for_each(|(_, u)| *u = true);
        }
    }
    nest.body.iter().for_each(|n| n.visit(&mut |node| mark_node(node, &mut used)));
    used
}

fn mark_node(node: &Nest, used: &mut [bool]) {
    match node {
        Nest::Compute { target, value, .. } => {
            used[target.array.0 as usize] = true;
            target.index.iter().for_each(|e| mark_expr(e, used));
            mark_expr(value, used);
        }
        Nest::If { condition: Condition::Guard(guard), .. } | Nest::BreakUnless(guard) => mark_expr(guard, used),
        Nest::If { .. } | Nest::Loop { .. } => {}
    }
}

fn mark_expr(expr: &Expr, used: &mut [bool]) {
    expr.visit_loads(&mut |access| used[access.array.0 as usize] = true);
}
