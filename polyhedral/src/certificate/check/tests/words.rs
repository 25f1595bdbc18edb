//! Sums that take several products of small integers at once.

use super::*;

/// A product of bytes with a zero point; six terms fill one word and a half.
const BYTES: &str = "\
program bytes
param n = input(0, 0) in 1..=1000 hint 64
array x: u8[n, 6] input 0
array start: u8[] input 1
array zero: u8[] temp
array w: i8[6, 4] constant {1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14, 15, -16, 17, -18, 19, -20, 21, -22, 23, -24}
array acc: i32[n, 4] temp
array y: i32[n, 4] output 0
inputs x, start
outputs y
S0 []: zero[] = start[]
S1 [m: n, j: 4]: acc[m, j] = 7i32
S2 [m: n, j: 4, k: 6]: acc[m, j] += (i32(x[m, k]) - i32(zero[])) * i32(w[k, j])
S3 [m: n, j: 4]: y[m, j] = acc[m, j]
schedule {
  S0
  for [S1: m, S2: m] { for [S1: j, S2: j] { S1 for [S2: k] { S2 } } }
  for [S3: m] { for [S3: j] { S3 } }
}
";

/// A product of halves, over a length that only the run knows.
const HALVES: &str = "\
program halves
param n = input(0, 1) in 1..=1000 hint 64
array x: u8[8, n] input 0
array w: u8[n, 8] input 1
array high: i32[8, n] temp
array acc: i32[8, 8] temp
array y: i32[8, 8] output 0
inputs x, w
outputs y
S0 [m: 8, k: n]: high[m, k] = i32(x[m, k]) - 200i32
S1 [m: 8, j: 8]: acc[m, j] = 0i32
S2 [m: 8, j: 8, k: n]: acc[m, j] += high[m, k] * i32(w[k, j])
S3 [m: 8, j: 8]: y[m, j] = acc[m, j]
schedule {
  for [S0: m] { for [S0: k] { S0 } }
  for [S1: m, S2: m] { for [S1: j, S2: j] { S1 for [S2: k] { S2 } } }
  for [S3: m] { for [S3: j] { S3 } }
}
";

/// The certificate of `dot` and the bytes of all constants behind it.
fn dot(text: &str) -> (Certificate, Vec<Vec<u8>>) {
    let (certificate, program) = recorded(text, &["dot"], &Machine { byte_dots: true, ..machine(1) });
    (certificate, constants(&program))
}

/// The later stage with one text in the place of another, which must be there.
fn tampered(certificate: &Certificate, from: &str, to: &str) -> Certificate {
    let mut out = certificate.clone();
    let mut found = false;
    let mut change = |text: &mut String| {
        found |= text.contains(from);
        *text = text.replace(from, to);
    };
    let stage = out.stages.last_mut().unwrap();
    for s in stage.statements.iter_mut().chain(stage.arrays.iter_mut().filter_map(|a| a.made.as_mut())) {
        s.reads.iter_mut().for_each(|r| change(&mut r.map));
        s.values.iter_mut().for_each(&mut change);
        [&mut s.domain, &mut s.write, &mut s.body].into_iter().for_each(&mut change);
    }
    out.steps.iter_mut().flat_map(|s| s.instances.values_mut().flatten()).for_each(&mut change);
    assert!(found, "no {from} in {certificate:?}");
    out
}

/// Something names the sum and says `why`.
#[track_caller]
fn names_the_sum(certificate: &Certificate, why: &str) {
    let found = verdict(certificate).findings;
    let named = |f: &Finding| f.rule == Rule::Values && f.text.starts_with("S2 ") && f.text.contains(why);
    assert!(found.iter().any(named), "{found:?}");
}

#[test]
fn products_of_bytes_and_halves_are_the_sums_that_they_were() {
    for (text, word) in [(BYTES, "dot4("), (HALVES, "dot2(")] {
        let (right, blobs) = dot(text);
        assert!(format!("{right:?}").contains(word), "no {word}");
        let found = compared(&right, &blobs);
        assert!(found.holds() && found.regrouped == 1 && found.compared == found.rearranged, "{found:?}");
    }
}

#[test]
fn every_term_is_one_lane() {
    let right = dot(BYTES).0;
    // Another map: a term twice, and one left out.
    let found = refused(&tampered(&right, "i0, i1, 4*i2 + 1]", "i0, i1, 4*i2 + 2]"), Rule::Instances);
    assert!(found.text.contains("S2["), "{found}");
    let mut dropped = right.clone();
    dropped.steps[0].instances.get_mut("S2").unwrap().pop();
    names_the_sum(&dropped, "a word has 4 lanes");
    refused(&dropped, Rule::Instances);
    let mut swapped = right.clone();
    swapped.steps[0].instances.get_mut("S2").unwrap().swap(0, 1);
    names_the_sum(&swapped, "does not hold a factor");
    // Fewer words.
    refused(&tampered(&right, "0 <= i2 < 2", "0 <= i2 < 1"), Rule::Instances);
}

