//! Shells offer the names that are there right now.

use support::{binary, run_ok};

use crate::lab::Lab;

#[test]
fn live_names_are_offered_in_every_shell() {
    let lab = Lab::new();
    lab.ng(&["create", "shop", "--link", "app_1"]);
    lab.ng(&["create", "stage"]);
    lab.ng(&["link", "app_2", "shop", "--label", "front"]);
    lab.ng(&["login"]);
    let offered = |shell: &str, words: &[&str]| {
        let mut command = lab.command(binary("lacis"));
        command.args(["--", "lacis"]).args(words).env("LACIS_COMPLETE", shell).env("_CLAP_IFS", "\n");
        command.env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        run_ok(&mut command)
    };
    for shell in ["bash", "zsh", "fish"] {
        let groups = offered(shell, &["ng", "edit", ""]);
        assert!(groups.contains("shop") && groups.contains("stage"), "{shell}: {groups}");
        let members = offered(shell, &["ng", "unlink", "fr"]);
        assert!(members.contains("front") && !members.contains("app_1"), "{shell}: {members}");
        assert!(offered(shell, &["ng", "unlink", "app_"]).contains("app_1"), "{shell}");
        assert!(offered(shell, &["ng", "profile", "use", ""]).contains("default"), "{shell}");
        assert!(offered(shell, &["ng", "join-t"]).contains("join-token"), "{shell}");
    }
}

#[test]
fn the_script_of_bash_works_in_bash() {
    let lab = Lab::new();
    lab.ng(&["create", "shop"]);
    lab.ng(&["login"]);
    let path = binary("lacis");
    let program = "source <(lacis completion bash)\n\
        COMP_WORDS=(lacis ng delete sh) COMP_CWORD=3 COMP_TYPE=9\n\
        _clap_complete_lacis lacis sh delete\n\
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = lab.command("bash");
    let folder = path.parent().unwrap().display().to_string();
    let said = run_ok(bash.args(["--norc", "-c", &format!("PATH={folder}:$PATH\n{program}")]));
    assert!(said.trim().starts_with("shop"), "{said}");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(run_ok(lab.command(&path).args(["completion", shell])).contains("LACIS_COMPLETE"), "{shell}");
    }
}
