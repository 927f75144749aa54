use super::*;

#[test]
fn a_run_reads_as_it_prints_and_nothing_else_is_one() {
    let run = Run::new(7, "web-1 \u{e9}\n");
    assert_eq!(run.to_string(), "0000000000000007 web-1");
    assert_eq!(run.to_string().parse(), Ok(run));
    let long = format!("0000000000000007 {}", "x".repeat(Run::MAX_HOST + 1));
    for bad in ["", "7 web", "000000000000000g web", "0000000000000007", "0000000000000007 a b", &long] {
        assert_eq!(bad.parse::<Run>(), Err(RunError), "{bad}");
    }
    assert_eq!(Run::new(1, &"x".repeat(999)).host.len(), Run::MAX_HOST);
}
