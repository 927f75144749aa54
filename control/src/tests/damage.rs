//! Files of the data folder that are empty, cut off, overwritten, gone, or folders: what can be had again is had
//! again, what cannot is named and left alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    client::{Client, config, start},
    start::chain,
};
use crate::serve;

/// Files that can be made again without anybody noticing.
const HAD_AGAIN: [&str; 3] = ["lock", "urls", "ca.pem"];

/// What can happen to a file; `None` of bytes for one that is gone.
fn damages(good: &[u8]) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let every_third = |from: usize| -> Vec<u8> {
        let spoilt = |(at, byte): (usize, &u8)| if at >= from && at % 3 == 1 { 0xff } else { *byte };
        good.iter().enumerate().map(spoilt).collect()
    };
    vec![
        ("empty", Some(Vec::new())),
        ("cut off", Some(good[..good.len() / 2].to_vec())),
        ("garbled", Some(every_third(0))),
        // Beyond the header of a database and the page that lists its tables.
        ("garbled behind its beginning", Some(every_third(good.len().min(4096)))),
        ("zeroes", Some(vec![0; good.len()])),
        ("gone", None),
    ]
}

struct Damaged {
    folder: tempfile::TempDir,
    /// The good files, by name.
    good: Vec<(String, Vec<u8>)>,
}

impl Damaged {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// All files of the folder as they are, but for those that SQLite keeps beside its own.
    fn files(data: &Path) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(data).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> = entries
            // What SQLite keeps beside its own file goes at any time.
            .filter(|entry| entry.file_type().is_ok_and(|of| of.is_file()))
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
            .filter(|(name, _)| !name.starts_with("control.db-"))
            .map(|(name, path)| (name, fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn restore(&self) {
        fs::remove_dir_all(self.data()).unwrap();
        fs::create_dir(self.data()).unwrap();
        for (name, bytes) in &self.good {
            fs::write(self.data().join(name), bytes).unwrap();
        }
    }

    /// Starts with one damaged file. It works as before, or the file is named with what to do and nothing is
    /// touched.
    async fn starts_or_is_refused(&self, name: &str, how: &str) {
        let (data, before) = (self.data(), Self::files(&self.data()));
        match serve(config(&self.folder)).await {
            Ok(running) => {
                assert!(running.ready.join_token.is_none(), "{name} {how}: a new installation was made");
                running.shutdown().await;
                for own in ["installation.key", "ca.key"] {
                    let kept = self.good.iter().find(|(good, _)| good == own).unwrap();
                    assert_eq!(fs::read(data.join(own)).unwrap(), kept.1, "{name} {how}: another identity");
                }
            }
            Err(error) => {
                let error = chain(&error);
                assert!(error.contains(name), "{name} {how}: {error}");
                assert!(error.contains("; "), "{name} {how}: what to do? {error}");
                let is_ours = |(name, _): &(String, Vec<u8>)| name != "lock";
                let left: Vec<_> = Self::files(&data).into_iter().filter(is_ours).collect();
                let before: Vec<_> = before.into_iter().filter(is_ours).collect();
                assert!(left == before, "{name} {how}: something was written");
            }
        }
        self.restore();
    }
}

#[tokio::test]
async fn each_damaged_file_of_control_is_named_or_had_again() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let token = running.ready.join_token.clone().unwrap();
    for seed in 1..=3 {
        let mut node = Client::new(&running, seed);
        let join = node.join(&token).await;
        node.add_peer(&join, seed).await;
    }
    running.shutdown().await;
    let good = Damaged::files(&folder.path().join("data"));
    let lab = Damaged { folder, good };
    let names: Vec<&str> = lab.good.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ca.key", "ca.pem", "control.db", "installation.key", "lock", "relay.key", "urls"]);
    for (name, bytes) in &lab.good {
        for (how, bad) in damages(bytes) {
            let path = lab.data().join(name);
            match bad {
                Some(bad) => fs::write(&path, bad).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            if HAD_AGAIN.contains(&name.as_str()) {
                serve(config(&lab.folder))
                    .await
                    .unwrap_or_else(|e| panic!("{name} {how}: {}", chain(&e)))
                    .shutdown()
                    .await;
            }
            lab.starts_or_is_refused(name, how).await;
        }
        fs::remove_file(lab.data().join(name)).unwrap();
        fs::create_dir(lab.data().join(name)).unwrap();
        lab.starts_or_is_refused(name, "a folder").await;
        fs::remove_file(lab.data().join(name)).unwrap();
        std::os::unix::fs::symlink(name, lab.data().join(name)).unwrap();
        lab.starts_or_is_refused(name, "nothing that can be read").await;
    }
    serve(config(&lab.folder)).await.unwrap().shutdown().await;
}
