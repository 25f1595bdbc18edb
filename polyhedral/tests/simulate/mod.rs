//! Executes a schedule instance by instance, in one of the orders that its marks allow, on concrete sizes.
//!
//! It knows nothing of dependences: a schedule under which some execution gives other outputs than the program run in
//! order is wrong, whatever a checker thinks of it. Iterations of parallel loops and workers of a team are interleaved
//! between the reads and the write of an instance; lockstep iterations run statement by statement.

use sirius_polyhedral::schedule_tree::Mark;
use sirius_polyhedral::*;
use std::collections::{BTreeMap, HashMap};

/// How choices are made where the marks leave one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Everything as it stands in the tree.
    InOrder,
    /// The last iteration, or worker, first.
    Backwards,
    /// By chance.
    Random(u64),
}

type Point = Vec<i64>;
/// Does it lie in a slot; number of the slot or array; place in it.
type Cell = (bool, usize, i64);
type Points = BTreeMap<StatementId, Vec<Point>>;

/// The outputs of one execution; cells that nobody wrote read as NaN. Dimensions take their hints.
pub fn outputs(program: &Program, choice: Choice) -> Result<Vec<Vec<f64>>> {
    let mut machine = Machine::new(program, choice);
    let all: Points = program.statements().map(|(id, _)| (id, machine.points(id))).collect();
    let work: Vec<Work> = program.schedule.roots.iter().map(|root| machine.work(root, &all, true)).collect();
    let team = program.schedule.team();
    let mut workers: Vec<Vec<Step>> = Vec::new();
    for worker in 0..team {
        let mut steps = Vec::new();
        work.iter().for_each(|w| machine.steps(w, (team > 1).then_some(worker), None, &mut steps));
        steps.reverse();
        workers.push(steps);
    }
    machine.run(workers)?;
    Ok(program.outputs.iter().map(|id| machine.values(*id)).collect())
}

/// What there is to do, as the tree has it.
enum Work {
    /// Lockstep instances of one statement.
    Run(StatementId, Vec<Point>),
    InTurn(Vec<Work>),
    AnyOrder(Vec<Work>),
    Owned(u32, Box<Work>),
    Barrier,
}

/// What one worker does, one after another.
enum Step {
    Read(usize, StatementId, Point),
    Write(usize),
    Barrier,
}

struct Machine<'p> {
    program: &'p Program,
    choice: Choice,
    state: u64,
    memory: HashMap<Cell, Scalar>,
    /// Values read and not yet written, with their cells.
    pending: HashMap<usize, Option<(Cell, Scalar)>>,
    tasks: usize,
}

