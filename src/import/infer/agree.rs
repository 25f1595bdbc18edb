//! What inference relies on and only the run can tell: extents that must be equal though the program computes them,
//! and sizes without which a branch has no meaning. The run looks, and refuses; nothing is read outside.
//!
//! An operator whose operands must agree in a computed extent gets them through [`EXPECT`] nodes. Each hands on the
//! part that all operands have and marks the run where an operand is larger, so the operator's own loops stay inside.
//!
//! A branch of an undecided `If` may need sizes that the other does not. It runs where its condition and its needs
//! hold; where only the condition does, the run is marked.

use super::context::{Context, State, Step};
use super::site::Site;
use super::table::Rule;
use crate::graph::{Attribute, CHOSEN, EXPECT, Node, OWN, Tensor, TensorId};
use indexmap::IndexMap;
use sirius_polyhedral::{Aff, DType, Error};

/// Operands are trimmed this often: once for two, once more for every further one that must agree.
const ROUNDS: usize = 8;

impl Context<'_> {
    /// Applies a rule to a node. Operands whose extents only the run can compare are trimmed before it.
    pub fn apply_rule(&mut self, node: &mut Node, rule: Rule, out: &mut Vec<Node>) -> Step {
        for _ in 0..ROUNDS {
            let (before, params) = (self.unequal.len(), self.graph.params.clone());
            rule(&mut Site { node: &*node, cx: self })?;
            let pairs = self.unequal.split_off(before);
            if pairs.is_empty() {
                return Ok(());
            }
            let refusal = self.not_comparable(&pairs[0]);
            // The rule is applied again, and makes its parameters again: nothing outside may be trimmed to them. What it
            // compares with them can wait until its operands agree in the others.
            let is_new = |aff: &Aff| self.graph.params.follows(aff, &|id| id.0 as usize >= params.len());
            let lasting: Vec<_> = pairs.into_iter().filter(|(a, b)| !is_new(a) && !is_new(b)).collect();
            self.graph.params = params;
            if !self.trim_operands(node, &lasting, out)? {
                return Err(refusal.into());
            }
        }
        Err(Error::unsupported("E112", "its operands must agree in too many extents that only the run can tell").into())
    }

    /// Refuses what no operand could be trimmed for: the results of a branch, or of a step of a loop.
    pub fn all_compared(&mut self, before: usize) -> Step {
        match self.unequal.split_off(before.min(self.unequal.len())).first() {
            Some(pair) => Err(self.not_comparable(pair).into()),
            None => Ok(()),
        }
    }

    fn not_comparable(&self, (a, b): &(Aff, Aff)) -> Error {
        let (a, b) = (self.show(a), self.show(b));
        Error::unsupported("E112", format!("{a} and {b}, which only the run can tell, must be equal here"))
            .help("fix the sizes that they follow from with --dim or --value")
    }

    /// Puts `Expect` nodes before the operands that have one of these extents. `false` where none has.
    fn trim_operands(&mut self, node: &mut Node, pairs: &[(Aff, Aff)], out: &mut Vec<Node>) -> Step<bool> {
        let mut trimmed = false;
        for n in 0..node.inputs.len() {
            let Some(operand) = node.input(n) else { continue };
            let (_, shape) = self.type_of(operand);
            let common = shape.iter().map(|extent| match pairs.iter().find(|(a, b)| extent == a || extent == b) {
                Some((a, b)) => self.min(a, b),
                None => extent.clone(),
            });
            let common: Vec<Aff> = common.collect();
            if common != shape {
                node.inputs[n] = Some(self.expect(node, operand, common, out)?);
                trimmed = true;
            }
        }
        Ok(trimmed)
    }

    /// A new tensor: the part of `operand` that has these extents, which must be all of it.
    fn expect(&mut self, user: &Node, operand: TensorId, common: Vec<Aff>, out: &mut Vec<Node>) -> Step<TensorId> {
        let (dtype, _) = self.type_of(operand);
        let extents = self.contents_of(&format!("{}_extents", user.name), common.clone())?;
        let part = self.add(format!("{}_expected", user.name), None);
        self.set_tensor(part, dtype, common)?;
        out.push(on_behalf(user, EXPECT, [operand, extents], part));
        Ok(part)
    }

    /// Puts a `Chosen` node behind a result of an `If` of which one branch only can run: the condition must be `wanted`.
    /// Results with known contents stay as they are, since sizes may follow from them.
    pub fn must_choose(&mut self, node: &Node, wanted: i64, out: &mut Vec<Node>) -> Step {
        let open = |id: &TensorId| {
            let root = self.root(*id);
            let is_tensor = self.state(root) == State::Known && !self.composites.contains_key(&root);
            let tensor = self.graph.tensor(root);
            is_tensor && tensor.constant.is_none() && tensor.symbolic.is_none() && !self.wholes.contains_key(&root)
        };
        let (Some(condition), Some(result)) = (node.input(0), node.outputs.iter().flatten().copied().find(open)) else {
            return Ok(());
        };
        let source = self.root(result);
        let (dtype, shape) = self.type_of(source);
        let checked = self.add(format!("{}_chosen", node.name), None);
        self.set_tensor(checked, dtype, shape)?;
        self.aliases.insert(result, checked);
        let mut chosen = on_behalf(node, CHOSEN, [source, condition], checked);
        chosen.attributes.insert("wanted".into(), Attribute::Int(wanted));
        out.push(chosen);
        Ok(())
    }

    /// A vector of integers known as expressions.
    fn contents_of(&mut self, name: &str, values: Vec<Aff>) -> Step<TensorId> {
        let id = self.add(name.to_string(), None);
        self.set_tensor(id, DType::I64, vec![Aff::constant(values.len() as i64)])?;
        let tensor: &mut Tensor = self.graph.tensor_mut(id);
        tensor.symbolic = Some(values);
        Ok(id)
    }

    /// What the branch `key` relies on and its surroundings do not promise, as a vector of integers that must not be
    /// negative; none where there is nothing.
    pub fn branch_needs(&mut self, key: &str) -> Step<Option<TensorId>> {
        let mut needs = self.needs.remove(key).unwrap_or_default();
        for (dim, (low, high)) in self.known.ranges(Some(key)) {
            let Some(id) = self.graph.params.find(dim) else { continue };
            let (least, most) = self.param_range(id);
            needs.extend(low.filter(|low| least.is_none_or(|l| l < *low)).map(|low| Aff::param(id) - low.into()));
            needs.extend(
                high.filter(|high| most.is_none_or(|m| m > *high)).map(|high| Aff::from(high) - Aff::param(id)),
            );
        }
        match needs.is_empty() {
            true => Ok(None),
            false => self.contents_of(&format!("{key}_needs"), needs).map(Some),
        }
    }
}

/// One of our own nodes, on behalf of a node of the model, whose name and operator a run that is refused will tell.
fn on_behalf(user: &Node, op: &str, inputs: [TensorId; 2], output: TensorId) -> Node {
    let text = |text: &str| Attribute::String(text.to_string());
    Node {
        name: format!("{}/{op}_{output}", user.name),
        op: op.to_string(),
        domain: OWN.to_string(),
        version: 1,
        inputs: inputs.map(Some).to_vec(),
        outputs: vec![Some(output)],
        attributes: IndexMap::from([("node".into(), text(&user.name)), ("op".into(), text(&user.op))]),
    }
}
