//! What one iteration of a loop hands to the next: arrays with a leading time dimension.
//!
//! An extent that a step changes is such a value itself, `extent[t]`. The state then has room for the largest, and a
//! tensor of another size than the room is written over its own extents only.

use super::amounts;
use super::builder::{Builder, Dims, dims};
use super::control::next;
use super::terms::index;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, ArrayId, DType, Expr, ParamDef, ParamId, Result, StatementKind};

/// A value that one iteration hands to the next.
pub struct Carried {
    /// `[trips + 1, shape..]`.
    state: ArrayId,
    initial: TensorId,
    body_input: TensorId,
    body_output: TensorId,
    /// The node's result, when used.
    result: Option<TensorId>,
    sizes: Vec<Size>,
}

/// An extent of a carried value that changes from step to step.
#[derive(Clone)]
struct Size {
    d: usize,
    /// The most that there is room for.
    most: i64,
    /// `[trips + 1]`.
    over_time: ArrayId,
    /// The extent in a step, and that of the result.
    inside: ParamId,
    after: Option<ParamId>,
}

impl Carried {
    /// Value number `k` of the node before the first iteration; `body` are its input and output of the body.
    pub fn start(
        builder: &mut Builder,
        node: &Node,
        k: usize,
        initial: TensorId,
        body: (TensorId, TensorId),
        trips: &Aff,
    ) -> Result<Carried> {
        let (body_input, body_output) = body;
        let planes = trips.clone() + Aff::constant(1);
        let sizes = sizes(builder, node, k, body_input, &planes);
        let name = format!("{}_over_time", builder.graph.tensor(body_input).name);
        let shape = roomy(builder.shape(initial), &sizes);
        let state = builder.temp(&name, builder.dtype(initial), [planes].into_iter().chain(shape).collect());
        let value = Carried { state, initial, body_input, body_output, result: node.output(k), sizes };
        value.put(builder, initial, Expr::int(0))?;
        Ok(value)
    }

    /// Plane `at` of the state and of its extents.
    fn put(&self, builder: &mut Builder, tensor: TensorId, at: Expr) -> Result<()> {
        for size in &self.sizes {
            let extent = builder.shape(tensor)[size.d].clone();
            let id = builder.assign(&[], size.over_time, vec![at.clone()], index(extent));
            builder.emit_perfect(id, 0);
        }
        copy_within(builder, tensor, self.state, Some(at), StatementKind::Assign, &self.sizes)
    }

    /// Gives the body's input its value in iteration `t`.
    pub fn bind(&self, builder: &mut Builder, t: &Expr) {
        for size in &self.sizes {
            let extent = builder.load(size.over_time, vec![t.clone()]);
            amounts::demand(builder, size.inside, extent);
        }
        bind_plane(builder, self.body_input, self.state, t);
    }

    /// Hands the body's output to the next iteration of the host loop at `depth`.
    pub fn advance(&self, builder: &mut Builder, depth: usize) -> Result<()> {
        self.put(builder, self.body_output, next(depth))
    }

    /// The result is the last plane of the state.
    pub fn bind_final(&self, builder: &mut Builder, trips: &Aff) {
        let Some(result) = self.result else { return };
        let last = Expr::Index(trips.clone());
        for (size, after) in self.sizes.iter().filter_map(|size| Some((size, size.after?))) {
            let extent = builder.load(size.over_time, vec![last.clone()]);
            amounts::demand(builder, after, extent);
        }
        bind_plane(builder, result, self.state, &last);
    }
}

fn bind_plane(builder: &mut Builder, tensor: TensorId, state: ArrayId, t: &Expr) {
    let own = builder.iters(builder.shape(tensor).len());
    let value = builder.load(state, [t.clone()].into_iter().chain(own).collect());
    builder.bind(tensor, value);
}

/// The extents of carried value `k` that change, each with an array over time.
fn sizes(builder: &mut Builder, node: &Node, k: usize, input: TensorId, planes: &Aff) -> Vec<Size> {
    let mut sizes = Vec::new();
    for d in 0..builder.shape(input).len() {
        let Some(inside) = builder.graph.params.of_array(&node.carried_name(k, d)) else { continue };
        let known = builder.graph.params.get(inside);
        let (name, most) = (format!("{}_over_time", known.name), known.max.unwrap_or(0));
        let over_time = builder.temp(&name, DType::I64, vec![planes.clone()]);
        let after = builder.graph.params.of_array(&node.extent_name(k, d));
        sizes.push(Size { d, most, over_time, inside, after });
    }
    sizes
}