impl<'p> Machine<'p> {
    fn new(program: &'p Program, choice: Choice) -> Machine<'p> {
        let state = if let Choice::Random(seed) = choice { seed } else { 0 };
        let (memory, pending) = (HashMap::new(), HashMap::new());
        let mut machine = Machine { program, choice, state, memory, pending, tasks: 0 };
        let ids = program.inputs.iter().copied();
        let constants = program.arrays().filter(|(_, a)| matches!(a.role, Role::Constant(_))).map(|(id, _)| id);
        for id in ids.chain(constants) {
            let array = program.array(id);
            for at in 0..machine.count(id) {
                let value = match &array.role {
                    Role::Constant(data) => scalar::read(data.bytes(), at as usize, array.dtype),
                    _ => input(at, array.dtype),
                };
                machine.memory.insert((false, id.0 as usize, at), value);
            }
        }
        machine
    }

    fn aff(&self, aff: &Aff, point: &[i64]) -> i64 {
        aff.eval(&|p| self.program.params.get(p).hint, &|n| point[n])
    }

    fn count(&self, id: ArrayId) -> i64 {
        self.program.array(id).extents.iter().map(|e| self.aff(e, &[])).product()
    }

    /// The domain.
    fn points(&self, id: StatementId) -> Vec<Point> {
        let statement = self.program.statement(id);
        let mut out: Vec<Point> = vec![vec![]];
        for extent in &statement.extents {
            let longer = |p: Point| {
                let n = self.aff(extent, &p);
                (0..n).map(move |v| [p.as_slice(), &[v]].concat())
            };
            out = out.into_iter().flat_map(longer).collect();
        }
        out.retain(|p| statement.constraints.iter().all(|c| self.aff(c, p) >= 0));
        out
    }

    fn work(&self, node: &Node, points: &Points, root: bool) -> Work {
        let band = match node {
            Node::Leaf(id) => return Work::Run(*id, points.get(id).cloned().unwrap_or_default()),
            Node::Band(band) => band,
        };
        let body = |points: &Points| Work::InTurn(band.body.iter().map(|n| self.work(n, points, false)).collect());
        if band.mark.is_lockstep() {
            return body(points);
        }
        let mut iterations: BTreeMap<i64, Points> = BTreeMap::new();
        for (id, value) in &band.members {
            for point in points.get(id).into_iter().flatten() {
                let at = self.aff(value, point);
                iterations.entry(at).or_default().entry(*id).or_default().push(point.clone());
            }
        }
        if band.mark == Mark::Barrier && root && iterations.is_empty() {
            return Work::Barrier;
        }
        let one = |(at, points): (&i64, &Points)| match band.mark {
            Mark::Barrier => Work::InTurn(vec![Work::Barrier, body(points)]),
            Mark::Team(n) => Work::Owned(at.rem_euclid(i64::from(n)) as u32, Box::new(body(points))),
            _ => body(points),
        };
        let all = iterations.iter().map(one).collect();
        if band.mark == Mark::Parallel { Work::AnyOrder(all) } else { Work::InTurn(all) }
    }

    /// The steps of one worker, or of the only one. `owner` is the worker of the loop around.
    fn steps(&mut self, work: &Work, worker: Option<u32>, owner: Option<u32>, out: &mut Vec<Step>) {
        match work {
            Work::Barrier => out.extend(worker.map(|_| Step::Barrier)),
            Work::InTurn(all) => all.iter().for_each(|w| self.steps(w, worker, owner, out)),
            Work::Owned(own, inside) => self.steps(inside, worker, Some(*own), out),
            Work::AnyOrder(all) => {
                let mut threads = Vec::new();
                for w in all {
                    let mut steps = Vec::new();
                    self.steps(w, worker, owner, &mut steps);
                    steps.reverse();
                    threads.push(steps);
                }
                while let Some(n) = self.choose(&threads.iter().map(|t| !t.is_empty()).collect::<Vec<_>>()) {
                    out.extend(threads[n].pop());
                }
            }
            Work::Run(id, points) if worker.is_none_or(|w| w == owner.unwrap_or(0)) => self.lockstep(*id, points, out),
            Work::Run(..) => {}
        }
    }

    fn lockstep(&mut self, id: StatementId, points: &[Point], out: &mut Vec<Step>) {
        let reduces = matches!(self.program.statement(id).kind, StatementKind::Reduce(_));
        let together = !reduces && self.choice != Choice::InOrder && self.below(2) == 0;
        let mut order: Vec<&Point> = points.iter().collect();
        if self.choice == Choice::Backwards {
            order.reverse();
        }
        let first = self.tasks;
        for (n, point) in order.iter().enumerate() {
            out.push(Step::Read(first + n, id, point.to_vec()));
            if !together {
                out.push(Step::Write(first + n));
            }
        }
        if together {
            out.extend((0..order.len()).map(|n| Step::Write(first + n)));
        }
        self.tasks += order.len();
    }

    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.state >> 33) as usize % n
    }

    /// One of those that can go on.
    fn choose(&mut self, able: &[bool]) -> Option<usize> {
        let open: Vec<usize> = (0..able.len()).filter(|n| able[*n]).collect();
        match self.choice {
            _ if open.is_empty() => None,
            Choice::InOrder => open.first().copied(),
            Choice::Backwards => open.last().copied(),
            Choice::Random(_) => Some(open[self.below(open.len())]),
        }
    }

    fn run(&mut self, mut workers: Vec<Vec<Step>>) -> Result<()> {
        loop {
            let able: Vec<bool> =
                workers.iter().map(|w| w.last().is_some_and(|s| !matches!(s, Step::Barrier))).collect();
            match self.choose(&able) {
                Some(n) => match workers[n].pop() {
                    Some(Step::Read(task, id, point)) => self.read(task, id, &point)?,
                    Some(Step::Write(task)) => self.write(task),
                    _ => {}
                },
                // All stand at a barrier, or are done.
                None if workers.iter().all(Vec::is_empty) => return Ok(()),
                None => workers.iter_mut().for_each(|w| drop(w.pop())),
            }
        }
    }

    fn read(&mut self, task: usize, id: StatementId, point: &[i64]) -> Result<()> {
        let statement = self.program.statement(id);
        let runs = statement.guard.as_ref().map_or(Ok(true), |g| Ok(scalar::to_int(self.eval(g, point)?) != 0))?;
        let mut done = None;
        if runs {
            let value = self.eval(&statement.value, point)?;
            let index = statement.target.index.iter().map(|e| self.eval(e, point).map(scalar::to_int));
            let cell = self.cell(statement.target.array, &index.collect::<Result<Vec<i64>>>()?);
            let dtype = self.program.array(statement.target.array).dtype;
            let value = match statement.kind {
                StatementKind::Reduce(op) => scalar::binary(op, self.load(cell, dtype), value),
                _ => value,
            };
            done = Some((cell, scalar::cast(value, dtype)));
        }
        self.pending.insert(task, done);
        Ok(())
    }

    fn write(&mut self, task: usize) {
        if let Some(Some((cell, value))) = self.pending.remove(&task) {
            self.memory.insert(cell, value);
        }
    }

    fn eval(&self, expr: &Expr, point: &[i64]) -> Result<Scalar> {
        let load = |id: ArrayId, index: &[i64]| Ok(self.load(self.cell(id, index), self.program.array(id).dtype));
        scalar::eval(expr, &|a| Ok(self.aff(a, point)), &load)
    }

    fn load(&self, cell: Cell, dtype: DType) -> Scalar {
        let nothing = if dtype.is_float() { f64::NAN } else { 77.0 };
        scalar::cast(self.memory.get(&cell).copied().unwrap_or(Scalar::of(nothing, dtype)), dtype)
    }

    /// Where an element lives: folds and slots applied.
    fn cell(&self, id: ArrayId, index: &[i64]) -> Cell {
        let array = self.program.array(id);
        let mut at = 0;
        for ((i, extent), fold) in index.iter().zip(&array.extents).zip(&array.fold) {
            at = fold.map_or_else(|| at * self.aff(extent, &[]) + i, |w| at * w + i.rem_euclid(w));
        }
        match array.placement {
            Some(program::Placement::Slot(slot)) => (true, slot, at),
            _ => (false, id.0 as usize, at),
        }
    }

    fn values(&self, id: ArrayId) -> Vec<f64> {
        let dtype = self.program.array(id).dtype;
        (0..self.count(id)).map(|at| self.load((false, id.0 as usize, at), dtype).as_f64()).collect()
    }
}

/// Made-up inputs: different in every element, so that a value in the wrong place shows.
fn input(at: i64, dtype: DType) -> Scalar {
    let step = (at * 37 + 11) % 101;
    Scalar::of(if dtype.is_float() { step as f64 / 32.0 - 1.5 } else { (step % 2) as f64 }, dtype)
}
