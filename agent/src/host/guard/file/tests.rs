use super::*;

const BEFORE: &str = "nameserver 192.0.2.53\nsearch lan\n";

fn servers() -> Vec<IpAddr> {
    vec!["10.128.0.1".parse().unwrap()]
}

fn file(before: &str) -> (tempfile::TempDir, ResolvConf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    fs::write(&path, before).unwrap();
    (folder, ResolvConf::new(path))
}

#[test]
fn a_file_is_replaced_and_restored() {
    let (folder, mut conf) = file(BEFORE);
    fs::set_permissions(&conf.path, Permissions::from_mode(0o664)).unwrap();
    assert_eq!(conf.manage(&servers()).unwrap(), ["192.0.2.53"]);
    assert_eq!(conf.manage(&servers()).unwrap(), ["192.0.2.53"], "a second time changes nothing");
    let text = fs::read_to_string(&conf.path).unwrap();
    assert!(text.contains("nameserver 10.128.0.1\n") && text.contains("search lan"), "{text}");
    assert_eq!(conf.in_force(), BEFORE);
    conf.restore().unwrap();
    assert_eq!(fs::read_to_string(&conf.path).unwrap(), BEFORE);
    assert_eq!(fs::metadata(&conf.path).unwrap().permissions().mode() & 0o777, 0o664);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_link_and_a_missing_file_come_back() {
    let (folder, mut conf) = file(BEFORE);
    let real = folder.path().join("real");
    fs::rename(&conf.path, &real).unwrap();
    symlink("real", &conf.path).unwrap();
    assert_eq!(conf.manage(&servers()).unwrap(), ["192.0.2.53"]);
    assert!(!fs::symlink_metadata(&conf.path).unwrap().is_symlink());
    conf.restore().unwrap();
    assert_eq!(fs::read_link(&conf.path).unwrap(), Path::new("real"));
    assert_eq!(fs::read_to_string(&real).unwrap(), BEFORE, "what it leads to was never touched");
    fs::remove_file(&conf.path).unwrap();
    assert_eq!(conf.manage(&servers()).unwrap(), Vec::<String>::new());
    conf.restore().unwrap();
    assert!(!conf.path.exists());
}

#[test]
fn edits_of_others_are_kept() {
    let (_folder, mut conf) = file(BEFORE);
    conf.manage(&servers()).unwrap();
    assert!(!conf.is_changed());
    fs::write(&conf.path, "nameserver 192.0.2.9\n").unwrap();
    assert!(conf.is_changed());
    assert_eq!(conf.manage(&servers()).unwrap(), ["192.0.2.9"], "their servers are the upstream now");
    conf.restore().unwrap();
    assert_eq!(fs::read_to_string(&conf.path).unwrap(), "nameserver 192.0.2.9\n");
    conf.manage(&servers()).unwrap();
    fs::write(&conf.path, "nameserver 192.0.2.8\n").unwrap();
    conf.restore().unwrap();
    assert_eq!(fs::read_to_string(&conf.path).unwrap(), "nameserver 192.0.2.8\n");
}

#[test]
fn a_program_that_insists_gets_its_way() {
    let (_folder, mut conf) = file(BEFORE);
    conf.manage(&servers()).unwrap();
    let given_up = (0..=MAX_TURNS).find_map(|turn| {
        fs::write(&conf.path, format!("nameserver 192.0.2.{turn}\n")).unwrap();
        conf.manage(&servers()).err()
    });
    assert!(matches!(given_up, Some(FileError::Fought { .. })), "{given_up:?}");
    assert!(!conf.is_changed(), "nobody fights any more");
}

#[test]
fn edits_now_and_then_are_no_quarrel() {
    let (_folder, mut conf) = file(BEFORE);
    conf.manage(&servers()).unwrap();
    for n in 0..4 * MAX_TURNS {
        fs::write(&conf.path, format!("nameserver 192.0.2.{n}\n")).unwrap();
        assert!(conf.look());
        conf.manage(&servers()).unwrap();
        assert!((0..PEACE).all(|_| !conf.look()));
    }
}

#[test]
fn what_a_killed_guard_left_is_repaired_and_a_living_one_is_respected() {
    let (_folder, mut conf) = file(BEFORE);
    let left = managed(&Former::Text(BEFORE.into()), &servers(), u32::MAX);
    fs::write(&conf.path, &left).unwrap();
    assert_eq!(conf.manage(&["10.9.0.1".parse().unwrap()]).unwrap(), ["192.0.2.53"]);
    conf.restore().unwrap();
    assert_eq!(fs::read_to_string(&conf.path).unwrap(), BEFORE);
    fs::write(&conf.path, &left).unwrap();
    conf.restore().unwrap();
    assert_eq!(fs::read_to_string(&conf.path).unwrap(), BEFORE);
}

#[test]
fn the_file_of_a_living_guard_is_left_to_it() {
    let (_folder, mut conf) = file(BEFORE);
    let mut other = std::process::Command::new("sh");
    let mut other =
        other.args(["-c", "read line", "guard"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let text = managed(&Former::Text(BEFORE.into()), &servers(), other.id());
    fs::write(&conf.path, &text).unwrap();
    // A new process has its command line a moment after it is there.
    while !is_a_guard(other.id()) {
        std::thread::yield_now();
    }
    let error = conf.manage(&servers()).unwrap_err();
    assert!(matches!(error, FileError::Other { pid, .. } if pid == other.id()), "{error}");
    assert!(conf.restore().is_err());
    assert_eq!(fs::read_to_string(&conf.path).unwrap(), text);
    drop(other.stdin.take());
    other.wait().unwrap();
    assert_eq!(conf.manage(&servers()).unwrap(), ["192.0.2.53"], "once it is gone, its work is taken over");
}

#[test]
fn a_file_that_cannot_be_replaced_is_overwritten() {
    let (folder, conf) = file("a long text that stood there before, longer than the next\n");
    let same = File::open(&conf.path).unwrap();
    overwrite(&conf.path, "short\n").unwrap();
    assert_eq!(fs::read_to_string(&conf.path).unwrap(), "short\n");
    assert_eq!(same.metadata().unwrap().len(), 6, "it is the same file");
    drop(folder);
}

#[test]
fn a_file_that_could_not_be_restored_whole_is_left_alone() {
    let long = |length: u64| format!("{BEFORE}#{}\n", "x".repeat(usize::try_from(length).unwrap()));
    for (length, is_managed) in [(MAX_FILE / 2, true), (MAX_FILE - 60, false), (2 * MAX_FILE, false)] {
        let before = long(length);
        let (_folder, mut conf) = file(&before);
        let managed = conf.manage(&servers());
        assert_eq!(managed.is_ok(), is_managed, "{length}: {managed:?}");
        conf.restore().unwrap();
        assert!(fs::read_to_string(&conf.path).unwrap() == before, "{length}: as it was, byte for byte");
    }
}
