//! `DynamicQuantizeLSTM` of the domain `com.microsoft`: an LSTM whose weights are 8-bit integers and whose
//! operands are quantized while it runs: the whole sequence at once, the state in every step.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;

pub const FUNCTIONS: &[Function] = &[Function {
    domain: "com.microsoft",
    op: "DynamicQuantizeLSTM",
    inputs: &[
        "X",
        "W",
        "R",
        "B",
        "sequence_lens",
        "initial_h",
        "initial_c",
        "P",
        "W_scale",
        "W_zero_point",
        "R_scale",
        "R_zero_point",
    ],
    outputs: &["Y", "Y_h", "Y_c"],
    body: lstm,
}];

fn lstm(f: &mut Body) -> Step {
    refuse_rare_forms(f)?;
    let backwards: &[i64] = match f.node.string("direction").unwrap_or("forward") {
        "forward" => &[0],
        "reverse" => &[1],
        "bidirectional" => &[0, 1],
        other => return Err(f.invalid(format!("direction \"{other}\" is none of forward, reverse, bidirectional"))),
    };
    initial_states(f, backwards.len())?;
    f.add("x, x_scale, x_zero = DynamicQuantizeLinear(X)")?;
    for (d, reverse) in backwards.iter().enumerate() {
        direction(f, d, *reverse)?;
    }
    let all = |name: &str| (0..backwards.len()).map(|d| format!("{name}{d}")).collect::<Vec<_>>().join(", ");
    f.add(&format!("Y = Concat<axis = 1>({})", all("y")))?;
    f.add(&format!("Y_h = Concat<axis = 0>({})", all("h")))?;
    f.add(&format!("Y_c = Concat<axis = 0>({})", all("c")))
}

fn refuse_rare_forms(f: &mut Body) -> Step {
    let given = ["sequence_lens", "P"].into_iter().find(|name| f.has(name));
    let set = ["clip", "activations", "input_forget"].into_iter().find(|name| match f.node.attributes.get(*name) {
        Some(crate::graph::Attribute::Int(0)) | None => false,
        Some(crate::graph::Attribute::Strings(names)) => names.chunks(3).any(|n| n != ["Sigmoid", "Tanh", "Tanh"]),
        Some(_) => true,
    });
    match given.or(set) {
        Some(name) => Err(f.site().unsupported(format!("DynamicQuantizeLSTM with `{name}` is not supported"))),
        None => Ok(()),
    }
}

/// Zeros where the call gives no initial states.
fn initial_states(f: &mut Body, directions: usize) -> Step {
    let (x, r) = (f.ranked("X", 3)?, f.ranked("R", 3)?);
    f.affs("state_shape", vec![(directions as i64).into(), x[1].clone(), r[1].clone()])?;
    for name in ["initial_h", "initial_c"] {
        if !f.has(name) {
            f.add(&format!("{name} = ConstantOfShape(state_shape)"))?;
        }
    }
    Ok(())
}

/// The sequence of outputs `y{d}` `[time, 1, batch, hidden]` and the last states `h{d}`, `c{d}`.
fn direction(f: &mut Body, d: usize, reverse: i64) -> Step {
    for name in ["W", "R", "W_scale", "W_zero_point", "R_scale", "R_zero_point", "initial_h", "initial_c"] {
        f.add(&format!("{name}_{d} = Gather<axis = 0>({name}, {d})"))?;
    }
    let inputs = format!("MatMulInteger(x, W_{d}, x_zero, W_zero_point_{d})");
    f.add(&format!("parts_{d} = Mul(Cast<to = 1>({inputs}), Mul(x_scale, W_scale_{d}))"))?;
    if f.has("B") {
        f.add(&format!("of_input, of_state = Split<axis = 0, num_outputs = 2>(Gather<axis = 0>(B, {d}))"))?;
        f.add(&format!("parts_{d} = Add(parts_{d}, Add(of_input, of_state))"))?;
    }
    let step = format!(
        "s, s_scale, s_zero = DynamicQuantizeLinear(h)
         product = MatMulInteger(s, R_{d}, s_zero, R_zero_point_{d})
         gates = Add(Mul(Cast<to = 1>(product), Mul(s_scale, R_scale_{d})), part)
         i, o, f, g = Split<axis = 1, num_outputs = 4>(gates)
         next_c = Add(Mul(Sigmoid(f), c), Mul(Sigmoid(i), Tanh(g)))
         next_h = Mul(Sigmoid(o), Tanh(next_c))
         out = Identity(next_h)"
    );
    f.block("step", &["h", "c", "part"], &step, &["next_h", "next_c", "out"])?;
    f.add(&format!(
        "last_h, last_c, steps = Scan<body = step, num_scan_inputs = 1, scan_input_directions = [{reverse}],
             scan_output_directions = [{reverse}]>(initial_h_{d}, initial_c_{d}, parts_{d})
         y{d} = Unsqueeze(steps, [1]) h{d} = Unsqueeze(last_h, [0]) c{d} = Unsqueeze(last_c, [0])"
    ))
}
