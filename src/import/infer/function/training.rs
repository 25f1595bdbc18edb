//! What only training does: dropout and batch normalization in their training modes, and the optimizers of the
//! domain `ai.onnx.preview.training`.

use super::Function;
use super::body::Body;
use crate::graph::Node;
use crate::import::infer::context::Step;
use sirius_polyhedral::Aff;

const DOMAIN: &str = "ai.onnx.preview.training";

/// Tensors of one optimizer node: enough for three groups of eight.
const STEPPED: &[&str] = &[
    "o0", "o1", "o2", "o3", "o4", "o5", "o6", "o7", "o8", "o9", "o10", "o11", "o12", "o13", "o14", "o15", "o16", "o17",
    "o18", "o19", "o20", "o21", "o22", "o23",
];

pub const FUNCTIONS: &[Function] = &[
    Function {
        domain: "",
        op: "Dropout",
        inputs: &["data", "ratio", "training_mode"],
        outputs: &["output", "mask"],
        body: dropout,
    },
    Function {
        domain: "",
        op: "BatchNormalization",
        inputs: &["x", "scale", "bias", "old_mean", "old_var"],
        outputs: &["y", "new_mean", "new_var"],
        body: batch_normalization,
    },
    Function { domain: DOMAIN, op: "Adagrad", inputs: &["rate", "time"], outputs: STEPPED, body: adagrad },
    Function { domain: DOMAIN, op: "Adam", inputs: &["rate", "time"], outputs: STEPPED, body: adam },
    Function { domain: DOMAIN, op: "Momentum", inputs: &["rate", "time"], outputs: STEPPED, body: momentum },
];

/// Is the node one of these operators, but not training? Then it has a simpler meaning elsewhere.
pub fn is_inference(node: &Node) -> bool {
    match node.op.as_str() {
        "Dropout" => node.version < 12 || node.input(2).is_none(),
        "BatchNormalization" => node.int("training_mode") != Some(1),
        _ => false,
    }
}

/// Elements stay with probability `1 - ratio`, and grow so that their mean stays.
fn dropout(f: &mut Body) -> Step {
    let training = f.site().ints(2).and_then(|mode| mode.first().copied());
    let shape = f.shape("data")?;
    if training == Some(0) {
        f.affs("shape", shape)?;
        f.add("output = Identity(data)")?;
        return if f.wants("mask") { f.add("mask = Expand(Cast<to = 9>(1), shape)") } else { Ok(()) };
    }
    let seed = f.node.int("seed").map_or(String::new(), |seed| format!("<seed = {seed}.0>"));
    match f.has("ratio") {
        true => f.add("p = CastLike(ratio, data)")?,
        false => f.scalar("p", 0.5),
    }
    let drawn = format!("GreaterOrEqual(RandomUniformLike{seed}(data), p)");
    if training.is_some() {
        f.add(&format!("mask = {drawn}"))?;
        return f.add("output = Where(mask, Div(data, Sub(1.0, p)), 0.0)");
    }
    f.add(&format!("mask = Or(Not(training_mode), {drawn})"))?;
    f.add("output = Where(mask, Where(training_mode, Div(data, Sub(1.0, p)), data), 0.0)")
}

/// Mean and variance of the batch, which also move the running ones.
fn batch_normalization(f: &mut Body) -> Step {
    let rank = f.rank("x")? as i64;
    let axes: Vec<String> = (0..rank).filter(|d| *d != 1).map(|d| d.to_string()).collect();
    let axes = axes.join(", ");
    let number = |name: &str, default: f32| f64::from(f.node.float(name).unwrap_or(default));
    let (epsilon, momentum) = (number("epsilon", 1e-5), number("momentum", 0.9));
    f.scalar("epsilon", epsilon);
    f.scalar("keep", momentum);
    f.scalar("renew", 1.0 - momentum);
    let channel = f.shape("scale")?;
    let mut aligned = vec![Aff::constant(1); rank as usize];
    if let (Some(place), [channels]) = (aligned.get_mut(1), channel.as_slice()) {
        *place = channels.clone();
    }
    f.affs("aligned", aligned)?;
    f.affs("channels", channel)?;
    f.add(&format!(
        "mean = ReduceMean(x, [{axes}]) apart = Sub(x, mean) var = ReduceMean(Mul(apart, apart), [{axes}])
         normal = Div(apart, Sqrt(Add(var, epsilon)))
         y = Add(Mul(normal, Reshape(scale, aligned)), Reshape(bias, aligned))"
    ))?;
    for (new, old, batch) in [("new_mean", "old_mean", "mean"), ("new_var", "old_var", "var")] {
        if f.wants(new) {
            f.add(&format!("{new} = Add(Mul({old}, keep), Mul(Reshape({batch}, channels), renew))"))?;
        }
    }
    Ok(())
}

