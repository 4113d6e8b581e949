use super::*;

#[test]
fn the_built_in_topologies_have_no_faults() {
    for name in ["quickstart", "blog"] {
        if let Err(faults) = builtin(name).unwrap().check() {
            panic!("{faults}");
        }
    }
}
