//! Random programs through every pass alone and through the whole pipeline: the result is well-formed, legal, and
//! computes the same numbers.

mod generate;
mod support;

use proptest::prelude::*;
use sirius_polyhedral::certificate::record::Recorder;
use sirius_polyhedral::driver::{DriverOptions, run_passes};
use sirius_polyhedral::text::{ConstantPool, parse_program, print_program};
use sirius_polyhedral::{Machine, Pass, Program, astgen, certificate, legality, pipeline, verify};

fn text() -> impl Strategy<Value = String> {
    generate::text(19, vec![1, 3, 8, 17, 32], any::<bool>())
}

/// Runs the passes with every check on and compares the numbers.
fn preserved(program: &Program, passes: &[&dyn Pass], gpu: bool) -> Result<(), String> {
    let before = support::outputs(program).map_err(|e| format!("before: {e}"))?;
    let mut after = program.clone();
    let options = DriverOptions { verify_each: true, ..DriverOptions::default() };
    run_passes(&mut after, passes, &support::machine(gpu), options).map_err(|e| e.to_string())?;
    let shown = || print_program(&after, &mut ConstantPool::default());
    let outputs = support::outputs(&after).map_err(|e| format!("after: {e}\n{}", shown()))?;
    match support::difference(&before, &outputs) {
        None => Ok(()),
        Some(difference) => Err(format!("{difference}\n{}", shown())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_programs_are_legal(text in text()) {
        let program = parse_program(&text, &ConstantPool::default()).unwrap();
        verify::verify(&program).unwrap();
        legality::check(&program).unwrap().unwrap();
    }

    #[test]
    fn loops_without_isl_give_the_same_numbers(text in text(), optimized in any::<bool>()) {
        let mut program = parse_program(&text, &ConstantPool::default()).unwrap();
        let wanted = support::outputs(&program).unwrap();
        let passes = if optimized { pipeline::PIPELINE.to_vec() } else { pipeline::for_level(0) };
        run_passes(&mut program, &passes, &support::machine(false), DriverOptions::default()).unwrap();
        let (nest, _) = astgen::generate_within(&program, 1).unwrap();
        let difference = support::difference(&wanted, &support::outputs_of(&program, &nest).unwrap());
        prop_assert!(difference.is_none(), "{difference:?}\nfrom\n{text}");
    }

    #[test]
    fn every_pass_alone_keeps_the_numbers(text in text()) {
        let program = parse_program(&text, &ConstantPool::default()).unwrap();
        for pass in pipeline::all() {
            if let Err(why) = preserved(&program, &[pass], pass.name() == "map-gpu") {
                prop_assert!(false, "{}: {why}\nfrom\n{text}", pass.name());
            }
        }
    }

    #[test]
    fn the_pipeline_keeps_the_numbers(text in text(), gpu in any::<bool>()) {
        let program = parse_program(&text, &ConstantPool::default()).unwrap();
        if let Err(why) = preserved(&program, pipeline::PIPELINE, gpu) {
            prop_assert!(false, "{why}\nfrom\n{text}");
        }
    }

    #[test]
    fn certificates_of_the_pipeline_hold(text in text(), threads in 1usize..4) {
        let mut program = parse_program(&text, &ConstantPool::default()).unwrap();
        let machine = Machine { threads, barrier_ns: 0.001, ..support::machine(false) };
        let mut recorder = Recorder::new(&program);
        let mut dump = |_: usize, pass: &str, p: &Program| {
            recorder.after(pass, p);
            Ok(())
        };
        // A certificate cannot follow these two: an instance of theirs stands for several.
        let disabled = ["hoist", "reroll"].map(str::to_string).into();
        let options = DriverOptions { dump: Some(&mut dump), disabled, ..DriverOptions::default() };
        run_passes(&mut program, pipeline::PIPELINE, &machine, options).unwrap();
        let verdict = certificate::check::check(&recorder.finish("test").unwrap(), certificate::check::OPERATIONS).unwrap();
        prop_assert!(verdict.holds(), "{:?} {:?}\nfrom\n{text}", verdict.findings, verdict.undecided);
    }
}
