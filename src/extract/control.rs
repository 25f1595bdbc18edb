//! `If`, `Loop` and `Scan` as guards and bands of the one schedule tree.
//!
//! A loop-carried value `x` becomes an array with a leading time dimension: read at `t`, written at `t + 1`
//! (single assignment over time); the `contract` pass folds it to two planes. A loop that may end early has
//! a `bool` array `alive[t]` of the same kind that guards its body and is registered as an exit, and its
//! results leave through latches: an `Update` of the result in every iteration that runs.
//! An `If` guards the statements of each branch and assigns the results in both.

use super::builder::dims;
use super::carried::{Carried, Latch, copy};
use super::counters::Counters;
use super::{Builder, extract_block, unsupported};
use super::{agree, amounts};
use crate::graph::{Attribute, Block, Node, TensorId};
use crate::import::ROOM;
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Expr, ParamDef, Result, StatementKind, UnaryOp};

/// Iterations of a loop without a trip count: never reached, and far from overflow in address arithmetic.
const UNBOUNDED: i64 = 1 << 40;

/// ONNX `If`: both branches are extracted, each under its condition.
pub fn extract_if(builder: &mut Builder, node: &Node) -> Result<()> {
    let condition = scalar_array(builder, node, 0, "condition", DType::Bool)?;
    let extents = amounts::open_extents(builder, node);
    let outputs = node.outputs.iter().enumerate();
    let results: Vec<Option<ArrayId>> =
        outputs.map(|(n, o)| o.map(|tensor| amounts::define_open(builder, tensor, n, &extents))).collect();
    let taken = builder.load(condition, vec![]);
    let branches =
        [("then_branch", "then_needs", taken.clone()), ("else_branch", "else_needs", Expr::unary(UnaryOp::Not, taken))];
    let mut idle = None;
    for (name, needs, mut guard) in branches {
        if let Some(Attribute::Tensor(needs_id)) = node.attributes.get(needs) {
            let runs = agree::fitting(builder, node, needs, guard.clone(), *needs_id);
            let runs = builder.load(runs, vec![]);
            let misfit = Expr::binary(BinaryOp::And, guard, Expr::unary(UnaryOp::Not, runs.clone()));
            idle = Some(idle.map_or(misfit.clone(), |other| Expr::binary(BinaryOp::Or, other, misfit)));
            guard = runs;
        }
        let block = node.block(name).ok_or_else(|| unsupported(builder, node))?;
        builder.in_branch(guard, |builder| {
            extract_block(builder, block)?;
            extents.iter().for_each(|extent| extent.take(builder, &block.outputs));
            for (result, value) in results.iter().zip(&block.outputs) {
                if let Some(array) = result {
                    copy(builder, *value, *array, None, StatementKind::Assign)?;
                }
            }
            Ok(())
        })?;
    }
    match idle {
        Some(idle) => builder.in_branch(idle, |builder| clear(builder, node, &results)),
        None => Ok(()),
    }
}

/// Neither branch runs, and the run will be refused: zeros, so that what follows from the results comes to an end.
fn clear(builder: &mut Builder, node: &Node, results: &[Option<ArrayId>]) -> Result<()> {
    for (tensor, array) in node.outputs.iter().zip(results).filter_map(|(o, r)| o.zip(*r)) {
        let own = dims("i", &builder.shape(tensor));
        let zero = Expr::literal(0.0, builder.dtype(tensor));
        let id = builder.assign(&own, array, builder.iters(own.len()), zero);
        builder.emit_perfect(id, own.len());
    }
    Ok(())
}

/// Input `n` of the node, a scalar of type `dtype`, as an array of rank 0.
fn scalar_array(builder: &mut Builder, node: &Node, n: usize, what: &str, dtype: DType) -> Result<ArrayId> {
    let tensor = node.input(n).ok_or_else(|| unsupported(builder, node))?;
    let value = scalar(builder, tensor)?;
    let array = builder.temp(&format!("{}_{what}", node.name), dtype, vec![]);
    let id = builder.assign(&[], array, vec![], value);
    builder.emit_perfect(id, 0);
    Ok(array)
}