/// Names the optimizer's tensors: `groups` (the parameters first) of as many tensors each, after rate and time.
fn tensors(f: &mut Body, groups: &[&str]) -> Step<usize> {
    let given = f.node.inputs.len().saturating_sub(2);
    let each = given / groups.len();
    if each * groups.len() != given || each * (groups.len() - 1) > STEPPED.len() {
        return Err(f.invalid(format!("{given} tensors cannot be {} groups of at most 8", groups.len())));
    }
    for (g, group) in groups.iter().enumerate() {
        for k in 0..each {
            let id = f.node.input(2 + g * each + k);
            let id = id.ok_or_else(|| f.invalid(format!("{group} number {k} is missing")))?;
            f.alias(&format!("{group}{k}"), id);
        }
    }
    Ok(each)
}

/// Float attributes as scalars of the same name.
fn attributes(f: &mut Body, defaults: &[(&str, f32)]) {
    for (name, default) in defaults {
        let value = f.node.float(name).unwrap_or(*default);
        f.scalar(name, f64::from(value));
    }
}

/// `g` of tensor `k`: its gradient with the regularization's part.
fn gradient(k: usize) -> String {
    format!("g = Add(Mul(norm_coefficient, x{k}), gradient{k})\n")
}

fn adagrad(f: &mut Body) -> Step {
    let each = tensors(f, &["x", "gradient", "square"])?;
    attributes(f, &[("decay_factor", 0.0), ("epsilon", 1e-6), ("norm_coefficient", 0.0)]);
    f.add("r = Div(rate, Add(1.0, Mul(CastLike(time, rate), decay_factor)))")?;
    for k in 0..each {
        let (x, square) = (format!("o{k}"), format!("o{}", each + k));
        f.add(&format!(
            "{} {square} = Add(square{k}, Mul(g, g))
             {x} = Sub(x{k}, Div(Mul(r, g), Add(Sqrt({square}), epsilon)))",
            gradient(k)
        ))?;
    }
    Ok(())
}

fn momentum(f: &mut Body) -> Step {
    let each = tensors(f, &["x", "gradient", "speed"])?;
    attributes(f, &[("alpha", 0.0), ("beta", 0.0), ("norm_coefficient", 0.0)]);
    let nesterov = f.node.string("mode") == Some("nesterov");
    f.add("b = Where(Greater(time, 0), beta, 1.0)")?;
    for k in 0..each {
        let (x, speed) = (format!("o{k}"), format!("o{}", each + k));
        let step = if nesterov { format!("Add(g, Mul(alpha, {speed}))") } else { speed.clone() };
        f.add(&format!(
            "{} {speed} = Add(Mul(alpha, speed{k}), Mul(b, g))
             {x} = Sub(x{k}, Mul(rate, {step}))",
            gradient(k)
        ))?;
    }
    Ok(())
}

fn adam(f: &mut Body) -> Step {
    let each = tensors(f, &["x", "gradient", "speed", "square"])?;
    attributes(f, &[("norm_coefficient", 0.0), ("epsilon", 1e-6)]);
    let number = |name: &str, default: f32| f64::from(f.node.float(name).unwrap_or(default));
    let (alpha, beta, post) = (number("alpha", 0.9), number("beta", 0.999), number("norm_coefficient_post", 0.0));
    for (name, value) in [
        ("alpha", alpha),
        ("beta", beta),
        ("other_alpha", 1.0 - alpha),
        ("other_beta", 1.0 - beta),
        ("kept", 1.0 - post),
    ] {
        f.scalar(name, value);
    }
    f.add(
        "t = CastLike(time, rate)
         started = Mul(rate, Div(Sqrt(Sub(1.0, Pow(beta, t))), Sub(1.0, Pow(alpha, t))))
         r = Where(Greater(time, 0), started, rate)",
    )?;
    for k in 0..each {
        let (x, speed, square) = (format!("o{k}"), format!("o{}", each + k), format!("o{}", 2 * each + k));
        f.add(&format!(
            "{} {speed} = Add(Mul(alpha, speed{k}), Mul(other_alpha, g))
             {square} = Add(Mul(beta, square{k}), Mul(other_beta, Mul(g, g)))
             {x} = Mul(kept, Sub(x{k}, Div(Mul(r, {speed}), Add(Sqrt({square}), epsilon))))",
            gradient(k)
        ))?;
    }
    Ok(())
}