/// `shape` with room for all that a step may make of it.
fn roomy(mut shape: Vec<Aff>, sizes: &[Size]) -> Vec<Aff> {
    sizes.iter().for_each(|size| shape[size.d] = size.most.into());
    shape
}

/// `array[at, i] = tensor[i]` (without `at`: `array[i]`), as one perfect nest.
pub fn copy(
    builder: &mut Builder,
    tensor: TensorId,
    array: ArrayId,
    at: Option<Expr>,
    kind: StatementKind,
) -> Result<()> {
    copy_within(builder, tensor, array, at, kind, &[])
}

/// The same into an array that has room for `sizes`. What does not fit stays away: the run is refused.
fn copy_within(
    builder: &mut Builder,
    tensor: TensorId,
    array: ArrayId,
    at: Option<Expr>,
    kind: StatementKind,
    sizes: &[Size],
) -> Result<()> {
    let mut shape = builder.shape(tensor);
    for size in sizes {
        let extent = &mut shape[size.d];
        *extent = match extent.as_constant() {
            Some(n) => n.min(size.most).into(),
            None => Aff::param(builder.program.params.derived(ParamDef::Min(extent.clone(), size.most.into()))),
        };
    }
    let own: Dims = dims("i", &shape);
    let place = builder.iters(own.len());
    let value = builder.read(tensor, &place)?;
    let target = at.into_iter().chain(place).collect();
    let id = builder.statement(kind, &own, array, target, value);
    builder.emit_perfect(id, own.len());
    Ok(())
}

/// A result of a loop that may end early: the initial value, then that of every iteration that runs.
pub struct Latch {
    array: ArrayId,
    body_output: TensorId,
    /// Extents that change, each with the array that holds that of the result.
    sizes: Vec<(Size, ArrayId)>,
}

impl Latch {
    pub fn of(builder: &mut Builder, node: &Node, carried: &[Carried]) -> Result<Vec<Latch>> {
        let mut latches = Vec::new();
        for (k, value) in carried.iter().enumerate() {
            let Some(result) = node.output(k) else { continue };
            let array = match value.sizes.is_empty() {
                true => builder.define(result),
                false => {
                    let shape = roomy(builder.shape(result), &value.sizes);
                    let name = format!("{}_latched", builder.graph.tensor(result).name);
                    let array = builder.temp(&name, builder.dtype(result), shape);
                    builder.bind_array(result, array);
                    array
                }
            };
            let mut sizes = Vec::new();
            for size in &value.sizes {
                let name = format!("{}_last", builder.graph.params.get(size.inside).name);
                let last = builder.temp(&name, DType::I64, vec![]);
                let extent = builder.shape(value.initial)[size.d].clone();
                let id = builder.assign(&[], last, vec![], index(extent));
                builder.emit_perfect(id, 0);
                sizes.push((size.clone(), last));
            }
            copy_within(builder, value.initial, array, None, StatementKind::Assign, &value.sizes)?;
            latches.push(Latch { array, body_output: value.body_output, sizes });
        }
        Ok(latches)
    }

    /// Takes the value of an iteration.
    pub fn step(&self, builder: &mut Builder) -> Result<()> {
        for (size, last) in &self.sizes {
            let extent = builder.shape(self.body_output)[size.d].clone();
            let id = builder.statement(StatementKind::Update, &[], *last, vec![], index(extent));
            builder.emit_perfect(id, 0);
        }
        let sizes: Vec<Size> = self.sizes.iter().map(|(size, _)| size.clone()).collect();
        copy_within(builder, self.body_output, self.array, None, StatementKind::Update, &sizes)
    }

    /// The extents of the result are the last ones.
    pub fn finish(&self, builder: &mut Builder) {
        for (size, last) in &self.sizes {
            let Some(after) = size.after else { continue };
            let extent = builder.load(*last, vec![]);
            amounts::demand(builder, after, extent);
        }
    }
}