/// The only element of a tensor of rank 0 or of shape `[1]`.
pub fn scalar(builder: &mut Builder, tensor: TensorId) -> Result<Expr> {
    let rank = builder.shape(tensor).len();
    builder.read(tensor, &vec![Expr::int(0); rank])
}

// ---- Loop ---------------------------------------------------------------------------------------------

/// ONNX `Loop` (opset 1 to 23). A loop in a loop whose trip count is another one in every step ends early.
pub fn extract_loop(builder: &mut Builder, node: &Node) -> Result<()> {
    let body = node.block("body").ok_or_else(|| unsupported(builder, node))?;
    let varies = trips_vary(builder, node);
    let counters = Counters::of(builder, node);
    let may_exit = may_exit(builder, node, body);
    let ends = if builder.depth() > 0 { varies || may_exit } else { may_exit && !keeps_condition(builder, body) };
    let exits = ends || counters.is_some();
    let collects = node.outputs.iter().skip(node.inputs.len().saturating_sub(2)).any(Option::is_some);
    let (trips, wanted) = match exits && collects {
        true => collected_trips(builder, node),
        false if varies => (Aff::constant(UNBOUNDED), None),
        false => (trip_count(builder, node)?, None),
    };
    let carried = carry(builder, node, body, &trips)?;
    let limit = if exits && (collects || varies) { run_time_trips(builder, node)? } else { None };
    let alive = exits.then(|| alive_array(builder, node, &trips, limit.as_ref(), counters.as_ref())).transpose()?;
    let count = (exits && collects).then(|| Count::start(builder, node)).transpose()?;
    let scans = scan_results(builder, node, body, carried.len(), &trips, exits)?;
    let latches = if alive.is_some() { Latch::of(builder, node, &carried)? } else { Vec::new() };
    let depth = builder.depth();
    builder.in_loop("t", trips.clone(), |builder| {
        let t = Expr::iter(depth);
        let guard = alive.map(|a| builder.load(a, vec![t.clone()]));
        let run = |builder: &mut Builder| {
            bind_body(builder, body, &carried, &t)?;
            extract_block(builder, body)?;
            let again = scalar(builder, body.outputs[0])?;
            let again = within(again, &next(depth), limit.as_ref());
            let again = match &counters {
                Some(counters) => counters.step(builder, node, body, again)?,
                None => again,
            };
            if let Some(alive) = alive {
                let id = builder.assign(&[], alive, vec![next(depth)], again.clone());
                builder.emit_perfect(id, 0);
            }
            carried.iter().try_for_each(|value| value.advance(builder, depth))?;
            for (tensor, array) in &scans {
                copy(builder, *tensor, *array, Some(t.clone()), StatementKind::Assign)?;
            }
            latches.iter().try_for_each(|latch| latch.step(builder))?;
            if let Some(count) = &count {
                count.step(builder, again, depth);
            }
            Ok(())
        };
        match guard {
            Some(guard) => builder.in_branch(guard, run),
            None => run(builder),
        }
    })?;
    if let Some(count) = count {
        count.finish(builder, node, wanted);
    }
    match alive {
        Some(_) => latches.iter().for_each(|latch| latch.finish(builder)),
        None => carried.iter().for_each(|value| value.bind_final(builder, &trips)),
    }
    Ok(())
}

