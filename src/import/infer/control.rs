//! `If`, `Loop` and `Scan`.

use super::assume::{Fact, hull};
use super::context::{Context, State, Step, Stop};
use super::{batch_scan, carried, counter, grow, sequence, single};
use crate::graph::{Attribute, Block, COUNTERS, Node, TensorId, sources};
use crate::import::inputs::identifier;
use sirius_polyhedral::{Aff, DType, Error, Param, ParamDef};

impl Context<'_> {
    /// A decided branch takes the node's place; otherwise both branches are inferred and must agree.
    pub fn if_node(&mut self, mut node: Node, out: &mut Vec<Node>) -> Step {
        let condition = node.input(0).ok_or_else(|| Error::invalid("E113", "an If needs a condition"))?;
        let then_branch = Self::take_block(&mut node, "then_branch")?;
        let else_branch = Self::take_block(&mut node, "else_branch")?;
        let value = self.graph.tensor(condition).ints().and_then(|v| v.first().copied());
        match value.map(|v| v != 0).or_else(|| self.known.decided(&node.name)) {
            Some(true) => self.inline(&node, then_branch, out),
            Some(false) => self.inline(&node, else_branch, out),
            None => self.undecided_if(node, condition, then_branch, else_branch, out),
        }
    }

    fn inline(&mut self, node: &Node, branch: Block, out: &mut Vec<Node>) -> Step {
        if branch.outputs.len() < node.outputs.len() {
            return Err(Error::invalid("E113", "a branch has fewer outputs than its If").into());
        }
        self.nodes(branch.nodes, out)?;
        for (output, value) in node.outputs.iter().zip(branch.outputs) {
            if let Some(output) = output {
                let root = self.root(value);
                self.aliases.insert(*output, root);
            }
        }
        Ok(())
    }

    fn undecided_if(
        &mut self,
        mut node: Node,
        condition: TensorId,
        then_branch: Block,
        else_branch: Block,
        out: &mut Vec<Node>,
    ) -> Step {
        let keys = [format!("{}/then", node.name), format!("{}/else", node.name)];
        let (problems, unequal) = (self.problems.len(), self.unequal.len());
        let (spare_then, spare_else) = (then_branch.clone(), else_branch.clone());
        let then_result = self.in_branch(&keys[0], |cx| cx.block(then_branch));
        let else_result = self.in_branch(&keys[1], |cx| cx.block(else_branch));
        let (mut then_block, mut else_block) = match (then_result, else_result) {
            (Err(Stop::Restart(fact)), _) | (_, Err(Stop::Restart(fact))) => return Err(Stop::Restart(fact)),
            (Err(Stop::Error(error)), Err(_)) => return Err(error.into()),
            (Ok(_), Err(Stop::Error(error))) => {
                self.problems.truncate(problems);
                self.unequal.truncate(unequal);
                return self.only_branch(&node, spare_then, "else", &error, out);
            }
            (Err(Stop::Error(error)), Ok(_)) => {
                self.problems.truncate(problems);
                self.unequal.truncate(unequal);
                return self.only_branch(&node, spare_else, "then", &error, out);
            }
            (Ok(then_block), Ok(else_block)) => (then_block, else_block),
        };
        self.widen(&keys)?;
        self.spread_branches(&mut node, [&mut then_block, &mut else_block])?;
        self.merge(&node, condition, &mut then_block, &mut else_block)?;
        for (name, key) in ["then_needs", "else_needs"].into_iter().zip(&keys) {
            if let Some(needs) = self.branch_needs(key)? {
                node.attributes.insert(name.to_string(), Attribute::Tensor(needs));
            }
        }
        Self::put_block(&mut node, "then_branch", then_block);
        Self::put_block(&mut node, "else_branch", else_block);
        out.push(node);
        Ok(())
    }

    /// A branch that cannot run with these shapes is taken to be never chosen.
    fn only_branch(&mut self, node: &Node, branch: Block, bad: &str, error: &Error, out: &mut Vec<Node>) -> Step {
        if !matches!(error, Error::Invalid(_)) {
            return Err(error.clone().into());
        }
        let name = &node.name;
        tracing::warn!(
            "If \"{name}\": the {bad} branch cannot run with these dimensions, so the other is taken: {error}"
        );
        self.inline(node, branch, out)?;
        self.must_choose(node, i64::from(bad == "else"), out)
    }

    /// What holds inside either branch bounds the dimension outside.
    fn widen(&mut self, keys: &[String; 2]) -> Step {
        let outer = self.branches.last().map(String::as_str);
        for (dim, range) in self.known.ranges(Some(&keys[0])) {
            let Some((_, other)) = self.known.ranges(Some(&keys[1])).find(|(d, _)| *d == dim) else { continue };
            let wanted = hull(range, other);
            let Some(id) = self.graph.params.find(dim) else { continue };
            let now = self.param_range(id);
            if super::assume::intersect(now, wanted) != now {
                let (branch, dim) = (outer.map(str::to_string), dim.to_string());
                return Err(Stop::Restart(Fact::Range { branch, dim, range: wanted }));
            }
        }
        Ok(())
    }

    /// The outputs of both branches must have one type and shape.
    fn merge(&mut self, node: &Node, condition: TensorId, then_block: &mut Block, else_block: &mut Block) -> Step {
        let count = node.outputs.len();
        if then_block.outputs.len() < count || else_block.outputs.len() < count {
            return Err(Error::invalid("E113", "a branch has fewer outputs than its If").into());
        }
        for n in 0..count {
            let Some(output) = node.output(n) else { continue };
            single::same_rank(self, [&mut *then_block, &mut *else_block], n)?;
            let (a, b) = (then_block.outputs[n], else_block.outputs[n]);
            if self.state(a) == State::Failed || self.state(b) == State::Failed {
                self.fail(output);
                continue;
            }
            let ((dtype, left), (other, right)) = (self.type_of(a), self.type_of(b));
            if left.len() != right.len() || dtype != other {
                return Err(self.choose(node, condition, n));
            }
            let shape = self.merge_shapes(node, left, right, n)?;
            self.set_tensor(output, dtype, shape)?;
        }
        Ok(())
    }

    fn merge_shapes(&mut self, node: &Node, left: Vec<Aff>, right: Vec<Aff>, n: usize) -> Step<Vec<Aff>> {
        let mut shape = Vec::new();
        for (d, (a, b)) in left.iter().zip(&right).enumerate() {
            let one = self.equal(a, b) == Some(true) || !self.fact_for_zero(&(a.clone() - b.clone())).is_empty();
            shape.push(match one {
                true => self.same(a, b)?,
                false => self.either_extent(node, a, b, (n, d))?,
            });
        }
        Ok(shape)
    }

    /// Extent `d` of output `n`: that of the branch which the run takes.
    fn either_extent(&mut self, node: &Node, a: &Aff, b: &Aff, (n, d): (usize, usize)) -> Step<Aff> {
        let (Some(most_a), Some(most_b)) = (self.limit(a), self.limit(b)) else {
            let message = format!("the branches of an If give output {n} different sizes, and nothing bounds them");
            return Err(Error::unsupported("E112", message).help("fix the input size with --dim").into());
        };
        let (limit, least) = (self.max(&most_a, &most_b), self.range(a).0.min(self.range(b).0).unwrap_or(0).max(0));
        let def = ParamDef::Value { array: node.extent_name(n, d) };
        let name = format!("{}_size{n}_{d}", identifier(&node.name));
        let max = self.range(&limit).1;
        let hint = self.graph.params.hint(&limit).clamp(least, max.unwrap_or(i64::MAX).max(least));
        let size = Aff::param(self.graph.params.push(Param { name, def, min: least, max, hint }));
        Ok(if limit.as_constant().is_some() { size } else { self.min(&size, &limit) })
    }

    /// The branches differ in rank, so the rest of the graph fits only one of them. An exporter writes this
    /// for `x.squeeze(axis)`: the `then` branch holds where a dimension is 1. Take that one first, with the
    /// range of the input dimension in which the condition holds.
    fn choose(&self, node: &Node, condition: TensorId, output: usize) -> Stop {
        let facts = match self.conditions.get(&condition) {
            Some((difference, true)) => self.fact_for_zero(difference),
            _ => Vec::new(),
        };
        // Without a fact nothing would check at run time that the guess holds.
        if facts.is_empty() {
            let message = format!("the branches of an If give output {output} different ranks or types");
            let help = "fix the input size with --dim, so that the condition is known";
            return Error::unsupported("E112", message).help(help).into();
        }
        Stop::Restart(Fact::Then { node: node.name.clone(), facts })
    }

    /// Inputs: trip count, condition, carried values. Outputs: carried values, scan outputs.
    pub fn loop_node(&mut self, node: Node, out: &mut Vec<Node>) -> Step {
        let mut node = node;
        let mut body = Self::take_block(&mut node, "body")?;
        if node.inputs.iter().flatten().any(|&id| self.state(id) == State::Composite) {
            return self.unroll(&node, &body, out);
        }
        carried::drop_unchanged(self, &mut node, &mut body);
        let growing = grow::rewrite(self, &mut node, &mut body);
        let carried = node.inputs.len().saturating_sub(2);
        if body.inputs.len() != carried + 2 || body.outputs.len() < carried + 1 {
            let message = format!("a Loop with {carried} carried values has a body with other numbers of values");
            return Err(Error::invalid("E113", message).into());
        }
        self.set_tensor(body.inputs[0], DType::I64, vec![])?;
        self.set_tensor(body.inputs[1], DType::Bool, vec![])?;
        let first = self.graph.params.len();
        let mut initial = self.carry_in(&node.inputs[2..], &body.inputs[2..])?;
        let unread: Vec<usize> = (0..carried).filter(|k| carried::is_unread(&body, body.inputs[2 + k])).collect();
        self.open_sizes(&node, &body.inputs[2..], &mut initial)?;
        let continues = self.always_continues(&node, &body);
        let counters = counter::open(self, &node, &body);
        let mut body = self.block(body)?;
        let checked = counter::close(self, &node, &body, &counters)?;
        if body.outputs.iter().any(|&id| self.state(id) == State::Failed) {
            self.fail_outputs(&node);
            growing.iter().for_each(|g| self.fail(g.output()));
            return Ok(());
        }
        self.tensors_only(&node, &body)?;
        let checks = !checked.is_empty();
        if checks {
            node.attributes.insert(COUNTERS.to_string(), Attribute::Ints(checked));
        }
        let forever = !checks && (continues || self.graph.tensor(body.outputs[0]).ints() == Some(vec![1]));
        self.retype_unread(&mut node, &body, &unread, &mut initial, out)?;
        for (k, (_, shape)) in initial.iter().enumerate() {
            single::fit_rank(self, &mut body, 1 + k, shape.len())?;
        }
        self.carry_out(&node, &initial, &body.outputs[1..=carried], first)?;
        if node.outputs.len() > carried {
            let trips = self.trip_count(&node, forever)?;
            for (output, &slice) in node.outputs[carried..].iter().zip(&body.outputs[1 + carried..]) {
                let Some(output) = output else { continue };
                let (dtype, mut shape) = self.slice_type(&node, slice, first)?;
                shape.insert(0, trips.clone());
                self.set_tensor(*output, dtype, shape)?;
            }
        }
        Self::put_block(&mut node, "body", body);
        out.push(node);
        growing.into_iter().try_for_each(|g| g.restore(self, out))
    }

    /// The type of what a loop collects of every step; the body has the parameters from number `first` on.
    fn slice_type(&self, node: &Node, slice: TensorId, first: usize) -> Step<(DType, Vec<Aff>)> {
        let (dtype, shape) = self.type_of(slice);
        if shape.iter().any(|extent| self.is_local(extent, first)) {
            let message = format!(
                "the steps of a loop give \"{}\" sizes of their own ([{}]), and what it collects has one size",
                self.graph.tensor(slice).name,
                self.show_shape(&shape)
            );
            // With a known number of steps, their sizes may turn out to be one.
            let trips = node.input(0).filter(|id| node.op == "Loop" && self.graph.tensor(*id).ints().is_none());
            let advice = trips.map(|id| sources::advice(self.draft, &self.graph.params, id));
            let help = advice.unwrap_or_else(|| "give every step's value one size, with Pad".to_string());
            return Err(Error::unsupported("E112", message).help(help).into());
        }
        Ok((dtype, shape))
    }

    fn tensors_only(&self, node: &Node, body: &Block) -> Step {
        match body.outputs.iter().any(|&id| self.state(id) == State::Composite) {
            true => Err(sequence::error(node).into()),
            false => Ok(()),
        }
    }

    /// Gives the body's carried inputs the types of the initial values.
    fn carry_in(&mut self, values: &[Option<TensorId>], inputs: &[TensorId]) -> Step<Vec<(DType, Vec<Aff>)>> {
        let mut types = Vec::new();
        for (value, &input) in values.iter().zip(inputs) {
            let value = value.ok_or_else(|| Error::invalid("E113", "a carried value is missing"))?;
            let (dtype, shape) = self.type_of(value);
            self.set_tensor(input, dtype, shape.clone())?;
            types.push((dtype, shape));
        }
        Ok(types)
    }

    /// A value that no step reads has its last step's type, when there is a step.
    fn retype_unread(
        &mut self,
        node: &mut Node,
        body: &Block,
        unread: &[usize],
        initial: &mut [(DType, Vec<Aff>)],
        out: &mut Vec<Node>,
    ) -> Step {
        for &k in unread.iter().filter(|_| carried::runs(self, node)).collect::<Vec<_>>() {
            let (dtype, shape) = self.type_of(body.outputs[1 + k]);
            if initial[k] != (dtype, shape.clone()) {
                let zeros = carried::placeholder(self, &node.name, dtype, shape.clone(), out)?;
                node.inputs[2 + k] = Some(zeros);
                self.set_tensor(body.inputs[2 + k], dtype, shape.clone())?;
                initial[k] = (dtype, shape);
            }
        }
        Ok(())
    }

    /// Extents of carried values that are known to change from step to step become parameters.
    fn open_sizes(&mut self, node: &Node, inputs: &[TensorId], initial: &mut [(DType, Vec<Aff>)]) -> Step {
        for (k, (dtype, shape)) in initial.iter_mut().enumerate() {
            for (d, extent) in shape.iter_mut().enumerate() {
                let array = node.carried_name(k, d);
                if self.known.is_amount(&array) {
                    *extent = self.size_param(&format!("{}_size{d}", self.graph.tensor(inputs[k]).name), array);
                }
            }
            self.set_tensor(inputs[k], *dtype, shape.clone())?;
        }
        Ok(())
    }

    /// A computed extent; its bound is a convention.
    fn size_param(&mut self, name: &str, array: String) -> Aff {
        let mut name = identifier(name);
        while self.graph.params.find(&name).is_some() {
            name.push('_');
        }
        let max = self.known_range(&name).1;
        let hint = 16.min(max.unwrap_or(16));
        Aff::param(self.graph.params.push(Param { name, def: ParamDef::Value { array }, min: 0, max, hint }))
    }

    /// The results have the type of the initial values. An extent that a step changes is one of every step, and the
    /// result's is that of the last.
    fn carry_out(&mut self, node: &Node, initial: &[(DType, Vec<Aff>)], next: &[TensorId], first: usize) -> Step {
        for (k, ((dtype, shape), &value)) in initial.iter().zip(next).enumerate() {
            let (other, after) = self.type_of(value);
            let mut agree = *dtype == other && shape.len() == after.len();
            let mut result = shape.clone();
            for (d, (a, b)) in shape.iter().zip(&after).enumerate() {
                if self.known.is_amount(&node.carried_name(k, d)) {
                    let name = format!("{}_size{k}_{d}", node.name);
                    result[d] = self.size_param(&name, node.extent_name(k, d));
                    continue;
                }
                let changes = match self.is_local(b, first) {
                    true => true,
                    false => match self.same(a, b) {
                        Ok(_) => false,
                        Err(Stop::Error(_)) => true,
                        restart => return restart.map(|_| ()),
                    },
                };
                if changes && agree && node.op == "Loop" {
                    return Err(Stop::Restart(Fact::Amounts(vec![node.carried_name(k, d)])));
                }
                agree &= !changes;
            }
            if !agree {
                let (before, after) = (self.show_shape(shape), self.show_shape(&after));
                let message = format!(
                    "carried value {k} changes from {dtype}[{before}] to {other}[{after}] in one step of the loop"
                );
                return Err(Error::unsupported("E112", message).into());
            }
            if let Some(output) = node.output(k) {
                self.set_tensor(output, *dtype, result)?;
            }
        }
        Ok(())
    }

    /// Does the body hand on its condition unchanged, from a start that is true or absent?
    fn always_continues(&self, node: &Node, body: &Block) -> bool {
        let start = node.input(1).is_none_or(|id| self.graph.tensor(id).ints() == Some(vec![1]));
        let mut at = body.outputs[0];
        while let Some(copy) = body.nodes.iter().find(|n| n.op == "Identity" && n.output(0) == Some(at)) {
            let Some(source) = copy.input(0) else { break };
            at = source;
        }
        start && (at == body.inputs[1] || self.graph.tensor(at).ints() == Some(vec![1]))
    }

    /// The number of steps: the declared count where nothing can end the loop earlier, else a parameter.
    fn trip_count(&mut self, node: &Node, forever: bool) -> Step<Aff> {
        let declared = node.input(0).and_then(|id| self.graph.tensor(id).affs()).and_then(|v| v.first().cloned());
        if let (Some(count), true) = (&declared, forever) {
            let count = count.clone();
            return Ok(self.max(&count, &Aff::constant(0)));
        }
        let name = format!("{}_trips", identifier(&node.name));
        let (_, asked) = self.known_range(&name);
        let longest = declared.and_then(|count| self.range(&count).1).map(|n| n.clamp(0, self.limits.room));
        let longest = longest.unwrap_or(self.limits.room);
        let def = ParamDef::Value { array: name.clone() };
        let (hint, max) = (longest.min(16), Some(asked.map_or(longest, |most| most.min(longest))));
        Ok(Aff::param(self.graph.params.push(Param { name, def, min: 0, max, hint })))
    }

    /// Inputs: states, then sequences. Outputs: final states, then sequences.
    pub fn scan_node(&mut self, mut node: Node, out: &mut Vec<Node>) -> Step {
        if node.version < 9 {
            let node = batch_scan::modernize(self, node)?;
            return self.scan_node(node, out);
        }
        let body = Self::take_block(&mut node, "body")?;
        let sequences = usize::try_from(node.int("num_scan_inputs").unwrap_or(0)).unwrap_or(0);
        let states = node.inputs.len().checked_sub(sequences).filter(|_| sequences > 0);
        let counts = states.filter(|&s| body.inputs.len() == s + sequences && body.outputs.len() >= s);
        let states =
            counts.ok_or_else(|| Error::invalid("E113", "a Scan and its body have different numbers of values"))?;
        let initial = self.carry_in(&node.inputs[..states], &body.inputs[..states])?;
        let length = self.scan_inputs(&node, states, &body.inputs[states..])?;
        let first = self.graph.params.len();
        let body = self.block(body)?;
        if body.outputs.iter().any(|&id| self.state(id) == State::Failed) {
            self.fail_outputs(&node);
            return Ok(());
        }
        self.tensors_only(&node, &body)?;
        self.carry_out(&node, &initial, &body.outputs[..states], first)?;
        for (k, &slice) in body.outputs[states..].iter().enumerate() {
            let Some(output) = node.output(states + k) else { continue };
            let (dtype, mut shape) = self.slice_type(&node, slice, first)?;
            let axis = scan_axis(&node, "scan_output_axes", k, shape.len() + 1)?;
            shape.insert(axis, length.clone());
            self.set_tensor(output, dtype, shape)?;
        }
        Self::put_block(&mut node, "body", body);
        out.push(node);
        Ok(())
    }

    /// Gives the body's slices their types; the common length of the sequences.
    fn scan_inputs(&mut self, node: &Node, states: usize, slices: &[TensorId]) -> Step<Aff> {
        let mut length: Option<Aff> = None;
        for (k, &slice) in slices.iter().enumerate() {
            let input = node.input(states + k).ok_or_else(|| Error::invalid("E113", "a scan input is missing"))?;
            let (dtype, mut shape) = self.type_of(input);
            let axis = scan_axis(node, "scan_input_axes", k, shape.len())?;
            let extent = shape.remove(axis);
            length = Some(match length {
                Some(known) => self.same(&known, &extent)?,
                None => extent,
            });
            self.set_tensor(slice, dtype, shape)?;
        }
        length.ok_or_else(|| Error::invalid("E113", "a Scan needs a sequence").into())
    }
}

fn scan_axis(node: &Node, attribute: &str, k: usize, rank: usize) -> Step<usize> {
    let axis = node.ints(attribute).and_then(|axes| axes.get(k)).copied().unwrap_or(0);
    let index = if axis < 0 { axis + rank as i64 } else { axis };
    if (0..rank as i64).contains(&index) {
        return Ok(index as usize);
    }
    Err(Error::invalid("E113", format!("{attribute} has {axis} for a tensor of rank {rank}")).into())
}
