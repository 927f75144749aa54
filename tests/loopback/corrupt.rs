//! State files that are cut off, overwritten, empty, or of another version: what can be had again is had again, what
//! cannot is named and left alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::lab::{Control, Node, passes};

/// Files of an agent that nobody else has: without them it is not this node.
const OWN: [&str; 3] = ["identity.key", "enrolment.json", "keys"];

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_in(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn damages(good: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    let garbled = good.iter().enumerate().map(|(at, byte)| if at % 3 == 1 { 0xff } else { *byte }).collect();
    [
        ("empty", Vec::new()),
        ("cut off", good[..good.len() / 2].to_vec()),
        ("garbled", garbled),
        ("newer", br#"{"format":99}"#.to_vec()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_damaged_file_of_an_agent_is_named_or_had_again() {
    let control = Control::start().await;
    let (mut a, b) = (Node::join("a", &control.token).await, Node::join("b", &control.token).await);
    a.sees("b", |status| status.control.connected && !status.groups[0].peers.is_empty()).await;
    passes(&a, &b, 4, "before").await;
    a.sees("who b is", |_| a.folder.path().join("state/pins.json").exists()).await;
    let version = control.version().await;
    a.down().await;
    let state = a.folder.path().join("state");
    let files = files_in(&state);
    assert!(files.len() >= 8, "{files:?}");
    for path in files {
        let good = fs::read(&path).unwrap();
        let is_own = OWN.iter().any(|own| path.strip_prefix(&state).unwrap().starts_with(own));
        for (how, bad) in damages(&good) {
            fs::write(&path, &bad).unwrap();
            match a.up(None).await {
                Ok(()) => {
                    assert!(!is_own, "{path:?} {how} was taken for good");
                    a.ready().await;
                    a.sees("b", |status| status.control.connected && !status.groups[0].peers.is_empty())
                        .await;
                    a.down().await;
                }
                Err(error) => {
                    let (error, name) = (error.to_string(), path.file_name().unwrap().to_str().unwrap());
                    assert!(is_own && error.contains(name), "{path:?} {how}: {error}");
                    assert_eq!(fs::read(&path).unwrap(), bad, "{path:?} was touched");
                }
            }
            fs::write(&path, &good).unwrap();
        }
    }
    a.up(None).await.unwrap();
    a.ready().await;
    passes(&a, &b, 4, "after").await;
    assert_eq!(control.version().await, version, "nothing was spent on it");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_copies_of_scopes_that_are_put_back_are_brought_up_to_date() {
    let mut control = Control::start().await;
    let mut a = Node::join("a", &control.token).await;
    a.sees("control", |status| status.control.connected).await;
    a.down().await;
    let folder = a.folder.path().join("state/scopes");
    let old: Vec<_> = files_in(&folder).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    let b = Node::join("b", &control.token).await;
    a.up(None).await.unwrap();
    a.ready().await;
    passes(&a, &b, 4, "new").await;
    a.down().await;
    control.stop().await;
    for (bytes, path) in old {
        fs::write(path, bytes).unwrap();
    }
    a.up(None).await.unwrap();
    a.ready().await;
    assert!(a.status().await.groups[0].peers.is_empty(), "that long ago nobody else was there");
    control.restart().await;
    a.sees("b", |status| !status.groups[0].peers.is_empty()).await;
    passes(&a, &b, 4, "newest").await;
}