/// The trip count of a loop that collects values and may end early, and the largest count when it is cut. The
/// workspace has a size before the loop has run; a loop that wants more reports a length that the artifact refuses.
fn collected_trips(builder: &Builder, node: &Node) -> (Aff, Option<i64>) {
    let declared = node.input(0).and_then(|t| builder.graph.tensor(t).ints()).and_then(|v| v.first().copied());
    let params = &builder.program.params;
    let length = declared_trips(builder, node).and_then(|name| params.of_array(&name));
    let room = length.and_then(|id| params.get(id).max).unwrap_or(ROOM);
    match declared {
        Some(n) if n <= room => (Aff::constant(n.max(0)), None),
        _ => (Aff::constant(room), Some(room)),
    }
}

/// Can the trip count be another one in every step of the loops around?
fn trips_vary(builder: &Builder, node: &Node) -> bool {
    let Some(tensor) = node.input(0).filter(|_| builder.depth() > 0) else { return false };
    builder.graph.tensor(tensor).affs().is_none_or(|list| list.iter().any(|count| builder.varies(count)))
}

/// The trip count where it is not a number that import knows.
fn run_time_trips(builder: &mut Builder, node: &Node) -> Result<Option<Expr>> {
    match node.input(0) {
        Some(tensor) if builder.graph.tensor(tensor).ints().is_none() => scalar(builder, tensor).map(Some),
        _ => Ok(None),
    }
}

/// `condition`, for iteration `at` of at most `limit`.
fn within(condition: Expr, at: &Expr, limit: Option<&Expr>) -> Expr {
    match limit {
        Some(limit) => Expr::binary(BinaryOp::And, condition, Expr::binary(BinaryOp::Lt, at.clone(), limit.clone())),
        None => condition,
    }
}

/// Counts the iterations that ran: the length of what the loop collected.
struct Count {
    steps: ArrayId,
    /// Would one more iteration have run?
    unfinished: ArrayId,
}

impl Count {
    fn start(builder: &mut Builder, node: &Node) -> Result<Count> {
        let steps = builder.temp(&format!("{}_steps", node.name), DType::I64, vec![]);
        let unfinished = builder.temp(&format!("{}_unfinished", node.name), DType::Bool, vec![]);
        for (array, value) in [(steps, Expr::int(0)), (unfinished, Expr::literal(0.0, DType::Bool))] {
            let id = builder.assign(&[], array, vec![], value);
            builder.emit_perfect(id, 0);
        }
        Ok(Count { steps, unfinished })
    }

    fn step(&self, builder: &mut Builder, condition: Expr, depth: usize) {
        for (array, value) in [(self.steps, next(depth)), (self.unfinished, condition)] {
            let id = builder.statement(StatementKind::Update, &[], array, vec![], value);
            builder.emit_perfect(id, 0);
        }
    }

    /// Defines the parameter that shape inference gave to the length; `-1 - limit` when the loop was cut off, so that nothing
    /// runs over what it collected.
    fn finish(self, builder: &mut Builder, node: &Node, wanted: Option<i64>) {
        let Some(name) = declared_trips(builder, node) else { return };
        let steps = builder.load(self.steps, vec![]);
        let value = match wanted {
            None => steps,
            Some(limit) => {
                let reached = Expr::binary(BinaryOp::Ge, steps.clone(), Expr::int(limit));
                let cut = Expr::binary(BinaryOp::And, reached, builder.load(self.unfinished, vec![]));
                Expr::select(cut, Expr::int(-1 - limit), steps)
            }
        };
        let known = builder.program.params.of_array(&name);
        if let Some(id) = known.filter(|_| builder.depth() > 0) {
            return amounts::demand(builder, id, value);
        }
        let trips = builder.temp(&name, DType::I64, vec![]);
        if let Some(id) = known {
            // The array's name is made unique, and parameters find their array by name.
            let array = builder.program.array(trips).name.clone();
            let param = builder.program.params.get_mut(id);
            param.def = ParamDef::Value { array };
            param.max = wanted.map_or(param.max, |limit| Some(param.max.map_or(limit, |max| max.min(limit))));
        }
        let id = builder.assign(&[], trips, vec![], value);
        builder.emit_perfect(id, 0);
    }
}

