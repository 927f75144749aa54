//! The container file: read as text everywhere, built and run where there is an engine.

use std::{fs, path::Path, process::Command};

use support::{binary, run};

use crate::deploy;

/// What `images` ends with where no image can be built.
const NO_ENGINE: i32 = 77;

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

#[test]
fn both_images_are_built_run_beside_each_other_and_end_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    for program in ["lacis", "lacis-control"] {
        fs::copy(binary(program), folder.path().join(program)).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/images");
    let output = run(Command::new(script).arg(folder.path()));
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    if output.status.code() == Some(NO_ENGINE) {
        return println!("skipped: {}", said[1]);
    }
    assert!(
        output.status.success() && said[0].contains("runs and ends as it should"),
        "{}{}",
        said[0],
        said[1]
    );
}
