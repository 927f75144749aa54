//! First, second and failing starts.

use std::{fs, path::Path};

use super::client::{Client, config, start};
use crate::{
    Config, DataError, StartError, StoreError,
    admin::{self, Call, Made, Status},
    serve,
};

#[tokio::test]
async fn a_second_start_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let first = running.ready.clone();
    let listen = Some(running.addr);
    let mut a = Client::new(&running, 1);
    let join = a.join(first.join_token.as_ref().unwrap()).await;
    a.add_peer(&join, 1).await;
    running.shutdown().await;
    let before = contents(&folder).await;

    let running = serve(Config { listen, ..config(&folder) }).await.unwrap();
    let second = running.ready.clone();
    assert_eq!((&second.owner, &second.group, &second.api), (&first.owner, &first.group, &first.api));
    assert_eq!((second.join_token, second.api_token), (None, None));
    let mut watch = a.watch_with(lacis_proto::Follower::default(), false).await;
    watch.rest().await;
    running.shutdown().await;
    assert_eq!(contents(&folder).await, before);
}

#[tokio::test]
async fn a_first_start_that_died_is_made_good() {
    // What a start leaves that dies after each of its steps.
    let steps: [&[&str]; 5] = [
        &["lock"],
        &["lock", "control.db"],
        &["lock", "control.db", "installation.key"],
        &["lock", "control.db", "installation.key", "ca.key"],
        &["lock", "control.db", "installation.key", "ca.key", "ca.pem"],
    ];
    for kept in steps {
        let whole = tempfile::tempdir().unwrap();
        start(&whole).await.shutdown().await;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        for name in kept {
            if *name == "control.db" {
                // The schema may be there; the installation row, which comes last, is not.
                drop(crate::store::Store::open(&data.join(name)).await.unwrap());
            } else {
                fs::copy(whole.path().join("data").join(name), data.join(name)).unwrap();
            }
        }
        fs::write(data.join("ca.pem.new"), "half a cer").unwrap();
        let running = start(&folder).await;
        let mut a = Client::new(&running, 1);
        a.join(running.ready.join_token.as_ref().unwrap()).await;
        running.shutdown().await;
        for name in kept.iter().filter(|name| name.ends_with(".key")) {
            let (old, new) = (whole.path().join("data").join(name), data.join(name));
            assert_eq!(fs::read(old).unwrap(), fs::read(new).unwrap(), "{name} is kept");
        }
    }
}

#[tokio::test]
async fn a_lost_or_foreign_key_is_not_replaced() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    start(&folder).await.shutdown().await;
    start(&other).await.shutdown().await;
    let data = folder.path().join("data");
    for name in ["installation.key", "ca.key"] {
        let kept = fs::read(data.join(name)).unwrap();
        fs::remove_file(data.join(name)).unwrap();
        let error = serve(config(&folder)).await.unwrap_err();
        assert!(chain(&error).contains("restore it from a backup"), "{}", chain(&error));
        fs::write(data.join(name), kept).unwrap();
    }
    fs::copy(other.path().join("data/installation.key"), data.join("installation.key")).unwrap();
    assert!(matches!(serve(config(&folder)).await, Err(StartError::Keys { .. })));
}

#[tokio::test]
async fn one_control_per_folder_and_per_port() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = start(&folder).await;
    let error = serve(config(&folder)).await.unwrap_err();
    let StartError::Data { source: DataError::Held { holder, .. } } = &error else { panic!("{error:?}") };
    assert!(holder.contains(&std::process::id().to_string()), "{holder}");
    let error = serve(Config { listen: Some(running.addr), ..config(&other) }).await.unwrap_err();
    assert!(error.to_string().contains(&running.addr.port().to_string()), "{error}");
    assert!(error.to_string().contains("--listen"), "{error}");
    running.shutdown().await;
    serve(config(&folder)).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_corrupt_or_newer_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    start(&folder).await.shutdown().await;
    let path = folder.path().join("data/control.db");
    sql(&path, "INSERT INTO migrations (version, applied_ms) VALUES (99, 0)").await;
    let error = serve(config(&folder)).await.unwrap_err();
    let newer = matches!(&error, StartError::Store { source: StoreError::Newer { found: 99, .. } });
    assert!(newer, "{error:?}");
    fs::write(&path, b"this is no database, whatever else it may be".repeat(100)).unwrap();
    let before = fs::read(&path).unwrap();
    let error = serve(config(&folder)).await.unwrap_err();
    assert!(matches!(&error, StartError::Store { source: StoreError::Open { .. } }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn wrong_public_urls_are_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { public_urls: vec!["http://a".to_owned()], ..config(&folder) };
    assert!(matches!(serve(config).await, Err(StartError::Url { .. })));
    assert!(!folder.path().join("data").exists());
}

#[tokio::test]
async fn commands_work_beside_a_running_and_a_stopped_control() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let listen = Some(running.addr);
    let status = |folder| super::refusals::call(folder, Call::Status);
    let live: Status = admin::read(status(&folder).await).unwrap();
    assert_eq!(live.groups.len(), 1);
    running.shutdown().await;
    let make = Call::CreateJoinToken { group: None, member: None, uses: 1, lifetime_ms: None };
    let made: Made = admin::read(super::refusals::call(&folder, make).await).unwrap();
    let running = serve(Config { listen, ..config(&folder) }).await.unwrap();
    let mut a = Client::new(&running, 1);
    a.join(&made.token).await;
    running.shutdown().await;
}

/// Every table and every key of a folder, as text.
async fn contents(folder: &tempfile::TempDir) -> String {
    let data = folder.path().join("data");
    let mut text = String::new();
    for name in ["installation.key", "ca.key", "ca.pem", "urls"] {
        text += &fs::read_to_string(data.join(name)).unwrap();
    }
    let mut store = crate::store::Store::open(&data.join("control.db")).await.unwrap();
    let loaded = store.load().await.unwrap();
    let installation = store.installation().await.unwrap();
    store.close().await;
    text + &format!("{loaded:#?}{installation:?}")
}

async fn sql(path: &Path, statement: &'static str) {
    use sqlx::{ConnectOptions as _, Connection as _};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}