/// State arrays for the loop-carried inputs, with their initial values.
fn carry(builder: &mut Builder, node: &Node, body: &Block, trips: &Aff) -> Result<Vec<Carried>> {
    let mut out = Vec::new();
    for n in 2..node.inputs.len() {
        let (Some(initial), Some(input)) = (node.input(n), body.inputs.get(n)) else {
            return Err(unsupported(builder, node));
        };
        out.push(Carried::start(builder, node, n - 2, initial, (*input, body.outputs[n - 1]), trips)?);
    }
    Ok(out)
}

/// `t + 1` for the host loop at `depth`.
pub fn next(depth: usize) -> Expr {
    Expr::Index(Aff::iter(depth) + Aff::constant(1))
}

/// The number of iterations as an affine expression; a run-time count becomes a parameter that is read from
/// a scalar array.
fn trip_count(builder: &mut Builder, node: &Node) -> Result<Aff> {
    let Some(tensor) = node.input(0) else { return Ok(Aff::constant(UNBOUNDED)) };
    let starts = start_condition(builder, node)?;
    if let (Some([count]), None) = (builder.graph.tensor(tensor).affs().as_deref(), &starts) {
        return Ok(match count.as_constant() {
            Some(n) => Aff::constant(n.clamp(0, UNBOUNDED)),
            None => count.clone(),
        });
    }
    let count = scalar(builder, tensor)?;
    let count = match starts {
        Some(starts) => Expr::select(starts, count, Expr::int(0)),
        None => count,
    };
    let known = declared_trips(builder, node).and_then(|name| builder.program.params.of_array(&name));
    if let Some(id) = known {
        amounts::demand(builder, id, Expr::binary(BinaryOp::Max, count, Expr::int(0)));
        return Ok(Aff::param(id));
    }
    let array = builder.temp(&format!("{}_trips", node.name), DType::I64, vec![]);
    let at_least_0 = Expr::binary(BinaryOp::Max, count, Expr::int(0));
    let id = builder.assign(&[], array, vec![], at_least_0);
    builder.emit_perfect(id, 0);
    let array = builder.program.array(array).name.clone();
    let id = builder.program.params.derived(ParamDef::Value { array });
    builder.program.params.get_mut(id).min = 0;
    builder.program.params.get_mut(id).hint = 16;
    Ok(Aff::param(id))
}

/// The array name that shape inference gave to the trip count, when a scan output's length is that parameter.
fn declared_trips(builder: &Builder, node: &Node) -> Option<String> {
    // What is carried may be as long as some other loop ran.
    let collected = node.outputs.iter().skip(node.inputs.len().saturating_sub(2)).flatten();
    let lengths = collected.filter_map(|o| builder.graph.tensor(*o).shape.first()?.as_param());
    let mut names = lengths.filter_map(|p| match &builder.program.params.get(p).def {
        ParamDef::Value { array } => Some(array.clone()),
        _ => None,
    });
    names.next()
}

/// Can the condition become false? Not when it starts true and the body returns true or its own input.
fn may_exit(builder: &Builder, node: &Node, body: &Block) -> bool {
    let is_true = |tensor: TensorId| builder.graph.tensor(tensor).ints().is_some_and(|v| v == [1]);
    !(node.input(1).is_none_or(is_true) && keeps_condition(builder, body))
}

/// Does the body return true or its own condition? Then the start decides between all iterations and none.
fn keeps_condition(builder: &Builder, body: &Block) -> bool {
    let is_true = |tensor: TensorId| builder.graph.tensor(tensor).ints().is_some_and(|v| v == [1]);
    let passes_on = |tensor: TensorId| {
        let source = body.nodes.iter().find(|n| n.output(0) == Some(tensor));
        Some(tensor) == body.inputs.get(1).copied()
            || source.is_some_and(|n| n.op == "Identity" && n.input(0) == body.inputs.get(1).copied())
    };
    body.outputs.first().is_none_or(|&t| is_true(t) || passes_on(t))
}