#[test]
fn the_words_hold_the_factors() {
    for (text, from, to, why) in [
        (BYTES, "Int(255, I32)), shl", "Int(127, I32)), shl", "not 4 lanes"),
        (BYTES, "Int(8, I32)", "Int(16, I32)", "not 4 lanes"),
        (BYTES, "A0[i0, 4*i1 + 1]", "A0[i0, 4*i1]", "lane 1 of"),
        (BYTES, "A3[4*i0 + 1, i1]", "A3[4*i0, i1]", "lane 1 of"),
        (BYTES, "dot4(#0, #1)", "dot4(#1, #0)", "lane 0 of"),
        (BYTES, "Int(0, I32)", "Int(1, I32)", "is not zero"),
        (HALVES, "Int(0, I32)", "Int(1, I32)", "is not zero"),
        (HALVES, "Int(65535, I32)", "Int(255, I32)", "not 2 lanes"),
        (HALVES, "dot2(#0, #1)", "dot4(#0, #1)", "a word has 4 lanes"),
    ] {
        names_the_sum(&tampered(&dot(text).0, from, to), why);
    }
    // A factor that has another range in the base.
    let mut wide = dot(HALVES).0;
    let maker = entry(&mut wide, 0, "S0");
    maker.body = maker.body.replace("Int(200, I32)", "Int(40000, I32)");
    names_the_sum(&wide, "may not fit");
}

#[test]
fn the_accumulator_starts_with_what_the_terms_share() {
    let right = dot(BYTES).0;
    for (from, to, why) in [
        ("sub(Int(7, I32)", "sub(Int(8, I32)", "another value"),
        ("S1[i0, i1] -> A2[]", "S1[i0, i1] -> A1[]", "something else"),
        ("mul(i32(#0), #1)", "mul(#1, i32(#0))", "something else"),
        ("sub(Int(7, I32), mul(i32(#0), #1))", "Int(7, I32)", "starts with `Int(7, I32)`"),
    ] {
        names_the_sum(&tampered(&right, from, to), why);
    }
    // The constant is the sum of other factors, or of some only.
    let by = |c: &Certificate, from: &str, to: &str| {
        let mut out = c.clone();
        let arrays = out.stages.last_mut().unwrap().arrays.iter_mut();
        let made = arrays.filter_map(|a| a.made.as_mut()).find(|made| made.kind == "add").unwrap();
        let texts = made.reads.iter_mut().map(|r| &mut r.map).chain([&mut made.domain, &mut made.write]);
        texts.for_each(|text| *text = text.replace(from, to));
        assert_ne!(out, *c);
        out
    };
    names_the_sum(&by(&right, "0 <= i0 < 6", "0 <= i0 < 5"), "not the sum of the other factors");
    names_the_sum(&by(&right, "A3[i0, i1]", "A3[5 - i0, 3 - i1]"), "not the sum of the other factors");
    // A zero point that is written after the start, and a reader in between.
    let mut late = right.clone();
    late.stages.iter_mut().for_each(|stage| stage.schedule.rotate_left(1));
    names_the_sum(&late, "written after the start");
    let mut seen = right.clone();
    seen.stages.iter_mut().for_each(|stage| stage.schedule.rotate_right(1));
    names_the_sum(&seen, "S3 sees it before the last term");
}

#[test]
fn the_bytes_of_words_and_sums_are_those_of_the_factors() {
    let (right, blobs) = dot(BYTES);
    for (made, n) in [("assign", 1), ("add", 2)] {
        let (mut other, mut blobs) = (right.clone(), blobs.clone());
        blobs[n][0] ^= 1;
        let arrays = other.stages.last_mut().unwrap().arrays.iter_mut();
        let entry = arrays.into_iter().find(|a| a.made.as_ref().is_some_and(|m| m.kind == made)).unwrap();
        entry.contents = Some(crate::certificate::hash(&blobs[n]));
        let found = compared(&other, &blobs);
        assert!(found.findings.iter().any(|f| f.text.contains("is not what `")), "{made}: {found:?}");
    }
    let mut narrow = right;
    for stage in &mut narrow.stages {
        stage.arrays.iter_mut().filter(|a| a.name == "w").for_each(|a| a.range = Some([-20, 23]));
    }
    let found = compared(&narrow, &blobs);
    assert!(found.findings.iter().any(|f| f.text.contains("is not in -20..=23")), "{found:?}");
}
