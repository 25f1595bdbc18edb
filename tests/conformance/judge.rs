//! Results against the recorded answers.

use crate::protocol::Verdict;
use crate::tolerances::Allowed;
use sirius::run::Value;
use sirius::run::compare::{Tolerance, compare};

/// Counts, types and shapes must be equal, and elements as near as `allowed` says.
/// `fixed` names the inputs that were fixed at compile time.
pub fn judge(got: &[Value], wanted: &[Value], allowed: Allowed, fixed: &str) -> Verdict {
    if got.len() != wanted.len() {
        return Verdict::Wrong(format!("{} outputs, wanted {}", got.len(), wanted.len()));
    }
    for (n, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        if let Some(difference) = difference(&format!("output {n}"), got, wanted, allowed) {
            return Verdict::Wrong(difference);
        }
    }
    if fixed.is_empty() { Verdict::Passed } else { Verdict::PassedFixed(fixed.to_string()) }
}

fn difference(name: &str, got: &Value, wanted: &Value, allowed: Allowed) -> Option<String> {
    match allowed {
        Allowed::Within { relative, absolute } => {
            let comparison = compare(name, got, wanted, Some(Tolerance { relative, absolute }));
            (!comparison.matches()).then(|| comparison.to_string())
        }
        Allowed::AnyValue => compare(name, got, wanted, None).structure,
    }
}
