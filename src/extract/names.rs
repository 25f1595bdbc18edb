//! Unique C identifiers for arrays, made from ONNX tensor names.

use std::collections::HashMap;

/// The identifiers given out so far, with the next number to try for each.
#[derive(Default)]
pub struct Names(HashMap<String, usize>);

impl Names {
    /// `name` as an identifier that was not given out before.
    pub fn unique(&mut self, name: &str) -> String {
        let base = identifier(name);
        if !self.0.contains_key(&base) {
            self.0.insert(base.clone(), 2);
            return base;
        }
        loop {
            let n = self.0.entry(base.clone()).or_insert(2);
            let candidate = format!("{base}_{n}");
            *n += 1;
            if !self.0.contains_key(&candidate) {
                self.0.insert(candidate.clone(), 2);
                return candidate;
            }
        }
    }
}

/// Letters, digits and underscores, not starting with a digit.
fn identifier(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let clean = clean.trim_matches('_');
    match clean.chars().next() {
        None => "t".to_string(),
        Some(c) if c.is_ascii_digit() => format!("t{clean}"),
        _ => clean.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers_and_never_repeat() {
        let mut names = Names::default();
        assert_eq!(names.unique("/attn/MatMul_output"), "attn_MatMul_output");
        assert_eq!(names.unique("attn.MatMul.output"), "attn_MatMul_output_2");
        assert_eq!(names.unique("12"), "t12");
        assert_eq!(names.unique("x_2"), "x_2");
        assert_eq!(names.unique("x"), "x");
        assert_eq!(names.unique("x"), "x_3");
    }
}
