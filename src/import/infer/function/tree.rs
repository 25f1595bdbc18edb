//! `TreeEnsemble`: every row of the input walks down every tree at the same time, as many steps as the deepest tree
//! has levels; a leaf leads to itself.
//!
//! Nodes and leaves are numbered together, leaves last, so a place in a tree is one number, and the tables of the
//! ensemble are read at it.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;
use crate::import::tensor::Constant;
use sirius_polyhedral::{Aff, DType};

pub const FUNCTIONS: &[Function] =
    &[Function { domain: "ai.onnx.ml", op: "TreeEnsemble", inputs: &["X"], outputs: &["Y"], body: ensemble }];

/// Comparisons of a feature `x` with a node's `split`, by mode.
const COMPARISONS: [&str; 6] = [
    "LessOrEqual(x, split)",
    "Less(x, split)",
    "GreaterOrEqual(x, split)",
    "Greater(x, split)",
    "Equal(x, split)",
    "Not(Equal(x, split))",
];

/// The mode that asks whether the feature is in the node's set.
const MEMBER: i64 = 6;

/// The tables, by place.
struct Tables {
    nodes: usize,
    leaves: usize,
    roots: Vec<i64>,
    modes: Vec<i64>,
    yes: Vec<i64>,
    no: Vec<i64>,
}

fn ensemble(f: &mut Body) -> Step {
    let shape = f.ranked("X", 2)?;
    let t = tables(f)?;
    let depth = depth(f, &t)?;
    let trees = Aff::constant(t.roots.len() as i64);
    f.affs("rows", vec![shape[0].clone(), trees])?;
    define(f, &t)?;
    f.aff("depth", Aff::constant(depth))?;
    walk(f, &t)?;
    f.aff("nodes", Aff::constant(t.nodes as i64))?;
    f.add(
        "at = Loop<body = step>(depth, Cast<to = 9>(1), Expand(roots, rows))
         leaf = Sub(at, nodes)
         weight = Unsqueeze(Gather(weights, leaf), [2])
         hit = Equal(Unsqueeze(Gather(targets, leaf), [2]), Range(0, count, 1))",
    )?;
    aggregate(f)?;
    match f.node.int("post_transform").unwrap_or(0) {
        0 => f.add("Y = Identity(total)"),
        1 => f.add("Y = Softmax<axis = -1>(total)"),
        2 => f.add("Y = Sigmoid(total)"),
        other => Err(f.site().unsupported(format!("post_transform {other} of TreeEnsemble is not supported"))),
    }
}

fn list(f: &mut Body, name: &str) -> Step<Vec<i64>> {
    let node = f.node;
    let found = match f.site().attribute_tensor(name) {
        Some(id) => f.cx.graph.tensor(id).ints(),
        None => node.ints(name).map(<[i64]>::to_vec),
    };
    found.ok_or_else(|| f.invalid(format!("attribute `{name}` is missing")))
}

fn tables(f: &mut Body) -> Step<Tables> {
    let (modes, roots, leaves) = (list(f, "nodes_modes")?, list(f, "tree_roots")?, list(f, "leaf_targetids")?.len());
    let nodes = modes.len();
    let mut branch = |ids: &str, flags: &str| -> Step<Vec<i64>> {
        let (ids, flags) = (list(f, ids)?, list(f, flags)?);
        let place = |(id, leaf): (&i64, &i64)| if *leaf != 0 { id + nodes as i64 } else { *id };
        let mut places: Vec<i64> = ids.iter().zip(&flags).map(place).collect();
        places.extend((nodes..nodes + leaves).map(|leaf| leaf as i64));
        Ok(places)
    };
    let (yes, no) =
        (branch("nodes_truenodeids", "nodes_trueleafs")?, branch("nodes_falsenodeids", "nodes_falseleafs")?);
    let known = |places: &[i64]| places.iter().all(|p| (0..(nodes + leaves) as i64).contains(p));
    if yes.len() != nodes + leaves || no.len() != nodes + leaves || ![&yes, &no, &roots].iter().all(|p| known(p)) {
        return Err(f.invalid("the trees name nodes or leaves that there are not"));
    }
    Ok(Tables { nodes, leaves, roots, modes, yes, no })
}

/// The number of steps after which every walk has reached a leaf.
fn depth(f: &mut Body, t: &Tables) -> Step<i64> {
    let mut level: Vec<i64> = t.roots.clone();
    for depth in 0..=t.nodes as i64 {
        level.retain(|place| *place < t.nodes as i64);
        if level.is_empty() {
            return Ok(depth);
        }
        level = level.iter().flat_map(|place| [t.yes[*place as usize], t.no[*place as usize]]).collect();
        level.sort_unstable();
        level.dedup();
    }
    Err(f.invalid("a tree contains itself"))
}