/// The condition to start with, where it is not known to be true.
fn start_condition(builder: &mut Builder, node: &Node) -> Result<Option<Expr>> {
    match node.input(1) {
        Some(tensor) if builder.graph.tensor(tensor).ints() != Some(vec![1]) => scalar(builder, tensor).map(Some),
        _ => Ok(None),
    }
}

/// `alive[t]`: does iteration `t` run?
fn alive_array(
    builder: &mut Builder,
    node: &Node,
    trips: &Aff,
    limit: Option<&Expr>,
    counters: Option<&Counters>,
) -> Result<ArrayId> {
    let planes = trips.clone() + Aff::constant(1);
    let alive = builder.temp(&format!("{}_alive", node.name), DType::Bool, vec![planes]);
    let initial = match node.input(1) {
        Some(tensor) => scalar(builder, tensor)?,
        None => Expr::literal(1.0, DType::Bool),
    };
    let initial = within(initial, &Expr::int(0), limit);
    let initial = match counters {
        Some(counters) => counters.start(builder, node, initial)?,
        None => initial,
    };
    let id = builder.assign(&[], alive, vec![Expr::int(0)], initial);
    builder.emit_perfect(id, 0);
    builder.program.exits.push(alive);
    Ok(alive)
}

/// Arrays of the outputs that collect one value per iteration, with the body tensors that give them.
fn scan_results(
    builder: &mut Builder,
    node: &Node,
    body: &Block,
    carried: usize,
    trips: &Aff,
    exits: bool,
) -> Result<Vec<(TensorId, ArrayId)>> {
    let mut out = Vec::new();
    for n in carried..node.outputs.len() {
        let Some(result) = node.output(n) else { continue };
        let array = if exits { collected(builder, result, trips) } else { builder.define(result) };
        out.push((body.outputs[n + 1], array));
    }
    Ok(out)
}

/// Room for `trips` values, of which the first `length` (the tensor's own extent) are there afterwards.
fn collected(builder: &mut Builder, result: TensorId, trips: &Aff) -> ArrayId {
    let mut extents = builder.shape(result);
    extents[0] = trips.clone();
    let name = format!("{}_collected", builder.graph.tensor(result).name);
    let array = builder.temp(&name, builder.dtype(result), extents);
    builder.bind_array(result, array);
    array
}

/// Gives the body's inputs their values in iteration `t`.
fn bind_body(builder: &mut Builder, body: &Block, carried: &[Carried], t: &Expr) -> Result<()> {
    if let Some(iteration) = body.inputs.first() {
        builder.bind(*iteration, t.clone());
    }
    if let Some(condition) = body.inputs.get(1) {
        builder.bind(*condition, Expr::literal(1.0, DType::Bool));
    }
    carried.iter().for_each(|value| value.bind(builder, t));
    body.inputs.iter().try_for_each(|input| amounts::define_input(builder, *input))
}

// ---- Scan ---------------------------------------------------------------------------------------------

