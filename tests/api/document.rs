//! A tester that knows only the document finds no answer outside of it.

use std::process::Command;

use crate::client::Control;

#[test]
fn schemathesis_finds_no_fault_and_no_answer_outside_the_document() {
    let control = Control::start();
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/api/schemathesis"));
    command.arg(control.text("api")).arg(control.text("ca"));
    command.args([control.text("api_token"), control.text("owner"), control.text("group")]);
    let status = command.status().unwrap();
    assert!(status.success(), "{status}; data in {:?}", control.data());
    assert!(!control.process.log().contains("panicked"), "{}", control.process.log());
}
