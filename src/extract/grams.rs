//! `TfIdfVectorizer` over integers: how often every n-gram of a pool occurs, with gaps of every allowed length.
//!
//! Every n-gram is compared at every start and gap: `grams * gaps * length` steps per row.

use super::arguments::*;
use super::builder::{Builder, Dims};
use super::contraction::{Reduction, accumulate};
use super::terms::*;
use crate::graph::Node;
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Expr, Result, StatementKind};

/// The n-grams of the pool that the attributes admit.
struct Pool {
    grams: Vec<Vec<i64>>,
    columns: Vec<i64>,
    weights: Vec<f32>,
}

impl Pool {
    fn of(node: &Node) -> Result<Pool> {
        let list = |name: &str| node.ints(name).ok_or_else(|| invalid(node, format!("`{name}` is missing")));
        let items = node.ints("pool_int64s");
        let items = items.ok_or_else(|| unsupported_form(node, "n-grams of strings: there are no string tensors"))?;
        let (starts, columns) = (list("ngram_counts")?, list("ngram_indexes")?);
        let least = node.int("min_gram_length").unwrap_or(1);
        let most = node.int("max_gram_length").unwrap_or(1);
        let mut pool = Pool { grams: Vec::new(), columns: Vec::new(), weights: Vec::new() };
        let mut number = 0;
        for (n, start) in starts.iter().enumerate() {
            let end = starts.get(n + 1).copied().unwrap_or(items.len() as i64);
            let part = usize::try_from(*start).ok().zip(usize::try_from(end).ok());
            let part = part.and_then(|(start, end)| items.get(start..end));
            let part = part.ok_or_else(|| invalid(node, "`ngram_counts` does not fit the pool"))?;
            for gram in part.chunks_exact(n + 1) {
                let column = columns.get(number).copied().filter(|c| *c >= 0);
                let column = column.ok_or_else(|| invalid(node, "`ngram_indexes` does not fit the pool"))?;
                let weight = node.floats("weights").and_then(|w| w.get(number).copied()).unwrap_or(1.0);
                if (least..=most).contains(&(n as i64 + 1)) {
                    pool.grams.push(gram.to_vec());
                    pool.columns.push(column);
                    pool.weights.push(weight);
                }
                number += 1;
            }
        }
        Ok(pool)
    }

    fn longest(&self) -> usize {
        self.grams.iter().map(Vec::len).max().unwrap_or(1)
    }

    /// `name[gram, k]`: items, filled up with zeros.
    fn items(&self, b: &mut Builder, name: &str) -> ArrayId {
        let longest = self.longest();
        let padded = self.grams.iter().flat_map(|g| (0..longest).map(move |k| g.get(k).copied().unwrap_or(0)));
        let bytes = padded.flat_map(i64::to_le_bytes).collect();
        let extents = vec![Aff::constant(self.grams.len() as i64), Aff::constant(longest as i64)];
        b.constant(&format!("{name}_items"), DType::I64, extents, bytes)
    }

    fn vector(&self, b: &mut Builder, name: &str, values: impl Iterator<Item = i64>) -> ArrayId {
        let bytes = values.flat_map(i64::to_le_bytes).collect();
        b.constant(name, DType::I64, vec![Aff::constant(self.grams.len() as i64)], bytes)
    }
}

pub fn tf_idf(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (pool, name) = (Pool::of(node)?, b.graph.tensor(target).name.clone());
    let rank = b.shape(target).len();
    let array = b.pointwise(target, lit(0.0, DType::F32));
    if pool.grams.is_empty() {
        return Ok(());
    }
    let rows: Dims = if rank == 2 { vec![("n".into(), b.shape(source)[0].clone())] } else { Vec::new() };
    let outer = rows.len();
    let length = b.shape(source)[outer].clone();
    let gram = ("gram".to_string(), Aff::constant(pool.grams.len() as i64));
    let gaps = node.int("max_skip_count").unwrap_or(0).clamp(0, 1 << 31) + 1;
    let mut all = rows.clone();
    all.extend([gram.clone(), ("gap".into(), gaps.into()), ("start".into(), length.clone())]);
    let lengths = pool.vector(b, &format!("{name}_lengths"), pool.grams.iter().map(|g| g.len() as i64));
    let items = pool.items(b, &name);
    let (g, gap, start) = (b.iter(outer), b.iter(outer + 1), b.iter(outer + 2));
    let size = b.load(lengths, vec![g.clone()]);
    let step = add(gap.clone(), Expr::int(1));
    let last = add(start.clone(), mul(sub(size.clone(), Expr::int(1)), step.clone()));
    let mut found = lt(last, index(length.clone()));
    // A single item has no gaps: it counts once.
    found = and(found, or(eq(gap, Expr::int(0)), gt(size.clone(), Expr::int(1))));
    for k in 0..pool.longest() as i64 {
        let place = add(start.clone(), mul(step.clone(), Expr::int(k)));
        let mut at = b.iters(outer);
        at.push(min(place, index(length.clone() - 1.into())));
        let item = convert(b.dtype(source), DType::I64, b.read(source, &at)?);
        let same = eq(item, b.load(items, vec![g.clone(), Expr::int(k)]));
        found = and(found, or(le(size.clone(), Expr::int(k)), same));
    }
    let count = Reduction {
        name: &format!("{name}_count"),
        dtype: DType::F32,
        op: BinaryOp::Add,
        init: lit(0.0, DType::F32),
        dims: &all,
        parallel: outer + 1,
        value: Expr::select(found, lit(1.0, DType::F32), lit(0.0, DType::F32)),
    };
    let (count, nodes) = accumulate(b, count);
    let nest = b.bands(0..outer + 1, nodes);
    b.emit(nest);
    let value = weighted(b, node, &pool, &name, b.load(count, b.iters(outer + 1)), g.clone())?;
    let columns = pool.vector(b, &format!("{name}_columns"), pool.columns.iter().copied());
    let mut at = b.iters(outer);
    at.push(b.load(columns, vec![g]));
    let mut dims = rows;
    dims.push(gram);
    let id = b.statement(StatementKind::Update, &dims, array, at, value);
    b.emit_perfect(id, outer + 1);
    Ok(())
}

/// The count by `mode`: as it is, the weight of what occurs, or their product.
fn weighted(b: &mut Builder, node: &Node, pool: &Pool, name: &str, count: Expr, gram: Expr) -> Result<Expr> {
    let bytes = pool.weights.iter().flat_map(|w| w.to_le_bytes()).collect();
    let extent = vec![Aff::constant(pool.grams.len() as i64)];
    let weights = b.constant(&format!("{name}_weights"), DType::F32, extent, bytes);
    let weight = b.load(weights, vec![gram]);
    let zero = lit(0.0, DType::F32);
    Ok(match node.string("mode").unwrap_or_default() {
        "TF" => count,
        "IDF" => Expr::select(gt(count, zero.clone()), weight, zero),
        "TFIDF" => mul(count, weight),
        other => return Err(invalid(node, format!("mode `{other}`"))),
    })
}