/// ONNX `Scan` (opset 9 to 23): states, then one slice of every scan input per iteration.
pub fn extract_scan(builder: &mut Builder, node: &Node) -> Result<()> {
    let body = node.block("body").ok_or_else(|| unsupported(builder, node))?;
    if node.version < 9 {
        return Err(
            unsupported(builder, node).help("Scan of opset 8 has a batch dimension; export with opset 9 or later")
        );
    }
    let scan = ScanForm::of(builder, node)?;
    let mut carried = Vec::new();
    for n in 0..scan.states {
        let initial = node.input(n).ok_or_else(|| unsupported(builder, node))?;
        carried.push(Carried::start(builder, node, n, initial, (body.inputs[n], body.outputs[n]), &scan.length)?);
    }
    let results: Vec<Option<ArrayId>> =
        (scan.states..node.outputs.len()).map(|n| node.output(n).map(|o| builder.define(o))).collect();
    let depth = builder.depth();
    builder.in_loop("t", scan.length.clone(), |builder| {
        let t = Expr::iter(depth);
        carried.iter().for_each(|value| value.bind(builder, &t));
        for (n, input) in body.inputs[scan.states..].iter().enumerate() {
            scan.bind_slice(builder, node, n, *input, depth)?;
        }
        body.inputs.iter().try_for_each(|input| amounts::define_input(builder, *input))?;
        extract_block(builder, body)?;
        carried.iter().try_for_each(|value| value.advance(builder, depth))?;
        for (n, result) in results.iter().enumerate() {
            if let Some(array) = result {
                scan.store_slice(builder, n, body.outputs[scan.states + n], *array, depth)?;
            }
        }
        Ok(())
    })?;
    carried.iter().for_each(|value| value.bind_final(builder, &scan.length));
    Ok(())
}

/// The attributes of a `Scan`.
struct ScanForm {
    states: usize,
    length: Aff,
    /// Per scan input and per scan output: axis (non-negative) and whether time runs backwards.
    inputs: Vec<(usize, bool)>,
    outputs: Vec<(usize, bool)>,
}

impl ScanForm {
    fn of(builder: &Builder, node: &Node) -> Result<ScanForm> {
        let scans = node.int("num_scan_inputs").unwrap_or(0) as usize;
        let states = node.inputs.len().checked_sub(scans).ok_or_else(|| unsupported(builder, node))?;
        let entry = |attribute: &str, n: usize| node.ints(attribute).and_then(|v| v.get(n).copied()).unwrap_or(0);
        let form = |kind: &str, tensors: &[Option<TensorId>]| {
            let axis = |n: usize, tensor: &Option<TensorId>| {
                let rank = tensor.map_or(0, |t| builder.shape(t).len()) as i64;
                let axis = entry(&format!("scan_{kind}_axes"), n);
                let backwards = entry(&format!("scan_{kind}_directions"), n) == 1;
                ((if axis < 0 { axis + rank } else { axis }) as usize, backwards)
            };
            tensors.iter().enumerate().map(|(n, t)| axis(n, t)).collect::<Vec<_>>()
        };
        let inputs = form("input", &node.inputs[states..]);
        let outputs = form("output", node.outputs.get(states..).unwrap_or(&[]));
        let first = node.input(states).ok_or_else(|| unsupported(builder, node))?;
        let length = builder.shape(first).get(inputs[0].0).cloned().ok_or_else(|| unsupported(builder, node))?;
        Ok(ScanForm { states, length, inputs, outputs })
    }

    /// Position along the axis in iteration `t`.
    fn position(&self, backwards: bool, depth: usize) -> Expr {
        let t = Aff::iter(depth);
        Expr::Index(if backwards { self.length.clone() - Aff::constant(1) - t } else { t })
    }

    fn bind_slice(&self, builder: &mut Builder, node: &Node, n: usize, slice: TensorId, depth: usize) -> Result<()> {
        let source = node.input(self.states + n).ok_or_else(|| unsupported(builder, node))?;
        let (axis, backwards) = self.inputs[n];
        let mut index = builder.iters(builder.shape(slice).len());
        index.insert(axis, self.position(backwards, depth));
        builder.alias(slice, source, &index)
    }

    fn store_slice(
        &self,
        builder: &mut Builder,
        n: usize,
        slice: TensorId,
        array: ArrayId,
        depth: usize,
    ) -> Result<()> {
        let (axis, backwards) = self.outputs[n];
        let own = dims("i", &builder.shape(slice));
        let index = builder.iters(own.len());
        let value = builder.read(slice, &index)?;
        let mut target = index;
        target.insert(axis, self.position(backwards, depth));
        let id = builder.assign(&own, array, target, value);
        builder.emit_perfect(id, own.len());
        Ok(())
    }
}