/// Names for the tables; what only nodes have is filled up for the leaves.
fn define(f: &mut Body, t: &Tables) -> Step {
    let dtype = f.dtype("X")?;
    let whole = |f: &mut Body, name: &str, values: Vec<i64>| {
        f.constant(name, Constant::ints(&values, &[values.len() as i64]));
    };
    let padded = |mut values: Vec<i64>| {
        values.resize(t.nodes + t.leaves, 0);
        values
    };
    let features = list(f, "nodes_featureids")?;
    whole(f, "features", padded(features));
    whole(f, "modes", padded(t.modes.clone()));
    whole(f, "yes", t.yes.clone());
    whole(f, "no", t.no.clone());
    whole(f, "roots", t.roots.clone());
    let targets = list(f, "leaf_targetids")?;
    whole(f, "targets", targets);
    f.aff("count", Aff::constant(f.node.int("n_targets").unwrap_or(1)))?;
    for (name, attribute, length) in
        [("splits", "nodes_splits", t.nodes + t.leaves), ("weights", "leaf_weights", t.leaves)]
    {
        let values = floats(f, attribute)?;
        let mut values = values.ok_or_else(|| f.invalid(format!("attribute `{attribute}` is missing")))?;
        values.resize(length, 0.0);
        f.constant(name, Constant::reals(&values, dtype));
    }
    if f.node.attributes.contains_key("nodes_missing_value_tracks_true") {
        let tracks = list(f, "nodes_missing_value_tracks_true")?;
        whole(f, "missing", padded(tracks));
    }
    Ok(())
}

fn floats(f: &mut Body, name: &str) -> Step<Option<Vec<f64>>> {
    let id = f.site().attribute_tensor(name);
    Ok(id.and_then(|id| f.cx.graph.tensor(id).floats()))
}

/// The subgraph `step`: from every place to the next.
fn walk(f: &mut Body, t: &Tables) -> Step {
    let mut text = String::from(
        "x = GatherElements<axis = 1>(X, Gather(features, here))
         split = Gather(splits, here)
         mode = Gather(modes, here)
         chosen = Less(mode, 0)\n",
    );
    for (code, comparison) in COMPARISONS.iter().enumerate().filter(|(code, _)| t.modes.contains(&(*code as i64))) {
        text += &format!("chosen = Or(chosen, And(Equal(mode, {code}), {comparison}))\n");
    }
    if t.modes.contains(&MEMBER) {
        members(f, t)?;
        text += "same = And(Equal(Unsqueeze(x, [2]), members), Equal(Unsqueeze(here, [2]), owners))
                 member = Greater(ReduceMax<keepdims = 0>(Cast<to = 6>(same), [2]), Cast<to = 6>(0))
                 chosen = Or(chosen, member)\n";
    }
    if f.has("missing") {
        text += "chosen = Or(chosen, And(IsNaN(x), Cast<to = 9>(Gather(missing, here))))\n";
    }
    text += "next = Where(chosen, Gather(yes, here), Gather(no, here))
             go_on = Identity(go)";
    f.block("step", &["i", "go", "here"], &text, &["go_on", "next"])
}

/// The sets of all nodes in a row, and whose each member is. NaN ends a set in the file.
fn members(f: &mut Body, t: &Tables) -> Step {
    let values = floats(f, "membership_values")?.unwrap_or_default();
    let mut sets = values.split(|v| v.is_nan());
    let (mut members, mut owners) = (Vec::new(), Vec::new());
    for (node, _) in t.modes.iter().enumerate().filter(|(_, mode)| **mode == MEMBER) {
        let set = sets.next().unwrap_or_default();
        members.extend_from_slice(set);
        owners.extend(set.iter().map(|_| node as i64));
    }
    let dtype = f.dtype("X")?;
    f.constant("members", Constant::reals(&members, dtype));
    f.constant("owners", Constant::ints(&owners, &[owners.len() as i64]));
    Ok(())
}

/// `total[row, target]` over all trees; 0 where no leaf is for the target.
fn aggregate(f: &mut Body) -> Step {
    f.float = if f.dtype("X")? == DType::F64 { DType::F64 } else { f.float };
    let over = |op: &str, none: &str| {
        format!(
            "none = Cast<to = 6>(0)
             found = Greater(ReduceMax<keepdims = 0>(Cast<to = 6>(hit), [1]), none)
             total = Where(found, {op}<keepdims = 0>(Where(hit, weight, {none}), [1]), 0.0)"
        )
    };
    let sum = "total = ReduceSum<keepdims = 0>(Where(hit, weight, 0.0), [1])";
    f.scalar("infinite", f64::INFINITY);
    match f.node.int("aggregate_function").unwrap_or(1) {
        0 => f.add(
            "sum = ReduceSum<keepdims = 0>(Where(hit, weight, 0.0), [1])
             total = Div(sum, CastLike(Size(roots), sum))",
        ),
        1 => f.add(sum),
        2 => f.add(&over("ReduceMin", "infinite")),
        3 => f.add(&over("ReduceMax", "Neg(infinite)")),
        other => Err(f.invalid(format!("aggregate_function {other} is not known"))),
    }
}
