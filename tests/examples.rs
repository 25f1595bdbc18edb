//! The scripting examples say what their comments promise.

#[path = "../examples/print_dependences.rs"]
mod print_dependences;
#[path = "../examples/search_fusions.rs"]
mod search_fusions;
#[path = "../examples/write_a_pass.rs"]
mod write_a_pass;

use search_fusions::cost_model;

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "wanted {part:?} in:\n{text}");
    }
}

#[test]
fn dependences_are_printed() {
    let text = print_dependences::example().unwrap();
    contains(&text, &["S0 -> S1 Flow through h", "S1 -> S1 Flow through h", "S1 -> S2 Flow through h"]);
}

#[test]
fn a_pass_of_ones_own_is_checked_like_any_other() {
    let text = write_a_pass::example().unwrap();
    contains(&text, &["unroll-short: legal", " loops\n", "unroll {", "contract: legal", "fold [2, _]"]);
    contains(&text, &["backwards: refused, S1[0,0] -> S1[1,0] through A1 (h): the sink runs before the source"]);
}

#[test]
fn a_cost_model_sees_what_fusion_and_contraction_save() {
    let text = cost_model::example().unwrap();
    contains(&text, &["as written: 6291456 bytes", "fused 2: refused, S1[0,511] -> S2[0,0]", "contracted: 0 bytes"]);
}

#[test]
fn the_search_finds_one_nest_and_says_what_is_wrong_with_the_others() {
    let text = search_fusions::example().unwrap();
    contains(&text, &["best: 1 nests, 0 bytes", "refused: roots 1 and 2, 2 loops: S1[0,511] -> S2[0,0]"]);
}
