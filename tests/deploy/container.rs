//! The container file, read as text: there need not be an engine where the tests run.

use std::fs;

use crate::deploy;

#[test]
fn each_image_has_one_program_with_its_folder_and_the_least_rights() {
    let text = fs::read_to_string(deploy().join("container/Containerfile")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let begins: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.starts_with("FROM "))
        .map(|(place, _)| place)
        .collect();
    let stage = |n: usize| &lines[begins[n]..begins.get(n + 1).copied().unwrap_or(lines.len())];
    assert_eq!(begins.len(), 3);
    let rust = fs::read_to_string(deploy().join("../Cargo.toml")).unwrap();
    let version =
        rust.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(stage(0)[0].contains(&format!("rust:{version}-")), "builds with the version that is asked for");
    for (n, program, folder) in
        [(1, "lacis-control", "/var/lib/lacis-control"), (2, "lacis", "/var/lib/lacis")]
    {
        let stage = stage(n);
        let has = |line: &str| assert!(stage.contains(&line), "{line} is missing in {stage:#?}");
        has(&format!("COPY --from=build /src/target/release/{program} /usr/bin/{program}"));
        has(&format!("VOLUME {folder}"));
        assert!(stage.iter().any(|line| line.starts_with(&format!("ENTRYPOINT [\"/usr/bin/{program}\""))));
        let lists =
            stage.iter().filter_map(|line| line.split_once(" [").filter(|_| !line.starts_with("RUN")));
        for (_, list) in lists {
            let parsed: Result<Vec<String>, _> = serde_json::from_str(&format!("[{list}"));
            assert!(parsed.is_ok(), "[{list} is no list of words");
        }
    }
    assert!(stage(1).iter().any(|line| line.starts_with("USER ")), "control needs no root");
    let ignored = fs::read_to_string(deploy().join("container/Containerfile.dockerignore")).unwrap();
    assert!(ignored.lines().any(|line| line == "target") && ignored.lines().any(|line| line == ".git"));
}
